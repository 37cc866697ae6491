/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload of an experiment, checked against the options that every
 * program has (MS_WORKLOAD_OPTIONS), as their arguments and as `params`.
 */
#ifndef MS_HARNESS_RUN_WORKLOAD_ARGS_H
#define MS_HARNESS_RUN_WORKLOAD_ARGS_H

#include "harness/run/experiment.h"
#include "harness/run/json.h"

/*
 * Read the object {"name": "seq-read", "access": "mmap", "threads": 1, …} into
 * workload, options and params of `e`. Keys are the options of a workload with
 * _ or - ; "name" is --workload. 0 or -EINVAL with a sentence.
 */
int workload_args(const struct js *at, struct experiment *e)
	__attribute__((nonnull, warn_unused_result));

#endif

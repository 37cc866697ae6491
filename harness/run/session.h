/* SPDX-License-Identifier: Apache-2.0 */
/* A whole measurement: experiments in, a result folder out. */
#ifndef MS_HARNESS_RUN_SESSION_H
#define MS_HARNESS_RUN_SESSION_H

#include "harness/run/approach.h"
#include "harness/run/experiment.h"
#include "harness/run/placement.h"
#include "harness/run/runner.h"

struct session {
	struct experiments *experiments; /* get their places */
	const struct approaches *approaches;
	const char *set;     /* part of the new folder's name */
	const char *results; /* where new folders are made */
	const char *dir;     /* this folder instead, or NULL */
	const char *where;   /* as places_choose takes it */
	enum placement_mode placement;
	uint64_t order_seed;
	/*
	 * The command, without the program's name: for env.json, and to be run
	 * again in the VM with --result and --where behind it.
	 */
	int argc;
	char **argv;
	const json_t *features; /* session_run's own */
};

/*
 * Measure. Prints progress and what came out. `ret_dir` gets the folder (the
 * caller frees) also after some failures, NULL if there is none. Returns the
 * exit code: 0 also when runs failed, as that stands in the rows, 1 when it
 * could not go on or not one run was ok, 77 when all were skipped, 128 + N
 * after signal N.
 */
int session_run(struct session *s, char **ret_dir)
	__attribute__((nonnull, warn_unused_result));

#endif

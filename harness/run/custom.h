/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment made of options instead of a file. */
#ifndef MS_HARNESS_RUN_CUSTOM_H
#define MS_HARNESS_RUN_CUSTOM_H

#include "harness/run/experiment.h"

struct custom {
	char *approach;
	char *variant;
	char *workload;
	char *access;
	uint64_t access_bytes;
	uint64_t threads;
	uint64_t size;
	uint64_t chunk;
	char *link;
	char *rtt;
	char *rate;
	char *driver;
	uint64_t repetitions;
	uint64_t warmup;
	uint64_t time_limit_ns;
	uint64_t timeout_ns;
	uint64_t seed;
};

/* Make the one experiment that the options describe. */
int custom_make(const struct custom *c, struct experiments *ret)
	__attribute__((nonnull, warn_unused_result));

/* "a/x,b" as the array of series; NULL with a sentence. */
json_t *custom_series(const char *text, const char *variant);

#endif

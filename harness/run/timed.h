/* SPDX-License-Identifier: Apache-2.0 */
/* Whole programs of others: hyperfine runs and times them. */
#ifndef MS_HARNESS_RUN_TIMED_H
#define MS_HARNESS_RUN_TIMED_H

#include "harness/run/execute.h"

/*
 * Make `*argv` (the arguments for `program`) those of hyperfine, which runs
 * it once; `program` becomes hyperfine's path. Its numbers go into DIR.
 */
int timed_wrap(const char *dir, char program[EXECUTE_PATH_MAX], char ***argv)
	__attribute__((nonnull, warn_unused_result));

/* The rows, after what was to be copied has been compared with the source. */
void timed_result(struct execution *x) __attribute__((nonnull));

#endif

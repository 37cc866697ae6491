/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker of runs.csv: everything that makes a file unusable or a
 * comparison in it unfair, one line for each problem.
 */
#ifndef MS_HARNESS_RECORD_CHECK_H
#define MS_HARNESS_RECORD_CHECK_H

#include <stdio.h>

/*
 * Check `path` (a file, or a folder with runs.csv) and write a line
 * "file:line: what" to `out` for each problem. Returns the number of
 * problems (0: good), or a negative errno with a sentence if the file could
 * not be read at all.
 */
int csv_check(const char *path, FILE *out)
	__attribute__((nonnull, warn_unused_result));

/* `memsync-bench check DIR|FILE...`; the exit code. */
int cmd_check(int argc, char **argv);

#endif

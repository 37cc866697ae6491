/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `memsync-bench link` share; not for others. */
#ifndef MS_HARNESS_LINK_CMD_INTERNAL_H
#define MS_HARNESS_LINK_CMD_INTERNAL_H

#include "harness/link/link.h"

enum {
	LINK_EXIT_FAILED = 1,
	LINK_EXIT_USAGE = 2,
	LINK_EXIT_CANNOT = 77,
};

extern const char *const link_driver_choices[];

/* Print this thread's error sentence on one line; returns the exit code. */
int link_cmd_fail(const char *program, int r);

int link_cmd_check(int argc, char **argv);
int link_cmd_run(int argc, char **argv);
int link_cmd_ceiling(int argc, char **argv);

#endif

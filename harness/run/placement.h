/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processors each side runs on. The sides would be different machines,
 * so they should not take time from each other where that can be had:
 *
 *	4 or more: one for the link, one for the source, the rest the target
 *	3, 2:      one for source and link, the rest for the target
 *	1:         all share it
 *
 * A run without a link has one side, which may use all of them.
 *
 * "float" leaves it to the scheduler.
 */
#ifndef MS_HARNESS_RUN_PLACEMENT_H
#define MS_HARNESS_RUN_PLACEMENT_H

#include <sched.h>
#include <stdbool.h>

enum placement_mode {
	PLACEMENT_SPLIT,
	PLACEMENT_FLOAT,
};
extern const char *const placement_modes[];

struct placement {
	bool pinned; /* else the sets are not used */
	cpu_set_t source;
	cpu_set_t target;
	cpu_set_t link;
	char remote_text[96]; /* of a run over a link, for the row */
	char local_text[64];  /* of a run without */
};

/* Divide the processors that this process may use. */
void placement_make(enum placement_mode mode, struct placement *ret)
	__attribute__((nonnull));

#endif

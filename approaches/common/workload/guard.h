/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGBUS inside a region becomes a return instead of a dead process: a region
 * whose source failed answers accesses with SIGBUS, and a measurement must
 * report that with the offset. One handler a process, one guard a thread.
 *
 *	if (sigsetjmp(guard.env, 1) == 0) {
 *		ms_guard_enter(&guard, addr, size);
 *		... touch the region ...
 *		ms_guard_leave();
 *	} else {
 *		... guard.fault_offset says where ...
 *	}
 */
#ifndef MS_COMMON_WORKLOAD_GUARD_H
#define MS_COMMON_WORKLOAD_GUARD_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

struct ms_guard {
	sigjmp_buf env;
	uintptr_t start;
	size_t size;
	volatile uint64_t fault_offset; /* of the page, in the region */
};

/*
 * Install and remove the process's handler; counted, so that several users
 * may overlap. A SIGBUS outside of any guard goes where it went before.
 * 0 or negative errno.
 */
int ms_guard_install(void) __attribute__((warn_unused_result));
void ms_guard_remove(void);

/* Guard this thread's accesses to [addr, addr + size) until leave. */
void ms_guard_enter(struct ms_guard *guard, const void *addr, size_t size)
	__attribute__((nonnull(1)));
void ms_guard_leave(void);

#endif

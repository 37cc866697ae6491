/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-shot timers on one shared thread, for deadlines, delays and intervals.
 * The thread is started by the first arm and sleeps while nothing is due.
 */
#ifndef MS_COMMON_UTIL_TIMER_H
#define MS_COMMON_UTIL_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ms_timer;

/* Runs on the timer thread; must not block. May arm the timer again. */
typedef void ms_timer_fn(struct ms_timer *timer);

/* Zeroed memory is a disarmed timer. The fields belong to timer.c. */
struct ms_timer {
	uint64_t when_ns;
	ms_timer_fn *fn;
	size_t slot; /* place in the heap + 1; 0: not armed */
};

/*
 * Have `fn` called at `when_ns` (CLOCK_MONOTONIC; the past means at once). An
 * armed timer is moved to the new time. 0, -ENOMEM, -EAGAIN (no thread).
 */
int ms_timer_arm(struct ms_timer *timer, uint64_t when_ns, ms_timer_fn *fn)
	__attribute__((nonnull, warn_unused_result));

/*
 * Disarm. When it returns the callback is not running and will not run, unless
 * it is called from the callback itself. True if a call was prevented.
 * Must not be called with a lock held that the callback takes.
 */
bool ms_timer_cancel(struct ms_timer *timer) __attribute__((nonnull));

#endif

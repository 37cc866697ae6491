/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of requests that wait for their turn: urgent ones first, each class
 * in order of arrival. It is strung through io->link, so that waiting costs no
 * memory and no thread. Nothing here locks: the owner does, and it arms a timer
 * for `deadline_ns` so that requests which wait too long end with -ETIMEDOUT.
 */
#ifndef MS_COMMON_BACKEND_IOQ_H
#define MS_COMMON_BACKEND_IOQ_H

#include "approaches/common/util/timer.h"
#include "memsync/backend.h"

struct ms_ioq {
	struct ms_io *first[2]; /* by priority */
	struct ms_io *last[2];
	size_t count;
	uint64_t deadline_ns; /* nothing in it expires before this time;
				 UINT64_MAX: nothing ever does */
};

void ms_ioq_init(struct ms_ioq *q) __attribute__((nonnull));

/* Append. True if `deadline_ns` has become earlier: arm the timer. */
bool ms_ioq_push(struct ms_ioq *q, struct ms_io *io) __attribute__((nonnull));

/* The one whose turn is next, NULL if there is none; pop also removes it. */
struct ms_io *ms_ioq_peek(const struct ms_ioq *q) __attribute__((nonnull));
struct ms_io *ms_ioq_pop(struct ms_ioq *q) __attribute__((nonnull));

/*
 * Remove `io`, which is only compared and need not exist any more. False if it
 * is not in the queue. Searches from the front.
 */
bool ms_ioq_remove(struct ms_ioq *q, const struct ms_io *io)
	__attribute__((nonnull));

/*
 * Remove those whose deadline is at or before `now_ns`, respectively all, as a
 * chain over `link`. `deadline_ns` is exact afterwards.
 */
struct ms_io *ms_ioq_expire(struct ms_ioq *q, uint64_t now_ns)
	__attribute__((nonnull));
struct ms_io *ms_ioq_take_all(struct ms_ioq *q) __attribute__((nonnull));

/*
 * For the owner's timer callback, after ms_ioq_expire: arm the timer for the
 * next deadline. Without memory for that, the next push asks for it again.
 */
void ms_ioq_rearm(struct ms_ioq *q, struct ms_timer *timer, ms_timer_fn *fn)
	__attribute__((nonnull));

/* Complete a chain. Call it without locks. */
void ms_ioq_end(struct ms_io *chain, int result, const char *origin);

#endif

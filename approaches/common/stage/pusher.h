/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pusher: has a cache write back what is dirty, at an interval and when it
 * is asked to. Merging of neighbours, retries and the order are the cache's.
 */
#ifndef MS_COMMON_STAGE_PUSHER_H
#define MS_COMMON_STAGE_PUSHER_H

#include "memsync/backend.h"

struct ms_pusher;

struct ms_pusher_options {
	uint64_t interval_ns; /* between two rounds; 0: only on demand */
	/*
	 * Called before each round, from the timer's thread, for a front-end
	 * that has to tell the cache what was written (ms_cache_mark_dirty).
	 */
	void (*before)(void *user);
	void *user;
};

/*
 * Start to push from `cache` (ms_cache_is), which must stay open until
 * ms_pusher_stop. 0, -EINVAL, -ENOMEM.
 */
int ms_pusher_start(struct ms_backend *cache,
		    const struct ms_pusher_options *options,
		    struct ms_pusher **ret)
	__attribute__((nonnull, warn_unused_result));

/* Begin a round now; returns at once. Durability is SYNC's business. */
void ms_pusher_push(struct ms_pusher *pusher) __attribute__((nonnull));

/* Rounds begun so far. */
uint64_t ms_pusher_rounds(struct ms_pusher *pusher) __attribute__((nonnull));

/* No more rounds; what is in flight goes on in the cache. NULL is legal. */
void ms_pusher_stop(struct ms_pusher *pusher);

#endif

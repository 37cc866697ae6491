/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The puller: makes the whole region local in the background by asking a cache
 * to populate one range after the other. It is a worker over a cache, not a
 * backend, and needs no thread: each completion asks for the next range.
 *
 * The order is linear, a list, or a function; a demand (somebody waits for a
 * range that is not local) moves a linear puller to just behind that range,
 * and it comes back for what it passed over.
 */
#ifndef MS_COMMON_STAGE_PULLER_H
#define MS_COMMON_STAGE_PULLER_H

#include "memsync/backend.h"

struct ms_puller;

/*
 * Which chunk next? Called with `n` = 0, 1, 2, ... once for each position of
 * the order; returns a chunk, or UINT64_MAX at the end of the order (what is
 * absent then is pulled linearly).
 */
typedef uint64_t ms_puller_order_fn(void *user, uint64_t n);

struct ms_puller_options {
	uint64_t workers;     /* requests in flight at most, at least 1 */
	uint64_t request;     /* bytes of one, a multiple of the chunk */
	const uint64_t *list; /* chunks to pull first, or NULL; copied */
	uint64_t list_count;
	ms_puller_order_fn *order; /* NULL: linear, or the list */
	void *order_user;
	bool follow; /* a demand moves the linear position */
};

/* Reasonable options: 16 requests of 1 MiB, linear, following demand. */
void ms_puller_defaults(struct ms_puller_options *options)
	__attribute__((nonnull));

/*
 * Start to pull into `cache` (ms_cache_is), which must stay open until
 * ms_puller_stop. 0, -EINVAL, -ENOMEM.
 */
int ms_puller_start(struct ms_backend *cache,
		    const struct ms_puller_options *options,
		    struct ms_puller **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Wait until nothing is left to pull. 0: every chunk is local, or on its way
 * because somebody else waits for it; a negative errno: the first error (its chunks were passed over), with a sentence; -ENOSPC: the
 * cache is full, which ends the pulling.
 */
int ms_puller_wait(struct ms_puller *puller)
	__attribute__((nonnull, warn_unused_result));

/* True if the puller has nothing left to do. Never blocks. */
bool ms_puller_is_done(struct ms_puller *puller) __attribute__((nonnull));

/* Pull this range next. */
void ms_puller_demand(struct ms_puller *puller, uint64_t offset,
		      uint64_t length) __attribute__((nonnull));

/* Ask for no more, wait for what is in flight, free. NULL is legal. */
void ms_puller_stop(struct ms_puller *puller);

#endif

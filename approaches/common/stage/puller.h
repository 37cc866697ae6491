/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The puller: makes the whole region local in the background by asking a cache
 * to populate one range after the other. It is a worker over a cache, not a
 * backend: a thread of its own asks, so that a store which answers at once does
 * not hold up who starts it; requests in flight are structs.
 *
 * The order is linear, a list, or a function; a demand (somebody waits for a
 * range that is not local) moves a linear puller to just behind that range,
 * and it comes back for what it passed over.
 *
 * Requests may begin small and grow: whoever reads from the beginning waits for
 * the first of them. Errors may be sat out: it pauses, longer each time, and
 * asks again for what failed, so that a short outage does not end the pull.
 */
#ifndef MS_COMMON_STAGE_PULLER_H
#define MS_COMMON_STAGE_PULLER_H

#include "memsync/backend.h"

#include <pthread.h>

struct ms_puller;

/*
 * Which chunk next? Called with `n` = 0, 1, 2, ... once for each position of
 * the order; returns a chunk, or UINT64_MAX at the end of the order (what is
 * absent then is pulled linearly). Never called by two threads at once.
 */
typedef uint64_t ms_puller_order_fn(void *user, uint64_t n);

struct ms_puller_options {
	uint64_t workers;     /* requests in flight at most, at least 1 */
	uint64_t request;     /* bytes of one, a multiple of the chunk */
	uint64_t window;      /* bytes in flight at most; 0: workers decide */
	uint64_t first;	      /* bytes of the first ones, which then grow to
				 `request`; 0: no growing */
	const uint64_t *list; /* chunks to pull first, or NULL; copied */
	uint64_t list_count;
	ms_puller_order_fn *order; /* NULL: linear, or the list */
	void *order_user;
	bool follow;	   /* a demand moves the linear position */
	uint64_t retry_ns; /* pause after errors, doubles with each failure
			      in a row; 0: what failed is passed over */
	unsigned retries;  /* failures in a row that end the pull */
	unsigned threads;  /* that ask, 1 to 16; 0: 1. More help only stores
			      that answer at once */
	const pthread_attr_t *attr; /* of the threads, or NULL; used by start */
};

/* Numbers so far. */
struct ms_puller_stats {
	uint64_t requests;
	uint64_t bytes; /* of requests that ended well */
	uint64_t errors;
	int error; /* the last one, or 0 */
};

/*
 * Reasonable options: 16 requests of 1 MiB, linear, following demand; neither
 * growing nor patient.
 */
void ms_puller_defaults(struct ms_puller_options *options)
	__attribute__((nonnull));

/*
 * Start to pull into `cache` (ms_cache_is), which must stay open until
 * ms_puller_stop. 0, -EINVAL, -ENOMEM, -EAGAIN (no thread).
 */
int ms_puller_start(struct ms_backend *cache,
		    const struct ms_puller_options *options,
		    struct ms_puller **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Wait until nothing is left to pull. 0: every chunk is local, or on its way
 * because somebody else waits for it; a negative errno, with a sentence: the
 * first error (its chunks were passed over), with `retry_ns` the one after
 * which it gave up; -ENOSPC: the cache is full, which ends the pulling.
 */
int ms_puller_wait(struct ms_puller *puller)
	__attribute__((nonnull, warn_unused_result));

/* True if the puller has nothing left to do. Never blocks. */
bool ms_puller_is_done(struct ms_puller *puller) __attribute__((nonnull));

/* Pull this range next. */
void ms_puller_demand(struct ms_puller *puller, uint64_t offset,
		      uint64_t length) __attribute__((nonnull));

void ms_puller_get_stats(struct ms_puller *puller, struct ms_puller_stats *ret)
	__attribute__((nonnull));

/*
 * Ask for no more, cancel what is in flight and wait for its end, free. NULL is
 * legal.
 */
void ms_puller_stop(struct ms_puller *puller);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the engine share; nobody else includes it. */
#ifndef MS_UFFD_INTERNAL_H
#define MS_UFFD_INTERNAL_H

#include "approaches/uffd/uffd-engine.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * What the engine has done about a page; whether its bytes are there is the
 * cache's to say. Changes are atomic.
 */
enum {
	PG_NONE,
	PG_WANTED,    /* a fault waits for a request */
	PG_INSTALLED, /* mapped, or about to be */
	PG_FAILED,    /* poisoned */
};

/* A request for a fault. */
struct fill {
	struct ms_io io;
	struct ms_uffd_engine *engine;
	struct fill *next; /* in the list of those in flight; engine->lock */
	struct fill *prev;
	uint64_t page;	/* that the fault waits for */
	bool alone;	/* the request is for no other */
	bool cancelled; /* engine->lock */
	bool held;	/* by who cancels it; engine->lock */
	bool ended;	/* to be freed when it is not held; engine->lock */
};

struct ms_uffd_engine {
	struct ms_uffd_engine_config config;
	struct ms_uffd_engine *next; /* the source's */
	struct ms_backend *backend;  /* the source's */
	const char *bytes;	     /* the cache's pages here, or NULL */
	unsigned chunk_shift;	     /* pages of a chunk: 1 << chunk_shift */
	uint64_t pages;
	_Atomic uint8_t *state; /* PG_* of each page */
	pthread_t handler;
	bool handler_runs;
	int stop_fd; /* eventfd: readable when the handler shall end */

	pthread_mutex_t lock; /* what follows, and the list */
	pthread_cond_t changed;
	struct fill *fills; /* in flight */
	bool stopping;

	/* Owned by the handler thread: the last run fetched for a fault. */
	uint64_t expected;
	uint64_t span; /* pages */

	atomic_bool gone; /* the registered memory does not exist any more */
	_Atomic uint64_t resolved; /* pages installed for the first time */
	_Atomic int error;
	struct {
		_Atomic uint64_t faults, urgent_requests, urgent_bytes,
			installed, present, again, retries, errors, failed;
	} count;
};

static inline uint64_t page_address(const struct ms_uffd_engine *e,
				    uint64_t page)
{
	return e->config.start + page * MS_UFFD_PAGE;
}

static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline bool page_swap(struct ms_uffd_engine *e, uint64_t page,
			     uint8_t from, uint8_t to)
{
	return atomic_compare_exchange_strong(&e->state[page], &from, to);
}

/* Add the kernel's answers to the counters. */
void uffd_count(struct ms_uffd_engine *e, const struct ms_uffd_done *done);

/* True if the cache has the page's bytes. */
bool uffd_is_local(const struct ms_uffd_engine *e, uint64_t page);

/* Ask for `length` bytes at `offset`, for the fault on `page`. */
void uffd_fill(struct ms_uffd_engine *e, uint64_t page, uint64_t first,
	       uint64_t count);

/* Map pages that are local. */
void uffd_install(struct ms_uffd_engine *e, uint64_t first, uint64_t count);

/* No bytes will come: accesses raise SIGBUS. */
void uffd_fail_page(struct ms_uffd_engine *e, uint64_t page);

/* A range became local, on our request or not. */
void uffd_on_local(struct ms_uffd_engine *e, uint64_t offset, uint64_t length);

/* Cancel the requests in flight and wait for their ends. */
void uffd_fills_end(struct ms_uffd_engine *e);

/* The two kinds of handler. */
void uffd_thesis_fault(struct ms_uffd_engine *e, uint64_t page);
void uffd_tuned_fault(struct ms_uffd_engine *e, uint64_t page);

/*
 * The place of a thread that the options say; `helper`: not the handler itself,
 * but one that should stay out of the application's way. `home`: the processor
 * of whoever opened the region, -1 if unknown.
 */
void uffd_thread_attr(enum memsync_uffd_placement where, bool helper, int home,
		      pthread_attr_t *attr);

#endif

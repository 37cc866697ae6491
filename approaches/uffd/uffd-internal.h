/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the engine share; nobody else includes it. */
#ifndef MS_UFFD_INTERNAL_H
#define MS_UFFD_INTERNAL_H

#include "approaches/uffd/uffd-engine.h"

#include <pthread.h>
#include <stdatomic.h>

/* State of a page; changes are compare-and-swap but where noted. */
enum {
	PG_ABSENT,
	PG_FLIGHT,    /* a request for it is under way */
	PG_WANTED,    /* the same, and a fault waits for it */
	PG_LOCAL,     /* the bytes are there, mapped in a moment */
	PG_INSTALLED, /* mapped */
	PG_STALE,     /* mapped, but a fault was reported: was it old news? */
	PG_FAILED,    /* poisoned */
};

/* A request for a run of claimed pages. */
struct fill {
	struct ms_io io;
	struct ms_uffd_engine *engine;
	struct fill *next; /* in the list of those in flight; engine->lock */
	struct fill *prev;
	uint64_t first; /* page */
	uint64_t count; /* pages */
	char *bounce;	/* where the bytes go without shared memory */
	bool pull;	/* made in the background */
};

enum {
	WORKERS_MAX = 16
};

struct ms_uffd_engine {
	struct ms_uffd_engine_config config;
	uint64_t pages;
	_Atomic uint8_t *state; /* PG_* of each page */
	pthread_t handler;
	bool handler_runs;
	int stop_fd; /* eventfd: readable when the handler shall end */

	/* Background pull. Lock order: pull_lock, lock. */
	pthread_t worker[WORKERS_MAX];
	unsigned workers;
	pthread_mutex_t pull_lock; /* cursor, pulls */
	unsigned pulls;		   /* requests made while they grow */
	uint64_t cursor;	   /* next page to look at */
	_Atomic uint64_t demand;   /* a fault wants the pull to go on here;
				      UINT64_MAX: no */
	pthread_mutex_t lock;	   /* what follows, and the list */
	pthread_cond_t changed;
	struct fill *fills;   /* in flight */
	uint64_t pulling;     /* bytes in flight for the pull */
	bool pull_failed;     /* since the last look */
	unsigned pull_errors; /* rounds of failure in a row */
	bool stopping;

	/* Owned by the handler thread: the last run fetched for a fault. */
	uint64_t expected;
	uint64_t span; /* pages */

	atomic_bool gone; /* the registered memory does not exist any more */
	_Atomic uint64_t resolved; /* pages installed for the first time */
	_Atomic int error;
	struct {
		_Atomic uint64_t faults, urgent_requests, urgent_bytes,
			pull_requests, pull_bytes, installed, present, again,
			retries, errors, failed;
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

/*
 * Claim absent pages from `first` on, `max` at most, as `state` (FLIGHT or
 * WANTED for the first, FLIGHT for the others). Returns how many.
 */
uint64_t uffd_claim(struct ms_uffd_engine *e, uint64_t first, uint64_t max,
		    uint8_t state);

/* Request claimed pages. They are resolved or failed by its completion. */
void uffd_fill(struct ms_uffd_engine *e, uint64_t first, uint64_t count,
	       bool pull);

/* Hurry the request that page belongs to, if it is in flight. */
void uffd_hurry(struct ms_uffd_engine *e, uint64_t page);

/* Map local pages of shared memory. */
void uffd_install(struct ms_uffd_engine *e, uint64_t first, uint64_t count);

/* No bytes will come: accesses raise SIGBUS. */
void uffd_fail_pages(struct ms_uffd_engine *e, uint64_t first, uint64_t count);

/* A cache's callback: a range became local, on our request or not. */
void uffd_on_local(void *engine, uint64_t offset, uint64_t length);

/* Background threads. */
int uffd_pull_start(struct ms_uffd_engine *e);
void uffd_pull_stop(struct ms_uffd_engine *e);
/* A request of the pull has ended; makes room for the next. */
void uffd_pull_ended(struct ms_uffd_engine *e, uint64_t bytes, int result);

/* The two kinds of handler. */
void uffd_thesis_fault(struct ms_uffd_engine *e, uint64_t page);
void uffd_tuned_fault(struct ms_uffd_engine *e, uint64_t page);

/* Create a thread at the place that the options say; `helper`: not the
 * handler itself, but one that should stay out of the application's way. */
int uffd_thread(const struct ms_uffd_engine *e, bool helper, pthread_t *ret,
		void *(*fn)(void *), void *arg);

#endif

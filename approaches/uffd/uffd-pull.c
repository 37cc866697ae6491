/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background pull of variant `tuned`: goes through the region in order, jumps
 * to behind a fault, skips what is there, and keeps a window in flight.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-internal.h"

#include <errno.h>

enum {
	PULL_ERRORS_MAX = 6, /* in a row; then only faults try on */
	RAMP = 4,	     /* requests of a size before it doubles */
};
#define RETRY_NS (100 * MS_NS_PER_MS)

void uffd_pull_ended(struct ms_uffd_engine *e, uint64_t bytes, int result)
{
	pthread_mutex_lock(&e->lock);
	e->pulling -= bytes;
	if (result)
		e->pull_failed = true;
	else
		e->pull_errors = 0;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

/* A pause that grows with the errors. Called with the lock. */
static void back_off(struct ms_uffd_engine *e)
{
	struct timespec until;

	while (!e->stopping && e->pulling)
		pthread_cond_wait(&e->changed, &e->lock);
	/* One round of failure, however many requests were in flight. */
	e->pull_failed = false;
	e->pull_errors++;
	until = ms_timespec(ms_now_ns() + (RETRY_NS << (e->pull_errors - 1)));
	while (!e->stopping &&
	       pthread_cond_clockwait(&e->changed, &e->lock, CLOCK_MONOTONIC,
				      &until) == 0)
		continue;
}

/* Wait for room in the window. False: give up or stop. */
static bool may_go_on(struct ms_uffd_engine *e)
{
	uint64_t window = e->config.options.window_bytes;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping && e->pulling >= window)
		pthread_cond_wait(&e->changed, &e->lock);
	if (e->pull_failed && e->pull_errors < PULL_ERRORS_MAX)
		back_off(e);
	bool go = !e->stopping && e->pull_errors < PULL_ERRORS_MAX &&
		  !atomic_load(&e->gone);
	pthread_mutex_unlock(&e->lock);
	return go;
}

/*
 * Pages of the next request: from one page on, as a program that starts at the
 * beginning waits for them, and TCP sends few bytes in its first round trip.
 * Called with pull_lock.
 */
static uint64_t next_span(struct ms_uffd_engine *e)
{
	const struct memsync_uffd_options *o = &e->config.options;
	uint64_t bytes = MS_UFFD_PAGE;

	for (unsigned n = e->pulls / RAMP; n && bytes < o->span_bytes; n--)
		bytes *= 2;
	if (bytes < o->span_bytes)
		e->pulls++;
	return bytes / MS_UFFD_PAGE;
}

/* Claim the next run. Returns its length, 0 when all is claimed or local. */
static uint64_t next_run(struct ms_uffd_engine *e, uint64_t *ret_first)
{
	uint64_t count = 0;

	pthread_mutex_lock(&e->pull_lock);
	uint64_t span = next_span(e);
	uint64_t demand = atomic_exchange(&e->demand, UINT64_MAX);
	if (demand < e->pages)
		e->cursor = demand;
	for (uint64_t looked = 0; looked < e->pages && !count;) {
		if (e->cursor >= e->pages)
			e->cursor = 0;
		/* Requests end at multiples of the span, so that they stay
		 * aligned (huge pages, chunks of a cache). */
		uint64_t room = span - e->cursor % span;
		count = uffd_claim(e, e->cursor, room, PG_FLIGHT);
		*ret_first = e->cursor;
		e->cursor += count ? count : 1;
		looked += count ? count : 1;
	}
	pthread_mutex_unlock(&e->pull_lock);
	return count;
}

static uint64_t bytes_of(const struct ms_uffd_engine *e, uint64_t first,
			 uint64_t count)
{
	uint64_t end = (first + count) * MS_UFFD_PAGE;

	return (end < e->config.size ? end : e->config.size) -
	       first * MS_UFFD_PAGE;
}

/* Until everything that was in flight has ended, well or not. */
static bool wait_for_pulls(struct ms_uffd_engine *e)
{
	pthread_mutex_lock(&e->lock);
	while (!e->stopping && e->pulling)
		pthread_cond_wait(&e->changed, &e->lock);
	bool again = !e->stopping && e->pull_failed;
	pthread_mutex_unlock(&e->lock);
	return again;
}

static void *pull(void *arg)
{
	struct ms_uffd_engine *e = arg;
	uint64_t first = 0;

	while (may_go_on(e)) {
		uint64_t count = next_run(e, &first);
		if (!count) {
			if (!wait_for_pulls(e))
				break;
			continue;
		}
		pthread_mutex_lock(&e->lock);
		e->pulling += bytes_of(e, first, count);
		pthread_mutex_unlock(&e->lock);
		uffd_fill(e, first, count, true);
	}
	return NULL;
}

int uffd_pull_start(struct ms_uffd_engine *e)
{
	unsigned count = e->config.options.workers;

	atomic_store(&e->demand, UINT64_MAX);
	for (; e->workers < count; e->workers++) {
		int rc = uffd_thread(e, true, &e->worker[e->workers], pull, e);
		if (rc)
			return ms_err(rc, "start a thread that pulls");
	}
	return 0;
}

void uffd_pull_stop(struct ms_uffd_engine *e)
{
	for (unsigned i = 0; i < e->workers; i++)
		(void)pthread_join(e->worker[i], NULL);
	e->workers = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The puller; see puller.h. */
#include "approaches/common/stage/puller.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT64_MAX

/* A cancel may come before the cache has the request: it is repeated. */
#define CANCEL_NS (10 * MS_NS_PER_MS)

enum {
	THREADS_MAX = 16,
	RAMP = 4,	    /* requests of a length before it doubles */
	DOUBLINGS_MAX = 20, /* of a pause */
};

/* A request in flight, or idle. */
struct pull {
	struct ms_puller *puller;
	struct ms_io io;
	struct pull *next; /* on the idle list */
	bool busy;
};

struct ms_puller {
	struct ms_backend *cache;
	struct ms_puller_options options;
	uint64_t *list; /* our copy */
	uint64_t chunk_bytes;
	uint64_t chunks;
	pthread_t thread[THREADS_MAX];
	unsigned threads;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	struct pull *pulls;
	uint64_t pull_count;
	struct pull *idle;
	uint64_t in_flight;
	uint64_t flight_bytes;
	uint64_t ramp;	  /* requests made while they grow */
	uint64_t cursor;  /* next chunk, linear */
	uint64_t behind;  /* all before it was asked for in this round */
	uint64_t ordered; /* positions of the order that are used up */
	bool stopping;
	bool exhausted;
	bool failed;	 /* since the last pause */
	bool pausing;	 /* one of the threads sees to it */
	unsigned pauses; /* in a row, nothing succeeded between them */
	int error;	 /* what wait returns */
	const char *origin;
	struct ms_puller_stats stats;
	const char *last_origin; /* of stats.error */
};

void ms_puller_defaults(struct ms_puller_options *options)
{
	*options = (struct ms_puller_options){
		.workers = 16, .request = 1 << 20, .follow = true};
}

/* --- what next? Called with the lock. ------------------------------------ */

/* What failed is absent too if it shall be tried again. */
static bool is_absent(const struct ms_puller *p, uint64_t chunk)
{
	enum ms_chunk_state state = ms_cache_state(p->cache, chunk);

	return state == MS_CHUNK_ABSENT ||
	       (state == MS_CHUNK_FAILED && p->options.retry_ns);
}

static uint64_t from_order(struct ms_puller *p)
{
	const struct ms_puller_options *o = &p->options;

	for (;;) {
		uint64_t chunk = NONE;
		if (o->order)
			chunk = o->order(o->order_user, p->ordered);
		else if (p->ordered < o->list_count)
			chunk = p->list[p->ordered];
		if (chunk == NONE)
			return NONE;
		p->ordered++;
		if (chunk < p->chunks && is_absent(p, chunk))
			return chunk;
	}
}

/* From the cursor to the end, then what was passed over, then nothing. */
static uint64_t from_line(struct ms_puller *p)
{
	bool failed = p->options.retry_ns;
	uint64_t chunk = ms_cache_next_absent(p->cache, p->cursor, failed);

	if (chunk == NONE && p->cursor > p->behind)
		chunk = ms_cache_next_absent(p->cache, p->behind, failed);
	return chunk;
}

/*
 * Chunks of the next request. A program that starts at the beginning waits for
 * the first ones, and TCP sends few bytes in its first round trip.
 */
static uint64_t next_span(struct ms_puller *p)
{
	const struct ms_puller_options *o = &p->options;
	uint64_t bytes = o->first ? o->first : o->request;

	for (uint64_t n = p->ramp / RAMP; n && bytes < o->request; n--)
		bytes *= 2;
	if (bytes < o->request)
		p->ramp++;
	else
		bytes = o->request;
	return bytes > p->chunk_bytes ? bytes / p->chunk_bytes : 1;
}

/* The next range to ask for: a run of absent chunks within one request. */
static bool next_range(struct ms_puller *p, uint64_t *ret_offset,
		       uint64_t *ret_length)
{
	uint64_t count = 1;
	uint64_t chunk = from_order(p);

	if (chunk == NONE) {
		chunk = from_line(p);
		if (chunk == NONE)
			return false;
		/* Requests end at multiples of their length. */
		uint64_t span = next_span(p);
		uint64_t end = (chunk / span + 1) * span;
		while (chunk + count < end && chunk + count < p->chunks &&
		       is_absent(p, chunk + count))
			count++;
		/* Only a linear run from `behind` on leaves nothing behind. */
		if (p->cursor == p->behind)
			p->behind = chunk + count;
		p->cursor = chunk + count;
	}
	*ret_offset = chunk * p->chunk_bytes;
	*ret_length = count * p->chunk_bytes;
	if (*ret_length > ms_size(p->cache) - *ret_offset)
		*ret_length = ms_size(p->cache) - *ret_offset;
	return true;
}

/* --- requests ------------------------------------------------------------ */

/* The lock is held. */
static void note_failure(struct ms_puller *p, const struct ms_io *io)
{
	uint64_t chunk = io->offset / p->chunk_bytes;

	p->stats.errors++;
	p->stats.error = io->result;
	p->last_origin = io->origin;
	/* A cache without room: it does not get better by waiting. */
	bool again = p->options.retry_ns && io->result != -ENOSPC;
	if (!again && !p->error) {
		p->error = io->result;
		p->origin = io->origin;
	}
	if (io->result == -ENOSPC)
		p->exhausted = true;
	if (again) {
		p->failed = true;
		if (chunk < p->behind)
			p->behind = chunk;
	}
}

static void pull_done(struct ms_io *io)
{
	struct pull *pull = io->user;
	struct ms_puller *p = pull->puller;

	pthread_mutex_lock(&p->lock);
	pull->busy = false;
	pull->next = p->idle;
	p->idle = pull;
	p->in_flight--;
	p->flight_bytes -= io->length;
	if (io->result == 0) {
		p->pauses = 0;
		p->stats.bytes += io->length;
	} else if (!p->stopping) {
		note_failure(p, io);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

/* A pause that grows with the failures in a row. The lock is held. */
static void pause_pull(struct ms_puller *p)
{
	unsigned doublings =
		p->pauses < DOUBLINGS_MAX ? p->pauses : DOUBLINGS_MAX;

	p->pausing = true;
	/* However many requests were in flight, it is one failure. */
	while (p->in_flight && !p->stopping)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	if (p->pauses++ >= p->options.retries) {
		p->error = p->stats.error;
		p->origin = p->last_origin;
		p->exhausted = true;
		pthread_cond_broadcast(&p->changed);
	}
	struct timespec until =
		ms_timespec(ms_now_ns() + (p->options.retry_ns << doublings));
	while (!p->stopping && !p->exhausted &&
	       pthread_cond_clockwait(&p->changed, &p->lock, CLOCK_MONOTONIC,
				      &until) == 0)
		continue;
	p->failed = false;
	p->pausing = false;
	pthread_cond_broadcast(&p->changed);
}

/* Ask for the next range, if there is room and one. The lock is held. */
static bool pull_one(struct ms_puller *p)
{
	uint64_t window = p->options.window;
	uint64_t offset = 0;
	uint64_t length = 0;

	if (p->exhausted || !p->idle || (window && p->flight_bytes >= window))
		return false;
	if (!next_range(p, &offset, &length)) {
		/* What is in flight may fail and be there again. */
		if (!p->in_flight || !p->options.retry_ns) {
			p->exhausted = true;
			pthread_cond_broadcast(&p->changed);
		}
		return false;
	}
	struct pull *pull = p->idle;
	p->idle = pull->next;
	pull->busy = true;
	p->in_flight++;
	p->flight_bytes += length;
	p->stats.requests++;
	pull->io = (struct ms_io){.op = MS_OP_POPULATE,
				  .priority = MS_BULK,
				  .offset = offset,
				  .length = length,
				  .done = pull_done,
				  .user = pull};
	pthread_mutex_unlock(&p->lock);
	ms_submit(p->cache, &pull->io);
	pthread_mutex_lock(&p->lock);
	return true;
}

static void *pull_main(void *arg)
{
	struct ms_puller *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		if (p->failed && !p->pausing)
			pause_pull(p);
		else if (p->pausing || !pull_one(p))
			(void)pthread_cond_wait(&p->changed, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* --- life ---------------------------------------------------------------- */

static int check_options(const struct ms_backend *cache,
			 const struct ms_puller_options *o)
{
	if (!ms_cache_is(cache))
		return ms_err(-EINVAL, "puller: %s is not a cache",
			      cache->ops->name);
	if (o->workers == 0)
		return ms_err(-EINVAL, "puller: workers=0");
	if (o->request == 0 || o->request % ms_cache_chunk_bytes(cache))
		return ms_err(-EINVAL,
			      "puller: the request is not a multiple of the "
			      "chunk");
	if (o->threads > THREADS_MAX)
		return ms_err(-EINVAL, "puller: %d threads at most",
			      THREADS_MAX);
	return 0;
}

static void puller_free(struct ms_puller *p)
{
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p->pulls);
	free(p->list);
	free(p);
}

static int allocate(struct ms_puller *p)
{
	const struct ms_puller_options *o = &p->options;
	uint64_t workers = o->workers;

	/* More than there are chunks would only idle. */
	if (workers > p->chunks + 1)
		workers = p->chunks + 1;
	p->pulls = calloc(workers, sizeof(*p->pulls));
	if (!p->pulls)
		return -ENOMEM;
	p->pull_count = workers;
	for (uint64_t i = 0; i < workers; i++) {
		p->pulls[i].puller = p;
		p->pulls[i].next = p->idle;
		p->idle = &p->pulls[i];
	}
	if (!o->list_count)
		return 0;
	p->list = calloc(o->list_count, sizeof(*p->list));
	if (!p->list)
		return -ENOMEM;
	memcpy(p->list, o->list, o->list_count * sizeof(*p->list));
	return 0;
}

int ms_puller_start(struct ms_backend *cache,
		    const struct ms_puller_options *options,
		    struct ms_puller **ret)
{
	unsigned threads = options->threads ? options->threads : 1;
	int rc = check_options(cache, options);

	if (rc)
		return rc;
	struct ms_puller *p = calloc(1, sizeof(*p));
	if (!p)
		return ms_err(-ENOMEM, "puller");
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	p->cache = cache;
	p->options = *options;
	p->chunk_bytes = ms_cache_chunk_bytes(cache);
	p->chunks = ms_cache_chunks(cache);
	if (allocate(p)) {
		puller_free(p);
		return ms_err(-ENOMEM, "puller");
	}
	for (; p->threads < threads; p->threads++) {
		rc = -pthread_create(&p->thread[p->threads], options->attr,
				     pull_main, p);
		if (rc) {
			ms_puller_stop(p);
			return ms_err(rc, "puller: start a thread");
		}
	}
	*ret = p;
	return 0;
}

int ms_puller_wait(struct ms_puller *puller)
{
	pthread_mutex_lock(&puller->lock);
	while (puller->in_flight || !(puller->exhausted || puller->stopping))
		(void)pthread_cond_wait(&puller->changed, &puller->lock);
	int rc = puller->error;
	const char *origin = puller->origin;
	pthread_mutex_unlock(&puller->lock);
	return rc ? ms_err(rc, "%s: background pull", origin) : 0;
}

bool ms_puller_is_done(struct ms_puller *puller)
{
	pthread_mutex_lock(&puller->lock);
	bool done = puller->exhausted && puller->in_flight == 0;
	pthread_mutex_unlock(&puller->lock);
	return done;
}

void ms_puller_demand(struct ms_puller *puller, uint64_t offset,
		      uint64_t length)
{
	pthread_mutex_lock(&puller->lock);
	if (puller->options.follow && length) {
		uint64_t next = (offset + length - 1) / puller->chunk_bytes + 1;
		/* The linear pull is about to get there by itself. */
		uint64_t near = puller->cursor +
				puller->flight_bytes / puller->chunk_bytes;
		if (next < puller->chunks &&
		    (next < puller->cursor || next > near))
			puller->cursor = next;
	}
	pthread_mutex_unlock(&puller->lock);
}

void ms_puller_get_stats(struct ms_puller *puller, struct ms_puller_stats *ret)
{
	pthread_mutex_lock(&puller->lock);
	*ret = puller->stats;
	pthread_mutex_unlock(&puller->lock);
}

/* Cancelling completes requests, which takes the lock: it is let go. */
static void cancel_all(struct ms_puller *p)
{
	for (uint64_t i = 0; i < p->pull_count && p->in_flight; i++) {
		if (!p->pulls[i].busy)
			continue;
		pthread_mutex_unlock(&p->lock);
		ms_cancel(p->cache, &p->pulls[i].io);
		pthread_mutex_lock(&p->lock);
	}
}

void ms_puller_stop(struct ms_puller *puller)
{
	if (!puller)
		return;
	pthread_mutex_lock(&puller->lock);
	puller->stopping = true;
	pthread_cond_broadcast(&puller->changed);
	while (puller->in_flight) {
		cancel_all(puller);
		struct timespec until = ms_timespec(ms_now_ns() + CANCEL_NS);
		if (puller->in_flight)
			(void)pthread_cond_clockwait(&puller->changed,
						     &puller->lock,
						     CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&puller->lock);
	for (unsigned i = 0; i < puller->threads; i++)
		(void)pthread_join(puller->thread[i], NULL);
	puller_free(puller);
}

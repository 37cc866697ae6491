/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making chunks local. A fetch owns a run of chunks while their bytes are not
 * settled: coming from the remote, being written for the first time, or being
 * given up. Whoever needs one of them waits for the fetch.
 */
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <stdlib.h>

static void fetch_submit(struct ms_task *task);
static void fetch_release(struct fetch *fetch);

static struct fetch **bucket(const struct cache *c, uint64_t chunk)
{
	uint64_t cell = chunk_offset(c, chunk) / c->options.request;

	return (struct fetch **)&c->buckets[cell & (FETCH_BUCKETS - 1)];
}

struct fetch *fetch_find(const struct cache *c, uint64_t chunk)
{
	struct fetch *f = *bucket(c, chunk);

	while (f && (chunk < f->first || chunk >= f->first + f->count))
		f = f->next;
	return f;
}

struct fetch *fetch_begin(struct cache *c, enum fetch_kind kind, uint64_t first,
			  uint64_t count)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->cache = c;
	f->kind = kind;
	f->first = first;
	f->count = count;
	for (uint64_t i = first; i < first + count; i++)
		chunk_set(c, i, MS_CHUNK_FETCHING);
	if (kind != FETCH_DISCARD)
		c->local_chunks += count;
	/* Not even a part of the new bytes may pass for the old ones. */
	if (kind == FETCH_WRITE)
		keep_mark(c, first, count, KEPT_ABSENT);
	struct fetch **head = bucket(c, first);
	f->next = *head;
	*head = f;
	c->busy++;
	return f;
}

int fetch_wait(struct fetch *fetch, struct job *job)
{
	struct waiter *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->job = job;
	w->next = fetch->waiters;
	fetch->waiters = w;
	job->refs++;
	job->waits++;
	return 0;
}

static void fetch_remove(struct fetch *fetch)
{
	struct fetch **at = bucket(fetch->cache, fetch->first);

	while (*at != fetch)
		at = &(*at)->next;
	*at = fetch->next;
}

static void fetch_free(struct ms_task *task)
{
	struct fetch *f = ms_container_of(task, struct fetch, task);
	struct cache *c = f->cache;

	uint64_t offset = chunk_offset(c, f->first);
	uint64_t length = run_bytes(c, f->first, f->count);
	struct ms_tasks tasks = {0};

	/* Pinned: nobody gives the range up before the front-end knows it. */
	if (f->present)
		cache_call(&c->on_local, offset, length);
	pthread_mutex_lock(&c->lock);
	if (f->present)
		unpin_range(c, offset, length, &tasks);
	f->ended = true;
	fetch_release(f);
	cache_unlock(c, &tasks);
}

/* Free it if it has ended and nobody holds it. The lock is held. */
static void fetch_release(struct fetch *fetch)
{
	struct cache *c = fetch->cache;

	if (!fetch->ended || fetch->held)
		return;
	free(fetch->bounce);
	free(fetch);
	cache_rest(c);
}

void fetch_end(struct fetch *fetch, unsigned state, int result,
	       const char *origin, struct ms_tasks *tasks)
{
	struct cache *c = fetch->cache;

	for (uint64_t i = fetch->first; i < fetch->first + fetch->count; i++)
		chunk_set(c, i, state);
	/* Fresh chunks are passed over once when room is made. */
	for (uint64_t i = 0; c->pins && i < fetch->count; i++)
		c->pins[fetch->first + i] |= PIN_USED;
	if (state == MS_CHUNK_ABSENT || state == MS_CHUNK_FAILED)
		c->local_chunks -= fetch->count;
	if (state == MS_CHUNK_DIRTY) {
		c->dirty_chunks += fetch->count;
		c->waiting_chunks += fetch->count;
		keep_mark(c, fetch->first, fetch->count, KEPT_DIRTY);
	}
	if (state == MS_CHUNK_LOCAL)
		keep_mark(c, fetch->first, fetch->count, KEPT_CLEAN);
	fetch_remove(fetch);
	fetch->present = state == MS_CHUNK_LOCAL || state == MS_CHUNK_DIRTY;
	if (fetch->present)
		pin_range(c, chunk_offset(c, fetch->first),
			  run_bytes(c, fetch->first, fetch->count));
	ms_tasks_add(tasks, &fetch->task, fetch_free);
	struct waiter *w = fetch->waiters;
	fetch->waiters = NULL;
	while (w) {
		struct waiter *next = w->next;
		job_woken(w->job, result, origin, tasks);
		free(w);
		w = next;
	}
	if (c->starved)
		evict_feed(c, tasks);
}

/* --- from the remote ----------------------------------------------------- */

static void fetch_retry(struct ms_timer *timer)
{
	struct fetch *f = ms_container_of(timer, struct fetch, retry);
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&f->cache->lock);
	f->waiting = false;
	pthread_mutex_unlock(&f->cache->lock);
	ms_tasks_add(&tasks, &f->task, fetch_submit);
	ms_tasks_run(&tasks);
}

/* Arm the retry of a failed fetch; false when it was the last attempt. */
static bool fetch_again(struct fetch *f)
{
	const struct ms_cache_options *o = &f->cache->options;
	unsigned doublings = f->failures < 10 ? f->failures : 10;

	f->failures++;
	f->cache->fetch_failures++;
	if (f->failures > o->retries || f->cache->closing ||
	    f->io.result == -ECANCELED)
		return false;
	f->waiting = ms_timer_arm(&f->retry,
				  ms_now_ns() + (o->retry_ns << doublings),
				  fetch_retry) == 0;
	return f->waiting;
}

static void fetch_stored(struct ms_io *io)
{
	struct fetch *f = io->user;
	struct cache *c = f->cache;
	struct ms_tasks tasks = {0};
	int result = io->result;

	pthread_mutex_lock(&c->lock);
	f->in_flight = false;
	if (f->stale && result == 0) {
		f->stale = false;
		ms_tasks_add(&tasks, &f->task, fetch_submit);
	} else {
		c->fetched_bytes += result ? 0 : io->length;
		fetch_end(f, result ? MS_CHUNK_FAILED : MS_CHUNK_LOCAL, result,
			  io->origin, &tasks);
	}
	cache_unlock(c, &tasks);
}

static void fetch_arrived(struct ms_io *io)
{
	struct fetch *f = io->user;
	struct cache *c = f->cache;
	struct ms_tasks tasks = {0};

	if (io->result == 0)
		keep_hash(c, io->buf, f->first, f->count);
	if (io->result == 0 && !f->bounce) {
		fetch_stored(io);
		return;
	}
	if (io->result == 0) {
		*io = (struct ms_io){.op = MS_OP_WRITE,
				     .priority = io->priority,
				     .offset = io->offset,
				     .length = io->length,
				     .buf = f->bounce,
				     .done = fetch_stored,
				     .user = f};
		ms_submit(c->local, io);
		return;
	}
	pthread_mutex_lock(&c->lock);
	f->in_flight = false;
	if (!fetch_again(f))
		fetch_end(f, MS_CHUNK_FAILED, io->result, io->origin, &tasks);
	cache_unlock(c, &tasks);
}

/* The lock is held, but not while the remote is asked. */
static void fetch_cancel(struct fetch *f)
{
	struct cache *c = f->cache;

	f->cancelled = true;
	f->held++;
	pthread_mutex_unlock(&c->lock);
	ms_cancel(c->remote, &f->io);
	pthread_mutex_lock(&c->lock);
	f->held--;
}

/* --- from the last time
 * ------------------------------------------------------- */

/* The chunk was here when the cache was opened: is it what its hash says? */
static void fetch_confirm(struct fetch *f, const char *bytes)
{
	struct cache *c = f->cache;
	struct ms_tasks tasks = {0};

	f->suspect = false;
	if (!keep_confirm(c, f->first, bytes)) {
		ms_tasks_add(&tasks, &f->task, fetch_submit);
		ms_tasks_run(&tasks);
		return;
	}
	pthread_mutex_lock(&c->lock);
	fetch_end(f, MS_CHUNK_LOCAL, 0, NULL, &tasks);
	cache_unlock(c, &tasks);
}

static void fetch_was_here(struct ms_io *io)
{
	fetch_confirm(io->user, io->result ? NULL : io->buf);
}

static void fetch_look(struct fetch *f)
{
	struct cache *c = f->cache;
	uint64_t offset = chunk_offset(c, f->first);

	if (c->map) {
		fetch_confirm(f, c->map + offset);
		return;
	}
	f->io = (struct ms_io){.op = MS_OP_READ,
			       .offset = offset,
			       .length = run_bytes(c, f->first, 1),
			       .buf = f->bounce,
			       .done = fetch_was_here,
			       .user = f};
	ms_submit(c->local, &f->io);
}

static void fetch_submit(struct ms_task *task)
{
	struct fetch *f = ms_container_of(task, struct fetch, task);
	struct cache *c = f->cache;
	uint64_t offset = chunk_offset(c, f->first);
	uint64_t length = run_bytes(c, f->first, f->count);
	struct ms_tasks tasks = {0};

	if (!c->map && !f->bounce)
		f->bounce = malloc(length);
	if (f->suspect && (c->map || f->bounce)) {
		fetch_look(f);
		return;
	}
	pthread_mutex_lock(&c->lock);
	int rc = !c->map && !f->bounce ? -ENOMEM : 0;
	rc = c->closing ? -ECANCELED : rc;
	if (rc) {
		fetch_end(f, MS_CHUNK_FAILED, rc, "cache", &tasks);
		cache_unlock(c, &tasks);
		return;
	}
	f->io = (struct ms_io){.op = MS_OP_READ,
			       .priority = f->urgent ? MS_URGENT : MS_BULK,
			       .offset = offset,
			       .length = length,
			       .buf = c->map ? c->map + offset : f->bounce,
			       .done = fetch_arrived,
			       .user = f};
	f->in_flight = true;
	f->held++;
	pthread_mutex_unlock(&c->lock);
	ms_submit(c->remote, &f->io);
	pthread_mutex_lock(&c->lock);
	f->held--;
	/* Close may have cancelled it before the remote knew of it. */
	if (c->closing && f->in_flight)
		fetch_cancel(f);
	fetch_release(f);
	pthread_mutex_unlock(&c->lock);
}

void fetch_start_remote(struct fetch *fetch, bool urgent,
			struct ms_tasks *tasks)
{
	fetch->urgent = urgent;
	fetch->suspect = keep_suspects(fetch->cache, fetch->first);
	fetch->cache->fetches++;
	ms_tasks_add(tasks, &fetch->task, fetch_submit);
}

/*
 * The lock is held, so the request cannot complete meanwhile from our point of
 * view: its `done` needs the lock before it ends the fetch.
 */
void fetch_hurry(struct fetch *fetch)
{
	if (fetch->kind != FETCH_REMOTE || fetch->urgent)
		return;
	fetch->urgent = true;
	if (fetch->in_flight)
		ms_hurry(fetch->cache->remote, &fetch->io);
}

/* --- given up ---------------------------------------------------------------
 */

static void fetch_discarded(struct ms_io *io)
{
	struct fetch *f = io->user;
	struct cache *c = f->cache;
	struct ms_tasks tasks = {0};

	/* A store that cannot free the space keeps bytes nobody will read. */
	pthread_mutex_lock(&c->lock);
	c->evicted += f->count;
	fetch_end(f, MS_CHUNK_ABSENT, 0, NULL, &tasks);
	cache_unlock(c, &tasks);
}

static void fetch_discard(struct ms_task *task)
{
	struct fetch *f = ms_container_of(task, struct fetch, task);
	struct cache *c = f->cache;
	uint64_t offset = chunk_offset(c, f->first);
	uint64_t length = run_bytes(c, f->first, f->count);

	struct ms_tasks tasks = {0};

	cache_call(&c->on_evict, offset, length);
	pthread_mutex_lock(&c->lock);
	if (f->revived) {
		fetch_end(f, MS_CHUNK_DIRTY, 0, NULL, &tasks);
		cache_unlock(c, &tasks);
		return;
	}
	keep_mark(c, f->first, f->count, KEPT_ABSENT);
	pthread_mutex_unlock(&c->lock);
	f->io = (struct ms_io){.op = MS_OP_TRIM,
			       .offset = offset,
			       .length = length,
			       .done = fetch_discarded,
			       .user = f};
	ms_submit(c->local, &f->io);
}

void fetch_start_discard(struct fetch *fetch, struct ms_tasks *tasks)
{
	ms_tasks_add(tasks, &fetch->task, fetch_discard);
}

/* --- close ---------------------------------------------------------------- */

static struct fetch *find_pending(const struct cache *c)
{
	for (int i = 0; i < FETCH_BUCKETS; i++)
		for (struct fetch *f = c->buckets[i]; f; f = f->next)
			/* Freed ones are in no bucket: fetch_end comes first.
			 */
			/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
			if (f->waiting || (f->in_flight && !f->cancelled))
				return f;
	return NULL;
}

/* Cancel what is with the remote or waits to go there again. */
void fetch_quiesce(struct cache *c)
{
	struct fetch *f = NULL;
	struct ms_tasks tasks = {0};

	while ((f = find_pending(c)) != NULL) {
		if (!f->waiting) {
			fetch_cancel(f);
			fetch_release(f);
			continue;
		}
		f->waiting = false;
		f->held++;
		pthread_mutex_unlock(&c->lock);
		bool ours = ms_timer_cancel(&f->retry);
		pthread_mutex_lock(&c->lock);
		f->held--;
		if (ours)
			fetch_end(f, MS_CHUNK_FAILED, -ECANCELED, "cache",
				  &tasks);
		else
			fetch_release(f);
	}
	pthread_mutex_unlock(&c->lock);
	ms_tasks_run(&tasks);
	pthread_mutex_lock(&c->lock);
}

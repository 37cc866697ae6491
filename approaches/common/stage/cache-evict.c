/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving chunks up: to stay below the limit (second chance, as a clock: a
 * chunk that was used since the last sweep is passed over once), or because
 * the remote changed them. Only clean chunks that nobody uses and that are
 * durable at the remote are given up; if there are too few, a flush pass makes
 * some.
 */
#include "approaches/common/stage/cache-impl.h"

#include <stdlib.h>

enum {
	BATCH_SHARE = 16 /* a sweep frees 1/16 of the limit at a time */
};

/* --- pins --------------------------------------------------------------------
 */

static void pin_each(struct cache *c, uint64_t offset, uint64_t length,
		     uint32_t by)
{
	uint64_t last = (offset + length - 1) >> c->shift;

	for (uint64_t i = offset >> c->shift; i <= last; i++)
		c->pins[i] = ((c->pins[i] + by) & PIN_COUNT) | PIN_USED;
}

void pin_range(struct cache *c, uint64_t offset, uint64_t length)
{
	if (c->pins)
		pin_each(c, offset, length, 1);
}

void unpin_range(struct cache *c, uint64_t offset, uint64_t length,
		 struct ms_tasks *tasks)
{
	if (!c->pins)
		return;
	pin_each(c, offset, length, UINT32_MAX);
	uint64_t last = (offset + length - 1) >> c->shift;
	for (uint64_t i = offset >> c->shift; i <= last; i++)
		if (c->state[i] & FLAG_STALE)
			evict_stale(c, i, tasks);
	if (c->starved)
		evict_feed(c, tasks);
}

/* --- room
 * ---------------------------------------------------------------------- */

static bool evictable(const struct cache *c, uint64_t chunk)
{
	/* LOCAL and not one flag: durable, unless stale (which is handled). */
	return c->state[chunk] == MS_CHUNK_LOCAL &&
	       (c->pins[chunk] & PIN_COUNT) == 0;
}

/* False: no memory to give memory back; the chunks are as they were. */
static bool discard(struct cache *c, uint64_t first, uint64_t count,
		    struct ms_tasks *tasks)
{
	struct fetch *f = fetch_begin(c, FETCH_DISCARD, first, count);

	if (f)
		fetch_start_discard(f, tasks);
	return f != NULL;
}

/* Start to discard up to `want` chunks from the hand on; returns how many. */
static uint64_t sweep(struct cache *c, uint64_t want, struct ms_tasks *tasks)
{
	uint64_t begun = 0;

	for (uint64_t seen = 0; seen < 2 * c->chunks && begun < want;) {
		if (c->hand >= c->chunks)
			c->hand = 0;
		uint64_t first = c->hand;
		uint64_t end = cell_end(c, first);
		uint64_t count = 0;
		while (first + count < end && begun + count < want &&
		       evictable(c, first + count) &&
		       !(c->pins[first + count] & PIN_USED))
			count++;
		if (count) {
			if (!discard(c, first, count, tasks))
				break;
			begun += count;
		} else {
			c->pins[first] &= ~PIN_USED;
			count = 1;
		}
		c->hand += count;
		seen += count;
	}
	return begun;
}

static uint64_t being_discarded(const struct cache *c)
{
	uint64_t count = 0;

	for (int i = 0; i < FETCH_BUCKETS; i++)
		for (const struct fetch *f = c->buckets[i]; f; f = f->next)
			count += f->kind == FETCH_DISCARD ? f->count : 0;
	return count;
}

bool evict_room(struct cache *c, uint64_t need, int *ret_error,
		struct ms_tasks *tasks)
{
	*ret_error = 0;
	if (!c->limit_chunks || c->local_chunks + need <= c->limit_chunks)
		return true;
	uint64_t want = c->local_chunks + need - c->limit_chunks;
	uint64_t coming = being_discarded(c);
	if (coming >= want)
		return false;
	want -= coming;
	if (want < c->limit_chunks / BATCH_SHARE)
		want = c->limit_chunks / BATCH_SHARE;
	uint64_t begun = sweep(c, want, tasks);
	if (begun < want && (c->dirty_chunks || c->unsynced)) {
		/* The pass has just failed: do not wait for it for ever. */
		if (!c->room_error)
			pass_request(c, tasks);
		else if (begun + coming == 0 &&
			 c->dirty_chunks + c->unsynced >= c->local_chunks)
			*ret_error = c->room_error;
	}
	return false;
}

void evict_starve(struct cache *c, struct job *job)
{
	if (job->starved)
		return;
	job->starved = true;
	job->refs++;
	job->queue_next = NULL;
	/* First come, first served. */
	if (!c->starved)
		c->starved_end = &c->starved;
	*c->starved_end = job;
	c->starved_end = &job->queue_next;
}

void evict_feed(struct cache *c, struct ms_tasks *tasks)
{
	struct job *job = c->starved;

	c->starved = NULL;
	while (job) {
		struct job *next = job->queue_next;
		job->starved = false;
		if (job->waits == 0)
			job_advance(job, tasks);
		job_unref(job);
		job = next;
	}
}

/*
 * A pass has ended: what waited for it goes on. If it failed, those fail who
 * need what only it could have done; another pass would fail them no sooner.
 */
void evict_after_pass(struct cache *c, int result, const char *origin,
		      struct ms_tasks *tasks)
{
	c->room_error = result;
	c->room_origin = origin;
	if (c->options.watch)
		for (uint64_t i = active_next(c, 0); i < c->chunks;
		     i = active_next(c, i + 1))
			if (c->state[i] & FLAG_STALE)
				evict_stale(c, i, tasks);
	if (c->starved)
		evict_feed(c, tasks);
	c->room_error = 0;
}

/* --- changed at the remote
 * -------------------------------------------------------- */

void evict_stale(struct cache *c, uint64_t chunk, struct ms_tasks *tasks)
{
	unsigned kind = c->state[chunk] & STATE_MASK;

	if (kind != MS_CHUNK_LOCAL || (c->pins[chunk] & PIN_COUNT))
		return;
	/*
	 * It holds writes of ours that the remote may still lose: they stay
	 * until they are durable; the end of the pass comes back for them.
	 */
	if (c->state[chunk] & (FLAG_UNSYNCED | FLAG_SYNCING)) {
		if ((c->state[chunk] & FLAG_UNSYNCED) && !c->room_error)
			pass_request(c, tasks);
		return;
	}
	(void)discard(c, chunk, 1, tasks);
}

void evict_changed(void *user, uint64_t offset, uint64_t length)
{
	struct cache *c = user;
	struct ms_tasks tasks = {0};

	if (length == 0 || offset >= c->base.size)
		return;
	if (length > c->base.size - offset)
		length = c->base.size - offset;
	pthread_mutex_lock(&c->lock);
	uint64_t last = (offset + length - 1) >> c->shift;
	for (uint64_t i = offset >> c->shift; i <= last; i++) {
		unsigned kind = c->state[i] & STATE_MASK;
		if (kind == MS_CHUNK_FETCHING) {
			struct fetch *f = fetch_find(c, i);
			f->stale = f->kind == FETCH_REMOTE;
		} else if (kind == MS_CHUNK_LOCAL) {
			chunk_set(c, i, c->state[i] | FLAG_STALE);
			evict_stale(c, i, &tasks);
		}
	}
	cache_unlock(c, &tasks);
	cache_call(&c->on_change, offset, length);
}

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

static bool evictable(const struct cache *c, uint64_t chunk)
{
	/* LOCAL and not one flag: durable, unless stale (which is handled). */
	return c->state[chunk] == MS_CHUNK_LOCAL &&
	       (c->pins[chunk] & PIN_COUNT) == 0;
}

static void discard(struct cache *c, uint64_t first, uint64_t count,
		    struct ms_tasks *tasks)
{
	struct fetch *f = fetch_begin(c, FETCH_DISCARD, first, count);

	if (!f) {
		/* No memory to give memory back: leave them as they were. */
		for (uint64_t i = first; i < first + count; i++)
			chunk_set(c, i, MS_CHUNK_LOCAL);
		return;
	}
	fetch_start_discard(f, tasks);
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
			discard(c, first, count, tasks);
			begun += count;
		} else {
			c->pins[first] &= (uint16_t)~PIN_USED;
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

bool evict_room(struct cache *c, uint64_t need, struct ms_tasks *tasks)
{
	if (!c->limit_chunks || c->local_chunks + need <= c->limit_chunks)
		return true;
	uint64_t want = c->local_chunks + need - c->limit_chunks;
	uint64_t coming = being_discarded(c);
	if (coming >= want)
		return false;
	want -= coming;
	if (want < c->limit_chunks / BATCH_SHARE)
		want = c->limit_chunks / BATCH_SHARE;
	if (sweep(c, want, tasks) < want && (c->dirty_chunks || c->unsynced))
		pass_request(c, tasks);
	return false;
}

void evict_starve(struct cache *c, struct job *job)
{
	if (job->starved)
		return;
	job->starved = true;
	job->refs++;
	job->queue_next = c->starved;
	c->starved = job;
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

/* --- changed at the remote
 * -------------------------------------------------------- */

void evict_stale(struct cache *c, uint64_t chunk, struct ms_tasks *tasks)
{
	unsigned kind = c->state[chunk] & STATE_MASK;

	if (kind != MS_CHUNK_LOCAL || (c->pins[chunk] & PIN_COUNT))
		return;
	if (c->state[chunk] & FLAG_UNSYNCED)
		c->unsynced--;
	discard(c, chunk, 1, tasks);
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

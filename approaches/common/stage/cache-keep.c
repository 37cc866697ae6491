/* SPDX-License-Identifier: Apache-2.0 */
/* A cache that outlasts its process: marks, and the thread that waits for the
 * disk. The order of things and why: cache-keep.h. */
#include "approaches/common/stage/cache-keep.h"

#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- bits --------------------------------------------------------------- */

static bool bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *map, uint64_t i)
{
	map[i / 64] |= UINT64_C(1) << (i % 64);
}

static void clear_bit(uint64_t *map, uint64_t i)
{
	map[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* --- marks -------------------------------------------------------------- */

static void mark_one(struct cache_keep *k, uint64_t chunk, enum cache_kept kept)
{
	if (bit(k->suspect, chunk)) {
		clear_bit(k->suspect, chunk);
		k->suspects--;
	}
	if (cache_state_get(k->state, chunk) == kept)
		return;
	cache_state_set(k->state, chunk, kept);
	k->marks++;
	if (kept == KEPT_DIRTY) {
		set_bit(k->fresh, chunk);
		k->any_fresh = true;
	}
}

void keep_mark(struct cache *c, uint64_t first, uint64_t count,
	       enum cache_kept kept)
{
	for (uint64_t i = first; c->keep && i < first + count; i++)
		mark_one(c->keep, i, kept);
}

bool keep_pushed(struct cache *c, uint64_t chunk)
{
	struct cache_keep *k = c->keep;

	/* Not one flag, and no write on its way, which will say dirty. */
	if (!k || k->writers[chunk] || c->state[chunk] != MS_CHUNK_LOCAL)
		return false;
	mark_one(k, chunk, KEPT_CLEAN);
	return true;
}

void keep_write_begin(struct cache *c, uint64_t first, uint64_t count)
{
	if (!c->keep)
		return;
	mark_dirty(c, first, count);
	for (uint64_t i = first; i < first + count; i++)
		c->keep->writers[i]++;
}

void keep_write_end(struct cache *c, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; c->keep && i < first + count; i++)
		c->keep->writers[i]--;
}

void keep_hash(struct cache *c, const char *bytes, uint64_t first,
	       uint64_t count)
{
	for (uint64_t i = 0; c->keep && i < count; i++) {
		const char *at = bytes + chunk_offset(c, i);
		cache_state_set_hash(
			c->keep->state, first + i,
			cache_state_hash_of(at, run_bytes(c, first + i, 1),
					    first + i));
	}
}

/* --- what needs its hash ------------------------------------------------ */

bool keep_suspects(const struct cache *c, uint64_t chunk)
{
	return c->keep && bit(c->keep->suspect, chunk);
}

bool keep_confirm(struct cache *c, uint64_t chunk, const char *bytes)
{
	struct cache_keep *k = c->keep;
	bool same = bytes &&
		    cache_state_hash_of(bytes, run_bytes(c, chunk, 1), chunk) ==
			    cache_state_hash(k->state, chunk);

	pthread_mutex_lock(&c->lock);
	if (same)
		k->verified++;
	else
		k->torn++;
	mark_one(k, chunk, same ? KEPT_CLEAN : KEPT_ABSENT);
	pthread_mutex_unlock(&c->lock);
	return same;
}

/* --- the disk ----------------------------------------------------------- */

bool keep_may_push(const struct cache *c, uint64_t chunk)
{
	const struct cache_keep *k = c->keep;

	return !k || !(bit(k->fresh, chunk) || bit(k->flushing, chunk));
}

static void flush_begin(struct cache *c)
{
	struct cache_keep *k = c->keep;
	uint64_t *empty = k->flushing;

	k->flushing = k->fresh;
	k->fresh = empty;
	k->any_fresh = false;
	k->flight = k->marks;
	k->in_flight = true;
	c->busy++;
	(void)pthread_cond_signal(&k->work);
}

void keep_flush_fresh(struct cache *c)
{
	if (c->keep && c->keep->any_fresh && !c->keep->in_flight)
		flush_begin(c);
}

uint64_t keep_flush(struct cache *c)
{
	/* One in flight may have begun too early: flush_ended looks again. */
	if (!c->keep->in_flight)
		flush_begin(c);
	return c->keep->marks;
}

static void flush_ended(struct cache *c, int rc, struct ms_tasks *tasks)
{
	struct cache_keep *k = c->keep;

	/* What the disk lost once it may lose again: syncs fail from now on. */
	if (rc && !k->error)
		k->error = rc;
	k->flushes++;
	k->in_flight = false;
	k->durable = k->flight;
	memset(k->flushing, 0, (c->chunks / 64 + 1) * sizeof(*k->flushing));
	push_flushed(c, k->durable, k->error, tasks);
}

static void *flusher(void *arg)
{
	struct cache *c = arg;
	struct cache_keep *k = c->keep;

	pthread_mutex_lock(&c->lock);
	while (!k->stop) {
		struct ms_tasks tasks = {0};
		if (!k->in_flight) {
			(void)pthread_cond_wait(&k->work, &c->lock);
			continue;
		}
		pthread_mutex_unlock(&c->lock);
		int rc = cache_state_flush(k->state);
		pthread_mutex_lock(&c->lock);
		flush_ended(c, rc, &tasks);
		cache_unlock(c, &tasks);
		pthread_mutex_lock(&c->lock);
		cache_rest(c);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static int keep_start(struct cache *c)
{
	struct cache_keep *k = c->keep;

	int rc = pthread_create(&k->thread, NULL, flusher, c);
	if (rc)
		return ms_err(-rc, "cache: thread");
	k->started = true;
	return 0;
}

/* --- opening and closing ------------------------------------------------ */

int keep_open(struct cache *c, uint64_t local)
{
	const struct ms_cache_options *o = &c->options;
	struct cache_state_config config = {
		.path = o->state,
		.id = o->id ? o->id : "",
		.size = c->base.size,
		.chunk = o->chunk,
		.local = local,
		.trust = o->trust,
	};
	struct cache_keep *k = calloc(1, sizeof(*k));

	if (!k)
		return ms_err(-ENOMEM, "cache");
	int rc = cache_state_open(&config, &k->state);
	if (rc) {
		free(k);
		return rc;
	}
	(void)pthread_cond_init(&k->work, NULL);
	c->keep = k;
	k->suspect = calloc(c->chunks / 64 + 1, sizeof(*k->suspect));
	k->fresh = calloc(c->chunks / 64 + 1, sizeof(*k->fresh));
	k->flushing = calloc(c->chunks / 64 + 1, sizeof(*k->flushing));
	k->writers = calloc(c->chunks + 1, sizeof(*k->writers));
	if (!k->suspect || !k->fresh || !k->flushing || !k->writers)
		return ms_err(-ENOMEM, "cache: states of %" PRIu64 " chunks",
			      c->chunks);
	return 0;
}

int keep_begin(struct cache *c)
{
	int rc = cache_state_begin(c->keep->state, c->base.size);

	return rc ? rc : keep_start(c);
}

static void keep_free(struct cache_keep *k)
{
	(void)pthread_cond_destroy(&k->work);
	free(k->suspect);
	free(k->fresh);
	free(k->flushing);
	free(k->writers);
	free(k);
}

void keep_close(struct cache *c, bool sealed)
{
	struct cache_keep *k = c->keep;

	if (!k)
		return;
	pthread_mutex_lock(&c->lock);
	k->stop = true;
	(void)pthread_cond_signal(&k->work);
	pthread_mutex_unlock(&c->lock);
	if (k->started)
		(void)pthread_join(k->thread, NULL);
	/* Not sealed is no loss: the next cache is more careful, that is all.
	 */
	if (sealed && (k->error || ms_sync(c->local)))
		sealed = false;
	if (k->suspects == 0)
		k->state->check = false;
	if (cache_state_close(k->state, sealed))
		ms_err_clear();
	keep_free(k);
	c->keep = NULL;
}

void keep_stats(struct cache *c, FILE *out)
{
	pthread_mutex_lock(&c->lock);
	const struct cache_keep *k = c->keep;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"resumed_clean_chunks", k->resumed_clean},
		{"resumed_dirty_chunks", k->resumed_dirty},
		{"dropped_chunks", k->dropped},
		{"verified_chunks", k->verified},
		{"torn_chunks", k->torn},
		{"state_flushes", k->flushes},
	};
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		(void)fprintf(out, "%s %" PRIu64 "\n", rows[i].name,
			      rows[i].value);
}

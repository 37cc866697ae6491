/* SPDX-License-Identifier: Apache-2.0 */
/* What workers and front-ends ask a cache for, and tell it. */
#include "approaches/common/stage/cache-impl.h"

uint64_t ms_cache_chunk_bytes(const struct ms_backend *b)
{
	return cache_of(b)->options.chunk;
}

uint64_t ms_cache_chunks(const struct ms_backend *b)
{
	return cache_of(b)->chunks;
}

enum ms_chunk_state ms_cache_state(const struct ms_backend *b, uint64_t chunk)
{
	const struct cache *c = cache_of(b);

	return (enum ms_chunk_state)(chunk_state(c, chunk) & STATE_MASK);
}

struct ms_backend *ms_cache_remote(const struct ms_backend *b)
{
	return cache_of(b)->remote;
}

bool ms_cache_gives_up(const struct ms_backend *b)
{
	return cache_of(b)->pins != NULL;
}

void ms_cache_on_local(struct ms_backend *b, ms_cache_range_fn *fn, void *user)
{
	cache_of(b)->on_local = (struct cache_hook){.fn = fn, .user = user};
}

void ms_cache_on_evict(struct ms_backend *b, ms_cache_range_fn *fn, void *user)
{
	cache_of(b)->on_evict = (struct cache_hook){.fn = fn, .user = user};
}

void ms_cache_on_miss(struct ms_backend *b, ms_cache_range_fn *fn, void *user)
{
	cache_of(b)->on_miss = (struct cache_hook){.fn = fn, .user = user};
}

uint64_t ms_cache_next_absent(const struct ms_backend *b, uint64_t from,
			      bool failed)
{
	const struct cache *c = cache_of(b);

	for (uint64_t i = from; i < c->chunks; i++) {
		unsigned s = chunk_state(c, i) & STATE_MASK;
		if (s == MS_CHUNK_ABSENT || (failed && s == MS_CHUNK_FAILED))
			return i;
	}
	return UINT64_MAX;
}

const char *ms_cache_note(const struct ms_backend *b)
{
	const struct cache *c = cache_of(b);

	return c->keep ? c->keep->note : "";
}

uint64_t ms_cache_local_chunks(const struct ms_backend *b)
{
	struct cache *c = cache_of(b);

	pthread_mutex_lock(&c->lock);
	uint64_t count = c->local_chunks;
	pthread_mutex_unlock(&c->lock);
	return count;
}

uint64_t ms_cache_dirty_chunks(const struct ms_backend *b)
{
	struct cache *c = cache_of(b);

	pthread_mutex_lock(&c->lock);
	uint64_t count = c->dirty_chunks;
	pthread_mutex_unlock(&c->lock);
	return count;
}

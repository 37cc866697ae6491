/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over what a state file says at opening: what of it holds, and what
 * that makes of the cache's chunks.
 */
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	SAMPLES = 16 /* clean chunks that are compared at every opening */
};

/* One chunk of the local store: in its mapping, or in `bounce`. NULL: error. */
static const char *local_bytes(struct cache *c, uint64_t chunk, char *bounce)
{
	uint64_t offset = chunk_offset(c, chunk);

	if (c->map)
		return c->map + offset;
	if (ms_read_at(c->local, bounce, run_bytes(c, chunk, 1), offset))
		return NULL;
	return bounce;
}

static bool holds(struct cache *c, uint64_t chunk, char *bounce)
{
	const struct cache_state *s = c->keep->state;
	const char *bytes = local_bytes(c, chunk, bounce);

	return bytes &&
	       cache_state_hash_of(bytes, run_bytes(c, chunk, 1), chunk) ==
		       cache_state_hash(s, chunk);
}

/* Whole chunks of both the region that was and the one that is. */
static uint64_t comparable(const struct cache *c)
{
	const struct cache_state *s = c->keep->state;
	uint64_t both = s->size < c->base.size ? s->size : c->base.size;

	return s->size == c->base.size ? c->chunks : both >> c->shift;
}

/*
 * Another store in the place of ours would hold other bytes. Where clean
 * chunks are exact, some of them show whether it is the same.
 */
static bool same_store(struct cache *c, char *bounce)
{
	const struct cache_state *s = c->keep->state;
	uint64_t every = s->clean / SAMPLES + 1;
	uint64_t seen = 0;

	if (s->fresh || s->check)
		return true;
	for (uint64_t i = 0; i < comparable(c); i++) {
		if (cache_state_get(s, i) != KEPT_CLEAN || seen++ % every)
			continue;
		if (!holds(c, i, bounce))
			return false;
	}
	return true;
}

/*
 * The region grew, and the chunk that held its end was changed: the bytes
 * behind the old end are the remote's.
 */
static int fetch_tail(struct cache *c, char *bounce)
{
	const struct cache_state *s = c->keep->state;
	uint64_t end = s->size;
	uint64_t chunk = end >> c->shift;

	if (s->fresh || c->base.size <= end || end % c->options.chunk == 0 ||
	    cache_state_get(s, chunk) != KEPT_DIRTY || !s->believed)
		return 0;
	uint64_t length = chunk_offset(c, chunk) + run_bytes(c, chunk, 1) - end;
	int rc = ms_read_at(c->remote, bounce, length, end);
	return rc ? rc : ms_write_at(c->local, bounce, length, end);
}

static void take_over_one(struct cache *c, uint64_t chunk)
{
	struct cache_keep *k = c->keep;

	switch (cache_state_get(k->state, chunk)) {
	case KEPT_ABSENT:
		break;
	case KEPT_CLEAN:
		k->resumed_clean++;
		if (k->state->check || c->options.verify) {
			k->suspect[chunk / 64] |= UINT64_C(1) << (chunk % 64);
			k->suspects++;
			break;
		}
		chunk_set(c, chunk, MS_CHUNK_LOCAL);
		c->local_chunks++;
		break;
	case KEPT_DIRTY:
		k->resumed_dirty++;
		chunk_set(c, chunk, MS_CHUNK_DIRTY);
		c->local_chunks++;
		c->dirty_chunks++;
		c->waiting_chunks++;
		break;
	}
}

/*
 * With a limit, what is here must be known: hashes are compared now. What is
 * more than the limit goes; changed chunks stay until they were pushed.
 */
static int fit_limit(struct cache *c, char *bounce)
{
	struct cache_keep *k = c->keep;
	int rc = 0;

	for (uint64_t i = 0; k->suspects && i < c->chunks; i++) {
		if (!keep_suspects(c, i))
			continue;
		if (!keep_confirm(c, i, local_bytes(c, i, bounce)))
			continue;
		chunk_set(c, i, MS_CHUNK_LOCAL);
		c->local_chunks++;
	}
	for (uint64_t i = c->chunks; i-- > 0 && rc == 0;) {
		if (c->local_chunks <= c->limit_chunks)
			break;
		if (c->state[i] != MS_CHUNK_LOCAL)
			continue;
		keep_mark(c, i, 1, KEPT_ABSENT);
		chunk_set(c, i, MS_CHUNK_ABSENT);
		c->local_chunks--;
		k->resumed_clean--;
		struct ms_io io = {.op = MS_OP_TRIM,
				   .offset = chunk_offset(c, i),
				   .length = run_bytes(c, i, 1)};
		rc = ms_wait(c->local, &io);
	}
	return rc;
}

/* Say what is not taken over, or refuse to go on if that loses changes. */
static int agree(struct cache *c)
{
	struct cache_keep *k = c->keep;
	const struct cache_state *s = k->state;

	if (!s->why)
		return 0;
	if (s->loses && !c->options.discard)
		return ms_err_plain(-EUCLEAN,
				    "cache: %s cannot be taken over: %s; "
				    "discard=yes goes on without",
				    s->path, s->why);
	(void)snprintf(k->note, sizeof(k->note),
		       "%.100s is not taken over completely: %s", s->path,
		       s->why);
	return 0;
}

int keep_resume(struct cache *c)
{
	struct cache_keep *k = c->keep;
	struct cache_state *s = k->state;
	char *bounce = malloc(c->options.chunk);

	if (!bounce)
		return ms_err(-ENOMEM, "cache");
	if (!same_store(c, bounce))
		cache_state_forget(s, "the local store does not hold what it "
				      "says");
	uint64_t before = s->bad + s->clean + s->dirty;
	int rc = agree(c);
	if (rc == 0)
		rc = fetch_tail(c, bounce);
	if (rc == 0)
		rc = keep_begin(c);
	for (uint64_t i = 0; rc == 0 && i < c->chunks; i++)
		take_over_one(c, i);
	k->dropped = before - k->resumed_clean - k->resumed_dirty;
	if (rc == 0 && c->limit_chunks)
		rc = fit_limit(c, bounce);
	free(bounce);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where there is work: one bit for each 64 chunks says that some of them may be
 * dirty, be pushed, or carry a flag. It is set with the state (chunk_set) and
 * cleared here by whoever finds all of them at rest, so passes over a region
 * cost what there is to do, not what there is.
 * (One chunk of ten million written and synced: 0.02 ms; 20 ms without.)
 */
#include "approaches/common/stage/cache-impl.h"

enum {
	GROUP = 64 /* chunks: their states fill one cache line */
};

static bool at_rest(const struct cache *c, uint64_t group)
{
	const uint8_t *state = c->state + group * GROUP;

	for (int i = 0; i < GROUP; i++)
		if (chunk_active(state[i]))
			return false;
	return true;
}

uint64_t active_next(struct cache *c, uint64_t from)
{
	uint64_t group = from / GROUP;
	uint64_t groups = (c->chunks + GROUP - 1) / GROUP;

	while (group < groups) {
		uint64_t bits = c->active[group / 64] >> (group % 64);
		if (bits == 0) {
			group = (group / 64 + 1) * 64;
			continue;
		}
		group += (unsigned)__builtin_ctzll(bits);
		if (!at_rest(c, group))
			return from > group * GROUP ? from : group * GROUP;
		c->active[group / 64] &= ~(UINT64_C(1) << (group % 64));
		group++;
	}
	return c->chunks;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the state file: cache-state.c opens and judges it, cache-state-page.c
 * knows where which byte is. Source of the format: CACHE-STATE.md.
 */
#ifndef MS_COMMON_STAGE_CACHE_STATE_IMPL_H
#define MS_COMMON_STAGE_CACHE_STATE_IMPL_H

#include "approaches/common/stage/cache-state.h"

enum {
	HEADER_SEALED = 1 << 0,	  /* closed in order: the states are exact */
	HEADER_CREATING = 1 << 1, /* the pages are not there yet */
	HEADER_CHECK = 1 << 2,	  /* compare clean chunks with their hashes */
};

struct state_header {
	uint64_t size;
	uint64_t chunk;
	uint64_t generation;
	uint64_t salt;
	uint64_t dirty; /* chunks, when sealed */
	uint32_t flags;
	char boot[16];
	char id[CACHE_STATE_ID_MAX + 1];
};

enum header_found {
	HEADER_IO,   /* error, with a sentence */
	HEADER_NONE, /* neither slot holds one */
	HEADER_ONE,  /* the other slot is damaged */
	HEADER_BOTH,
};

/* Read both slots; the newer valid one is *ret. */
enum header_found state_read_header(const struct cache_state *s,
				    struct state_header *ret);

/* Write the next header into the older one's slot, durably. */
int state_write_header(struct cache_state *s, uint32_t flags, uint64_t dirty);

/* Bytes of a file for so many chunks, headers included. */
uint64_t state_file_bytes(uint64_t chunks);

/* Fill in s->clean, s->dirty and s->bad. */
void state_count(struct cache_state *s);

/* Chunks whose states cannot be read become absent. */
void state_drop_bad(struct cache_state *s);

/* All chunks of the pages from `page` on become absent, without hashes. */
void state_clear_pages(struct cache_state *s, uint64_t page);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a state file: two header slots, then pages. The word is the
 * unit of change: 16 states and their check in eight bytes, which a processor
 * stores and a disk writes at once.
 */
#include "approaches/common/stage/cache-state-impl.h"
#include "approaches/common/util/err.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum {
	SLOTS = 2,
	VERSION = 1,
	/* Offsets in a header. */
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_FLAGS = 12,
	AT_SIZE = 16,
	AT_CHUNK = 24,
	AT_GENERATION = 32,
	AT_SALT = 40,
	AT_DIRTY = 48,
	AT_ID_LENGTH = 56,
	AT_BOOT = 64,
	AT_ID = 128,
	AT_HASH = CACHE_STATE_HEADER - 8,
	/* Offsets in a page. */
	AT_WORDS = 0,
	AT_HASHES = 8 * CACHE_STATE_PAGE_WORDS,
};

static const char magic[8] = {'m', 's', 'c', 'a', 'c', 'h', 'e', 'S'};

#define CHUNK_MIN UINT64_C(4096)

/* --- headers ------------------------------------------------------------ */

static uint64_t get64(const char *at)
{
	uint64_t v = 0;

	memcpy(&v, at, sizeof(v));
	return le64toh(v);
}

static void put64(char *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, sizeof(v));
}

static uint32_t get32(const char *at)
{
	uint32_t v = 0;

	memcpy(&v, at, sizeof(v));
	return le32toh(v);
}

static void put32(char *at, uint32_t v)
{
	v = htole32(v);
	memcpy(at, &v, sizeof(v));
}

/* False: not a header that this version wrote. */
static bool parse(const char *raw, struct state_header *ret)
{
	uint32_t length = get32(raw + AT_ID_LENGTH);

	if (memcmp(raw + AT_MAGIC, magic, sizeof(magic)) != 0 ||
	    get32(raw + AT_VERSION) != VERSION ||
	    get64(raw + AT_HASH) != XXH3_64bits(raw, AT_HASH))
		return false;
	*ret = (struct state_header){
		.flags = get32(raw + AT_FLAGS),
		.size = get64(raw + AT_SIZE),
		.chunk = get64(raw + AT_CHUNK),
		.generation = get64(raw + AT_GENERATION),
		.salt = get64(raw + AT_SALT),
		.dirty = get64(raw + AT_DIRTY),
	};
	if (length > CACHE_STATE_ID_MAX || ret->chunk < CHUNK_MIN ||
	    (ret->chunk & (ret->chunk - 1)) || ret->size > INT64_MAX ||
	    ret->chunk > INT64_MAX / 2)
		return false;
	memcpy(ret->boot, raw + AT_BOOT, sizeof(ret->boot));
	memcpy(ret->id, raw + AT_ID, length);
	return true;
}

static int read_slot(const struct cache_state *s, int slot, char *raw)
{
	off_t at = (off_t)slot * CACHE_STATE_HEADER;
	ssize_t n = 0;

	do
		n = pread(s->fd, raw, CACHE_STATE_HEADER, at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return ms_err(-errno, "cache: read %s", s->path);
	/* Behind the end of the file there are zeros: no header. */
	memset(raw + n, 0, (size_t)(CACHE_STATE_HEADER - n));
	return 0;
}

enum header_found state_read_header(const struct cache_state *s,
				    struct state_header *ret)
{
	char raw[CACHE_STATE_HEADER];
	struct state_header h;
	int found = 0;

	for (int slot = 0; slot < SLOTS; slot++) {
		if (read_slot(s, slot, raw))
			return HEADER_IO;
		if (!parse(raw, &h))
			continue;
		if (found == 0 || h.generation > ret->generation)
			*ret = h;
		found++;
	}
	return found == 2 ? HEADER_BOTH : found == 1 ? HEADER_ONE : HEADER_NONE;
}

int state_write_header(struct cache_state *s, uint32_t flags, uint64_t dirty)
{
	char raw[CACHE_STATE_HEADER] = {0};

	s->generation++;
	memcpy(raw + AT_MAGIC, magic, sizeof(magic));
	put32(raw + AT_VERSION, VERSION);
	put32(raw + AT_FLAGS, flags);
	put64(raw + AT_SIZE, s->size);
	put64(raw + AT_CHUNK, s->chunk);
	put64(raw + AT_GENERATION, s->generation);
	put64(raw + AT_SALT, s->salt);
	put64(raw + AT_DIRTY, dirty);
	put32(raw + AT_ID_LENGTH, (uint32_t)strlen(s->id));
	memcpy(raw + AT_BOOT, s->boot, sizeof(s->boot));
	memcpy(raw + AT_ID, s->id, strlen(s->id));
	put64(raw + AT_HASH, XXH3_64bits(raw, AT_HASH));
	off_t at = (off_t)(s->generation % SLOTS) * CACHE_STATE_HEADER;
	ssize_t n = 0;
	do
		n = pwrite(s->fd, raw, sizeof(raw), at);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(raw))
		return ms_err(n < 0 ? -errno : -EIO, "cache: write %s",
			      s->path);
	return cache_state_flush(s);
}

/* --- pages -------------------------------------------------------------- */

static uint64_t pages_of(uint64_t chunks)
{
	return (chunks + CACHE_STATE_PAGE_CHUNKS - 1) / CACHE_STATE_PAGE_CHUNKS;
}

uint64_t state_file_bytes(uint64_t chunks)
{
	return (uint64_t)SLOTS * CACHE_STATE_HEADER +
	       pages_of(chunks) * CACHE_STATE_PAGE;
}

static char *page_at(const struct cache_state *s, uint64_t page)
{
	return s->bytes + (uint64_t)SLOTS * CACHE_STATE_HEADER +
	       page * CACHE_STATE_PAGE;
}

static uint64_t *word_at(const struct cache_state *s, uint64_t word)
{
	char *page = page_at(s, word / CACHE_STATE_PAGE_WORDS);

	return (uint64_t *)(void *)(page + AT_WORDS) +
	       word % CACHE_STATE_PAGE_WORDS;
}

static uint64_t *hash_at(const struct cache_state *s, uint64_t chunk)
{
	char *page = page_at(s, chunk / CACHE_STATE_PAGE_CHUNKS);

	return (uint64_t *)(void *)(page + AT_HASHES) +
	       chunk % CACHE_STATE_PAGE_CHUNKS;
}

/* The states with their check, which holds for this file and place only. */
static uint64_t seal_word(const struct cache_state *s, uint64_t word,
			  uint32_t states)
{
	uint64_t input[2] = {htole64(word), htole64(states)};
	uint64_t check = XXH3_64bits_withSeed(input, sizeof(input), s->salt);

	return (check & ~(uint64_t)UINT32_MAX) | states;
}

static void store_word(struct cache_state *s, uint64_t word, uint32_t states)
{
	__atomic_store_n(word_at(s, word), htole64(seal_word(s, word, states)),
			 __ATOMIC_RELEASE);
}

/* The lower bits of the states that a word may have: fewer in the last one. */
static uint32_t word_mask(const struct cache_state *s, uint64_t word)
{
	uint64_t left = s->chunks - word * CACHE_STATE_WORD_CHUNKS;

	return left >= CACHE_STATE_WORD_CHUNKS
		       ? UINT32_MAX
		       : (UINT32_C(1) << (2 * left)) - 1;
}

/* False: the word is not as it was written. */
static bool load_word(const struct cache_state *s, uint64_t word,
		      uint32_t *ret_states)
{
	uint64_t v =
		le64toh(__atomic_load_n(word_at(s, word), __ATOMIC_ACQUIRE));
	uint32_t states = (uint32_t)v;

	*ret_states = states;
	return v == seal_word(s, word, states) &&
	       (states & ~word_mask(s, word)) == 0 &&
	       (states & (states >> 1) & UINT32_C(0x55555555)) == 0;
}

enum cache_kept cache_state_get(const struct cache_state *s, uint64_t chunk)
{
	uint32_t states = 0;
	unsigned shift = 2 * (unsigned)(chunk % CACHE_STATE_WORD_CHUNKS);

	if (!load_word(s, chunk / CACHE_STATE_WORD_CHUNKS, &states))
		return KEPT_ABSENT;
	return (enum cache_kept)((states >> shift) & 3);
}

void cache_state_set(struct cache_state *s, uint64_t chunk,
		     enum cache_kept kept)
{
	uint64_t word = chunk / CACHE_STATE_WORD_CHUNKS;
	unsigned shift = 2 * (unsigned)(chunk % CACHE_STATE_WORD_CHUNKS);
	/* Ours, in memory: what was damaged is gone since the beginning. */
	uint32_t states = (uint32_t)le64toh(
		__atomic_load_n(word_at(s, word), __ATOMIC_RELAXED));
	uint32_t now =
		(states & ~(UINT32_C(3) << shift)) | ((uint32_t)kept << shift);

	if (now != states)
		store_word(s, word, now);
}

uint64_t cache_state_hash(const struct cache_state *s, uint64_t chunk)
{
	return le64toh(__atomic_load_n(hash_at(s, chunk), __ATOMIC_RELAXED));
}

void cache_state_set_hash(struct cache_state *s, uint64_t chunk, uint64_t hash)
{
	__atomic_store_n(hash_at(s, chunk), htole64(hash), __ATOMIC_RELAXED);
}

uint64_t cache_state_hash_of(const void *bytes, uint64_t length, uint64_t chunk)
{
	uint64_t hash = XXH3_64bits_withSeed(bytes, length, chunk);

	return hash ? hash : 1;
}

static uint64_t words_of(uint64_t chunks)
{
	return (chunks + CACHE_STATE_WORD_CHUNKS - 1) / CACHE_STATE_WORD_CHUNKS;
}

void state_count(struct cache_state *s)
{
	s->clean = 0;
	s->dirty = 0;
	s->bad = 0;
	for (uint64_t i = 0; i < words_of(s->chunks); i++) {
		uint32_t states = 0;
		if (!load_word(s, i, &states)) {
			s->bad += CACHE_STATE_WORD_CHUNKS;
			continue;
		}
		s->clean += (unsigned)__builtin_popcount(states & 0x55555555);
		s->dirty += (unsigned)__builtin_popcount(states & 0xaaaaaaaa);
	}
}

void state_drop_bad(struct cache_state *s)
{
	for (uint64_t i = 0; i < words_of(s->chunks); i++) {
		uint32_t states = 0;
		if (!load_word(s, i, &states))
			store_word(s, i, 0);
	}
}

void state_clear_pages(struct cache_state *s, uint64_t page)
{
	for (; page < pages_of(s->chunks); page++) {
		memset(page_at(s, page), 0, CACHE_STATE_PAGE);
		uint64_t first = page * CACHE_STATE_PAGE_WORDS;
		for (uint64_t i = 0; i < CACHE_STATE_PAGE_WORDS; i++)
			store_word(s, first + i, 0);
	}
}

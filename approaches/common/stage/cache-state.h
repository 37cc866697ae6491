/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file in which a cache keeps its chunk states, so that the next cache over
 * the same local store goes on where this one ended, however it ended. The
 * format, byte by byte, and why it survives what it survives: CACHE-STATE.md.
 *
 * Opening has two halves, so that a file that is refused stays as it is:
 * cache_state_open locks, reads and judges; cache_state_begin writes. Between
 * them the caller may look at the states and ask for a fresh start.
 *
 * One thread at a time (the cache's lock), except for cache_state_flush and
 * cache_state_set_hash of chunks that only the caller has to do with.
 */
#ifndef MS_COMMON_STAGE_CACHE_STATE_H
#define MS_COMMON_STAGE_CACHE_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	CACHE_STATE_ID_MAX = 1024, /* bytes */
	CACHE_STATE_HEADER = 4096,
	CACHE_STATE_PAGE = 4096,
	CACHE_STATE_WORD_CHUNKS = 16,
	CACHE_STATE_PAGE_WORDS = 28,
	CACHE_STATE_PAGE_CHUNKS =
		CACHE_STATE_WORD_CHUNKS * CACHE_STATE_PAGE_WORDS,
};

/* What the file says of a chunk. */
enum cache_kept {
	KEPT_ABSENT,
	KEPT_CLEAN, /* its bytes are those of the remote */
	KEPT_DIRTY, /* changed; the remote may not have that */
};

struct cache_state_config {
	const char *path;
	const char *id; /* of the region, at most CACHE_STATE_ID_MAX bytes */
	uint64_t size;	/* of the region now */
	uint64_t chunk;
	uint64_t local; /* bytes that the local store was found with */
	bool trust;	/* the host was shut down in order */
};

struct cache_state {
	int fd;
	char *bytes; /* the mapping, or NULL */
	uint64_t mapped;
	uint64_t size; /* of the region, as the header has it */
	uint64_t chunk;
	uint64_t chunks;
	uint64_t salt;
	uint64_t generation; /* of the newest header */
	char *path;
	char *id;
	char boot[16];

	/* What opening found; counted before anything is changed. */
	bool fresh;	 /* all is absent: a new file, or as `why` says */
	bool believed;	 /* states are exact; else only what hashes confirm */
	bool check;	 /* clean chunks must be compared with their hashes */
	const char *why; /* what is not taken over, or NULL; static text */
	bool loses;	 /* by that, changes are lost, or may be */
	uint64_t clean;
	uint64_t dirty;
	uint64_t bad; /* chunks whose state cannot be read */
};

/*
 * Open or create config->path, lock it, and find out what can be taken over
 * for a region of config->size bytes. An existing file is not changed. 0 with
 * the findings in *ret; -EBUSY: another cache uses it; -EINVAL: not a regular
 * file; or what the file system says. Blocks.
 */
int cache_state_open(const struct cache_state_config *config,
		     struct cache_state **ret)
	__attribute__((nonnull, warn_unused_result));

/* Take nothing over, for a reason (static text); ends in `loses` if there are
 * changes. Before cache_state_begin. */
void cache_state_forget(struct cache_state *s, const char *why)
	__attribute__((nonnull));

/*
 * Make the file that of a cache in use, for a region of `size` bytes: what is
 * not taken over becomes absent, and so do chunks beyond a new end and the one
 * that an end cuts or cut (unless it is dirty: its new bytes are the caller's
 * business). 0 or negative errno. Blocks.
 */
int cache_state_begin(struct cache_state *s, uint64_t size)
	__attribute__((nonnull, warn_unused_result));

/*
 * Close it. `sealed`: nothing is in flight and the local store was synced, so
 * the states hold for the next cache even after a restart of the host. NULL is
 * legal. 0, or negative errno: then it is not sealed.
 */
int cache_state_close(struct cache_state *s, bool sealed);

/* The state of a chunk. */
enum cache_kept cache_state_get(const struct cache_state *s, uint64_t chunk)
	__attribute__((nonnull));

/* Set it: one aligned store of eight bytes, so that no crash leaves a half. */
void cache_state_set(struct cache_state *s, uint64_t chunk,
		     enum cache_kept kept) __attribute__((nonnull));

/* The hash of a chunk's bytes that is kept for it; 0: none. */
uint64_t cache_state_hash(const struct cache_state *s, uint64_t chunk)
	__attribute__((nonnull));
void cache_state_set_hash(struct cache_state *s, uint64_t chunk, uint64_t hash)
	__attribute__((nonnull));

/* Wait until everything set before is on the disk. Any thread. */
int cache_state_flush(const struct cache_state *s) __attribute__((nonnull));

/* The hash of the bytes of a chunk, never 0. */
uint64_t cache_state_hash_of(const void *bytes, uint64_t length, uint64_t chunk)
	__attribute__((nonnull));

#endif

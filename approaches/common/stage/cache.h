/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache: the stage that joins a *local* store and a *remote* backend. It
 * keeps a state for each chunk of the region and makes these promises:
 *
 *  - requests for one chunk become one fetch, neighbours one larger request;
 *  - an urgent request hurries the fetch it needs past background ones;
 *  - a write that covers an absent chunk does not fetch it;
 *  - a chunk changed while it is pushed is pushed again;
 *  - SYNC completes when every write completed before it is durable at the
 *    remote, and carries the first error; what could not be made durable stays
 *    dirty and is tried again by the next SYNC;
 *  - a failed fetch is retried, then reported to everybody who waits for it;
 *  - with a limit, chunks are given up: clean ones first, dirty ones after
 *    their push; an access to one of them fetches it again. If the remote
 *    refuses the push, requests that need the room fail with its error.
 *
 *                 +------------------ fetch fails ------------------+
 *                 v                                                 |
 *	ABSENT --access--> FETCHING --arrived--> LOCAL --write--> DIRTY |
 *	  ^  |  (FAILED behaves as ABSENT)        |  ^              |   |
 *	  |  +---- write of a whole chunk --------|--|------------> |   |
 *	  +------------- evicted, invalidated ----+  +-- PUSHING <--+
 *
 * If the local store can MAP, the remote receives straight into its mapping;
 * front-ends show the same pages. MS_OP_POPULATE makes a range local.
 */
#ifndef MS_COMMON_STAGE_CACHE_H
#define MS_COMMON_STAGE_CACHE_H

#include "memsync/backend.h"

enum ms_chunk_state {
	MS_CHUNK_ABSENT,
	MS_CHUNK_FETCHING, /* or written for the first time, or given up */
	MS_CHUNK_LOCAL,
	MS_CHUNK_DIRTY,
	MS_CHUNK_PUSHING,
	MS_CHUNK_FAILED, /* the last fetch failed; the next access retries */
};

struct ms_cache_options {
	uint64_t chunk; /* bytes, a power of two, at least 4096 */
	uint64_t limit; /* local bytes at most, at least 16 chunks; 0: none */
	uint64_t
		request; /* longest fetch or push in bytes, multiple of chunk */
	uint64_t retries;  /* of a failed fetch or push */
	uint64_t retry_ns; /* before the first retry; doubles each time */
	bool watch;	   /* drop clean chunks that others changed */

	/* Outlasting the process; see below. Strings are not kept. */
	const char *state; /* path of the state file; NULL: none */
	const char *id;	   /* of the region, at most 1024 bytes; NULL: "" */
	bool verify;	   /* compare resumed chunks with their hashes first */
	bool discard;	   /* go on if that loses changes */
	bool trust;	   /* believe the states in spite of a restart */
};

/*
 * With a state file the next cache over the same local store resumes: clean
 * chunks are LOCAL, changed ones DIRTY, from the start (no front-end is called
 * for them), and only what is absent is fetched. The promises:
 *
 *  - a process that is killed loses no write that had completed, and a write
 *    that had not shows up in whole chunks as old, new, or both in parts;
 *  - when the host goes down, everything up to the last completed SYNC is at
 *    the remote. Clean chunks are compared with their hashes on first use;
 *    those that had not reached the disk are fetched again;
 *  - what cannot be believed (damage, another region's file, another local
 *    store) is treated as absent, ms_cache_note says so; if changes would be
 *    lost by that, or were lost when the host went down, opening fails with
 *    -EUCLEAN unless `discard` is set, and the file stays as it is. -EBUSY:
 *    another cache uses it.
 *
 * While no cache has the region open nobody else may change it at the remote
 * (nor with `watch`, so the two exclude each other); if somebody did, use
 * another id. A front-end that writes to mapped pages by itself must call
 * ms_cache_mark_dirty before the first byte changes.
 */

/*
 * Join `local` and `remote`, which belong to the cache on success. The local
 * store is resized to the remote's size. 0, or negative errno.
 */
int ms_cache_open(struct ms_backend *local, struct ms_backend *remote,
		  const struct ms_cache_options *options,
		  struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/* True if `b` is a cache: the calls below take nothing else. */
bool ms_cache_is(const struct ms_backend *b) __attribute__((nonnull));

uint64_t ms_cache_chunk_bytes(const struct ms_backend *b);
uint64_t ms_cache_chunks(const struct ms_backend *b);
enum ms_chunk_state ms_cache_state(const struct ms_backend *b, uint64_t chunk);
struct ms_backend *ms_cache_remote(const struct ms_backend *b);
/* True if it may give up chunks that are local (limit, watch). */
bool ms_cache_gives_up(const struct ms_backend *b) __attribute__((nonnull));

/* A range that concerns a front-end; called without locks, must not block. */
typedef void ms_cache_range_fn(void *user, uint64_t offset, uint64_t length);

/* Have `fn` called after a range became local. Set before the first I/O. */
void ms_cache_on_local(struct ms_backend *b, ms_cache_range_fn *fn, void *user);

/*
 * Have `fn` called before the bytes of a range are given up; a front-end must
 * make them inaccessible before it returns. What it finds changed it may still
 * say (ms_cache_mark_dirty, from inside the call): the range is kept then, and
 * becomes local again. Set before the first I/O.
 */
void ms_cache_on_evict(struct ms_backend *b, ms_cache_range_fn *fn, void *user);

/* Have `fn` called when somebody waits for a range that is not local. */
void ms_cache_on_miss(struct ms_backend *b, ms_cache_range_fn *fn, void *user);

/*
 * The first absent chunk at or after `from`, or UINT64_MAX. FAILED chunks
 * count as absent only if `failed` is set.
 */
uint64_t ms_cache_next_absent(const struct ms_backend *b, uint64_t from,
			      bool failed);

/* A front-end changed a local range by itself (a mapped page was written). */
void ms_cache_mark_dirty(struct ms_backend *b, uint64_t offset,
			 uint64_t length);

/* Begin to push what is dirty now; returns at once. Errors show in SYNC. */
void ms_cache_push(struct ms_backend *b);

/* What of the state file was not taken over, in a sentence; "" if all was. */
const char *ms_cache_note(const struct ms_backend *b) __attribute__((nonnull));

/* Numbers of chunks that are local (dirty ones included), and dirty. */
uint64_t ms_cache_local_chunks(const struct ms_backend *b);
uint64_t ms_cache_dirty_chunks(const struct ms_backend *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes a cache outlast its process: the marks in its state file
 * (cache-state.h), kept in an order that leaves every crash a safe state.
 *
 *  - present bytes are in the local store before their chunk is marked clean;
 *  - a present chunk is marked dirty before the first byte of a write to it;
 *  - that mark is on the disk before the remote gets the bytes;
 *  - it is marked clean when they are durable at the remote, and a SYNC ends
 *    when that mark is on the disk;
 *  - it is marked absent before its bytes are given up or written over.
 *
 * `c->keep` is NULL without a state file. Functions are called with the lock
 * held unless something else is said.
 */
#ifndef MS_COMMON_STAGE_CACHE_KEEP_H
#define MS_COMMON_STAGE_CACHE_KEEP_H

#include "approaches/common/stage/cache-state.h"
#include "approaches/common/util/task.h"

#include <pthread.h>
#include <stdio.h>

struct cache;

struct cache_keep {
	struct cache_state *state;

	uint64_t *suspect; /* a bit a chunk: clean, if its hash says so */
	uint64_t suspects;
	uint32_t *writers; /* a word a chunk: writes that are moving bytes */
	uint64_t *fresh;   /* a bit a chunk: its dirty mark is in memory only */
	uint64_t *flushing; /* a bit a chunk: on its way to the disk */
	bool any_fresh;

	/* The thread that waits for the disk. */
	pthread_t thread;
	pthread_cond_t work;
	bool started;
	bool stop;
	bool in_flight;
	uint64_t marks;	  /* number of marks set so far */
	uint64_t flight;  /* `marks` when the flush in flight began */
	uint64_t durable; /* so many of them are on the disk */
	int error;	  /* of the first flush that failed */

	/* statistics */
	uint64_t resumed_clean, resumed_dirty, dropped, verified, torn, flushes;
	char note[256];
};

/*
 * Open the state file; nothing is changed yet. `local` is how long the local
 * store was found. Without the lock, as are the next two. 0 or negative errno.
 */
int keep_open(struct cache *c, uint64_t local);

/* Take over what was kept, once the local store is in place. Blocks. */
int keep_resume(struct cache *c);

/* Its last step: the file is that of a cache in use, the thread runs. */
int keep_begin(struct cache *c);

/* End it: `sealed` if the cache was in use and has become quiet. Blocks. */
void keep_close(struct cache *c, bool sealed);

/* Chunks became clean, dirty or absent. */
void keep_mark(struct cache *c, uint64_t first, uint64_t count,
	       enum cache_kept kept);

/* The chunk's push is durable at the remote: clean, if nobody writes to it. */
bool keep_pushed(struct cache *c, uint64_t chunk);

/* A write to present chunks moves its bytes between these two. */
void keep_write_begin(struct cache *c, uint64_t first, uint64_t count);
void keep_write_end(struct cache *c, uint64_t first, uint64_t count);

/* Hash chunks that nobody else moves: fetched, or pushed. Without the lock. */
void keep_hash(struct cache *c, const char *bytes, uint64_t first,
	       uint64_t count);

/* True if the chunk's bytes may be here already, see keep_confirm. */
bool keep_suspects(const struct cache *c, uint64_t chunk);

/*
 * Are these the bytes of a suspect? If not (NULL: they cannot be read) it is
 * absent from now on. Takes the lock itself.
 */
bool keep_confirm(struct cache *c, uint64_t chunk, const char *bytes);

/* True if the chunk's dirty mark is on the disk, so that it may be pushed. */
bool keep_may_push(const struct cache *c, uint64_t chunk);

/* Have marks that pushes wait for written to the disk. */
void keep_flush_fresh(struct cache *c);

/* Have all marks written to the disk; returns the number to wait for. */
uint64_t keep_flush(struct cache *c);

void keep_stats(struct cache *c, FILE *out);

#endif

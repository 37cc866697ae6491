/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the cache: what its files share. cache.c is the stage itself,
 * cache-job.c serves requests that cannot be answered at once, cache-fetch.c
 * makes chunks local, cache-push.c writes back, cache-evict.c gives up. What
 * outlasts the process is in cache-keep.h.
 *
 * One lock guards the states and all lists. Nothing is submitted, completed or
 * called back with the lock held: such steps become tasks, collected in a
 * struct ms_tasks under the lock and run after it is released.
 */
#ifndef MS_COMMON_STAGE_CACHE_IMPL_H
#define MS_COMMON_STAGE_CACHE_IMPL_H

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache-keep.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/task.h"
#include "approaches/common/util/timer.h"

#include <pthread.h>

enum {
	/* A state byte: the state and flags. */
	STATE_MASK = 0x07,
	FLAG_STALE = 0x08,    /* changed at the remote; give up when unused */
	FLAG_REDIRTY = 0x10,  /* PUSHING: written since the push began */
	FLAG_WANTED = 0x20,   /* the flush pass waits for its push */
	FLAG_UNSYNCED = 0x40, /* pushed, not yet covered by a remote SYNC */
	FLAG_SYNCING = 0x80,  /* covered by the remote SYNC in flight */

	/* A pin word: the number of users of the chunk's bytes, and a mark. */
	PIN_COUNT = 0x7fffffff,

	FETCH_BUCKETS = 1024, /* a power of two */
};

#define PIN_USED UINT32_C(0x80000000) /* accessed since the last sweep */

struct job;

/* A job that waits for a fetch. */
struct waiter {
	struct job *job;
	struct waiter *next;
};

enum fetch_kind {
	FETCH_REMOTE,  /* bytes come from the remote */
	FETCH_WRITE,   /* a first write covers the chunks */
	FETCH_DISCARD, /* the chunks are given up */
};

/*
 * A run of chunks in state FETCHING. It never crosses a multiple of
 * options.request (a cell), so a chunk's fetch is found by hashing its cell.
 */
struct fetch {
	struct cache *cache;
	struct ms_task task;
	enum fetch_kind kind;
	uint64_t first; /* chunk */
	uint64_t count; /* chunks */
	struct ms_io io;
	bool in_flight; /* io is with the remote */
	bool urgent;
	bool cancelled;
	bool waiting;  /* for the retry timer */
	bool ended;    /* to be freed when it is not held any more */
	bool stale;    /* the remote changed the range meanwhile: fetch again */
	bool revived;  /* DISCARD: written meanwhile, so it is kept */
	bool present;  /* ended well; pinned until the front-end was told */
	bool suspect;  /* one chunk that may be here already */
	unsigned held; /* by whoever uses it without the lock */
	void *bounce;  /* when the local store cannot MAP */
	unsigned failures;
	struct ms_timer retry;
	struct waiter *waiters;
	struct fetch *next; /* in its bucket */
};

enum job_phase {
	JOB_WAITING, /* for fetches, room, or a flush */
	JOB_MOVING,  /* bytes move between the caller and the local store */
	JOB_ENDED,   /* io is completed; kept until the last reference */
};

/*
 * A request that needs more than a copy. It works on one piece of its range
 * after the other.
 */
struct job {
	struct cache *cache;
	struct ms_task task;
	struct ms_task end_task;
	struct ms_io *io;
	enum job_phase phase;
	bool urgent;
	bool starved;  /* on cache.starved */
	unsigned refs; /* 1 while not ended, 1 a waiter, list, timer */
	unsigned waits;
	uint64_t done_bytes; /* of the range */
	uint64_t piece;	     /* bytes at work behind them */
	int result;
	const char *origin;
	struct ms_io child; /* JOB_MOVING, without MAP */
	struct fetch *own;  /* FETCH_WRITE of the piece */
	struct ms_timer deadline;
	uint64_t span_ns;  /* SYNC: time allowed without progress */
	uint64_t progress; /* cache.progress when the timer was armed */
	struct job *prev;  /* cache.jobs */
	struct job *next;
	struct job *queue_next; /* cache.starved, pass or next_pass */
};

/* A write-back in flight. */
struct push {
	struct cache *cache;
	struct push *prev; /* cache.pushing */
	struct push *next;
	bool cancelled;
	bool ended;    /* to be freed when it is not held any more */
	unsigned held; /* as in struct fetch */
	struct ms_task task;
	uint64_t first; /* chunk */
	uint64_t count; /* chunks */
	uint64_t pass;	/* the number of the pass in which it began */
	struct ms_io io;
	void *bounce;
};

struct cache_hook {
	ms_cache_range_fn *fn;
	void *user;
};

struct cache {
	struct ms_backend base;
	struct ms_backend *local;
	struct ms_backend *remote;
	struct ms_cache_options options;
	unsigned shift; /* chunk = 1 << shift */
	uint64_t chunks;
	char *map; /* the local store's bytes, or NULL */
	struct cache_hook on_local;
	struct cache_hook on_evict;
	struct cache_hook on_miss;
	struct cache_hook on_change;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t quiet; /* busy became 0 */
	bool closing;
	unsigned busy;	/* fetches, pushes, syncs, timers in flight */
	uint8_t *state; /* a byte a chunk; read without the lock if !pins */
	uint32_t *pins; /* a word a chunk; NULL if chunks never go away */
	uint64_t local_chunks;
	uint64_t dirty_chunks;	 /* DIRTY and PUSHING */
	uint64_t waiting_chunks; /* DIRTY only */
	uint64_t *active;	 /* a bit for 64 chunks: see cache-active.c */
	struct cache_keep *keep; /* NULL: nothing outlasts the process */
	struct fetch *buckets[FETCH_BUCKETS];
	struct job *jobs;

	/* cache-evict.c */
	uint64_t limit_chunks; /* 0: none */
	uint64_t hand;
	struct job *starved; /* in order of arrival */
	struct job **starved_end;
	int room_error; /* of the pass that should have made room, or 0 */
	const char *room_origin;

	/* cache-push.c and cache-pass.c */
	struct push *pushing;
	uint64_t cursor;
	uint64_t push_bytes;  /* in flight */
	uint64_t push_budget; /* chunks that background pushing may still do */
	unsigned push_failures;
	bool push_held; /* waiting for the retry timer */
	struct ms_timer push_retry;
	uint64_t progress; /* pushes completed */
	bool pass_active;
	bool pass_wanted;      /* by eviction, without a job */
	uint64_t pass;	       /* its number */
	unsigned pass_repeats; /* because the remote was restarted */
	uint64_t wanted;       /* chunks with FLAG_WANTED */
	uint64_t unsynced;
	bool pass_syncing;   /* sync_io is with the remote, or as follows */
	bool pass_flushing;  /* it has ended well; so many marks must be */
	uint64_t pass_marks; /* on the disk */
	struct job *pass_jobs;
	struct job *next_jobs;
	struct ms_task sync_task;
	struct ms_io sync_io;

	/* statistics */
	uint64_t hits, misses, fetches, fetch_failures, pushes, push_errors,
		evicted, fetched_bytes, pushed_bytes;
};

static inline struct cache *cache_of(const struct ms_backend *b)
{
	return ms_container_of(b, struct cache, base);
}

static inline uint8_t chunk_state(const struct cache *c, uint64_t chunk)
{
	return __atomic_load_n(&c->state[chunk], __ATOMIC_ACQUIRE);
}

/* True if a state concerns those who look for work: see cache-active.c. */
static inline bool chunk_active(unsigned state)
{
	return state > MS_CHUNK_LOCAL && state != MS_CHUNK_FAILED;
}

static inline void chunk_set(struct cache *c, uint64_t chunk, unsigned state)
{
	if (chunk_active(state))
		c->active[chunk >> 12] |= UINT64_C(1) << (chunk >> 6 & 63);
	__atomic_store_n(&c->state[chunk], (uint8_t)state, __ATOMIC_RELEASE);
}

/* True if the chunk's bytes may be read from the local store. */
static inline bool chunk_present(uint8_t state)
{
	unsigned s = state & STATE_MASK;

	return (s == MS_CHUNK_LOCAL || s == MS_CHUNK_DIRTY ||
		s == MS_CHUNK_PUSHING) &&
	       !(state & FLAG_STALE);
}

static inline unsigned kind_of(uint8_t state)
{
	return state & STATE_MASK;
}

static inline uint64_t chunk_offset(const struct cache *c, uint64_t chunk)
{
	return chunk << c->shift;
}

/* Bytes of a run of chunks: the region's last chunk may be short. */
static inline uint64_t run_bytes(const struct cache *c, uint64_t first,
				 uint64_t count)
{
	uint64_t end = chunk_offset(c, first + count);

	return (end < c->base.size ? end : c->base.size) -
	       chunk_offset(c, first);
}

/* Chunks a cell of options.request bytes has, and the end of chunk's cell. */
static inline uint64_t cell_end(const struct cache *c, uint64_t chunk)
{
	uint64_t cell = c->options.request >> c->shift;
	uint64_t end = (chunk / cell + 1) * cell;

	return end < c->chunks ? end : c->chunks;
}

/* Run the tasks collected under the lock, after releasing it. */
static inline void cache_unlock(struct cache *c, struct ms_tasks *tasks)
{
	pthread_mutex_unlock(&c->lock);
	ms_tasks_run(tasks);
}

static inline void cache_call(const struct cache_hook *hook, uint64_t offset,
			      uint64_t length)
{
	if (hook->fn)
		hook->fn(hook->user, offset, length);
}

/* One less in flight; the lock is held. */
static inline void cache_rest(struct cache *c)
{
	if (--c->busy == 0)
		pthread_cond_broadcast(&c->quiet);
}

/* All functions below are called with the lock held. */

/* cache-fetch.c */
struct fetch *fetch_find(const struct cache *c, uint64_t chunk);
struct fetch *fetch_begin(struct cache *c, enum fetch_kind kind, uint64_t first,
			  uint64_t count);
void fetch_start_remote(struct fetch *fetch, bool urgent,
			struct ms_tasks *tasks);
void fetch_start_discard(struct fetch *fetch, struct ms_tasks *tasks);
void fetch_end(struct fetch *fetch, unsigned state, int result,
	       const char *origin, struct ms_tasks *tasks);
int fetch_wait(struct fetch *fetch, struct job *job);
void fetch_hurry(struct fetch *fetch);
void fetch_quiesce(struct cache *c);

/* cache-job.c */
void job_start(struct cache *c, struct ms_io *io);
void job_advance(struct job *job, struct ms_tasks *tasks);
void job_woken(struct job *job, int result, const char *origin,
	       struct ms_tasks *tasks);
void job_finish(struct job *job, int result, const char *origin,
		struct ms_tasks *tasks);
void job_unref(struct job *job);

/* cache-push.c */
void mark_dirty(struct cache *c, uint64_t first, uint64_t count);
void push_pump(struct cache *c, struct ms_tasks *tasks);
void push_quiesce(struct cache *c);

/* cache-pass.c */
void pass_check(struct cache *c, struct ms_tasks *tasks);
void pass_end(struct cache *c, int result, const char *origin,
	      struct ms_tasks *tasks);
void sync_join(struct cache *c, struct job *job, struct ms_tasks *tasks);
void pass_request(struct cache *c, struct ms_tasks *tasks);
void pass_drop(struct cache *c);
/* So many marks of the state file are on the disk, or failed to get there. */
void push_flushed(struct cache *c, uint64_t marks, int error,
		  struct ms_tasks *tasks);

/* cache-active.c */
/*
 * The first chunk at or after `from` that may be dirty, be pushed, or have a
 * flag; c->chunks if there is none.
 */
uint64_t active_next(struct cache *c, uint64_t from);

/* cache-evict.c */
void pin_range(struct cache *c, uint64_t offset, uint64_t length);
void unpin_range(struct cache *c, uint64_t offset, uint64_t length,
		 struct ms_tasks *tasks);
/* True if there is room; else it is being made, or *ret_error says why not. */
bool evict_room(struct cache *c, uint64_t need, int *ret_error,
		struct ms_tasks *tasks);
void evict_starve(struct cache *c, struct job *job);
void evict_feed(struct cache *c, struct ms_tasks *tasks);
void evict_after_pass(struct cache *c, int result, const char *origin,
		      struct ms_tasks *tasks);
void evict_stale(struct cache *c, uint64_t chunk, struct ms_tasks *tasks);
void evict_changed(void *user, uint64_t offset, uint64_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing back. Dirty chunks go to the remote in the order of their offsets,
 * neighbours merged. A *flush pass* serves all SYNC requests that wait when it
 * begins: it marks what is dirty, waits until each marked chunk was pushed,
 * and then has the remote sync. What a remote did not confirm as durable is
 * made dirty again.
 */
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Bytes in flight to the remote, which paces itself below that. */
#define PUSH_FLIGHT_BYTES (UINT64_C(16) << 20)

enum {
	/* Restarts of the remote that one SYNC survives. */
	PASS_REPEATS_MAX = 8,
};

static void pass_begin(struct cache *c, struct ms_tasks *tasks);
static void pass_check(struct cache *c, struct ms_tasks *tasks);
static void pass_end(struct cache *c, int result, const char *origin,
		     struct ms_tasks *tasks);

/* --- states
 * ------------------------------------------------------------------- */

static unsigned kind_of(uint8_t state)
{
	return state & STATE_MASK;
}

void mark_dirty(struct cache *c, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		uint8_t s = c->state[i];
		if (kind_of(s) == MS_CHUNK_PUSHING) {
			chunk_set(c, i, s | FLAG_REDIRTY);
		} else if (kind_of(s) == MS_CHUNK_LOCAL) {
			/* Ours is the newer one: a change elsewhere lost. */
			chunk_set(c, i,
				  (s & ~(unsigned)(STATE_MASK | FLAG_STALE)) |
					  MS_CHUNK_DIRTY);
			c->dirty_chunks++;
			c->waiting_chunks++;
		} else if (kind_of(s) == MS_CHUNK_FETCHING) {
			/* A front-end found it changed while giving it up. */
			struct fetch *f = fetch_find(c, i);
			f->revived = f->kind == FETCH_DISCARD;
		}
	}
}

static void drop_wanted(struct cache *c, uint64_t chunk)
{
	if (!(c->state[chunk] & FLAG_WANTED))
		return;
	chunk_set(c, chunk, c->state[chunk] & ~(unsigned)FLAG_WANTED);
	c->wanted--;
}

/* --- one push
 * -------------------------------------------------------------------- */

/* The chunk's push succeeded: clean, unless written meanwhile. */
static void chunk_pushed(const struct push *p, uint64_t chunk)
{
	struct cache *c = p->cache;
	uint8_t s = c->state[chunk];
	bool redirty = s & FLAG_REDIRTY;

	if (!(s & FLAG_UNSYNCED))
		c->unsynced++;
	s = (uint8_t)((s & ~(unsigned)(STATE_MASK | FLAG_REDIRTY)) |
		      FLAG_UNSYNCED |
		      (redirty ? MS_CHUNK_DIRTY : MS_CHUNK_LOCAL));
	chunk_set(c, chunk, s);
	if (redirty)
		c->waiting_chunks++;
	else
		c->dirty_chunks--;
	/*
	 * A push that began in this pass carried everything written before
	 * the pass; an older one did only if nothing was written since.
	 */
	if (!redirty || p->pass == c->pass)
		drop_wanted(c, chunk);
}

static void chunk_not_pushed(struct cache *c, uint64_t chunk)
{
	unsigned s = c->state[chunk];

	s = (s & ~(unsigned)(STATE_MASK | FLAG_REDIRTY)) | MS_CHUNK_DIRTY;
	chunk_set(c, chunk, s);
	c->waiting_chunks++;
}

static void push_retry(struct ms_timer *timer)
{
	struct cache *c = ms_container_of(timer, struct cache, push_retry);
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	c->push_held = false;
	push_pump(c, &tasks);
	cache_rest(c);
	cache_unlock(c, &tasks);
}

/* Wait before the next push, or give the pass up. */
static void push_failed(struct cache *c, int result, const char *origin,
			struct ms_tasks *tasks)
{
	c->push_errors++;
	/* What was in flight beside the first failure is the same attempt. */
	if (c->push_held)
		return;
	c->push_failures++;
	unsigned doublings = c->push_failures < 10 ? c->push_failures : 10;
	uint64_t wait = c->options.retry_ns << (doublings - 1);
	if (c->push_failures <= c->options.retries && !c->closing &&
	    ms_timer_arm(&c->push_retry, ms_now_ns() + wait, push_retry) == 0) {
		c->push_held = true;
		c->busy++;
		return;
	}
	/* Until somebody asks again: the chunks stay dirty. */
	c->push_failures = 0;
	c->push_budget = 0;
	/* A pass that is at its sync has pushed all that it needed to. */
	if (c->pass_active && !c->pass_syncing)
		pass_end(c, result, origin, tasks);
	if (c->limit_chunks)
		evict_feed(c, tasks);
}

/* Free it if it has ended and nobody holds it. The lock is held. */
static void push_release(struct push *p)
{
	struct cache *c = p->cache;

	if (!p->ended || p->held)
		return;
	if (p->prev)
		p->prev->next = p->next;
	else
		c->pushing = p->next;
	if (p->next)
		p->next->prev = p->prev;
	free(p->bounce);
	free(p);
	cache_rest(c);
}

static void push_done(struct ms_io *io)
{
	struct push *p = io->user;
	struct cache *c = p->cache;
	struct ms_tasks tasks = {0};
	int result = io->result;
	const char *origin = io->origin;

	pthread_mutex_lock(&c->lock);
	c->push_bytes -= run_bytes(c, p->first, p->count);
	for (uint64_t i = p->first; i < p->first + p->count; i++) {
		if (result == 0)
			chunk_pushed(p, i);
		else
			chunk_not_pushed(c, i);
	}
	if (result == 0) {
		c->push_failures = 0;
		c->progress++;
		c->pushes++;
		c->pushed_bytes += run_bytes(c, p->first, p->count);
	} else {
		push_failed(c, result, origin, &tasks);
	}
	push_pump(c, &tasks);
	pass_check(c, &tasks);
	if (c->starved)
		evict_feed(c, &tasks);
	p->ended = true;
	push_release(p);
	cache_unlock(c, &tasks);
}

/* The lock is held, but not while the remote is asked. */
static void push_cancel(struct push *p)
{
	struct cache *c = p->cache;

	p->cancelled = true;
	p->held++;
	pthread_mutex_unlock(&c->lock);
	ms_cancel(c->remote, &p->io);
	pthread_mutex_lock(&c->lock);
	p->held--;
}

static void push_write(struct push *p, void *buf)
{
	struct cache *c = p->cache;

	p->io = (struct ms_io){.op = MS_OP_WRITE,
			       .priority = MS_BULK,
			       .offset = chunk_offset(c, p->first),
			       .length = run_bytes(c, p->first, p->count),
			       .buf = buf,
			       .done = push_done,
			       .user = p};
	pthread_mutex_lock(&c->lock);
	p->held++;
	pthread_mutex_unlock(&c->lock);
	ms_submit(c->remote, &p->io);
	pthread_mutex_lock(&c->lock);
	p->held--;
	/* Close may have cancelled it before the remote knew of it. */
	if (c->closing && !p->ended)
		push_cancel(p);
	push_release(p);
	pthread_mutex_unlock(&c->lock);
}

static void push_was_read(struct ms_io *io)
{
	struct push *p = io->user;

	if (io->result)
		push_done(io);
	else
		push_write(p, p->bounce);
}

static void push_submit(struct ms_task *task)
{
	struct push *p = ms_container_of(task, struct push, task);
	struct cache *c = p->cache;
	uint64_t offset = chunk_offset(c, p->first);
	uint64_t length = run_bytes(c, p->first, p->count);

	if (c->map) {
		push_write(p, c->map + offset);
		return;
	}
	p->bounce = malloc(length);
	p->io = (struct ms_io){.op = MS_OP_READ,
			       .offset = offset,
			       .length = length,
			       .buf = p->bounce,
			       .done = push_was_read,
			       .user = p};
	if (p->bounce) {
		ms_submit(c->local, &p->io);
		return;
	}
	p->io.result = -ENOMEM;
	p->io.origin = "cache";
	push_done(&p->io);
}

/* --- which chunks next
 * ------------------------------------------------------------ */

static bool eligible(const struct cache *c, uint64_t chunk)
{
	uint8_t s = c->state[chunk];

	return kind_of(s) == MS_CHUNK_DIRTY &&
	       ((s & FLAG_WANTED) || c->push_budget > 0);
}

/* From the cursor once around; false if nothing is to be pushed. */
static bool next_run(struct cache *c, uint64_t *ret_first, uint64_t *ret_count)
{
	uint64_t first = c->cursor;
	uint64_t seen = 0;

	if (c->waiting_chunks == 0 || (c->wanted == 0 && c->push_budget == 0))
		return false;
	for (; seen < c->chunks; seen++, first++) {
		if (first >= c->chunks)
			first = 0;
		if (eligible(c, first))
			break;
	}
	if (seen == c->chunks)
		return false;
	uint64_t end = cell_end(c, first);
	uint64_t next = first + 1;
	while (next < end && eligible(c, next))
		next++;
	*ret_first = first;
	*ret_count = next - first;
	c->cursor = next;
	return true;
}

static int push_begin(struct cache *c, uint64_t first, uint64_t count,
		      struct ms_tasks *tasks)
{
	struct push *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->cache = c;
	p->first = first;
	p->count = count;
	p->pass = c->pass;
	for (uint64_t i = first; i < first + count; i++) {
		unsigned s = c->state[i] & ~(unsigned)STATE_MASK;
		chunk_set(c, i, s | MS_CHUNK_PUSHING);
	}
	c->waiting_chunks -= count;
	c->push_budget -= count < c->push_budget ? count : c->push_budget;
	c->push_bytes += run_bytes(c, first, count);
	c->busy++;
	p->next = c->pushing;
	if (c->pushing)
		c->pushing->prev = p;
	c->pushing = p;
	ms_tasks_add(tasks, &p->task, push_submit);
	return 0;
}

void push_pump(struct cache *c, struct ms_tasks *tasks)
{
	uint64_t first = 0;
	uint64_t count = 0;

	while (!c->closing && !c->push_held &&
	       c->push_bytes < PUSH_FLIGHT_BYTES &&
	       next_run(c, &first, &count)) {
		int rc = push_begin(c, first, count, tasks);
		if (rc) {
			push_failed(c, rc, "cache", tasks);
			return;
		}
	}
}

/* Close: cancel what is with the remote; begin nothing more. */
void push_quiesce(struct cache *c)
{
	struct push *p = c->pushing;

	while (p) {
		/* Freed ones are not listed: push_release takes them off. */
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		if (p->cancelled || p->ended) {
			p = p->next;
			continue;
		}
		push_cancel(p);
		push_release(p);
		p = c->pushing;
	}
	bool syncing = c->pass_syncing;
	c->busy++; /* it stays while the lock is not held */
	pthread_mutex_unlock(&c->lock);
	if (syncing)
		ms_cancel(c->remote, &c->sync_io);
	bool ours = ms_timer_cancel(&c->push_retry);
	pthread_mutex_lock(&c->lock);
	if (ours) {
		c->push_held = false;
		cache_rest(c);
	}
	cache_rest(c);
}

/* --- flush passes
 * ------------------------------------------------------------------- */

static void mark_wanted(struct cache *c)
{
	assert(c->wanted == 0);
	for (uint64_t i = 0; c->dirty_chunks && i < c->chunks; i++) {
		unsigned k = kind_of(c->state[i]);
		if (k != MS_CHUNK_DIRTY && k != MS_CHUNK_PUSHING)
			continue;
		chunk_set(c, i, c->state[i] | FLAG_WANTED);
		c->wanted++;
	}
}

/* Turn one flag into another over all chunks; `to` 0 drops it. */
static void turn_flag(struct cache *c, unsigned from, unsigned to)
{
	for (uint64_t i = 0; i < c->chunks; i++)
		if (c->state[i] & from)
			chunk_set(c, i, (c->state[i] & ~from) | to);
}

/*
 * The remote could not make what it got durable, and may have dropped it: push
 * it again. That holds as well for what arrived after the sync was asked for,
 * and for what is on its way: the remote may have had it before it failed.
 */
static void redirty_unsynced(struct cache *c)
{
	for (uint64_t i = 0; i < c->chunks; i++) {
		uint8_t s = c->state[i];
		if (!(s & (FLAG_SYNCING | FLAG_UNSYNCED)) &&
		    kind_of(s) != MS_CHUNK_PUSHING)
			continue;
		chunk_set(c, i, s & ~(unsigned)(FLAG_SYNCING | FLAG_UNSYNCED));
		mark_dirty(c, i, 1);
	}
	c->unsynced = 0;
}

/*
 * The remote was restarted and may have lost what it had not synced. We still
 * have it: push it again within this pass, so that nobody above notices.
 */
static void pass_again(struct cache *c, struct ms_tasks *tasks)
{
	c->pass_repeats++;
	c->pass_syncing = false;
	/* Pushes on their way may have been for the one that is gone. */
	c->pass++;
	mark_wanted(c);
	push_pump(c, tasks);
	pass_check(c, tasks);
}

static void remote_synced(struct ms_io *io)
{
	struct cache *c = io->user;
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	c->progress++;
	if (io->result == 0)
		turn_flag(c, FLAG_SYNCING, 0);
	else
		redirty_unsynced(c);
	if (io->result == -ESTALE && c->pass_repeats < PASS_REPEATS_MAX &&
	    !c->closing)
		pass_again(c, &tasks);
	else
		pass_end(c, io->result, io->origin, &tasks);
	cache_rest(c);
	cache_unlock(c, &tasks);
}

static void remote_sync(struct ms_task *task)
{
	struct cache *c = ms_container_of(task, struct cache, sync_task);

	pthread_mutex_lock(&c->lock);
	c->busy++;
	pthread_mutex_unlock(&c->lock);
	ms_submit(c->remote, &c->sync_io);
	pthread_mutex_lock(&c->lock);
	/* Close may have cancelled it before the remote knew of it. */
	bool cancel = c->closing && c->pass_syncing;
	pthread_mutex_unlock(&c->lock);
	if (cancel)
		ms_cancel(c->remote, &c->sync_io);
	pthread_mutex_lock(&c->lock);
	cache_rest(c);
	pthread_mutex_unlock(&c->lock);
}

/* The longest deadline among the jobs; 0 if one has none. */
static uint64_t pass_deadline(const struct cache *c)
{
	uint64_t latest = 0;

	for (const struct job *j = c->pass_jobs; j; j = j->queue_next) {
		if (j->phase == JOB_ENDED)
			continue;
		if (!j->io->deadline_ns)
			return 0;
		uint64_t until = ms_now_ns() + j->span_ns;
		latest = until > latest ? until : latest;
	}
	return latest;
}

/* If every wanted chunk was pushed, go on to the remote's sync. */
static void pass_check(struct cache *c, struct ms_tasks *tasks)
{
	if (!c->pass_active || c->wanted || c->pass_syncing || c->closing)
		return;
	c->pass_syncing = true;
	turn_flag(c, FLAG_UNSYNCED, FLAG_SYNCING);
	c->unsynced = 0;
	c->sync_io = (struct ms_io){.op = MS_OP_SYNC,
				    .priority = MS_URGENT,
				    .deadline_ns = pass_deadline(c),
				    .done = remote_synced,
				    .user = c};
	c->busy++;
	ms_tasks_add(tasks, &c->sync_task, remote_sync);
}

static void pass_end(struct cache *c, int result, const char *origin,
		     struct ms_tasks *tasks)
{
	struct job *job = c->pass_jobs;

	if (c->wanted) {
		turn_flag(c, FLAG_WANTED, 0);
		c->wanted = 0;
	}
	c->pass_jobs = NULL;
	c->pass_active = false;
	c->pass_syncing = false;
	while (job) {
		struct job *next = job->queue_next;
		job_finish(job, result, origin, tasks);
		job_unref(job);
		job = next;
	}
	/* This may begin the next pass already. */
	evict_after_pass(c, result, origin, tasks);
	if (!c->pass_active && (c->next_jobs || c->pass_wanted))
		pass_begin(c, tasks);
}

static void pass_begin(struct cache *c, struct ms_tasks *tasks)
{
	c->pass_active = true;
	c->pass_wanted = false;
	c->pass_repeats = 0;
	c->pass++;
	c->pass_jobs = c->next_jobs;
	c->next_jobs = NULL;
	mark_wanted(c);
	push_pump(c, tasks);
	pass_check(c, tasks);
}

/* Close: jobs that ended while they were on the lists. */
void pass_drop(struct cache *c)
{
	struct job **lists[] = {&c->pass_jobs, &c->next_jobs};

	for (int i = 0; i < 2; i++) {
		while (*lists[i]) {
			struct job *job = *lists[i];
			*lists[i] = job->queue_next;
			job_unref(job);
		}
	}
}

void sync_join(struct cache *c, struct job *job, struct ms_tasks *tasks)
{
	job->refs++;
	job->queue_next = c->next_jobs;
	c->next_jobs = job;
	if (!c->pass_active)
		pass_begin(c, tasks);
}

void pass_request(struct cache *c, struct ms_tasks *tasks)
{
	c->pass_wanted = true;
	if (!c->pass_active)
		pass_begin(c, tasks);
}

void ms_cache_push(struct ms_backend *b)
{
	struct cache *c = cache_of(b);
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	c->push_budget = c->dirty_chunks;
	push_pump(c, &tasks);
	cache_unlock(c, &tasks);
}

void ms_cache_mark_dirty(struct ms_backend *b, uint64_t offset, uint64_t length)
{
	struct cache *c = cache_of(b);

	if (length == 0)
		return;
	uint64_t first = offset >> c->shift;
	pthread_mutex_lock(&c->lock);
	mark_dirty(c, first, ((offset + length - 1) >> c->shift) - first + 1);
	pthread_mutex_unlock(&c->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flush passes. One serves all SYNC requests that wait when it begins: it marks
 * what is dirty, waits until each marked chunk was pushed, and then has the
 * remote sync. What a remote did not confirm as durable is made dirty again;
 * what it did is marked in the state file, if there is one, before they end.
 */
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/clock.h"

#include <assert.h>
#include <errno.h>

enum {
	/* Restarts of the remote that one SYNC survives. */
	PASS_REPEATS_MAX = 8,
};

static void pass_begin(struct cache *c, struct ms_tasks *tasks);

static void mark_wanted(struct cache *c)
{
	assert(c->wanted == 0);
	if (c->dirty_chunks == 0)
		return;
	for (uint64_t i = active_next(c, 0); i < c->chunks;
	     i = active_next(c, i + 1)) {
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
	for (uint64_t i = active_next(c, 0); i < c->chunks;
	     i = active_next(c, i + 1))
		if (c->state[i] & from)
			chunk_set(c, i, (c->state[i] & ~from) | to);
}

/* The remote has made durable what it got: true if that has to be marked. */
static bool settle_synced(struct cache *c)
{
	bool marked = false;

	for (uint64_t i = active_next(c, 0); i < c->chunks;
	     i = active_next(c, i + 1)) {
		if (!(c->state[i] & FLAG_SYNCING))
			continue;
		chunk_set(c, i, c->state[i] & ~(unsigned)FLAG_SYNCING);
		marked = keep_pushed(c, i) || marked;
	}
	return marked;
}

/*
 * The remote could not make what it got durable, and may have dropped it: push
 * it again. That holds as well for what arrived after the sync was asked for,
 * and for what is on its way: the remote may have had it before it failed.
 */
static void redirty_unsynced(struct cache *c)
{
	for (uint64_t i = active_next(c, 0); i < c->chunks;
	     i = active_next(c, i + 1)) {
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
		c->pass_flushing = settle_synced(c);
	else
		redirty_unsynced(c);
	if (c->pass_flushing)
		c->pass_marks = keep_flush(c);
	else if (io->result == -ESTALE && c->pass_repeats < PASS_REPEATS_MAX &&
		 !c->closing)
		pass_again(c, &tasks);
	else
		pass_end(c, io->result, io->origin, &tasks);
	cache_rest(c);
	cache_unlock(c, &tasks);
}

void push_flushed(struct cache *c, uint64_t marks, int error,
		  struct ms_tasks *tasks)
{
	if (c->pass_flushing && (error || marks >= c->pass_marks)) {
		c->pass_flushing = false;
		pass_end(c, error, "cache", tasks);
	} else if (c->pass_flushing) {
		(void)keep_flush(c);
	}
	push_pump(c, tasks);
	pass_check(c, tasks);
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
	bool cancel = c->closing && c->pass_syncing && !c->pass_flushing;
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
void pass_check(struct cache *c, struct ms_tasks *tasks)
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

void pass_end(struct cache *c, int result, const char *origin,
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

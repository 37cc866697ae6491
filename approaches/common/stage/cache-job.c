/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that cannot be answered by a copy at once. A job works on one piece
 * of its range after the other: it starts or joins the fetches that the piece
 * needs, waits for them, and moves the bytes.
 */
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What has to happen before a piece can be moved. */
enum verdict {
	READY,
	WAIT,
	FAIL, /* job->result, or no memory */
	FULL, /* background work does not drive out what is in use */
};

/* --- life
 * --------------------------------------------------------------------- */

void job_unref(struct job *job)
{
	/* The analyser does not follow the count: */
	if (--job->refs == 0) /* NOLINT(clang-analyzer-unix.Malloc) */
		free(job);
}

static void job_end(struct ms_task *task)
{
	struct job *job = ms_container_of(task, struct job, end_task);
	struct cache *c = job->cache;

	/* Without the lock: the callback takes it. */
	bool disarmed = ms_timer_cancel(&job->deadline);
	ms_done(job->io, job->result, job->origin);
	pthread_mutex_lock(&c->lock);
	if (disarmed)
		job_unref(job);
	job_unref(job);
	cache_rest(c);
	pthread_mutex_unlock(&c->lock);
}

void job_finish(struct job *job, int result, const char *origin,
		struct ms_tasks *tasks)
{
	if (job->phase == JOB_ENDED)
		return;
	job->phase = JOB_ENDED;
	job->result = result;
	job->origin = origin;
	if (job->prev)
		job->prev->next = job->next;
	else
		job->cache->jobs = job->next;
	if (job->next)
		job->next->prev = job->prev;
	ms_tasks_add(tasks, &job->end_task, job_end);
}

static void job_expired(struct ms_timer *timer)
{
	struct job *job = ms_container_of(timer, struct job, deadline);
	struct cache *c = job->cache;
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	/* A SYNC may go on for as long as something is written back. */
	if (job->span_ns && job->phase == JOB_WAITING &&
	    job->progress != c->progress) {
		job->progress = c->progress;
		if (ms_timer_arm(timer, ms_now_ns() + job->span_ns,
				 job_expired) == 0) {
			pthread_mutex_unlock(&c->lock);
			return;
		}
	}
	/* While bytes move the buffer is in use; that takes no time. */
	if (job->phase == JOB_WAITING)
		job_finish(job, -ETIMEDOUT, "cache", &tasks);
	job_unref(job);
	cache_unlock(c, &tasks);
}

/* Arm the deadline; failing to (no memory) fails the job. */
static int job_arm(struct job *job)
{
	const struct ms_io *io = job->io;

	if (!io->deadline_ns)
		return 0;
	uint64_t now = ms_now_ns();
	if (io->op == MS_OP_SYNC)
		job->span_ns =
			io->deadline_ns > now ? io->deadline_ns - now : 1;
	job->progress = job->cache->progress;
	int rc = ms_timer_arm(&job->deadline, io->deadline_ns, job_expired);
	if (rc == 0)
		job->refs++;
	return rc;
}

void job_start(struct cache *c, struct ms_io *io)
{
	struct job *job = calloc(1, sizeof(*job));
	struct ms_tasks tasks = {0};

	if (!job) {
		ms_done(io, -ENOMEM, "cache");
		return;
	}
	job->cache = c;
	job->io = io;
	job->refs = 1;
	job->urgent = io->priority == MS_URGENT;
	if (job->urgent && io->op != MS_OP_SYNC)
		cache_call(&c->on_miss, io->offset, io->length);
	pthread_mutex_lock(&c->lock);
	c->busy++;
	job->next = c->jobs;
	if (c->jobs)
		c->jobs->prev = job;
	c->jobs = job;
	int rc = job_arm(job);
	if (rc)
		job_finish(job, rc, "cache", &tasks);
	else if (io->op == MS_OP_SYNC)
		sync_join(c, job, &tasks);
	else
		job_advance(job, &tasks);
	cache_unlock(c, &tasks);
}

void job_woken(struct job *job, int result, const char *origin,
	       struct ms_tasks *tasks)
{
	job->waits--;
	if (job->phase == JOB_WAITING) {
		if (result < 0)
			job_finish(job, result, origin, tasks);
		else if (job->waits == 0)
			job_advance(job, tasks);
	}
	job_unref(job);
}

/* --- moving bytes
 * -------------------------------------------------------------- */

static uint64_t piece_offset(const struct job *job)
{
	return job->io->offset + job->done_bytes;
}

static bool job_writes(const struct job *job)
{
	return job->io->op == MS_OP_WRITE || job->io->op == MS_OP_ZERO;
}

/* The piece's bytes have moved, or failed to. */
static void job_moved(struct job *job, int result, const char *origin)
{
	struct cache *c = job->cache;
	struct ms_tasks tasks = {0};
	uint64_t offset = piece_offset(job);
	uint64_t first = offset >> c->shift;
	uint64_t last = (offset + job->piece - 1) >> c->shift;

	pthread_mutex_lock(&c->lock);
	job->phase = JOB_WAITING;
	if (job->own) {
		fetch_end(job->own, result ? MS_CHUNK_ABSENT : MS_CHUNK_DIRTY,
			  result, origin, &tasks);
		job->own = NULL;
	} else {
		/* Also if it failed: some of the bytes may be new ones. */
		if (job_writes(job)) {
			mark_dirty(c, first, last - first + 1);
			keep_write_end(c, first, last - first + 1);
		}
		unpin_range(c, offset, job->piece, &tasks);
	}
	if (result < 0) {
		job_finish(job, result, origin, &tasks);
	} else {
		job->done_bytes += job->piece;
		job_advance(job, &tasks);
	}
	cache_unlock(c, &tasks);
}

static void job_child_done(struct ms_io *io)
{
	job_moved(io->user, io->result, io->origin);
}

static void job_move(struct ms_task *task)
{
	struct job *job = ms_container_of(task, struct job, task);
	struct cache *c = job->cache;
	const struct ms_io *io = job->io;
	uint64_t offset = piece_offset(job);
	char *buf = io->buf ? (char *)io->buf + job->done_bytes : NULL;

	if (!c->map) {
		job->child = (struct ms_io){.op = io->op,
					    .priority = io->priority,
					    .offset = offset,
					    .length = job->piece,
					    .buf = buf,
					    .done = job_child_done,
					    .user = job};
		ms_submit(c->local, &job->child);
		return;
	}
	assert(buf || io->op == MS_OP_ZERO); /* the door's promise */
	if (io->op == MS_OP_READ)
		memcpy(buf, c->map + offset, job->piece);
	else if (io->op == MS_OP_WRITE)
		memcpy(c->map + offset, buf, job->piece);
	else
		memset(c->map + offset, 0, job->piece);
	job_moved(job, 0, NULL);
}

static void job_start_move(struct job *job, struct ms_tasks *tasks)
{
	struct cache *c = job->cache;

	uint64_t offset = piece_offset(job);
	uint64_t first = offset >> c->shift;
	uint64_t last = (offset + job->piece - 1) >> c->shift;

	job->phase = JOB_MOVING;
	if (!job->own)
		pin_range(c, offset, job->piece);
	if (!job->own && job_writes(job))
		keep_write_begin(c, first, last - first + 1);
	ms_tasks_add(tasks, &job->task, job_move);
}

/* --- what a piece needs
 * ---------------------------------------------------------- */

/* Room for `count` more chunks: READY, or WAIT until there is, or FAIL. */
static enum verdict room(struct job *job, uint64_t count,
			 struct ms_tasks *tasks)
{
	struct cache *c = job->cache;
	int error = 0;

	if (evict_room(c, count, &error, tasks))
		return READY;
	if (error) {
		job->result = error;
		job->origin = c->room_origin;
		return FAIL;
	}
	evict_starve(c, job);
	return WAIT;
}

/* The chunk was changed elsewhere and cannot be given up yet. */
static enum verdict wait_stale(struct job *job, uint64_t chunk,
			       struct ms_tasks *tasks)
{
	struct cache *c = job->cache;

	/* If it waits for a pass that failed, ask for another one. */
	evict_stale(c, chunk, tasks);
	if (c->room_error && !(c->pins[chunk] & PIN_COUNT)) {
		job->result = c->room_error;
		job->origin = c->room_origin;
		return FAIL;
	}
	evict_starve(c, job); /* until its users are gone, or it is durable */
	return WAIT;
}

static enum verdict join(struct job *job, struct fetch *fetch)
{
	if (job->urgent)
		fetch_hurry(fetch);
	return fetch_wait(fetch, job) ? FAIL : WAIT;
}

/* Begin to fetch the run of absent chunks from `chunk` to before `end`. */
static enum verdict fetch_run(struct job *job, uint64_t chunk, uint64_t end,
			      uint64_t *ret_next, struct ms_tasks *tasks)
{
	struct cache *c = job->cache;
	uint64_t stop = cell_end(c, chunk);
	uint64_t next = chunk + 1;

	if (stop > end)
		stop = end;
	while (next < stop) {
		unsigned s = chunk_state(c, next) & STATE_MASK;
		if (s != MS_CHUNK_ABSENT && s != MS_CHUNK_FAILED)
			break;
		/* What may be here already is looked at one by one. */
		if (keep_suspects(c, chunk) || keep_suspects(c, next))
			break;
		next++;
	}
	*ret_next = next;
	if (c->limit_chunks && !job->urgent && job->io->op == MS_OP_POPULATE &&
	    c->local_chunks + (next - chunk) > c->limit_chunks)
		return FULL;
	enum verdict v = room(job, next - chunk, tasks);
	if (v != READY)
		return v;
	struct fetch *f = fetch_begin(c, FETCH_REMOTE, chunk, next - chunk);
	if (!f)
		return FAIL;
	c->misses++;
	fetch_start_remote(f, job->urgent, tasks);
	return join(job, f);
}

/* Make the chunks [first, end) present: READY if they are. */
static enum verdict need_present(struct job *job, uint64_t first, uint64_t end,
				 struct ms_tasks *tasks)
{
	struct cache *c = job->cache;
	enum verdict all = READY;
	uint64_t next = first;

	for (uint64_t i = first; i < end && !job->starved; i = next) {
		/* With a limit, what came first could go before the rest. */
		if (c->limit_chunks && all == WAIT)
			break;
		uint8_t state = chunk_state(c, i);
		enum verdict v = READY;
		next = i + 1;
		if (chunk_present(state)) {
			continue;
		} else if ((state & STATE_MASK) == MS_CHUNK_ABSENT ||
			   (state & STATE_MASK) == MS_CHUNK_FAILED) {
			v = fetch_run(job, i, end, &next, tasks);
		} else if (state & FLAG_STALE) {
			v = wait_stale(job, i, tasks);
		} else {
			struct fetch *f = fetch_find(c, i);
			v = join(job, f);
			next = f->first + f->count;
		}
		if (v == FAIL || v == FULL)
			return v;
		all = v == WAIT ? WAIT : all;
	}
	return all;
}

/*
 * Choose the piece of a write: a run of chunks that are all present, or all
 * absent and covered (a first write, within one cell), or the one chunk that
 * must be fetched or waited for.
 */
static enum verdict need_for_write(struct job *job, struct ms_tasks *tasks)
{
	struct cache *c = job->cache;
	uint64_t offset = piece_offset(job);
	uint64_t end = job->io->offset + job->io->length;
	uint64_t first = offset >> c->shift;
	uint64_t next = first;
	bool cover = false;

	for (; chunk_offset(c, next) < end; next++) {
		uint64_t low = chunk_offset(c, next);
		bool whole =
			low >= offset && low + run_bytes(c, next, 1) <= end;
		unsigned s = chunk_state(c, next) & STATE_MASK;
		bool absent = s == MS_CHUNK_ABSENT || s == MS_CHUNK_FAILED;
		bool covered = absent && whole;
		if (next == first)
			cover = covered;
		if (covered != cover || (cover && next == cell_end(c, first)))
			break;
		if (!covered && !chunk_present(chunk_state(c, next)))
			break;
	}
	if (next == first)
		return need_present(job, first, first + 1, tasks);
	uint64_t stop = chunk_offset(c, next);
	job->piece = (stop < end ? stop : end) - offset;
	if (!cover)
		return READY;
	enum verdict v = room(job, next - first, tasks);
	if (v != READY)
		return v;
	job->own = fetch_begin(c, FETCH_WRITE, first, next - first);
	return job->own ? READY : FAIL;
}

/* How many chunks of [first, end) are present from the first on. */
static uint64_t present_prefix(const struct cache *c, uint64_t first,
			       uint64_t end)
{
	uint64_t next = first;

	while (next < end && chunk_present(chunk_state(c, next)))
		next++;
	return next - first;
}

/*
 * Choose the piece of a read: all of it; or, when chunks may be given up any
 * time, what is present already, so that every fetch leads to progress.
 */
static enum verdict need(struct job *job, struct ms_tasks *tasks)
{
	struct cache *c = job->cache;
	uint64_t left = job->io->length - job->done_bytes;
	uint64_t offset = piece_offset(job);
	uint64_t first = offset >> c->shift;
	uint64_t end = ((offset + left - 1) >> c->shift) + 1;

	if (job_writes(job))
		return need_for_write(job, tasks);
	job->piece = left;
	if (c->limit_chunks) {
		uint64_t count = present_prefix(c, first, end);
		uint64_t bytes = chunk_offset(c, first + count) - offset;
		if (count == 0 && end - first > c->limit_chunks / 4)
			end = first + c->limit_chunks / 4;
		if (count && bytes < left)
			job->piece = bytes;
		if (count)
			return READY;
	}
	return need_present(job, first, end, tasks);
}

void job_advance(struct job *job, struct ms_tasks *tasks)
{
	for (;;) {
		if (job->phase != JOB_WAITING || job->starved)
			return;
		if (job->done_bytes == job->io->length) {
			job_finish(job, 0, NULL, tasks);
			return;
		}
		switch (need(job, tasks)) {
		case FAIL:
			job_finish(job, job->result ? job->result : -ENOMEM,
				   job->result ? job->origin : "cache", tasks);
			return;
		case FULL:
			job_finish(job, -ENOSPC, "cache", tasks);
			return;
		case WAIT:
			return;
		case READY:
			break;
		}
		if (job->io->op != MS_OP_POPULATE) {
			job_start_move(job, tasks);
			return;
		}
		job->done_bytes += job->piece;
	}
}

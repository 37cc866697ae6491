/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of callers (jobs), the pieces they are cut into, and which
 * connection gets which piece when. Everything here runs with the lock held.
 */
#include "approaches/common/backend/base.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Below this a request costs more than the bytes it brings. */
	PIECE_MIN = 64 << 10,
	PIECES_PER_CONNECTION = 3,
	/*
	 * Where the round trip is short, slow start costs nothing, and few
	 * connections recover from a loss faster than many with little each.
	 */
	CONNECTIONS_NEAR = 4,
	NEAR_US = 1000,
};

/* --- jobs ----------------------------------------------------------------- */

static void job_finish(struct remote *r, struct remote_job *job)
{
	*job->all_prev = job->all_next;
	if (job->all_next)
		job->all_next->all_prev = job->all_prev;
	/* From here on a cancel finds nothing. */
	job->io->hold[0] = NULL;
	if (job->abort)
		r->aborting--;
	remote_note_finished(r, job);
	if (!r->finished)
		r->finished_last = &r->finished;
	job->next = NULL;
	*r->finished_last = job;
	r->finished_last = &job->next;
}

static bool moves_bytes(const struct ms_io *io)
{
	return io->op == MS_OP_READ || io->op == MS_OP_WRITE;
}

/* Short, and somebody waits, or no bytes at all: it waits for no window. */
static bool goes_first(const struct ms_io *io)
{
	return !moves_bytes(io) ||
	       (io->priority == MS_URGENT && io->length <= REMOTE_URGENT_BYTES);
}

static struct remote_queue *queue_of(struct remote *r,
				     const struct remote_job *job)
{
	if (goes_first(job->io))
		return &r->first;
	return job->io->priority == MS_URGENT ? &r->urgent : &r->bulk;
}

static void enqueue(struct remote *r, struct remote_job *job)
{
	struct remote_queue *q = queue_of(r, job);

	if (!q->first)
		q->last = &q->first;
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
	job->queued = true;
}

static void dequeue(struct remote *r, struct remote_job *job)
{
	struct remote_queue *q = queue_of(r, job);

	for (struct remote_job **p = &q->first; *p; p = &(*p)->next) {
		if (*p != job)
			continue;
		*p = job->next;
		if (!*p)
			q->last = p;
		break;
	}
	job->queued = false;
}

/* The first error ends a job as soon as no piece of it is under way. */
static void job_fail(struct remote *r, struct remote_job *job, int result)
{
	if (job->result == 0)
		job->result = result;
	if (job->queued)
		dequeue(r, job);
}

static bool counts_progress(const struct ms_io *io)
{
	return io->op == MS_OP_SYNC ||
	       (io->op == MS_OP_READ && io->priority == MS_BULK);
}

static void set_deadline(struct remote *r, struct remote_job *job)
{
	if (!job->io->deadline_ns)
		return;
	if (counts_progress(job->io))
		job->timeout_ns = job->io->deadline_ns > job->start_ns
					  ? job->io->deadline_ns - job->start_ns
					  : 1;
	if (job->io->deadline_ns < r->deadline_ns) {
		r->deadline_ns = job->io->deadline_ns;
		/* The thread sleeps until the one before. */
		remote_nudge(r);
	}
}

bool remote_job_add(struct remote *r, struct ms_io *io)
{
	struct remote_job *job = r->job_spare;

	if (job)
		r->job_spare = job->next;
	else
		job = malloc(sizeof(*job));
	if (!job)
		return false;
	*job = (struct remote_job){
		.io = io, .origin = "remote", .start_ns = ms_now_ns()};
	io->hold[0] = job;
	job->all_next = r->jobs;
	job->all_prev = &r->jobs;
	if (job->all_next)
		job->all_next->all_prev = &job->all_next;
	r->jobs = job;
	/* Time without progress begins when there is something to wait for. */
	if (!job->all_next)
		r->progress_ns = job->start_ns;
	enqueue(r, job);
	set_deadline(r, job);
	return true;
}

void remote_piece_done(struct remote *r, struct remote_piece *p, int result)
{
	struct remote_job *job = p->job;

	if (result == 0)
		remote_note_durable(r, p);
	if (job && result == 0 && p->request.op == MS_PROTO_WRITE)
		r->write_bytes += p->request.length;
	if (job && result == 0 && p->request.op == MS_PROTO_READ)
		r->read_bytes += p->request.length;
	/* A write's bytes have arrived when it is answered. */
	if (p->counted && p->arrived < p->request.length &&
	    p->request.op == MS_PROTO_WRITE && result == 0) {
		uint64_t n = p->request.length;
		p->conn->outstanding -=
			n < p->conn->outstanding ? n : p->conn->outstanding;
		p->arrived = n;
		ms_window_delivered(&r->window, n, r->heard_ns);
	}
	remote_piece_free(r, p);
	if (!job)
		return;
	job->pending--;
	if (result)
		job_fail(r, job, result);
	if (!job->queued && job->pending == 0)
		job_finish(r, job);
}

/* --- cutting -------------------------------------------------------------- */

static enum ms_proto_op wire_op(enum ms_op op)
{
	switch (op) {
	case MS_OP_READ:
		return MS_PROTO_READ;
	case MS_OP_WRITE:
		return MS_PROTO_WRITE;
	case MS_OP_SYNC:
		return MS_PROTO_SYNC;
	case MS_OP_ZERO:
		return MS_PROTO_ZERO;
	case MS_OP_TRIM:
		return MS_PROTO_TRIM;
	case MS_OP_EXTENTS:
		return MS_PROTO_EXTENTS;
	case MS_OP_HASH:
		return MS_PROTO_HASH;
	case MS_OP_RESIZE:
		return MS_PROTO_RESIZE;
	case MS_OP_POPULATE:
	case MS_OP_COUNT:
		break;
	}
	/* The door answers what we have no capability for. */
	abort();
}

/* Connections over which to spread bulk. */
static unsigned spread(const struct remote *r)
{
	bool near = r->window.rtt_min_ns &&
		    r->window.rtt_min_ns < NEAR_US * MS_NS_PER_US;

	if (near && r->open_count > CONNECTIONS_NEAR)
		return CONNECTIONS_NEAR;
	return r->open_count ? r->open_count : 1;
}

/* Bytes of the next piece: small enough to keep all connections busy. */
static uint64_t piece_length(const struct remote *r,
			     const struct remote_job *job)
{
	uint64_t left = job->io->length - job->cursor;
	uint64_t grain = r->base.block > 4096 ? r->base.block : 4096;
	uint64_t most = r->welcome.request_max;
	uint64_t n = r->window.fixed ? r->window.fixed
				     : r->window.size / ((uint64_t)spread(r) *
							 PIECES_PER_CONNECTION);

	if (n < PIECE_MIN && !r->window.fixed)
		n = PIECE_MIN;
	if (n > most)
		n = most;
	n &= ~(grain - 1);
	if (n == 0)
		n = grain < most ? grain : most;
	if (goes_first(job->io) && left <= most)
		n = left;
	return left < n ? left : n;
}

static bool usable(const struct remote *r, const struct remote_conn *c)
{
	return c->state == REMOTE_READY && !c->error &&
	       c->piece_count < r->welcome.requests_max;
}

static struct remote_conn *pick(struct remote *r, bool urgent)
{
	struct remote_conn *best = NULL;
	unsigned left = spread(r);

	if (urgent && usable(r, &r->conns[0]))
		return &r->conns[0];
	for (unsigned i = 0; i < r->conn_count && left; i++) {
		struct remote_conn *c = &r->conns[i];
		if (!usable(r, c))
			continue;
		/* The urgent lane carries bulk only when nothing else can. */
		if (c->lane == MS_LANE_URGENT && r->open_count > 1)
			continue;
		left--;
		if (!best || c->outstanding < best->outstanding ||
		    (c->outstanding == best->outstanding &&
		     c->piece_count < best->piece_count))
			best = c;
	}
	return best;
}

static void job_link(struct remote_job *job, struct remote_piece *p)
{
	p->job = job;
	p->job_next = job->pieces;
	p->job_prev = &job->pieces;
	if (p->job_next)
		p->job_next->job_prev = &p->job_next;
	job->pieces = p;
	job->pending++;
}

/* Where the answer goes and what follows the header. False: no memory. */
static bool set_buffers(struct remote *r, struct remote_piece *p,
			const struct ms_io *io, uint64_t at)
{
	size_t count = io->extents_max;

	if (io->op == MS_OP_READ || io->op == MS_OP_HASH)
		p->dest = (char *)io->buf + at;
	if (io->op == MS_OP_WRITE) {
		p->payload = (const char *)io->buf + at;
		p->payload_length = p->request.length;
	}
	if (io->op == MS_OP_EXTENTS) {
		if (count > r->welcome.extents_max)
			count = r->welcome.extents_max;
		p->request.count = (uint16_t)count;
		p->own = malloc(count * MS_PROTO_EXTENT_BYTES);
		p->dest = p->own;
		return p->own != NULL;
	}
	return true;
}

/* Make the next piece of `job` and queue it. 0, -ENOMEM, -ESTALE. */
static int cut(struct remote *r, struct remote_job *job, struct remote_conn *c)
{
	struct ms_io *io = job->io;

	if (io->op == MS_OP_SYNC && remote_sync_doubted(r, job))
		return -ESTALE;
	struct remote_piece *p = remote_piece_new(r, c);
	if (!p)
		return -ENOMEM;
	p->covers = r->writes_answered;
	uint64_t n = moves_bytes(io) ? piece_length(r, job) : io->length;
	p->request.op = wire_op(io->op);
	p->request.flags = (io->flags & MS_FUA ? MS_PROTO_FUA : 0U) |
			   (io->priority == MS_URGENT ? MS_PROTO_URGENT : 0U);
	p->request.offset = io->offset + job->cursor;
	p->request.length =
		io->op == MS_OP_SYNC || io->op == MS_OP_RESIZE ? 0 : n;
	if (io->op == MS_OP_SYNC)
		p->request.offset = 0;
	if (!set_buffers(r, p, io, job->cursor)) {
		remote_piece_free(r, p);
		return -ENOMEM;
	}
	p->counted = moves_bytes(io);
	if (p->counted) {
		c->outstanding += n;
		ms_window_sent(&r->window, n, ms_now_ns());
	}
	job_link(job, p);
	job->cursor += n;
	ms_proto_put_request(&p->request, p->head);
	p->head_length = sizeof(p->head);
	remote_send_queue(c, p);
	r->requests++;
	return 0;
}

/* Hand out pieces of one queue; stops where the window or room ends. */
static void serve_queue(struct remote *r, struct remote_queue *q)
{
	while (q->first) {
		struct remote_job *job = q->first;
		bool first = goes_first(job->io);
		if (!first && moves_bytes(job->io) &&
		    !ms_window_open(&r->window, ms_now_ns()))
			return;
		struct remote_conn *c = pick(r, first);
		if (!c)
			return;
		int rc = cut(r, job, c);
		if (rc) {
			job_fail(r, job, rc);
			if (job->pending == 0)
				job_finish(r, job);
			continue;
		}
		if (!moves_bytes(job->io) || job->cursor == job->io->length)
			dequeue(r, job);
	}
}

void remote_dispatch(struct remote *r)
{
	serve_queue(r, &r->first);
	serve_queue(r, &r->urgent);
	/* A big urgent request that waits for room lets no bulk pass. */
	if (!r->urgent.first)
		serve_queue(r, &r->bulk);
}

/* --- taking back ---------------------------------------------------------- */

bool remote_piece_move(struct remote *r, struct remote_piece *p)
{
	bool reads = p->request.op == MS_PROTO_READ ||
		     p->request.op == MS_PROTO_EXTENTS ||
		     p->request.op == MS_PROTO_HASH;
	struct remote_conn *to = NULL;

	/* Without a job nobody wants the answer. */
	if (!reads || !p->job || p->job->result)
		return false;
	to = pick(r, p->request.flags & MS_PROTO_URGENT);
	if (!to)
		return false;
	remote_piece_take_back(r, p);
	remote_piece_unlink(p);
	remote_piece_link(p, to);
	remote_send_queue(to, p);
	r->reissued++;
	return true;
}

static bool abort_job(struct remote *r, struct remote_job *job)
{
	struct remote_piece *next = NULL;

	job_fail(r, job, job->abort);
	for (struct remote_piece *p = job->pieces; p; p = next) {
		next = p->job_next;
		if (!remote_piece_detach(r, p))
			return false;
		job->pending--;
	}
	job_finish(r, job);
	return true;
}

bool remote_abort_jobs(struct remote *r)
{
	struct remote_job *next = NULL;
	bool all = true;

	for (struct remote_job *j = r->aborting ? r->jobs : NULL; j; j = next) {
		next = j->all_next;
		if (j->abort && !abort_job(r, j))
			all = false;
	}
	return all;
}

/* No connection is left: everything that waits for one fails. */
void remote_fail_all(struct remote *r, int error, const char *why)
{
	struct remote_job *next = NULL;

	for (struct remote_job *j = r->jobs; j; j = next) {
		next = j->all_next;
		if (!j->result && !j->abort)
			j->origin = why;
		job_fail(r, j, j->abort ? j->abort : error);
		if (j->pending == 0)
			job_finish(r, j);
	}
}

void remote_job_memory_free(struct remote *r)
{
	while (r->job_spare) {
		struct remote_job *job = r->job_spare;
		r->job_spare = job->next;
		free(job);
	}
}

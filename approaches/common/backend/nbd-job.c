/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of callers (jobs), what becomes of their pieces, and how they end.
 * Everything here runs with the lock held.
 */
#include "approaches/common/backend/nbd.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <stdlib.h>

#define CLOSE_AFTER_NS MS_NS_PER_S

/* Where what a failed SYNC means is said: its text is only the errno's. */
static const char in_doubt[] =
	"nbd: the server was lost with changes that were not flushed";

/* --- jobs ----------------------------------------------------------------- */

bool ms_nbd_moves_bytes(enum ms_op op)
{
	return op == MS_OP_READ || op == MS_OP_WRITE;
}

/* What libnbd may write into or send from until it is answered. */
static bool holds_buffer(const struct nbd_piece *p)
{
	return ms_nbd_moves_bytes(p->op) && !p->own;
}

/* Short, and somebody waits: it waits for no window. */
bool ms_nbd_job_goes_first(const struct nbd_job *j)
{
	const struct ms_io *io = j->io;

	if (io->op == MS_OP_SYNC || io->op == MS_OP_EXTENTS)
		return true;
	return j->urgent &&
	       (!ms_nbd_moves_bytes(io->op) || io->length <= NBD_URGENT_BYTES);
}

static struct nbd_queue *queue_of(struct nbd_store *s, const struct nbd_job *j)
{
	if (ms_nbd_job_goes_first(j))
		return &s->first;
	return j->urgent ? &s->urgent : &s->bulk;
}

static void enqueue(struct nbd_store *s, struct nbd_job *j)
{
	j->queue = queue_of(s, j);
	TAILQ_INSERT_TAIL(j->queue, j, queue_link);
}

void ms_nbd_job_dequeue(struct nbd_job *j)
{
	if (j->queue)
		TAILQ_REMOVE(j->queue, j, queue_link);
	j->queue = NULL;
}

static void finish(struct nbd_store *s, struct nbd_job *j)
{
	ms_nbd_job_dequeue(j);
	TAILQ_REMOVE(&s->jobs, j, all_link);
	/* From here on a cancel finds nothing. */
	j->io->hold[0] = NULL;
	TAILQ_INSERT_TAIL(&s->finished, j, queue_link);
}

void ms_nbd_job_end_if_over(struct nbd_store *s, struct nbd_job *j)
{
	if (!j->queue && j->pending == 0)
		finish(s, j);
}

/* The first error ends a job as soon as no piece of it is under way. */
void ms_nbd_job_fail(struct nbd_job *j, int result)
{
	if (j->result == 0)
		j->result = result;
	ms_nbd_job_dequeue(j);
}

static bool counts_progress(const struct ms_io *io)
{
	return io->op == MS_OP_SYNC ||
	       (io->op == MS_OP_READ && io->priority == MS_BULK);
}

static void set_deadline(struct nbd_store *s, struct nbd_job *j)
{
	uint64_t deadline = j->io->deadline_ns;

	if (!deadline)
		return;
	if (counts_progress(j->io))
		j->timeout_ns =
			deadline > j->start_ns ? deadline - j->start_ns : 1;
	if (deadline < s->deadline_ns)
		s->deadline_ns = deadline;
}

/* What a SYNC can be told without asking the server. */
static int answer_sync(struct nbd_store *s, const char **ret_origin)
{
	if (s->doubt) {
		s->doubt = false;
		*ret_origin = in_doubt;
		return -EIO;
	}
	if (s->features.flush)
		return 0;
	/* Nothing that such a server has can be said to be durable. */
	return s->changes ? -EOPNOTSUPP : 1;
}

int ms_nbd_job_add(struct nbd_store *s, struct ms_io *io,
		   const char **ret_origin)
{
	struct nbd_job *j = TAILQ_FIRST(&s->job_spare);
	int rc = s->dead ? -ENOTCONN : 0;

	if (rc == 0 && io->op == MS_OP_SYNC)
		rc = answer_sync(s, ret_origin);
	if (rc)
		return rc;
	if (j)
		TAILQ_REMOVE(&s->job_spare, j, queue_link);
	else
		j = malloc(sizeof(*j));
	if (!j)
		return -ENOMEM;
	*j = (struct nbd_job){.io = io,
			      .origin = "nbd",
			      .urgent = io->priority == MS_URGENT,
			      .start_ns = ms_now_ns()};
	TAILQ_INIT(&j->pieces);
	io->hold[0] = j;
	/* Time without progress begins when there is something to wait for. */
	if (TAILQ_EMPTY(&s->jobs))
		s->progress_ns = j->start_ns;
	TAILQ_INSERT_TAIL(&s->jobs, j, all_link);
	enqueue(s, j);
	set_deadline(s, j);
	return 0;
}

void ms_nbd_job_hurry(struct nbd_store *s, const struct ms_io *io)
{
	struct nbd_job *j = TAILQ_FIRST(&s->bulk);

	while (j && j->io != io)
		j = TAILQ_NEXT(j, queue_link);
	if (!j)
		return;
	ms_nbd_job_dequeue(j);
	j->urgent = true;
	enqueue(s, j);
	ms_nbd_wake_loop(s);
}

void ms_nbd_job_memory_free(struct nbd_store *s)
{
	struct nbd_job *j = NULL;

	while ((j = TAILQ_FIRST(&s->job_spare)) != NULL) {
		TAILQ_REMOVE(&s->job_spare, j, queue_link);
		free(j);
	}
}

/* --- pieces and connections ----------------------------------------------- */

uint64_t ms_nbd_piece_weight(const struct nbd_piece *p)
{
	return ms_nbd_moves_bytes(p->op) ? p->length : 0;
}

static void unassign(struct nbd_store *s, struct nbd_piece *p)
{
	struct nbd_conn *c = p->conn;

	if (!c) {
		TAILQ_REMOVE(&s->redo, p, link);
		return;
	}
	p->conn = NULL;
	c->outstanding -= ms_nbd_piece_weight(p);
	c->count--;
	if (!p->lane)
		s->outstanding -= ms_nbd_piece_weight(p);
	TAILQ_REMOVE(&c->pieces, p, link);
}

/* Its job does not wait for it any more. */
static void orphan(struct nbd_piece *p)
{
	if (!p->job)
		return;
	TAILQ_REMOVE(&p->job->pieces, p, job_link);
	p->job->pending--;
	p->job = NULL;
}

bool ms_nbd_changes(enum ms_op op)
{
	return op == MS_OP_WRITE || op == MS_OP_ZERO || op == MS_OP_TRIM;
}

/* The server has it still. */
static void leave_behind(struct nbd_store *s, struct nbd_piece *p)
{
	orphan(p);
	s->left_behind++;
	p->stale = ms_nbd_changes(p->op);
	if (p->stale)
		TAILQ_INSERT_TAIL(&s->stale, p, job_link);
}

static void drop(struct nbd_store *s, struct nbd_piece *p)
{
	if (p->stale)
		TAILQ_REMOVE(&s->stale, p, job_link);
	unassign(s, p);
	orphan(p);
	ms_nbd_piece_free(s, p);
}

static void account(struct nbd_store *s, const struct nbd_piece *p)
{
	if (p->op == MS_OP_READ)
		s->read_bytes += p->length;
	if (p->op == MS_OP_WRITE)
		s->write_bytes += p->length;
	if (p->op == MS_OP_SYNC && p->covers > s->durable)
		s->durable = p->covers;
	if (p->op == MS_OP_ZERO || p->op == MS_OP_TRIM ||
	    (p->op == MS_OP_WRITE && !(p->flags & MS_FUA)))
		s->changes++;
}

/* The next command begins where the server's last answer ended. */
static int extents_answered(struct nbd_store *s, struct nbd_job *j)
{
	if (j->cursor == j->before && !j->full)
		return -EPROTO; /* it said nothing */
	if (j->cursor < j->io->length && !j->full && j->result == 0)
		enqueue(s, j);
	return 0;
}

void ms_nbd_piece_done(struct nbd_store *s, struct nbd_piece *p, int result)
{
	struct nbd_job *j = p->job;
	enum ms_op op = p->op;

	if (result == 0)
		account(s, p);
	drop(s, p);
	if (!j)
		return;
	if (op == MS_OP_EXTENTS && result == 0)
		result = extents_answered(s, j);
	if (result)
		ms_nbd_job_fail(j, result);
	ms_nbd_job_end_if_over(s, j);
}

void ms_nbd_piece_lost(struct nbd_store *s, struct nbd_piece *p)
{
	struct nbd_job *j = p->job;

	if (!j || j->result) {
		drop(s, p);
		if (j)
			ms_nbd_job_end_if_over(s, j);
	} else if (s->config.reconnect_ns == 0) {
		ms_nbd_piece_done(s, p, -ENOTCONN);
	} else if (p->op == MS_OP_EXTENTS && j->cursor != j->before) {
		ms_nbd_piece_done(s, p, 0);
	} else {
		unassign(s, p);
		TAILQ_INSERT_TAIL(&s->redo, p, link);
		s->reissued++;
	}
}

/* --- ending early --------------------------------------------------------- */

void ms_nbd_job_abort(struct nbd_store *s, struct nbd_job *j, uint64_t now)
{
	struct nbd_piece *p = TAILQ_FIRST(&j->pieces);
	struct nbd_piece *next = NULL;

	ms_nbd_job_fail(j, j->abort);
	for (; p; p = next) {
		next = TAILQ_NEXT(p, job_link);
		if (!p->conn) {
			drop(s, p);
		} else if (!holds_buffer(p)) {
			leave_behind(s, p);
		}
	}
	if (j->pending == 0)
		finish(s, j);
	else if (!j->close_ns)
		j->close_ns = now + CLOSE_AFTER_NS;
}

/* Only when no connection has a piece. */
void ms_nbd_fail_all(struct nbd_store *s, int error)
{
	struct nbd_job *j = NULL;
	struct nbd_piece *p = NULL;

	while ((p = TAILQ_FIRST(&s->redo)) != NULL)
		drop(s, p);
	while ((j = TAILQ_FIRST(&s->jobs)) != NULL) {
		ms_nbd_job_fail(j, error);
		finish(s, j);
	}
}

void ms_nbd_fail_syncs(struct nbd_store *s)
{
	struct nbd_job *j = TAILQ_FIRST(&s->jobs);
	struct nbd_job *next = NULL;
	bool told = false;

	if (s->changes == s->durable)
		return;
	s->durable = s->changes;
	for (; j; j = next) {
		next = TAILQ_NEXT(j, all_link);
		if (j->io->op != MS_OP_SYNC)
			continue;
		j->origin = in_doubt;
		j->abort = -EIO;
		ms_nbd_job_abort(s, j, 0);
		told = true;
	}
	if (!told)
		s->doubt = true;
}

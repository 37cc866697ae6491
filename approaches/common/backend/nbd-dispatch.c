/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting requests into pieces, and which connection gets which piece when.
 * Everything here runs with the lock held.
 */
#include "approaches/common/backend/nbd.h"

#include <errno.h>

enum {
	/* Ranges without bytes are cut too: a server may fill a long one with
	 * zeros, or read it, and answers nothing else meanwhile. */
	ZERO_MAX = 64 << 20,
	EXTENTS_MAX = 1 << 30,
	/* More would only wait in sockets, where nothing overtakes it. */
	PIECES_MAX = 128,
};

static void assign(struct nbd_store *s, struct nbd_piece *p, struct nbd_conn *c)
{
	p->conn = c;
	c->outstanding += ms_nbd_piece_weight(p);
	c->count++;
	if (!p->lane)
		s->outstanding += ms_nbd_piece_weight(p);
	TAILQ_INSERT_TAIL(&c->pieces, p, link);
	TAILQ_INSERT_TAIL(&s->to_send, p, batch_link);
	s->requests++;
}

/*
 * A change that was left behind may be made at any time until it is answered;
 * a newer one of the same bytes must not be made before it.
 */
static bool must_wait(const struct nbd_store *s, const struct nbd_job *j)
{
	const struct ms_io *io = j->io;
	const struct nbd_piece *p = NULL;

	if (!ms_nbd_changes(io->op))
		return false;
	for (p = TAILQ_FIRST(&s->stale); p; p = TAILQ_NEXT(p, job_link))
		if (p->offset < io->offset + io->length &&
		    io->offset < p->offset + p->length)
			return true;
	return false;
}

static uint64_t length_max(const struct nbd_store *s, enum ms_op op)
{
	if (op == MS_OP_EXTENTS)
		return EXTENTS_MAX;
	if (op == MS_OP_POPULATE)
		return s->features.length_max;
	return ms_nbd_moves_bytes(op) ? s->piece_max : ZERO_MAX;
}

static bool usable(const struct nbd_conn *c)
{
	return c->state == NBD_UP && !c->lost;
}

/* The first connection is the urgent ones' while there are others. */
static struct nbd_conn *pick(struct nbd_store *s, bool lane)
{
	struct nbd_conn *best = NULL;
	bool others = false;

	if (lane && usable(&s->conns[0]))
		return s->conns[0].count < PIECES_MAX ? &s->conns[0] : NULL;
	for (unsigned i = 1; i < s->conn_count; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (!usable(c))
			continue;
		others = true;
		if (c->count < PIECES_MAX &&
		    (!best || c->outstanding < best->outstanding ||
		     (c->outstanding == best->outstanding &&
		      c->count < best->count)))
			best = c;
	}
	if (!others && usable(&s->conns[0]) && s->conns[0].count < PIECES_MAX)
		best = &s->conns[0];
	return best;
}

/* Make the next piece of `j` for `c`. 0 or -ENOMEM. */
static int cut(struct nbd_store *s, struct nbd_job *j, struct nbd_conn *c)
{
	const struct ms_io *io = j->io;
	bool ranged = io->op != MS_OP_SYNC;
	uint64_t left = ranged ? io->length - j->cursor : 0;
	uint64_t most = length_max(s, io->op);
	struct nbd_piece *p = ms_nbd_piece_new(
		s, io->deadline_ns && ms_nbd_moves_bytes(io->op));

	if (!p)
		return -ENOMEM;
	p->job = j;
	p->op = io->op;
	p->flags = io->flags;
	p->lane = ms_nbd_job_goes_first(j);
	p->offset = ranged ? io->offset + j->cursor : 0;
	p->length = left < most ? left : most;
	p->covers = s->changes;
	if (ms_nbd_moves_bytes(io->op))
		p->bytes = (char *)io->buf + j->cursor;
	TAILQ_INSERT_TAIL(&j->pieces, p, job_link);
	j->pending++;
	j->before = j->cursor;
	if (io->op != MS_OP_EXTENTS)
		j->cursor += p->length;
	assign(s, p, c);
	/* What follows in a list of extents depends on the answer. */
	if (!ranged || io->op == MS_OP_EXTENTS || j->cursor == io->length)
		ms_nbd_job_dequeue(j);
	return 0;
}

/* Hand out pieces of one queue; stops where the window or room ends. */
static void serve_queue(struct nbd_store *s, struct nbd_queue *q)
{
	struct nbd_job *j = TAILQ_FIRST(q);

	while (j) {
		if (must_wait(s, j)) {
			j = TAILQ_NEXT(j, queue_link);
			continue;
		}
		bool lane = ms_nbd_job_goes_first(j);
		if (!lane && ms_nbd_moves_bytes(j->io->op) &&
		    s->outstanding >= s->config.window)
			return;
		struct nbd_conn *c = pick(s, lane);
		if (!c)
			return;
		struct nbd_job *next = TAILQ_NEXT(j, queue_link);
		int rc = cut(s, j, c);
		if (rc) {
			ms_nbd_job_fail(j, rc);
			ms_nbd_job_end_if_over(s, j);
		}
		if (!j->queue || rc)
			j = next;
	}
}

void ms_nbd_dispatch(struct nbd_store *s)
{
	struct nbd_piece *p = NULL;

	/* What was sent before has waited longest. */
	while ((p = TAILQ_FIRST(&s->redo)) != NULL) {
		struct nbd_conn *c = pick(s, p->lane);
		if (!c)
			return;
		TAILQ_REMOVE(&s->redo, p, link);
		p->covers = s->changes;
		assign(s, p, c);
	}
	serve_queue(s, &s->first);
	serve_queue(s, &s->urgent);
	/* A big urgent request that waits for room lets no bulk pass. */
	if (TAILQ_EMPTY(&s->urgent))
		serve_queue(s, &s->bulk);
}

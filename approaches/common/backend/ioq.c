/* SPDX-License-Identifier: Apache-2.0 */
/* Two singly linked lists; see ioq.h. */
#include "approaches/common/backend/ioq.h"

static unsigned class_of(const struct ms_io *io)
{
	return io->priority == MS_URGENT ? 1 : 0;
}

void ms_ioq_init(struct ms_ioq *q)
{
	*q = (struct ms_ioq){.deadline_ns = UINT64_MAX};
}

bool ms_ioq_push(struct ms_ioq *q, struct ms_io *io)
{
	unsigned c = class_of(io);

	io->link = NULL;
	if (q->last[c])
		q->last[c]->link = io;
	else
		q->first[c] = io;
	q->last[c] = io;
	q->count++;
	if (!io->deadline_ns || io->deadline_ns >= q->deadline_ns)
		return false;
	q->deadline_ns = io->deadline_ns;
	return true;
}

struct ms_io *ms_ioq_peek(const struct ms_ioq *q)
{
	return q->first[1] ? q->first[1] : q->first[0];
}

/* Take out what follows `before`, the first of the class if that is NULL. */
static struct ms_io *unlink_after(struct ms_ioq *q, unsigned c,
				  struct ms_io *before)
{
	struct ms_io **place = before ? &before->link : &q->first[c];
	struct ms_io *io = *place;

	*place = io->link;
	if (q->last[c] == io)
		q->last[c] = before;
	io->link = NULL;
	q->count--;
	return io;
}

struct ms_io *ms_ioq_pop(struct ms_ioq *q)
{
	for (int c = 1; c >= 0; c--)
		if (q->first[c])
			return unlink_after(q, (unsigned)c, NULL);
	return NULL;
}

bool ms_ioq_remove(struct ms_ioq *q, const struct ms_io *io)
{
	for (unsigned c = 0; c < 2; c++) {
		struct ms_io *before = NULL;
		for (struct ms_io *i = q->first[c]; i; i = i->link) {
			if (i == io) {
				(void)unlink_after(q, c, before);
				return true;
			}
			before = i;
		}
	}
	return false;
}

/* Takes the expired ones of a class; the chain grows at *tail. */
static struct ms_io **expire_class(struct ms_ioq *q, unsigned c, uint64_t now,
				   struct ms_io **tail)
{
	struct ms_io *before = NULL;
	struct ms_io *i = q->first[c];

	while (i) {
		struct ms_io *next = i->link;
		if (i->deadline_ns && i->deadline_ns <= now) {
			*tail = unlink_after(q, c, before);
			tail = &i->link;
		} else {
			if (i->deadline_ns && i->deadline_ns < q->deadline_ns)
				q->deadline_ns = i->deadline_ns;
			before = i;
		}
		i = next;
	}
	return tail;
}

struct ms_io *ms_ioq_expire(struct ms_ioq *q, uint64_t now_ns)
{
	struct ms_io *chain = NULL;
	struct ms_io **tail = &chain;

	q->deadline_ns = UINT64_MAX;
	for (int c = 1; c >= 0; c--)
		tail = expire_class(q, (unsigned)c, now_ns, tail);
	return chain;
}

struct ms_io *ms_ioq_take_all(struct ms_ioq *q)
{
	struct ms_io *chain = ms_ioq_peek(q);

	if (q->first[1])
		q->last[1]->link = q->first[0];
	ms_ioq_init(q);
	return chain;
}

void ms_ioq_rearm(struct ms_ioq *q, struct ms_timer *timer, ms_timer_fn *fn)
{
	if (q->deadline_ns != UINT64_MAX &&
	    ms_timer_arm(timer, q->deadline_ns, fn) < 0)
		q->deadline_ns = UINT64_MAX;
}

void ms_ioq_end(struct ms_io *chain, int result, const char *origin)
{
	while (chain) {
		/* The request is its caller's as soon as it is completed. */
		struct ms_io *next = chain->link;
		chain->link = NULL;
		ms_done(chain, result, origin);
		chain = next;
	}
}

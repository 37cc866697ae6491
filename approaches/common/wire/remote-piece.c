/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of the client: their memory, their ids, and whose they are. With the
 * lock held.
 */
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOTS_FIRST = 64
};

static bool grow_slots(struct remote *r)
{
	uint32_t count = r->slot_count ? r->slot_count * 2 : SLOTS_FIRST;
	struct remote_piece **slots = realloc(
		(void *)r->slots, count * sizeof(struct remote_piece *));

	if (slots)
		r->slots = slots;
	uint32_t *stack = realloc(r->slot_free, count * sizeof(uint32_t));
	if (stack)
		r->slot_free = stack;
	if (!slots || !stack)
		return false;
	for (uint32_t i = r->slot_count; i < count; i++) {
		r->slots[i] = NULL;
		r->slot_free[r->slot_free_count++] = i;
	}
	r->slot_count = count;
	return true;
}

void remote_piece_link(struct remote_piece *p, struct remote_conn *c)
{
	p->conn = c;
	p->conn_next = c->pieces;
	p->conn_prev = &c->pieces;
	if (p->conn_next)
		p->conn_next->conn_prev = &p->conn_next;
	c->pieces = p;
	c->piece_count++;
	if (p->counted)
		c->outstanding += p->request.length;
}

void remote_piece_unlink(struct remote_piece *p)
{
	struct remote_conn *c = p->conn;
	uint64_t left = p->counted ? p->request.length - p->arrived : 0;

	*p->conn_prev = p->conn_next;
	if (p->conn_next)
		p->conn_next->conn_prev = p->conn_prev;
	c->piece_count--;
	c->outstanding -= left < c->outstanding ? left : c->outstanding;
}

void remote_piece_orphan(struct remote_piece *p)
{
	if (!p->job)
		return;
	*p->job_prev = p->job_next;
	if (p->job_next)
		p->job_next->job_prev = p->job_prev;
	p->job = NULL;
}

struct remote_piece *remote_piece_new(struct remote *r, struct remote_conn *c)
{
	struct remote_piece *p = r->piece_spare;

	if (!r->slot_free_count && !grow_slots(r))
		return NULL;
	if (p)
		r->piece_spare = p->next;
	else
		p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct remote_piece){.slot = r->slot_free[--r->slot_free_count]};
	/* An id is never used twice, so a late answer finds nobody. */
	p->request.id = ++r->id_serial << 32 | p->slot;
	r->slots[p->slot] = p;
	remote_piece_link(p, c);
	return p;
}

struct remote_piece *remote_piece_find(struct remote *r,
				       const struct remote_conn *c, uint64_t id)
{
	uint32_t slot = (uint32_t)id;
	struct remote_piece *p = slot < r->slot_count ? r->slots[slot] : NULL;

	return p && p->request.id == id && p->conn == c ? p : NULL;
}

void remote_piece_free(struct remote *r, struct remote_piece *p)
{
	uint64_t left = p->counted ? p->request.length - p->arrived : 0;

	ms_window_dropped(&r->window, left);
	remote_piece_orphan(p);
	remote_piece_unlink(p);
	free(p->own);
	r->slots[p->slot] = NULL;
	r->slot_free[r->slot_free_count++] = p->slot;
	p->next = r->piece_spare;
	r->piece_spare = p;
}

bool remote_piece_modifies(const struct remote_piece *p)
{
	return p->request.op == MS_PROTO_WRITE ||
	       p->request.op == MS_PROTO_ZERO ||
	       p->request.op == MS_PROTO_TRIM ||
	       p->request.op == MS_PROTO_RESIZE;
}

void remote_piece_take_back(struct remote *r, struct remote_piece *p)
{
	uint64_t block = r->base.block;
	uint64_t keep = 0;

	p->sent = false;
	if (!p->arrived)
		return;
	if (p->request.op == MS_PROTO_READ)
		keep = p->arrived & ~(block - 1);
	if (p->counted) {
		r->window.outstanding += p->arrived - keep;
		p->conn->outstanding += p->arrived - keep;
	}
	p->arrived = 0;
	if (!keep)
		return;
	r->read_bytes += keep;
	p->dest += keep;
	p->request.offset += keep;
	p->request.length -= keep;
	/* It went on: that is no request which cuts connections. */
	p->tries = 0;
	ms_proto_put_request(&p->request, p->head);
}

/* Take a piece that nobody has begun to send out of its queue. */
static void unqueue(struct remote_piece *p)
{
	struct remote_conn *c = p->conn;

	for (struct remote_piece **q = &c->queue; *q; q = &(*q)->next) {
		if (*q != p)
			continue;
		*q = p->next;
		if (!*q)
			c->queue_last = q;
		break;
	}
}

bool remote_piece_detach(struct remote *r, struct remote_piece *p)
{
	struct remote_conn *c = p->conn;

	if (p->sent) {
		remote_piece_orphan(p);
		p->dest = NULL;
		return true;
	}
	if (c->sending) {
		c->yield = true;
		return false;
	}
	if (c->queue != p || c->queue_sent == 0) {
		unqueue(p);
		remote_piece_free(r, p);
		return true;
	}
	remote_piece_orphan(p);
	p->dest = NULL;
	if (!p->payload_length)
		return true;
	p->own = malloc(p->payload_length);
	if (p->own) {
		memcpy(p->own, p->payload, p->payload_length);
		p->payload = p->own;
	} else {
		/* Without a copy the connection cannot go on. */
		c->error = -ENOMEM;
		p->payload_length = 0;
		remote_nudge(r);
	}
	return true;
}

void remote_piece_memory_free(struct remote *r)
{
	while (r->piece_spare) {
		struct remote_piece *p = r->piece_spare;
		r->piece_spare = p->next;
		free(p);
	}
	free((void *)r->slots);
	free(r->slot_free);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of the client: their memory, their ids, and whose they are. With the
 * lock held.
 */
#include "approaches/common/wire/remote.h"

#include <stdlib.h>

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

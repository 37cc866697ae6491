/* SPDX-License-Identifier: Apache-2.0 */
/* The table of requests that stages hold; see wrap.h. */
#include "approaches/common/stage/wrap.h"

#include "approaches/common/backend/base.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/*
 * One table for all stages. Buckets are many, so that threads seldom meet, and
 * a cache line apart, so that they do not slow each other when they do not.
 */
#define BUCKETS 256

static struct bucket {
	pthread_mutex_t lock;
	struct ms_held *first;
} __attribute__((aligned(64))) table[BUCKETS];

static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_init(void)
{
	for (size_t i = 0; i < BUCKETS; i++)
		(void)pthread_mutex_init(&table[i].lock, NULL);
}

static struct bucket *bucket_of(const struct ms_io *parent)
{
	/* Fibonacci hashing: neighbouring structs fall far apart. */
	uint64_t h = (uint64_t)(uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15);

	return &table[h >> 56];
}

void ms_held_add(struct ms_held *held, struct ms_backend *stage,
		 struct ms_io *parent, void (*free_fn)(struct ms_held *))
{
	struct bucket *b = bucket_of(parent);

	(void)pthread_once(&table_once, table_init);
	held->stage = stage;
	held->parent = parent;
	held->free = free_fn;
	held->refs = 1;
	pthread_mutex_lock(&b->lock);
	held->next = b->first;
	held->place = &b->first;
	if (b->first)
		b->first->place = &held->next;
	b->first = held;
	pthread_mutex_unlock(&b->lock);
}

void ms_held_remove(struct ms_held *held)
{
	struct bucket *b = bucket_of(held->parent);

	pthread_mutex_lock(&b->lock);
	*held->place = held->next;
	if (held->next)
		held->next->place = held->place;
	pthread_mutex_unlock(&b->lock);
}

struct ms_held *ms_held_find(const struct ms_backend *stage,
			     const struct ms_io *parent)
{
	struct bucket *b = bucket_of(parent);
	struct ms_held *held = NULL;

	(void)pthread_once(&table_once, table_init);
	pthread_mutex_lock(&b->lock);
	for (held = b->first; held; held = held->next)
		if (held->parent == parent && held->stage == stage)
			break;
	if (held)
		(void)__atomic_fetch_add(&held->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&b->lock);
	return held;
}

void ms_held_put(struct ms_held *held)
{
	if (__atomic_sub_fetch(&held->refs, 1, __ATOMIC_ACQ_REL) == 0)
		held->free(held);
}

/* --- one child ------------------------------------------------------------
 */

static void wrap_free(struct ms_held *held)
{
	free(ms_container_of(held, struct ms_wrap, held));
}

struct ms_wrap *ms_wrap_new(struct ms_backend *stage, struct ms_io *parent,
			    void (*done)(struct ms_io *child))
{
	struct ms_wrap *w = malloc(sizeof(*w));

	if (!w)
		return NULL;
	w->io = (struct ms_io){.done = done};
	ms_io_copy_request(&w->io, parent);
	w->io.extents_max = parent->extents_max;
	ms_held_add(&w->held, stage, parent, wrap_free);
	return w;
}

void ms_wrap_end_as(struct ms_io *child, int result, const char *origin)
{
	struct ms_wrap *w = ms_wrap_of(child);
	struct ms_io *parent = w->held.parent;

	parent->extents_used = child->extents_used;
	ms_held_remove(&w->held);
	ms_held_put(&w->held);
	ms_done(parent, result, origin);
}

void ms_wrap_end(struct ms_io *child)
{
	ms_wrap_end_as(child, child->result, child->origin);
}

static void resized(struct ms_io *child)
{
	struct ms_backend *stage = ms_wrap_stage(child);

	if (child->result == 0)
		ms_size_set(stage, child->offset);
	ms_wrap_end(child);
}

void ms_wrap_resize(struct ms_backend *stage, struct ms_backend *next,
		    struct ms_io *parent)
{
	struct ms_wrap *w = ms_wrap_new(stage, parent, resized);

	if (w)
		ms_submit(next, &w->io);
	else
		ms_done(parent, -ENOMEM, stage->ops->name);
}

bool ms_wrap_cancel(struct ms_backend *stage, struct ms_backend *next,
		    struct ms_io *parent)
{
	struct ms_held *held = ms_held_find(stage, parent);

	if (!held)
		return false;
	/* A stage may hold parents in other ways too. */
	if (held->free != wrap_free) {
		ms_held_put(held);
		return false;
	}
	ms_cancel(next, &ms_container_of(held, struct ms_wrap, held)->io);
	ms_held_put(held);
	return true;
}

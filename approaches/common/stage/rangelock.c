/* SPDX-License-Identifier: Apache-2.0 */
/* Locks on runs of chunks; see rangelock.h. */
#include "approaches/common/stage/rangelock.h"

#include <assert.h>
#include <stddef.h>

enum {
	WIDE = MS_RANGELOCK_BUCKETS /* the list of longer runs */
};

/*
 * A granted request may complete at once and release in turn. To keep that
 * from recursing as deep as the queue is long, the outermost call on a thread
 * runs the callbacks of all.
 */
static _Thread_local struct {
	struct ms_rangelock_node *first;
	struct ms_rangelock_node **end;
	bool running;
} grants;

static unsigned list_of(const struct ms_rangelock_node *node)
{
	if (node->first != node->last)
		return WIDE;
	return (unsigned)(node->first % MS_RANGELOCK_BUCKETS);
}

static bool in_the_way(const struct ms_rangelock_node *a,
		       const struct ms_rangelock_node *b)
{
	return a->first <= b->last && b->first <= a->last &&
	       !(a->shared && b->shared);
}

void ms_rangelock_init(struct ms_rangelock *l)
{
	(void)pthread_mutex_init(&l->lock, NULL);
	l->turns = 0;
	for (size_t i = 0; i <= WIDE; i++) {
		l->first[i] = NULL;
		l->end[i] = &l->first[i];
	}
}

void ms_rangelock_destroy(struct ms_rangelock *l)
{
	for (size_t i = 0; i <= WIDE; i++)
		assert(!l->first[i]);
	(void)pthread_mutex_destroy(&l->lock);
}

/* --- with the lock held --------------------------------------------------- */

static void append(struct ms_rangelock *l, struct ms_rangelock_node *node)
{
	unsigned i = list_of(node);

	node->turn = l->turns++;
	node->listed = true;
	node->next = NULL;
	node->place = l->end[i];
	*l->end[i] = node;
	l->end[i] = &node->next;
}

static void take_out(struct ms_rangelock *l, struct ms_rangelock_node *node)
{
	*node->place = node->next;
	if (node->next)
		node->next->place = node->place;
	else
		l->end[list_of(node)] = node->place;
	node->listed = false;
	node->held = false;
}

static uint64_t count_in_the_way(const struct ms_rangelock *l, unsigned i,
				 const struct ms_rangelock_node *node)
{
	uint64_t count = 0;

	for (const struct ms_rangelock_node *n = l->first[i]; n; n = n->next)
		count += in_the_way(n, node);
	return count;
}

static void grant(struct ms_rangelock_node *node)
{
	node->held = true;
	node->granted_next = NULL;
	if (!grants.first)
		grants.end = &grants.first;
	*grants.end = node;
	grants.end = &node->granted_next;
}

static void unblock(struct ms_rangelock *l, unsigned i,
		    const struct ms_rangelock_node *gone)
{
	for (struct ms_rangelock_node *n = l->first[i]; n; n = n->next)
		if (n->turn > gone->turn && in_the_way(n, gone) &&
		    --n->blockers == 0)
			grant(n);
}

/* `node` is in nobody's way any more. */
static void leave(struct ms_rangelock *l, struct ms_rangelock_node *node)
{
	unsigned i = list_of(node);

	take_out(l, node);
	if (i == WIDE) {
		for (unsigned j = 0; j < WIDE; j++)
			unblock(l, j, node);
	} else {
		unblock(l, i, node);
	}
	unblock(l, WIDE, node);
}

/* --- without it ----------------------------------------------------------- */

static void run_grants(void)
{
	if (grants.running)
		return;
	grants.running = true;
	while (grants.first) {
		struct ms_rangelock_node *node = grants.first;
		grants.first = node->granted_next;
		node->granted(node);
	}
	grants.running = false;
}

bool ms_rangelock_ask(struct ms_rangelock *l, struct ms_rangelock_node *node)
{
	unsigned i = list_of(node);

	pthread_mutex_lock(&l->lock);
	node->blockers = count_in_the_way(l, WIDE, node);
	if (i == WIDE) {
		for (unsigned j = 0; j < WIDE; j++)
			node->blockers += count_in_the_way(l, j, node);
	} else {
		node->blockers += count_in_the_way(l, i, node);
	}
	bool held = node->blockers == 0;
	node->held = held;
	if (!held)
		node->blockers++; /* until ms_rangelock_wait */
	append(l, node);
	pthread_mutex_unlock(&l->lock);
	return held;
}

void ms_rangelock_wait(struct ms_rangelock *l, struct ms_rangelock_node *node)
{
	pthread_mutex_lock(&l->lock);
	if (node->listed && --node->blockers == 0)
		grant(node);
	pthread_mutex_unlock(&l->lock);
	run_grants();
}

bool ms_rangelock_withdraw(struct ms_rangelock *l,
			   struct ms_rangelock_node *node)
{
	pthread_mutex_lock(&l->lock);
	bool waited = node->listed && !node->held;
	if (waited)
		leave(l, node);
	pthread_mutex_unlock(&l->lock);
	run_grants();
	return waited;
}

void ms_rangelock_release(struct ms_rangelock *l,
			  struct ms_rangelock_node *node)
{
	pthread_mutex_lock(&l->lock);
	leave(l, node);
	pthread_mutex_unlock(&l->lock);
	run_grants();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on runs of chunks, for requests instead of threads: what cannot have
 * its lock yet waits as a struct and is called back. Requests that are in
 * each other's way get the lock in order of arrival, others go their way.
 * Finding those that overlap a single chunk takes a look into one short list;
 * runs of several chunks, which are rare, look at everything.
 */
#ifndef MS_COMMON_STAGE_RANGELOCK_H
#define MS_COMMON_STAGE_RANGELOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	MS_RANGELOCK_BUCKETS = 256
};

struct ms_rangelock_node;

/* Runs when a waiting node has got its lock; no lock of ours is held. */
typedef void ms_rangelock_fn(struct ms_rangelock_node *node);

/* One holder or waiter, embedded in the owner's struct, zeroed at first. */
struct ms_rangelock_node {
	uint64_t first;
	uint64_t last; /* inclusive */
	bool shared;   /* does not mind others that are shared */
	ms_rangelock_fn *granted;
	/* rangelock.c's */
	uint64_t turn;
	uint64_t blockers; /* earlier ones in the way; one more until `wait` */
	bool listed;
	bool held;
	struct ms_rangelock_node *next;
	struct ms_rangelock_node **place;
	struct ms_rangelock_node *granted_next;
};

struct ms_rangelock {
	pthread_mutex_t lock;
	uint64_t turns;
	/* Single chunks by number, in order of arrival; the last is the list
	 * of longer runs. */
	struct ms_rangelock_node *first[MS_RANGELOCK_BUCKETS + 1];
	struct ms_rangelock_node **end[MS_RANGELOCK_BUCKETS + 1];
};

void ms_rangelock_init(struct ms_rangelock *l) __attribute__((nonnull));
void ms_rangelock_destroy(struct ms_rangelock *l) __attribute__((nonnull));

/*
 * Ask for the lock on first ... last. True: it is held. False: the node waits,
 * and `granted` will not run before ms_rangelock_wait was called, so that the
 * owner can prepare for waiting (a timer).
 */
bool ms_rangelock_ask(struct ms_rangelock *l, struct ms_rangelock_node *node)
	__attribute__((nonnull, warn_unused_result));
void ms_rangelock_wait(struct ms_rangelock *l, struct ms_rangelock_node *node)
	__attribute__((nonnull));

/* Give up waiting. False: it has been granted, or was given up already. */
bool ms_rangelock_withdraw(struct ms_rangelock *l,
			   struct ms_rangelock_node *node)
	__attribute__((nonnull, warn_unused_result));

/* Let go. Calls `granted` of those whose turn it is. */
void ms_rangelock_release(struct ms_rangelock *l,
			  struct ms_rangelock_node *node)
	__attribute__((nonnull));

#endif

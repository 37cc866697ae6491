/* SPDX-License-Identifier: Apache-2.0 */
/* Locks on runs of chunks: who waits for whom, giving up, many threads. */
#include "approaches/common/stage/rangelock.h"

#include "tests/check.h"

#include <stddef.h>

static int order[16];
static int granted_count;

struct owner {
	struct ms_rangelock_node node;
	int id;
};

static void granted(struct ms_rangelock_node *node)
{
	order[granted_count++] = ((struct owner *)(void *)node)->id;
}

/* True if it got the lock at once. */
static bool ask(struct ms_rangelock *l, struct owner *o, uint64_t first,
		uint64_t last, bool shared)
{
	static int ids;

	*o = (struct owner){.node = {.first = first,
				     .last = last,
				     .shared = shared,
				     .granted = granted},
			    .id = ++ids};
	if (ms_rangelock_ask(l, &o->node))
		return true;
	ms_rangelock_wait(l, &o->node);
	return false;
}

static void test_order(void)
{
	struct ms_rangelock l;
	struct owner a, b, c, d, e, f;

	ms_rangelock_init(&l);
	CHECK(ask(&l, &a, 5, 5, false));
	CHECK(ask(&l, &b, 6, 6, false));
	/* The same list, another chunk. */
	CHECK(ask(&l, &c, 5 + MS_RANGELOCK_BUCKETS, 5 + MS_RANGELOCK_BUCKETS,
		  false));
	CHECK(!ask(&l, &d, 5, 6, false));
	CHECK(!ask(&l, &e, 6, 6, false)); /* behind d */
	CHECK(ask(&l, &f, 7, 7, false));
	ms_rangelock_release(&l, &a.node);
	CHECK_EQ(granted_count, 0);
	ms_rangelock_release(&l, &b.node);
	CHECK_EQ(granted_count, 1);
	CHECK_EQ(order[0], d.id);
	CHECK(!ms_rangelock_withdraw(&l, &d.node)); /* has it */
	ms_rangelock_release(&l, &d.node);
	CHECK_EQ(granted_count, 2);
	CHECK_EQ(order[1], e.id);
	ms_rangelock_release(&l, &e.node);
	ms_rangelock_release(&l, &c.node);
	ms_rangelock_release(&l, &f.node);
	ms_rangelock_destroy(&l);
}

static void test_shared_and_withdraw(void)
{
	struct ms_rangelock l;
	struct owner a, b, c, d, e;

	granted_count = 0;
	ms_rangelock_init(&l);
	CHECK(ask(&l, &a, 1, 1, true));
	CHECK(ask(&l, &b, 1, 1, true));
	CHECK(!ask(&l, &c, 0, UINT64_MAX, false));
	CHECK(!ask(&l, &d, 1, 1, true)); /* no overtaking */
	CHECK(!ask(&l, &e, UINT64_MAX, UINT64_MAX, false));
	ms_rangelock_release(&l, &a.node);
	CHECK_EQ(granted_count, 0);
	/* The one in the way gives up: those behind it go on. */
	CHECK(ms_rangelock_withdraw(&l, &c.node));
	CHECK(!ms_rangelock_withdraw(&l, &c.node));
	CHECK_EQ(granted_count, 2);
	CHECK_EQ(order[0] + order[1], d.id + e.id);
	ms_rangelock_release(&l, &b.node);
	ms_rangelock_release(&l, &d.node);
	ms_rangelock_release(&l, &e.node);
	/* Prepared, withdrawn before waiting. */
	CHECK(ask(&l, &a, 1, 1, false));
	b = (struct owner){.node = {.first = 1, .last = 1, .granted = granted}};
	CHECK(!ms_rangelock_ask(&l, &b.node));
	ms_rangelock_release(&l, &a.node);
	CHECK_EQ(granted_count, 2); /* not before wait */
	CHECK(ms_rangelock_withdraw(&l, &b.node));
	ms_rangelock_wait(&l, &b.node);
	CHECK_EQ(granted_count, 2);
	ms_rangelock_destroy(&l);
}

/* --- threads: the lock excludes -------------------------------------------
 */

enum {
	THREADS = 3,
	ROUNDS = 5000,
	CELLS = 8
};

static struct ms_rangelock shared_lock;
static int cells[CELLS]; /* each changed only by who has its lock */
static int total[CELLS];

struct waiter {
	struct ms_rangelock_node node;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	bool has;
};

static void wake(struct ms_rangelock_node *node)
{
	struct waiter *w = (struct waiter *)(void *)node;

	pthread_mutex_lock(&w->lock);
	w->has = true;
	(void)pthread_cond_signal(&w->turn);
	pthread_mutex_unlock(&w->lock);
}

static void *contend(void *arg)
{
	uint64_t random = (uint64_t)(uintptr_t)arg + 1;

	for (int i = 0; i < ROUNDS; i++) {
		random = random * UINT64_C(6364136223846793005) + 1;
		uint64_t first = (random >> 40) % CELLS;
		uint64_t more = (random >> 50) % 8 ? 0 : (random >> 33) % 4;
		uint64_t last = first + more < CELLS ? first + more : CELLS - 1;
		struct waiter w = {
			.node = {.first = first, .last = last, .granted = wake},
			.lock = PTHREAD_MUTEX_INITIALIZER,
			.turn = PTHREAD_COND_INITIALIZER};
		if (!ms_rangelock_ask(&shared_lock, &w.node)) {
			ms_rangelock_wait(&shared_lock, &w.node);
			pthread_mutex_lock(&w.lock);
			while (!w.has)
				pthread_cond_wait(&w.turn, &w.lock);
			pthread_mutex_unlock(&w.lock);
		}
		for (uint64_t c = first; c <= last; c++) {
			cells[c]++;
			(void)__atomic_fetch_add(&total[c], 1,
						 __ATOMIC_RELAXED);
		}
		ms_rangelock_release(&shared_lock, &w.node);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[THREADS];

	ms_rangelock_init(&shared_lock);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, contend, (void *)i),
			 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	for (int c = 0; c < CELLS; c++)
		CHECK_EQ(cells[c], total[c]);
	ms_rangelock_destroy(&shared_lock);
}

int main(void)
{
	test_order();
	test_shared_and_withdraw();
	test_threads();
	return 0;
}

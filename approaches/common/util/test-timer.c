/* SPDX-License-Identifier: Apache-2.0 */
/* Timers: order, moving, cancelling (also while running), many threads. */
#include "tests/check.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/timer.h"

#include <pthread.h>
#include <unistd.h>

#define LIMIT_NS (20 * MS_NS_PER_S)

enum {
	MANY = 500,
	THREADS = 4,
};

struct watched {
	struct ms_timer timer; /* first */
	int calls;	       /* atomic */
	uint64_t due_ns;       /* atomic: it may be armed again while it runs */
	uint64_t late_ns;
	int order;
};

static int calls; /* of all timers; atomic */
static bool entered;
static bool leave;

static int get(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

static void await_calls(const int *count, int want)
{
	uint64_t give_up = ms_now_ns() + LIMIT_NS;

	while (get(count) < want) {
		CHECK(ms_now_ns() < give_up);
		(void)usleep(100);
	}
}

static void note(struct ms_timer *timer)
{
	struct watched *w = (struct watched *)(void *)timer;

	w->late_ns =
		ms_now_ns() - __atomic_load_n(&w->due_ns, __ATOMIC_RELAXED);
	w->order = __atomic_fetch_add(&calls, 1, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&w->calls, 1, __ATOMIC_ACQ_REL);
}

static void arm(struct watched *w, uint64_t when_ns)
{
	__atomic_store_n(&w->due_ns, when_ns, __ATOMIC_RELAXED);
	CHECK_EQ(ms_timer_arm(&w->timer, when_ns, note), 0);
}

static void test_order(void)
{
	static struct watched w[MANY];
	uint64_t start = ms_now_ns() + 20 * MS_NS_PER_MS;
	uint64_t worst = 0;

	calls = 0;
	/* 7 and 500 have no common divisor: each place once, mixed. */
	for (uint64_t i = 0; i < MANY; i++)
		arm(&w[i], start + i * 7 % MANY * 20 * MS_NS_PER_US);
	for (int i = 0; i < MANY; i++) {
		await_calls(&w[i].calls, 1); /* it counts itself last */
		CHECK_EQ(w[i].calls, 1);
		CHECK_EQ(w[i].order, i * 7 % MANY);
		CHECK(w[i].late_ns < LIMIT_NS); /* never early: it would wrap */
		worst = w[i].late_ns > worst ? w[i].late_ns : worst;
	}
	(void)printf("latest of %d timers: %" PRIu64 " us late\n", MANY,
		     worst / MS_NS_PER_US);
}

static void test_past_and_moved(void)
{
	struct watched w = {0};
	struct watched later = {0};

	calls = 0;
	arm(&w, 0); /* the past */
	await_calls(&w.calls, 1);
	arm(&w, 1);
	await_calls(&w.calls, 2);
	/* Moved from far away to now, and from now to far away. */
	arm(&w, ms_now_ns() + 1000 * MS_NS_PER_S);
	arm(&later, ms_now_ns() + 5 * MS_NS_PER_MS);
	arm(&w, ms_now_ns());
	arm(&later, ms_now_ns() + 1000 * MS_NS_PER_S);
	await_calls(&w.calls, 3);
	CHECK(!ms_timer_cancel(&w.timer));
	CHECK(ms_timer_cancel(&later.timer));
	CHECK(!ms_timer_cancel(&later.timer));
	CHECK_EQ(later.calls, 0);
}

static void test_cancelled_do_not_run(void)
{
	static struct watched w[MANY];
	struct watched last = {0};
	uint64_t soon = ms_now_ns() + 30 * MS_NS_PER_MS;
	int prevented = 0;

	for (uint64_t i = 0; i < MANY; i++)
		arm(&w[i], soon + i * MS_NS_PER_US);
	for (int i = 0; i < MANY; i += 2)
		prevented += ms_timer_cancel(&w[i].timer);
	arm(&last, soon + MS_NS_PER_MS * 5);
	await_calls(&last.calls, 1);
	int ran = 0;
	for (int i = 0; i < MANY; i++)
		ran += get(&w[i].calls);
	CHECK_EQ(ran + prevented, MANY);
	for (int i = 1; i < MANY; i += 2)
		CHECK_EQ(w[i].calls, 1);
}

static void slow(struct ms_timer *timer)
{
	struct watched *w = (struct watched *)(void *)timer;

	__atomic_store_n(&entered, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&leave, __ATOMIC_ACQUIRE))
		(void)usleep(100);
	/* And again, in vain: it is being cancelled. */
	CHECK_EQ(ms_timer_arm(timer, ms_now_ns() + LIMIT_NS, slow), 0);
	__atomic_add_fetch(&w->calls, 1, __ATOMIC_ACQ_REL);
}

static void *let_go(void *unused)
{
	(void)usleep(20000);
	__atomic_store_n(&leave, true, __ATOMIC_RELEASE);
	return unused;
}

static void test_cancel_waits_for_the_callback(void)
{
	struct watched w = {0};
	pthread_t thread;
	uint64_t give_up = ms_now_ns() + LIMIT_NS;

	CHECK_EQ(ms_timer_arm(&w.timer, ms_now_ns(), slow), 0);
	while (!__atomic_load_n(&entered, __ATOMIC_ACQUIRE))
		CHECK(ms_now_ns() < give_up);
	CHECK_EQ(pthread_create(&thread, NULL, let_go, NULL), 0);
	/* What it prevented is the call that the callback armed itself. */
	CHECK(ms_timer_cancel(&w.timer));
	CHECK_EQ(get(&w.calls), 1);
	CHECK_EQ(w.timer.slot, 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void again(struct ms_timer *timer)
{
	struct watched *w = (struct watched *)(void *)timer;

	if (__atomic_add_fetch(&w->calls, 1, __ATOMIC_ACQ_REL) < 50)
		CHECK_EQ(ms_timer_arm(timer, ms_now_ns() + 10, again), 0);
	else
		CHECK(!ms_timer_cancel(timer)); /* from inside: no deadlock */
}

static void test_rearm_from_callback(void)
{
	struct watched w = {0};

	CHECK_EQ(ms_timer_arm(&w.timer, 0, again), 0);
	await_calls(&w.calls, 50);
	(void)ms_timer_cancel(&w.timer); /* until the last call has returned */
	CHECK_EQ(w.calls, 50);
}

static void free_it(struct ms_timer *timer)
{
	free(timer);
	__atomic_add_fetch(&calls, 1, __ATOMIC_ACQ_REL);
}

static void *crowd(void *arg)
{
	struct watched w[20] = {0};
	uint64_t seed = *(const uint64_t *)arg;

	for (int i = 0; i < 3000; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		struct watched *one = &w[seed >> 60];
		if (seed >> 40 & 1)
			arm(one, ms_now_ns() + (seed >> 45) % 100000);
		else
			(void)ms_timer_cancel(&one->timer);
		struct ms_timer *own = calloc(1, sizeof(*own));
		CHECK(own);
		CHECK_EQ(ms_timer_arm(own, ms_now_ns() + 1000, free_it), 0);
	}
	for (int i = 0; i < 20; i++)
		(void)ms_timer_cancel(&w[i].timer);
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[THREADS];
	uint64_t seeds[THREADS];

	calls = 0;
	for (uint64_t i = 0; i < THREADS; i++) {
		seeds[i] = i + 1;
		CHECK_EQ(pthread_create(&threads[i], NULL, crowd, &seeds[i]),
			 0);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	await_calls(&calls, THREADS * 3000);
}

int main(void)
{
	test_order();
	test_past_and_moved();
	test_cancelled_do_not_run();
	test_cancel_waits_for_the_callback();
	test_rearm_from_callback();
	test_threads();
	return 0;
}

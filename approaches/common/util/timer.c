/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of timers and the thread that serves it; see timer.h. */
#include "approaches/common/util/timer.h"

#include "approaches/common/util/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* the earliest timer changed */
	pthread_cond_t idle;	/* a callback has returned */
	struct ms_timer **heap;
	size_t count;
	size_t room;
	struct ms_timer *running;
	pthread_t thread;
	bool started;
} t = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
};

static void place(size_t i, struct ms_timer *timer)
{
	t.heap[i] = timer;
	timer->slot = i + 1;
}

static void sift_up(size_t i)
{
	struct ms_timer *timer = t.heap[i];

	while (i && t.heap[(i - 1) / 2]->when_ns > timer->when_ns) {
		place(i, t.heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(i, timer);
}

static void sift_down(size_t i)
{
	struct ms_timer *timer = t.heap[i];

	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= t.count)
			break;
		if (child + 1 < t.count &&
		    t.heap[child + 1]->when_ns < t.heap[child]->when_ns)
			child++;
		if (t.heap[child]->when_ns >= timer->when_ns)
			break;
		place(i, t.heap[child]);
		i = child;
	}
	place(i, timer);
}

static void heap_remove(struct ms_timer *timer)
{
	size_t i = timer->slot - 1;
	struct ms_timer *last = t.heap[--t.count];

	timer->slot = 0;
	if (last == timer)
		return;
	place(i, last);
	sift_down(i);
	sift_up(last->slot - 1);
}

static void sleep_until_due(void)
{
	struct timespec until;

	if (t.count == 0) {
		(void)pthread_cond_wait(&t.changed, &t.lock);
		return;
	}
	until = ms_timespec(t.heap[0]->when_ns);
	(void)pthread_cond_timedwait(&t.changed, &t.lock, &until);
}

static void *serve(void *unused)
{
	(void)unused;
	/* The default slack of 50 us would be an error of every delay. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	(void)pthread_setname_np(pthread_self(), "ms-timer");
	pthread_mutex_lock(&t.lock);
	for (;;) {
		if (t.count == 0 || t.heap[0]->when_ns > ms_now_ns()) {
			sleep_until_due();
			continue;
		}
		struct ms_timer *timer = t.heap[0];
		ms_timer_fn *fn = timer->fn;
		heap_remove(timer);
		t.running = timer;
		pthread_mutex_unlock(&t.lock);
		fn(timer); /* may free the timer */
		pthread_mutex_lock(&t.lock);
		t.running = NULL;
		(void)pthread_cond_broadcast(&t.idle);
	}
	return NULL;
}

static int start(void)
{
	pthread_condattr_t attr;

	if (t.started)
		return 0;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&t.changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	/* The program's signals are for the program's own threads. */
	sigset_t all;
	sigset_t before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&t.thread, NULL, serve, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return -rc;
	(void)pthread_detach(t.thread);
	t.started = true;
	return 0;
}

static int make_room(void)
{
	if (t.count < t.room)
		return 0;
	size_t room = t.room ? 2 * t.room : 64;
	struct ms_timer **heap =
		realloc(t.heap, room * sizeof(struct ms_timer *));
	if (!heap)
		return -ENOMEM;
	t.heap = heap;
	t.room = room;
	return 0;
}

int ms_timer_arm(struct ms_timer *timer, uint64_t when_ns, ms_timer_fn *fn)
{
	pthread_mutex_lock(&t.lock);
	int rc = start();
	if (rc == 0)
		rc = make_room();
	if (rc == 0) {
		if (timer->slot)
			heap_remove(timer);
		timer->when_ns = when_ns;
		timer->fn = fn;
		place(t.count, timer);
		t.count++;
		sift_up(t.count - 1);
		if (t.heap[0] == timer)
			(void)pthread_cond_signal(&t.changed);
	}
	pthread_mutex_unlock(&t.lock);
	return rc;
}

bool ms_timer_cancel(struct ms_timer *timer)
{
	pthread_mutex_lock(&t.lock);
	bool armed = timer->slot != 0;
	if (armed)
		heap_remove(timer);
	while (t.running == timer && !pthread_equal(pthread_self(), t.thread))
		(void)pthread_cond_wait(&t.idle, &t.lock);
	/* The callback may have armed it again while we waited. */
	if (timer->slot && !pthread_equal(pthread_self(), t.thread)) {
		heap_remove(timer);
		armed = true;
	}
	pthread_mutex_unlock(&t.lock);
	return armed;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool adaptor over a store whose calls block until the test lets them go:
 * width, order, deadlines and cancelling in the queue, resize, closing.
 */
#include "approaches/common/backend/pool.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>

enum {
	LOG_MAX = 512
};

struct slow {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	int running;
	int running_max;
	int tickets;	       /* calls that may end; -1: all */
	uint64_t log[LOG_MAX]; /* offsets, in the order of starting */
	int logged;
	int closed;
	bool answers;
};

static int slow_call(struct slow *s, uint64_t offset)
{
	pthread_mutex_lock(&s->lock);
	CHECK(s->logged < LOG_MAX);
	s->log[s->logged++] = offset;
	s->running++;
	if (s->running > s->running_max)
		s->running_max = s->running;
	(void)pthread_cond_broadcast(&s->moved);
	while (s->tickets == 0)
		(void)pthread_cond_wait(&s->moved, &s->lock);
	if (s->tickets > 0)
		s->tickets--;
	s->running--;
	(void)pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
	return offset == 13 ? -EREMOTEIO : 0;
}

static int slow_read(void *store, void *buf, uint64_t length, uint64_t offset)
{
	memset(buf, (int)offset, length);
	return slow_call(store, offset);
}

static int slow_write(void *store, const void *buf, uint64_t length,
		      uint64_t offset, bool fua)
{
	(void)buf;
	(void)length;
	(void)fua;
	return slow_call(store, offset);
}

static int slow_sync(void *store)
{
	return slow_call(store, 999);
}

static int slow_resize(void *store, uint64_t size)
{
	struct slow *s = store;

	/* Runs alone. */
	pthread_mutex_lock(&s->lock);
	CHECK_EQ(s->running, 0);
	pthread_mutex_unlock(&s->lock);
	return size == 77 ? -ENOSPC : 0;
}

static int slow_answer(void *store, const struct ms_io *io)
{
	const struct slow *s = store;

	if (!s->answers || io->offset % 2)
		return -EAGAIN;
	memset(io->buf, 0x11, io->length);
	return 0;
}

static void slow_close(void *store)
{
	((struct slow *)store)->closed++;
}

static const struct ms_blocking_ops slow_ops = {
	.name = "slow",
	.read = slow_read,
	.write = slow_write,
	.sync = slow_sync,
	.resize = slow_resize,
	.answer = slow_answer,
	.close = slow_close,
};

static struct ms_backend *open_slow(struct slow *s, unsigned width)
{
	struct ms_pool_config config = {.size = 1000,
					.caps = MS_CAN_WRITE | MS_CAN_FUA |
						MS_CAN_RESIZE,
					.width = width};
	struct ms_backend *b = NULL;

	*s = (struct slow){.lock = PTHREAD_MUTEX_INITIALIZER,
			   .moved = PTHREAD_COND_INITIALIZER};
	CHECK_EQ(ms_pool_open(&slow_ops, s, &config, &b), 0);
	CHECK(ms_pool_store(b) == s);
	return b;
}

static void wait_logged(struct slow *s, int count)
{
	pthread_mutex_lock(&s->lock);
	while (s->logged < count)
		(void)pthread_cond_wait(&s->moved, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void let_go(struct slow *s, int tickets)
{
	pthread_mutex_lock(&s->lock);
	s->tickets = tickets;
	(void)pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
}

static void finish(struct slow *s, struct ms_backend *b)
{
	ms_close(b);
	CHECK_EQ(s->closed, 1);
	CHECK_EQ(s->running, 0);
}

static struct ms_io read_at(char *buf, uint64_t offset, enum ms_priority p)
{
	return (struct ms_io){.op = MS_OP_READ,
			      .priority = p,
			      .offset = offset,
			      .length = 1,
			      .buf = buf};
}

/* As many at once as the width says, no more and no fewer. */
static void test_width(unsigned width)
{
	struct slow s;
	struct ms_backend *b = open_slow(&s, width);
	static struct shot shots[100];
	static char bytes[100];

	for (uint64_t i = 0; i < 100; i++)
		shot_fire(&shots[i], b, read_at(&bytes[i], i + 100, MS_BULK));
	wait_logged(&s, (int)width);
	CHECK_EQ(s.running_max, width);
	let_go(&s, -1);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(shot_wait(&shots[i]), 0);
		CHECK_EQ((unsigned char)bytes[i], i + 100);
	}
	CHECK_EQ(s.running_max, width);
	finish(&s, b);
}

static void test_order_and_errors(void)
{
	struct slow s;
	struct ms_backend *b = open_slow(&s, 1);
	static const uint64_t want[] = {1, 12, 13, 10, 11};
	struct shot shots[5];
	char buf[5];

	shot_fire(&shots[0], b, read_at(&buf[0], 1, MS_BULK));
	wait_logged(&s, 1);
	shot_fire(&shots[1], b, read_at(&buf[1], 10, MS_BULK));
	shot_fire(&shots[2], b, read_at(&buf[2], 11, MS_BULK));
	shot_fire(&shots[3], b, read_at(&buf[3], 12, MS_URGENT));
	shot_fire(&shots[4], b, read_at(&buf[4], 13, MS_URGENT));
	let_go(&s, -1);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(shot_wait(&shots[i]), i == 4 ? -EREMOTEIO : 0);
	CHECK_STR(shots[4].io.origin, "slow");
	for (int i = 0; i < 5; i++)
		CHECK_EQ(s.log[i], want[i]);
	finish(&s, b);
}

/* In the queue a request ends without having run; a running one does not. */
static void test_deadline_and_cancel(void)
{
	struct slow s;
	struct ms_backend *b = open_slow(&s, 1);
	struct shot runs;
	struct shot late;
	struct shot cancelled;
	char buf[3];
	struct ms_io io = read_at(&buf[0], 1, MS_BULK);

	io.deadline_ns = ms_now_ns() + 20 * MS_NS_PER_MS;
	shot_fire(&runs, b, io);
	wait_logged(&s, 1);
	io = read_at(&buf[1], 2, MS_URGENT);
	io.deadline_ns = ms_now_ns() + 40 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	shot_fire(&cancelled, b, read_at(&buf[2], 3, MS_BULK));
	ms_cancel(b, &cancelled.io);
	CHECK_EQ(shot_wait(&cancelled), -ECANCELED);
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	CHECK(late.end_ns >= late.io.deadline_ns);
	ms_cancel(b, &runs.io);
	CHECK(!shot_landed(&runs));
	let_go(&s, -1);
	CHECK_EQ(shot_wait(&runs), 0);
	CHECK_EQ(s.logged, 1);
	finish(&s, b);
}

static void test_answer_and_resize(void)
{
	struct slow s;
	struct ms_backend *b = open_slow(&s, 2);
	struct shot queued;
	char byte = 0;

	s.answers = true;
	/* Answered on this thread although nothing may run. */
	CHECK_EQ(ms_read_at(b, &byte, 1, 4), 0);
	CHECK_EQ(byte, 0x11);
	CHECK_EQ(s.logged, 0);
	shot_fire(&queued, b, read_at(&byte, 5, MS_BULK));
	wait_logged(&s, 1);
	struct shot resize;
	struct shot beyond;
	shot_fire(&resize, b, (struct ms_io){.op = MS_OP_RESIZE, .offset = 10});
	/* Let in while the region was longer, run when it is shorter. */
	shot_fire(&beyond, b,
		  (struct ms_io){.op = MS_OP_WRITE,
				 .offset = 500,
				 .length = 1,
				 .buf = &byte});
	let_go(&s, -1);
	CHECK_EQ(shot_wait(&queued), 0);
	CHECK_EQ(shot_wait(&resize), 0);
	int rc = shot_wait(&beyond);
	CHECK(rc == 0 || rc == -ERANGE);
	CHECK_EQ(ms_size(b), 10);
	CHECK_EQ(ms_resize(b, 77), -ENOSPC);
	CHECK_EQ(ms_size(b), 10);
	finish(&s, b);
}

static void test_refused(void)
{
	struct slow s = {0};
	struct ms_pool_config config = {.size = 1};
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_pool_open(&slow_ops, &s, &config, &b), -EINVAL);
	config.width = MS_POOL_WIDTH_MAX + 1;
	CHECK_EQ(ms_pool_open(&slow_ops, &s, &config, &b), -EINVAL);
	CHECK_HAS(memsync_error(), "1025 threads");
	CHECK_EQ(s.closed, 0);
}

int main(void)
{
	test_width(1);
	test_width(4);
	test_order_and_errors();
	test_deadline_and_cancel();
	test_answer_and_resize();
	test_refused();
	return 0;
}

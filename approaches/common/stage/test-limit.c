/* SPDX-License-Identifier: Apache-2.0 */
/* Stage limit: how many at once, order, deadlines, cancelling, deep queues. */
#include "approaches/common/stage/limit.h"
#include "approaches/common/stage/test-flight.h"

#include "approaches/common/backend/base.h"

#include <errno.h>

enum {
	N = 5000,
	HELD_MAX = 64,
};

static char bytes[4096];

static struct ms_io read_io(uint64_t offset)
{
	return (struct ms_io){
		.op = MS_OP_READ, .offset = offset, .length = 1, .buf = bytes};
}

/* A store that keeps requests until it is told to answer. */
struct keeper {
	struct ms_backend base;
	pthread_mutex_t lock;
	struct ms_io *held[HELD_MAX];
	unsigned n;
};

static struct keeper *keeper_of(struct ms_backend *b)
{
	return ms_container_of(b, struct keeper, base);
}

static void keeper_submit(struct ms_backend *b, struct ms_io *io)
{
	struct keeper *k = keeper_of(b);

	pthread_mutex_lock(&k->lock);
	CHECK(k->n < HELD_MAX);
	k->held[k->n++] = io;
	pthread_mutex_unlock(&k->lock);
}

static void keeper_close(struct ms_backend *b)
{
	CHECK_EQ(keeper_of(b)->n, 0);
}

static void keeper_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct keeper *k = keeper_of(b);

	for (unsigned i = 0; i < k->n; i++) {
		if (k->held[i] != io)
			continue;
		k->held[i] = k->held[--k->n];
		ms_done(io, -ECANCELED, "keeper");
		return;
	}
}

static const struct ms_backend_ops keeper_ops = {
	.name = "keeper",
	.submit = keeper_submit,
	.cancel = keeper_cancel,
	.close = keeper_close,
};

static void keeper_make(struct keeper *k, unsigned requests,
			struct ms_backend **ret)
{
	*k = (struct keeper){.lock = PTHREAD_MUTEX_INITIALIZER};
	ms_backend_init(&k->base, &keeper_ops, 1 << 20, MS_CAN_WRITE);
	CHECK_EQ(ms_limit_over(&k->base, requests, ret), 0);
}

/* Answer the oldest; what it was about. */
static uint64_t answer(struct keeper *k)
{
	struct ms_io *io = k->held[0];
	uint64_t offset = io->offset;

	CHECK(k->n > 0);
	k->n--;
	for (unsigned i = 0; i < k->n; i++)
		k->held[i] = k->held[i + 1];
	ms_done(io, 0, NULL);
	return offset;
}

static void no_more_than_that(void)
{
	static struct shot shots[20];
	struct keeper k;
	struct ms_backend *b;

	keeper_make(&k, 3, &b);
	for (unsigned i = 0; i < 20; i++)
		shot_fire(&shots[i], b, read_io(i));
	for (unsigned i = 0; i < 20; i++) {
		CHECK_EQ(k.n, i <= 17 ? 3 : 20 - i);
		CHECK_EQ(answer(&k), i);
		CHECK_EQ(shot_wait(&shots[i]), 0);
	}
	ms_close(b);
}

static void urgent_ones_first(void)
{
	struct shot first;
	struct shot bulk[2];
	struct shot urgent;
	struct keeper k;
	struct ms_backend *b;
	struct ms_io io = read_io(9);

	keeper_make(&k, 1, &b);
	shot_fire(&first, b, read_io(0));
	shot_fire(&bulk[0], b, read_io(1));
	shot_fire(&bulk[1], b, read_io(2));
	io.priority = MS_URGENT;
	shot_fire(&urgent, b, io);
	ms_hurry(b, &bulk[1].io);
	CHECK_EQ(answer(&k), 0);
	CHECK_EQ(answer(&k), 9);
	CHECK_EQ(answer(&k), 2); /* hurried */
	CHECK_EQ(answer(&k), 1);
	ms_close(b);
}

static void ends_while_waiting(void)
{
	struct shot first;
	struct shot late;
	struct shot called_off;
	struct keeper k;
	struct ms_backend *b;
	struct ms_io io = read_io(1);

	keeper_make(&k, 1, &b);
	shot_fire(&first, b, read_io(0));
	io.deadline_ns = ms_now_ns() + 20 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	shot_fire(&called_off, b, read_io(2));
	ms_cancel(b, &called_off.io);
	CHECK_EQ(shot_wait(&called_off), -ECANCELED);
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	/* One that is below already. */
	ms_cancel(b, &first.io);
	CHECK_EQ(shot_wait(&first), -ECANCELED);
	CHECK_EQ(k.n, 0);
	ms_close(b);
}

/* By name, over a store that takes its time. */
static void one_by_one(void)
{
	static struct shot shots[4];
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open("limit:requests=1,next=(delay:time=5ms,next="
			 "memory:size=1M)",
			 &b),
		 0);
	for (unsigned i = 0; i < 4; i++)
		shot_fire(&shots[i], b, read_io(i));
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	CHECK(shots[3].end_ns >= shots[0].end_ns + 14 * MS_NS_PER_MS);
	ms_close(b);
}

/* Holds the first request, answers all that follow at once. */
struct stopper {
	struct ms_backend base;
	struct ms_io *first;
	char *stack_low;
};

static void stopper_submit(struct ms_backend *b, struct ms_io *io)
{
	struct stopper *s = ms_container_of(b, struct stopper, base);
	char here;

	if (!s->first) {
		s->first = io;
		return;
	}
	if (!s->stack_low || &here < s->stack_low)
		s->stack_low = &here;
	ms_done(io, 0, NULL);
}

static void stopper_close(struct ms_backend *b)
{
	(void)b;
}

static void stack_stays_flat(void)
{
	static const struct ms_backend_ops ops = {.name = "stopper",
						  .submit = stopper_submit,
						  .close = stopper_close};
	static struct shot shots[N];
	struct stopper s = {.first = NULL};
	struct ms_backend *b;
	char here;

	ms_backend_init(&s.base, &ops, 1 << 20, 0);
	CHECK_EQ(ms_limit_over(&s.base, 1, &b), 0);
	for (unsigned i = 0; i < N; i++)
		shot_fire(&shots[i], b, read_io(i));
	ms_done(s.first, 0, NULL);
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	(void)printf("%td bytes of stack\n", &here - s.stack_low);
	CHECK(&here - s.stack_low < 16384);
	ms_close(b);
}

static void bad_numbers(void)
{
	struct ms_backend *b;

	CHECK_EQ(ms_open("limit:requests=0,next=memory:size=1M", &b), -EINVAL);
	CHECK_EQ(ms_open("limit:requests=65537,next=memory:size=1M", &b),
		 -EINVAL);
}

int main(void)
{
	no_more_than_that();
	urgent_ones_first();
	ends_while_waiting();
	one_by_one();
	stack_stays_flat();
	bad_numbers();
	return 0;
}

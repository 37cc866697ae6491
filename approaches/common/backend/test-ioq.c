/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of waiting requests: order, removal, expiry. */
#include "approaches/common/backend/ioq.h"

#include "tests/check.h"

enum {
	N = 6
};

static struct ms_io ios[N];

static void fill(struct ms_ioq *q)
{
	ms_ioq_init(q);
	for (int i = 0; i < N; i++) {
		ios[i] =
			(struct ms_io){.priority = i % 2 ? MS_URGENT : MS_BULK};
		CHECK(!ms_ioq_push(q, &ios[i]));
	}
	CHECK_EQ(q->count, N);
}

static void check_order(struct ms_ioq *q, const int *want, size_t n)
{
	CHECK_EQ(q->count, n);
	for (size_t i = 0; i < n; i++) {
		CHECK(ms_ioq_peek(q) == &ios[want[i]]);
		CHECK(ms_ioq_pop(q) == &ios[want[i]]);
	}
	CHECK(!ms_ioq_peek(q));
	CHECK(!ms_ioq_pop(q));
	CHECK_EQ(q->count, 0);
}

static void test_order(void)
{
	struct ms_ioq q;

	fill(&q);
	check_order(&q, (const int[]){1, 3, 5, 0, 2, 4}, N);
	/* Emptied, it takes requests again. */
	CHECK(!ms_ioq_push(&q, &ios[2]));
	check_order(&q, (const int[]){2}, 1);
}

static void test_remove(void)
{
	struct ms_ioq q;
	struct ms_io stranger = {0};

	fill(&q);
	CHECK(!ms_ioq_remove(&q, &stranger));
	CHECK(ms_ioq_remove(&q, &ios[1])); /* first */
	CHECK(ms_ioq_remove(&q, &ios[2])); /* middle */
	CHECK(ms_ioq_remove(&q, &ios[4])); /* last */
	CHECK(!ms_ioq_remove(&q, &ios[4]));
	(void)ms_ioq_push(&q, &ios[4]);
	check_order(&q, (const int[]){3, 5, 0, 4}, 4);
}

static void test_expire(void)
{
	struct ms_ioq q;
	static const uint64_t deadlines[N] = {0, 50, 30, 20, 70, 10};

	ms_ioq_init(&q);
	for (int i = 0; i < N; i++) {
		ios[i] = (struct ms_io){.priority = i % 2 ? MS_URGENT : MS_BULK,
					.deadline_ns = deadlines[i]};
		bool earlier = ms_ioq_push(&q, &ios[i]);
		/* Each time a new minimum: 50, 30, 20, (not 70), 10. */
		CHECK_EQ(earlier, i != 0 && i != 4);
	}
	CHECK_EQ(q.deadline_ns, 10);
	CHECK(!ms_ioq_expire(&q, 9));
	CHECK_EQ(q.deadline_ns, 10);
	struct ms_io *chain = ms_ioq_expire(&q, 30);
	int seen = 0;
	for (struct ms_io *i = chain; i; i = i->link) {
		CHECK(i == &ios[2] || i == &ios[3] || i == &ios[5]);
		seen++;
	}
	CHECK_EQ(seen, 3);
	CHECK_EQ(q.deadline_ns, 50);
	check_order(&q, (const int[]){1, 0, 4}, 3);
}

static void test_take_all(void)
{
	struct ms_ioq q;
	static const int want[N] = {1, 3, 5, 0, 2, 4};
	int n = 0;

	fill(&q);
	for (struct ms_io *i = ms_ioq_take_all(&q); i; i = i->link)
		CHECK(i == &ios[want[n++]]);
	CHECK_EQ(n, N);
	CHECK_EQ(q.count, 0);
	CHECK(!ms_ioq_take_all(&q));
	(void)ms_ioq_push(&q, &ios[0]);
	CHECK(ms_ioq_take_all(&q) == &ios[0]);
}

int main(void)
{
	test_order();
	test_remove();
	test_expire();
	test_take_all();
	return 0;
}

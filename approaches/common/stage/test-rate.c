/* SPDX-License-Identifier: Apache-2.0 */
/* Stage rate: the rate itself, order, deadlines and cancelling. */
#include "approaches/common/stage/rate.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>

enum {
	N = 40
};

static char bytes[1 << 20];

static struct ms_io read_io(uint64_t length)
{
	return (struct ms_io){.op = MS_OP_READ, .length = length, .buf = bytes};
}

/* N times 10 KiB, minus the burst, at 1 MiB/s: 330 ms. */
static void test_rate(void)
{
	struct ms_backend *b =
		open_spec("rate:rate=1M,burst=64K,next=memory:size=1M");
	static struct shot shots[N];
	static char bufs[N][10240];
	uint64_t start = ms_now_ns();
	uint64_t want_ns =
		(N * UINT64_C(10240) - 65536) * MS_NS_PER_S / (1 << 20);

	for (int i = 0; i < N; i++)
		shot_fire(&shots[i], b,
			  (struct ms_io){.op = MS_OP_READ,
					 .length = 10240,
					 .buf = bufs[i]});
	for (int i = 0; i < N; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	uint64_t took = ms_now_ns() - start;
	(void)printf("%.1f ms, expected %.1f\n", (double)took / 1e6,
		     (double)want_ns / 1e6);
	CHECK(took >= want_ns - MS_NS_PER_MS);
	CHECK(took < want_ns + 5 * MS_NS_PER_S); /* busy machines */
	/* In order of arrival. */
	for (int i = 1; i < N; i++)
		CHECK(shots[i].end_ns >= shots[i - 1].end_ns);
	ms_close(b);
}

/* Longer than the bucket: leaves when that is full, and is paid for after. */
static void test_longer_than_burst(void)
{
	struct ms_backend *b =
		open_spec("rate:rate=1M,burst=4K,next=memory:size=1M");
	uint64_t start = ms_now_ns();

	CHECK_EQ(ms_read_at(b, bytes, 100000, 0), 0);
	CHECK_EQ(ms_read_at(b, bytes, 1, 0), 0);
	CHECK(ms_now_ns() - start >= (100000 - 4096) * MS_NS_PER_S / (1 << 20));
	ms_close(b);
}

static void test_order_and_ends(void)
{
	struct ms_backend *b =
		open_spec("rate:rate=100K,burst=1K,next=memory:size=1M");
	struct shot bulk[3];
	struct shot urgent;
	struct shot late;
	uint64_t start = ms_now_ns();
	struct ms_io io = read_io(10240);

	CHECK_EQ(ms_read_at(b, bytes, 10240, 0), 0); /* 100 ms of debt */
	io.length = 1024;
	for (int i = 0; i < 3; i++)
		shot_fire(&bulk[i], b, io);
	io.priority = MS_URGENT;
	shot_fire(&urgent, b, io);
	io.priority = MS_BULK;
	io.deadline_ns = start + 30 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	ms_cancel(b, &bulk[1].io);
	CHECK_EQ(shot_wait(&bulk[1]), -ECANCELED);
	/* What carries no bytes is not held up. */
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_resize(b, 1 << 19), 0);
	CHECK(!shot_landed(&bulk[0]));
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	CHECK(late.end_ns >= late.io.deadline_ns);
	CHECK_EQ(shot_wait(&bulk[2]), 0);
	CHECK_EQ(shot_wait(&bulk[0]), 0);
	CHECK_EQ(shot_wait(&urgent), 0);
	CHECK(urgent.end_ns <= bulk[0].end_ns);
	CHECK(bulk[0].end_ns <= bulk[2].end_ns);
	ms_close(b);
}

int main(void)
{
	test_rate();
	test_longer_than_burst();
	test_order_and_ends();
	refuse_spec("rate:rate=0,next=memory:size=4K", -EINVAL, "rate");
	return 0;
}

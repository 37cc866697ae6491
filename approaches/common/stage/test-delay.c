/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage delay: how exact it is, that thousands wait at once without threads,
 * that waiting ends early when it should. `test-delay -v` prints the numbers.
 */
#include "approaches/common/stage/delay.h"
#include "approaches/common/stage/test-flight.h"

#include <dirent.h>
#include <errno.h>

enum {
	MANY = 4000,
	SAMPLES = 100,
};

static bool verbose;

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void test_exactness(void)
{
	struct ms_backend *b = open_spec("delay:time=5ms,next=memory:size=64K");
	static uint64_t over_ns[SAMPLES];
	char buf[4096];

	for (int i = 0; i < SAMPLES; i++) {
		struct shot s;
		uint64_t start = ms_now_ns();
		shot_fire(&s, b,
			  (struct ms_io){.op = MS_OP_READ,
					 .length = sizeof(buf),
					 .buf = buf});
		CHECK_EQ(shot_wait(&s), 0);
		CHECK(s.end_ns - start >= 5 * MS_NS_PER_MS); /* never early */
		over_ns[i] = s.end_ns - start - 5 * MS_NS_PER_MS;
	}
	qsort(over_ns, SAMPLES, sizeof(over_ns[0]), compare);
	if (verbose)
		(void)printf("too late by: median %.1f us, p90 %.1f us, most "
			     "%.1f us\n",
			     (double)over_ns[SAMPLES / 2] / 1e3,
			     (double)over_ns[SAMPLES * 9 / 10] / 1e3,
			     (double)over_ns[SAMPLES - 1] / 1e3);
	/* Loose, for busy machines and sanitizers: it is no benchmark. */
	CHECK(over_ns[SAMPLES / 2] < 2 * MS_NS_PER_MS);
	ms_close(b);
}

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	CHECK_EQ(closedir(dir), 0);
	return count;
}

static void test_many(void)
{
	struct ms_backend *b =
		open_spec("delay:time=300ms,next=memory:size=64K");
	struct shot *shots = calloc(MANY, sizeof(*shots));
	char *buf = malloc(MANY);
	uint64_t start = ms_now_ns();
	int threads = count_threads();

	CHECK(shots && buf);
	memset(buf, 1, MANY);
	for (int i = 0; i < MANY; i++)
		shot_fire(&shots[i], b,
			  (struct ms_io){.op = MS_OP_READ,
					 .offset = (uint64_t)i,
					 .length = 1,
					 .buf = buf + i});
	/* The one of the timers was there already. */
	CHECK_EQ(count_threads(), threads);
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	uint64_t took = ms_now_ns() - start;
	CHECK(took >= 300 * MS_NS_PER_MS);
	/* One after another they would take 20 minutes. */
	CHECK(took < 10 * MS_NS_PER_S);
	if (verbose)
		(void)printf("%d at once: %.1f ms\n", MANY, (double)took / 1e6);
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(buf[i], 0);
	free(buf);
	free(shots);
	ms_close(b);
}

static void test_early_ends(void)
{
	struct ms_backend *b = open_spec("delay:time=60s,next=memory:size=64K");
	static struct shot shots[100];
	struct shot late;
	char byte = 1;
	struct ms_io io = {.op = MS_OP_WRITE, .length = 1, .buf = &byte};

	for (int i = 0; i < 100; i++)
		shot_fire(&shots[i], b, io);
	io.deadline_ns = ms_now_ns() + 20 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	for (int i = 99; i >= 0; i--)
		ms_cancel(b, &shots[i].io);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(shot_wait(&shots[i]), -ECANCELED);
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	CHECK(late.end_ns >= late.io.deadline_ns);
	ms_cancel(b, &late.io);
	ms_close(b);
}

/* Cancels that meet the very moment of the end: exactly one of the two. */
static void test_cancel_race(void)
{
	struct ms_backend *b =
		open_spec("delay:time=200us,next=memory:size=64K");
	int cancelled = 0;
	char byte = 1;

	for (int i = 0; i < 300; i++) {
		struct shot s;
		uint64_t start = ms_now_ns();
		shot_fire(&s, b,
			  (struct ms_io){.op = MS_OP_WRITE,
					 .length = 1,
					 .buf = &byte});
		while (ms_now_ns() - start < 150000 + (uint64_t)i * 500)
			;
		ms_cancel(b, &s.io);
		int rc = shot_wait(&s);
		CHECK(rc == 0 || rc == -ECANCELED);
		cancelled += rc != 0;
	}
	if (verbose)
		(void)printf("cancelled %d of 300\n", cancelled);
	ms_close(b);
}

static void test_which(void)
{
	struct ms_backend *b =
		open_spec("delay:time=60s,ops=read,next=memory:size=64K");
	char byte = 1;
	struct shot read;

	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_resize(b, 5), 0);
	CHECK_EQ(ms_size(b), 5);
	shot_fire(&read, b,
		  (struct ms_io){.op = MS_OP_READ, .length = 1, .buf = &byte});
	CHECK(!shot_landed(&read));
	ms_cancel(b, &read.io);
	CHECK_EQ(shot_wait(&read), -ECANCELED);
	ms_close(b);
}

int main(int argc, char **argv)
{
	verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	test_exactness();
	test_many();
	test_early_ends();
	test_cancel_race();
	test_which();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: how chunks become local, and what happens when that fails. */
#include "approaches/common/stage/test-probe.h"

static void test_reads_are_the_remotes(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});

	check_region(b, 5000, 3);
	CHECK_EQ(p->reads, 1);
	CHECK_EQ(p->read_bytes, CHUNK);
	check_region(b, 4096, 4096);
	CHECK_EQ(p->reads, 1); /* a hit */
	check_region(b, 0, SIZE);
	CHECK_EQ(p->read_bytes, SIZE); /* nothing twice, the tail included */
	CHECK_EQ(ms_cache_local_chunks(b), CHUNKS);
	ms_close(b);
}

static void test_one_fetch_for_many(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct slow_io *s[10];

	hold(p);
	for (uint64_t i = 0; i < 10; i++)
		s[i] = submit_slow(b, MS_OP_READ, 100 + i, 50, MS_URGENT);
	await_held(p, 1);
	CHECK_EQ(ms_cache_state(b, 0), MS_CHUNK_FETCHING);
	release(p);
	for (uint64_t i = 0; i < 10; i++) {
		pthread_mutex_lock(&s[i]->lock);
		while (!s[i]->calls)
			pthread_cond_wait(&s[i]->done, &s[i]->lock);
		pthread_mutex_unlock(&s[i]->lock);
		CHECK(ms_pattern_check(SEED, 100 + i, s[i]->buf, 50, NULL));
		CHECK_EQ(wait_slow(s[i]), 0);
	}
	CHECK_EQ(p->reads, 1);
	ms_close(b);
}

static void test_neighbours_are_merged(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});

	/* 16 chunks, 8 a request, one present in the middle. */
	check_region(b, 3 * CHUNK, 1);
	p->reads = 0;
	check_region(b, 0, 16 * CHUNK);
	CHECK_EQ(p->reads, 3); /* 0-2, 4-7, 8-15 */
	ms_close(b);
}

static void test_urgent_hurries_bulk(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});

	hold(p);
	struct slow_io *bulk =
		submit_slow(b, MS_OP_POPULATE, 0, 4 * CHUNK, MS_BULK);
	await_held(p, 1);
	CHECK_EQ(p->held[0]->priority, MS_BULK);
	struct slow_io *fault = submit_slow(b, MS_OP_READ, CHUNK, 1, MS_URGENT);
	CHECK_EQ(p->hurried, 1);
	struct slow_io *other =
		submit_slow(b, MS_OP_READ, 40 * CHUNK, 1, MS_URGENT);
	await_held(p, 2);
	CHECK_EQ(p->held[1]->priority, MS_URGENT);
	release(p);
	CHECK_EQ(wait_slow(bulk), 0);
	CHECK_EQ(wait_slow(fault), 0);
	CHECK_EQ(wait_slow(other), 0);
	ms_close(b);
}

static void test_failed_fetch(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.retries = 2});
	char byte = 0;

	p->fail_reads = 2; /* fewer than attempts: nobody notices */
	check_region(b, 0, 10);
	CHECK_EQ(p->reads, 3);
	p->fail_reads = 3; /* all of them */
	CHECK_EQ(ms_read_at(b, &byte, 1, 10 * CHUNK), -EIO);
	CHECK_HAS(memsync_error(), "probe");
	CHECK_EQ(ms_cache_state(b, 10), MS_CHUNK_FAILED);
	check_region(b, 10 * CHUNK, 10); /* the next access tries again */
	ms_close(b);
}

static void test_deadline_and_cancel(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char byte = 0x11;

	hold(p);
	struct ms_io io = {.op = MS_OP_READ,
			   .length = 1,
			   .buf = &byte,
			   .deadline_ns = ms_now_ns() + 20 * MS_NS_PER_MS};
	CHECK_EQ(ms_wait(b, &io), -ETIMEDOUT);
	struct slow_io *s = submit_slow(b, MS_OP_READ, 1, 1, MS_URGENT);
	ms_cancel(b, &s->io);
	CHECK_EQ(wait_slow(s), -ECANCELED);
	/* The fetch goes on, and nobody's buffer is touched by it. */
	release(p);
	CHECK_EQ(byte, 0x11);
	check_region(b, 0, CHUNK);
	CHECK_EQ(p->reads, 1);
	/* Closing does not wait for a remote that never answers. */
	hold(p);
	s = submit_slow(b, MS_OP_POPULATE, 50 * CHUNK, 1, MS_BULK);
	await_held(p, 1);
	ms_cancel(b, &s->io);
	CHECK_EQ(wait_slow(s), -ECANCELED);
	ms_close(b);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_reads_are_the_remotes();
		test_one_fetch_for_many();
		test_neighbours_are_merged();
		test_urgent_hurries_bulk();
		test_failed_fetch();
		test_deadline_and_cancel();
	}
	return 0;
}

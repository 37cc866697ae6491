/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: writes, pushes, and what a SYNC says. */
#include "approaches/common/stage/test-probe.h"

static void test_covering_write_does_not_fetch(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char *bytes = malloc(3 * CHUNK);

	CHECK(bytes);
	ms_pattern_fill(9, 0, bytes, 3 * CHUNK);
	hold(p); /* a fetch would hang */
	CHECK_EQ(ms_write_at(b, bytes, 3 * CHUNK, 8 * CHUNK), 0);
	CHECK_EQ(ms_cache_state(b, 9), MS_CHUNK_DIRTY);
	/* The short last chunk is covered by a short write. */
	CHECK_EQ(ms_write_at(b, bytes, CHUNK - 100, SIZE - CHUNK + 100), 0);
	release(p);
	CHECK_EQ(p->reads, 0);
	/* Part of a chunk: the rest comes from the remote. */
	CHECK_EQ(ms_write_at(b, bytes, 10, 20 * CHUNK + 5), 0);
	CHECK_EQ(p->reads, 1);
	check_region(b, 20 * CHUNK, 5);
	check_region(b, 20 * CHUNK + 15, 1000);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(p->bytes + 8 * CHUNK, bytes, 3 * CHUNK) == 0);
	CHECK(memcmp(p->bytes + 20 * CHUNK + 5, bytes, 10) == 0);
	CHECK_EQ(p->syncs, 1);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	free(bytes);
	ms_close(b);
}

static void test_push_merges(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char chunk[CHUNK] = {1};

	for (uint64_t i = 0; i < 12; i++)
		CHECK_EQ(ms_write_at(b, chunk, CHUNK, (11 - i) * CHUNK), 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(p->writes, 2); /* 8 and 4 chunks */
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(p->writes, 2);
	CHECK_EQ(p->syncs, 2);
	ms_close(b);
}

static void test_changed_while_pushed(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char one[CHUNK];
	char two[CHUNK];

	memset(one, 1, sizeof(one));
	memset(two, 2, sizeof(two));
	CHECK_EQ(ms_write_at(b, one, CHUNK, 0), 0);
	hold(p);
	ms_cache_push(b);
	await_held(p, 1);
	CHECK_EQ(ms_cache_state(b, 0), MS_CHUNK_PUSHING);
	/* The push carries whatever its buffer holds when it is sent. */
	CHECK_EQ(ms_write_at(b, two, CHUNK, 0), 0);
	struct slow_io *sync = submit_slow(b, MS_OP_SYNC, 0, 0, MS_URGENT);
	CHECK_EQ(is_done(sync), 0);
	release(p);
	CHECK_EQ(wait_slow(sync), 0);
	CHECK_EQ(p->writes, 2);
	CHECK(memcmp(p->bytes, two, CHUNK) == 0);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	ms_close(b);
}

static void test_sync_carries_errors(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.retries = 1});
	char byte = 5;

	check_region(b, 0, CHUNK);
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	p->fail_writes = 1; /* retried */
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	p->fail_writes = 2;
	CHECK_EQ(ms_sync(b), -EIO);
	CHECK_EQ(ms_cache_state(b, 0), MS_CHUNK_DIRTY);
	CHECK_EQ(ms_sync(b), 0); /* nothing was lost */
	CHECK_EQ(p->bytes[0], 5);
	/* Pushed, but the remote could not sync: pushed again. */
	byte = 6;
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	p->fail_syncs = 1;
	CHECK_EQ(ms_sync(b), -EIO);
	p->bytes[0] = 0; /* the remote lost it */
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(p->bytes[0], 6);
	ms_close(b);
}

static void test_sync_deadline(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char chunk[CHUNK] = {1};

	CHECK_EQ(ms_write_at(b, chunk, CHUNK, 0), 0);
	hold(p);
	struct ms_io io = {.op = MS_OP_SYNC,
			   .deadline_ns = ms_now_ns() + 20 * MS_NS_PER_MS};
	CHECK_EQ(ms_wait(b, &io), -ETIMEDOUT);
	release(p);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(p->bytes[0], 1);
	ms_close(b);
}

static void test_zero(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	char buf[SIZE];

	CHECK_EQ(ms_zero_at(b, 2 * CHUNK + 10, CHUNK - 5), 0);
	CHECK_EQ(ms_read_at(b, buf, SIZE, 0), 0);
	CHECK(ms_pattern_check(SEED, 0, buf, CHUNK - 5, NULL));
	CHECK(ms_is_zero(buf + CHUNK - 5, 2 * CHUNK + 10));
	CHECK(ms_pattern_check(SEED, 3 * CHUNK + 5, buf + 3 * CHUNK + 5,
			       SIZE - 3 * CHUNK - 5, NULL));
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(p->bytes, buf, SIZE) == 0);
	ms_close(b);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_covering_write_does_not_fetch();
		test_push_merges();
		test_changed_while_pushed();
		test_sync_carries_errors();
		test_sync_deadline();
		test_zero();
	}
	return 0;
}

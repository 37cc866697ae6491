/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: a limit, and changes elsewhere. */
#include "approaches/common/stage/test-probe.h"

static void test_limit(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.limit = 16 * CHUNK});

	for (int round = 0; round < 3; round++) {
		check_region(b, 0, SIZE);
		CHECK(ms_cache_local_chunks(b) <= 16);
	}
	CHECK(p->read_bytes > 2 * SIZE); /* it was fetched again */
	ms_close(b);
}

/* Random writes through a cache a quarter of the region: nothing is lost. */
static void test_limit_writes(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.limit = 16 * CHUNK});
	char *model = malloc(SIZE);
	char buf[3 * CHUNK];
	uint64_t seed = 1;

	CHECK(model);
	memcpy(model, p->bytes, SIZE);
	for (int i = 0; i < 2000; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		uint64_t length = 1 + (seed >> 33) % sizeof(buf);
		uint64_t offset = (seed >> 20) % (SIZE - length);
		if (seed >> 63) {
			ms_pattern_fill(seed, 0, buf, length);
			CHECK_EQ(ms_write_at(b, buf, length, offset), 0);
			memcpy(model + offset, buf, length);
		} else {
			CHECK_EQ(ms_read_at(b, buf, length, offset), 0);
			CHECK(memcmp(buf, model + offset, length) == 0);
		}
		CHECK(ms_cache_local_chunks(b) <= 16);
	}
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(p->bytes, model, SIZE) == 0);
	free(model);
	ms_close(b);
}

static uint64_t evict_calls;

static void count_evicted(void *user, uint64_t offset, uint64_t length)
{
	(void)offset;
	__atomic_fetch_add((uint64_t *)user, length, __ATOMIC_RELAXED);
}

static void test_front_end_is_told(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.limit = 16 * CHUNK});
	uint64_t local = 0;
	uint64_t missed = 0;

	evict_calls = 0;
	ms_cache_on_local(b, count_evicted, &local);
	ms_cache_on_evict(b, count_evicted, &evict_calls);
	ms_cache_on_miss(b, count_evicted, &missed);
	check_region(b, 0, SIZE);
	CHECK_EQ(local, SIZE);
	CHECK(evict_calls >= SIZE - 16 * CHUNK);
	CHECK(missed > 0);
	ms_close(b);
}

static void test_changes_elsewhere(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.watch = true});
	char byte = 0;

	check_region(b, 0, SIZE);
	p->bytes[10 * CHUNK] ^= 1;
	p->changed(p->changed_user, 10 * CHUNK, 1);
	CHECK_EQ(ms_read_at(b, &byte, 1, 10 * CHUNK), 0);
	CHECK_EQ(byte, p->bytes[10 * CHUNK]);
	CHECK_EQ(p->read_bytes, SIZE + CHUNK);
	/* Changed while it is on its way: fetched once more. */
	p->changed(p->changed_user, 0, CHUNK);
	hold(p);
	struct slow_io *s = submit_slow(b, MS_OP_READ, 0, 1, MS_URGENT);
	await_held(p, 1);
	p->changed(p->changed_user, 0, 1);
	p->reads = 0;
	release(p);
	CHECK_EQ(wait_slow(s), 0);
	CHECK_EQ(p->reads, 2);
	ms_close(b);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_limit();
		test_limit_writes();
		test_front_end_is_told();
		test_changes_elsewhere();
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: populate, the puller and the pusher. */
#include "approaches/common/stage/puller.h"
#include "approaches/common/stage/pusher.h"
#include "approaches/common/stage/test-probe.h"

#include <unistd.h>

static void test_populate(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_io io = {
		.op = MS_OP_POPULATE, .offset = CHUNK + 1, .length = 5 * CHUNK};
	struct ms_mapping m;

	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(ms_cache_local_chunks(b), 6);
	CHECK_EQ(ms_cache_next_absent(b, 1, false), 7);
	if (!with_map) {
		CHECK_EQ(ms_map(b, 0, CHUNK, &m), -EOPNOTSUPP);
	} else {
		/* No copy: the bytes are where the local store shows them. */
		CHECK_EQ(ms_map(b, CHUNK, 6 * CHUNK, &m), 0);
		CHECK(ms_pattern_check(SEED, CHUNK, m.addr, 6 * CHUNK, NULL));
	}
	ms_close(b);
}

static uint64_t backwards(void *user, uint64_t n)
{
	(void)user;
	return n < CHUNKS ? CHUNKS - 1 - n : UINT64_MAX;
}

static void test_puller(void)
{
	struct ms_puller_options o;
	struct ms_puller *puller = NULL;
	static const uint64_t list[] = {50, 3, 1000, 50};

	ms_puller_defaults(&o);
	o.request = 4 * CHUNK;
	for (int kind = 0; kind < 3; kind++) {
		struct probe *p = probe_new();
		struct ms_backend *b =
			cache_over(p, (struct ms_cache_options){0});
		o.list = kind == 1 ? list : NULL;
		o.list_count = kind == 1 ? 4 : 0;
		o.order = kind == 2 ? backwards : NULL;
		o.workers = kind == 0 ? 3 : 1;
		hold(p);
		CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
		await_held(p, (int)o.workers);
		static const uint64_t firsts[] = {0, 50, CHUNKS - 1};
		CHECK_EQ(p->held[0]->offset, firsts[kind] * CHUNK);
		CHECK(!ms_puller_is_done(puller));
		release(p);
		CHECK_EQ(ms_puller_wait(puller), 0);
		CHECK(ms_puller_is_done(puller));
		CHECK_EQ(p->read_bytes, SIZE);
		ms_puller_stop(puller);
		p->hold = true; /* everything is local */
		check_region(b, 0, SIZE);
		ms_close(b);
	}
}

static void test_puller_follows_demand(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_puller_options o;
	struct ms_puller *puller = NULL;

	ms_puller_defaults(&o);
	o.workers = 1;
	o.request = CHUNK;
	hold(p);
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	await_held(p, 1);
	ms_puller_demand(puller, 30 * CHUNK, 1);
	struct ms_io *first = p->held[0];
	CHECK_EQ(first->offset, 0);
	p->held_count = 0;
	memcpy(first->buf, p->bytes, CHUNK);
	ms_done(first, 0, NULL);
	await_held(p, 1);
	CHECK_EQ(p->held[0]->offset, 31 * CHUNK);
	release(p);
	CHECK_EQ(ms_puller_wait(puller), 0);
	ms_puller_stop(puller);
	check_region(b, 0, SIZE); /* it came back for what it passed over */
	CHECK_EQ(ms_cache_local_chunks(b), CHUNKS);
	ms_close(b);
}

static void test_puller_grows(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_puller_options o;
	struct ms_puller *puller = NULL;

	ms_puller_defaults(&o);
	o.request = 8 * CHUNK;
	o.first = CHUNK;
	o.window = 6 * CHUNK;
	hold(p);
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	/* Four of one chunk, one of two: the window is full. */
	await_held(p, 5);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(p->held[i]->length, (i < 4 ? 1 : 2) * CHUNK);
	/* Stopped: what is in flight is cancelled, nothing is waited for. */
	ms_puller_stop(puller);
	ms_close(b);
	/* No more than the window, but all of it in the end. */
	p = probe_new();
	b = cache_over(p, (struct ms_cache_options){0});
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), 0);
	CHECK_EQ(p->read_bytes, SIZE);
	struct ms_puller_stats stats;
	ms_puller_get_stats(puller, &stats);
	CHECK_EQ(stats.bytes, SIZE);
	CHECK_EQ(stats.errors, 0);
	CHECK_EQ(stats.requests, p->reads);
	ms_puller_stop(puller);
	ms_close(b);
}

static void test_puller_is_patient(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_puller_options o;
	struct ms_puller_stats stats;
	struct ms_puller *puller = NULL;

	ms_puller_defaults(&o);
	o.workers = 2;
	o.request = 8 * CHUNK;
	o.retry_ns = 1;
	o.retries = 6;
	/* An outage that ends: everything is local, nothing is reported. */
	p->fail_reads = 5;
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), 0);
	ms_puller_get_stats(puller, &stats);
	CHECK_EQ(stats.errors, 5);
	CHECK_EQ(stats.error, -EIO);
	ms_puller_stop(puller);
	check_region(b, 0, SIZE);
	ms_close(b);
	/* One that does not: so many rounds of two requests, then the end. */
	p = probe_new();
	b = cache_over(p, (struct ms_cache_options){0});
	p->fail_reads = 1000;
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), -EIO);
	CHECK(ms_puller_is_done(puller));
	CHECK(p->reads >= 7 && p->reads <= 14);
	ms_puller_stop(puller);
	ms_close(b);
}

static void test_puller_errors(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_puller_options o;
	struct ms_puller *puller = NULL;

	ms_puller_defaults(&o);
	o.workers = 2;
	o.request = 8 * CHUNK;
	p->fail_reads = 1;
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), -EIO);
	ms_puller_stop(puller);
	CHECK_EQ(ms_cache_local_chunks(b), CHUNKS - 8);
	ms_close(b);
	/* A full cache ends the pulling, nothing is driven out. */
	p = probe_new();
	b = cache_over(p, (struct ms_cache_options){.limit = 32 * CHUNK});
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), -ENOSPC);
	ms_puller_stop(puller);
	CHECK_EQ(ms_cache_local_chunks(b), 32);
	CHECK_EQ(p->read_bytes, 32 * CHUNK);
	ms_close(b);
}

static void test_pusher(void)
{
	struct probe *p = probe_new();
	struct ms_backend *b = cache_over(p, (struct ms_cache_options){0});
	struct ms_pusher *pusher = NULL;
	struct ms_pusher_options o = {.interval_ns = 2 * MS_NS_PER_MS};
	char chunk[CHUNK] = {9};
	uint64_t give_up = ms_now_ns() + 20 * MS_NS_PER_S;

	CHECK_EQ(ms_pusher_start(b, &o, &pusher), 0);
	CHECK_EQ(ms_write_at(b, chunk, CHUNK, 7 * CHUNK), 0);
	while (ms_cache_dirty_chunks(b) && ms_now_ns() < give_up)
		(void)usleep(1000);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	CHECK(ms_pusher_rounds(pusher) > 0);
	ms_pusher_stop(pusher);
	CHECK(memcmp(p->bytes + 7 * CHUNK, chunk, CHUNK) == 0);
	CHECK_EQ(p->syncs, 0); /* pushing is not syncing */
	ms_close(b);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_populate();
		test_puller();
		test_puller_follows_demand();
		test_puller_grows();
		test_puller_is_patient();
		test_puller_errors();
		test_pusher();
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises of the cache, each with a test. The remote is a store of this
 * test's own that can hold requests back, fail them, and count them.
 */
#include "tests/check.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/memory.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/stage/puller.h"
#include "approaches/common/stage/pusher.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define CHUNK  UINT64_C(4096)
#define CHUNKS UINT64_C(64)
#define SIZE   (CHUNK * CHUNKS - 100) /* a short last chunk */

enum {
	SEED = 3,
	HELD_MAX = 1000,
};

/* --- the remote
 * --------------------------------------------------------------- */

struct probe {
	struct ms_backend base;
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	char *bytes;
	bool hold; /* keep requests until release */
	struct ms_io *held[HELD_MAX];
	int held_count;
	int reads, writes, syncs, hurried, cancelled;
	uint64_t read_bytes, written_bytes;
	int fail_reads, fail_writes, fail_syncs; /* that many more */
	ms_changed_fn *changed;
	void *changed_user;
};

static struct probe *probe_of(struct ms_backend *b)
{
	return ms_container_of(b, struct probe, base);
}

static int take(int *count)
{
	if (*count == 0)
		return 0;
	--*count;
	return -EIO;
}

static int probe_serve(struct probe *p, struct ms_io *io)
{
	switch ((int)io->op) {
	case MS_OP_READ:
		p->reads++;
		p->read_bytes += io->length;
		if (p->fail_reads)
			return take(&p->fail_reads);
		memcpy(io->buf, p->bytes + io->offset, io->length);
		return 0;
	case MS_OP_WRITE:
		p->writes++;
		p->written_bytes += io->length;
		if (p->fail_writes)
			return take(&p->fail_writes);
		memcpy(p->bytes + io->offset, io->buf, io->length);
		return 0;
	case MS_OP_SYNC:
		p->syncs++;
		return take(&p->fail_syncs);
	default:
		return -EOPNOTSUPP;
	}
}

static void probe_submit(struct ms_backend *b, struct ms_io *io)
{
	struct probe *p = probe_of(b);
	int result = 0;
	bool held = false;

	pthread_mutex_lock(&p->lock);
	held = p->hold;
	if (held) {
		CHECK(p->held_count < HELD_MAX);
		p->held[p->held_count++] = io;
		pthread_cond_broadcast(&p->arrived);
	} else {
		result = probe_serve(p, io);
	}
	pthread_mutex_unlock(&p->lock);
	if (!held)
		ms_done(io, result, "probe");
}

static void probe_hurry(struct ms_backend *b, struct ms_io *io)
{
	(void)io;
	__atomic_fetch_add(&probe_of(b)->hurried, 1, __ATOMIC_RELAXED);
}

/* Completes what it holds, from inside the call as a real one may. */
static void probe_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct probe *p = probe_of(b);
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (int i = 0; i < p->held_count; i++) {
		if (p->held[i] != io)
			continue;
		p->held[i] = p->held[--p->held_count];
		p->cancelled++;
		found = true;
		break;
	}
	pthread_mutex_unlock(&p->lock);
	if (found)
		ms_done(io, -ECANCELED, "probe");
}

static int probe_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	probe_of(b)->changed = fn;
	probe_of(b)->changed_user = user;
	return 0;
}

static void probe_close(struct ms_backend *b)
{
	struct probe *p = probe_of(b);

	CHECK_EQ(p->held_count, 0);
	free(p->bytes);
	free(p);
}

static const struct ms_backend_ops probe_ops = {
	.name = "probe",
	.submit = probe_submit,
	.hurry = probe_hurry,
	.cancel = probe_cancel,
	.watch = probe_watch,
	.close = probe_close,
};

static struct probe *probe_new(void)
{
	struct probe *p = calloc(1, sizeof(*p));

	CHECK(p);
	ms_backend_init(&p->base, &probe_ops, SIZE,
			MS_CAN_WRITE | MS_CAN_WATCH);
	p->bytes = malloc(SIZE);
	CHECK(p->bytes);
	ms_pattern_fill(SEED, 0, p->bytes, SIZE);
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->arrived, NULL);
	return p;
}

static void hold(struct probe *p)
{
	pthread_mutex_lock(&p->lock);
	p->hold = true;
	pthread_mutex_unlock(&p->lock);
}

static void await_held(struct probe *p, int count)
{
	pthread_mutex_lock(&p->lock);
	while (p->held_count < count)
		pthread_cond_wait(&p->arrived, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* Serve what is held (and what comes from now on). */
static void release(struct probe *p)
{
	pthread_mutex_lock(&p->lock);
	p->hold = false;
	while (p->held_count) {
		struct ms_io *io = p->held[--p->held_count];
		int result = probe_serve(p, io);
		pthread_mutex_unlock(&p->lock);
		ms_done(io, result, "probe");
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

/* --- the cache under test
 * -------------------------------------------------------- */

static bool with_map; /* each test runs with and without */

static struct ms_backend *cache_over(struct probe *p,
				     struct ms_cache_options options)
{
	struct ms_backend *local = NULL;
	struct ms_backend *cache = NULL;

	if (!options.chunk)
		options.chunk = CHUNK;
	if (!options.request)
		options.request = 8 * CHUNK;
	if (!options.retry_ns)
		options.retry_ns = MS_NS_PER_MS;
	CHECK_EQ(ms_memory_open(1, &local), 0);
	if (!with_map)
		local->caps &= ~(unsigned)MS_CAN_MAP;
	CHECK_EQ(ms_cache_open(local, &p->base, &options, &cache), 0);
	CHECK_EQ(ms_size(cache), SIZE);
	return cache;
}

struct slow_io {
	struct ms_io io;
	char buf[SIZE];
	int calls;
	pthread_mutex_t lock;
	pthread_cond_t done;
};

static void slow_done(struct ms_io *io)
{
	struct slow_io *s = io->user;

	pthread_mutex_lock(&s->lock);
	s->calls++;
	pthread_cond_broadcast(&s->done);
	pthread_mutex_unlock(&s->lock);
}

/* Submit without waiting; `wait_slow` waits and frees. */
static struct slow_io *submit_slow(struct ms_backend *b, enum ms_op op,
				   uint64_t offset, uint64_t length,
				   enum ms_priority priority)
{
	struct slow_io *s = calloc(1, sizeof(*s));

	CHECK(s);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->done, NULL);
	s->io = (struct ms_io){.op = op,
			       .priority = priority,
			       .offset = offset,
			       .length = length,
			       .buf = s->buf,
			       .done = slow_done,
			       .user = s};
	ms_pattern_fill(77, 0, s->buf, sizeof(s->buf));
	ms_submit(b, &s->io);
	return s;
}

static int is_done(struct slow_io *s)
{
	pthread_mutex_lock(&s->lock);
	int calls = s->calls;
	pthread_mutex_unlock(&s->lock);
	return calls;
}

static int wait_slow(struct slow_io *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->calls)
		pthread_cond_wait(&s->done, &s->lock);
	pthread_mutex_unlock(&s->lock);
	CHECK_EQ(s->calls, 1);
	int result = s->io.result;
	free(s);
	return result;
}

static void check_region(struct ms_backend *b, uint64_t offset, uint64_t length)
{
	char *buf = malloc(length);
	uint64_t bad = 0;

	CHECK(buf);
	CHECK_EQ(ms_read_at(b, buf, length, offset), 0);
	if (!ms_pattern_check(SEED, offset, buf, length, &bad)) {
		(void)fprintf(stderr, "wrong byte at %" PRIu64 "\n", bad);
		exit(1);
	}
	free(buf);
}

/* --- fetching
 * -------------------------------------------------------------------- */

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

/* --- writing
 * ---------------------------------------------------------------------- */

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

/* --- eviction
 * ------------------------------------------------------------------------ */

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

/* --- populate and the workers
 * ----------------------------------------------------------- */

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

/* --- all at once
 * -------------------------------------------------------------------------- */

struct client {
	pthread_t thread;
	struct ms_backend *b;
	uint64_t index;
	char model[SIZE];
};

/* Four threads, each with its own stripes of 1000 bytes, and syncs. */
static void *client_run(void *arg)
{
	struct client *c = arg;
	uint64_t seed = c->index + 1;
	char buf[1000];

	for (int i = 0; i < 1500; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		uint64_t stripe = (seed >> 40) % (SIZE / 4000) * 4 + c->index;
		uint64_t at = stripe * 1000;
		CHECK_EQ(ms_read_at(c->b, buf, sizeof(buf), at), 0);
		CHECK(memcmp(buf, c->model + at, sizeof(buf)) == 0);
		if (i % 3 == 0) {
			ms_pattern_fill(seed, 0, buf, sizeof(buf));
			CHECK_EQ(ms_write_at(c->b, buf, sizeof(buf), at), 0);
			memcpy(c->model + at, buf, sizeof(buf));
		}
		if (i % 100 == 0)
			CHECK_EQ(ms_sync(c->b), 0);
	}
	return NULL;
}

static void test_crowd(uint64_t limit)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.limit = limit});
	struct client *c = calloc(4, sizeof(*c));
	struct ms_pusher *pusher = NULL;
	struct ms_pusher_options o = {.interval_ns = MS_NS_PER_MS};

	CHECK(c);
	CHECK_EQ(ms_pusher_start(b, &o, &pusher), 0);
	for (uint64_t i = 0; i < 4; i++) {
		c[i].b = b;
		c[i].index = i;
		memcpy(c[i].model, p->bytes, SIZE);
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&c[i].thread, NULL, client_run, &c[i]),
			 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(c[i].thread, NULL), 0);
	ms_pusher_stop(pusher);
	CHECK_EQ(ms_sync(b), 0);
	for (uint64_t at = 0; at + 1000 <= SIZE / 4000 * 4000; at += 1000)
		CHECK(memcmp(p->bytes + at, c[at / 1000 % 4].model + at,
			     1000) == 0);
	free(c);
	ms_close(b);
}

static void test_bad_options(void)
{
	static const struct {
		struct ms_cache_options o;
		const char *text;
	} bad[] = {
		{{.chunk = 5000, .request = 1 << 20}, "power of two"},
		{{.chunk = 2048, .request = 1 << 20}, "power of two"},
		{{.chunk = 4096, .request = 5000}, "multiple"},
		{{.chunk = 4096, .request = 4096, .limit = 4096}, "limit"},
	};
	struct probe *p = probe_new();
	struct ms_backend *local = NULL;
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_memory_open(1, &local), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(ms_cache_open(local, &p->base, &bad[i].o, &b),
			 -EINVAL);
		CHECK_HAS(memsync_error(), bad[i].text);
	}
	CHECK(b == NULL);
	ms_close(local);
	ms_close(&p->base);
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
		test_covering_write_does_not_fetch();
		test_push_merges();
		test_changed_while_pushed();
		test_sync_carries_errors();
		test_sync_deadline();
		test_zero();
		test_limit();
		test_limit_writes();
		test_front_end_is_told();
		test_changes_elsewhere();
		test_populate();
		test_puller();
		test_puller_follows_demand();
		test_puller_errors();
		test_puller_grows();
		test_puller_is_patient();
		test_pusher();
		test_crowd(0);
		test_crowd(16 * CHUNK);
	}
	test_bad_options();
	return 0;
}

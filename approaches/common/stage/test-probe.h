/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the cache: a remote that can hold requests back, fail them, and
 * count them, and a cache over it.
 */
#ifndef MS_COMMON_STAGE_TEST_PROBE_H
#define MS_COMMON_STAGE_TEST_PROBE_H

#include "tests/check.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/memory.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <pthread.h>

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

static inline struct probe *probe_of(struct ms_backend *b)
{
	return ms_container_of(b, struct probe, base);
}

static inline int take(int *count)
{
	if (*count == 0)
		return 0;
	--*count;
	return -EIO;
}

static inline int probe_serve(struct probe *p, struct ms_io *io)
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

static inline void probe_submit(struct ms_backend *b, struct ms_io *io)
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

static inline void probe_hurry(struct ms_backend *b, struct ms_io *io)
{
	(void)io;
	__atomic_fetch_add(&probe_of(b)->hurried, 1, __ATOMIC_RELAXED);
}

/* Completes what it holds, from inside the call as a real one may. */
static inline void probe_cancel(struct ms_backend *b, struct ms_io *io)
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

static inline int probe_watch(struct ms_backend *b, ms_changed_fn *fn,
			      void *user)
{
	probe_of(b)->changed = fn;
	probe_of(b)->changed_user = user;
	return 0;
}

static inline void probe_close(struct ms_backend *b)
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

static inline struct probe *probe_new(void)
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

static inline void hold(struct probe *p)
{
	pthread_mutex_lock(&p->lock);
	p->hold = true;
	pthread_mutex_unlock(&p->lock);
}

static inline void await_held(struct probe *p, int count)
{
	pthread_mutex_lock(&p->lock);
	while (p->held_count < count)
		pthread_cond_wait(&p->arrived, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* Serve what is held (and what comes from now on). */
static inline void release(struct probe *p)
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

static inline struct ms_backend *cache_over(struct probe *p,
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

static inline void slow_done(struct ms_io *io)
{
	struct slow_io *s = io->user;

	pthread_mutex_lock(&s->lock);
	s->calls++;
	pthread_cond_broadcast(&s->done);
	pthread_mutex_unlock(&s->lock);
}

/* Submit without waiting; `wait_slow` waits and frees. */
static inline struct slow_io *submit_slow(struct ms_backend *b, enum ms_op op,
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

static inline int is_done(struct slow_io *s)
{
	pthread_mutex_lock(&s->lock);
	int calls = s->calls;
	pthread_mutex_unlock(&s->lock);
	return calls;
}

static inline int wait_slow(struct slow_io *s)
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

static inline void check_region(struct ms_backend *b, uint64_t offset,
				uint64_t length)
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

#endif

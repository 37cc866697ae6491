/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage chunker: what the store below gets to see, two writers in one chunk,
 * one error of many, deadlines and cancelling while a chunk is locked.
 */
#include "approaches/common/stage/chunker.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/error.h"
#include "approaches/common/stage/gate.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>

#define CHUNK 4096

/* --- a store that looks at what it gets -----------------------------------
 */

struct spy {
	struct ms_backend base;
	struct ms_backend *next;
	uint64_t chunk;
	uint64_t count[MS_OP_COUNT]; /* atomic */
};

static void spy_submit(struct ms_backend *b, struct ms_io *io)
{
	struct spy *s = ms_container_of(b, struct spy, base);
	uint64_t end = io->offset + io->length;

	(void)__atomic_fetch_add(&s->count[io->op], 1, __ATOMIC_RELAXED);
	if (io->op == MS_OP_READ || io->op == MS_OP_WRITE) {
		CHECK(io->offset % s->chunk == 0);
		CHECK(io->length == s->chunk || end == ms_size(b));
		CHECK(io->length <= s->chunk);
	} else if (io->op == MS_OP_ZERO || io->op == MS_OP_TRIM) {
		CHECK(io->offset % s->chunk == 0);
		CHECK(end % s->chunk == 0 || end == ms_size(b));
	} else if (io->op == MS_OP_RESIZE) {
		ms_size_set(b, io->offset);
	}
	ms_forward(s->next, io);
}

static void spy_close(struct ms_backend *b)
{
	struct spy *s = ms_container_of(b, struct spy, base);

	ms_close(s->next);
	free(s);
}

static const struct ms_backend_ops spy_ops = {
	.name = "spy", .submit = spy_submit, .close = spy_close};

static struct spy *spy_over(struct ms_backend *next)
{
	struct spy *s = calloc(1, sizeof(*s));

	CHECK(s);
	ms_backend_init(&s->base, &spy_ops, ms_size(next), next->caps);
	s->next = next;
	s->chunk = CHUNK;
	return s;
}

static struct ms_backend *spied(const char *spec, struct spy **ret_spy)
{
	struct ms_backend *b = NULL;

	*ret_spy = spy_over(open_spec(spec));
	CHECK_EQ(ms_chunker_over(&(*ret_spy)->base, CHUNK, true, &b), 0);
	return b;
}

/* Every combination of edges around chunks, checked against plain memory. */
static void test_edges(void)
{
	static const uint64_t at[] = {0,    1,	  4095, 4096,  4097,  8191,
				      8192, 8193, 9999, 12287, 12288, 13000};
	enum {
		POINTS = sizeof(at) / sizeof(at[0])
	};
	struct spy *spy = NULL;
	struct ms_backend *b = spied("memory:size=13000", &spy);
	static char model[13000];
	static char buf[13000];
	static char back[13000];

	for (size_t i = 0; i < POINTS; i++)
		for (size_t j = i; j < POINTS; j++) {
			uint64_t n = at[j] - at[i];
			memset(buf, (int)(i * POINTS + j + 1), n);
			CHECK_EQ(ms_write_at(b, buf, n, at[i]), 0);
			memcpy(model + at[i], buf, n);
			CHECK_EQ(ms_read_at(b, back, 13000, 0), 0);
			CHECK(memcmp(back, model, 13000) == 0);
			CHECK_EQ(ms_read_at(b, back, n, at[i]), 0);
			CHECK(memcmp(back, buf, n) == 0);
		}
	for (size_t i = 0; i < POINTS; i++)
		for (size_t j = i; j < POINTS; j++) {
			uint64_t n = at[j] - at[i];
			memset(model, 0x33, sizeof(model));
			CHECK_EQ(ms_write_at(b, model, 13000, 0), 0);
			CHECK_EQ(ms_zero_at(b, n, at[i]), 0);
			memset(model + at[i], 0, n);
			CHECK_EQ(ms_read_at(b, back, 13000, 0), 0);
			CHECK(memcmp(back, model, 13000) == 0);
			struct ms_io trim = {
				.op = MS_OP_TRIM, .offset = at[i], .length = n};
			CHECK_EQ(ms_wait(b, &trim), 0);
		}
	ms_close(b);
}

static uint64_t seen(struct spy *spy, enum ms_op op)
{
	return __atomic_exchange_n(&spy->count[op], 0, __ATOMIC_RELAXED);
}

/* How many requests of the store one request of the caller costs. */
static void test_costs(void)
{
	struct spy *spy = NULL;
	struct ms_backend *b = spied("memory:size=1M", &spy);
	static char buf[64 * CHUNK];
	static const struct {
		uint64_t offset, length, reads, writes;
	} want[] = {
		{0, CHUNK, 0, 1},     /* a whole chunk is not read first */
		{0, 8 * CHUNK, 0, 8}, /* nor are several */
		{1, 1, 1, 1},	      /* a part is */
		{CHUNK - 1, 2, 2, 2}, /* in both */
		{1, 2 * CHUNK, 2, 3}, /* the middle one is whole */
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		CHECK_EQ(ms_write_at(b, buf, want[i].length, want[i].offset),
			 0);
		CHECK_EQ(seen(spy, MS_OP_READ), want[i].reads);
		CHECK_EQ(seen(spy, MS_OP_WRITE), want[i].writes);
		CHECK_EQ(ms_read_at(b, buf, want[i].length, want[i].offset), 0);
		CHECK_EQ(seen(spy, MS_OP_READ), want[i].writes);
	}
	CHECK_EQ(ms_zero_at(b, 50 * CHUNK, 0), 0);
	CHECK_EQ(seen(spy, MS_OP_ZERO), 1);
	CHECK_EQ(seen(spy, MS_OP_WRITE), 0);
	ms_close(b);
	refuse_spec("chunker:size=3000,next=memory:size=4K", -EINVAL,
		    "power of two");
}

/* --- two writers in one chunk ---------------------------------------------
 */

enum {
	WRITERS = 4,
	ROUNDS = 300
};

struct writer {
	struct ms_backend *b;
	pthread_t thread;
	uint64_t id;
};

/* Each writes its own bytes of the same two chunks, and finds them again. */
static void *share_chunks(void *arg)
{
	struct writer *w = arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t value = i * WRITERS + w->id;
		uint64_t back = 0;
		uint64_t at = CHUNK - 20 + w->id * 10; /* some on the border */
		CHECK_EQ(ms_write_at(w->b, &value, 8, at), 0);
		CHECK_EQ(ms_read_at(w->b, &back, 8, at), 0);
		CHECK_EQ(back, value);
	}
	return NULL;
}

static void test_shared_chunks(const char *spec)
{
	struct ms_backend *b = open_spec(spec);
	struct writer w[WRITERS];

	for (uint64_t i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){.b = b, .id = i};
		CHECK_EQ(
			pthread_create(&w[i].thread, NULL, share_chunks, &w[i]),
			0);
	}
	for (uint64_t i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
	ms_close(b);
}

/* Thousands of parts of one chunk at once: no deep stack, none lost. */
static void test_crowd(void)
{
	enum {
		CROWD = 4000
	};
	struct ms_backend *gate = open_spec("gate:shut=yes,next=memory:size="
					    "64K");
	struct ms_backend *b = NULL;
	struct shot *shots = calloc(CROWD, sizeof(*shots));
	static char bytes[CROWD];
	static char back[CROWD];

	CHECK(shots);
	CHECK_EQ(ms_chunker_over(gate, 65536, true, &b), 0);
	for (int i = 0; i < CROWD; i++) {
		bytes[i] = (char)(i * 7 + 1);
		shot_fire(&shots[i], b,
			  (struct ms_io){.op = MS_OP_WRITE,
					 .offset = (uint64_t)i,
					 .length = 1,
					 .buf = &bytes[i]});
	}
	ms_gate_open(gate);
	for (int i = 0; i < CROWD; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	CHECK_EQ(ms_read_at(b, back, CROWD, 0), 0);
	CHECK(memcmp(back, bytes, CROWD) == 0);
	free(shots);
	ms_close(b);
}

/* --- ends -----------------------------------------------------------------
 */

/* 64 pieces, some fail: one error, after all have ended. */
static void test_one_error(void)
{
	static char buf[64 * CHUNK];
	struct ms_backend *error = open_spec(
		"error:every=5,errno=ENOSPC,next=(delay:time=2ms,jitter=2ms,"
		"next=memory:size=1M)");
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_chunker_over(error, CHUNK, true, &b), 0);
	for (int i = 0; i < 5; i++) {
		struct shot s;
		uint64_t before = ms_error_count(error);
		shot_fire(&s, b,
			  (struct ms_io){.op = i % 2 ? MS_OP_READ : MS_OP_WRITE,
					 .length = sizeof(buf),
					 .buf = buf});
		CHECK_EQ(shot_wait(&s), -ENOSPC);
		CHECK_STR(s.io.origin, "error");
		CHECK(ms_error_count(error) - before >= 12);
		/* All have ended: the buffer is ours again. */
		memset(buf, i, sizeof(buf));
	}
	ms_close(b);
}

static void test_ends_while_locked(void)
{
	struct ms_backend *gate = open_spec("gate:shut=yes,next=memory:size="
					    "64K");
	struct ms_backend *b = NULL;
	struct shot first;
	struct shot late;
	struct shot cancelled;
	struct shot last;
	char byte = 5;
	struct ms_io io = {
		.op = MS_OP_WRITE, .offset = 9, .length = 1, .buf = &byte};

	CHECK_EQ(ms_chunker_over(gate, CHUNK, true, &b), 0);
	shot_fire(&first, b, io); /* has the lock, is held by the gate */
	io.offset = 10;
	io.deadline_ns = ms_now_ns() + 30 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	io.deadline_ns = 0;
	io.offset = 11;
	shot_fire(&cancelled, b, io);
	io.offset = 12;
	shot_fire(&last, b, io);
	ms_cancel(b, &cancelled.io);
	CHECK_EQ(shot_wait(&cancelled), -ECANCELED);
	CHECK_STR(cancelled.io.origin, "chunker");
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	CHECK_STR(late.io.origin, "chunker");
	/* The holder, too; then it is the last one's turn. */
	ms_cancel(b, &first.io);
	CHECK_EQ(shot_wait(&first), -ECANCELED);
	CHECK_STR(first.io.origin, "gate");
	CHECK(!shot_landed(&last));
	ms_gate_open(gate);
	CHECK_EQ(shot_wait(&last), 0);
	char back[4];
	CHECK_EQ(ms_read_at(b, back, 4, 9), 0);
	CHECK(memcmp(back, "\0\0\0\5", 4) == 0);
	ms_close(b);
}

/* Not aligned: cut, but parts go down as parts. */
static void test_loose(void)
{
	struct ms_backend *b =
		open_spec("chunker:size=4K,align=no,next=memory:size=13000");
	static char buf[9000];
	static char back[9000];
	char text[256] = "";

	memset(buf, 6, sizeof(buf));
	CHECK_EQ(ms_write_at(b, buf, 9000, 100), 0);
	CHECK_EQ(ms_write_at(b, buf, 10, 100), 0);
	CHECK_EQ(ms_read_at(b, back, 9000, 100), 0);
	CHECK(memcmp(buf, back, 9000) == 0);
	FILE *out = fmemopen(text, sizeof(text), "w");
	ms_stats(b, out);
	CHECK_EQ(fclose(out), 0);
	CHECK_HAS(text, "forwarded 1\n");
	CHECK_HAS(text, "cut 2\n");
	CHECK_HAS(text, "copied 0\n");
	ms_close(b);
}

int main(void)
{
	test_edges();
	test_costs();
	test_shared_chunks("chunker:size=4K,next=memory:size=9000");
	test_shared_chunks("chunker:size=4K,next=(delay:time=100us,jitter="
			   "100us,next=memory:size=9000)");
	test_crowd();
	test_one_error();
	test_ends_while_locked();
	test_loose();
	return 0;
}

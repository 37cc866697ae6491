/* SPDX-License-Identifier: Apache-2.0 */
/* Stage tracker: what is marked, what is taken, and that nothing is lost. */
#include "approaches/common/stage/gate.h"
#include "approaches/common/stage/test-flight.h"
#include "approaches/common/stage/tracker.h"

#include <errno.h>

#define CHUNK 4096

static uint64_t take_one_word(struct ms_backend *b)
{
	uint64_t word = 0;

	(void)ms_tracker_take(b, &word, 1);
	return word;
}

static uint64_t after_write(struct ms_backend *b, uint64_t offset,
			    uint64_t length)
{
	static const char zeros[3 * CHUNK];

	CHECK_EQ(ms_write_at(b, zeros, length, offset), 0);
	return take_one_word(b);
}

static void test_marks(void)
{
	/* Five chunks and one byte. */
	struct ms_backend *b = open_spec("tracker:next=memory:size=20481");

	CHECK_EQ(ms_tracker_chunk(b), CHUNK);
	CHECK_EQ(ms_tracker_words(b), 1);
	CHECK_EQ(after_write(b, 0, 1), 0); /* off */
	ms_tracker_start(b);
	CHECK_EQ(take_one_word(b), 0);
	CHECK_EQ(after_write(b, 0, 1), 1);
	CHECK_EQ(take_one_word(b), 0); /* taken once */
	CHECK_EQ(after_write(b, CHUNK - 1, 1), 1);
	CHECK_EQ(after_write(b, CHUNK - 1, 2), 3);
	CHECK_EQ(after_write(b, CHUNK, CHUNK), 2);
	CHECK_EQ(after_write(b, CHUNK, CHUNK + 1), 6);
	CHECK_EQ(after_write(b, 20480, 1), 1 << 5);
	CHECK_EQ(after_write(b, 0, 0), 0);
	CHECK_EQ(ms_zero_at(b, CHUNK, 2 * CHUNK), 0);
	CHECK_EQ(ms_tracker_count(b), 1);
	CHECK_EQ(take_one_word(b), 4);
	struct ms_io trim = {.op = MS_OP_TRIM, .length = 20481};
	CHECK_EQ(ms_wait(b, &trim), 0);
	CHECK_EQ(take_one_word(b), 0x3f);
	/* A request that the door refuses changes nothing. */
	char byte = 0;
	CHECK_EQ(ms_write_at(b, &byte, 1, 20481), -ERANGE);
	CHECK_EQ(ms_tracker_count(b), 0);
	/* Stopped, the marks stay but none come. */
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	ms_tracker_stop(b);
	CHECK_EQ(ms_write_at(b, &byte, 1, CHUNK), 0);
	CHECK_EQ(take_one_word(b), 1);
	ms_close(b);
}

static void test_resize(void)
{
	struct ms_backend *b = open_spec("tracker:start=yes,next=memory:size="
					 "4097");
	uint64_t words[4];

	CHECK_EQ(ms_resize(b, 300 * CHUNK), 0);
	CHECK_EQ(ms_size(b), 300 * CHUNK);
	CHECK_EQ(ms_tracker_words(b), 5);
	/* Chunk 1 had a byte, the 298 behind it are new. */
	CHECK_EQ(ms_tracker_count(b), 299);
	CHECK_EQ(ms_tracker_take(b, words, 4), 255);
	CHECK_EQ(words[0], ~UINT64_C(1));
	CHECK_EQ(ms_resize(b, 10), 0);
	CHECK_EQ(ms_tracker_words(b), 1);
	CHECK_EQ(take_one_word(b), UINT64_MAX);
	CHECK_EQ(ms_resize(b, UINT64_C(1) << 62), -EFBIG);
	CHECK_EQ(ms_size(b), 10);
	ms_close(b);
	refuse_spec("tracker:chunk=1000,next=memory:size=4K", -EINVAL,
		    "power of two");
}

static void test_ranges(void)
{
	static const uint64_t bitmap[4] = {
		0x8000000000000003, /* 0-1, 63- */
		UINT64_MAX,	    /* ... */
		1,		    /* -128 */
		0x8000000000000000, /* 255 */
	};
	static const uint64_t want[3][2] = {{0, 2}, {63, 66}, {255, 1}};
	struct ms_chunk_range r = {0};

	for (int i = 0; i < 3; i++) {
		CHECK(ms_chunk_range_next(bitmap, 4, &r));
		CHECK_EQ(r.first, want[i][0]);
		CHECK_EQ(r.count, want[i][1]);
	}
	CHECK(!ms_chunk_range_next(bitmap, 4, &r));
	r = (struct ms_chunk_range){0};
	CHECK(!ms_chunk_range_next(bitmap, 0, &r));
}

/* In flight when it is taken: in that take, and again in a later one. */
static void test_in_flight(void)
{
	struct ms_backend *gate = open_spec("gate:shut=yes,next=memory:size="
					    "1M");
	struct ms_backend *b = NULL;
	struct shot early;
	struct shot write;
	char byte = 1;
	struct ms_io io = {.op = MS_OP_WRITE, .length = 1, .buf = &byte};

	CHECK_EQ(ms_tracker_over(gate, CHUNK, &b), 0);
	/* Also one that was in flight before tracking began. */
	io.offset = 5 * CHUNK;
	shot_fire(&early, b, io);
	ms_tracker_start(b);
	io.offset = 0;
	shot_fire(&write, b, io);
	CHECK_EQ(take_one_word(b), 1);
	CHECK_EQ(take_one_word(b), 0);
	ms_gate_open(gate);
	CHECK_EQ(shot_wait(&write), 0);
	CHECK_EQ(shot_wait(&early), 0);
	CHECK_EQ(take_one_word(b), 1 | 1 << 5);
	/* A failed or cancelled write may have written: it counts. */
	CHECK_EQ(ms_gate_shut(gate, true), 0);
	shot_fire(&write, b, io);
	CHECK_EQ(take_one_word(b), 1);
	ms_cancel(b, &write.io);
	CHECK_EQ(shot_wait(&write), -ECANCELED);
	CHECK_STR(write.io.origin, "gate");
	CHECK_EQ(take_one_word(b), 1);
	ms_close(b);
}

/* --- a copy of a region that is being written -----------------------------
 */

enum {
	WRITERS = 2,
	CHUNKS = 100,
	WRITES = 20000
};

struct writer {
	struct ms_backend *b;
	pthread_t thread;
	uint64_t random;
	uint64_t place; /* its 8 bytes of each 16 */
};

static void *write_randomly(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < WRITES; i++) {
		w->random = w->random * UINT64_C(6364136223846793005) + 1;
		uint64_t chunk = w->random >> 33;
		/* Two writers in one chunk, never in the same bytes. */
		uint64_t at = chunk % CHUNKS * CHUNK + w->place * 8 +
			      (w->random >> 20 & 0xf0);
		CHECK_EQ(ms_write_at(w->b, &w->random, 8, at), 0);
	}
	return NULL;
}

/* In halves of chunks, which the chunker orders with the writes. */
static void copy_chunks(struct ms_backend *b, char *copy, uint64_t first,
			uint64_t count)
{
	for (uint64_t at = first * CHUNK; at < (first + count) * CHUNK;
	     at += CHUNK / 2)
		CHECK_EQ(ms_read_at(b, copy + at, CHUNK / 2, at), 0);
}

static void copy_marked(struct ms_backend *b, char *copy,
			const uint64_t *bitmap)
{
	struct ms_chunk_range r = {0};

	while (ms_chunk_range_next(bitmap, 2, &r))
		copy_chunks(b, copy, r.first, r.count);
}

static void test_nothing_lost(void)
{
	struct ms_backend *store =
		open_spec("chunker:size=4K,next=memory:size=400K");
	struct ms_backend *gate = NULL;
	struct ms_backend *b = NULL;
	struct writer w[WRITERS];
	char *copy = malloc(CHUNKS * CHUNK);
	char *truth = malloc(CHUNKS * CHUNK);
	uint64_t bitmap[2];

	CHECK(copy && truth);
	CHECK_EQ(ms_gate_over(store, &gate), 0);
	CHECK_EQ(ms_tracker_over(gate, CHUNK, &b), 0);
	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){.b = b,
				       .random = (uint64_t)i + 1,
				       .place = (uint64_t)i};
		CHECK_EQ(pthread_create(&w[i].thread, NULL, write_randomly,
					&w[i]),
			 0);
	}
	ms_tracker_start(b);
	copy_chunks(b, copy, 0, CHUNKS);
	for (int round = 0; round < 100; round++) {
		(void)ms_tracker_take(b, bitmap, 2);
		copy_marked(b, copy, bitmap);
	}
	/* Finalize: what the drained gate let through is all there is. */
	CHECK_EQ(ms_gate_shut(gate, true), 0);
	(void)ms_tracker_take(b, bitmap, 2);
	copy_marked(store, copy, bitmap);
	CHECK_EQ(ms_read_at(store, truth, CHUNKS * CHUNK, 0), 0);
	CHECK(memcmp(copy, truth, CHUNKS * CHUNK) == 0);
	ms_gate_open(gate);
	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
	(void)ms_tracker_take(b, bitmap, 2);
	copy_marked(b, copy, bitmap);
	CHECK_EQ(ms_read_at(b, truth, CHUNKS * CHUNK, 0), 0);
	CHECK(memcmp(copy, truth, CHUNKS * CHUNK) == 0);
	CHECK_EQ(ms_tracker_count(b), 0);
	free(copy);
	free(truth);
	ms_close(b);
}

int main(void)
{
	test_marks();
	test_resize();
	test_ranges();
	test_in_flight();
	test_nothing_lost();
	return 0;
}

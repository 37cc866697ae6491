/* SPDX-License-Identifier: Apache-2.0 */
/* Stage gate: holding, order, deadlines, cancelling, draining, failing. */
#include "approaches/common/stage/gate.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>

enum {
	N = 200,
	WORKERS = 3
};

static struct ms_io write_io(char *buf, uint64_t length, uint64_t offset)
{
	return (struct ms_io){.op = MS_OP_WRITE,
			      .offset = offset,
			      .length = length,
			      .buf = buf};
}

static void test_hold_and_open(void)
{
	struct ms_backend *b = open_spec("gate:shut=yes,next=memory:size=1M");
	static struct shot shots[N];
	static char bytes[N];

	for (int i = 0; i < N; i++) {
		bytes[i] = (char)(i + 1);
		shot_fire(&shots[i], b, write_io(&bytes[i], 1, (uint64_t)i));
	}
	for (int i = 0; i < N; i++)
		CHECK(!shot_landed(&shots[i]));
	ms_gate_open(b);
	for (int i = 0; i < N; i++)
		CHECK_EQ(shot_wait(&shots[i]), 0);
	char back[N];
	CHECK_EQ(ms_read_at(b, back, N, 0), 0);
	CHECK(memcmp(back, bytes, N) == 0);
	ms_close(b);
}

static void test_deadline_and_cancel(void)
{
	struct ms_backend *b = open_spec("gate:shut=yes,next=memory:size=1M");
	struct shot late;
	struct shot later;
	struct shot cancelled;
	struct shot kept;
	char buf[4];
	uint64_t start = ms_now_ns();
	struct ms_io io = write_io(buf, 1, 0);

	memset(buf, 7, sizeof(buf));
	io.deadline_ns = start + 60 * MS_NS_PER_MS;
	shot_fire(&later, b, io);
	io.deadline_ns = start + 30 * MS_NS_PER_MS;
	shot_fire(&late, b, io);
	shot_fire(&cancelled, b, write_io(buf, 1, 1));
	shot_fire(&kept, b, write_io(buf, 1, 2));
	ms_cancel(b, &cancelled.io);
	CHECK_EQ(shot_wait(&cancelled), -ECANCELED);
	CHECK_STR(cancelled.io.origin, "gate");
	CHECK_EQ(shot_wait(&late), -ETIMEDOUT);
	CHECK(late.end_ns >= start + 30 * MS_NS_PER_MS);
	CHECK_EQ(shot_wait(&later), -ETIMEDOUT);
	CHECK(later.end_ns >= start + 60 * MS_NS_PER_MS);
	CHECK(!shot_landed(&kept));
	ms_cancel(b, &late.io); /* long over: nothing happens */
	ms_gate_open(b);
	CHECK_EQ(shot_wait(&kept), 0);
	/* What did not get through has changed nothing. */
	CHECK_EQ(ms_read_at(b, buf, 3, 0), 0);
	CHECK(buf[0] == 0 && buf[1] == 0 && buf[2] == 7);
	ms_close(b);
}

static void test_fail(void)
{
	struct ms_backend *b = open_spec("gate:next=memory:size=1M");
	struct shot held;
	char byte = 1;

	CHECK_EQ(ms_gate_shut(b, false), 0);
	shot_fire(&held, b, write_io(&byte, 1, 0));
	ms_gate_fail(b, -ESTALE);
	CHECK_EQ(shot_wait(&held), -ESTALE);
	CHECK_EQ(ms_read_at(b, &byte, 1, 0), -ESTALE);
	CHECK_HAS(memsync_error(), "gate");
	ms_gate_open(b);
	CHECK_EQ(ms_read_at(b, &byte, 1, 0), 0);
	CHECK_EQ(byte, 0);
	ms_close(b);
}

/* A write that takes 50 ms below has landed when a draining shut returns. */
static void test_drain(void)
{
	struct ms_backend *b =
		open_spec("gate:next=(delay:time=50ms,next=memory:size=1M)");
	struct shot slow;
	struct shot held;
	char byte = 9;
	uint64_t start = ms_now_ns();

	shot_fire(&slow, b, write_io(&byte, 1, 0));
	CHECK_EQ(ms_gate_shut(b, false), 0); /* does not wait */
	CHECK(!shot_landed(&slow));
	CHECK_EQ(ms_gate_shut(b, true), 0);
	CHECK(ms_now_ns() - start >= 50 * MS_NS_PER_MS);
	shot_fire(&held, b, write_io(&byte, 1, 1));
	CHECK_EQ(shot_wait(&slow), 0);
	CHECK(!shot_landed(&held));
	ms_gate_open(b);
	CHECK_EQ(shot_wait(&held), 0);
	ms_close(b);
}

static void *drain(void *gate)
{
	return (void *)(intptr_t)ms_gate_shut(gate, true);
}

/* Opening the gate ends somebody's waiting for it to drain. */
static void test_drain_given_up(void)
{
	struct ms_backend *b =
		open_spec("gate:next=(delay:time=200ms,next=memory:size=1M)");
	struct shot slow;
	pthread_t thread;
	void *result = NULL;
	char byte = 9;

	shot_fire(&slow, b, write_io(&byte, 1, 0));
	CHECK_EQ(pthread_create(&thread, NULL, drain, b), 0);
	/* Until the thread has shut it, reads go on; then one is held. */
	for (;;) {
		struct shot probe;
		struct ms_io io = {.op = MS_OP_SYNC,
				   .deadline_ns = ms_now_ns() + MS_NS_PER_S};
		char text[256] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");
		ms_stats(b, out);
		CHECK_EQ(fclose(out), 0);
		if (strstr(text, "state shut")) {
			shot_fire(&probe, b, io);
			ms_gate_open(b);
			CHECK_EQ(shot_wait(&probe), 0);
			break;
		}
	}
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK_EQ((intptr_t)result, -ECANCELED);
	CHECK_EQ(shot_wait(&slow), 0);
	ms_close(b);
}

/* --- many threads against a gate that opens and shuts ---------------------
 */

struct worker {
	struct ms_backend *b;
	pthread_t thread;
	uint64_t offset;
	bool *stop;
	uint64_t writes;
};

static void *write_on(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		w->writes++;
		CHECK_EQ(ms_write_at(w->b, &w->writes, 8, w->offset), 0);
	}
	return NULL;
}

/* While the gate is shut and drained, the bytes below stand still. */
static void test_still(void)
{
	struct ms_backend *store = open_spec("memory:size=4K");
	struct ms_backend *b = NULL;
	struct worker w[WORKERS];
	struct ms_mapping map = {0};
	char before[4096];
	bool stop = false;

	CHECK_EQ(ms_map(store, 0, 4096, &map), 0);
	CHECK_EQ(ms_gate_over(store, &b), 0);
	for (int i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){
			.b = b, .offset = (uint64_t)i * 8, .stop = &stop};
		CHECK_EQ(pthread_create(&w[i].thread, NULL, write_on, &w[i]),
			 0);
	}
	for (int round = 0; round < 50; round++) {
		CHECK_EQ(ms_gate_shut(b, true), 0);
		memcpy(before, map.addr, sizeof(before));
		for (int i = 0; i < 200; i++)
			CHECK(memcmp(before, map.addr, sizeof(before)) == 0);
		ms_gate_open(b);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < WORKERS; i++) {
		uint64_t last = 0;
		CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
		CHECK_EQ(ms_read_at(b, &last, 8, w[i].offset), 0);
		CHECK_EQ(last, w[i].writes);
	}
	ms_close(b);
}

int main(void)
{
	test_hold_and_open();
	test_deadline_and_cancel();
	test_fail();
	test_drain();
	test_drain_given_up();
	test_still();
	return 0;
}

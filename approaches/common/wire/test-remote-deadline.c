/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that end early: deadlines, cancels. When `done` is called nobody
 * touches the buffer any more, and the connection goes on.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/wire/test-fake.h"

#define MS MS_NS_PER_MS

struct step {
	sem_t go;
	sem_t reached;
};

static void step_init(struct step *s)
{
	(void)sem_init(&s->go, 0, 0);
	(void)sem_init(&s->reached, 0, 0);
}

/* --- reads ---------------------------------------------------------------- */

/* Half of an answer, the other half when told so; then another request. */
static void answer_in_halves(int fd, void *arg)
{
	struct step *s = arg;
	struct ms_request r;
	uint8_t head[MS_PROTO_FRAME_BYTES];
	static char payload[200000];

	fake_greet(fd);
	CHECK(fake_request(fd, &r));
	CHECK_EQ(r.length, sizeof(payload));
	struct ms_reply reply = {.op = r.op, .id = r.id, .length = r.length};
	ms_proto_put_reply(&reply, head);
	memset(payload, 'p', sizeof(payload));
	CHECK(give_bytes(fd, head, sizeof(head)));
	CHECK(give_bytes(fd, payload, 100000));
	(void)sem_post(&s->reached);
	CHECK(sem_wait_s(&s->go, WAIT_S));
	CHECK(give_bytes(fd, payload + 100000, 100000));
	CHECK(fake_request(fd, &r));
	CHECK_EQ(r.length, 10);
	reply = (struct ms_reply){.op = r.op, .id = r.id, .length = 10};
	CHECK(fake_reply(fd, &reply, "0123456789"));
	(void)fake_request(fd, &r);
}

static void test_half_read(bool by_cancel)
{
	struct fake f;
	struct step s;
	struct task t;
	struct ms_backend *b = NULL;
	char *buf = malloc(200000);
	char more[10];

	CHECK(buf);
	step_init(&s);
	fake_start(&f, answer_in_halves, &s, 1);
	CHECK_EQ(fake_client(&f, "", &b), 0);
	/* More than the urgent lane takes, but one piece. */
	struct ms_io io = task_read(buf, 200000, 0, MS_URGENT);
	if (!by_cancel)
		io.deadline_ns = ms_now_ns() + 150 * MS;
	task_start(b, &t, io);
	CHECK(sem_wait_s(&s.reached, WAIT_S));
	if (by_cancel)
		ms_cancel(b, &t.io);
	CHECK_EQ(task_wait(&t), by_cancel ? -ECANCELED : -ETIMEDOUT);
	memset(buf, 'm', 200000);
	(void)sem_post(&s.go);
	CHECK_EQ(ms_read_at(b, more, 10, 0), 0);
	CHECK(memcmp(more, "0123456789", 10) == 0);
	for (size_t i = 0; i < 200000; i++)
		CHECK_EQ(buf[i], 'm');
	ms_close(b);
	fake_stop(&f);
	CHECK_EQ(t.calls, 1);
	free(buf);
}

/* --- writes --------------------------------------------------------------- */

enum {
	WRITE_BYTES = 1 << 20
};

/* Read nothing until told so; then every frame must be whole and right. */
static void read_late(int fd, void *arg)
{
	struct step *s = arg;
	struct ms_request r;
	char *buf = malloc(WRITE_BYTES);
	unsigned writes = 0;

	CHECK(buf);
	fake_greet(fd);
	CHECK(sem_wait_s(&s->go, WAIT_S));
	while (fake_request(fd, &r) && r.op == MS_PROTO_WRITE) {
		struct ms_reply reply = {.op = r.op, .id = r.id};
		CHECK_EQ(take_bytes(fd, buf, r.length), r.length);
		CHECK(ms_pattern_check(5, r.offset, buf, r.length, NULL));
		CHECK(fake_reply(fd, &reply, NULL));
		writes++;
	}
	CHECK(writes >= 2);
	free(buf);
}

/* The socket is full in the middle of a write whose deadline passes. */
static void test_half_write(void)
{
	enum {
		N = 8
	};
	struct fake f;
	struct step s;
	struct task t[N];
	struct ms_backend *b = NULL;
	char *buf = malloc(WRITE_BYTES);
	char *end = malloc(WRITE_BYTES);

	CHECK(buf && end);
	step_init(&s);
	fake_start(&f, read_late, &s, 1);
	CHECK_EQ(fake_client(&f, ",window=64M,dead-after=0s", &b), 0);
	ms_pattern_fill(5, 0, buf, WRITE_BYTES);
	for (unsigned i = 0; i < N; i++) {
		struct ms_io io = task_write(buf, WRITE_BYTES, 0, MS_URGENT);
		io.deadline_ns = ms_now_ns() + 150 * MS;
		task_start(b, &t[i], io);
	}
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(task_wait(&t[i]), -ETIMEDOUT);
	/* The buffer is ours again: what is still sent is a copy. */
	memset(buf, 0, WRITE_BYTES);
	(void)sem_post(&s.go);
	ms_pattern_fill(5, 0, end, WRITE_BYTES);
	CHECK_EQ(ms_write_at(b, end, WRITE_BYTES, 0), 0);
	ms_close(b);
	fake_stop(&f);
	free(buf);
	free(end);
}

/* --- with a real server --------------------------------------------------- */

static void test_held(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=1,window=4K");
	struct task sent;
	struct task queued;
	struct task late;
	static char buf[3][4096];

	hold_set(h, true);
	task_start(b, &sent, task_read(buf[0], 4096, 0, MS_BULK));
	task_start(b, &queued, task_read(buf[1], 4096, 0, MS_BULK));
	hold_await(h, 1);
	/* One that waits for the window and one that the server has. */
	ms_cancel(b, &queued.io);
	CHECK_EQ(task_wait(&queued), -ECANCELED);
	ms_cancel(b, &sent.io);
	CHECK_EQ(task_wait(&sent), -ECANCELED);
	struct ms_io io = task_read(buf[2], 4096, 4096, MS_URGENT);
	uint64_t start = ms_now_ns();
	io.deadline_ns = start + 60 * MS;
	task_start(b, &late, io);
	CHECK_EQ(task_wait(&late), -ETIMEDOUT);
	CHECK(ms_now_ns() >= start + 60 * MS);
	memset(buf, 'b', sizeof(buf));
	hold_off(h);
	/* Behind the forgotten answers comes the one that counts. */
	char in[100];
	CHECK_EQ(ms_read_at(b, in, 100, 77), 0);
	CHECK(ms_pattern_check(3, 77, in, 100, NULL));
	for (size_t i = 0; i < sizeof(buf); i++)
		CHECK_EQ(((char *)buf)[i], 'b');
	CHECK_EQ(stat_of(b, "outstanding_bytes"), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void nap(unsigned ms)
{
	struct timespec t = ms_timespec(ms * MS);

	(void)nanosleep(&t, NULL);
}

/*
 * A bulk read and a sync may take longer than their deadlines as long as
 * something comes in; they end when nothing does.
 */
static void test_progress(void)
{
	enum {
		PIECES = 12
	};
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=1,window=4K");
	struct task read;
	struct task sync;
	static char buf[PIECES * 4096];

	hold_set(h, true);
	uint64_t start = ms_now_ns();
	struct ms_io io = task_read(buf, sizeof(buf), 0, MS_BULK);
	io.deadline_ns = start + 400 * MS;
	task_start(b, &read, io);
	io = (struct ms_io){.op = MS_OP_SYNC, .deadline_ns = start + 400 * MS};
	task_start(b, &sync, io);
	hold_await(h, 2);
	for (unsigned i = 0; i < PIECES; i++) {
		hold_await(h, 2);
		size_t at = h->list[0]->op == MS_OP_READ ? 0 : 1;
		/* Pacing: all of it takes longer than the deadline. */
		nap(50);
		hold_release(h, at, 0);
	}
	CHECK_EQ(task_wait(&read), 0);
	CHECK(ms_now_ns() > start + 400 * MS);
	CHECK(!task_is_done(&sync));
	CHECK_EQ(task_wait(&sync), -ETIMEDOUT);
	hold_off(h);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* Requests are ended early while their data is pouring in. */
static void test_cancel_storm(void)
{
	enum {
		N = 24,
		ROUNDS = 20
	};
	struct hold *h = hold_open(64 << 20, 3);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	static struct task tasks[N];
	char *buf = malloc(N << 18);

	CHECK(buf);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < N; i++) {
			char *at = buf + (i << 18);
			/* A cancelled write may still happen: each its place.
			 */
			uint64_t place = (16 << 20) + ((round * N + i) << 16);
			task_start(
				b, &tasks[i],
				i % 3 ? task_read(at, 1 << 18, i << 18, MS_BULK)
				      : task_write(at, 1 << 16, place,
						   MS_BULK));
		}
		for (unsigned i = round % 2; i < N; i += 2)
			ms_cancel(b, &tasks[i].io);
		for (unsigned i = 0; i < N; i++) {
			int rc = task_wait(&tasks[i]);
			CHECK(rc == 0 || rc == -ECANCELED);
			if (rc == 0 && i % 3)
				CHECK(ms_pattern_check(3, i << 18,
						       buf + (i << 18), 1 << 18,
						       NULL));
			memset(buf + (i << 18), 0, 1 << 18);
		}
		CHECK(ms_is_zero(buf, N << 18));
	}
	CHECK_EQ(ms_read_at(b, buf, 4096, 0), 0);
	free(buf);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

int main(void)
{
	test_half_read(false);
	test_half_read(true);
	test_half_write();
	test_held();
	test_progress();
	test_cancel_storm();
	return 0;
}

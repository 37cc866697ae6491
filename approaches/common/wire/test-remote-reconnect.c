/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that break: they are made again, what was not answered is asked
 * for again, what had arrived is not, and a write is never overtaken by its
 * own first copy.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/wire/test-resume.h"

enum {
	HALF = 100000
};

/* --- a server made of bytes ----------------------------------------------- */

static void greet_with(int fd, uint64_t features, struct ms_hello *ret)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];

	fake_hello(fd, ret);
	struct ms_welcome w = fake_welcome(ret);
	w.features = features;
	CHECK(give_bytes(fd, buf, ms_proto_put_welcome(&w, buf)));
}

struct visits {
	unsigned count;
	uint8_t token[MS_PROTO_ID_BYTES];
	uint64_t features;
	uint32_t block;
};

/* Half of an answer and the end; then only the other half is wanted. */
static void half_then_rest(int fd, void *arg)
{
	struct visits *v = arg;
	struct ms_hello hello;
	struct ms_request r;
	uint8_t head[MS_PROTO_FRAME_BYTES];
	static char bytes[2 * HALF];

	greet_with(fd, MS_PROTO_FEATURE_RESUME, &hello);
	CHECK_EQ(hello.slot, 0);
	CHECK_EQ(hello.generation, ++v->count);
	if (v->count == 1)
		memcpy(v->token, hello.token, sizeof(v->token));
	CHECK(memcmp(v->token, hello.token, sizeof(v->token)) == 0);
	CHECK(fake_request(fd, &r));
	CHECK_EQ(r.op, MS_PROTO_READ);
	CHECK_EQ(r.offset, v->count == 1 ? 77 : 77 + HALF);
	CHECK_EQ(r.length, v->count == 1 ? 2 * HALF : HALF);
	ms_pattern_fill(4, r.offset, bytes, r.length);
	struct ms_reply reply = {.op = r.op, .id = r.id, .length = r.length};
	ms_proto_put_reply(&reply, head);
	CHECK(give_bytes(fd, head, sizeof(head)));
	CHECK(give_bytes(fd, bytes, HALF));
	/* To close with a ping unread would take the bytes back. */
	if (v->count == 1)
		CHECK_EQ(shutdown(fd, SHUT_WR), 0);
	while (take_bytes(fd, head, 1))
		;
}

static void test_half_read(void)
{
	struct fake f;
	struct visits v = {0};
	char *buf = malloc(2 * HALF);

	CHECK(buf);
	fake_start(&f, half_then_rest, &v, 2);
	struct ms_backend *b = open_remote(f.listener.uri, ",connections=1");
	/* More than the urgent lane takes, but one piece. */
	struct ms_io io = task_read(buf, 2 * HALF, 77, MS_URGENT);
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK(ms_pattern_check(4, 77, buf, 2 * HALF, NULL));
	CHECK_EQ(stat_of(b, "reconnects"), 1);
	CHECK_EQ(stat_of(b, "read_bytes"), 2 * HALF);
	CHECK_EQ(stat_of(b, "outstanding_bytes"), 0);
	ms_close(b);
	fake_stop(&f);
	free(buf);
}

/* A server that cannot resume: cut off in a write and a read. */
static void old_server(int fd, void *arg)
{
	struct visits *v = arg;
	struct ms_hello hello;
	struct ms_request r;
	char bytes[64] = {0};

	greet_with(fd, 0, &hello);
	if (++v->count == 1) {
		for (int i = 0; i < 2; i++) {
			CHECK(fake_request(fd, &r));
			if (r.op == MS_PROTO_WRITE)
				CHECK_EQ(take_bytes(fd, bytes, r.length),
					 r.length);
		}
		return;
	}
	/* The write must not come again: it might overtake a newer one. */
	while (fake_request(fd, &r) && r.op != MS_PROTO_BYE) {
		CHECK_EQ(r.op, MS_PROTO_READ);
		struct ms_reply reply = {
			.op = r.op, .id = r.id, .length = r.length};
		CHECK(fake_reply(fd, &reply, bytes));
	}
}

static void test_without_resume(void)
{
	struct fake f;
	struct visits v = {0};
	struct task read;
	struct task write;
	char in[64];
	char out[64] = {0};

	fake_start(&f, old_server, &v, 2);
	struct ms_backend *b = open_remote(f.listener.uri, ",connections=1");
	task_start(b, &write, task_write(out, 64, 0, MS_URGENT));
	task_start(b, &read, task_read(in, 64, 0, MS_URGENT));
	CHECK_EQ(task_wait(&write), -ECONNRESET);
	CHECK_EQ(task_wait(&read), 0);
	ms_close(b);
	fake_stop(&f);
}

/* An answer against the protocol is not asked for again and again. */
static void lie(int fd, void *arg)
{
	struct visits *v = arg;
	struct ms_hello hello;
	struct ms_request r;

	greet_with(fd, MS_PROTO_FEATURE_RESUME, &hello);
	v->count++;
	if (!fake_request(fd, &r) || r.op == MS_PROTO_BYE)
		return;
	struct ms_reply reply = {.op = MS_PROTO_SYNC, .id = r.id};
	(void)fake_reply(fd, &reply, NULL);
	while (fake_request(fd, &r))
		;
}

static void test_liar(void)
{
	struct fake f;
	struct visits v = {0};
	char in[64];

	fake_start(&f, lie, &v, 2);
	struct ms_backend *b = open_remote(f.listener.uri, ",connections=1");
	CHECK_EQ(ms_read_at(b, in, 64, 0), -ECONNRESET);
	stat_await(b, "reconnects", 1);
	ms_close(b);
	fake_stop(&f);
	CHECK_EQ(v.count, 2);
}

/* --- real servers --------------------------------------------------------- */

/*
 * The first copy of a write is in the server's store while the client makes
 * its connection again. It is not let in before that copy is done.
 */
static void test_write_order(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=1");
	struct task old;
	char one[512];
	char two[512];
	char in[512];

	memset(one, '1', sizeof(one));
	memset(two, '2', sizeof(two));
	hold_set(h, true);
	task_start(b, &old, task_write(one, sizeof(one), 5, MS_URGENT));
	hold_await(h, 1);
	cut_client(b);
	nap(300);
	CHECK_EQ(stat_of(b, "connections"), 0);
	CHECK_EQ(hold_count(h), 1);
	hold_release(h, 0, 0);
	/* The same once more, and now it is acknowledged. */
	hold_await(h, 1);
	CHECK_EQ(stat_of(b, "reconnects"), 1);
	CHECK_EQ(h->list[0]->op, MS_OP_WRITE);
	hold_off(h);
	CHECK_EQ(task_wait(&old), 0);
	CHECK_EQ(ms_write_at(b, two, sizeof(two), 5), 0);
	CHECK_EQ(ms_read_at(b, in, sizeof(in), 5), 0);
	CHECK(memcmp(in, two, sizeof(in)) == 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* The server is the same one: the sync covers what was written before. */
static void test_sync(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, "");
	struct task t;

	CHECK_EQ(ms_write_at(b, "abc", 3, 5), 0);
	hold_set(h, true);
	task_start(b, &t, (struct ms_io){.op = MS_OP_SYNC});
	hold_await(h, 1);
	cut_client(b);
	nap(50);
	hold_release(h, 0, 0);
	hold_await(h, 1);
	CHECK_EQ(h->list[0]->op, MS_OP_SYNC);
	CHECK(!task_is_done(&t));
	hold_off(h);
	CHECK_EQ(task_wait(&t), 0);
	CHECK_EQ(stat_of(b, "restarts"), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* One connection of several: the others go on, it comes back. */
static void test_one_of_many(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=3");
	struct remote *r = ms_container_of(b, struct remote, base);
	struct task t;
	char in[100];

	stat_await(b, "connections", 4);
	hold_set(h, true);
	task_start(b, &t, task_write("x", 1, 9, MS_BULK));
	hold_await(h, 1);
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].pieces && r->conns[i].pieces->job)
			(void)shutdown(r->conns[i].stream->fd, SHUT_RDWR);
	pthread_mutex_unlock(&r->lock);
	nap(100);
	CHECK(!task_is_done(&t));
	hold_off(h);
	CHECK_EQ(ms_read_at(b, in, 100, 100), 0);
	CHECK_EQ(task_wait(&t), 0);
	stat_await(b, "connections", 4);
	CHECK_EQ(stat_of(b, "reconnects"), 1);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* Cut again and again, reading and writing all the time. */
static void test_storm(void)
{
	enum {
		N = 16,
		BYTES = 1 << 18
	};
	struct hold *h = hold_open(N * BYTES, 3);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	static struct task tasks[N];
	char *out = malloc(N * BYTES);
	char *in = malloc(N * BYTES);

	CHECK(in && out);
	for (unsigned round = 1; round < 13; round++) {
		ms_pattern_fill(round, 0, out, N * BYTES);
		for (unsigned i = 0; i < N; i++)
			task_start(b, &tasks[i],
				   task_write(out + i * BYTES, BYTES, i * BYTES,
					      MS_BULK));
		cut_client(b);
		for (unsigned i = 0; i < N; i++)
			CHECK_EQ(task_wait(&tasks[i]), 0);
		for (unsigned i = 0; i < N; i++)
			task_start(b, &tasks[i],
				   task_read(in + i * BYTES, BYTES, i * BYTES,
					     i % 4 ? MS_BULK : MS_URGENT));
		nap(round % 3);
		cut_client(b);
		for (unsigned i = 0; i < N; i++)
			CHECK_EQ(task_wait(&tasks[i]), 0);
		CHECK(ms_pattern_check(round, 0, in, N * BYTES, NULL));
	}
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(stat_of(b, "outstanding_bytes"), 0);
	CHECK_EQ(stat_of(b, "restarts"), 0);
	CHECK_EQ(stat_of(b, "read_bytes"), 12 * N * BYTES);
	free(in);
	free(out);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- a slot of the server ------------------------------------------------- */

static int raw_slot(struct ms_server *server, uint8_t token, uint32_t slot,
		    uint32_t generation, int status)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_welcome welcome;
	struct ms_hello hello = raw_hello();
	int fd = raw_connect(server);

	memset(hello.token, token, sizeof(hello.token));
	hello.features = MS_PROTO_FEATURE_RESUME;
	hello.slot = slot;
	hello.generation = generation;
	CHECK(give_bytes(fd, buf, ms_proto_put_hello(&hello, buf)));
	raw_take_welcome(fd, &welcome);
	CHECK_EQ(welcome.status, status);
	return fd;
}

static void test_slots(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, NULL, false);
	int one = raw_slot(server, 1, 7, 1, 0);
	int beside = raw_slot(server, 1, 8, 1, 0);
	int other = raw_slot(server, 2, 7, 1, 0);
	int two = raw_slot(server, 1, 7, 5, 0);
	char c = 0;

	expect_end(one);
	/* A hello that comes late takes no place, and the same not twice. */
	int late = raw_slot(server, 1, 7, 4, -EBUSY);
	int same = raw_slot(server, 1, 7, 5, -EBUSY);
	expect_end(late);
	expect_end(same);
	const int live[] = {two, beside, other};
	for (size_t i = 0; i < 3; i++) {
		raw_request(live[i], (struct ms_request){.op = MS_PROTO_READ,
							 .id = 3,
							 .length = 1});
		CHECK_EQ(raw_reply(live[i], &c, 1).status, 0);
		(void)close(live[i]);
	}
	(void)close(one);
	(void)close(late);
	(void)close(same);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void *stop_server(void *server)
{
	ms_server_stop(server);
	return NULL;
}

/* The server ends while a connection waits for its predecessor. */
static void test_stop_while_waiting(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, NULL, false);
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello hello = raw_hello();
	int one = raw_slot(server, 9, 0, 1, 0);
	pthread_t stopper;

	hold_set(h, true);
	raw_request(one, (struct ms_request){
				 .op = MS_PROTO_READ, .id = 1, .length = 1});
	hold_await(h, 1);
	int two = raw_connect(server);
	memset(hello.token, 9, sizeof(hello.token));
	hello.features = MS_PROTO_FEATURE_RESUME;
	hello.generation = 2;
	CHECK(give_bytes(two, buf, ms_proto_put_hello(&hello, buf)));
	nap(50);
	CHECK_EQ(pthread_create(&stopper, NULL, stop_server, server), 0);
	nap(50);
	hold_off(h);
	CHECK_EQ(pthread_join(stopper, NULL), 0);
	expect_end(one);
	(void)close(one);
	(void)close(two);
	ms_close(&h->base);
}

int main(void)
{
	test_half_read();
	test_without_resume();
	test_liar();
	test_write_order();
	test_sync();
	test_one_of_many();
	test_storm();
	test_slots();
	test_stop_while_waiting();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that are there and do nothing: a stopped process is found out from
 * either side within a bounded time, a slow one is not taken for dead.
 */
#include "approaches/common/wire/test-resume.h"

/* --- a server that is silent ---------------------------------------------- */

static void greet_and_sleep(int fd, void *arg)
{
	unsigned *visits = arg;
	struct ms_request r;
	uint8_t buf[4096];

	fake_greet(fd);
	if (++*visits > 1) {
		while (fake_request(fd, &r) && r.op != MS_PROTO_BYE) {
			struct ms_reply reply = {
				.op = r.op, .id = r.id, .length = r.length};
			CHECK(fake_reply(fd, &reply, "x"));
		}
		return;
	}
	/* All is read, as the kernel would, and nothing answered. */
	while (readable(fd) && recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* `busy`: the client has a request under way. */
static void test_silent_server(bool busy)
{
	struct fake f;
	unsigned visits = 0;
	struct task t;
	char c = 0;

	fake_start(&f, greet_and_sleep, &visits, 2);
	struct ms_backend *b =
		open_remote(f.listener.uri, ",connections=1,dead-after=500ms");
	uint64_t start = ms_now_ns();
	if (busy)
		task_start(b, &t, task_read(&c, 1, 0, MS_URGENT));
	stat_await(b, "reconnects", 1);
	/* All of it, and an attempt to connect. */
	CHECK(ms_now_ns() - start < 1500 * MS);
	CHECK(ms_now_ns() - start > 200 * MS);
	if (busy)
		CHECK_EQ(task_wait(&t), 0);
	CHECK_EQ(ms_read_at(b, &c, 1, 0), 0);
	CHECK_EQ(c, 'x');
	ms_close(b);
	fake_stop(&f);
}

/* --- a slow path ---------------------------------------------------------- */

enum {
	SLOW_BYTES = 1 << 20,
	SLOW_STEP = 64 << 10
};

/* A write trickles in, and the pings that are behind it. */
static void read_slowly(int fd, void *arg)
{
	struct ms_request r;
	static char buf[SLOW_STEP];

	(void)arg;
	fake_greet(fd);
	CHECK(fake_request(fd, &r));
	CHECK_EQ(r.length, SLOW_BYTES);
	for (unsigned i = 0; i < SLOW_BYTES / SLOW_STEP; i++) {
		CHECK_EQ(take_bytes(fd, buf, SLOW_STEP), SLOW_STEP);
		nap(100);
	}
	struct ms_reply reply = {.op = r.op, .id = r.id};
	CHECK(fake_reply(fd, &reply, NULL));
	while (fake_request(fd, &r) && r.op != MS_PROTO_BYE)
		;
}

static void test_slow_path(void)
{
	struct fake f;
	char *out = calloc(1, SLOW_BYTES);

	CHECK(out);
	fake_start(&f, read_slowly, NULL, 1);
	struct ms_backend *b = open_remote(
		f.listener.uri, ",connections=1,window=4M,dead-after=500ms");
	CHECK_EQ(ms_write_at(b, out, SLOW_BYTES, 0), 0);
	CHECK_EQ(stat_of(b, "reconnects"), 0);
	ms_close(b);
	fake_stop(&f);
	free(out);
}

/* --- a client that is silent ---------------------------------------------- */

static struct ms_server *serve_dead(struct ms_backend *b, uint64_t dead_ns,
				    uint64_t outstanding)
{
	struct ms_server_export export = {.name = "e", .backend = b};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .listen = "pair://",
					  .outstanding_bytes = outstanding,
					  .dead_ns = dead_ns};
	struct ms_server *server = NULL;

	CHECK_EQ(ms_server_open(&config, &server), 0);
	return server;
}

static int raw_alive(struct ms_server *server, uint64_t features)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_welcome welcome;
	struct ms_hello hello = raw_hello();
	int fd = raw_connect(server);

	hello.features = features;
	CHECK(give_bytes(fd, buf, ms_proto_put_hello(&hello, buf)));
	raw_take_welcome(fd, &welcome);
	CHECK_EQ(welcome.status, 0);
	CHECK_EQ(welcome.features, features);
	return fd;
}

/* One that said it would show that it lives, one that did not, a real one. */
static void test_silent_client(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct ms_server *server = serve_dead(&h->base, 1500 * MS, 0);
	struct ms_backend *real = client(server, "");
	int old = raw_alive(server, 0);
	uint64_t start = ms_now_ns();
	int fd = raw_alive(server, MS_PROTO_FEATURE_ALIVE);
	char c = 0;

	expect_end(fd);
	CHECK(ms_now_ns() - start >= 1500 * MS);
	CHECK(ms_now_ns() - start < 4000 * MS);
	nap(1000);
	raw_request(old, (struct ms_request){
				 .op = MS_PROTO_READ, .id = 3, .length = 1});
	CHECK_EQ(raw_reply(old, &c, 1).status, 0);
	CHECK_EQ(stat_of(real, "reconnects"), 0);
	CHECK_EQ(ms_read_at(real, &c, 1, 0), 0);
	ms_close(real);
	(void)close(fd);
	(void)close(old);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- a slow store --------------------------------------------------------- */

/*
 * The server has taken in all it may and waits for its store for longer than
 * either side's patience. It reads no pings then.
 */
static void test_slow_store(void)
{
	enum {
		N = 4,
		BYTES = 64 << 10
	};
	struct hold *h = hold_open(1 << 20, 1);
	struct ms_server *server = serve_dead(&h->base, 2000 * MS, 2 * BYTES);
	struct ms_backend *b = client(
		server,
		",connections=1,window=1M,max-request=64K,dead-after=2s");
	struct task tasks[N];
	static char buf[BYTES];

	hold_set(h, true);
	for (unsigned i = 0; i < N; i++)
		task_start(b, &tasks[i],
			   task_write(buf, BYTES, i * BYTES, MS_BULK));
	hold_await(h, 1);
	nap(3600);
	hold_off(h);
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(task_wait(&tasks[i]), 0);
	CHECK_EQ(stat_of(b, "reconnects"), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

int main(void)
{
	test_silent_server(false);
	test_silent_server(true);
	test_slow_path();
	test_silent_client();
	test_slow_store();
	return 0;
}

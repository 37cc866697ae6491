/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server among bad clients, and its sessions: hostile bytes, slow and dead
 * peers, limits, notices of changes, ends in the middle of work.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/wire/remote.h"
#include "approaches/common/wire/test-fake.h"

#define MS MS_NS_PER_MS

/* --- hostile bytes -------------------------------------------------------- */

static void good_client(struct ms_server *server)
{
	char buf[32];
	int fd = raw_open(server);

	raw_request(fd, (struct ms_request){.op = MS_PROTO_READ,
					    .id = 7,
					    .offset = 5,
					    .length = 32});
	struct ms_reply r = raw_reply(fd, buf, sizeof(buf));
	CHECK_EQ(r.id, 7);
	CHECK_EQ(r.status, 0);
	CHECK(ms_pattern_check(1, 5, buf, 32, NULL));
	(void)close(fd);
}

static void test_cut_hellos(struct ms_server *server)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello hello = raw_hello();
	size_t n = ms_proto_put_hello(&hello, buf);

	for (size_t i = 0; i < n; i++) {
		int fd = raw_connect(server);
		CHECK(give_bytes(fd, buf, i));
		CHECK_EQ(shutdown(fd, SHUT_WR), 0);
		expect_end(fd);
		(void)close(fd);
	}
	good_client(server);
}

/* Each of these must not be answered but by the end of the connection. */
static void test_wrong_requests(struct ms_server *server)
{
	static const struct ms_request requests[] = {
		{.op = 0},
		{.op = 13},
		{.op = 255},
		{.op = MS_PROTO_CHANGED},
		{.op = MS_PROTO_READ, .length = (1 << 20) + 1},
		{.op = MS_PROTO_READ, .length = UINT64_MAX},
		{.op = MS_PROTO_WRITE, .length = UINT64_MAX},
		{.op = MS_PROTO_WRITE, .length = (1 << 20) + 1},
		{.op = MS_PROTO_READ, .offset = UINT64_MAX, .length = 2},
		{.op = MS_PROTO_READ, .flags = MS_PROTO_FUA, .length = 1},
		{.op = MS_PROTO_READ, .flags = 0x80, .length = 1},
		{.op = MS_PROTO_READ, .count = 1, .length = 1},
		{.op = MS_PROTO_EXTENTS, .length = 1},
		{.op = MS_PROTO_EXTENTS, .count = 4097, .length = 1},
		{.op = MS_PROTO_SYNC, .length = 1},
		{.op = MS_PROTO_SYNC, .offset = 1},
		{.op = MS_PROTO_RESIZE, .offset = UINT64_MAX},
		{.op = MS_PROTO_WATCH, .length = 2},
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = raw_open(server);
		raw_request(fd, requests[i]);
		expect_end(fd);
		(void)close(fd);
	}
	int fd = raw_open(server);
	CHECK(give_bytes(fd, "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 34));
	expect_end(fd);
	(void)close(fd);
	good_client(server);
}

static void test_wrong_hellos(struct ms_server *server)
{
	static const struct {
		size_t at;
		uint8_t byte;
		int status; /* 0: no answer at all */
	} cases[] = {{0, 'M', 0},      {12, 10, 0},	 {15, 0xff, 0},
		     {8, 2, -EPROTO}, /* least version above the most */
		     {44, 9, -EPROTO}, {45, 2, -EPROTO}, {46, 1, -EPROTO}};
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_welcome w;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ms_hello hello = raw_hello();
		size_t n = ms_proto_put_hello(&hello, buf);
		int fd = raw_connect(server);
		buf[cases[i].at] = cases[i].byte;
		CHECK(give_bytes(fd, buf, n));
		if (cases[i].status) {
			raw_take_welcome(fd, &w);
			CHECK_EQ(w.status, cases[i].status);
		}
		expect_end(fd);
		(void)close(fd);
	}
	struct ms_hello future = raw_hello();
	future.version_min = 2;
	future.version_max = 9;
	int fd = raw_connect(server);
	CHECK(give_bytes(fd, buf, ms_proto_put_hello(&future, buf)));
	raw_take_welcome(fd, &w);
	CHECK_EQ(w.status, -EPROTONOSUPPORT);
	CHECK(strlen(w.text) > 0);
	expect_end(fd);
	(void)close(fd);
	good_client(server);
}

/* Legal requests that cannot be done are answered, and life goes on. */
static void test_out_of_range(struct ms_server *server)
{
	static const struct ms_request requests[] = {
		{.op = MS_PROTO_READ, .offset = 1 << 20, .length = 1},
		{.op = MS_PROTO_READ, .offset = INT64_MAX, .length = 1 << 20},
		{.op = MS_PROTO_ZERO, .length = UINT64_MAX},
		{.op = MS_PROTO_TRIM, .offset = 9, .length = UINT64_MAX - 9},
		{.op = MS_PROTO_HASH, .length = UINT64_MAX},
		{.op = MS_PROTO_EXTENTS, .count = 4096, .length = UINT64_MAX},
	};
	int fd = raw_open(server);
	uint8_t buf[64];

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		raw_request(fd, requests[i]);
		struct ms_reply r = raw_reply(fd, buf, sizeof(buf));
		CHECK_EQ(r.op, requests[i].op);
		CHECK_EQ(r.status, -ERANGE);
	}
	raw_request(fd, (struct ms_request){.op = MS_PROTO_PING, .id = 3});
	CHECK_EQ(raw_reply(fd, buf, 0).id, 3);
	(void)close(fd);
}

/* Requests, then the client says it has no more: all are answered. */
static void test_half_close(struct ms_server *server)
{
	static char buf[10000];
	int fd = raw_open(server);
	unsigned seen = 0;

	for (unsigned i = 0; i < 10; i++)
		raw_request(fd, (struct ms_request){.op = MS_PROTO_READ,
						    .id = i,
						    .offset = i * 10000,
						    .length = 10000});
	CHECK_EQ(shutdown(fd, SHUT_WR), 0);
	for (unsigned i = 0; i < 10; i++) {
		struct ms_reply r = raw_reply(fd, buf, sizeof(buf));
		CHECK(r.id < 10);
		CHECK(ms_pattern_check(1, r.id * 10000, buf, 10000, NULL));
		seen |= 1U << r.id;
	}
	CHECK_EQ(seen, 0x3ff);
	expect_end(fd);
	(void)close(fd);
}

/* --- slow and dead peers -------------------------------------------------- */

static void test_slow(void)
{
	struct hold *h = hold_open(8 << 20, 1);
	struct ms_server_export export = {.name = "", .backend = &h->base};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .handshake_ns = 100 * MS,
					  .stall_ns = 200 * MS};
	struct ms_server *server = NULL;
	uint8_t half[MS_PROTO_FRAME_BYTES];

	CHECK_EQ(ms_server_open(&config, &server), 0);
	/* Half a hello, half a header, half a payload: each is cut off. */
	int fd = raw_connect(server);
	CHECK(give_bytes(fd, "memsync", 7));
	expect_end(fd);
	(void)close(fd);
	fd = raw_open(server);
	struct ms_request w = {.op = MS_PROTO_WRITE, .length = 1000};
	ms_proto_put_request(&w, half);
	CHECK(give_bytes(fd, half, 20));
	expect_end(fd);
	(void)close(fd);
	fd = raw_open(server);
	raw_request(fd, w);
	CHECK(give_bytes(fd, "abc", 3));
	expect_end(fd);
	(void)close(fd);
	/* Answers that nobody reads: the server does not keep them for ever. */
	fd = raw_open(server);
	for (unsigned i = 0; i < 64; i++)
		raw_request(fd, (struct ms_request){.op = MS_PROTO_READ,
						    .id = i,
						    .length = 1 << 20});
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	CHECK_EQ(poll(&p, 1, WAIT_S * 1000), 1);
	(void)close(fd);
	/* An idle client is left alone. */
	fd = raw_open(server);
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 400), 0);
	(void)close(fd);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* What a client has asked for is bounded, in bytes and in requests. */
static void test_back_pressure(void)
{
	struct hold *h = hold_open(8 << 20, 1);
	struct ms_server_export export = {.name = "", .backend = &h->base};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .requests_max = 100,
					  .outstanding_bytes = 4 << 20};
	struct ms_server *server = NULL;
	static char buf[1 << 20];

	CHECK_EQ(ms_server_open(&config, &server), 0);
	hold_set(h, true);
	int fd = raw_open(server);
	for (unsigned i = 0; i < 16; i++)
		raw_request(fd, (struct ms_request){.op = MS_PROTO_READ,
						    .id = i,
						    .length = 1 << 20});
	hold_await(h, 3);
	int many = raw_open(server);
	/* In one go: small messages fill a socket by their number. */
	for (unsigned i = 0; i < 300; i++) {
		struct ms_request r = {
			.op = MS_PROTO_READ, .id = i, .length = 1};
		ms_proto_put_request(&r,
				     (uint8_t *)buf + i * MS_PROTO_FRAME_BYTES);
	}
	CHECK(give_bytes(many, buf, 300 * MS_PROTO_FRAME_BYTES));
	hold_await(h, 103);
	CHECK(h->peak <= 104);
	hold_off(h);
	for (unsigned i = 0; i < 16; i++)
		CHECK_EQ(raw_reply(fd, buf, sizeof(buf)).status, 0);
	for (unsigned i = 0; i < 300; i++)
		CHECK_EQ(raw_reply(many, buf, sizeof(buf)).status, 0);
	(void)close(fd);
	(void)close(many);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void test_limits(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct ms_server_export export = {.name = "", .backend = &h->base};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .listen = "pair://",
					  .connections_max = 3};
	struct ms_server *server = NULL;
	static char buf[1 << 20];

	CHECK_EQ(ms_server_open(&config, &server), 0);
	/* Nine knock, three are let in, and that is enough. */
	struct ms_backend *b = client(server, ",connections=8");
	CHECK_EQ(ms_read_at(b, buf, sizeof(buf), 0), 0);
	CHECK(ms_pattern_check(1, 0, buf, sizeof(buf), NULL));
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- sessions ------------------------------------------------------------- */

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned count;
	uint64_t offset;
	uint64_t length;
};

static void saw(void *user, uint64_t offset, uint64_t length)
{
	struct seen *s = user;

	pthread_mutex_lock(&s->lock);
	s->count++;
	s->offset = offset;
	s->length = length;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
}

/* The notices come to `count`; the last one was of this range. */
static void await_seen(struct seen *s, unsigned count, uint64_t offset,
		       uint64_t length)
{
	struct timespec until;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&s->lock);
	while (s->count < count && rc == 0)
		rc = pthread_cond_timedwait(&s->more, &s->lock, &until);
	CHECK_EQ(s->count, count);
	CHECK_EQ(s->offset, offset);
	CHECK_EQ(s->length, length);
	pthread_mutex_unlock(&s->lock);
}

static void test_changes(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *a = client(server, "");
	struct ms_backend *b = client(server, "");
	struct seen s = {.lock = PTHREAD_MUTEX_INITIALIZER,
			 .more = PTHREAD_COND_INITIALIZER};
	static char buf[5000];

	CHECK(a->caps & MS_CAN_WATCH);
	CHECK_EQ(ms_watch(a, saw, &s), 0);
	CHECK_EQ(ms_watch(a, saw, &s), -EBUSY);
	/* Its own writes are no news; another session's are. */
	CHECK_EQ(ms_write_at(a, buf, 100, 0), 0);
	CHECK_EQ(ms_write_at(b, buf, 5000, 123), 0);
	await_seen(&s, 1, 123, 5000);
	CHECK_EQ(ms_zero_at(b, 77, 99), 0);
	await_seen(&s, 2, 99, 77);
	CHECK_EQ(ms_watch(a, NULL, NULL), 0);
	CHECK_EQ(ms_write_at(b, buf, 5000, 0), 0);
	/* A round trip of `a` behind it: a notice would have come. */
	CHECK_EQ(ms_read_at(a, buf, 1, 0), 0);
	await_seen(&s, 2, 99, 77);
	ms_close(a);
	CHECK_EQ(ms_write_at(b, buf, 10, 0), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void test_size_notice(void)
{
	struct ms_backend *m = NULL;
	struct seen s = {.lock = PTHREAD_MUTEX_INITIALIZER,
			 .more = PTHREAD_COND_INITIALIZER};

	CHECK_EQ(ms_open("memory:size=1000", &m), 0);
	struct ms_server *server = serve(m, "pair://", false);
	struct ms_backend *a = client(server, "");
	struct ms_backend *b = client(server, ",connections=1");
	CHECK_EQ(ms_watch(a, saw, &s), 0);
	CHECK_EQ(ms_resize(b, 3000), 0);
	await_seen(&s, 1, 1000, 2000);
	CHECK_EQ(ms_size(a), 3000);
	ms_close(a);
	ms_close(b);
	ms_server_stop(server);
	ms_close(m);
}

/* A client that never reads its notices costs the server a bounded number. */
static void test_deaf_watcher(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, "");
	int fd = raw_open(server);
	uint64_t covered = 0;
	unsigned notices = 0;
	char c = 1;

	raw_request(fd, (struct ms_request){.op = MS_PROTO_WATCH, .length = 1});
	CHECK_EQ(raw_reply(fd, NULL, 0).status, 0);
	for (unsigned i = 0; i < 30000; i++)
		CHECK_EQ(ms_write_at(b, &c, 1, i), 0);
	/* Every byte is still covered by a notice, in order. */
	while (covered < 30000) {
		struct ms_reply r = raw_reply(fd, NULL, 0);
		CHECK_EQ(r.op, MS_PROTO_CHANGED);
		CHECK(r.offset <= covered);
		if (r.offset + r.length > covered)
			covered = r.offset + r.length;
		notices++;
	}
	CHECK(notices <= 30000);
	(void)close(fd);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- losses --------------------------------------------------------------- */

/* One of several connections breaks: reads are asked for again elsewhere. */
static void test_one_lost(void)
{
	enum {
		N = 16
	};
	struct hold *h = hold_open(16 << 20, 3);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=3");
	struct remote *r = ms_container_of(b, struct remote, base);
	static struct task tasks[N];
	char *buf = malloc(N << 18);

	CHECK(buf);
	hold_set(h, true);
	for (unsigned i = 0; i < N; i++)
		task_start(
			b, &tasks[i],
			task_read(buf + (i << 18), 1 << 18, i << 18, MS_BULK));
	hold_await(h, 2);
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].lane == MS_LANE_BULK &&
		    r->conns[i].piece_count) {
			CHECK_EQ(shutdown(r->conns[i].stream->fd, SHUT_RDWR),
				 0);
			break;
		}
	pthread_mutex_unlock(&r->lock);
	while (stat_of(b, "reissued") == 0)
		;
	hold_off(h);
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(task_wait(&tasks[i]), 0);
	CHECK(ms_pattern_check(3, 0, buf, N << 18, NULL));
	CHECK_EQ(stat_of(b, "outstanding_bytes"), 0);
	free(buf);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void *stop_server(void *server)
{
	ms_server_stop(server);
	return NULL;
}

/*
 * The server ends while requests are in its store, and comes back anew, for a
 * client that does not reconnect.
 */
static void test_restart(void)
{
	struct hold *h = hold_open(1 << 20, 3);
	struct ms_server *server = serve(&h->base, "tcp://127.0.0.1:0", false);
	char uri[400];
	struct ms_backend *b = client(server, ",reconnect=0s");
	struct task t;
	pthread_t stopper;
	static char buf[4096];

	(void)snprintf(uri, sizeof(uri), "%s", ms_server_uri(server));
	CHECK_EQ(ms_write_at(b, buf, 4096, 0), 0);
	hold_set(h, true);
	task_start(b, &t, task_write(buf, 4096, 0, MS_URGENT));
	hold_await(h, 1);
	CHECK_EQ(pthread_create(&stopper, NULL, stop_server, server), 0);
	/* Connections without work end at once; this one holds a request. */
	hold_release(h, 0, 0);
	CHECK_EQ(pthread_join(stopper, NULL), 0);
	int rc = task_wait(&t);
	CHECK(rc == 0 || rc == -ECONNRESET);
	hold_set(h, false);
	server = serve(&h->base, uri, false);
	/* What was written and not synced may be lost: no sync may succeed. */
	while ((rc = ms_read_at(b, buf, 1, 0)) == -ECONNRESET)
		;
	CHECK_EQ(rc, -ENOTCONN);
	CHECK_EQ(ms_sync(b), -ENOTCONN);
	ms_close(b);
	b = client(server, "");
	CHECK_EQ(ms_read_at(b, buf, 1, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

int main(void)
{
	struct ms_backend *m = NULL;

	CHECK_EQ(ms_open("memory:size=1M,seed=1", &m), 0);
	struct ms_server *server = serve(m, NULL, false);
	test_cut_hellos(server);
	test_wrong_requests(server);
	test_wrong_hellos(server);
	test_out_of_range(server);
	test_half_close(server);
	ms_server_stop(server);
	ms_close(m);
	test_slow();
	test_back_pressure();
	test_limits();
	test_changes();
	test_size_notice();
	test_deaf_watcher();
	test_one_lost();
	test_restart();
	return 0;
}

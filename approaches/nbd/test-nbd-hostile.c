/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server among bad clients: hostile bytes, lies about lengths, slow
 * and dead peers, ends in the middle of work. After each of them it serves a
 * good one.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/nbd/test-nbd.h"

#include <poll.h>

#define MS   MS_NS_PER_MS
#define SIZE 1000001

static void good_client(struct nbd_server *server)
{
	char buf[32];
	int fd = raw_open(server, false);

	raw_read(fd, 7, 5, sizeof(buf));
	CHECK_EQ(raw_answer(fd, 7), 0);
	CHECK(take(fd, buf, sizeof(buf)));
	CHECK(ms_pattern_check(1, 5, buf, sizeof(buf), NULL));
	(void)close(fd);
}

/* --- handshake ------------------------------------------------------------ */

static void test_cut_handshakes(struct nbd_server *server)
{
	uint8_t bytes[4 + 16 + 6];

	nbd_put_u32(3, bytes);
	put_option(NBD_OPT_GO, 6, bytes + 4);
	memset(bytes + 20, 0, 6);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		char greeting[NBD_GREETING_BYTES];
		int fd = raw_connect(server);
		CHECK(take(fd, greeting, sizeof(greeting)));
		CHECK(give(fd, bytes, i));
		CHECK_EQ(shutdown(fd, SHUT_WR), 0);
		expect_end(fd);
	}
	good_client(server);
}

static void test_wrong_handshakes(struct nbd_server *server)
{
	char junk[NBD_GREETING_BYTES];
	uint8_t head[16];

	/* Flags that were not offered. */
	expect_end(raw_greet(server, 4));
	expect_end(raw_greet(server, 0x80000003));
	/* Another protocol. */
	int fd = raw_connect(server);
	CHECK(take(fd, junk, sizeof(junk)));
	CHECK(give(fd, "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 34));
	expect_end(fd);
	/* An option without its magic. */
	fd = raw_greet(server, 3);
	CHECK(give(fd, "IHAVEOPS\0\0\0\3\0\0\0\0", 16));
	expect_end(fd);
	/* More than anybody will read. */
	fd = raw_greet(server, 3);
	put_option(NBD_OPT_GO, UINT32_MAX, head);
	CHECK(give(fd, head, sizeof(head)));
	expect_end(fd);
	fd = raw_greet(server, 3);
	put_option(NBD_OPT_EXPORT_NAME, (1 << 20) + 1, head);
	CHECK(give(fd, head, sizeof(head)));
	expect_end(fd);
	/* A name that does not exist, by the option that cannot say so. */
	fd = raw_greet(server, 3);
	raw_option(fd, NBD_OPT_EXPORT_NAME, "no", 2);
	expect_end(fd);
	good_client(server);
}

/* These are refused, and the handshake goes on behind each. */
static void test_refused_options(struct nbd_server *server)
{
	static char big[100000];
	static const struct {
		uint32_t type;
		const char *data;
		size_t n;
		uint32_t reply;
	} cases[] = {
		{NBD_OPT_LIST, "x", 1, NBD_REP_ERR_INVALID},
		{NBD_OPT_STARTTLS, "", 0, NBD_REP_ERR_POLICY},
		{NBD_OPT_INFO, "", 0, NBD_REP_ERR_INVALID},
		{NBD_OPT_INFO, "\0\0\0\2no\0\0", 8, NBD_REP_ERR_UNKNOWN},
		{NBD_OPT_GO, "\0\0\0\2no\0\0", 8, NBD_REP_ERR_UNKNOWN},
		{NBD_OPT_GO, "\377\377\377\377\0\0", 6, NBD_REP_ERR_INVALID},
		{NBD_OPT_GO, "\0\0\0\0\377\377", 6, NBD_REP_ERR_INVALID},
		{NBD_OPT_STRUCTURED_REPLY, "x", 1, NBD_REP_ERR_INVALID},
		{NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\0", 8,
		 NBD_REP_ERR_INVALID}, /* without structured replies */
		{8191, "x", 1, NBD_REP_ERR_UNSUP},
		{4, "", 0, NBD_REP_ERR_UNSUP},
		{11, "", 0, NBD_REP_ERR_UNSUP},
		{NBD_OPT_GO, big, sizeof(big), NBD_REP_ERR_TOO_BIG},
	};
	int fd = raw_greet(server, 3);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		raw_option(fd, cases[i].type, cases[i].data, cases[i].n);
		CHECK_EQ(raw_last_reply(fd, cases[i].type), cases[i].reply);
	}
	raw_structured(fd);
	raw_option(fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_STRUCTURED_REPLY),
		 NBD_REP_ERR_INVALID);
	raw_option(fd, NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\377\377\377\377", 8);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_SET_META_CONTEXT),
		 NBD_REP_ERR_TOO_BIG);
	raw_option(fd, NBD_OPT_SET_META_CONTEXT,
		   "\0\0\0\0\0\0\0\1\0\0\1\0base:", 17);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_SET_META_CONTEXT),
		 NBD_REP_ERR_INVALID);
	raw_option(fd, NBD_OPT_ABORT, NULL, 0);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_ABORT), NBD_REP_ACK);
	expect_end(fd);
}

/* --- requests ------------------------------------------------------------- */

/* Each is answered with an error, and the next request is understood. */
static void test_refused_requests(struct nbd_server *server)
{
	static char payload[200000];
	static const struct {
		struct nbd_request r;
		uint32_t error;
	} cases[] = {
		{{0, NBD_CMD_READ, 1, SIZE, 1}, 22},
		{{0, NBD_CMD_READ, 2, UINT64_MAX, UINT32_MAX}, 22},
		{{0, NBD_CMD_READ, 3, 0, UINT32_MAX}, 22},
		{{0, NBD_CMD_WRITE, 4, SIZE - 9, 10}, 28},
		{{0, NBD_CMD_WRITE, 5, UINT64_MAX - 3, 100000}, 28},
		{{0xffff, NBD_CMD_WRITE, 6, 0, 65537}, 22},
		{{0, NBD_CMD_WRITE, 7, 0, 200000},
		 22}, /* the maximum is less */
		{{0, NBD_CMD_TRIM, 8, 1, SIZE}, 22},
		{{0, NBD_CMD_WRITE_ZEROES, 9, 1, SIZE}, 28},
		{{0, NBD_CMD_FLUSH, 10, 1, 1}, 22},
		{{0, NBD_CMD_BLOCK_STATUS, 11, 0, 4096}, 22},
		/* Unknown commands have no payload, whatever their length. */
		{{0, 8, 12, 0, 4096}, 22},
		{{0, 0xffff, 13, UINT64_MAX, UINT32_MAX}, 22},
		{{NBD_CMD_FLAG_DF, NBD_CMD_READ, 14, 0, 512}, 22},
	};
	int fd = raw_open(server, false);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		raw_request(fd, cases[i].r);
		CHECK(give(fd, payload, nbd_request_payload(&cases[i].r)));
		CHECK_EQ(raw_answer(fd, cases[i].r.cookie), cases[i].error);
	}
	(void)close(fd);
	good_client(server);
	/* No request at all. */
	fd = raw_open(server, false);
	CHECK(give(fd, payload, NBD_REQUEST_BYTES));
	expect_end(fd);
	good_client(server);
}

/* A payload that does not come to its end changes nothing. */
static void test_cut_write(struct nbd_server *server, struct ms_backend *b)
{
	static char before[SIZE];
	static char after[SIZE];
	char bytes[1000] = "overwritten";

	CHECK_EQ(ms_read_at(b, before, SIZE, 0), 0);
	for (size_t i = 0; i < 4; i++) {
		int fd = raw_open(server, i & 1);
		raw_request(fd, (struct nbd_request){.type = NBD_CMD_WRITE,
						     .length = 100000});
		for (size_t n = 0; n < 90 + i; n++)
			CHECK(give(fd, bytes, sizeof(bytes)));
		if (i & 2)
			CHECK_EQ(shutdown(fd, SHUT_WR), 0);
		if (i & 2)
			expect_end(fd);
		else
			(void)close(fd);
	}
	good_client(server);
	CHECK_EQ(ms_read_at(b, after, SIZE, 0), 0);
	CHECK(memcmp(before, after, SIZE) == 0);
}

/* Requests, then the client says it has no more: all are answered. */
static void test_half_close(struct nbd_server *server)
{
	static char buf[10000];

	for (int disc = 0; disc < 2; disc++) {
		int fd = raw_open(server, false);
		unsigned seen = 0;
		for (unsigned i = 0; i < 10; i++)
			raw_read(fd, i, i * 10000, 10000);
		if (disc)
			raw_request(fd,
				    (struct nbd_request){.type = NBD_CMD_DISC});
		else
			CHECK_EQ(shutdown(fd, SHUT_WR), 0);
		for (unsigned i = 0; i < 10; i++) {
			uint64_t cookie = 0;
			CHECK_EQ(raw_simple(fd, &cookie), 0);
			CHECK(cookie < 10);
			CHECK(take(fd, buf, sizeof(buf)));
			CHECK(ms_pattern_check(1, cookie * 10000, buf,
					       sizeof(buf), NULL));
			seen |= 1U << cookie;
		}
		CHECK_EQ(seen, 0x3ff);
		expect_end(fd);
	}
}

static void test_hostile(void)
{
	struct ms_backend *b = NULL;
	struct nbd_server_export export = {.name = "disk",
					   .block_maximum = 128 << 10};

	CHECK_EQ(ms_open("memory:size=1000001,seed=1", &b), 0);
	export.backend = b;
	struct nbd_server *server =
		nbd_open(b, (struct nbd_server_config){.exports = &export,
						       .export_count = 1});
	test_cut_handshakes(server);
	test_wrong_handshakes(server);
	test_refused_options(server);
	test_refused_requests(server);
	test_cut_write(server, b);
	test_half_close(server);
	nbd_server_stop(server);
	ms_close(b);
}

/* --- slow and dead peers -------------------------------------------------- */

/* A byte now and then does not prolong the handshake. */
static void test_slow_handshake(struct nbd_server *server)
{
	uint64_t began = ms_now_ns();
	int fd = raw_greet(server, 3);
	uint8_t head[16];
	size_t sent = 0;

	put_option(NBD_OPT_LIST, 0, head);
	while (sent < 1000 && send(fd, head + sent % 16, 1, MSG_NOSIGNAL) == 1)
		if (++sent)
			(void)usleep(20000);
	CHECK(sent < 1000);
	CHECK(ms_now_ns() - began < 10000 * MS);
	(void)close(fd);
	/* Answers that are not read hold it up no longer either. */
	fd = raw_greet(server, 3);
	CHECK_EQ(shutdown(fd, SHUT_RD), 0);
	for (unsigned i = 0; i < 100000; i++)
		if (send(fd, head, 16, MSG_NOSIGNAL) != 16)
			break;
	(void)close(fd);
}

static void test_slow(void)
{
	struct hold *h = hold_open(8 << 20, 1);
	struct nbd_server *server = nbd_open(
		&h->base, (struct nbd_server_config){.handshake_ns = 300 * MS,
						     .stall_ns = 300 * MS});
	uint8_t half[NBD_REQUEST_BYTES];
	struct nbd_request w = {.type = NBD_CMD_WRITE, .length = 1000};

	test_slow_handshake(server);
	/* Half a request, half a payload: each is cut off. */
	int fd = raw_open(server, false);
	nbd_put_request(&w, half);
	CHECK(give(fd, half, 20));
	expect_end(fd);
	fd = raw_open(server, false);
	raw_request(fd, w);
	CHECK(give(fd, "abc", 3));
	expect_end(fd);
	/* Answers that nobody reads: the server does not keep them for ever. */
	fd = raw_open(server, false);
	for (unsigned i = 0; i < 64; i++)
		raw_read(fd, i, 0, 1 << 20);
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	CHECK_EQ(poll(&p, 1, WAIT_S * 1000), 1);
	(void)close(fd);
	/* An idle client is left alone, and one whose backend is slow. */
	fd = raw_open(server, false);
	hold_set(h, true);
	raw_read(fd, 1, 0, 16);
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 900), 0);
	hold_off(h);
	CHECK_EQ(raw_answer(fd, 1), 0);
	(void)close(fd);
	nbd_server_stop(server);
	ms_close(&h->base);
}

/* --- ends in the middle --------------------------------------------------- */

static void *release_later(void *arg)
{
	(void)usleep(100000);
	hold_off(arg);
	return NULL;
}

/* Clients vanish while the backend has their requests; then the server ends
 * while it has some. Nothing is freed that the backend still holds. */
static void test_vanishing(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct nbd_server *server =
		nbd_open(&h->base, (struct nbd_server_config){0});
	char bytes[4096] = "x";

	hold_set(h, true);
	for (unsigned i = 0; i < 8; i++) {
		int fd = raw_open(server, i & 1);
		raw_read(fd, 1, 0, 4096);
		raw_write(fd, 2, 8192 * i, bytes, sizeof(bytes));
		hold_await(h, 2 * i + 2);
		(void)close(fd);
	}
	hold_off(h);
	int fd = raw_open(server, true);
	hold_set(h, true);
	raw_read(fd, 1, 0, 4096);
	raw_read(fd, 2, 0, 4096);
	hold_await(h, 2);
	pthread_t releaser;
	CHECK_EQ(pthread_create(&releaser, NULL, release_later, h), 0);
	nbd_server_stop(server);
	CHECK_EQ(pthread_join(releaser, NULL), 0);
	(void)close(fd);
	ms_close(&h->base);
}

static void test_limits(void)
{
	struct ms_backend *b = NULL;
	int ends[2];

	CHECK_EQ(ms_open("memory:size=64K,seed=1", &b), 0);
	struct nbd_server *server =
		nbd_open(b, (struct nbd_server_config){.connections_max = 2});
	int one = raw_open(server, false);
	int two = raw_connect(server);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	CHECK_EQ(nbd_server_serve_fd(server, ends[1]), -EBUSY);
	expect_end(ends[0]);
	/* A place that becomes free is taken. */
	(void)close(two);
	int rc = -EBUSY;
	for (unsigned i = 0; i < 1000 && rc == -EBUSY; i++) {
		(void)usleep(10000);
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    ends),
			 0);
		rc = nbd_server_serve_fd(server, ends[1]);
		(void)close(ends[0]);
	}
	CHECK_EQ(rc, 0);
	(void)close(one);
	nbd_server_stop(server);
	ms_close(b);
}

int main(void)
{
	test_hostile();
	test_slow();
	test_vanishing();
	test_limits();
	return 0;
}

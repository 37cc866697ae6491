/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the NBD server does for good clients: ways into transmission, order of
 * answers, errors, limits, padding, what each command asks of the backend.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/nbd/test-nbd.h"

#include <fcntl.h>

/* --- ways in -------------------------------------------------------------- */

static void check_read(int fd, uint64_t offset)
{
	char buf[100];

	raw_read(fd, offset, offset, sizeof(buf));
	CHECK_EQ(raw_answer(fd, offset), 0);
	CHECK(take(fd, buf, sizeof(buf)));
	CHECK(ms_pattern_check(1, offset, buf, sizeof(buf), NULL));
}

/* The oldest option, with the zeros behind its answer and without. */
static void test_export_name(struct nbd_server *server)
{
	uint8_t out[10 + NBD_EXPORT_NAME_PAD];

	for (uint32_t flags = 0; flags < 4; flags++) {
		const char *name = flags & 1 ? "disk" : "";
		size_t n = flags & NBD_NO_ZEROES ? 10 : sizeof(out);
		int fd = raw_greet(server, flags);
		raw_option(fd, NBD_OPT_EXPORT_NAME, name, strlen(name));
		memset(out, 0xff, sizeof(out));
		CHECK(take(fd, out, n));
		CHECK_EQ(nbd_get_u64(out), 1 << 20);
		CHECK(nbd_get_u16(out + 8) & NBD_FLAG_CAN_MULTI_CONN);
		for (size_t i = 10; i < n; i++)
			CHECK_EQ(out[i], 0);
		check_read(fd, 17);
		(void)close(fd);
	}
}

/* GO that announces no data: go-nbd, which sends them all the same, and two
 * clients that mean it. */
static void test_short_go(struct nbd_server *server)
{
	uint8_t head[16];
	int fd = raw_greet(server, 1);

	put_option(NBD_OPT_GO, 0, head);
	CHECK(give(fd, head, sizeof(head)));
	CHECK(give(fd, "\0\0\0\4", 4));
	CHECK(give(fd, "disk", 4));
	CHECK(give(fd, "\0\1\0\3", 4));
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_GO), NBD_REP_ACK);
	check_read(fd, 3);
	(void)close(fd);
	/* Another option follows at once. */
	fd = raw_greet(server, 1);
	CHECK(give(fd, head, sizeof(head)));
	raw_option(fd, NBD_OPT_LIST, NULL, 0);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_GO), NBD_REP_ERR_INVALID);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_LIST), NBD_REP_ACK);
	/* Nothing follows before the answer. */
	CHECK(give(fd, head, sizeof(head)));
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_GO), NBD_REP_ERR_INVALID);
	raw_go(fd);
	check_read(fd, 5);
	(void)close(fd);
}

/* What INFO says, wanted or not. */
static void test_info(struct nbd_server *server)
{
	char data[8192];
	size_t n = 0;
	unsigned seen = 0;
	int fd = raw_greet(server, 3);

	raw_option(fd, NBD_OPT_INFO, "\0\0\0\0\0\2\0\1\0\2", 10);
	while (raw_option_reply(fd, NBD_OPT_INFO, data, sizeof(data), &n) ==
	       NBD_REP_INFO) {
		unsigned type = nbd_get_u16((uint8_t *)data);
		CHECK(type <= NBD_INFO_BLOCK_SIZE);
		seen |= 1U << type;
		if (type == NBD_INFO_NAME)
			CHECK(n == 6 && memcmp(data + 2, "disk", 4) == 0);
		if (type == NBD_INFO_DESCRIPTION)
			CHECK(n == 8 && memcmp(data + 2, "a disk", 6) == 0);
	}
	CHECK_EQ(seen, 15);
	raw_option(fd, NBD_OPT_LIST, NULL, 0);
	CHECK_EQ(raw_option_reply(fd, NBD_OPT_LIST, data, sizeof(data), &n),
		 NBD_REP_SERVER);
	CHECK_EQ(n, 4 + 4 + 6);
	CHECK(memcmp(data, "\0\0\0\4diska disk", 14) == 0);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_LIST), NBD_REP_ACK);
	(void)close(fd);
}

static void test_ways_in(void)
{
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open("memory:size=1M,seed=1", &b), 0);
	struct nbd_server *server = nbd_open(b, (struct nbd_server_config){0});
	test_export_name(server);
	test_short_go(server);
	test_info(server);
	nbd_server_stop(server);
	ms_close(b);
}

/* Already in transmission, as the kernel's client is. */
static void test_transmit(void)
{
	struct ms_backend *b = NULL;
	struct nbd_export_info info;
	char buf[120];
	size_t n = 0;
	int ends[2];

	CHECK_EQ(ms_open("memory:size=1000,seed=1", &b), 0);
	for (int structured = 0; structured < 2; structured++) {
		struct nbd_server *server =
			nbd_open(b, (struct nbd_server_config){
					    .transmit_structured = structured});
		CHECK_EQ(nbd_server_export_info(server, 0, &info), 0);
		CHECK_EQ(info.size, 1000);
		CHECK_EQ(!!(info.flags & NBD_FLAG_SEND_DF), structured);
		CHECK_EQ(nbd_server_export_info(server, 1, &info), -EINVAL);
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    ends),
			 0);
		CHECK_EQ(nbd_server_transmit_fd(
				 server, 1, fcntl(ends[1], F_DUPFD_CLOEXEC, 0)),
			 -EINVAL);
		patience(ends[0]);
		CHECK_EQ(nbd_server_transmit_fd(server, 0, ends[1]), 0);
		if (structured) {
			raw_read(ends[0], 4, 5, 100);
			CHECK_EQ(raw_chunk(ends[0], 4, buf, sizeof(buf), &n),
				 NBD_CHUNK_DATA);
			CHECK_EQ(n, 108);
			CHECK(ms_pattern_check(1, 5, buf + 8, 100, NULL));
		} else {
			check_read(ends[0], 5);
		}
		(void)close(ends[0]);
		nbd_server_stop(server);
	}
	ms_close(b);
}

/* --- order and errors ----------------------------------------------------- */

/* Answers come as the backend completes; errors instead of data. */
static void test_order(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct nbd_server *server =
		nbd_open(&h->base, (struct nbd_server_config){0});
	char buf[128];
	size_t n = 0;

	hold_set(h, true);
	int simple = raw_open(server, false);
	int chunks = raw_open(server, true);
	for (unsigned i = 0; i < 3; i++)
		raw_read(simple, i, i * 100, 100);
	hold_await(h, 3);
	hold_release(h, 2, 0);
	CHECK_EQ(raw_answer(simple, 2), 0);
	CHECK(take(simple, buf, 100));
	CHECK(ms_pattern_check(1, 200, buf, 100, NULL));
	/* No data behind an error. */
	hold_release(h, 0, -ENOMEM);
	CHECK_EQ(raw_answer(simple, 0), 12);
	hold_release(h, 0, -ETIMEDOUT);
	CHECK_EQ(raw_answer(simple, 1), 5);
	raw_read(chunks, 9, 0, 100);
	hold_await(h, 1);
	hold_release(h, 0, -EIO);
	CHECK_EQ(raw_chunk(chunks, 9, buf, sizeof(buf), &n), NBD_CHUNK_ERROR);
	CHECK_EQ(nbd_get_u32((uint8_t *)buf), 5);
	CHECK_EQ(nbd_get_u16((uint8_t *)buf + 4), n - 6);
	/* A write overtakes a read before it. */
	raw_read(chunks, 10, 0, 100);
	hold_await(h, 1);
	raw_write(chunks, 11, 500, "abc", 3);
	hold_await(h, 2);
	hold_release(h, 1, 0);
	CHECK_EQ(raw_answer(chunks, 11), 0);
	hold_off(h);
	CHECK_EQ(raw_chunk(chunks, 10, buf, sizeof(buf), &n), NBD_CHUNK_DATA);
	(void)close(simple);
	(void)close(chunks);
	nbd_server_stop(server);
	ms_close(&h->base);
}

/* What the backend is asked for, by command. */
static void test_operations(void)
{
	static const struct {
		uint16_t type;
		uint16_t flags;
		enum ms_op first;
		unsigned io_flags;
		bool sync; /* follows */
	} cases[] = {
		{NBD_CMD_FLUSH, 0, MS_OP_SYNC, 0, false},
		{NBD_CMD_CACHE, 0, MS_OP_POPULATE, 0, false},
		{NBD_CMD_WRITE, 0, MS_OP_WRITE, 0, false},
		{NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, MS_OP_WRITE, MS_FUA, false},
		{NBD_CMD_TRIM, 0, MS_OP_TRIM, 0, false},
		{NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, MS_OP_TRIM, 0, true},
		{NBD_CMD_WRITE_ZEROES, 0, MS_OP_ZERO, 0, false},
		{NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA, MS_OP_ZERO, 0, true},
		{NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, MS_OP_ZERO, 0,
		 false},
		{NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, MS_OP_WRITE, 0,
		 false},
		{NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA,
		 MS_OP_WRITE, 0, true},
	};
	struct hold *h = hold_open(1 << 20, 1);
	static char payload[5000];

	/* Before a connection's thread looks at them. */
	h->base.caps |=
		MS_CAN_POPULATE | MS_CAN_FUA | MS_CAN_TRIM | MS_CAN_ZERO;
	struct nbd_server *server =
		nbd_open(&h->base, (struct nbd_server_config){0});
	int fd = raw_open(server, false);

	hold_set(h, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool range = cases[i].type != NBD_CMD_FLUSH;
		struct nbd_request r = {.type = cases[i].type,
					.flags = cases[i].flags,
					.cookie = i,
					.offset = range ? 4096 : 0,
					.length = range ? 5000 : 0};
		raw_request(fd, r);
		CHECK(give(fd, payload, nbd_request_payload(&r)));
		hold_await(h, 1);
		CHECK_EQ(h->list[0]->op, cases[i].first);
		CHECK_EQ(h->list[0]->flags, cases[i].io_flags);
		if (range) {
			CHECK_EQ(h->list[0]->offset, 4096);
			CHECK_EQ(h->list[0]->length, 5000);
		}
		hold_release(h, 0, 0);
		if (cases[i].sync) {
			hold_await(h, 1);
			CHECK_EQ(h->list[0]->op, MS_OP_SYNC);
			hold_release(h, 0, 0);
		}
		CHECK_EQ(raw_answer(fd, i), 0);
	}
	hold_off(h);
	/* Zeros that cannot be had fast. */
	raw_request(fd, (struct nbd_request){.type = NBD_CMD_WRITE_ZEROES,
					     .flags = NBD_CMD_FLAG_FAST_ZERO |
						      NBD_CMD_FLAG_NO_HOLE,
					     .length = 512});
	CHECK_EQ(raw_answer(fd, 0), 95);
	(void)close(fd);
	nbd_server_stop(server);
	ms_close(&h->base);
}

/* Zeros that are written, in more pieces than a stack could nest. */
static void test_zeros(void)
{
	const uint64_t size = UINT64_C(300) << 20;
	struct ms_backend *b = NULL;
	static char buf[1 << 20];
	struct ms_extent extents[4];

	CHECK_EQ(ms_open("memory:size=300M", &b), 0);
	CHECK_EQ(ms_write_at(b, "abc", 3, size / 2), 0);
	struct nbd_server *server = nbd_open(b, (struct nbd_server_config){0});
	int fd = raw_open(server, false);
	raw_request(fd, (struct nbd_request){.type = NBD_CMD_WRITE_ZEROES,
					     .flags = NBD_CMD_FLAG_NO_HOLE,
					     .cookie = 1,
					     .offset = 1,
					     .length = (uint32_t)size - 2});
	CHECK_EQ(raw_answer(fd, 1), 0);
	CHECK_EQ(ms_read_at(b, buf, 3, size / 2), 0);
	CHECK(memcmp(buf, "\0\0\0", 3) == 0);
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = size,
			   .buf = extents,
			   .extents_max = 4};
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 1);
	CHECK(extents[0].type != MS_EXTENT_HOLE);
	(void)close(fd);
	nbd_server_stop(server);
	ms_close(b);
}

/* --- limits --------------------------------------------------------------- */

/* What a client has asked for is bounded, in bytes and in requests. */
static void test_back_pressure(void)
{
	struct hold *h = hold_open(8 << 20, 1);
	struct nbd_server *server = nbd_open(
		&h->base,
		(struct nbd_server_config){.requests_max = 100,
					   .outstanding_bytes = 4 << 20});
	static char buf[1 << 20];

	hold_set(h, true);
	int fd = raw_open(server, false);
	for (unsigned i = 0; i < 16; i++)
		raw_read(fd, i, 0, 1 << 20);
	hold_await(h, 3);
	int many = raw_open(server, false);
	for (unsigned i = 0; i < 300; i++)
		raw_read(many, i, 0, 1);
	hold_await(h, 103);
	(void)usleep(100000);
	CHECK(h->peak <= 103);
	hold_off(h);
	uint64_t cookie = 0;
	for (unsigned i = 0; i < 16; i++) {
		CHECK_EQ(raw_simple(fd, &cookie), 0);
		CHECK(take(fd, buf, 1 << 20));
	}
	for (unsigned i = 0; i < 300; i++) {
		CHECK_EQ(raw_simple(many, &cookie), 0);
		CHECK(take(many, buf, 1));
	}
	(void)close(fd);
	(void)close(many);
	nbd_server_stop(server);
	ms_close(&h->base);
}

/* The thesis' server: the next request is not looked at before the answer. */
static void test_serial(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct nbd_server *server =
		nbd_open(&h->base, (struct nbd_server_config){.serial = true});
	struct nbd_export_info info;
	char buf[64];

	CHECK_EQ(nbd_server_export_info(server, 0, &info), 0);
	CHECK(!(info.flags & NBD_FLAG_CAN_MULTI_CONN));
	hold_set(h, true);
	int fd = raw_open(server, false);
	for (unsigned i = 0; i < 10; i++)
		raw_read(fd, i, i * 64, 64);
	for (unsigned i = 0; i < 10; i++) {
		hold_await(h, 1);
		(void)usleep(5000);
		CHECK_EQ(hold_count(h), 1);
		hold_release(h, 0, 0);
		CHECK_EQ(raw_answer(fd, i), 0);
		CHECK(take(fd, buf, 64));
		CHECK(ms_pattern_check(1, i * 64, buf, 64, NULL));
	}
	CHECK_EQ(h->peak, 1);
	(void)close(fd);
	hold_off(h);
	nbd_server_stop(server);
	ms_close(&h->base);
}

enum {
	MANY = 10000
};

static void *ask_many(void *arg)
{
	for (unsigned i = 0; i < MANY; i++)
		raw_read(*(int *)arg, i, i * 16, 16);
	return NULL;
}

/* All that is held, the last first. */
static void *release_many(void *arg)
{
	struct hold *h = arg;

	for (size_t n = hold_count(h); n; n--)
		hold_release(h, n - 1, 0);
	return NULL;
}

/* Thousands of requests at once, on one thread, each answered once. */
static void test_many(void)
{
	struct hold *h = hold_open(1 << 20, 1);
	struct nbd_server *server =
		nbd_open(&h->base, (struct nbd_server_config){0});
	static bool seen[MANY];
	pthread_t asker;
	char buf[16];
	int fd = raw_open(server, false);

	hold_set(h, true);
	CHECK_EQ(pthread_create(&asker, NULL, ask_many, &fd), 0);
	hold_await(h, MANY);
	CHECK_EQ(pthread_join(asker, NULL), 0);
	hold_set(h, false);
	pthread_t releaser;
	CHECK_EQ(pthread_create(&releaser, NULL, release_many, h), 0);
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t cookie = 0;
		CHECK_EQ(raw_simple(fd, &cookie), 0);
		CHECK(cookie < MANY && !seen[cookie]);
		seen[cookie] = true;
		CHECK(take(fd, buf, sizeof(buf)));
		CHECK(ms_pattern_check(1, cookie * 16, buf, 16, NULL));
	}
	CHECK_EQ(pthread_join(releaser, NULL), 0);
	(void)close(fd);
	nbd_server_stop(server);
	ms_close(&h->base);
}

/* --- padding -------------------------------------------------------------- */

/* A region of 1000 bytes in blocks of 512: 24 bytes more, which are zeros. */
static void test_padding(void)
{
	struct ms_backend *b = NULL;
	char buf[1024];
	char want[1024] = {0};
	size_t n = 0;
	struct nbd_server_export export = {.name = "", .block_minimum = 512};

	CHECK_EQ(ms_open("memory:size=1000,seed=1", &b), 0);
	/* Once from the mapping, once by reading. */
	for (int mapped = 0; mapped < 2; mapped++) {
		if (!mapped)
			b->caps &= ~(unsigned)MS_CAN_MAP;
		else
			b->caps |= MS_CAN_MAP;
		export.backend = b;
		struct nbd_server *server = nbd_open(
			b, (struct nbd_server_config){.exports = &export,
						      .export_count = 1});
		int fd = raw_greet(server, 3);
		raw_structured(fd);
		raw_option(fd, NBD_OPT_SET_META_CONTEXT,
			   "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation", 27);
		CHECK_EQ(raw_last_reply(fd, NBD_OPT_SET_META_CONTEXT),
			 NBD_REP_ACK);
		raw_go(fd);
		memset(buf, 'x', sizeof(buf));
		raw_write(fd, 1, 0, buf, 1024);
		CHECK_EQ(raw_answer(fd, 1), 0);
		memset(want, 'x', 1000);
		char out[8 + 1024];
		raw_read(fd, 2, 0, 1024);
		CHECK_EQ(raw_chunk(fd, 2, out, sizeof(out), &n),
			 NBD_CHUNK_DATA);
		CHECK_EQ(n, sizeof(out));
		CHECK(memcmp(out + 8, want, 1024) == 0);
		raw_read(fd, 3, 1024, 512);
		CHECK_EQ(raw_chunk(fd, 3, out, sizeof(out), &n),
			 NBD_CHUNK_ERROR);
		raw_request(fd,
			    (struct nbd_request){.type = NBD_CMD_BLOCK_STATUS,
						 .cookie = 4,
						 .length = 1024});
		CHECK_EQ(raw_chunk(fd, 4, out, sizeof(out), &n),
			 NBD_CHUNK_BLOCK_STATUS);
		CHECK_EQ(n, 12);
		CHECK_EQ(nbd_get_u32((uint8_t *)out + 4), 1024);
		raw_request(fd,
			    (struct nbd_request){.type = NBD_CMD_WRITE_ZEROES,
						 .flags = NBD_CMD_FLAG_NO_HOLE,
						 .cookie = 5,
						 .offset = 512,
						 .length = 512});
		CHECK_EQ(raw_answer(fd, 5), 0);
		CHECK_EQ(ms_read_at(b, buf, 1000, 0), 0);
		memset(want + 512, 0, 512);
		CHECK(memcmp(buf, want, 1000) == 0);
		(void)close(fd);
		nbd_server_stop(server);
	}
	CHECK_EQ(ms_size(b), 1000);
	ms_close(b);
}

/* --- several at once ------------------------------------------------------ */

struct worker {
	pthread_t thread;
	struct nbd_server *server;
	unsigned index;
};

/* Random reads and writes in a slice of its own, all of it compared. */
static void *work(void *arg)
{
	struct worker *w = arg;
	enum {
		SLICE = 200001,
		ROUNDS = 300
	};
	char *model = calloc(1, SLICE);
	char *buf = malloc(SLICE);
	unsigned seed = w->index + 1;
	uint64_t base = (uint64_t)w->index * SLICE;
	int fd = raw_open(w->server, false);

	CHECK(model && buf);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t at = (uint32_t)rand_r(&seed) % SLICE;
		uint32_t n = (uint32_t)rand_r(&seed) % (SLICE - at) + 1;
		if (i % 2 == 0) {
			memset(model + at, (int)(seed & 255), n);
			raw_write(fd, i, base + at, model + at, n);
			CHECK_EQ(raw_answer(fd, i), 0);
		} else {
			raw_read(fd, i, base + at, n);
			CHECK_EQ(raw_answer(fd, i), 0);
			CHECK(take(fd, buf, n));
			CHECK(memcmp(buf, model + at, n) == 0);
		}
	}
	(void)close(fd);
	free(model);
	free(buf);
	return NULL;
}

static void test_several(void)
{
	struct worker workers[8];
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open("memory:size=2M", &b), 0);
	struct nbd_server *server = nbd_open(b, (struct nbd_server_config){0});
	for (unsigned i = 0; i < 8; i++) {
		workers[i].server = server;
		workers[i].index = i;
		CHECK_EQ(pthread_create(&workers[i].thread, NULL, work,
					&workers[i]),
			 0);
	}
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
	nbd_server_stop(server);
	ms_close(b);
}

/* --- configurations ------------------------------------------------------- */

static void refuse(struct nbd_server_export export, const char *listen,
		   const char *part)
{
	struct nbd_server_config config = {
		.exports = &export, .export_count = 1, .listen = listen};
	struct nbd_server *server = NULL;

	CHECK_EQ(nbd_server_open(&config, &server), -EINVAL);
	CHECK_HAS(memsync_error(), part);
}

static void test_configurations(void)
{
	struct ms_backend *b = NULL;
	struct nbd_server_config none = {0};
	struct nbd_server *server = NULL;

	CHECK_EQ(ms_open("memory:size=64K", &b), 0);
	struct nbd_server_export e = {.name = "e", .backend = b};
	refuse(e, "nbd://x:1/name", "nbd://x:1/name");
	e.block_minimum = 3;
	refuse(e, NULL, "minimum block of 3");
	e.block_minimum = 128 << 10;
	refuse(e, NULL, "minimum block");
	e.block_minimum = 512;
	e.block_preferred = 256;
	refuse(e, NULL, "preferred block of 256");
	e.block_preferred = 0;
	e.block_maximum = 1000;
	refuse(e, NULL, "maximum block of 1000");
	e.block_maximum = NBD_BLOCK_MAX * 2;
	refuse(e, NULL, "maximum block");
	CHECK_EQ(nbd_server_open(&none, &server), -EINVAL);
	struct nbd_server_export twice[2] = {{.name = "a", .backend = b},
					     {.name = "a", .backend = b}};
	none.exports = twice;
	none.export_count = 2;
	CHECK_EQ(nbd_server_open(&none, &server), -EINVAL);
	CHECK_HAS(memsync_error(), "two exports");
	none.export_count = 1;
	none.tls_mode = NBD_TLS_ON;
	CHECK_EQ(nbd_server_open(&none, &server), -EINVAL);
	ms_close(b);
}

int main(void)
{
	test_ways_in();
	test_transmit();
	test_order();
	test_operations();
	test_zeros();
	test_back_pressure();
	test_serial();
	test_many();
	test_padding();
	test_several();
	test_configurations();
	return 0;
}

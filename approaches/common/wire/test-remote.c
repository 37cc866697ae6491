/* SPDX-License-Identifier: Apache-2.0 */
/* Client and server together: every operation over every transport. */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/wire/loopback.h"
#include "approaches/common/wire/test-wire.h"

#define MIB (UINT64_C(1) << 20)

static struct ms_backend *open_over(const char *spec, const char *transport)
{
	struct ms_backend *child = NULL;
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open(spec, &child), 0);
	if (ms_wire_loopback(child, transport, &b)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return b;
}

static void test_reads(const char *transport)
{
	static const uint64_t lengths[] = {1,	  4095,	  4096,	   4097,
					   65536, 131073, 1048577, 5 * MIB + 3};
	struct ms_backend *b = open_over("memory:size=9M,seed=7", transport);
	char *buf = malloc(6 * MIB);

	CHECK(buf);
	CHECK_EQ(ms_size(b), 9 * MIB);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint64_t n = lengths[i];
		uint64_t offset = 9 * MIB - n - i;
		memset(buf, 0, 6 * MIB);
		CHECK_EQ(ms_read_at(b, buf, n, offset), 0);
		CHECK(ms_pattern_check(7, offset, buf, n, NULL));
		CHECK_EQ(buf[n], 0);
	}
	CHECK_EQ(ms_read_at(b, buf, 0, 9 * MIB), 0);
	CHECK_EQ(ms_read_at(b, buf, 1, 9 * MIB), -ERANGE);
	free(buf);
	ms_close(b);
}

static void test_writes(const char *transport)
{
	struct ms_backend *b = open_over("memory:size=4M", transport);
	char *out = malloc(3 * MIB);
	char *in = malloc(3 * MIB);

	CHECK(in && out);
	ms_pattern_fill(3, 0, out, 3 * MIB);
	CHECK_EQ(ms_write_at(b, out, 3 * MIB - 5, 77), 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_read_at(b, in, 3 * MIB - 5, 77), 0);
	CHECK(memcmp(in, out, 3 * MIB - 5) == 0);
	struct ms_io fua = task_write(out, 4097, 1, MS_URGENT);
	fua.flags = MS_FUA;
	CHECK_EQ(ms_wait(b, &fua), 0);
	CHECK_EQ(ms_zero_at(b, MIB, 100), 0);
	CHECK_EQ(ms_read_at(b, in, MIB + 2, 99), 0);
	CHECK_EQ(in[0], out[98]);
	CHECK(ms_is_zero(in + 1, MIB));
	CHECK_EQ(in[MIB + 1], out[MIB + 100 - 77]);
	struct ms_io trim = {.op = MS_OP_TRIM, .offset = 0, .length = 2 * MIB};
	CHECK_EQ(ms_wait(b, &trim), 0);
	free(in);
	free(out);
	ms_close(b);
}

static void test_others(const char *transport)
{
	struct ms_backend *b = open_over("memory:size=1M", transport);
	struct ms_extent extents[8];
	uint8_t hash[16] = {0};
	uint8_t same[16] = {0};
	char byte = 1;

	CHECK_EQ(ms_write_at(b, &byte, 1, 300000), 0);
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = MIB,
			   .buf = extents,
			   .extents_max = 8};
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK(io.extents_used >= 1 && extents[0].offset == 0);
	uint64_t end = 0;
	for (size_t i = 0; i < io.extents_used; i++) {
		CHECK_EQ(extents[i].offset, end);
		end += extents[i].length;
	}
	CHECK_EQ(end, MIB);
	if (b->caps & MS_CAN_HASH) {
		struct ms_io h = {.op = MS_OP_HASH, .length = MIB, .buf = hash};
		CHECK_EQ(ms_wait(b, &h), 0);
		h.buf = same;
		CHECK_EQ(ms_wait(b, &h), 0);
		CHECK(memcmp(hash, same, 16) == 0 && !ms_is_zero(hash, 16));
	}
	CHECK_EQ(ms_resize(b, 2 * MIB + 1), 0);
	CHECK_EQ(ms_size(b), 2 * MIB + 1);
	CHECK_EQ(ms_write_at(b, &byte, 1, 2 * MIB), 0);
	CHECK_EQ(ms_resize(b, 4095), 0);
	CHECK_EQ(ms_read_at(b, &byte, 1, 4095), -ERANGE);
	CHECK_EQ(ms_read_at(b, &byte, 1, 4094), 0);
	ms_close(b);
}

static void test_sizes(const char *transport)
{
	static const unsigned sizes[] = {0, 1, 4095, 4096, 4097};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char spec[64];
		char buf[4097];
		(void)snprintf(spec, sizeof(spec), "memory:size=%u,seed=%u",
			       sizes[i], sizes[i] ? 5 : 0);
		struct ms_backend *b = open_over(spec, transport);
		CHECK_EQ(ms_size(b), sizes[i]);
		CHECK_EQ(ms_read_at(b, buf, sizes[i], 0), 0);
		CHECK(ms_pattern_check(5, 0, buf, sizes[i], NULL));
		CHECK_EQ(ms_read_at(b, buf, 1, sizes[i]), -ERANGE);
		CHECK_EQ(ms_sync(b), 0);
		ms_close(b);
	}
}

static void test_read_only(void)
{
	struct hold *h = hold_open(MIB, 1);
	struct ms_server *server = serve(&h->base, "pair://", true);
	struct ms_backend *b = client(server, "");
	char c = 0;

	CHECK_EQ(ms_read_at(b, &c, 1, 5), 0);
	CHECK_EQ(ms_write_at(b, &c, 1, 5), -EROFS);
	CHECK_EQ(ms_zero_at(b, 1, 5), -EROFS);
	CHECK_EQ(ms_resize(b, 5), -EROFS);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* What a store reports arrives as what it was. */
static void test_errors(void)
{
	static const int errors[] = {-EIO,    -ENOSPC,	  -EDQUOT,
				     -ENOMEM, -ETIMEDOUT, -EBADMSG};
	struct hold *h = hold_open(MIB, 1);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, "");
	static char buf[65536];

	hold_set(h, true);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct task t;
		task_start(b, &t, task_read(buf, 4096, 0, MS_URGENT));
		hold_await(h, 1);
		hold_release(h, 0, errors[i]);
		CHECK_EQ(task_wait(&t), errors[i]);
		task_start(b, &t, task_write(buf, 65536, 0, MS_BULK));
		hold_await(h, 1);
		hold_release(h, 0, errors[i]);
		CHECK_EQ(task_wait(&t), errors[i]);
		CHECK_STR(t.io.origin, "remote");
	}
	hold_off(h);
	/* The connection is as good as before. */
	CHECK_EQ(ms_read_at(b, buf, 4096, 0), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void test_exports(void)
{
	struct ms_backend *a = NULL;
	struct ms_backend *z = NULL;
	struct ms_backend *b = NULL;
	struct ms_server *server = NULL;
	char uri[400];

	CHECK_EQ(ms_open("memory:size=1000", &a), 0);
	CHECK_EQ(ms_open("memory:size=2000", &z), 0);
	struct ms_server_export exports[] = {{.name = "a", .backend = a},
					     {.name = "z", .backend = z}};
	struct ms_server_config config = {.exports = exports,
					  .export_count = 2,
					  .listen = "tcp://127.0.0.1:0"};
	CHECK_EQ(ms_server_open(&config, &server), 0);
	(void)snprintf(uri, sizeof(uri), "%s/z", ms_server_uri(server));
	CHECK_EQ(ms_open(uri, &b), 0);
	CHECK_EQ(ms_size(b), 2000);
	ms_close(b);
	CHECK_EQ(ms_open(ms_server_uri(server), &b), 0);
	CHECK_EQ(ms_size(b), 1000);
	ms_close(b);
	(void)snprintf(uri, sizeof(uri), "%s/nope", ms_server_uri(server));
	CHECK_EQ(ms_open(uri, &b), -ENOENT);
	CHECK_HAS(memsync_error(), "no such export");
	ms_server_stop(server);
	ms_close(a);
	ms_close(z);
	/* And nobody there at all. */
	CHECK_EQ(ms_open(uri, &b), -ECONNREFUSED);
}

int main(void)
{
	static const char *const transports[] = {"pair", "unix", "tcp"};

	for (size_t i = 0; i < 3; i++) {
		test_reads(transports[i]);
		test_writes(transports[i]);
		test_others(transports[i]);
		test_sizes(transports[i]);
	}
	test_read_only();
	test_errors();
	test_exports();
	return 0;
}

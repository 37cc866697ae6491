/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD protocol's bytes: bounds of everything that a peer sends, checks of
 * requests, block status, errors, URIs. */
#include "approaches/nbd/nbd-proto.h"
#include "approaches/nbd/nbd-uri.h"
#include "tests/check.h"

#include <errno.h>

/* --- handshake ------------------------------------------------------------ */

static void test_greeting(void)
{
	uint8_t out[NBD_GREETING_BYTES];
	uint32_t flags = 0;

	nbd_put_greeting(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES, out);
	CHECK(memcmp(out, "NBDMAGICIHAVEOPT\0\3", sizeof(out)) == 0);
	CHECK_EQ(nbd_get_client_flags((const uint8_t *)"\0\0\0\3", &flags), 0);
	CHECK_EQ(flags, 3);
	CHECK_EQ(nbd_get_client_flags((const uint8_t *)"\0\0\0\4", &flags),
		 -EPROTO);
	CHECK_EQ(nbd_get_client_flags((const uint8_t *)"\200\0\0\1", &flags),
		 -EPROTO);
}

static void test_option(void)
{
	uint8_t in[NBD_OPTION_BYTES] = "IHAVEOPT\0\0\0\7\377\377\377\377";
	uint8_t out[NBD_OPTION_REPLY_BYTES];
	struct nbd_option option;

	in[15] = 0xff;
	CHECK_EQ(nbd_get_option(in, &option), 0);
	CHECK_EQ(option.type, NBD_OPT_GO);
	CHECK_EQ(option.length, UINT32_MAX);
	for (size_t i = 0; i < 8; i++) {
		in[i] ^= 1;
		CHECK_EQ(nbd_get_option(in, &option), -EPROTO);
		in[i] ^= 1;
	}
	nbd_put_option_reply(6, NBD_REP_ERR_UNKNOWN, 5, out);
	CHECK(memcmp(out,
		     "\0\3\350\211\4\125\145\251\0\0\0\6\200\0\0\6\0\0\0\5",
		     sizeof(out)) == 0);
}

/* Every length that is cut or lied about is refused, and nothing read behind
 * the end: the data lie at the end of an allocation of their size. */
static int info(const char *bytes, size_t n, struct nbd_info_request *ret)
{
	uint8_t *data = malloc(n ? n : 1);

	CHECK(data);
	memcpy(data, bytes, n);
	int rc = nbd_get_info_request(data, n, ret);
	if (rc == 0 && ret->name.length)
		CHECK(nbd_string_is(&ret->name, "disk"));
	free(data);
	return rc;
}

static void test_info(void)
{
	static const char good[] = "\0\0\0\4disk\0\3\0\0\0\3\377\377";
	struct nbd_info_request r;

	CHECK_EQ(info(good, 16, &r), 0);
	CHECK_EQ(r.wanted, 1U << NBD_INFO_EXPORT | 1U << NBD_INFO_BLOCK_SIZE);
	for (size_t i = 0; i < 16; i++)
		CHECK_EQ(info(good, i, &r), -EINVAL);
	CHECK_EQ(info("\0\0\0\0\0\0", 6, &r), 0);
	CHECK_EQ(r.name.length, 0);
	CHECK_EQ(r.wanted, 0);
	CHECK_EQ(info("\0\0\0\0\0\0\0", 7, &r), -EINVAL);
	CHECK_EQ(info("\377\377\377\377\0\0", 6, &r), -EINVAL);
	CHECK_EQ(info("\0\0\0\0\377\377", 6, &r), -EINVAL);
	CHECK_EQ(info("\0\0\0\4di\0k\0\0", 10, &r), -EINVAL);
}

static int meta(const char *bytes, size_t n, struct nbd_meta_request *ret)
{
	uint8_t *data = malloc(n ? n : 1);

	CHECK(data);
	memcpy(data, bytes, n);
	int rc = nbd_get_meta_request(data, n, ret);
	if (rc == 0 && ret->query_count)
		CHECK(nbd_string_is(&ret->queries[0], "base:allocation"));
	free(data);
	return rc;
}

static void test_meta(void)
{
	static const char good[] = "\0\0\0\1x\0\0\0\2\0\0\0\17base:allocation"
				   "\0\0\0\0";
	struct nbd_meta_request r;

	CHECK_EQ(meta(good, sizeof(good) - 1, &r), 0);
	CHECK_EQ(r.query_count, 2);
	CHECK_EQ(r.queries[1].length, 0);
	for (size_t i = 0; i < sizeof(good) - 1; i++)
		CHECK_EQ(meta(good, i, &r), -EINVAL);
	CHECK_EQ(meta(good, sizeof(good), &r), -EINVAL);
	CHECK_EQ(meta("\0\0\0\0\0\0\0\0", 8, &r), 0);
	CHECK_EQ(meta("\0\0\0\0\377\377\377\377", 8, &r), -E2BIG);
	CHECK_EQ(meta("\0\0\0\0\0\0\1\1", 8, &r), -E2BIG);
	CHECK_EQ(meta("\0\0\0\0\0\0\1\0", 8, &r), -EINVAL);
}

static void test_replies(void)
{
	uint8_t out[10 + NBD_EXPORT_NAME_PAD];
	static const uint32_t sizes[3] = {1, 4096, 32 << 20};

	memset(out, 0xff, sizeof(out));
	CHECK_EQ(nbd_put_export_name_reply(258, 5, true, out), 10);
	CHECK(memcmp(out, "\0\0\0\0\0\0\1\2\0\5", 10) == 0);
	CHECK_EQ(nbd_put_export_name_reply(258, 5, false, out), 134);
	for (size_t i = 10; i < sizeof(out); i++)
		CHECK_EQ(out[i], 0);
	CHECK_EQ(nbd_put_info_export(258, 5, out), 12);
	CHECK(memcmp(out, "\0\0\0\0\0\0\0\0\1\2\0\5", 12) == 0);
	CHECK_EQ(nbd_put_info_blocks(sizes, out), 14);
	CHECK(memcmp(out, "\0\3\0\0\0\1\0\0\20\0\2\0\0\0", 14) == 0);
}

/* --- requests ------------------------------------------------------------- */

static void test_request_bytes(void)
{
	struct nbd_request r = {.flags = 0x0102,
				.type = 0x0304,
				.cookie = 0x05060708090a0b0c,
				.offset = 0x0d0e0f1011121314,
				.length = 0x15161718};
	struct nbd_request back;
	uint8_t bytes[NBD_REQUEST_BYTES];

	nbd_put_request(&r, bytes);
	CHECK(memcmp(bytes, "\x25\x60\x95\x13", 4) == 0);
	for (unsigned i = 4; i < sizeof(bytes); i++)
		CHECK_EQ(bytes[i], i - 3);
	CHECK_EQ(nbd_get_request(bytes, &back), 0);
	CHECK(back.flags == r.flags && back.type == r.type &&
	      back.cookie == r.cookie && back.offset == r.offset &&
	      back.length == r.length);
	bytes[3] ^= 1;
	CHECK_EQ(nbd_get_request(bytes, &back), -EPROTO);
}

static void test_checks(void)
{
	const struct nbd_limits plain = {.size = 1 << 20,
					 .block_minimum = 512,
					 .block_maximum = 64 << 10,
					 .structured = true,
					 .block_status = true};
	struct nbd_limits ro = plain;
	struct nbd_limits simple = plain;
	ro.read_only = true;
	simple.structured = simple.block_status = false;
	const struct {
		const struct nbd_limits *limits;
		struct nbd_request r;
		int rc;
	} cases[] = {
		{&plain, {0, NBD_CMD_READ, 0, 0, 512}, 0},
		{&plain, {0, NBD_CMD_READ, 0, (1 << 20) - 512, 512}, 0},
		{&plain, {0, NBD_CMD_READ, 0, 1 << 20, 0}, 0},
		{&plain, {0, NBD_CMD_READ, 0, 1 << 20, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_READ, 0, UINT64_MAX, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_READ, 0, UINT64_MAX - 511, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_READ, 0, 1, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_READ, 0, 0, 511}, -EINVAL},
		{&plain, {0, NBD_CMD_READ, 0, 0, 64 << 10}, 0},
		{&plain, {0, NBD_CMD_READ, 0, 0, 65 << 10}, -EINVAL},
		{&plain, {4, NBD_CMD_READ, 0, 0, 65 << 10}, -EOVERFLOW},
		{&plain, {0, NBD_CMD_READ, 0, 0, UINT32_MAX}, -EINVAL},
		{&plain, {NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, 0, 512}, 0},
		{&simple, {NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, 0, 512}, -EINVAL},
		{&plain, {NBD_CMD_FLAG_FUA, NBD_CMD_READ, 0, 0, 512}, 0},
		{&plain, {0x20, NBD_CMD_READ, 0, 0, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_WRITE, 0, 0, 512}, 0},
		{&plain, {NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 0, 0, 512}, 0},
		{&plain, {2, NBD_CMD_WRITE, 0, 0, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_WRITE, 0, 1 << 20, 512}, -ENOSPC},
		{&plain, {0, NBD_CMD_WRITE, 0, 0, 65 << 10}, -EINVAL},
		{&ro, {0, NBD_CMD_WRITE, 0, 0, 512}, -EPERM},
		{&ro, {0, NBD_CMD_TRIM, 0, 0, 512}, -EPERM},
		{&ro, {0, NBD_CMD_WRITE_ZEROES, 0, 0, 512}, -EPERM},
		{&ro, {0, NBD_CMD_FLUSH, 0, 0, 0}, 0},
		{&plain, {0, NBD_CMD_FLUSH, 0, 512, 0}, -EINVAL},
		{&plain, {0, NBD_CMD_FLUSH, 0, 0, 1}, -EINVAL},
		{&plain, {0, NBD_CMD_TRIM, 0, 0, 1 << 20}, 0},
		{&plain, {0, NBD_CMD_TRIM, 0, 512, 1 << 20}, -EINVAL},
		{&plain, {0x12, NBD_CMD_WRITE_ZEROES, 0, 0, 512}, 0},
		{&plain, {0, NBD_CMD_WRITE_ZEROES, 0, 512, 1 << 20}, -ENOSPC},
		{&ro, {0, NBD_CMD_CACHE, 0, 0, 1 << 20}, 0},
		{&plain, {0, NBD_CMD_BLOCK_STATUS, 0, 0, 1 << 20}, 0},
		{&plain, {8, NBD_CMD_BLOCK_STATUS, 0, 0, 512}, 0},
		{&plain, {0, NBD_CMD_BLOCK_STATUS, 0, 0, 0}, -EINVAL},
		{&simple, {0, NBD_CMD_BLOCK_STATUS, 0, 0, 512}, -EINVAL},
		{&plain, {0, NBD_CMD_COUNT, 0, 0, 512}, -EINVAL},
		{&plain, {0, 0xffff, 0, 0, 0}, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc = nbd_check_request(&cases[i].r, cases[i].limits);
		if (rc != cases[i].rc)
			(void)fprintf(stderr, "case %zu\n", i);
		CHECK_EQ(rc, cases[i].rc);
	}
}

static void test_reply_bytes(void)
{
	uint8_t out[64];

	nbd_put_simple(-ENOSPC, 0x0102030405060708, out);
	CHECK(memcmp(out, "\x67\x44\x66\x98\0\0\0\x1c\1\2\3\4\5\6\7\10", 16) ==
	      0);
	nbd_put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_ERROR, 0x0102030405060708, 9,
		      out);
	CHECK(memcmp(out,
		     "\x66\x8e\x33\xef\0\1\200\1\1\2\3\4\5\6\7\10\0\0\0\11",
		     20) == 0);
	CHECK_EQ(nbd_put_error(-EIO, "abc", out, sizeof(out)), 9);
	CHECK(memcmp(out, "\0\0\0\5\0\3abc", 9) == 0);
	/* A text that does not fit is cut. */
	CHECK_EQ(nbd_put_error(-EIO, "abc", out, 8), 8);
	CHECK_EQ(out[5], 2);
}

/* --- block status --------------------------------------------------------- */

static void check_status(const struct nbd_status_range *range,
			 const struct ms_extent *extents, size_t count,
			 const uint32_t *want)
{
	uint8_t out[64 * NBD_DESCRIPTOR_BYTES];
	size_t n = nbd_put_status(range, extents, count, out);
	size_t i = 0;

	CHECK(n <= 2 * count + 2);
	for (; want[2 * i]; i++) {
		CHECK(i < n);
		CHECK_EQ(nbd_get_u32(out + 8 * i), want[2 * i]);
		CHECK_EQ(nbd_get_u32(out + 8 * i + 4), want[2 * i + 1]);
	}
	CHECK_EQ(n, i);
}

#define STATUS(range, extents, ...)                            \
	check_status(&(struct nbd_status_range)range, extents, \
		     sizeof(extents) / sizeof((extents)[0]),   \
		     (const uint32_t[]){__VA_ARGS__, 0, 0})
#define RANGE(...)          \
	{                   \
		__VA_ARGS__ \
	}

static void test_status(void)
{
	const struct ms_extent mixed[] = {{0, 1000, MS_EXTENT_DATA},
					  {1000, 3096, MS_EXTENT_HOLE},
					  {4096, 4096, MS_EXTENT_ZERO},
					  {8192, 904, MS_EXTENT_HOLE}};
	const struct ms_extent same[] = {{0, 10, MS_EXTENT_DATA},
					 {10, 10, MS_EXTENT_DATA}};
	const struct ms_extent longer[] = {{0, 1 << 20, MS_EXTENT_HOLE}};
	const struct ms_extent small[] = {{0, 100, MS_EXTENT_HOLE}};

	STATUS(RANGE(0, 9096, 1, false), mixed, 1000, 0, 3096, 3, 4096, 2, 904,
	       3);
	/* A block of two kinds is data; of two kinds of zeros, zeros. */
	STATUS(RANGE(0, 9216, 512, true), mixed, 1024, 0, 3072, 3, 4096, 2,
	       1024, 3);
	STATUS(RANGE(0, 16384, 8192, true), mixed, 8192, 0, 8192, 3);
	/* Neighbours of one kind are one; what is asked for bounds it. */
	STATUS(RANGE(0, 20, 1, false), same, 20, 0);
	STATUS(RANGE(4096, 8192, 4096, false), longer, 8192, 3);
	/* Too little to say anything about a block: data. */
	STATUS(RANGE(0, 8192, 4096, false), small, 4096, 0);
	STATUS(RANGE(0, 4096, 4096, true), small, 4096, 3);
}

/* --- errors, URIs --------------------------------------------------------- */

static void test_errors(void)
{
	static const int both[] = {EPERM,  EIO,	      ENOMEM,	  EINVAL,
				   ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN};

	for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++)
		CHECK_EQ(nbd_errno_of(nbd_error_of(-both[i])), -both[i]);
	CHECK_EQ(nbd_error_of(0), 0);
	CHECK_EQ(nbd_errno_of(0), 0);
	CHECK_EQ(nbd_error_of(-EROFS), 1);
	CHECK_EQ(nbd_error_of(-ERANGE), 22);
	CHECK_EQ(nbd_error_of(-EDQUOT), 28);
	CHECK_EQ(nbd_error_of(-ETIMEDOUT), 5);
	CHECK_EQ(nbd_errno_of(9999), -EINVAL);
}

static void test_uris(void)
{
	static const struct {
		const char *text;
		const char *scheme; /* NULL: refused */
		const char *host;
		const char *port;
	} cases[] = {
		{"nbd://localhost/", "tcp", "localhost", "10809"},
		{"nbd://localhost", "tcp", "localhost", "10809"},
		{"nbd://127.0.0.1:0/", "tcp", "127.0.0.1", "0"},
		{"nbd://[::1]:5/", "tcp", "::1", "5"},
		{"nbd://[::1]", "tcp", "::1", "10809"},
		{"tcp://h:1", "tcp", "h", "1"},
		{"unix:///tmp/s", "unix", "/tmp/s", ""},
		{"nbd+unix:///?socket=/tmp/a%20b", "unix", "/tmp/a b", ""},
		{"nbd://h:1/name", NULL, NULL, NULL},
		{"nbd://h:65536/", NULL, NULL, NULL},
		{"nbd://[::1", NULL, NULL, NULL},
		{"nbd://", NULL, NULL, NULL},
		{"nbds://h:1/", NULL, NULL, NULL},
		{"tcp://h:1/name", NULL, NULL, NULL},
		{"nbd+unix:///?socket=", NULL, NULL, NULL},
		{"nbd+unix:///?socket=/a%0", NULL, NULL, NULL},
		{"nbd+unix:///?socket=/a%00b", NULL, NULL, NULL},
		{"nbd+unix:///?socket=/a%zz", NULL, NULL, NULL},
		{"nbd+unix:///?socket=/a?b", NULL, NULL, NULL},
		{"pair://x", NULL, NULL, NULL},
		{"", NULL, NULL, NULL},
	};
	char out[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ms_uri uri;
		int rc = nbd_uri_parse(cases[i].text, &uri);
		if (rc != (cases[i].scheme ? 0 : -EINVAL))
			(void)fprintf(stderr, "case %s\n", cases[i].text);
		CHECK_EQ(rc, cases[i].scheme ? 0 : -EINVAL);
		if (rc)
			continue;
		CHECK_STR(uri.scheme, cases[i].scheme);
		CHECK_STR(uri.host, cases[i].host);
		CHECK_STR(uri.port, cases[i].port);
	}
	nbd_uri_format("tcp://[::1]:7", true, out, sizeof(out));
	CHECK_STR(out, "nbds://[::1]:7/");
	nbd_uri_format("unix:///tmp/a b&c", false, out, sizeof(out));
	CHECK_STR(out, "nbd+unix:///?socket=/tmp/a%20b%26c");
	nbd_uri_format("unix:///tmp/a b", false, out, 28);
	CHECK(strlen(out) < 28);
}

int main(void)
{
	test_greeting();
	test_option();
	test_info();
	test_meta();
	test_replies();
	test_request_bytes();
	test_checks();
	test_reply_bytes();
	test_status();
	test_errors();
	test_uris();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol on bytes: what goes out comes back, both sides of each bound,
 * and the example in PROTOCOL.md byte for byte.
 */
#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/uri.h"
#include "tests/check.h"

#include <errno.h>

#define KIB 1024U

/* --- handshake ------------------------------------------------------------ */

static struct ms_hello example_hello(void)
{
	struct ms_hello h = {.version_min = 1,
			     .version_max = 1,
			     .features = MS_PROTO_FEATURE_WATCH,
			     .request_max = 256 * KIB,
			     .lane = MS_LANE_URGENT,
			     .role = MS_ROLE_TARGET,
			     .name = "disk"};

	for (unsigned i = 0; i < MS_PROTO_ID_BYTES; i++)
		h.token[i] = (uint8_t)(0xa0 + i);
	return h;
}

static struct ms_welcome example_welcome(void)
{
	struct ms_hello h = example_hello();
	struct ms_welcome w = {.version = 1,
			       .features = MS_PROTO_FEATURE_WATCH,
			       .size = 1 << 20,
			       .block = 1,
			       .chunk = 64 * KIB,
			       .request_max = 256 * KIB,
			       .caps = MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO |
				       MS_CAN_EXTENTS,
			       .extents_max = 4096,
			       .requests_max = 16384};

	memcpy(w.token, h.token, sizeof(w.token));
	for (unsigned i = 0; i < MS_PROTO_ID_BYTES; i++)
		w.instance[i] = (uint8_t)(0x10 + i);
	return w;
}

static void test_hello(void)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello h = example_hello();
	struct ms_hello back;
	size_t length = 0;

	size_t n = ms_proto_put_hello(&h, buf);
	CHECK_EQ(n, MS_PROTO_HELLO_BYTES + 4);
	CHECK_EQ(ms_proto_hello_length(buf, MS_PROTO_HELLO_BYTES, &length), 0);
	CHECK_EQ(length, n);
	CHECK_EQ(ms_proto_get_hello(buf, n, &back), 0);
	CHECK_EQ(back.request_max, h.request_max);
	CHECK_EQ(back.lane, h.lane);
	CHECK_STR(back.name, "disk");
	CHECK(memcmp(back.token, h.token, sizeof(h.token)) == 0);
	CHECK_EQ(ms_proto_get_hello(buf, n - 1, &back), -EPROTO);
	/* The longest name fits, and a longer hello is for the future. */
	memset(h.name, 'n', MS_PROTO_NAME_MAX);
	n = ms_proto_put_hello(&h, buf);
	CHECK_EQ(n, MS_PROTO_HELLO_BYTES + MS_PROTO_NAME_MAX);
	CHECK_EQ(ms_proto_get_hello(buf, n, &back), 0);
	CHECK_EQ(strlen(back.name), MS_PROTO_NAME_MAX);
	memset(buf + n, 'x', 100);
	n += 100;
	buf[12] = (uint8_t)n;
	buf[13] = (uint8_t)(n >> 8);
	CHECK_EQ(ms_proto_get_hello(buf, n, &back), 0);
	CHECK_EQ(strlen(back.name), MS_PROTO_NAME_MAX);
	/* With RESUME its slot is behind the name, and must be there. */
	h.features |= MS_PROTO_FEATURE_RESUME;
	h.slot = 0x01020304;
	h.generation = UINT32_MAX;
	n = ms_proto_put_hello(&h, buf);
	CHECK_EQ(n, MS_PROTO_HELLO_BYTES + MS_PROTO_NAME_MAX +
			    MS_PROTO_RESUME_BYTES);
	CHECK_EQ(ms_proto_get_hello(buf, n, &back), 0);
	CHECK_EQ(back.slot, h.slot);
	CHECK_EQ(back.generation, h.generation);
	for (size_t less = 1; less <= MS_PROTO_RESUME_BYTES; less++) {
		buf[12] = (uint8_t)(n - less);
		buf[13] = (uint8_t)((n - less) >> 8);
		CHECK_EQ(ms_proto_get_hello(buf, n - less, &back), -EPROTO);
	}
	buf[12] = (uint8_t)n;
	buf[13] = (uint8_t)(n >> 8);
	/* Without a session it means nothing. */
	memset(buf + 24, 0, MS_PROTO_ID_BYTES);
	CHECK_EQ(ms_proto_get_hello(buf, n, &back), -EPROTO);
}

static void test_hello_length(void)
{
	static const struct {
		uint32_t length;
		int rc;
	} cases[] = {{0, -EPROTO},
		     {MS_PROTO_HELLO_BYTES - 1, -EPROTO},
		     {MS_PROTO_HELLO_BYTES, 0},
		     {MS_PROTO_HELLO_MAX, 0},
		     {MS_PROTO_HELLO_MAX + 1, -EPROTO},
		     {UINT32_MAX, -EPROTO}};
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello h = example_hello();
	size_t length = 0;

	(void)ms_proto_put_hello(&h, buf);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int k = 0; k < 4; k++)
			buf[12 + k] = (uint8_t)(cases[i].length >> (8 * k));
		CHECK_EQ(ms_proto_hello_length(buf, MS_PROTO_HELLO_BYTES,
					       &length),
			 cases[i].rc);
	}
}

static void test_welcome(void)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_welcome w = example_welcome();
	struct ms_welcome back;

	size_t n = ms_proto_put_welcome(&w, buf);
	CHECK_EQ(n, MS_PROTO_WELCOME_BYTES);
	CHECK_EQ(ms_proto_get_welcome(buf, n, &back), 0);
	CHECK_EQ(back.size, w.size);
	CHECK_EQ(back.caps, w.caps);
	CHECK_EQ(back.chunk, w.chunk);
	CHECK(memcmp(back.instance, w.instance, sizeof(w.instance)) == 0);
	w.size = INT64_MAX;
	w.block = MS_PROTO_REQUEST_MIN;
	w.request_max = MS_PROTO_REQUEST_MIN;
	n = ms_proto_put_welcome(&w, buf);
	CHECK_EQ(ms_proto_get_welcome(buf, n, &back), 0);
	w.request_max = MS_PROTO_REQUEST_MIN - 1;
	n = ms_proto_put_welcome(&w, buf);
	CHECK_EQ(ms_proto_get_welcome(buf, n, &back), -EPROTO);
	/* A refusal brings its reason, with nothing a terminal obeys. */
	w = (struct ms_welcome){.status = -ENOENT, .text = "no\033[2J such"};
	n = ms_proto_put_welcome(&w, buf);
	CHECK_EQ(ms_proto_get_welcome(buf, n, &back), 0);
	CHECK_EQ(back.status, -ENOENT);
	CHECK_STR(back.text, "no?[2J such");
}

/* --- frames --------------------------------------------------------------- */

static int request_rc(struct ms_request r)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];
	struct ms_request back;

	ms_proto_put_request(&r, buf);
	int rc = ms_proto_get_request(buf, 256 * KIB, &back);
	if (rc == 0) {
		CHECK_EQ(back.op, r.op);
		CHECK_EQ(back.flags, r.flags);
		CHECK_EQ(back.id, r.id);
		CHECK_EQ(back.offset, r.offset);
		CHECK_EQ(back.length, r.length);
		CHECK_EQ(back.count, r.count);
	}
	return rc;
}

#define REQUEST(...) request_rc((struct ms_request){__VA_ARGS__})

static void test_requests(void)
{
	CHECK_EQ(REQUEST(.op = MS_PROTO_READ, .id = UINT64_MAX,
			 .offset = UINT64_MAX - 5, .length = 5),
		 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_READ, .offset = UINT64_MAX - 5,
			 .length = 6),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_READ, .length = 256 * KIB), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_READ, .length = 256 * KIB + 1),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_WRITE, .length = 256 * KIB,
			 .flags = MS_PROTO_FUA | MS_PROTO_URGENT),
		 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_WRITE, .length = 256 * KIB + 1),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_WRITE, .flags = MS_PROTO_SIZE),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_ZERO, .length = UINT64_MAX), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_EXTENTS, .count = 1, .length = 1), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_EXTENTS, .count = 4096, .length = 1),
		 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_EXTENTS, .count = 4097, .length = 1),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_EXTENTS, .length = 1), -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_RESIZE, .offset = INT64_MAX), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_RESIZE, .offset = INT64_MAX + 1ULL),
		 -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_WATCH, .length = 1), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_WATCH, .length = 2), -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_SYNC), 0);
	CHECK_EQ(REQUEST(.op = MS_PROTO_SYNC, .count = 1), -EPROTO);
	CHECK_EQ(REQUEST(.op = MS_PROTO_CHANGED), -EPROTO);
	CHECK_EQ(REQUEST(.op = 0), -EPROTO);
	CHECK_EQ(REQUEST(.op = 13), -EPROTO);
}

static int match_rc(struct ms_request request, struct ms_reply reply)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];
	struct ms_reply back;

	ms_proto_put_reply(&reply, buf);
	int rc = ms_proto_get_reply(buf, &back);
	return rc ? rc : ms_proto_match(&request, &back);
}

static void test_replies(void)
{
	struct ms_request read = {.op = MS_PROTO_READ, .length = 100};
	struct ms_request extents = {
		.op = MS_PROTO_EXTENTS, .count = 2, .length = 100};
	struct ms_reply r = {.op = MS_PROTO_READ, .length = 100};

	CHECK_EQ(match_rc(read, r), 0);
	r.length = 99;
	CHECK_EQ(match_rc(read, r), -EPROTO);
	r = (struct ms_reply){.op = MS_PROTO_READ, .status = -EIO};
	CHECK_EQ(match_rc(read, r), 0);
	r.length = 1;
	CHECK_EQ(match_rc(read, r), -EPROTO);
	r = (struct ms_reply){.op = MS_PROTO_EXTENTS, .length = 16};
	CHECK_EQ(match_rc(extents, r), 0);
	r.length = 32;
	CHECK_EQ(match_rc(extents, r), 0);
	r.length = 48;
	CHECK_EQ(match_rc(extents, r), -EPROTO);
	r.length = 17;
	CHECK_EQ(match_rc(extents, r), -EPROTO);
	r.length = 0;
	CHECK_EQ(match_rc(extents, r), -EPROTO);
	r = (struct ms_reply){.op = MS_PROTO_HASH, .length = 16};
	struct ms_request hash = {.op = MS_PROTO_HASH, .length = 5};
	CHECK_EQ(match_rc(hash, r), 0);
	r.length = 15;
	CHECK_EQ(match_rc(hash, r), -EPROTO);
	struct ms_request sync = {.op = MS_PROTO_SYNC};
	r = (struct ms_reply){.op = MS_PROTO_SYNC, .length = 1};
	CHECK_EQ(match_rc(sync, r), -EPROTO);
	r.length = 0;
	CHECK_EQ(match_rc(sync, r), 0);
	r.op = MS_PROTO_READ;
	CHECK_EQ(match_rc(sync, r), -EPROTO);
}

static void test_extents(void)
{
	struct ms_extent in[2] = {
		{.offset = 50, .length = 30},
		{.offset = 80, .length = 20, .type = MS_EXTENT_ZERO}};
	struct ms_request r = {
		.op = MS_PROTO_EXTENTS, .offset = 50, .length = 50, .count = 2};
	struct ms_extent out[2];
	uint8_t buf[32];
	size_t count = 0;

	ms_proto_put_extents(in, 2, buf);
	CHECK_EQ(ms_proto_get_extents(buf, 32, &r, out, &count), 0);
	CHECK_EQ(count, 2);
	CHECK_EQ(out[1].offset, 80);
	CHECK_EQ(out[1].length, 20);
	CHECK_EQ(out[1].type, MS_EXTENT_ZERO);
	r.length = 49;
	CHECK_EQ(ms_proto_get_extents(buf, 32, &r, out, &count), -EPROTO);
}

static void test_status(void)
{
	CHECK_EQ(ms_proto_status(0), 0);
	CHECK_EQ(ms_proto_errno(0), 0);
	/* Every number comes back as an error that has the same number. */
	for (unsigned i = 1; i < 30; i++) {
		int error = ms_proto_errno((uint16_t)i);
		CHECK(error < 0);
		CHECK_EQ(ms_proto_status(error), i < 20 ? i : 1);
	}
	CHECK_EQ(ms_proto_status(-ECONNRESET), ms_proto_status(-ENOTCONN));
	CHECK_EQ(ms_proto_status(-ENOTTY), 1);
	CHECK_EQ(ms_proto_errno(999), -EIO);
}

/* --- addresses ------------------------------------------------------------ */

static void test_uris(void)
{
	static const char *const bad[] = {"",
					  "tcp://",
					  "tcp://host",
					  "tcp://:70",
					  "tcp://h:",
					  "tcp://h:65536",
					  "tcp://h:7x",
					  "tcp://[::1:7",
					  "tcp://[::1]7",
					  "unix://",
					  "unix://rel",
					  "unix:///",
					  "http://h:70",
					  "tcp:/h:70",
					  "tcp://h:-1"};
	struct ms_uri u;

	CHECK_EQ(ms_uri_parse("tcp://host:7000/name/with/slash", &u), 0);
	CHECK_STR(u.host, "host");
	CHECK_STR(u.port, "7000");
	CHECK_STR(u.export_name, "name/with/slash");
	CHECK_EQ(ms_uri_parse("tcp://[fe80::1%eth0]:0", &u), 0);
	CHECK_STR(u.host, "fe80::1%eth0");
	CHECK_STR(u.export_name, "");
	CHECK_EQ(ms_uri_parse("unix:///run/x.sock?disk", &u), 0);
	CHECK_STR(u.host, "/run/x.sock");
	CHECK_STR(u.export_name, "disk");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(ms_uri_parse(bad[i], &u), -EINVAL);
	char text[700]; /* longer than any host name */
	(void)snprintf(text, sizeof(text), "tcp://%0600d:1", 0);
	CHECK_EQ(ms_uri_parse(text, &u), -EINVAL);
}

/* --- the example ---------------------------------------------------------- */

static FILE *example;

/* Append "C: 00 11 ..." lines of 16 bytes, as PROTOCOL.md has them. */
static void say(const char *who, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)fprintf(example, "%s%02x%s", i % 16 ? " " : who,
			      (unsigned)bytes[i],
			      i % 16 == 15 || i == n - 1 ? "\n" : "");
}

static void say_request(struct ms_request request, const char *payload)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];

	ms_proto_put_request(&request, buf);
	say("C: ", buf, sizeof(buf));
	say("C: ", (const uint8_t *)payload,
	    ms_proto_request_payload(&request));
}

static void say_reply(struct ms_reply reply, const char *payload)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];

	ms_proto_put_reply(&reply, buf);
	say("S: ", buf, sizeof(buf));
	say("S: ", (const uint8_t *)payload, ms_proto_reply_payload(&reply));
}

static void say_session(void)
{
	uint8_t buf[MS_PROTO_HELLO_MAX] = {0};
	struct ms_hello hello = example_hello();
	struct ms_welcome welcome = example_welcome();

	say("C: ", buf, ms_proto_put_hello(&hello, buf));
	say("S: ", buf, ms_proto_put_welcome(&welcome, buf));
	say_request((struct ms_request){.op = MS_PROTO_WRITE,
					.id = 1,
					.offset = 4096,
					.length = 5},
		    "hello");
	say_request((struct ms_request){.op = MS_PROTO_READ,
					.flags = MS_PROTO_URGENT,
					.id = 2,
					.offset = 1048570,
					.length = 8},
		    NULL);
	say_reply((struct ms_reply){.op = MS_PROTO_READ,
				    .status = -ERANGE,
				    .id = 2},
		  NULL);
	say_reply((struct ms_reply){.op = MS_PROTO_WRITE, .id = 1}, NULL);
	say_request((struct ms_request){.op = MS_PROTO_SYNC, .id = 3}, NULL);
	say_reply((struct ms_reply){.op = MS_PROTO_SYNC, .id = 3}, NULL);
	say_request((struct ms_request){.op = MS_PROTO_READ,
					.id = 4,
					.offset = 4096,
					.length = 5},
		    NULL);
	say_reply((struct ms_reply){.op = MS_PROTO_READ, .id = 4, .length = 5},
		  "hello");
	say_request((struct ms_request){.op = MS_PROTO_BYE, .id = 5}, NULL);
}

/* The lines of PROTOCOL.md that begin with "C: " or "S: ". */
static void collect(const char *path, FILE *out)
{
	char line[512];
	FILE *f = fopen(path, "re");

	if (!f)
		SKIP("%s cannot be read", path);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "C: ", 3) == 0 ||
		    strncmp(line, "S: ", 3) == 0)
			(void)fputs(line, out);
	CHECK_EQ(fclose(f), 0);
}

static void test_example(void)
{
	const char *top = getenv("TOP");
	char path[4096];
	char *want = NULL;
	char *got = NULL;
	size_t n = 0;

	(void)snprintf(path, sizeof(path),
		       "%s/approaches/common/wire/PROTOCOL.md",
		       top ? top : ".");
	example = open_memstream(&want, &n);
	CHECK(example);
	say_session();
	CHECK_EQ(fclose(example), 0);
	FILE *f = open_memstream(&got, &n);
	CHECK(f);
	collect(path, f);
	CHECK_EQ(fclose(f), 0);
	if (strcmp(got, want) != 0)
		(void)fprintf(stderr, "the example should be:\n%s", want);
	CHECK(strcmp(got, want) == 0);
	free(got);
	free(want);
}

int main(void)
{
	test_hello();
	test_hello_length();
	test_welcome();
	test_requests();
	test_replies();
	test_extents();
	test_status();
	test_uris();
	test_example();
	return 0;
}

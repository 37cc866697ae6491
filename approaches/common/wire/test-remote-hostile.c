/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client among bad servers: cut at every byte, wrong in every field. Every
 * request ends once, with an error, and what it was to fill is not overrun.
 */
#include "approaches/common/wire/test-fake.h"

enum {
	PAYLOAD = 100
};

/* --- handshakes ----------------------------------------------------------- */

static void send_part_of_welcome(int fd, void *arg)
{
	const size_t *bytes = arg;
	struct ms_hello hello;
	uint8_t buf[MS_PROTO_HELLO_MAX];

	fake_hello(fd, &hello);
	struct ms_welcome w = fake_welcome(&hello);
	CHECK(ms_proto_put_welcome(&w, buf) == MS_PROTO_WELCOME_BYTES);
	CHECK(give_bytes(fd, buf, *bytes));
}

static void test_cut_welcomes(void)
{
	for (size_t n = 0; n < MS_PROTO_WELCOME_BYTES; n++) {
		struct fake f;
		struct ms_backend *b = NULL;
		fake_start(&f, send_part_of_welcome, &n, 1);
		CHECK_EQ(fake_client(&f, "", &b), -ECONNRESET);
		CHECK(b == NULL);
		fake_stop(&f);
	}
}

/* One field of the welcome is replaced. */
struct patch {
	size_t at;
	size_t n;
	uint8_t bytes[8];
	int error;
};

static void send_patched_welcome(int fd, void *arg)
{
	const struct patch *patch = arg;
	struct ms_hello hello;
	uint8_t buf[MS_PROTO_HELLO_MAX];

	fake_hello(fd, &hello);
	struct ms_welcome w = fake_welcome(&hello);
	size_t n = ms_proto_put_welcome(&w, buf);
	memcpy(buf + patch->at, patch->bytes, patch->n);
	(void)give_bytes(fd, buf, n);
	expect_end(fd);
}

static void test_wrong_welcomes(void)
{
	static struct patch patches[] = {
		{0, 1, {'M'}, -EPROTO},			       /* magic */
		{8, 2, {2, 0}, -EPROTONOSUPPORT},	       /* version */
		{10, 2, {11, 0}, -ENOENT},		       /* status */
		{10, 2, {0xff, 0xff}, -EIO},		       /* new one */
		{12, 4, {95, 0, 0, 0}, -EPROTO},	       /* short */
		{12, 4, {0, 0, 1, 0}, -EPROTO},		       /* long */
		{12, 4, {0xff, 0xff, 0xff, 0xff}, -EPROTO},    /* longer */
		{16, 1, {0xff}, -EPROTO},		       /* features */
		{24, 1, {0xaa}, -EPROTO},		       /* token */
		{56, 8, {0, 0, 0, 0, 0, 0, 0, 0x80}, -EPROTO}, /* size */
		{64, 4, {0, 0, 0, 0}, -EPROTO},		       /* block */
		{64, 4, {3, 0, 0, 0}, -EPROTO},
		{64, 4, {0, 0, 0, 0x80}, -EPROTO},
		{72, 4, {0, 0, 0, 0}, -EPROTO}, /* request_max */
		{72, 4, {1, 0, 0, 0x7f}, -EPROTO},
		{80, 4, {0, 0, 0, 0}, -EPROTO}, /* extents_max */
		{80, 4, {0, 0, 0, 1}, -EPROTO},
		{84, 4, {0, 0, 0, 0}, -EPROTO}, /* requests_max */
		{94, 2, {1, 0}, -EPROTO},	/* text beyond the end */
		{94, 2, {0xff, 0xff}, -EPROTO},
	};

	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
		struct fake f;
		struct ms_backend *b = NULL;
		fake_start(&f, send_patched_welcome, &patches[i], 1);
		CHECK_EQ(fake_client(&f, "", &b), patches[i].error);
		fake_stop(&f);
	}
}

static void never_answer(int fd, void *arg)
{
	(void)arg;
	struct ms_hello hello;

	fake_hello(fd, &hello);
	expect_end(fd);
}

static void test_silent_server(void)
{
	struct fake f;
	struct ms_backend *b = NULL;

	fake_start(&f, never_answer, NULL, 1);
	CHECK_EQ(fake_client(&f, ",connect-timeout=100ms", &b), -ETIMEDOUT);
	fake_stop(&f);
}

/* --- answers -------------------------------------------------------------- */

static void answer_in_part(int fd, void *arg)
{
	const size_t *bytes = arg;
	struct ms_request request;
	uint8_t buf[MS_PROTO_FRAME_BYTES + PAYLOAD];

	fake_greet(fd);
	CHECK(fake_request(fd, &request));
	struct ms_reply reply = {
		.op = request.op, .id = request.id, .length = request.length};
	ms_proto_put_reply(&reply, buf);
	memset(buf + MS_PROTO_FRAME_BYTES, 'x', PAYLOAD);
	CHECK(give_bytes(fd, buf, *bytes));
}

static void test_cut_answers(void)
{
	for (size_t n = 0; n < MS_PROTO_FRAME_BYTES + PAYLOAD; n++) {
		struct fake f;
		struct ms_backend *b = NULL;
		struct task t;
		char buf[PAYLOAD + 1] = {0};
		fake_start(&f, answer_in_part, &n, 1);
		CHECK_EQ(fake_client(&f, "", &b), 0);
		task_start(b, &t, task_read(buf, PAYLOAD, 0, MS_URGENT));
		CHECK_EQ(task_wait(&t), -ECONNRESET);
		CHECK_EQ(buf[PAYLOAD], 0);
		/* From now on it fails at once. */
		CHECK_EQ(ms_read_at(b, buf, 1, 0), -ENOTCONN);
		CHECK_EQ(ms_write_at(b, buf, 1, 0), -ENOTCONN);
		CHECK_EQ(ms_sync(b), -ENOTCONN);
		ms_close(b);
		CHECK_EQ(t.calls, 1);
		fake_stop(&f);
	}
}

/* How an answer is wrong. */
enum wrong {
	WRONG_MAGIC,
	WRONG_OP,
	WRONG_KIND,
	WRONG_FLAGS,
	WRONG_ID,
	WRONG_SHORT,
	WRONG_LONG,
	WRONG_HUGE,
	WRONG_ERROR_LENGTH,
	WRONG_OFFSET,
	WRONG_TWICE,
	WRONG_CHANGE,
	WRONG_COUNT
};

static void spoil(enum wrong wrong, struct ms_reply *reply, uint8_t *head)
{
	if (wrong == WRONG_OP)
		reply->op = MS_PROTO_WRITE;
	if (wrong == WRONG_ID)
		reply->id ^= UINT64_C(1) << 32;
	if (wrong == WRONG_SHORT)
		reply->length--;
	if (wrong == WRONG_LONG)
		reply->length++;
	if (wrong == WRONG_HUGE)
		reply->length = UINT64_MAX;
	if (wrong == WRONG_ERROR_LENGTH)
		reply->status = -EIO;
	if (wrong == WRONG_OFFSET)
		reply->offset = 1;
	if (wrong == WRONG_CHANGE) {
		reply->op = MS_PROTO_CHANGED;
		reply->offset = INT64_MAX;
	}
	ms_proto_put_reply(reply, head);
	if (wrong == WRONG_MAGIC)
		head[0] = 'x';
	if (wrong == WRONG_KIND)
		head[4] = 99;
	if (wrong == WRONG_FLAGS)
		head[5] = 0x80;
}

static void answer_wrong(int fd, void *arg)
{
	const enum wrong *wrong = arg;
	struct ms_request request;
	uint8_t head[MS_PROTO_FRAME_BYTES];
	char payload[PAYLOAD + 1] = {0};

	fake_greet(fd);
	CHECK(fake_request(fd, &request));
	struct ms_reply reply = {
		.op = request.op, .id = request.id, .length = request.length};
	spoil(*wrong, &reply, head);
	for (int i = 0; i < (*wrong == WRONG_TWICE ? 2 : 1); i++) {
		(void)give_bytes(fd, head, sizeof(head));
		(void)give_bytes(fd, payload, request.length);
	}
	/* The client hangs up, without a request more than it had sent. */
	while (fake_request(fd, &request))
		CHECK(request.op == MS_PROTO_BYE);
}

static void test_wrong_answers(void)
{
	for (enum wrong w = 0; w < WRONG_COUNT; w++) {
		struct fake f;
		struct ms_backend *b = NULL;
		char buf[PAYLOAD + 1] = {0};
		fake_start(&f, answer_wrong, &w, 1);
		CHECK_EQ(fake_client(&f, "", &b), 0);
		int rc = ms_read_at(b, buf, PAYLOAD, 0);
		CHECK_EQ(rc, w == WRONG_TWICE ? 0 : -ECONNRESET);
		CHECK_EQ(buf[PAYLOAD], 0);
		ms_close(b);
		fake_stop(&f);
	}
}

static void answer_extents(int fd, void *arg)
{
	const struct patch *patch = arg;
	struct ms_request request;
	/* 16 bytes, data; then the rest of 1 MiB, hole */
	uint8_t payload[32] = {16, [16] = 0xf0, 0xff, 0x0f, [24] = 1};

	fake_greet(fd);
	CHECK(fake_request(fd, &request));
	memcpy(payload + patch->at, patch->bytes, patch->n);
	struct ms_reply reply = {
		.op = request.op, .id = request.id, .length = 32};
	(void)fake_reply(fd, &reply, payload);
	while (fake_request(fd, &request))
		;
}

static void test_extents(void)
{
	static struct patch patches[] = {
		{0, 0, {0}, 0},
		{0, 1, {0}, -ECONNRESET},     /* empty */
		{0, 1, {17}, -ECONNRESET},    /* beyond the range */
		{7, 1, {0x80}, -ECONNRESET},  /* far beyond */
		{23, 1, {0x80}, -ECONNRESET}, /* and the second */
		{8, 1, {3}, -ECONNRESET},     /* no such kind */
		{11, 1, {1}, -ECONNRESET},
	};

	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
		struct fake f;
		struct ms_backend *b = NULL;
		struct ms_extent extents[4];
		struct ms_io io = {.op = MS_OP_EXTENTS,
				   .length = 1 << 20,
				   .buf = extents,
				   .extents_max = 4};
		fake_start(&f, answer_extents, &patches[i], 1);
		CHECK_EQ(fake_client(&f, "", &b), 0);
		CHECK_EQ(ms_wait(b, &io), patches[i].error);
		if (!patches[i].error) {
			CHECK_EQ(io.extents_used, 2);
			CHECK_EQ(extents[1].offset, 16);
			CHECK_EQ(extents[1].type, MS_EXTENT_HOLE);
		}
		ms_close(b);
		fake_stop(&f);
	}
}

int main(void)
{
	test_cut_welcomes();
	test_wrong_welcomes();
	test_silent_server();
	test_cut_answers();
	test_wrong_answers();
	test_extents();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Frames and what is to be run, whole, in pieces, and malformed. */
#include "harness/vm/frame.h"
#include "harness/vm/start.h"
#include "tests/check.h"

#include <errno.h>

static size_t put(uint8_t *to, unsigned type, const char *text)
{
	size_t len = strlen(text);

	frame_head(to, type, len);
	for (size_t i = 0; i < len; i++)
		to[FRAME_HEAD + i] = (uint8_t)text[i];
	return FRAME_HEAD + len;
}

/* Bytes as they come, at most `step` at a time; what is complete is joined. */
static void feed(const uint8_t *data, size_t len, size_t step, char *joined)
{
	struct frame_decoder d;
	struct frame f;

	CHECK_EQ(frame_decoder_init(&d), 0);
	*joined = '\0';
	for (size_t at = 0; at < len;) {
		size_t room;
		uint8_t *to = frame_space(&d, &room);
		size_t n = len - at < step ? len - at : step;

		CHECK(room >= n);
		memcpy(to, data + at, n);
		frame_added(&d, n);
		at += n;
		while (frame_next(&d, &f) == 1)
			(void)sprintf(joined + strlen(joined), "%u:%.*s;",
				      f.type, (int)f.len, f.data);
	}
	frame_decoder_release(&d);
}

static void frames_in_pieces(void)
{
	uint8_t data[200];
	char joined[200];
	size_t len = put(data, FRAME_OUT, "hello");

	len += put(data + len, FRAME_ALIVE, "");
	len += put(data + len, FRAME_ERR, "x");
	for (size_t step = 1; step <= len; step++) {
		feed(data, len, step, joined);
		CHECK_STR(joined, "3:hello;2:;4:x;");
	}
	feed(data, len - 1, 7, joined);
	CHECK_STR(joined, "3:hello;2:;");
}

/* The longest frame fits, one byte more is refused before it is stored. */
static void lengths(void)
{
	struct frame_decoder d;
	struct frame f;
	size_t room;
	uint8_t *to;

	CHECK_EQ(frame_decoder_init(&d), 0);
	to = frame_space(&d, &room);
	CHECK(room >= FRAME_HEAD + FRAME_MAX);
	memset(to, 'a', FRAME_HEAD + FRAME_MAX);
	frame_head(to, FRAME_OUT, FRAME_MAX);
	frame_added(&d, FRAME_HEAD + FRAME_MAX);
	CHECK_EQ(frame_next(&d, &f), 1);
	CHECK_EQ(f.len, FRAME_MAX);
	CHECK_EQ(frame_next(&d, &f), 0);
	to = frame_space(&d, &room);
	frame_head(to, FRAME_OUT, FRAME_MAX + 1);
	frame_added(&d, FRAME_HEAD);
	CHECK_EQ(frame_next(&d, &f), -EPROTO);
	frame_decoder_release(&d);
}

static void bad_heads(void)
{
	static const uint8_t heads[][FRAME_HEAD] = {
		{0, 0, 0, 0, 0, 0, 0, 0},
		{1, 1, 0, 0, 0, 0, 0, 0},
		{1, 0, 0, 9, 0, 0, 0, 0},
		{1, 0, 0, 0, 0, 0, 0, 0xff},
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		struct frame_decoder d;
		struct frame f;
		size_t room;

		CHECK_EQ(frame_decoder_init(&d), 0);
		memcpy(frame_space(&d, &room), heads[i], FRAME_HEAD);
		frame_added(&d, FRAME_HEAD);
		CHECK_EQ(frame_next(&d, &f), -EPROTO);
		frame_decoder_release(&d);
	}
}

static void start_there_and_back(void)
{
	const char *argv[] = {"ls", "-l", "", NULL};
	const char *env[] = {"A=1", "B=", NULL};
	const char *shares[] = {"share0=/a b", NULL};
	struct vm_start s = {.dir = "/",
			     .modules = "/m",
			     .terminal = true,
			     .argv = argv,
			     .env = env,
			     .shares = shares};
	struct vm_start back;
	uint8_t *data = NULL;
	size_t len = 0;

	CHECK_EQ(vm_start_pack(&s, &data, &len), 0);
	CHECK_EQ(vm_start_unpack(data, len, &back), 0);
	CHECK_STR(back.dir, "/");
	CHECK_STR(back.modules, "/m");
	CHECK(back.terminal);
	for (int i = 0; i < 3; i++)
		CHECK_STR(back.argv[i], argv[i]);
	CHECK(!back.argv[3]);
	CHECK_STR(back.env[1], "B=");
	CHECK(!back.env[2]);
	CHECK_STR(back.shares[0], "share0=/a b");
	CHECK(!back.shares[1]);
	vm_start_release(&back);
	/* Every shorter one is refused: what is last is cut. */
	for (size_t n = 0; n < len; n++)
		if (data[n ? n - 1 : 0])
			CHECK_EQ(vm_start_unpack(data, n, &back), -EPROTO);
	free(data);
}

static void bad_starts(void)
{
	static const struct {
		const char *data;
		size_t len;
	} bad[] = {
		{"", 0},
		{"D/\0M/m\0", 7},	    /* nothing to run */
		{"D/\0Als\0", 7},	    /* no modules */
		{"M/m\0Als\0", 8},	    /* no folder */
		{"D/\0M/m\0Als\0X\0", 13},  /* unknown */
		{"D/\0M/m\0Als\0\0", 12},   /* no letter */
		{"D/\0M/m\0Als\0Sx\0", 14}, /* a share without a path */
		{"D/\0M/m\0Als", 10},	    /* not terminated */
	};
	struct vm_start s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_EQ(vm_start_unpack((const uint8_t *)bad[i].data,
					 bad[i].len, &s),
			 -EPROTO);
}

static void too_long(void)
{
	char *text = malloc(FRAME_MAX);
	const char *argv[] = {"x", text, NULL};
	const char *none[] = {NULL};
	struct vm_start s = {.dir = "/",
			     .modules = "/",
			     .argv = argv,
			     .env = none,
			     .shares = none};
	uint8_t *data = NULL;
	size_t len = 0;

	CHECK(text);
	memset(text, 'a', FRAME_MAX - 1);
	text[FRAME_MAX - 1] = '\0';
	CHECK_EQ(vm_start_pack(&s, &data, &len), -E2BIG);
	CHECK(!data);
	free(text);
}

int main(void)
{
	frames_in_pieces();
	lengths();
	bad_heads();
	start_there_and_back();
	bad_starts();
	too_long();
	return 0;
}

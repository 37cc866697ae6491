/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a console: its end, printable. */
#include "harness/vm/console.h"
#include "tests/check.h"

static char text[65];

static struct console fresh(void)
{
	text[0] = '\0';
	return (struct console){
		.text = text, .room = sizeof(text) - 1, .file = -1};
}

static void say(struct console *c, const char *data)
{
	console_add(c, data, strlen(data));
}

int main(void)
{
	struct console c = fresh();
	char line[40];

	CHECK_STR(console_last_line(&c, line, sizeof(line)), "");
	say(&c, "\033c\033[2J\033[0mone\r\n\aβtwo\n\n");
	CHECK_STR(c.text, "one\ntwo\n\n");
	CHECK_STR(console_last_line(&c, line, sizeof(line)), "two");
	/* A sequence that comes in two pieces. */
	say(&c, "a\033[3");
	say(&c, "1mb");
	CHECK_STR(console_last_line(&c, line, sizeof(line)), "ab");
	c = fresh();
	say(&c, "x\n[ 9.3] Kernel panic: x\n[ 9.4] Offset\n");
	CHECK_STR(console_last_line(&c, line, sizeof(line)), "Kernel panic: x");
	/* The end is kept. */
	c = fresh();
	for (int i = 0; i < 1000; i++) {
		char number[32];

		(void)snprintf(number, sizeof(number), "line %d\n", i);
		say(&c, number);
		CHECK(c.len <= c.room);
		CHECK_EQ(strlen(c.text), c.len);
	}
	CHECK_HAS(c.text, "line 998\nline 999\n");
	CHECK_STR(console_last_line(&c, line, 5), "line");
	return 0;
}

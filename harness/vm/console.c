/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the guest's console; see console.h. */
#include "harness/vm/console.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Half of it goes when it is full, so that a byte costs no move. */
static void put(struct console *c, char byte)
{
	if (c->len == c->room) {
		size_t half = c->room / 2;

		memmove(c->text, c->text + half, c->len - half);
		c->len -= half;
	}
	c->text[c->len++] = byte;
	c->text[c->len] = '\0';
}

/* The firmware clears the screen by sequences such as ESC [ 2 J. */
void console_add(struct console *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char b = (unsigned char)data[i];

		if (b == 033) {
			c->escape = 1;
		} else if (c->escape == 1) {
			c->escape = b == '[' ? 2 : 0;
		} else if (c->escape == 2) {
			c->escape = b >= 0x40 && b <= 0x7e ? 0 : 2;
		} else if (b == '\n' || b == '\t' || (b >= ' ' && b < 0x7f)) {
			put(c, (char)b);
		}
	}
	while (c->file >= 0 && len) {
		ssize_t n = write(c->file, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

bool console_read(struct console *c, int fd)
{
	char buf[4096];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		console_add(c, buf, (size_t)n);
	}
}

/* The line that ends before `end`, which moves to the line before. */
static size_t line_before(const struct console *c, size_t *end)
{
	size_t start;

	while (*end && c->text[*end - 1] <= ' ')
		(*end)--;
	start = *end;
	while (start && c->text[start - 1] != '\n')
		start--;
	return start;
}

static bool says_why(const char *line, size_t len)
{
	static const char panic[] = "Kernel panic";

	return memmem(line, len, panic, sizeof(panic) - 1) != NULL;
}

const char *console_last_line(const struct console *c, char *buf, size_t size)
{
	size_t end = c->len;
	size_t start = line_before(c, &end);
	size_t chosen = start;
	size_t len = end - start;

	for (size_t e = start; e; e = start) {
		start = line_before(c, &e);
		if (!says_why(c->text + start, e - start))
			continue;
		chosen = start;
		len = e - start;
		break;
	}
	/* "[    5.201555] " */
	if (len && c->text[chosen] == '[') {
		const char *stamp = memchr(c->text + chosen, ']', len);

		if (stamp && stamp[1] == ' ') {
			len -= (size_t)(stamp + 2 - (c->text + chosen));
			chosen = (size_t)(stamp + 2 - c->text);
		}
	}
	(void)snprintf(buf, size, "%.*s", (int)len, c->text + chosen);
	return buf;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The end of what the guest's kernel and QEMU said. */
#ifndef MS_HARNESS_VM_CONSOLE_H
#define MS_HARNESS_VM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

struct console {
	char *text; /* printable, `room` bytes and a NUL */
	size_t room;
	size_t len;
	int file;	 /* gets everything as it came; -1: none */
	unsigned escape; /* within a terminal's control sequence */
};

/* Take what is there to read. False when the other end is closed. */
bool console_read(struct console *c, int fd) __attribute__((nonnull));

/* Take these bytes; console_read is this over read(2). */
void console_add(struct console *c, const char *data, size_t len)
	__attribute__((nonnull));

/*
 * For a message: the line in which the kernel says why it ended, else the last
 * one that is not empty, without its time stamp; "" if there is none.
 */
const char *console_last_line(const struct console *c, char *buf, size_t size)
	__attribute__((nonnull));

#endif

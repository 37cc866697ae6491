/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run a program to its end without a shell, with a time limit, and keep what
 * it said on one of its outputs. The program dies with the caller.
 */
#ifndef MS_HARNESS_UTIL_SPAWN_H
#define MS_HARNESS_UTIL_SPAWN_H

#include <stddef.h>

/* Which output is kept. */
enum spawn_keep {
	SPAWN_STDERR, /* stdout goes to /dev/null */
	SPAWN_STDOUT, /* stderr is the caller's */
};

/*
 * Run argv[0], found in PATH. stdin is /dev/null; the first size - 1 bytes of
 * the output `keep` go into `said`. Returns the exit status (0 to 255), or
 * -ENOENT if there is no such program, -ETIMEDOUT, -EINTR when a signal ended
 * it (128 + n is not an exit status here), or another negative errno, with a
 * sentence.
 */
int spawn_wait(const char *const argv[], enum spawn_keep keep, unsigned seconds,
	       char *said, size_t size)
	__attribute__((nonnull, warn_unused_result));

#endif

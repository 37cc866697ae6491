/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: a function that fails returns a negative errno and leaves one
 * sentence about it with the calling thread. The number is for programs, the
 * sentence for people; library code never prints and never exits.
 */
#ifndef MS_COMMON_UTIL_ERR_H
#define MS_COMMON_UTIL_ERR_H

#include <stdarg.h>

/*
 * Keep the sentence `fmt` for this thread and return `code` (negative errno),
 * so that a failing function ends in `return ms_err(-EIO, "...", ...)`.
 * The text of the errno is added when the sentence is read, not here.
 */
int ms_err(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(2)));

/*
 * The same for a sentence that says it all: the errno's text is not added when
 * it is read.
 */
int ms_err_plain(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(2)));

/*
 * Put "where: " in front of this thread's sentence, for callers that know
 * more about the context than the function that failed. Returns `code`.
 */
int ms_err_add(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(2)));

/*
 * This thread's last sentence with the errno's text behind it, e.g.
 * "file: open /x: No such file or directory". Never NULL; valid until the
 * next ms_err of this thread.
 */
const char *ms_err_text(void);

/* The code that belongs to ms_err_text, 0 if there was none. */
int ms_err_code(void);

/* Forget the sentence. */
void ms_err_clear(void);

/* The text of a positive or negative errno, thread-safe. */
const char *ms_errno_text(int code);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test program needs: checks that stay on in every build, and the three
 * exit codes that tests/run understands (0 passed, 1 failed, 77 skipped).
 */
#ifndef MS_TESTS_CHECK_H
#define MS_TESTS_CHECK_H

#undef NDEBUG
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                    \
	do {                                                           \
		if (!(cond)) {                                         \
			(void)fprintf(stderr, "%s:%d: not true: %s\n", \
				      __FILE__, __LINE__, #cond);      \
			exit(1);                                       \
		}                                                      \
	} while (0)

#define CHECK_EQ(got, want)                                                   \
	do {                                                                  \
		int64_t got_ = (int64_t)(got);                                \
		int64_t want_ = (int64_t)(want);                              \
		if (got_ != want_) {                                          \
			(void)fprintf(stderr,                                 \
				      "%s:%d: %s is %" PRId64                 \
				      ", expected %" PRId64 "\n",             \
				      __FILE__, __LINE__, #got, got_, want_); \
			exit(1);                                              \
		}                                                             \
	} while (0)

#define CHECK_STR(got, want)                                           \
	do {                                                           \
		const char *got_ = (got);                              \
		const char *want_ = (want);                            \
		if (!got_ || strcmp(got_, want_) != 0) {               \
			(void)fprintf(stderr,                          \
				      "%s:%d: %s is \"%s\", expected " \
				      "\"%s\"\n",                      \
				      __FILE__, __LINE__, #got,        \
				      got_ ? got_ : "(null)", want_);  \
			exit(1);                                       \
		}                                                      \
	} while (0)

#define CHECK_HAS(text, part)                                            \
	do {                                                             \
		const char *text_ = (text);                              \
		if (!text_ || !strstr(text_, (part))) {                  \
			(void)fprintf(stderr,                            \
				      "%s:%d: \"%s\" does not contain "  \
				      "\"%s\"\n",                        \
				      __FILE__, __LINE__,                \
				      text_ ? text_ : "(null)", (part)); \
			exit(1);                                         \
		}                                                        \
	} while (0)

/* The reason is the last line, which tests/run prints beside the result. */
#define SKIP(...)                          \
	do {                               \
		(void)printf(__VA_ARGS__); \
		(void)printf("\n");        \
		exit(77);                  \
	} while (0)

#endif

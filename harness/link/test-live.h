/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests on live links share. */
#ifndef MS_HARNESS_LINK_TEST_LIVE_H
#define MS_HARNESS_LINK_TEST_LIVE_H

#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/link.h"
#include "tests/check.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIVE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIVE_SANITIZED 1
#endif
#endif
#ifndef LIVE_SANITIZED
#define LIVE_SANITIZED 0
#endif

/* Skip what cannot be measured here. */
static inline void live_need(bool timing)
{
	if (geteuid() != 0)
		SKIP("needs root (network namespaces)");
	if (timing && LIVE_SANITIZED)
		SKIP("a sanitizer's build says nothing about timing");
	if (link_driver_supported(LINK_EMULATED))
		SKIP("%s", ms_err_text());
}

#define LIVE_OK(call)                                                      \
	do {                                                               \
		if ((call) != 0) {                                         \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, \
				      __LINE__, #call, ms_err_text());     \
			exit(1);                                           \
		}                                                          \
	} while (0)

static inline struct link *live_open(const char *text)
{
	struct link_options options = {.driver = LINK_EMULATED, .seed = 1};
	struct link_profile p;
	struct link *l = NULL;

	LIVE_OK(link_profile_parse(text, &p));
	LIVE_OK(link_open(&p, &options, &l));
	return l;
}

#endif

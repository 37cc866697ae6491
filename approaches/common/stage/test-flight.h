/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: requests in flight, counted, and waited for with a limit. */
#ifndef MS_COMMON_STAGE_TEST_FLIGHT_H
#define MS_COMMON_STAGE_TEST_FLIGHT_H

#include "tests/check.h"

#include "approaches/common/util/clock.h"
#include "memsync/backend.h"

#include <pthread.h>

enum {
	FLIGHT_SECONDS_MAX = 30 /* then the test fails instead of hanging */
};

/* One request and how often its `done` ran. */
struct shot {
	struct ms_io io;
	pthread_mutex_t lock;
	pthread_cond_t landed;
	int calls;
	uint64_t end_ns;
};

static inline void shot_done(struct ms_io *io)
{
	struct shot *s = io->user;

	pthread_mutex_lock(&s->lock);
	s->calls++;
	s->end_ns = ms_now_ns();
	(void)pthread_cond_signal(&s->landed);
	pthread_mutex_unlock(&s->lock);
}

/* `io` is the request; done and user are set here. */
static inline void shot_fire(struct shot *s, struct ms_backend *b,
			     struct ms_io io)
{
	*s = (struct shot){.io = io,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .landed = PTHREAD_COND_INITIALIZER};
	s->io.done = shot_done;
	s->io.user = s;
	ms_submit(b, &s->io);
}

static inline bool shot_landed(struct shot *s)
{
	pthread_mutex_lock(&s->lock);
	bool landed = s->calls > 0;
	pthread_mutex_unlock(&s->lock);
	return landed;
}

/* Its result; it has landed exactly once. */
static inline int shot_wait(struct shot *s)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FLIGHT_SECONDS_MAX;
	pthread_mutex_lock(&s->lock);
	while (s->calls == 0)
		CHECK_EQ(pthread_cond_timedwait(&s->landed, &s->lock, &until),
			 0);
	CHECK_EQ(s->calls, 1);
	pthread_mutex_unlock(&s->lock);
	return s->io.result;
}

static inline struct ms_backend *open_spec(const char *spec)
{
	struct ms_backend *b = NULL;

	if (ms_open(spec, &b)) {
		(void)fprintf(stderr, "%s: %s\n", spec, memsync_error());
		exit(1);
	}
	return b;
}

/* Opening must fail with `code` and a sentence that has `part` in it. */
static inline void refuse_spec(const char *spec, int code, const char *part)
{
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open(spec, &b), code);
	CHECK_HAS(memsync_error(), part);
}

#endif

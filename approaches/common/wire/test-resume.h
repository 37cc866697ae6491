/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of lost connections share. */
#ifndef MS_COMMON_WIRE_TEST_RESUME_H
#define MS_COMMON_WIRE_TEST_RESUME_H

#include "approaches/common/wire/remote.h"
#include "approaches/common/wire/test-fake.h"

#include <sys/socket.h>
#include <time.h>

#define MS MS_NS_PER_MS

static inline void nap(unsigned ms)
{
	struct timespec t = ms_timespec(ms * MS);

	(void)nanosleep(&t, NULL);
}

/* Wait until a statistic has at least this value. */
static inline void stat_await(struct ms_backend *b, const char *name,
			      uint64_t value)
{
	uint64_t until = ms_now_ns() + WAIT_S * MS_NS_PER_S;

	while (stat_of(b, name) < value) {
		CHECK(ms_now_ns() < until);
		nap(2);
	}
}

/* As if the network broke: all connections of a client end. */
static inline void cut_client(struct ms_backend *b)
{
	struct remote *r = ms_container_of(b, struct remote, base);

	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].state == REMOTE_READY)
			(void)shutdown(r->conns[i].stream->fd, SHUT_RDWR);
	pthread_mutex_unlock(&r->lock);
}

static inline struct ms_backend *open_remote(const char *uri,
					     const char *options)
{
	struct ms_backend *b = NULL;
	char spec[512];

	(void)snprintf(spec, sizeof(spec), "remote:uri=%s%s", uri, options);
	if (ms_open(spec, &b)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return b;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the wire share: a backend that holds requests until it is
 * told to go on, requests that can be waited for, and a server in one call.
 */
#ifndef MS_COMMON_WIRE_TEST_WIRE_H
#define MS_COMMON_WIRE_TEST_WIRE_H

#include "approaches/common/backend/base.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/server.h"
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#define WAIT_S 20 /* no event takes that long */

/* --- requests ------------------------------------------------------------- */

struct task {
	struct ms_io io;
	sem_t done;
	int calls;
	uint64_t order; /* the how-manieth completion of the process */
};

static uint64_t task_counter;

static inline void task_done(struct ms_io *io)
{
	struct task *t = io->user;

	t->calls++;
	t->order = __atomic_add_fetch(&task_counter, 1, __ATOMIC_ACQ_REL);
	(void)sem_post(&t->done);
}

static inline void task_start(struct ms_backend *b, struct task *t,
			      struct ms_io io)
{
	memset(t, 0, sizeof(*t));
	(void)sem_init(&t->done, 0, 0);
	t->io = io;
	t->io.done = task_done;
	t->io.user = t;
	ms_submit(b, &t->io);
}

static inline bool sem_wait_s(sem_t *sem, unsigned seconds)
{
	struct timespec until;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	do
		rc = sem_timedwait(sem, &until);
	while (rc && errno == EINTR);
	return rc == 0;
}

/* The result; fails the test when it does not come. */
static inline int task_wait(struct task *t)
{
	CHECK(sem_wait_s(&t->done, WAIT_S));
	CHECK_EQ(t->calls, 1);
	return t->io.result;
}

static inline bool task_is_done(struct task *t)
{
	int value = 0;

	(void)sem_getvalue(&t->done, &value);
	return value > 0;
}

static inline struct ms_io task_read(void *buf, uint64_t n, uint64_t offset,
				     enum ms_priority priority)
{
	return (struct ms_io){.op = MS_OP_READ,
			      .priority = priority,
			      .offset = offset,
			      .length = n,
			      .buf = buf};
}

static inline struct ms_io task_write(const void *buf, uint64_t n,
				      uint64_t offset,
				      enum ms_priority priority)
{
	return (struct ms_io){.op = MS_OP_WRITE,
			      .priority = priority,
			      .offset = offset,
			      .length = n,
			      .buf = (void *)buf};
}

/* --- a backend that holds requests ---------------------------------------- */

struct hold {
	struct ms_backend base;
	struct ms_backend *child;
	pthread_mutex_t lock;
	pthread_cond_t more;
	bool holding;
	struct ms_io *list[16384];
	size_t count;
	size_t peak;
};

static inline void hold_submit(struct ms_backend *b, struct ms_io *io)
{
	struct hold *h = ms_container_of(b, struct hold, base);

	pthread_mutex_lock(&h->lock);
	bool keep = h->holding;
	if (keep) {
		CHECK(h->count < sizeof(h->list) / sizeof(h->list[0]));
		h->list[h->count++] = io;
		if (h->count > h->peak)
			h->peak = h->count;
		pthread_cond_broadcast(&h->more);
	}
	pthread_mutex_unlock(&h->lock);
	if (!keep)
		ms_forward(h->child, io);
}

static inline void hold_close(struct ms_backend *b)
{
	struct hold *h = ms_container_of(b, struct hold, base);

	CHECK_EQ(h->count, 0);
	ms_close(h->child);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->more);
	free(h);
}

static const struct ms_backend_ops hold_ops = {
	.name = "hold", .submit = hold_submit, .close = hold_close};

/* Over a memory of `size` bytes with the pattern of `seed`; no mapping. */
static inline struct hold *hold_open(uint64_t size, unsigned seed)
{
	struct hold *h = calloc(1, sizeof(*h));
	char spec[64];

	CHECK(h);
	(void)snprintf(spec, sizeof(spec), "memory:size=%" PRIu64 ",seed=%u",
		       size, seed);
	CHECK_EQ(ms_open(spec, &h->child), 0);
	ms_backend_init(&h->base, &hold_ops, size,
			h->child->caps & ~(unsigned)MS_CAN_MAP);
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->more, NULL);
	return h;
}

static inline void hold_set(struct hold *h, bool on)
{
	pthread_mutex_lock(&h->lock);
	h->holding = on;
	pthread_mutex_unlock(&h->lock);
}

/* Wait until `n` requests are held. */
static inline void hold_await(struct hold *h, size_t n)
{
	struct timespec until;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&h->lock);
	while (h->count < n && rc == 0)
		rc = pthread_cond_timedwait(&h->more, &h->lock, &until);
	CHECK(h->count >= n);
	pthread_mutex_unlock(&h->lock);
}

static inline size_t hold_count(struct hold *h)
{
	pthread_mutex_lock(&h->lock);
	size_t n = h->count;
	pthread_mutex_unlock(&h->lock);
	return n;
}

/* Let the request at `at` of the list go on, with `rc` if that is not 0. */
static inline void hold_release(struct hold *h, size_t at, int rc)
{
	pthread_mutex_lock(&h->lock);
	CHECK(at < h->count);
	struct ms_io *io = h->list[at];
	memmove(&h->list[at], &h->list[at + 1],
		(--h->count - at) * sizeof(struct ms_io *));
	pthread_mutex_unlock(&h->lock);
	if (rc)
		ms_done(io, rc, "hold");
	else
		ms_forward(h->child, io);
}

/* Let everything go on and hold nothing more. */
static inline void hold_off(struct hold *h)
{
	hold_set(h, false);
	while (hold_count(h))
		hold_release(h, 0, 0);
}

/* A socket path that no other run of a test uses at the same time. */
static inline const char *unix_uri(void)
{
	static char uri[128];
	const char *tmp = getenv("TMP");

	(void)snprintf(uri, sizeof(uri), "unix://%.60s/ms-wire-%d.sock",
		       tmp ? tmp : "/tmp", (int)getpid());
	return uri;
}

/* --- servers -------------------------------------------------------------- */

static inline struct ms_server *serve(struct ms_backend *b, const char *listen,
				      bool read_only)
{
	struct ms_server_export export = {
		.name = "e", .backend = b, .read_only = read_only};
	struct ms_server_config config = {
		.exports = &export, .export_count = 1, .listen = listen};
	struct ms_server *server = NULL;

	CHECK_EQ(ms_server_open(&config, &server), 0);
	return server;
}

/* A client of that server with more options ("" or ",key=value"). */
static inline struct ms_backend *client(struct ms_server *server,
					const char *options)
{
	struct ms_backend *b = NULL;
	char spec[512];

	(void)snprintf(spec, sizeof(spec), "remote:uri=%s%s",
		       ms_server_uri(server), options);
	if (ms_open(spec, &b)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return b;
}

/* One statistic of a backend. */
static inline uint64_t stat_of(struct ms_backend *b, const char *name)
{
	char *text = NULL;
	size_t size = 0;
	uint64_t value = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	ms_stats(b, f);
	CHECK_EQ(fclose(f), 0);
	char *at = strstr(text, name);
	CHECK(at && (at == text || at[-1] == '\n'));
	value = strtoull(at + strlen(name), NULL, 10);
	free(text);
	return value;
}

#endif

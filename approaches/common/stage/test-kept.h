/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the cache's state file: a remote in memory that processes share
 * (it outlasts them, and counts), and caches over it with a state file and a
 * local file. Everything happens in children, so that the parent has one
 * thread and may fork at any time.
 */
#ifndef MS_COMMON_STAGE_TEST_KEPT_H
#define MS_COMMON_STAGE_TEST_KEPT_H

#include "tests/check.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache-state.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/stage/random.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK	  UINT64_C(4096)
#define CHUNKS	  UINT64_C(96)
#define SIZE	  (CHUNK * CHUNKS - 100) /* a short last chunk */
#define SIZE_MAX_ (2 * CHUNK * CHUNKS)	 /* grown, in some tests */
#define QUEUE	  1024u

enum {
	SEED = 3,
	HANG_S = 120, /* then something waits for ever */
};

/* What outlasts a process besides its files. */
struct outside {
	char remote[SIZE_MAX_];
	uint64_t size; /* of the region at the remote */
	uint64_t read_bytes;
	uint64_t reads, writes;
};

static struct outside *outside;
static char folder[64];
static char state_path[100];
static char local_path[100];

/* --- the remote --------------------------------------------------------- */

/* One thread answers, so that requests are in flight for a while. */
struct far {
	struct ms_backend base;
	pthread_mutex_t lock;
	pthread_cond_t queued;
	struct ms_io *queue[QUEUE];
	unsigned first, count;
	bool stop;
	pthread_t thread;
};

static inline int far_serve(const struct ms_io *io)
{
	if (io->op == MS_OP_READ) {
		memcpy(io->buf, outside->remote + io->offset, io->length);
		__atomic_fetch_add(&outside->reads, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&outside->read_bytes, io->length,
				   __ATOMIC_RELAXED);
	} else if (io->op == MS_OP_WRITE) {
		/* A chunk may be written to while it is pushed. */
		const volatile char *from = io->buf;
		for (uint64_t i = 0; i < io->length; i++)
			outside->remote[io->offset + i] = from[i];
		__atomic_fetch_add(&outside->writes, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

__attribute__((no_sanitize("thread"))) static inline void *far_run(void *arg)
{
	struct far *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		if (f->count == 0) {
			(void)pthread_cond_wait(&f->queued, &f->lock);
			continue;
		}
		struct ms_io *io = f->queue[f->first];
		f->first = (f->first + 1) % QUEUE;
		f->count--;
		pthread_mutex_unlock(&f->lock);
		ms_done(io, far_serve(io), "far");
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static inline void far_submit(struct ms_backend *b, struct ms_io *io)
{
	struct far *f = ms_container_of(b, struct far, base);

	pthread_mutex_lock(&f->lock);
	CHECK(f->count < QUEUE);
	f->queue[(f->first + f->count++) % QUEUE] = io;
	(void)pthread_cond_signal(&f->queued);
	pthread_mutex_unlock(&f->lock);
}

static inline void far_close(struct ms_backend *b)
{
	struct far *f = ms_container_of(b, struct far, base);

	pthread_mutex_lock(&f->lock);
	f->stop = true;
	(void)pthread_cond_signal(&f->queued);
	pthread_mutex_unlock(&f->lock);
	(void)pthread_join(f->thread, NULL);
	CHECK_EQ(f->count, 0);
	free(f);
}

static const struct ms_backend_ops far_ops = {
	.name = "far",
	.submit = far_submit,
	.close = far_close,
};

static inline struct ms_backend *far_new(void)
{
	struct far *f = calloc(1, sizeof(*f));

	CHECK(f);
	ms_backend_init(&f->base, &far_ops, outside->size, MS_CAN_WRITE);
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->queued, NULL);
	CHECK_EQ(pthread_create(&f->thread, NULL, far_run, f), 0);
	return &f->base;
}

/* --- caches ------------------------------------------------------------- */

static bool with_map = true;

/* 0 and the cache, or the error of opening. Options have their defaults. */
static inline int kept_open(struct ms_cache_options o, struct ms_backend **ret)
{
	char spec[200];
	struct ms_backend *local = NULL;
	struct ms_backend *remote = far_new();

	(void)snprintf(spec, sizeof(spec), "file:path=%s,create=yes",
		       local_path);
	CHECK_EQ(ms_open(spec, &local), 0);
	if (!with_map)
		local->caps &= ~(unsigned)MS_CAN_MAP;
	o.state = state_path;
	o.id = o.id ? o.id : "region";
	o.chunk = o.chunk ? o.chunk : CHUNK;
	o.request = o.request ? o.request : 8 * o.chunk;
	o.retry_ns = MS_NS_PER_MS;
	int rc = ms_cache_open(local, remote, &o, ret);
	if (rc) {
		CHECK(*memsync_error());
		ms_close(local);
		ms_close(remote);
	}
	return rc;
}

static inline struct ms_backend *kept(struct ms_cache_options o)
{
	struct ms_backend *b = NULL;

	if (kept_open(o, &b)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return b;
}

/* A statistics line of `b`. */
static inline uint64_t stat_of(struct ms_backend *b, const char *name)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	CHECK(out);
	ms_stats(b, out);
	(void)fclose(out);
	const char *at = text;
	while (strncmp(at, name, strlen(name)) != 0 ||
	       at[strlen(name)] != ' ') {
		at = strchr(at, '\n');
		CHECK(at);
		at++;
	}
	uint64_t value = strtoull(at + strlen(name), NULL, 10);
	free(text);
	return value;
}

/* --- processes and files ------------------------------------------------ */

/* Run `fn` in a child; what is not closed there ends as in a crash. */
static inline void in_child(void (*fn)(void))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		(void)alarm(HANG_S);
		fn();
		/* Not _exit: a sanitizer would sleep a second in it. */
		(void)syscall(SYS_exit_group, 0);
	}
	int status = 0;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

/* A whole file; *ret_length bytes, to be freed. */
static inline char *slurp(const char *path, uint64_t *ret_length)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(fstat(fd, &st), 0);
	char *bytes = malloc((size_t)st.st_size + 1);
	CHECK(bytes);
	CHECK_EQ(read(fd, bytes, (size_t)st.st_size), st.st_size);
	(void)close(fd);
	*ret_length = (uint64_t)st.st_size;
	return bytes;
}

static inline void spill(const char *path, const char *bytes, uint64_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, bytes, length), length);
	(void)close(fd);
}

/* Nothing local, and the remote as in the beginning. */
static inline void start_anew(void)
{
	(void)unlink(state_path);
	(void)unlink(local_path);
	outside->size = SIZE;
	outside->reads = 0;
	outside->read_bytes = 0;
	outside->writes = 0;
	ms_pattern_fill(SEED, 0, outside->remote, sizeof(outside->remote));
}

/* --- what happened before ----------------------------------------------- */

static char expected[SIZE_MAX_];
static char buf[SIZE_MAX_];

#define HALF (CHUNKS / 2)

static inline void read_all(struct ms_backend *b)
{
	CHECK_EQ(ms_read_at(b, buf, ms_size(b), 0), 0);
}

static inline void pull_half(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_STR(ms_cache_note(b), "");
	CHECK_EQ(ms_read_at(b, buf, HALF * CHUNK, 0), 0);
	CHECK_EQ(outside->read_bytes, HALF * CHUNK);
	ms_close(b);
}

/* Chunks 0 to 9 clean, 20 to 23 changed (a part, and three whole), a short
 * changed one at the end; the process ends without closing anything. */
static inline void change_and_crash(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_read_at(b, buf, 10 * CHUNK, 0), 0);
	ms_pattern_fill(50, 0, buf, 4 * CHUNK);
	CHECK_EQ(ms_write_at(b, buf, 4 * CHUNK - 100, 20 * CHUNK + 100), 0);
	CHECK_EQ(ms_write_at(b, buf, 300, SIZE - 300), 0);
}

static inline void expect_changes(void)
{
	memcpy(expected, outside->remote, sizeof(expected));
	ms_pattern_fill(50, 0, expected + 20 * CHUNK + 100, 4 * CHUNK - 100);
	ms_pattern_fill(50, 0, expected + SIZE - 300, 300);
}

/* --- a test program ---------------------------------------------------------
 */

static inline void set_up(void)
{
	outside = mmap(NULL, sizeof(*outside), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(outside != MAP_FAILED);
	/* In memory where possible: these tests sync thousands of times. */
	const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(folder, sizeof(folder), "%s/kept-XXXXXX", where);
	CHECK(mkdtemp(folder));
	(void)snprintf(state_path, sizeof(state_path), "%s/state", folder);
	(void)snprintf(local_path, sizeof(local_path), "%s/local", folder);
	start_anew();
}

static inline void tear_down(void)
{
	(void)unlink(state_path);
	(void)unlink(local_path);
	CHECK_EQ(rmdir(folder), 0);
}

#endif

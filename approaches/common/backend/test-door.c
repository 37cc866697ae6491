/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: what it refuses, what it supplies for backends that cannot do it
 * themselves, and the bugs of backends and callers that it catches. Behind it
 * stands a store of this test's own that records what reaches it.
 */
#include "tests/check.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SIZE = 10000,
	SEEN_MAX = 64,
};

struct store {
	struct ms_backend base;
	char bytes[SIZE];
	struct ms_io seen[SEEN_MAX]; /* copies of the requests */
	int count;
	int fail_at; /* this request of the count fails; -1: none */
	bool keep;   /* do not complete: leave it in `kept` */
	struct ms_io *kept;
	const struct ms_io *cancelled;
	const struct ms_io *hurried;
};

static struct store *store_of(struct ms_backend *b)
{
	return ms_container_of(b, struct store, base);
}

static void store_submit(struct ms_backend *b, struct ms_io *io)
{
	struct store *s = store_of(b);
	int at = s->count++;

	CHECK(at < SEEN_MAX);
	s->seen[at] = *io;
	if (s->keep) {
		s->kept = io;
		return;
	}
	if (at == s->fail_at) {
		ms_done(io, -EIO, "store");
		return;
	}
	if (io->op == MS_OP_READ)
		memcpy(io->buf, s->bytes + io->offset, io->length);
	else if (io->op == MS_OP_WRITE)
		memcpy(s->bytes + io->offset, io->buf, io->length);
	ms_done(io, 0, NULL);
}

static void store_cancel(struct ms_backend *b, struct ms_io *io)
{
	store_of(b)->cancelled = io;
}

static void store_hurry(struct ms_backend *b, struct ms_io *io)
{
	store_of(b)->hurried = io;
}

static void store_close(struct ms_backend *b)
{
	free(store_of(b));
}

static const struct ms_backend_ops store_ops = {
	.name = "store",
	.submit = store_submit,
	.cancel = store_cancel,
	.hurry = store_hurry,
	.close = store_close,
};

/* The same without the optional calls. */
static const struct ms_backend_ops plain_ops = {
	.name = "plain",
	.submit = store_submit,
	.close = store_close,
};

static struct store *store_new(unsigned caps)
{
	struct store *s = calloc(1, sizeof(*s));

	CHECK(s);
	ms_backend_init(&s->base, &store_ops, SIZE, caps);
	memset(s->bytes, 7, sizeof(s->bytes));
	s->fail_at = -1;
	return s;
}

static char buffer[SIZE + 1];

/* --- what is refused ------------------------------------------------------ */

struct refusal {
	struct ms_io io;
	unsigned caps;
	uint32_t block;
	int want;
};

static const struct refusal refusals[] = {
	/* both sides of the region's end */
	{{.op = MS_OP_READ, .offset = SIZE - 1, .length = 1}, 0, 1, 0},
	{{.op = MS_OP_READ, .offset = SIZE - 1, .length = 2}, 0, 1, -ERANGE},
	{{.op = MS_OP_READ, .offset = SIZE, .length = 0}, 0, 1, 0},
	{{.op = MS_OP_READ, .offset = SIZE, .length = 1}, 0, 1, -ERANGE},
	{{.op = MS_OP_READ, .offset = SIZE + 1, .length = 0}, 0, 1, -ERANGE},
	/* sums that do not fit into 64 bits */
	{{.op = MS_OP_READ, .offset = 1, .length = UINT64_MAX}, 0, 1, -ERANGE},
	{{.op = MS_OP_READ, .offset = UINT64_MAX, .length = 2}, 0, 1, -ERANGE},
	{{.op = MS_OP_ZERO, .offset = 2, .length = UINT64_MAX},
	 MS_CAN_WRITE,
	 1,
	 -ERANGE},
	/* alignment, and the unaligned end of the region */
	{{.op = MS_OP_READ, .offset = 512, .length = 512}, 0, 512, 0},
	{{.op = MS_OP_READ, .offset = 511, .length = 512}, 0, 512, -EINVAL},
	{{.op = MS_OP_READ, .offset = 512, .length = 511}, 0, 512, -EINVAL},
	{{.op = MS_OP_READ, .offset = 9728, .length = 272}, 0, 512, 0},
	{{.op = MS_OP_READ, .offset = 9728, .length = 271}, 0, 512, -EINVAL},
	/* capabilities */
	{{.op = MS_OP_WRITE, .length = 1}, 0, 1, -EROFS},
	{{.op = MS_OP_ZERO, .length = 1}, 0, 1, -EROFS},
	{{.op = MS_OP_TRIM, .length = 1}, 0, 1, -EROFS},
	{{.op = MS_OP_RESIZE}, 0, 1, -EROFS},
	{{.op = MS_OP_RESIZE}, MS_CAN_WRITE, 1, -EOPNOTSUPP},
	{{.op = MS_OP_HASH, .length = 1}, 0, 1, -EOPNOTSUPP},
	{{.op = MS_OP_HASH, .length = 0}, MS_CAN_HASH, 1, -EINVAL},
	/* flags and operations that do not exist */
	{{.op = MS_OP_READ, .length = 1, .flags = MS_FUA}, 0, 1, -EINVAL},
	{{.op = MS_OP_WRITE, .length = 1, .flags = 2},
	 MS_CAN_WRITE,
	 1,
	 -EINVAL},
	{{.op = MS_OP_COUNT}, 0, 1, -EINVAL},
	{{.op = (enum ms_op)1000}, 0, 1, -EINVAL},
	/* deadlines */
	{{.op = MS_OP_READ, .length = 1, .deadline_ns = 1}, 0, 1, -ETIMEDOUT},
	{{.op = MS_OP_READ, .length = 1, .deadline_ns = UINT64_MAX}, 0, 1, 0},
	{{.op = MS_OP_SYNC, .deadline_ns = 1}, 0, 1, -ETIMEDOUT},
};

static void test_refusals(void)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *r = &refusals[i];
		struct store *s = store_new(r->caps);
		struct ms_io io = r->io;
		s->base.block = r->block;
		io.buf = buffer;
		io.extents_max = 1;
		int rc = ms_wait(&s->base, &io);
		if (rc != r->want)
			(void)fprintf(stderr, "refusal %zu\n", i);
		CHECK_EQ(rc, r->want);
		if (r->want) {
			CHECK_STR(io.origin, "door");
			CHECK_EQ(s->count, 0); /* nothing went through */
			CHECK_HAS(memsync_error(), "door: ");
		}
		ms_close(&s->base);
	}
}

static void test_longest(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ, .buf = buffer};

	s->base.size = UINT64_MAX;
	s->keep = true;
	io.length = MS_IO_MAX + 1;
	CHECK_EQ(ms_wait(&s->base, &io), -EINVAL);
	/* Exactly the longest reaches the store (which fails it here). */
	s->keep = false;
	s->fail_at = 0;
	io.length = MS_IO_MAX;
	CHECK_EQ(ms_wait(&s->base, &io), -EIO);
	CHECK_EQ(s->seen[0].length, MS_IO_MAX);
	/* No buffer for something that needs one. */
	for (enum ms_op op = 0; op < MS_OP_COUNT; op++) {
		if (op != MS_OP_READ && op != MS_OP_EXTENTS)
			continue;
		io = (struct ms_io){.op = op, .length = 1, .extents_max = 1};
		CHECK_EQ(ms_wait(&s->base, &io), -EINVAL);
	}
	io = (struct ms_io){.op = MS_OP_EXTENTS, .length = 1, .buf = buffer};
	CHECK_EQ(ms_wait(&s->base, &io), -EINVAL);
	ms_close(&s->base);
}

static void test_empty_requests_stop_here(void)
{
	struct store *s = store_new(MS_CAN_WRITE);

	for (enum ms_op op = 0; op < MS_OP_COUNT; op++) {
		struct ms_io io = {.op = op, .offset = SIZE};
		if (op == MS_OP_SYNC || op == MS_OP_RESIZE || op == MS_OP_HASH)
			continue;
		io.extents_used = 99;
		CHECK_EQ(ms_wait(&s->base, &io), 0);
		CHECK_EQ(io.extents_used, 0);
	}
	CHECK_EQ(s->count, 0);
	/* SYNC has no range and always goes through. */
	CHECK_EQ(ms_sync(&s->base), 0);
	CHECK_EQ(s->count, 1);
	ms_close(&s->base);
}

/* --- what is supplied ----------------------------------------------------- */

static void test_fua(void)
{
	struct store *s = store_new(MS_CAN_WRITE);
	struct ms_io io = {.op = MS_OP_WRITE,
			   .flags = MS_FUA,
			   .priority = MS_URGENT,
			   .offset = 5,
			   .length = 10,
			   .buf = buffer,
			   .deadline_ns = UINT64_MAX};

	CHECK_EQ(ms_wait(&s->base, &io), 0);
	CHECK_EQ(s->count, 2);
	CHECK_EQ(s->seen[0].op, MS_OP_WRITE);
	CHECK_EQ(s->seen[0].flags, 0);
	CHECK_EQ(s->seen[0].priority, MS_URGENT);
	CHECK_EQ((int64_t)s->seen[0].deadline_ns, (int64_t)UINT64_MAX);
	CHECK_EQ(s->seen[1].op, MS_OP_SYNC);
	/* The first failure is the answer, and ends it. */
	for (int fail = 0; fail < 2; fail++) {
		s->count = 0;
		s->fail_at = fail;
		CHECK_EQ(ms_wait(&s->base, &io), -EIO);
		CHECK_STR(io.origin, "store");
		CHECK_EQ(s->count, fail + 1);
	}
	/* A store that can gets the flag itself. */
	s->base.caps |= MS_CAN_FUA;
	s->count = 0;
	s->fail_at = -1;
	CHECK_EQ(ms_wait(&s->base, &io), 0);
	CHECK_EQ(s->count, 1);
	CHECK_EQ(s->seen[0].flags, MS_FUA);
	ms_close(&s->base);
}

static void test_zero(void)
{
	struct store *s = store_new(MS_CAN_WRITE);

	CHECK_EQ(ms_zero_at(&s->base, SIZE - 20, 10), 0);
	CHECK_EQ(s->bytes[9], 7);
	CHECK(ms_is_zero(s->bytes + 10, SIZE - 20));
	CHECK_EQ(s->bytes[SIZE - 10], 7);
	s->count = 0;
	s->fail_at = 0;
	CHECK_EQ(ms_zero_at(&s->base, 1, 0), -EIO);
	CHECK_EQ(s->bytes[0], 7);
	s->base.caps |= MS_CAN_ZERO;
	s->count = 0;
	s->fail_at = -1;
	CHECK_EQ(ms_zero_at(&s->base, 100, 0), 0);
	CHECK_EQ(s->seen[0].op, MS_OP_ZERO);
	ms_close(&s->base);
}

static void test_trim_extents_populate(void)
{
	struct store *s = store_new(MS_CAN_WRITE);
	struct ms_extent list[3];
	struct ms_io io = {.op = MS_OP_TRIM, .length = 5};

	CHECK_EQ(ms_wait(&s->base, &io), 0);
	io = (struct ms_io){.op = MS_OP_POPULATE, .length = 5};
	CHECK_EQ(ms_wait(&s->base, &io), 0);
	io = (struct ms_io){.op = MS_OP_EXTENTS,
			    .offset = 3,
			    .length = 5,
			    .buf = list,
			    .extents_max = 3};
	CHECK_EQ(ms_wait(&s->base, &io), 0);
	CHECK_EQ(io.extents_used, 1);
	CHECK_EQ(list[0].offset, 3);
	CHECK_EQ(list[0].length, 5);
	CHECK_EQ(list[0].type, MS_EXTENT_DATA);
	CHECK_EQ(s->count, 0);
	CHECK_EQ(s->bytes[0], 7);
	ms_close(&s->base);
}

/* A gigabyte of zeros is 16384 steps; nested they would need 2 MiB of stack. */
static void *zero_a_lot(void *arg)
{
	struct ms_backend *b = arg;

	CHECK_EQ(ms_zero_at(b, UINT64_C(1) << 30, 0), 0);
	return NULL;
}

static void test_long_chains_do_not_nest(void)
{
	struct ms_backend *b = NULL;
	pthread_attr_t attr;
	pthread_t thread;

	CHECK_EQ(ms_open("null:size=1G", &b), 0);
	b->caps &= ~(unsigned)MS_CAN_ZERO;
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, 512 << 10), 0);
	CHECK_EQ(pthread_create(&thread, &attr, zero_a_lot, b), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(pthread_attr_destroy(&attr), 0);
	ms_close(b);
}

/* The steps of a chain may complete on another thread each time. */
static void test_chain_across_threads(void)
{
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_open("delay:time=10us,next=(null:size=8M)", &b), 0);
	b->caps &= ~(unsigned)(MS_CAN_ZERO | MS_CAN_FUA);
	CHECK_EQ(ms_zero_at(b, 8 << 20, 0), 0);
	for (int i = 0; i < 50; i++) {
		struct ms_io io = {.op = MS_OP_WRITE,
				   .flags = MS_FUA,
				   .length = 100,
				   .buf = buffer};
		CHECK_EQ(ms_wait(b, &io), 0);
	}
	ms_close(b);
}

/* --- passing on ----------------------------------------------------------- */

static int ended;

static void count_end(struct ms_io *io)
{
	(void)io;
	ended++;
}

static void test_cancel_and_hurry_reach_the_store(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ,
			   .length = 1,
			   .buf = buffer,
			   .done = count_end};

	s->keep = true;
	ended = 0;
	ms_submit(&s->base, &io);
	CHECK(s->kept == &io);
	ms_hurry(&s->base, &io);
	CHECK(s->hurried == &io);
	ms_cancel(&s->base, &io);
	CHECK(s->cancelled == &io);
	CHECK_EQ(ended, 0);
	/* Without the calls nothing happens. */
	s->base.ops = &plain_ops;
	s->cancelled = NULL;
	ms_cancel(&s->base, &io);
	ms_hurry(&s->base, &io);
	CHECK(!s->cancelled);
	ms_done(&io, -ECANCELED, "store");
	CHECK_EQ(ended, 1);
	CHECK_EQ(io.result, -ECANCELED);
	ms_close(&s->base);
}

static void test_map_and_watch(void)
{
	struct store *s = store_new(0);
	struct ms_mapping m;
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_map(&s->base, 0, 1, &m), -EOPNOTSUPP);
	CHECK_EQ(ms_map(&s->base, 0, 0, &m), -ERANGE);
	CHECK_EQ(ms_map(&s->base, 1, SIZE, &m), -ERANGE);
	CHECK_EQ(ms_map(&s->base, UINT64_MAX, 2, &m), -ERANGE);
	CHECK_HAS(memsync_error(), "store: map");
	CHECK_EQ(ms_watch(&s->base, NULL, NULL), -EOPNOTSUPP);
	ms_close(&s->base);
	CHECK_EQ(ms_open("memory:size=8K", &b), 0);
	CHECK_EQ(ms_map(b, 4096, 4096, &m), 0);
	CHECK_EQ(m.length, 4096);
	CHECK_EQ(m.fd_offset, 4096);
	*(char *)m.addr = 5;
	CHECK_EQ(ms_read_at(b, buffer, 1, 4096), 0);
	CHECK_EQ(buffer[0], 5);
	ms_close(b);
	ms_close(NULL);
}

static void test_names(void)
{
	for (enum ms_op op = 0; op < MS_OP_COUNT; op++)
		CHECK(ms_op_name(op) && *ms_op_name(op));
	CHECK_STR(ms_op_name(MS_OP_COUNT), "unknown operation");
}

/* --- bugs that are caught ------------------------------------------------- */

static void twice(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ,
			   .length = 1,
			   .buf = buffer,
			   .done = count_end};

	ms_submit(&s->base, &io);
	ms_done(&io, 0, "store");
}

static void positive(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ,
			   .length = 1,
			   .buf = buffer,
			   .done = count_end};

	s->keep = true;
	ms_submit(&s->base, &io);
	ms_done(&io, 1, "store");
}

static void again(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ,
			   .length = 1,
			   .buf = buffer,
			   .done = count_end};

	s->keep = true;
	ms_submit(&s->base, &io);
	ms_submit(&s->base, &io);
}

static void without_done(void)
{
	struct store *s = store_new(0);
	struct ms_io io = {.op = MS_OP_READ, .length = 1, .buf = buffer};

	ms_submit(&s->base, &io);
}

/* `bug` in a child must abort, with `text` on stderr. */
static void aborts(void (*bug)(void), const char *text)
{
	struct rlimit none = {0};
	char said[500] = "";
	int pipes[2];
	int status = 0;

	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(pipes[1], STDERR_FILENO);
		bug();
		_exit(0);
	}
	(void)close(pipes[1]);
	size_t used = 0;
	ssize_t n = 0;
	while ((n = read(pipes[0], said + used, sizeof(said) - 1 - used)) > 0)
		used += (size_t)n;
	(void)close(pipes[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGABRT);
	CHECK_HAS(said, text);
}

int main(void)
{
	test_refusals();
	test_longest();
	test_empty_requests_stop_here();
	test_fua();
	test_zero();
	test_trim_extents_populate();
	test_cancel_and_hurry_reach_the_store();
	test_map_and_watch();
	test_names();
	/* Before there are other threads, which fork would not copy. */
	aborts(twice, "bug: a read was completed twice (store)");
	aborts(positive, "");
	aborts(again, "bug: a read was submitted twice");
	aborts(without_done, "bug: a read was submitted without done");
	test_long_chains_do_not_nest();
	test_chain_across_threads();
	return 0;
}

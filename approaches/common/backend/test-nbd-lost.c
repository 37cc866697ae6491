/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store when its server dies: what is under way is asked for again,
 * what was not flushed is in doubt, and who does not come back is given up.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/backend/test-nbd.h"

#include <fcntl.h>
#include <pthread.h>

enum {
	MIB = 1 << 20,
	SIZE = 16 * MIB,
	FLIGHT = 64,
};

/* An empty file of this size beside the server's socket. */
static char *empty_file(const struct nbd_server *s, off_t size)
{
	char *path = NULL;

	CHECK(asprintf(&path, "%s/disk", s->dir) > 0);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, size), 0);
	CHECK_EQ(close(fd), 0);
	return path;
}

static void start(struct nbd_server *s, const char *path)
{
	NBD_START(s, "--filter=delay", "file", path, "rdelay=20ms",
		  "wdelay=20ms");
}

/* Sixty-four megabyte-long requests in all directions, and no error. */
static void fly(struct ms_backend *b, struct nbd_task *t, enum ms_op op,
		char *bytes, int first)
{
	uint64_t part = SIZE / FLIGHT;

	for (int i = first; i < FLIGHT; i += 2)
		nbd_task_start(
			b, &t[i],
			(struct ms_io){.op = op,
				       .offset = (uint64_t)i * part,
				       .length = part,
				       .buf = bytes + (uint64_t)i * part});
}

/*
 * Killed in the middle of reads and writes, started again a little later: all
 * of them succeed, the bytes are right. Once with a signal that lets it answer
 * that it is going, once with one that does not.
 */
static void test_restart(const char *options, int signal_number)
{
	static struct nbd_task t[FLIGHT];
	struct nbd_server s;
	char *bytes = malloc(SIZE);

	CHECK(bytes);
	ms_pattern_fill(1, 0, bytes, SIZE);
	nbd_server_init(&s);
	char *path = empty_file(&s, SIZE);
	start(&s, path);
	struct ms_backend *b = nbd_open_with(&s, options);
	CHECK_EQ(ms_write_at(b, bytes, SIZE, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	/* Odd parts are written anew, even ones read. */
	ms_pattern_fill(2, 0, bytes, SIZE);
	fly(b, t, MS_OP_WRITE, bytes, 1);
	fly(b, t, MS_OP_READ, bytes, 0);
	nbd_pause_ms(15);
	nbd_server_kill(&s, signal_number);
	nbd_pause_ms(150);
	start(&s, path);
	for (int i = 0; i < FLIGHT; i++)
		CHECK_EQ(nbd_task_wait(&t[i]), 0);
	uint64_t reissued = nbd_stat(b, "reissued");
	CHECK(reissued > 0);
	CHECK(nbd_stat(b, "losses") > 0);
	for (uint64_t i = 0; i < FLIGHT; i += 2)
		CHECK(ms_pattern_check(1, i * (SIZE / FLIGHT),
				       bytes + i * (SIZE / FLIGHT),
				       SIZE / FLIGHT, NULL));
	/* The first may fail, because what was answered before was lost. */
	(void)!ms_sync(b);
	CHECK_EQ(ms_sync(b), 0);
	char *again = malloc(SIZE);
	CHECK(again);
	CHECK_EQ(ms_read_at(b, again, SIZE, 0), 0);
	for (uint64_t i = 0; i < FLIGHT; i++)
		CHECK(ms_pattern_check(i % 2 ? 2 : 1, i * (SIZE / FLIGHT),
				       again + i * (SIZE / FLIGHT),
				       SIZE / FLIGHT, NULL));
	(void)printf("%s: killed by %d, %" PRIu64 " commands asked again\n",
		     options, signal_number, reissued);
	free(again);
	free(bytes);
	free(path);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

static void await_connections(struct ms_backend *b, uint64_t count)
{
	uint64_t end = ms_now_ns() + NBD_WAIT_S * MS_NS_PER_S;

	while (nbd_stat(b, "connections") != count) {
		CHECK(ms_now_ns() < end);
		nbd_pause_ms(5);
	}
}

/* Answered, not flushed, and the server gone: the next sync says so, once. */
static void test_doubt(void)
{
	struct nbd_server s;
	char byte = 7;

	nbd_server_init(&s);
	char *path = empty_file(&s, SIZE);
	start(&s, path);
	struct ms_backend *b = nbd_open_with(&s, "connections=2");
	/* Flushed: no doubt. */
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	nbd_server_kill(&s, SIGKILL);
	start(&s, path);
	await_connections(b, 3);
	CHECK_EQ(ms_sync(b), 0);
	/* Durable by itself: no doubt. */
	struct ms_io io = {
		.op = MS_OP_WRITE, .flags = MS_FUA, .length = 1, .buf = &byte};
	CHECK_EQ(ms_wait(b, &io), 0);
	nbd_server_kill(&s, SIGKILL);
	await_connections(b, 0);
	start(&s, path);
	CHECK_EQ(ms_sync(b), 0);
	/* Not flushed. */
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	nbd_server_kill(&s, SIGKILL);
	await_connections(b, 0);
	start(&s, path);
	CHECK_EQ(ms_sync(b), -EIO);
	CHECK_HAS(memsync_error(), "the server was lost with changes");
	CHECK_EQ(ms_sync(b), 0);
	/* A sync that is under way is told, and the next is not. */
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	struct nbd_task sync;
	nbd_server_freeze(&s);
	nbd_task_start(b, &sync, (struct ms_io){.op = MS_OP_SYNC});
	nbd_pause_ms(50);
	nbd_server_kill(&s, SIGKILL);
	CHECK_EQ(nbd_task_wait(&sync), -EIO);
	start(&s, path);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	free(path);
	nbd_server_kill(&s, SIGTERM);
}

/* Nobody comes back: requests end when the time is over, and so do new ones. */
static void test_gone(void)
{
	struct nbd_server s;
	struct nbd_task t[2];
	char buf[2][4096];

	nbd_server_init(&s);
	NBD_START(&s, "--filter=delay", "pattern", "1M", "rdelay=5");
	struct ms_backend *b = nbd_open_with(&s, "reconnect=500ms");
	for (int i = 0; i < 2; i++)
		nbd_task_start(
			b, &t[i],
			(struct ms_io){.op = MS_OP_READ,
				       .length = 4096,
				       .buf = buf[i],
				       .deadline_ns =
					       i ? ms_now_ns() +
							       30 * MS_NS_PER_S
						 : 0});
	nbd_pause_ms(20);
	uint64_t start_ns = ms_now_ns();
	nbd_server_kill(&s, SIGKILL);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(nbd_task_wait(&t[i]), -ENOTCONN);
		CHECK_STR(t[i].io.origin, "nbd");
	}
	uint64_t ms = (ms_now_ns() - start_ns) / MS_NS_PER_MS;
	CHECK(ms >= 490 && ms < 5000);
	CHECK_EQ(ms_read_at(b, buf[0], 4096, 0), -ENOTCONN);
	CHECK_EQ(ms_sync(b), -ENOTCONN);
	ms_close(b);
	/* Without reconnecting they end at once. */
	NBD_START(&s, "--filter=delay", "pattern", "1M", "rdelay=5");
	b = nbd_open_with(&s, "reconnect=0s");
	nbd_task_start(b, &t[0],
		       (struct ms_io){.op = MS_OP_READ,
				      .length = 4096,
				      .buf = buf[0]});
	nbd_pause_ms(20);
	nbd_server_kill(&s, SIGKILL);
	CHECK_EQ(nbd_task_wait(&t[0]), -ENOTCONN);
	ms_close(b);
}

/* What waits for the server to come back keeps its deadline, and its cancel. */
static void test_waiting(void)
{
	struct nbd_server s;
	struct nbd_task t[3];
	char buf[3][4096];

	nbd_server_init(&s);
	NBD_START(&s, "memory", "1M");
	struct ms_backend *b = nbd_open_with(&s, "");
	nbd_server_kill(&s, SIGKILL);
	await_connections(b, 0);
	uint64_t start_ns = ms_now_ns();
	for (int i = 0; i < 3; i++)
		nbd_task_start(
			b, &t[i],
			(struct ms_io){
				.op = MS_OP_READ,
				.priority = MS_URGENT,
				.length = 4096,
				.buf = buf[i],
				.deadline_ns =
					i ? 0 : start_ns + 100 * MS_NS_PER_MS});
	ms_cancel(b, &t[1].io);
	CHECK_EQ(nbd_task_wait(&t[1]), -ECANCELED);
	CHECK_EQ(nbd_task_wait(&t[0]), -ETIMEDOUT);
	NBD_START(&s, "memory", "1M");
	CHECK_EQ(nbd_task_wait(&t[2]), 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* Another export under the same name is not the one that was opened. */
static void test_changed(void)
{
	struct nbd_server s;
	char byte = 0;

	nbd_server_init(&s);
	NBD_START(&s, "memory", "1M");
	struct ms_backend *b = nbd_open_with(&s, "reconnect=400ms");
	CHECK_EQ(ms_read_at(b, &byte, 1, 0), 0);
	nbd_server_kill(&s, SIGKILL);
	NBD_START(&s, "memory", "2M");
	CHECK_EQ(ms_read_at(b, &byte, 1, 0), -ENOTCONN);
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	CHECK(out);
	ms_stats(b, out);
	CHECK_EQ(fclose(out), 0);
	CHECK_HAS(text, "is not the one that was opened");
	free(text);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* Closed while it is looking for a server, and while one does not answer. */
static void test_close(void)
{
	struct nbd_server s;
	struct nbd_task t;
	char buf[512];

	nbd_server_init(&s);
	NBD_START(&s, "memory", "1M");
	struct ms_backend *b = nbd_open_with(&s, "");
	nbd_server_kill(&s, SIGKILL);
	await_connections(b, 0);
	uint64_t start_ns = ms_now_ns();
	ms_close(b);
	CHECK(ms_now_ns() - start_ns < 2 * MS_NS_PER_S);
	NBD_START(&s, "memory", "1M");
	b = nbd_open_with(&s, "");
	nbd_server_freeze(&s);
	nbd_task_start(
		b, &t,
		(struct ms_io){.op = MS_OP_READ,
			       .length = 512,
			       .buf = buf,
			       .deadline_ns = ms_now_ns() + 50 * MS_NS_PER_MS});
	CHECK_EQ(nbd_task_wait(&t), -ETIMEDOUT);
	start_ns = ms_now_ns();
	ms_close(b);
	CHECK(ms_now_ns() - start_ns < 2 * MS_NS_PER_S);
	nbd_server_kill(&s, SIGKILL);
}

int main(void)
{
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed");
	test_restart("connections=4,max-request=64K", SIGKILL);
	test_restart("connections=1", SIGTERM);
	test_doubt();
	test_gone();
	test_waiting();
	test_changed();
	test_close();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server process that is killed and started again, and one that is stopped
 * for a while. It keeps what it is given in its memory until a SYNC brings it
 * to a file, so a kill loses for real what was acknowledged and not synced.
 * Behind a cache nobody may lose anything: after each sync the file holds all.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/wire/test-resume.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum {
	SIZE = (4 << 20) + 4097,
	ROUNDS = 12,
};

/* --- the server process --------------------------------------------------- */

static int be_server(const char *path, const char *uri)
{
	struct ms_backend *b = NULL;
	char spec[512];

	(void)snprintf(spec, sizeof(spec),
		       "cache:local=memory,remote=(file:path=%s),chunk=4K,"
		       "request=64K",
		       path);
	CHECK_EQ(ms_open(spec, &b), 0);
	(void)serve(b, uri, false);
	CHECK_EQ(write(STDOUT_FILENO, "x", 1), 1);
	/* Until it is killed, or the test is gone. */
	char c = 0;
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	return 0;
}

struct process {
	pid_t pid;
	int stdin_fd;
};

static struct process start(const char *self, const char *path, const char *uri)
{
	posix_spawn_file_actions_t actions;
	char *argv[] = {(char *)self, (char *)"serve", (char *)path,
			(char *)uri, NULL};
	struct process p;
	int in[2];
	int out[2];
	char c = 0;

	CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, in[0], 0), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, out[1], 1), 0);
	CHECK_EQ(posix_spawn(&p.pid, self, &actions, NULL, argv, environ), 0);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	(void)close(in[0]);
	(void)close(out[1]);
	p.stdin_fd = in[1];
	CHECK_EQ(read(out[0], &c, 1), 1);
	(void)close(out[0]);
	return p;
}

static void end(struct process *p)
{
	CHECK_EQ(kill(p->pid, SIGKILL), 0);
	CHECK_EQ(waitpid(p->pid, NULL, 0), p->pid);
	(void)close(p->stdin_fd);
}

/* --- the client ----------------------------------------------------------- */

static void check_file(const char *path, const char *want)
{
	static char got[SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, got, SIZE, 0), SIZE);
	(void)close(fd);
	CHECK(memcmp(got, want, SIZE) == 0);
}

static struct ms_backend *open_cache(const char *uri, const char *options)
{
	struct ms_backend *b = NULL;
	char spec[512];

	(void)snprintf(spec, sizeof(spec),
		       "cache:local=memory,remote=(remote:uri=%s%s),chunk=4K,"
		       "request=64K",
		       uri, options);
	CHECK_EQ(ms_open(spec, &b), 0);
	return b;
}

/*
 * Write at places that move, let the cache push some of it, kill, write more,
 * sync. In odd rounds the kill comes into the middle of the sync.
 */
static void test_kill(const char *self, const char *path, const char *uri)
{
	struct process p = start(self, path, uri);
	struct ms_backend *b = open_cache(uri, "");
	struct task sync;
	static char all[SIZE];
	uint64_t x = 1;

	CHECK_EQ(ms_read_at(b, all, SIZE, 0), 0);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned i = 0; i < 40; i++) {
			x = x * UINT64_C(6364136223846793005) + 1;
			uint64_t n = 1 + (x >> 33) % 50000;
			uint64_t at = (x >> 20) % (SIZE - n);
			ms_pattern_fill(round, at, all + at, n);
			CHECK_EQ(ms_write_at(b, all + at, n, at), 0);
			if (i == 20)
				ms_cache_push(b);
		}
		if (round % 2)
			task_start(b, &sync, (struct ms_io){.op = MS_OP_SYNC});
		nap(round % 5);
		end(&p);
		p = start(self, path, uri);
		if (round % 2)
			CHECK_EQ(task_wait(&sync), 0);
		CHECK_EQ(ms_sync(b), 0);
		check_file(path, all);
	}
	CHECK_EQ(stat_of(ms_cache_remote(b), "restarts"), ROUNDS);
	ms_close(b);
	end(&p);
}

/* Without a cache the caller is told, once for each time. */
static void test_told(const char *self, const char *path, const char *uri)
{
	struct process p = start(self, path, uri);
	struct ms_backend *b = open_remote(uri, "");
	static char new[4096];
	static char in[4096];

	memset(new, 'n', sizeof(new));
	CHECK_EQ(ms_write_at(b, new, sizeof(new), 8192), 0);
	end(&p);
	p = start(self, path, uri);
	/* It is lost in fact, so a sync that succeeded would be a lie. */
	CHECK_EQ(ms_read_at(b, in, sizeof(in), 8192), 0);
	CHECK(memcmp(in, new, sizeof(in)) != 0);
	CHECK_EQ(ms_sync(b), -ESTALE);
	CHECK_EQ(ms_write_at(b, new, sizeof(new), 8192), 0);
	CHECK_EQ(ms_sync(b), 0);
	end(&p);
	p = start(self, path, uri);
	CHECK_EQ(ms_read_at(b, in, sizeof(in), 8192), 0);
	CHECK(memcmp(in, new, sizeof(in)) == 0);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	end(&p);
}

/* Stopped for longer than it may be silent: dead, and then the same again. */
static void test_stopped(const char *self, const char *path, const char *uri)
{
	struct process p = start(self, path, uri);
	struct ms_backend *b = open_remote(uri, ",dead-after=500ms");
	struct task t;
	char old[512];
	char new[512];
	char in[512];

	memset(old, 'o', sizeof(old));
	memset(new, 'n', sizeof(new));
	CHECK_EQ(ms_write_at(b, old, sizeof(old), 5), 0);
	CHECK_EQ(kill(p.pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(p.pid, NULL, WUNTRACED), p.pid);
	/* This one waits in the old connection, and is sent again. */
	task_start(b, &t, task_write(new, sizeof(new), 5, MS_URGENT));
	uint64_t start_ns = ms_now_ns();
	while (stat_of(b, "connections"))
		nap(5);
	CHECK(ms_now_ns() - start_ns < 1000 * MS);
	nap(1000);
	CHECK_EQ(kill(p.pid, SIGCONT), 0);
	CHECK_EQ(task_wait(&t), 0);
	stat_await(b, "reconnects", 1);
	CHECK_EQ(stat_of(b, "restarts"), 0);
	for (unsigned i = 0; i < 20; i++) {
		memset(new, 'a' + (int)i, sizeof(new));
		CHECK_EQ(ms_write_at(b, new, sizeof(new), 5), 0);
		nap(5);
		CHECK_EQ(ms_read_at(b, in, sizeof(in), 5), 0);
		CHECK(memcmp(in, new, sizeof(in)) == 0);
	}
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	end(&p);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMP");
	char path[128];

	if (argc == 4)
		return be_server(argv[2], argv[3]);
	(void)snprintf(path, sizeof(path), "%.80s/ms-kill-%d",
		       tmp ? tmp : "/tmp", (int)getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, SIZE), 0);
	(void)close(fd);
	test_kill("/proc/self/exe", path, unix_uri());
	test_told("/proc/self/exe", path, unix_uri());
	test_stopped("/proc/self/exe", path, unix_uri());
	(void)unlink(path);
	(void)unlink(unix_uri() + strlen("unix://"));
	return 0;
}

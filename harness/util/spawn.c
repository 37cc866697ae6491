/* SPDX-License-Identifier: Apache-2.0 */
/* Run a program to its end; see spawn.h. */
#include "harness/util/spawn.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Between fork and exec: async-signal-safe calls only. */
static void __attribute__((noreturn))
become(const char *const argv[], pid_t parent, enum spawn_keep keep, int kept,
       int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;
	int code;

	/* The caller may take its signals by a descriptor. */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(127);
	if (null < 0 || dup2(null, 0) < 0 ||
	    dup2(keep == SPAWN_STDOUT ? kept : null, 1) < 0 ||
	    (keep == SPAWN_STDERR && dup2(kept, 2) < 0))
		_exit(127);
	execvp(argv[0], (char *const *)argv);
	code = errno;
	if (write(report, &code, sizeof(code)) != (ssize_t)sizeof(code))
		_exit(126);
	_exit(127);
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Read `fd` to its end or until the time is over; keeps what fits. */
static int drain(int fd, int64_t end, char *said, size_t size)
{
	char buf[512];
	size_t have = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = end - now_ms();
		ssize_t n;
		int r;

		if (left <= 0)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)left);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r <= 0)
			continue;
		n = read(fd, buf, sizeof(buf));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		for (ssize_t i = 0; i < n && have + 1 < size; i++)
			said[have++] = buf[i];
		said[have] = '\0';
	}
}

static int finish(pid_t pid, int r, const char *name)
{
	int status = 0;
	pid_t got;

	if (r)
		(void)kill(pid, SIGKILL);
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (r)
		return ms_err(r, "run %s", name);
	if (got < 0)
		return ms_err(-errno, "run %s", name);
	if (WIFSIGNALED(status))
		return ms_err(-EINTR, "run %s: ended by signal %d", name,
			      WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void close_pair(const int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
}

int spawn_wait(const char *const argv[], enum spawn_keep keep, unsigned seconds,
	       char *said, size_t size)
{
	int kept[2] = {-1, -1};
	int report[2] = {-1, -1};
	pid_t parent = getpid();
	int64_t end = now_ms() + (int64_t)seconds * 1000;
	int code = 0;
	int r = 0;
	pid_t pid;

	said[0] = '\0';
	if (pipe2(kept, O_CLOEXEC) || pipe2(report, O_CLOEXEC)) {
		r = ms_err(-errno, "run %s", argv[0]);
		goto out;
	}
	pid = fork();
	if (pid < 0) {
		r = ms_err(-errno, "run %s", argv[0]);
		goto out;
	}
	if (pid == 0)
		become(argv, parent, keep, kept[1], report[1]);
	(void)close(kept[1]);
	(void)close(report[1]);
	kept[1] = report[1] = -1;
	r = finish(pid, drain(kept[0], end, said, size), argv[0]);
	/* Closed by exec, so that only a failed one has written. */
	if (r >= 0 && read(report[0], &code, sizeof(code)) == sizeof(code))
		r = ms_err(-code, "run %s", argv[0]);
out:
	close_pair(kept);
	close_pair(report);
	return r;
}

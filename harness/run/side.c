/* SPDX-License-Identifier: Apache-2.0 */
/* The harness' side of a program that runs; see side.h. Init is side-init.c. */
#include "harness/run/side.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/run/no-memory.h"
#include "harness/run/side-init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a side may take to notice that the other one is gone. */
#define LOST_GRACE_NS (3 * MS_NS_PER_S)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Descriptors that init needs; all close on exec. */
static int open_fds(const struct side_config *config, struct side_init *i,
		    int out[2], int status[2])
{
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;

	if (pipe2(out, O_CLOEXEC) || pipe2(status, O_CLOEXEC))
		return ms_err(-errno, "%s: pipe", config->name);
	i->out = out[1];
	i->status = status[1];
	i->log = open(config->log ? config->log : "/dev/null", flags, 0644);
	if (i->log < 0)
		return ms_err(-errno, "%s: open %s", config->name,
			      config->log ? config->log : "/dev/null");
	i->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (i->null < 0)
		return ms_err(-errno, "%s: open /dev/null", config->name);
	i->owner = (int)syscall(SYS_pidfd_open, getpid(), 0U);
	if (i->owner < 0)
		return ms_err(-errno, "%s: pidfd_open", config->name);
	return 0;
}

int side_start(const struct side_config *config, struct side *ret)
{
	struct side_init init = {.config = config,
				 .out = -1,
				 .status = -1,
				 .log = -1,
				 .null = -1,
				 .owner = -1};
	struct side s = {
		.name = config->name, .pid = -1, .cgroup = config->cgroup};
	int out[2] = {-1, -1};
	int status[2] = {-1, -1};
	int err = 0;

	s.text = calloc(1, SIDE_OUTPUT_MAX + 1);
	if (!s.text)
		err = no_memory(config->name);
	if (!err)
		err = open_fds(config, &init, out, status);
	if (!err) {
		s.pid = side_init_clone(&init);
		if (s.pid < 0)
			err = ms_err((int)s.pid, "%s: clone", config->name);
	}
	close_fd(&out[1]);
	close_fd(&status[1]);
	close_fd(&init.log);
	close_fd(&init.null);
	close_fd(&init.owner);
	if (err) {
		close_fd(&out[0]);
		close_fd(&status[0]);
		free(s.text);
		return err;
	}
	s.out = out[0];
	s.status_fd = status[0];
	(void)fcntl(s.out, F_SETFL, O_NONBLOCK);
	*ret = s;
	return 0;
}

/* Take what is there. */
static void read_out(struct side *s)
{
	static char drop[4096]; /* never read */

	while (s->out >= 0) {
		size_t room = SIDE_OUTPUT_MAX - s->len;
		ssize_t n = read(s->out, room ? s->text + s->len : drop,
				 room ? room : sizeof(drop));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_fd(&s->out);
			return;
		}
		if (room)
			s->len += (size_t)n;
		else
			s->overflow = true;
		s->text[s->len] = '\0';
	}
}

/* Wait for init, which has nothing left to do or has been killed. */
static void reap(struct side *s)
{
	struct rusage usage;
	int status = 0;

	if (s->pid < 0)
		return;
	while (wait4(s->pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return;
	s->pid = -1;
	if (s->cgroup)
		cgroup_reaped(s->cgroup, &usage);
}

/* Init has written how the program ended, or was killed before it could. */
static void read_status(struct side *s)
{
	ssize_t n;

	do
		n = read(s->status_fd, &s->status, sizeof(s->status));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(s->status))
		s->status = SIGKILL;
	close_fd(&s->status_fd);
	reap(s);
	/* All writers are gone now, so that this reads to the end. */
	read_out(s);
	close_fd(&s->out);
	s->ended = true;
}

/* Handle what poll found; `fds` are those of side_poll_fds. */
static void handle(struct side *s, const struct pollfd fds[2])
{
	if (fds[0].revents)
		read_out(s);
	if (fds[1].revents)
		read_status(s);
}

static void poll_fds(const struct side *s, struct pollfd fds[2])
{
	fds[0] = (struct pollfd){.fd = s ? s->out : -1, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = s ? s->status_fd : -1, .events = POLLIN};
}

/* One wait for anything. Returns 0 when the deadline or a stop ended it. */
static int step(struct side *s, struct side *other, int stop_fd,
		uint64_t deadline_ns, enum side_event *ret)
{
	struct pollfd fds[5];
	uint64_t now = ms_now_ns();
	struct timespec t =
		ms_timespec(now < deadline_ns ? deadline_ns - now : 0);
	int n;

	poll_fds(s, fds);
	poll_fds(other && !other->ended ? other : NULL, fds + 2);
	fds[4] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
	n = ppoll(fds, 5, &t, NULL);
	if (n < 0 && errno != EINTR) {
		*ret = SIDE_TIMEOUT;
		return 0;
	}
	if (n > 0) {
		handle(s, fds);
		if (other)
			handle(other, fds + 2);
		if (fds[4].revents) {
			*ret = SIDE_STOPPED;
			return 0;
		}
	}
	if (ms_now_ns() >= deadline_ns && !s->ended) {
		*ret = SIDE_TIMEOUT;
		return 0;
	}
	return 1;
}

/* Is there a whole line that starts with `prefix`? */
static bool has_line(const struct side *s, const char *prefix)
{
	size_t len = strlen(prefix);

	for (const char *line = s->text; line;) {
		const char *end = strchr(line, '\n');

		if (end && !strncmp(line, prefix, len))
			return true;
		line = end ? end + 1 : NULL;
	}
	return false;
}

enum side_event side_wait_line(struct side *s, const char *prefix, int stop_fd,
			       uint64_t deadline_ns)
{
	enum side_event e = SIDE_DONE;

	while (!has_line(s, prefix)) {
		if (s->ended)
			return SIDE_LOST;
		if (!step(s, NULL, stop_fd, deadline_ns, &e))
			return e;
	}
	return SIDE_DONE;
}

enum side_event side_wait_end(struct side *s, struct side *other, int stop_fd,
			      uint64_t deadline_ns)
{
	enum side_event e = SIDE_DONE;
	bool lost = false;

	while (!s->ended) {
		if (other && other->ended && !lost) {
			uint64_t grace = ms_now_ns() + LOST_GRACE_NS;

			lost = true;
			deadline_ns = grace < deadline_ns ? grace : deadline_ns;
		}
		if (!step(s, other, stop_fd, deadline_ns, &e))
			return lost && e == SIDE_TIMEOUT ? SIDE_LOST : e;
	}
	return SIDE_DONE;
}

bool side_stop(struct side *s, uint64_t grace_ns)
{
	uint64_t end = ms_now_ns() + grace_ns;
	enum side_event e;

	if (s->ended || s->pid < 0)
		return true;
	if (grace_ns) {
		(void)kill(s->pid, SIGTERM);
		while (!s->ended && step(s, NULL, -1, end, &e))
			;
		if (s->ended)
			return true;
	}
	(void)kill(s->pid, SIGKILL);
	read_status(s);
	return false;
}

void side_release(struct side *s)
{
	(void)side_stop(s, 0);
	free(s->text);
	*s = (struct side){.pid = -1, .out = -1, .status_fd = -1};
}

const char *side_status_text(const struct side *s)
{
	static _Thread_local char text[80];
	int sig;

	if (WIFEXITED(s->status)) {
		(void)snprintf(text, sizeof(text), "exit status %d",
			       WEXITSTATUS(s->status));
		return text;
	}
	sig = WTERMSIG(s->status);
	(void)snprintf(text, sizeof(text), "killed by signal %d (%s)", sig,
		       sigdescr_np(sig) ? sigdescr_np(sig) : "unknown");
	return text;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing is left of a link: after link_close, after a failed link_open, when
 * its owner is killed by SIGINT, SIGTERM or SIGKILL, and when the emulator
 * itself is killed. A namespace counts as left while any process is in it or
 * holds a descriptor of it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "approaches/common/util/clock.h"
#include "harness/cmd.h"
#include "harness/link/measure.h"
#include "harness/link/test-live.h"

#define LIMIT_NS (10 * MS_NS_PER_S)

/* What an owner says about its link. */
struct traces {
	ino_t ns[2];
	pid_t emulator;
};

static ino_t inode_of(int fd)
{
	struct stat st;

	CHECK_EQ(fstat(fd, &st), 0);
	return st.st_ino;
}

static bool refers(const char *path, const struct traces *t)
{
	char text[64];
	char want[64];
	ssize_t n = readlink(path, text, sizeof(text) - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	for (int i = 0; i < 2; i++) {
		(void)snprintf(want, sizeof(want), "net:[%lu]",
			       (unsigned long)t->ns[i]);
		if (!strcmp(text, want))
			return true;
	}
	return false;
}

static bool process_refers(const char *pid, const struct traces *t)
{
	char path[600];
	struct dirent *e;
	bool found;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	found = refers(path, t);
	(void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		(void)snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid,
			       e->d_name);
		found = refers(path, t);
	}
	if (d)
		(void)closedir(d);
	return found;
}

static bool anything_left(const struct traces *t)
{
	struct dirent *e;
	bool found = false;
	DIR *d = opendir("/proc");

	CHECK(d);
	while (!found && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			found = process_refers(e->d_name, t);
	(void)closedir(d);
	return found || (t->emulator > 0 && kill(t->emulator, 0) == 0);
}

static void wait_until_gone(const struct traces *t)
{
	uint64_t end = ms_now_ns() + LIMIT_NS;
	struct timespec pause = ms_timespec(5 * MS_NS_PER_MS);

	while (anything_left(t)) {
		if (ms_now_ns() > end) {
			(void)fprintf(stderr,
				      "something of the link is left "
				      "(emulator %d)\n",
				      (int)t->emulator);
			exit(1);
		}
		(void)nanosleep(&pause, NULL);
	}
}

static struct traces traces_of(struct link *l)
{
	return (struct traces){.ns = {inode_of(link_namespace(l, 0)),
				      inode_of(link_namespace(l, 1))},
			       .emulator = link_emulator_pid(l)};
}

static void closed(void)
{
	struct link *l = live_open("rtt=1");
	struct traces t = traces_of(l);

	CHECK(anything_left(&t));
	link_close(l);
	CHECK(!anything_left(&t));
	link_close(NULL);
}

/* An owner with a link and a program inside of it, ended by a signal. */
static void owner_killed(int signo)
{
	struct traces t;
	int pipes[2];
	pid_t pid;

	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct link *l = live_open("rtt=1,rate=100M");

		t = traces_of(l);
		CHECK_EQ(write(pipes[1], &t, sizeof(t)), sizeof(t));
		for (;;)
			(void)pause();
	}
	(void)close(pipes[1]);
	CHECK_EQ(read(pipes[0], &t, sizeof(t)), sizeof(t));
	(void)close(pipes[0]);
	CHECK(anything_left(&t));
	CHECK_EQ(kill(pid, signo), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	wait_until_gone(&t);
}

/* The link is dead then, says so, and can still be closed. */
static void emulator_killed(void)
{
	struct link *l = live_open("rtt=1");
	struct emulate_stats s;
	struct traces t = traces_of(l);

	CHECK_EQ(kill(t.emulator, SIGKILL), 0);
	CHECK_EQ(link_emulator_stats(l, &s), -EPIPE);
	CHECK_HAS(ms_err_text(), "ended");
	CHECK_EQ(link_cut(l, true), -EPIPE);
	CHECK(link_healthy(l) < 0);
	link_close(l);
	CHECK(!anything_left(&t));
}

static int file_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void failed_open_leaks_nothing(void)
{
	struct link_options options = {.driver = LINK_EMULATED,
				       .congestion = "nonesuch"};
	struct link_profile p;
	struct link *l = NULL;
	int before = file_descriptors();

	LIVE_OK(link_profile_parse("rtt=1", &p));
	CHECK(link_open(&p, &options, &l) < 0);
	CHECK_EQ(file_descriptors(), before);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	l = live_open("rtt=1");
	link_close(l);
	CHECK_EQ(file_descriptors(), before);
}

/* `link run`: its command's exit code, and its end by a signal. */
static int run_command(const char *command, int signo)
{
	char words[][32] = {"link",	"run",	   "-q",	 "-d",
			    "emulated", "-o",	   "sleep 1000", "rtt=1",
			    "--",	"/bin/sh", "-c"};
	char *argv[16];
	int status = 0;
	int argc = 0;
	int pipes[2];
	pid_t pid;
	char c;

	for (; argc < 11; argc++)
		argv[argc] = words[argc];
	argv[argc++] = (char *)command;
	argv[argc] = NULL;
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		(void)dup2(pipes[1], STDOUT_FILENO);
		exit(cmd_link(argc, argv));
	}
	(void)close(pipes[1]);
	/* the command writes when it runs */
	CHECK_EQ(read(pipes[0], &c, 1), 1);
	if (signo)
		CHECK_EQ(kill(pid, signo), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	/* all that had the pipe are gone, the other end's command as well */
	while (read(pipes[0], &c, 1) > 0)
		;
	(void)close(pipes[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int main(void)
{
	live_need(false);
	closed();
	owner_killed(SIGINT);
	owner_killed(SIGTERM);
	owner_killed(SIGKILL);
	emulator_killed();
	failed_open_leaks_nothing();
	CHECK_EQ(run_command("echo x; exit 7", 0), 7);
	CHECK_EQ(run_command("echo x; exec sleep 1000", SIGTERM), 128 + 15);
	CHECK_EQ(run_command("echo x; exec sleep 1000", SIGKILL), -9);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Sides: what they print, how they end, and that nothing of them stays. */
#include "tests/check.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/run/side.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char log_path[300];

static struct side start(const char *script)
{
	char shell[] = "/bin/sh";
	char option[] = "-c";
	char *text = strdup(script);
	char *argv[] = {shell, option, text, NULL};
	const struct side_config config = {.name = "side",
					   .program = shell,
					   .argv = argv,
					   .log = log_path,
					   .pid_namespace = geteuid() == 0};
	struct side s;

	CHECK_EQ(side_start(&config, &s), 0);
	free(text);
	return s;
}

static uint64_t in_ms(uint64_t ms)
{
	return ms_now_ns() + ms * MS_NS_PER_MS;
}

static void ends(const char *script, const char *text, const char *status)
{
	struct side s = start(script);

	CHECK_EQ(side_wait_end(&s, NULL, -1, in_ms(10000)), SIDE_DONE);
	CHECK_STR(s.text, text);
	CHECK_STR(side_status_text(&s), status);
	side_release(&s);
}

static void ends_are_told(void)
{
	ends("echo hello", "hello\n", "exit status 0");
	ends("exit 3", "", "exit status 3");
	ends("kill -9 $$", "", "killed by signal 9 (Killed)");
	ends("echo x; kill -SEGV $$", "x\n",
	     "killed by signal 11 (Segmentation fault)");
}

static void lines_are_waited_for(void)
{
	struct side s = start("echo not yet; echo ready now; sleep 100");

	CHECK_EQ(side_wait_line(&s, "ready", -1, in_ms(10000)), SIDE_DONE);
	CHECK_EQ(side_wait_line(&s, "never", -1, in_ms(50)), SIDE_TIMEOUT);
	side_release(&s);
	s = start("echo read; exit 1");
	CHECK_EQ(side_wait_line(&s, "ready", -1, in_ms(10000)), SIDE_LOST);
	CHECK_STR(side_status_text(&s), "exit status 1");
	side_release(&s);
}

/* TERM is passed on; whoever does not listen is killed. */
static void stopping(void)
{
	struct side s = start("trap 'echo bye; exit 5' TERM; echo up; "
			      "while :; do sleep 0.01; done");

	CHECK_EQ(side_wait_line(&s, "up", -1, in_ms(10000)), SIDE_DONE);
	CHECK(side_stop(&s, 5 * MS_NS_PER_S));
	CHECK_HAS(s.text, "bye\n");
	CHECK_STR(side_status_text(&s), "exit status 5");
	side_release(&s);
	s = start("trap '' TERM; echo up; while :; do sleep 0.01; done");
	CHECK_EQ(side_wait_line(&s, "up", -1, in_ms(10000)), SIDE_DONE);
	CHECK(!side_stop(&s, 50 * MS_NS_PER_MS));
	CHECK_STR(side_status_text(&s), "killed by signal 9 (Killed)");
	side_release(&s);
}

static void stop_descriptor(void)
{
	int fds[2];
	struct side s = start("sleep 100");

	CHECK(!pipe2(fds, O_CLOEXEC));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(side_wait_end(&s, NULL, fds[0], in_ms(10000)), SIDE_STOPPED);
	side_release(&s);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void other_side_is_watched(void)
{
	struct side source = start("exit 4");
	struct side target = start("sleep 100");
	uint64_t before = ms_now_ns();

	CHECK_EQ(side_wait_end(&target, &source, -1, in_ms(60000)), SIDE_LOST);
	CHECK(ms_now_ns() - before < 30 * MS_NS_PER_S);
	CHECK(source.ended);
	CHECK_STR(side_status_text(&source), "exit status 4");
	side_release(&target);
	side_release(&source);
}

static void too_much_is_dropped(void)
{
	struct side s = start("head -c 3000000 /dev/zero | tr '\\0' x");

	CHECK_EQ(side_wait_end(&s, NULL, -1, in_ms(20000)), SIDE_DONE);
	CHECK(s.overflow);
	CHECK_EQ(s.len, SIDE_OUTPUT_MAX);
	side_release(&s);
}

/*
 * Processes of a test are `sleep` for a time that no other process has: the
 * test's pid and a digit behind 100000 seconds.
 */
static bool runs(int digit)
{
	char command[120];

	(void)snprintf(command, sizeof(command),
		       "grep -aqsx 'sleep.100000.%d%d.' /proc/[0-9]*/cmdline",
		       digit, (int)getpid());
	/* NOLINTNEXTLINE(cert-env33-c) */
	return system(command) == 0;
}

/* A sleep in the background, then `command` with the other time. */
static struct side start_sleeps(const char *command, pid_t of)
{
	char script[256];
	char first[40];
	char second[40];

	(void)snprintf(first, sizeof(first), "100000.1%d", (int)of);
	(void)snprintf(second, sizeof(second), "100000.2%d", (int)of);
	(void)snprintf(script, sizeof(script),
		       "(setsid sleep %s &) ; echo up; %s %s", first, command,
		       second);
	return start(script);
}

static void nothing_stays(void)
{
	struct side s;

	if (geteuid() != 0)
		return;
	s = start_sleeps("sleep", getpid());
	CHECK_EQ(side_wait_line(&s, "up", -1, in_ms(10000)), SIDE_DONE);
	side_release(&s);
	CHECK(!runs(1) && !runs(2));
	/* Also when the program itself ends first. */
	s = start_sleeps("true", getpid());
	CHECK_EQ(side_wait_end(&s, NULL, -1, in_ms(10000)), SIDE_DONE);
	side_release(&s);
	CHECK(!runs(1));
}

/* In the child: a harness that is at work until it is killed. */
static void __attribute__((noreturn)) work(pid_t test, int ready)
{
	struct side s;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	s = start_sleeps("sleep", test);
	if (side_wait_line(&s, "up", -1, in_ms(10000)) != SIDE_DONE ||
	    write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		(void)pause();
}

/* The harness killed by SIGKILL: its sides go as well. */
static void harness_killed(void)
{
	int fds[2];
	char byte = 0;
	pid_t test = getpid();
	pid_t pid;

	if (geteuid() != 0)
		return;
	CHECK(!pipe2(fds, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		work(test, fds[1]);
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	for (int i = 0; i < 500 && !(runs(1) && runs(2)); i++)
		(void)usleep(10000);
	CHECK(runs(1) && runs(2));
	CHECK(!kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	for (int i = 0; i < 500 && (runs(1) || runs(2)); i++)
		(void)usleep(10000);
	CHECK(!runs(1) && !runs(2));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void log_is_kept(void)
{
	struct side s = start("echo to the log >&2; exit 0");
	char text[100] = "";
	FILE *f;

	CHECK_EQ(side_wait_end(&s, NULL, -1, in_ms(10000)), SIDE_DONE);
	side_release(&s);
	f = fopen(log_path, "re");
	CHECK(f);
	while (fgets(text, sizeof(text), f))
		;
	CHECK_STR(text, "to the log\n");
	(void)fclose(f);
}

int main(void)
{
	(void)snprintf(log_path, sizeof(log_path), "%s/side-%d.log",
		       getenv("TMP") ? getenv("TMP") : "/tmp", (int)getpid());
	ends_are_told();
	lines_are_waited_for();
	stopping();
	stop_descriptor();
	other_side_is_watched();
	too_much_is_dropped();
	nothing_stays();
	harness_killed();
	log_is_kept();
	CHECK(!unlink(log_path));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a side: enters the namespace, the control group and the
 * processors, starts the program, passes SIGTERM on, reaps, and reports how
 * the program ended. It runs between a clone and no exec, so it makes only
 * async-signal-safe calls.
 */
#include "harness/run/side-init.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	EXIT_SETUP = 126,
	EXIT_EXEC = 127,
};

static void say(const struct side_init *i, const char *what, int err)
{
	const char *parts[] = {"memsync-bench: ", what, ": ",
			       ms_errno_text(err), "\n"};

	for (size_t k = 0; k < sizeof(parts) / sizeof(*parts); k++)
		if (write(i->log, parts[k], strlen(parts[k])) < 0)
			return;
}

static void __attribute__((noreturn))
report(const struct side_init *i, int status)
{
	if (write(i->status, &status, sizeof(status)) != sizeof(status))
		_exit(1);
	_exit(0);
}

static void __attribute__((noreturn))
give_up(const struct side_init *i, const char *what, int err)
{
	say(i, what, err);
	report(i, W_EXITCODE(EXIT_SETUP, 0));
}

/* The program's process: until exec. */
static void __attribute__((noreturn)) become(const struct side_init *i)
{
	sigset_t none;

	(void)sigemptyset(&none);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || dup2(i->null, 0) < 0 ||
	    dup2(i->out, 1) < 0 || dup2(i->log, 2) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL)) {
		say(i, "set up the program", errno);
		_exit(EXIT_SETUP);
	}
	(void)execv(i->config->program, i->config->argv);
	say(i, i->config->program, errno);
	_exit(EXIT_EXEC);
}

/* Die with the harness, also if it died before this was arranged. */
static void tie(const struct side_init *i)
{
	struct pollfd p = {.fd = i->owner, .events = POLLIN};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		give_up(i, "prctl", errno);
	if (poll(&p, 1, 0) != 0)
		_exit(1);
}

static void enter(const struct side_init *i)
{
	const struct side_config *c = i->config;
	int err = 0;

	if (setsid() < 0)
		give_up(i, "setsid", errno);
	if (c->cgroup)
		err = cgroup_enter(c->cgroup);
	if (err)
		give_up(i, "enter the control group", -err);
	if (c->link)
		err = link_enter(c->link, c->end);
	if (err)
		give_up(i, "enter the network namespace", -err);
	if (c->cpus && sched_setaffinity(0, sizeof(*c->cpus), c->cpus))
		give_up(i, "sched_setaffinity", errno);
	if (c->dir && chdir(c->dir))
		give_up(i, c->dir, errno);
}

static void __attribute__((noreturn))
attend(const struct side_init *i, pid_t program)
{
	sigset_t set;
	int status = 0;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	for (;;) {
		int sig = sigwaitinfo(&set, NULL);
		pid_t pid = 0;

		if (sig == SIGTERM)
			(void)kill(program, SIGTERM);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid != program)
				continue;
			/* Without a PID namespace: at least its group. */
			if (!i->config->pid_namespace)
				(void)kill(-program, SIGKILL);
			report(i, status);
		}
	}
}

static void __attribute__((noreturn)) init_main(const struct side_init *i)
{
	sigset_t all;
	pid_t program;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)prctl(PR_SET_NAME, "memsync-side", 0, 0, 0);
	tie(i);
	enter(i);
	program = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (program < 0)
		give_up(i, "clone", errno);
	if (program == 0) {
		(void)setpgid(0, 0);
		become(i);
	}
	(void)close(i->out);
	attend(i, program);
}

pid_t side_init_clone(const struct side_init *i)
{
	unsigned long flags = SIGCHLD;
	pid_t pid;

	if (i->config->pid_namespace)
		flags |= CLONE_NEWPID;
	/* Not fork: that cannot make a namespace for the child alone. */
	pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
	if (pid == 0)
		init_main(i);
	return pid < 0 ? -errno : pid;
}

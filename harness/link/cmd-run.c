/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench link run`: a command at one end of a link, and if wanted a
 * second one at the other end as long as the first runs.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/link/cmd-internal.h"

struct run_config {
	int driver;
	int end;
	char *congestion;
	char *other;
	bool quiet;
};

static const char *const ends[] = {"source", "target", NULL};

static const struct ms_opt run_table[] = {
	MS_OPT_CHOICE(struct run_config, driver, "driver", 'd', "auto",
		      link_driver_choices, "how the link is emulated"),
	MS_OPT_CHOICE(struct run_config, end, "end", 'e', "target", ends,
		      "the end at which the command runs"),
	MS_OPT_STRING(struct run_config, other, "other", 'o', NULL, "COMMAND",
		      "shell command at the other end meanwhile"),
	MS_OPT_STRING(struct run_config, congestion, "congestion", 0, "cubic",
		      "NAME", "TCP congestion control in the namespaces"),
	MS_OPT_FLAG(struct run_config, quiet, "quiet", 'q',
		    "do not describe the link on stderr"),
	MS_OPT_END};

static const char program[] = "memsync-bench link run";

/* The command that has to hear of a signal that only we got. */
static volatile sig_atomic_t command_pid;

static void forward(int signo)
{
	if (command_pid > 0)
		(void)kill((pid_t)command_pid, signo);
}

static void set_signal(int signo, void (*handler)(int))
{
	struct sigaction a = {.sa_handler = handler};

	(void)sigaction(signo, &a, NULL);
}

static void child(const struct link *l, unsigned end, char *const argv[])
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (int s = 1; s < NSIG; s++)
		set_signal(s, SIG_DFL);
	if (link_enter(l, end) == 0) {
		(void)execvp(argv[0], argv);
		(void)fprintf(stderr, "%s: %s: %s\n", program, argv[0],
			      ms_errno_text(errno));
	} else {
		(void)fprintf(stderr, "%s: %s\n", program, ms_err_text());
	}
	_exit(errno == ENOENT ? 127 : 126);
}

static int start(const struct link *l, unsigned end, char *const argv[],
		 pid_t *ret_pid)
{
	pid_t pid = fork();

	if (pid < 0)
		return ms_err(-errno, "link: fork");
	if (pid == 0)
		child(l, end, argv);
	*ret_pid = pid;
	return 0;
}

/*
 * Watches over the other end's command: a process group of its own that ends
 * as a whole when the owner ends, also by SIGKILL, or when it is told to.
 */
static void keeper(const struct link *l, unsigned end, char *const argv[],
		   int owner)
{
	struct pollfd gone = {.fd = owner, .events = POLLIN};
	pid_t pid = -1;

	(void)setpgid(0, 0);
	if (start(l, end, argv, &pid) == 0)
		while (poll(&gone, 1, -1) <= 0)
			;
	(void)kill(0, SIGKILL);
	_exit(LINK_EXIT_FAILED);
}

static int start_other(const struct link *l, unsigned end, char *const argv[],
		       pid_t *ret_pid)
{
	int owner = (int)syscall(SYS_pidfd_open, getpid(), 0U);
	pid_t pid;

	if (owner < 0)
		return ms_err(-errno, "link: pidfd of the own process");
	pid = fork();
	if (pid == 0)
		keeper(l, end, argv, owner);
	(void)close(owner);
	if (pid < 0)
		return ms_err(-errno, "link: fork");
	(void)setpgid(pid, pid);
	*ret_pid = pid;
	return 0;
}

static int wait_code(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return LINK_EXIT_FAILED;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

static void describe(const struct link *l, unsigned end)
{
	char text[160];

	link_profile_format(link_profile(l), text, sizeof(text));
	(void)fprintf(stderr,
		      "link %s (%s) by %s: source %s, target %s; the command "
		      "runs at the %s\n",
		      link_profile(l)->name, text,
		      link_driver_name(link_driver(l)),
		      link_address(l, LINK_SOURCE),
		      link_address(l, LINK_TARGET), ends[end]);
}

static int run_commands(const struct link *l, const struct run_config *c,
			char **argv)
{
	char *other[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, c->other, NULL};
	unsigned end = (unsigned)c->end;
	pid_t other_pid = -1;
	pid_t pid = -1;
	int code;
	int r = 0;

	if (setenv("MEMSYNC_LINK_SOURCE", link_address(l, LINK_SOURCE), 1) ||
	    setenv("MEMSYNC_LINK_TARGET", link_address(l, LINK_TARGET), 1))
		return link_cmd_fail(program, ms_err(-errno, "link: setenv"));
	/* the terminal's own go to the command as well; we outlive it */
	set_signal(SIGINT, SIG_IGN);
	set_signal(SIGQUIT, SIG_IGN);
	set_signal(SIGTERM, forward);
	set_signal(SIGHUP, forward);
	if (c->other)
		r = start_other(l, 1 - end, other, &other_pid);
	if (!r)
		r = start(l, end, argv, &pid);
	command_pid = pid;
	code = r ? link_cmd_fail(program, r) : wait_code(pid);
	command_pid = 0;
	if (other_pid > 0) {
		(void)kill(-other_pid, SIGKILL);
		(void)wait_code(other_pid);
	}
	return code;
}

static int run(const struct link_profile *p, const struct run_config *c,
	       char **argv)
{
	struct link_options options = {.driver = (enum link_driver)c->driver,
				       .congestion = c->congestion};
	struct link *l;
	int r = link_open(p, &options, &l);

	if (r)
		return link_cmd_fail(program, r);
	if (!c->quiet)
		describe(l, (unsigned)c->end);
	r = run_commands(l, c, argv);
	link_close(l);
	return r;
}

int link_cmd_run(int argc, char **argv)
{
	static const struct ms_opt_command command = {
		.program = program,
		.synopsis = "[OPTIONS] PROFILE [--] COMMAND [ARGUMENTS]",
		.summary = "Run a command at one end of an emulated link",
		.epilogue = "MEMSYNC_LINK_SOURCE and MEMSYNC_LINK_TARGET hold "
			    "the addresses. Example:\n"
			    "  memsync-bench link run -o 'iperf3 -s' wan-20 -- "
			    "iperf3 -c 10.77.1.1",
		.table = run_table,
		.operands_min = 2,
		.operands_max = UINT_MAX,
		.stop_at_operand = true,
	};
	struct run_config config = {.driver = 0};
	struct link_profile profile;
	struct ms_opt_result result;
	int rc = ms_opt_parse(&command, &config, argc, argv, &result);
	char **operands = argv + result.first_operand;

	if (rc) {
		rc = rc < 0 ? LINK_EXIT_USAGE : 0;
	} else if (result.dump_config) {
		ms_opt_dump(run_table, &config, stdout);
	} else if (link_profile_parse(operands[0], &profile)) {
		(void)link_cmd_fail(program, -EINVAL);
		rc = LINK_EXIT_USAGE;
	} else {
		operands += strcmp(operands[1], "--") == 0 ? 2 : 1;
		if (*operands) {
			rc = run(&profile, &config, operands);
		} else {
			(void)fprintf(stderr,
				      "%s: a command is missing (see "
				      "--help)\n",
				      program);
			rc = LINK_EXIT_USAGE;
		}
	}
	ms_opt_release(run_table, &config);
	return rc;
}

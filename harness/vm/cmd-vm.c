/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench vm`: a command in the VM, for people and for tests. */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/runner.h"
#include "harness/vm/vm.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM	    "memsync-bench vm"
#define EXIT_CANNOT 77
#define SHARES_MAX  16

struct config {
	int accel;
	uint64_t memory;
	uint64_t cpus;
	char *share;
	char *console;
	uint64_t limit_ns;
	bool verbose;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, share, "share", 's', NULL, "DIR:...",
		      "folders that are written back to this machine"),
	MS_OPT_CHOICE(struct config, accel, "accel", 'a', "auto", vm_accels,
		      "how the guest's processors are made"),
	MS_OPT_SIZE(struct config, memory, "memory", 'm', "3G", 256U << 20,
		    1ULL << 40, "of the guest"),
	MS_OPT_UINT(struct config, cpus, "cpus", 0, "2", 1, 64,
		    "processors of the guest"),
	MS_OPT_STRING(struct config, console, "console", 0, NULL, "FILE",
		      "keep the console of its kernel here"),
	MS_OPT_DURATION(struct config, limit_ns, "time-limit", 't', "0",
			"kill the guest when the command runs longer; 0: no"),
	MS_OPT_FLAG(struct config, verbose, "verbose", 'v',
		    "say how long it took to boot"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] [--] [COMMAND...]",
	.summary = "Run a command (or a shell) as root in a virtual machine "
		   "with Debian's stock kernel\nand this machine's file "
		   "system, whose changes vanish with it",
	.epilogue =
		"The kernel's package is fetched once and kept in "
		"$MEMSYNC_CACHE or ~/.cache/memsync.\nExit code: the "
		"command's; 128 + N if signal N ended it; 77 if there can be "
		"no VM here.",
	.table = options,
	.operands_max = UINT_MAX,
	.stop_at_operand = true,
};

/* "a:b" into absolute paths of folders. */
static int parse_shares(char *text, char *list[SHARES_MAX + 1])
{
	char *save = NULL;
	size_t n = 0;

	for (char *one = text ? strtok_r(text, ":", &save) : NULL; one;
	     one = strtok_r(NULL, ":", &save)) {
		struct stat st;

		if (n == SHARES_MAX)
			return ms_err(-EINVAL,
				      "--share takes at most %d "
				      "folders",
				      SHARES_MAX);
		list[n] = realpath(one, NULL);
		if (!list[n] || stat(list[n], &st))
			return ms_err(-errno, "--share: %s", one);
		n++;
		if (!S_ISDIR(st.st_mode))
			return ms_err(-ENOTDIR, "--share: %s", one);
	}
	return 0;
}

static void say_error(int err, const struct vm_result *r)
{
	bool console = (err == -ETIMEDOUT || err == -EIO) && r->console[0];

	(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
	if (console)
		(void)fprintf(stderr,
			      "--- the end of the guest's console\n%s\n"
			      "--- (memsync-bench vm --console=FILE keeps all "
			      "of it)\n",
			      r->console);
}

static int exit_code(int err, const struct vm_result *r)
{
	if (err == -EOPNOTSUPP)
		return EXIT_CANNOT;
	if (err == -EINTR && r->signal)
		return 128 + r->signal;
	if (err)
		return 1;
	return WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status)
				      : WEXITSTATUS(r->status);
}

/* Also the terminal's size, beside what stops. */
static int open_signals(bool terminal, int *ret_fd)
{
	sigset_t set;
	int err = signal_stop_open(ret_fd);

	if (err || !terminal)
		return err;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGWINCH);
	if (sigprocmask(SIG_BLOCK, &set, NULL) ||
	    signalfd(*ret_fd, &set, 0) < 0)
		return ms_err(-errno, "signalfd");
	return 0;
}

static int run(const struct config *c, const char *const *argv,
	       const char *const *shares)
{
	static struct vm_result result; /* has the console */
	bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	struct vm_config config = {.accel = (enum vm_accel)c->accel,
				   .memory_bytes = c->memory,
				   .cpus = (unsigned)c->cpus,
				   .shares = shares,
				   .argv = argv,
				   .in = STDIN_FILENO,
				   .out = STDOUT_FILENO,
				   .err = STDERR_FILENO,
				   .terminal = terminal,
				   .console = c->console,
				   .limit_ns = c->limit_ns,
				   .stop_fd = -1};
	int err = open_signals(terminal, &config.stop_fd);

	if (!err)
		err = vm_run(&config, &result);
	if (err)
		say_error(err, &result);
	else if (c->verbose)
		(void)fprintf(stderr,
			      PROGRAM ": kernel %s by %s, %.1f s to the "
				      "command\n",
			      result.release, vm_accels[result.accel],
			      result.boot_s);
	return exit_code(err, &result);
}

/* Without a command a person wants a shell. */
static const char *const *choose_command(int argc, char **argv, int first)
{
	static const char *shell[] = {NULL, NULL};

	if (first < argc)
		return (const char *const *)(argv + first);
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return NULL;
	shell[0] = getenv("SHELL") ? getenv("SHELL") : "/bin/sh";
	return shell;
}

int cmd_vm(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	char *shares[SHARES_MAX + 1] = {NULL};
	const char *const *chosen;
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc || parsed.dump_config) {
		if (!rc)
			ms_opt_dump(options, &c, stdout);
		ms_opt_release(options, &c);
		return rc < 0 ? 2 : 0;
	}
	chosen = choose_command(argc, argv, parsed.first_operand);
	if (!chosen) {
		(void)fprintf(stderr,
			      PROGRAM ": a command is missing (without a "
				      "terminal there is no shell)\n");
		code = 2;
	} else if (vm_inside()) {
		(void)fprintf(stderr, PROGRAM ": this is a VM already\n");
		code = EXIT_CANNOT;
	} else if (parse_shares(c.share, shares)) {
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
		code = 2;
	} else {
		code = run(&c, chosen, (const char *const *)shares);
	}
	for (size_t i = 0; shares[i]; i++)
		free(shares[i]);
	ms_opt_release(options, &c);
	return code;
}

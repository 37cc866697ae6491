/* SPDX-License-Identifier: Apache-2.0 */
/* What programs that serve share; see program.h. */
#include "approaches/common/cli/program.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>

int ms_program_error(const char *program, int rc)
{
	(void)fprintf(stderr, "%s: %s\n", program, ms_err_text());
	if (rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP)
		return 77;
	return rc == -EINVAL ? 2 : 1;
}

static void waited_for(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
}

void ms_program_block_signals(sigset_t *ret_before)
{
	sigset_t set;

	waited_for(&set);
	/* For ms_program_wait_child: it must not come in between. */
	(void)sigaddset(&set, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

int ms_program_wait_signal(void)
{
	sigset_t set;
	int got = 0;

	waited_for(&set);
	while (sigwait(&set, &got))
		continue;
	return got;
}

int ms_program_wait_child(pid_t child)
{
	sigset_t set;
	int status = 0;

	waited_for(&set);
	(void)sigaddset(&set, SIGCHLD);
	for (;;) {
		int got = 0;
		pid_t ended = waitpid(child, &status, WNOHANG);

		if (ended == child)
			break;
		if (ended < 0 && errno != EINTR)
			return 1;
		if (sigwait(&set, &got) == 0 && got != SIGCHLD)
			(void)kill(child, got);
	}
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

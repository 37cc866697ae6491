/* SPDX-License-Identifier: Apache-2.0 */
/* What programs that serve share: the end by a signal, errors, exit codes. */
#ifndef MS_COMMON_CLI_PROGRAM_H
#define MS_COMMON_CLI_PROGRAM_H

#include <signal.h>
#include <sys/types.h>

/*
 * Print "program: the thread's error" to stderr; the exit code for `rc`: 77
 * for -EPERM, -ENOSYS and -EOPNOTSUPP (this machine does not let us), 2 for
 * -EINVAL, else 1.
 */
int ms_program_error(const char *program, int rc) __attribute__((nonnull));

/*
 * Keep SIGINT and SIGTERM for ms_program_wait_signal; before any thread
 * starts. The previous mask, for children, in ret_before.
 */
void ms_program_block_signals(sigset_t *ret_before) __attribute__((nonnull));

/* Wait for one of them; returns it. */
int ms_program_wait_signal(void);

/*
 * Wait for a child that was started with these signals blocked in us; one that
 * comes is passed on to it. Its exit code: 128 + N if signal N ended it.
 */
int ms_program_wait_child(pid_t child);

#endif

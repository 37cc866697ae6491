/* SPDX-License-Identifier: Apache-2.0 */
/* SIGBUS guards; see guard.h. */
#include "approaches/common/workload/guard.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

static _Thread_local struct ms_guard *current;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;		/* under lock */
static struct sigaction before; /* written under lock, before the handler is
				   installed */

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	struct ms_guard *guard = current;
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)signal;
	(void)context;
	if (guard && at >= guard->start && at - guard->start < guard->size) {
		guard->fault_offset = at - guard->start;
		current = NULL;
		siglongjmp(guard->env, 1);
	}
	/* Not ours: the access is repeated under the previous handling. */
	(void)sigaction(SIGBUS, &before, NULL);
}

int ms_guard_install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus,
				   .sa_flags = SA_SIGINFO};
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (users == 0) {
		(void)sigemptyset(&action.sa_mask);
		if (sigaction(SIGBUS, NULL, &before) ||
		    sigaction(SIGBUS, &action, NULL))
			rc = ms_err(-errno, "install the SIGBUS handler");
	}
	if (rc == 0)
		users++;
	pthread_mutex_unlock(&lock);
	return rc;
}

void ms_guard_remove(void)
{
	pthread_mutex_lock(&lock);
	if (--users == 0)
		(void)sigaction(SIGBUS, &before, NULL);
	pthread_mutex_unlock(&lock);
}

void ms_guard_enter(struct ms_guard *guard, const void *addr, size_t size)
{
	guard->start = (uintptr_t)addr;
	/* Faults are reported by page, also for the tail of the last one. */
	guard->size = (size + 4095) & ~(size_t)4095;
	guard->fault_offset = 0;
	current = guard;
}

void ms_guard_leave(void)
{
	current = NULL;
}

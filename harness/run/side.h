/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that is one side of a run: in its network namespace, its control
 * group, on its processors, with all its descendants in a PID namespace of
 * their own. The namespace's first process is a small init of ours:
 *
 *	memsync-bench ── init (pid 1 inside) ── the program ── its children
 *
 * When init ends, the kernel kills everything else in the namespace, and init
 * is killed when memsync-bench ends, however it ends. So no side can leave a
 * process behind. Without CAP_SYS_ADMIN there is no namespace; then only the
 * program itself is sure to be killed.
 */
#ifndef MS_HARNESS_RUN_SIDE_H
#define MS_HARNESS_RUN_SIDE_H

#include "harness/link/link.h"
#include "harness/record/cgroup.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct side_config {
	const char *name;	 /* "source", for messages */
	const char *program;	 /* path */
	char *const *argv;	 /* NULL-terminated */
	const struct link *link; /* NULL: the namespace of the caller */
	unsigned end;
	struct cgroup *cgroup; /* NULL: none */
	const cpu_set_t *cpus; /* NULL: all */
	const char *dir;       /* working directory, NULL: the caller's */
	const char *log;       /* stderr and what follows stdout's limit */
	bool pid_namespace;
};

/* Output on stdout is kept up to this; more is dropped and makes it bad. */
#define SIDE_OUTPUT_MAX (1u << 20)

struct side {
	const char *name;
	pid_t pid; /* of init; -1: not running */
	int out;   /* what the program prints */
	int status_fd;
	struct cgroup *cgroup;
	char *text; /* what it printed so far, NUL-terminated */
	size_t len;
	bool overflow;
	bool ended; /* stdout is closed and the program has ended */
	int status; /* of wait, valid when ended */
};

/* What ended a wait, besides an error. */
enum side_event {
	SIDE_DONE,    /* what was waited for */
	SIDE_TIMEOUT, /* the deadline */
	SIDE_STOPPED, /* a signal asks the whole program to stop */
	SIDE_LOST,    /* the other side ended first */
};

int side_start(const struct side_config *config, struct side *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Wait for a line on stdout that starts with `prefix`. SIDE_LOST if the
 * program ends before. `stop_fd` is readable when everything should stop.
 */
enum side_event side_wait_line(struct side *s, const char *prefix, int stop_fd,
			       uint64_t deadline_ns) __attribute__((nonnull));

/*
 * Wait until `s` has ended; `other` (may be NULL) is watched: SIDE_LOST when
 * it ends before, after a grace in which `s` may notice and end by itself.
 */
enum side_event side_wait_end(struct side *s, struct side *other, int stop_fd,
			      uint64_t deadline_ns) __attribute__((nonnull(1)));

/*
 * Ask it to end by SIGTERM, then by SIGKILL after `grace_ns` (0: at once).
 * Returns true if it ended by itself or on SIGTERM. Afterwards nothing of it
 * is left. Legal for a side that was not started (zeroed with pid -1).
 */
bool side_stop(struct side *s, uint64_t grace_ns) __attribute__((nonnull));

/* Stop if need be, and free. */
void side_release(struct side *s) __attribute__((nonnull));

/* "exit status 3", "killed by signal 9 (Killed)"; static per thread. */
const char *side_status_text(const struct side *s) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time and peak memory of one side of a measurement, all its processes
 * together. A group is a control group below the one this process is in: of
 * version 2, else of version 1 (cpuacct and memory), else it only collects
 * what wait4 says about the children that the caller reaps. Which of these it
 * is stands in cgroup_method() and goes into env.json.
 *
 *	cgroup_new → fork → child: cgroup_enter, exec
 *	           → parent: … wait4 → cgroup_reaped → cgroup_read → cgroup_free
 */
#ifndef MS_HARNESS_RECORD_CGROUP_H
#define MS_HARNESS_RECORD_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

struct cgroup;

/* What a group has used so far. */
struct cgroup_usage {
	double user_s;
	double system_s;
	uint64_t memory_max_bytes; /* 0 with `memory` false */
	bool memory;		   /* was peak memory measured at all */
};

/*
 * Create a group. `name` is part of its folder's name (letters, digits, -).
 * Groups that dead processes of ours left are removed first. When no control
 * group can be made this still succeeds, with cgroup_method() "wait4".
 * -EINVAL for a bad name, -ENOMEM, -ENOSPC beyond 16 groups at a time.
 */
int cgroup_new(const char *name, struct cgroup **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * How it measures: "cgroup2", "cgroup1", or "wait4: REASON". Memory by "wait4"
 * is the largest peak of one reaped process, not the sum.
 */
const char *cgroup_method(const struct cgroup *g) __attribute__((nonnull));

/*
 * Move the calling process in. For the child between fork and exec; makes only
 * async-signal-safe calls. 0 or negative errno (no sentence is left).
 */
int cgroup_enter(const struct cgroup *g)
	__attribute__((nonnull, warn_unused_result));

/* Count a child that was reaped with wait4, for the method of that name. */
void cgroup_reaped(struct cgroup *g, const struct rusage *usage)
	__attribute__((nonnull));

/* Read what was used. 0 or negative errno with a sentence. */
int cgroup_read(const struct cgroup *g, struct cgroup_usage *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * SIGKILL everything in the group, again until it is empty, for at most two
 * seconds. 0, or -ETIMEDOUT. "wait4" groups do not know their members: 0.
 */
int cgroup_kill(struct cgroup *g) __attribute__((nonnull));

/* Kill what is left, remove the folders, free. Accepts NULL. */
void cgroup_free(struct cgroup *g);

/*
 * Kill and remove every group of this process; for the way out after a signal.
 * Not for signal handlers. The groups stay allocated until cgroup_free.
 */
void cgroup_cleanup_all(void);

/* The CPU seconds (user, system) of the whole machine since boot. */
int cgroup_system_cpu(double *ret_busy_s)
	__attribute__((nonnull, warn_unused_result));

#endif

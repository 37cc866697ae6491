/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where control groups can be made: below the group that this process is in,
 * never beside or above it. Internal to cgroup.c and its test.
 */
#ifndef MS_HARNESS_RECORD_CGROUP_FIND_H
#define MS_HARNESS_RECORD_CGROUP_FIND_H

#include <stddef.h>

#define CGROUP_PREFIX "memsync-"
#define CGROUP_ID_MAX 72

struct cgroup_place {
	int version;	     /* 1 or 2 */
	char *cpu_parent;    /* folder for new groups */
	char *memory_parent; /* NULL: no peak memory there */
};

/*
 * Find the place. Returns 0, -ENOENT with the reason in `why`, or -ENOMEM.
 * Release with cgroup_place_release.
 */
int cgroup_find(struct cgroup_place *ret, char *why, size_t size)
	__attribute__((nonnull, warn_unused_result));
void cgroup_place_release(struct cgroup_place *p) __attribute__((nonnull));

/* "PID-STARTTIME-PIDNAMESPACE" of this process. */
void cgroup_own_id(char *buf, size_t size) __attribute__((nonnull));

/*
 * Remove the groups of ours whose owner is dead, with what still runs in them.
 */
void cgroup_sweep(const struct cgroup_place *p) __attribute__((nonnull));

/* Where `controller` ("" for version 2) is mounted, per mountinfo text, and
 * which root the mount shows; both NUL-terminated. Returns 0 or -ENOENT. For
 * the test, that feeds other machines' texts. */
struct cgroup_mount {
	char point[512];
	char root[512];
};
int cgroup_parse_mounts(const char *mountinfo, const char *controller,
			struct cgroup_mount *ret)
	__attribute__((nonnull, warn_unused_result));

/* The group of this process under `controller`, per /proc/self/cgroup text. */
int cgroup_parse_self(const char *text, const char *controller, char *ret,
		      size_t size) __attribute__((nonnull, warn_unused_result));

#endif

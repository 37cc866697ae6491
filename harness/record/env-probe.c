/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine can do, by trying it and never by looking at versions. A
 * probe either works or gives a reason that a person can act on.
 */
#include "harness/record/env.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static json_t *yes(void)
{
	return json_pack("{s:b}", "ok", 1);
}

static json_t *no(const char *what, int err)
{
	char reason[160];

	(void)snprintf(reason, sizeof(reason), "%s%s%s", what, err ? ": " : "",
		       err ? ms_errno_text(err) : "");
	return json_pack("{s:b, s:s}", "ok", 0, "reason", reason);
}

static json_t *probe_device(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return no(path, errno);
	(void)close(fd);
	return yes();
}

/* Bits of UFFDIO_API; headers may be older than the kernel, so by number. */
static const char *const uffd_features[] = {
	"pagefault_flag_wp",
	"event_fork",
	"event_remap",
	"event_remove",
	"missing_hugetlbfs",
	"missing_shmem",
	"event_unmap",
	"sigbus",
	"thread_id",
	"minor_hugetlbfs",
	"minor_shmem",
	"exact_address",
	"wp_hugetlbfs_shmem",
	"wp_unpopulated",
	"poison",
	"wp_async",
	"move",
};

static json_t *uffd_json(uint64_t bits)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < 64; i++) {
		char number[16];

		if (!(bits & (UINT64_C(1) << i)))
			continue;
		(void)snprintf(number, sizeof(number), "bit_%u", i);
		if (i < sizeof(uffd_features) / sizeof(*uffd_features))
			(void)json_array_append_new(
				list, json_string(uffd_features[i]));
		else
			(void)json_array_append_new(list, json_string(number));
	}
	return json_pack("{s:b, s:o}", "ok", 1, "features", list);
}

static json_t *probe_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	json_t *j = NULL;

	if (fd < 0)
		return no("userfaultfd", errno);
	if (ioctl(fd, UFFDIO_API, &api))
		j = no("UFFDIO_API", errno);
	else
		j = uffd_json(api.features);
	(void)close(fd);
	return j;
}

/* Exit codes of the child below that are not tc's own. */
enum {
	NO_NAMESPACE = 100,
	NO_PROGRAM = 101
};

/*
 * In a network namespace of its own, which ends with the child: give the
 * loopback device a netem queue. Loads the module if there is one.
 */
static void try_netem(void)
{
	static const char *const argv[] = {"tc",  "qdisc", "add",   "dev",
					   "lo",  "root",  "netem", "delay",
					   "1ms", NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (unshare(CLONE_NEWNET))
		_exit(NO_NAMESPACE);
	if (null >= 0) {
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
	}
	(void)execvp(argv[0], (char *const *)argv);
	_exit(NO_PROGRAM);
}

static json_t *probe_netem(void)
{
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return no("fork", errno);
	if (!child)
		try_netem();
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return no("waitpid", errno);
	if (!WIFEXITED(status))
		return no("tc was killed", 0);
	if (WEXITSTATUS(status) == NO_NAMESPACE)
		return no("a network namespace cannot be made", 0);
	if (WEXITSTATUS(status) == NO_PROGRAM)
		return no("tc (iproute2) is not installed", 0);
	if (WEXITSTATUS(status))
		return no("the kernel has no sch_netem", 0);
	return yes();
}

static json_t *probe_netns(void)
{
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return no("fork", errno);
	if (!child)
		_exit(unshare(CLONE_NEWNET) ? errno : 0);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return no("waitpid", errno);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return no("unshare(CLONE_NEWNET)",
			  WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
	return yes();
}

json_t *env_probe(void)
{
	json_t *j = json_object();
	int err = 0;

	err |= json_object_set_new(j, "userfaultfd", probe_uffd());
	err |= json_object_set_new(j, "fuse", probe_device("/dev/fuse"));
	err |= json_object_set_new(j, "tun", probe_device("/dev/net/tun"));
	err |= json_object_set_new(j, "kvm", probe_device("/dev/kvm"));
	err |= json_object_set_new(j, "nbd", probe_device("/dev/nbd0"));
	err |= json_object_set_new(j, "ublk",
				   probe_device("/dev/ublk-control"));
	err |= json_object_set_new(j, "netns", probe_netns());
	err |= json_object_set_new(j, "sch_netem", probe_netem());
	if (!err)
		return j;
	json_decref(j);
	return NULL;
}

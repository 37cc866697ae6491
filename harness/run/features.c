/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can run; see features.h. */
#include "harness/run/features.h"

#include "approaches/common/util/err.h"
#include "harness/link/link.h"
#include "harness/record/cgroup.h"
#include "harness/record/env.h"
#include "harness/run/approach.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct feature features[] = {
	{"root", NULL, "network namespaces, links, control groups",
	 "run as root (sudo)"},
	{"netns", NULL, "the hosts of a link",
	 "root, and a kernel with CONFIG_NET_NS"},
	{"pidns", NULL, "leaving no process behind",
	 "root, and a kernel with CONFIG_PID_NS"},
	{"tun", NULL, "the emulated link", "modprobe tun"},
	{"sch_netem", NULL,
	 "links by the kernel (the emulated ones do without)",
	 "modprobe sch_netem; Debian's stock kernel has it"},
	{"cgroups", NULL, "CPU time and peak memory of each side",
	 "mount the cgroup file system writable; wait4 is used without"},
	{"userfaultfd", NULL, "approach uffd",
	 "root, or sysctl vm.unprivileged_userfaultfd=1"},
	{"fuse", NULL, "approach fuse", "modprobe fuse"},
	{"nbd", NULL, "approaches nbd-direct, nbd-managed",
	 "modprobe nbd; Debian's stock kernel has it"},
	{"ublk", NULL, "block devices without sockets",
	 "modprobe ublk_drv (kernel 6.0 and later)"},
	{"kvm", NULL, "the VM at full speed", "modprobe kvm_intel or kvm_amd"},
	{"gnuplot", "gnuplot", "plots", "apt install gnuplot-nox"},
	{"hyperfine", "hyperfine", "timing whole programs of others",
	 "apt install hyperfine"},
	{"rsync", "rsync", "compare", "apt install rsync"},
	{"tc", "tc", "netem links", "apt install iproute2"},
	{"ethtool", "ethtool", "netem links: offloads off",
	 "apt install ethtool"},
	{"redis-server", "redis-server", "dataset redis-heap",
	 "apt install redis-tools redis-server"},
	{"sqlite3", "sqlite3", "dataset sqlite", "apt install sqlite3"},
	{"mkfs.ext4", "mkfs.ext4", "dataset ext4", "apt install e2fsprogs"},
	{"chromium", "chromium", "the check of the report",
	 "apt install chromium"},
	{"qemu-system-x86_64", "qemu-system-x86_64", "the VM",
	 "apt install qemu-system-x86"},
	{NULL, NULL, NULL, NULL},
};

static json_t *answer(bool ok, const char *reason)
{
	if (ok)
		return json_pack("{s:b}", "ok", 1);
	return json_pack("{s:b,s:s}", "ok", 0, "reason", reason);
}

static json_t *probe_program(const char *program)
{
	char path[PATH_MAX];

	/* Where system programs are, also for a user without them in PATH. */
	(void)snprintf(path, sizeof(path), "/usr/sbin/%s", program);
	if (!access(path, X_OK) ||
	    !approach_program(program, path, sizeof(path)))
		return answer(true, NULL);
	return answer(false, "not installed");
}

static json_t *probe_cgroups(void)
{
	struct cgroup *g = NULL;
	json_t *j;

	if (cgroup_new("doctor", &g))
		return answer(false, ms_err_text());
	j = answer(strncmp(cgroup_method(g), "wait4", 5) != 0,
		   cgroup_method(g));
	if (json_is_true(json_object_get(j, "ok")))
		(void)json_object_set_new(j, "method",
					  json_string(cgroup_method(g)));
	cgroup_free(g);
	return j;
}

static json_t *probe_kernel(const char *name)
{
	if (!strcmp(name, "root"))
		return answer(geteuid() == 0, "not root");
	if (!strcmp(name, "cgroups"))
		return probe_cgroups();
	/* The effect is tried by every run; being allowed to is what varies. */
	if (!strcmp(name, "pidns"))
		return answer(geteuid() == 0 &&
				      !access("/proc/self/ns/pid", F_OK),
			      "a PID namespace cannot be made");
	return NULL;
}

json_t *features_probe(void)
{
	json_t *all = env_probe();

	for (const struct feature *f = features; all && f->name; f++) {
		json_t *one = f->program ? probe_program(f->program)
					 : probe_kernel(f->name);

		if (one)
			(void)json_object_set_new(all, f->name, one);
	}
	return all;
}

bool feature_of_kernel(const char *name)
{
	for (const struct feature *f = features; f->name; f++)
		if (!strcmp(f->name, name))
			return !f->program;
	return false;
}

bool feature_there(const json_t *probed, const char *name, char *why,
		   size_t size)
{
	const json_t *j = json_object_get(probed, name);
	const char *reason = json_string_value(json_object_get(j, "reason"));
	const char *get = NULL;

	if (json_is_true(json_object_get(j, "ok")))
		return true;
	for (const struct feature *f = features; f->name; f++)
		if (!strcmp(f->name, name))
			get = f->get;
	(void)snprintf(why, size, "no %s: %s%s%s%s", name,
		       reason ? reason : "this feature is not known",
		       get ? " (" : "", get ? get : "", get ? ")" : "");
	return false;
}

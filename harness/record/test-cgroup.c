/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups: reading other machines' texts, then the real ones: is the
 * CPU time of grandchildren counted, is peak memory, is everything killed and
 * removed, also what a killed harness left.
 */
#include "harness/record/cgroup-find.h"
#include "harness/record/cgroup.h"
#include "tests/check.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char v1_mounts[] =
	"30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
	"31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"
	"32 30 0:28 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw shared:3 "
	"master:2 - cgroup cgroup rw,cpu,cpuacct\n"
	"33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

static void texts_of_other_machines(void)
{
	static const char self[] = "12:cpuset:/\n"
				   "4:cpu,cpuacct:/docker/ab/x\n"
				   "3:memory:/user.slice/a:b\n"
				   "0::/init.scope\n";
	struct cgroup_mount m;
	char path[64];

	CHECK_EQ(cgroup_parse_mounts(v1_mounts, "cpuacct", &m), 0);
	CHECK_STR(m.point, "/sys/fs/cgroup/cpu,cpuacct");
	CHECK_STR(m.root, "/docker/ab");
	CHECK_EQ(cgroup_parse_mounts(v1_mounts, "memory", &m), 0);
	CHECK_STR(m.point, "/sys/fs/cgroup/memory");
	CHECK_EQ(cgroup_parse_mounts(v1_mounts, "", &m), 0);
	CHECK_STR(m.point, "/sys/fs/cgroup/unified");
	CHECK_EQ(cgroup_parse_mounts(v1_mounts, "acct", &m), -ENOENT);
	CHECK_EQ(cgroup_parse_mounts("garbage\n - \n\n", "", &m), -ENOENT);
	CHECK_EQ(cgroup_parse_self(self, "cpuacct", path, sizeof(path)), 0);
	CHECK_STR(path, "/docker/ab/x");
	CHECK_EQ(cgroup_parse_self(self, "memory", path, sizeof(path)), 0);
	CHECK_STR(path, "/user.slice/a:b");
	CHECK_EQ(cgroup_parse_self(self, "", path, sizeof(path)), 0);
	CHECK_STR(path, "/init.scope");
	CHECK_EQ(cgroup_parse_self(self, "pids", path, sizeof(path)), -ENOENT);
	CHECK_EQ(cgroup_parse_self("junk\n", "", path, sizeof(path)), -ENOENT);
	CHECK_EQ(cgroup_parse_self(self, "memory", path, 4), -ENOENT);
}

static double cpu_now(void)
{
	struct timespec t;

	CHECK(!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void burn(double seconds)
{
	double end = cpu_now() + seconds;

	while (cpu_now() < end)
		;
}

enum {
	TOUCHED = 24 << 20
};

/* A child that forks: both sides burn, the inner one also touches memory. */
static void side(struct cgroup *g)
{
	pid_t inner = 0;
	char *memory = NULL;

	if (cgroup_enter(g))
		_exit(1);
	inner = fork();
	if (inner < 0)
		_exit(1);
	burn(0.15);
	if (inner) {
		int status = 0;

		if (waitpid(inner, &status, 0) != inner)
			_exit(1);
		_exit(status ? 1 : 0);
	}
	memory = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(1);
	memset(memory, 1, TOUCHED);
	_exit(0);
}

static struct cgroup *must_new(const char *name)
{
	struct cgroup *g = NULL;

	CHECK_EQ(cgroup_new(name, &g), 0);
	return g;
}

static bool live(const struct cgroup *g)
{
	return strncmp(cgroup_method(g), "wait4", 5) != 0;
}

static void usage_of_all_processes(void)
{
	struct cgroup *g = must_new("source");
	struct cgroup *idle = must_new("target");
	struct cgroup_usage u = {0};
	struct cgroup_usage none = {0};
	struct rusage usage;
	int status = 0;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child)
		side(g);
	CHECK(wait4(child, &status, 0, &usage) == child);
	CHECK_EQ(status, 0);
	cgroup_reaped(g, &usage);
	CHECK_EQ(cgroup_read(g, &u), 0);
	CHECK_EQ(cgroup_read(idle, &none), 0);
	(void)printf("%s: %.3f s user, %.3f s system, %.1f MiB\n",
		     cgroup_method(g), u.user_s, u.system_s,
		     (double)u.memory_max_bytes / 1048576);
	CHECK(u.user_s + u.system_s >= 0.28);
	CHECK(u.user_s + u.system_s < 1.5);
	CHECK(none.user_s + none.system_s < 0.05);
	/* A sanitizer's own memory is part of it, so the bound is wide. */
	if (u.memory)
		CHECK(u.memory_max_bytes >= TOUCHED &&
		      u.memory_max_bytes < UINT64_C(16) * TOUCHED);
	cgroup_free(g);
	cgroup_free(idle);
}

/* Folders of ours below the groups in use; those of others do not count. */
static int folders(void)
{
	struct cgroup_place place;
	char why[200];
	char id[CGROUP_ID_MAX];
	char prefix[CGROUP_ID_MAX + 16];
	const char *parents[2];
	int n = 0;

	if (cgroup_find(&place, why, sizeof(why)))
		return 0;
	cgroup_own_id(id, sizeof(id));
	(void)snprintf(prefix, sizeof(prefix), CGROUP_PREFIX "%s-", id);
	parents[0] = place.cpu_parent;
	parents[1] = place.version == 1 ? place.memory_parent : NULL;
	for (int i = 0; i < 2; i++) {
		DIR *d = parents[i] ? opendir(parents[i]) : NULL;
		struct dirent *e = NULL;

		while (d && (e = readdir(d)))
			n += !strncmp(e->d_name, prefix, strlen(prefix));
		if (d)
			(void)closedir(d);
	}
	cgroup_place_release(&place);
	return n;
}

/* Start a child in the group that only a signal ends; it has entered. */
static pid_t sleeper(struct cgroup *g)
{
	int ready[2];
	char byte = 0;
	pid_t child = 0;

	CHECK(!pipe2(ready, O_CLOEXEC));
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		/* What a stubborn program does with a polite signal. */
		(void)signal(SIGTERM, SIG_IGN);
		if (cgroup_enter(g) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	CHECK(!close(ready[1]));
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(!close(ready[0]));
	return child;
}

static void killed(pid_t child)
{
	int status = 0;

	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void everything_is_killed_and_removed(void)
{
	struct cgroup *a = must_new("a");
	struct cgroup *b = must_new("b");
	pid_t one = sleeper(a);
	pid_t two = sleeper(b);
	pid_t three = sleeper(b);

	CHECK(folders() >= 2);
	cgroup_free(a);
	killed(one);
	cgroup_cleanup_all();
	killed(two);
	killed(three);
	CHECK_EQ(folders(), 0);
	cgroup_free(b);
	cgroup_free(NULL);
	CHECK_EQ(folders(), 0);
}

/* A harness that is killed leaves its groups; the next one sweeps them up. */
static void groups_of_the_dead_are_swept(void)
{
	int out[2];
	pid_t left = 0;
	pid_t owner = 0;
	struct cgroup *g = NULL;
	char path[64];
	uint64_t limit = 0;

	CHECK(!pipe2(out, O_CLOEXEC));
	owner = fork();
	CHECK(owner >= 0);
	if (!owner) {
		left = sleeper(must_new("orphan"));
		if (write(out[1], &left, sizeof(left)) != sizeof(left))
			_exit(1);
		(void)raise(SIGKILL);
	}
	CHECK(read(out[0], &left, sizeof(left)) == sizeof(left));
	CHECK(waitpid(owner, NULL, 0) == owner);
	CHECK(!close(out[0]) && !close(out[1]));
	CHECK(!kill(left, 0));
	g = must_new("next");
	/* Its parent is dead, so whoever reaps orphans ends it. */
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", left);
	limit = ms_now_ns() + 5 * MS_NS_PER_S;
	for (;;) {
		char text[8];
		FILE *f = fopen(path, "re");
		size_t got = f ? fread(text, 1, sizeof(text), f) : 0;

		if (f)
			(void)fclose(f);
		if (!got) /* gone, or a zombie, which has no command line */
			break;
		CHECK(ms_now_ns() < limit);
	}
	cgroup_free(g);
	CHECK_EQ(folders(), 0);
}

static void bad_names_and_too_many(void)
{
	struct cgroup *g[17] = {NULL};
	int n = 0;

	CHECK_EQ(cgroup_new("", &g[0]), -EINVAL);
	CHECK_EQ(cgroup_new("../x", &g[0]), -EINVAL);
	CHECK_EQ(cgroup_new("a b", &g[0]), -EINVAL);
	while (n < 16)
		g[n++] = must_new("many");
	CHECK_EQ(cgroup_new("many", &g[16]), -ENOSPC);
	while (n--)
		cgroup_free(g[n]);
	CHECK_EQ(folders(), 0);
}

static void system_cpu(void)
{
	double before = 0;
	double after = 0;

	CHECK_EQ(cgroup_system_cpu(&before), 0);
	burn(0.1);
	CHECK_EQ(cgroup_system_cpu(&after), 0);
	CHECK(after - before >= 0.06);
}

int main(void)
{
	struct cgroup *g = NULL;
	bool groups = false;

	texts_of_other_machines();
	system_cpu();
	g = must_new("probe");
	groups = live(g);
	(void)printf("method: %s\n", cgroup_method(g));
	cgroup_free(g);
	usage_of_all_processes();
	bad_names_and_too_many();
	if (!groups)
		SKIP("no control group can be made here; wait4 was tested");
	everything_is_killed_and_removed();
	groups_of_the_dead_are_swept();
	return 0;
}

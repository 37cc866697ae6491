/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups for CPU time and peak memory; see cgroup.h. A group of ours
 * is a folder memsync-PID-STARTTIME-NAMESPACE-NUMBER-NAME, so that one left by
 * a killed harness can be told from one whose owner lives, also after its pid
 * has been used again. Where the folders go is in cgroup-find.c.
 */
#include "harness/record/cgroup.h"
#include "harness/record/cgroup-find.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	GROUPS_MAX = 16,
	FILE_MAX = 4096
};

struct cgroup {
	struct cgroup_place place; /* parents of the folders below */
	char *cpu;		   /* folder of CPU time; NULL: wait4 */
	char *memory;		   /* of memory; NULL: not measured */
	char *procs[2]; /* where a process writes itself; [1] may be NULL */
	char *method;
	struct cgroup_usage reaped; /* by wait4 */
};

/* Guards the list only; a group is used by one thread at a time. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cgroup *all[GROUPS_MAX];
static unsigned created;

static int read_text(const char *dir, const char *name, char *buf, size_t size)
{
	char path[FILE_MAX];
	ssize_t got = 0;
	int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >=
	    (int)sizeof(path))
		return ms_err(-ENAMETOOLONG, "cgroup: %s", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ms_err(-errno, "cgroup: open %s", path);
	got = read(fd, buf, size - 1);
	if (got < 0) {
		int err = ms_err(-errno, "cgroup: read %s", path);

		(void)close(fd);
		return err;
	}
	(void)close(fd);
	buf[got] = '\0';
	return 0;
}

/* What follows `key` and a blank at the start of a line; NULL: no such line. */
static const char *behind_key(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (strncmp(text, key, len) != 0 || text[len] != ' ') {
		text = strchr(text, '\n');
		if (!text)
			return NULL;
		text++;
	}
	return text + len + 1;
}

/* The number behind `key` at the start of a line; the first number if NULL. */
static int number_of(const char *text, const char *key, uint64_t *ret)
{
	const char *at = key ? behind_key(text, key) : text;

	if (!at || !isdigit((unsigned char)*at))
		return ms_err(-EPROTO, "cgroup: no %s in \"%.40s\"",
			      key ? key : "number", text);
	errno = 0;
	*ret = strtoull(at, NULL, 10);
	return errno ? ms_err(-errno, "cgroup: number too large") : 0;
}

static int read_number(const char *dir, const char *file, const char *key,
		       uint64_t *ret)
{
	char text[FILE_MAX] = "";
	int err = read_text(dir, file, text, sizeof(text));

	return err ? err : number_of(text, key, ret);
}

/* Called between fork and exec: no stdio, no allocation. */
static int write_self(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, "0", 1) != 1)
		err = errno ? -errno : -EIO;
	(void)close(fd);
	return err;
}

int cgroup_enter(const struct cgroup *g)
{
	int err = 0;

	if (!g->cpu)
		return 0;
	err = write_self(g->procs[0]);
	if (!err && g->procs[1])
		err = write_self(g->procs[1]);
	return err;
}

void cgroup_reaped(struct cgroup *g, const struct rusage *usage)
{
	uint64_t peak = (uint64_t)usage->ru_maxrss * 1024;

	g->reaped.user_s += (double)usage->ru_utime.tv_sec +
			    (double)usage->ru_utime.tv_usec / 1e6;
	g->reaped.system_s += (double)usage->ru_stime.tv_sec +
			      (double)usage->ru_stime.tv_usec / 1e6;
	g->reaped.memory = true;
	if (peak > g->reaped.memory_max_bytes)
		g->reaped.memory_max_bytes = peak;
}

/*
 * Version 1 has the sum to the nanosecond, but user and system by the ticks
 * that happened to hit them, which do not add up to it. So the ticks only say
 * how the sum is divided, as the kernel itself does it elsewhere.
 */
static int read_cpu_v1(const struct cgroup *g, struct cgroup_usage *u)
{
	uint64_t sum = 0;
	uint64_t user = 0;
	uint64_t sys = 0;
	double share = 1;
	int err = read_number(g->cpu, "cpuacct.usage", NULL, &sum);

	if (!err)
		err = read_number(g->cpu, "cpuacct.usage_user", NULL, &user);
	if (!err)
		err = read_number(g->cpu, "cpuacct.usage_sys", NULL, &sys);
	if (user + sys > 0)
		share = (double)user / (double)(user + sys);
	u->user_s = (double)sum / 1e9 * share;
	u->system_s = (double)sum / 1e9 * (1 - share);
	return err;
}

static int read_cpu(const struct cgroup *g, struct cgroup_usage *u)
{
	uint64_t user = 0;
	uint64_t sys = 0;
	int err = 0;

	if (g->place.version == 1)
		return read_cpu_v1(g, u);
	err = read_number(g->cpu, "cpu.stat", "user_usec", &user);
	if (!err)
		err = read_number(g->cpu, "cpu.stat", "system_usec", &sys);
	u->user_s = (double)user / 1e6;
	u->system_s = (double)sys / 1e6;
	return err;
}

int cgroup_read(const struct cgroup *g, struct cgroup_usage *ret)
{
	struct cgroup_usage u = {0};
	int err = 0;

	if (!g->cpu) {
		*ret = g->reaped;
		return 0;
	}
	err = read_cpu(g, &u);
	if (!err && g->memory) {
		u.memory = true;
		err = read_number(g->memory,
				  g->place.version == 2
					  ? "memory.peak"
					  : "memory.max_usage_in_bytes",
				  NULL, &u.memory_max_bytes);
	}
	if (!err)
		*ret = u;
	return err;
}

/* Send SIGKILL to each process of the folder; returns how many there were. */
static int kill_members(const char *dir)
{
	char path[FILE_MAX];
	FILE *f = NULL;
	char line[32];
	int n = 0;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		long pid = strtol(line, NULL, 10);

		/* A process outside of our pid namespace shows as 0. */
		if (pid <= 1 || pid == (long)getpid())
			continue;
		(void)kill((pid_t)pid, SIGKILL);
		n++;
	}
	(void)fclose(f);
	return n;
}

static int kill_all(const char *dir)
{
	uint64_t limit = ms_now_ns() + 2 * MS_NS_PER_S;

	while (kill_members(dir)) {
		struct timespec pause = ms_timespec(MS_NS_PER_MS);

		if (ms_now_ns() > limit)
			return ms_err(-ETIMEDOUT, "cgroup: %s is not empty",
				      dir);
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int cgroup_kill(struct cgroup *g)
{
	int err = 0;

	if (g->cpu)
		err = kill_all(g->cpu);
	if (g->memory && g->memory != g->cpu) {
		int second = kill_all(g->memory);

		err = err ? err : second;
	}
	return err;
}

/* A dead process leaves its group a little after it was killed. */
static void remove_dir(const char *dir)
{
	uint64_t limit = ms_now_ns() + MS_NS_PER_S;

	while (rmdir(dir) && errno == EBUSY && ms_now_ns() < limit) {
		struct timespec pause = ms_timespec(MS_NS_PER_MS);

		(void)nanosleep(&pause, NULL);
	}
}

static void remove_group(struct cgroup *g)
{
	(void)cgroup_kill(g);
	if (g->cpu)
		remove_dir(g->cpu);
	if (g->memory && g->memory != g->cpu)
		remove_dir(g->memory);
}

static void release(struct cgroup *g)
{
	if (g->memory != g->cpu)
		free(g->memory);
	free(g->cpu);
	free(g->procs[0]);
	free(g->procs[1]);
	free(g->method);
	cgroup_place_release(&g->place);
	free(g);
}

void cgroup_free(struct cgroup *g)
{
	if (!g)
		return;
	(void)pthread_mutex_lock(&all_lock);
	for (int i = 0; i < GROUPS_MAX; i++)
		if (all[i] == g)
			all[i] = NULL;
	(void)pthread_mutex_unlock(&all_lock);
	remove_group(g);
	release(g);
}

void cgroup_cleanup_all(void)
{
	(void)pthread_mutex_lock(&all_lock);
	for (int i = 0; i < GROUPS_MAX; i++)
		if (all[i])
			remove_group(all[i]);
	(void)pthread_mutex_unlock(&all_lock);
}

/* One folder below each parent; on failure none is left. */
static int make_dirs(struct cgroup *g, const char *name, unsigned number)
{
	char id[CGROUP_ID_MAX];

	cgroup_own_id(id, sizeof(id));
	if (asprintf(&g->cpu, "%s/" CGROUP_PREFIX "%s-%u-%s",
		     g->place.cpu_parent, id, number, name) < 0) {
		g->cpu = NULL;
		return -ENOMEM;
	}
	if (mkdir(g->cpu, 0755)) {
		int err = -errno;

		free(g->cpu);
		g->cpu = NULL;
		return err;
	}
	if (!g->place.memory_parent)
		return 0;
	if (g->place.version == 2) {
		g->memory = g->cpu;
		return 0;
	}
	if (asprintf(&g->memory, "%s/" CGROUP_PREFIX "%s-%u-%s",
		     g->place.memory_parent, id, number, name) < 0) {
		g->memory = NULL;
		return 0;
	}
	if (mkdir(g->memory, 0755)) {
		free(g->memory);
		g->memory = NULL;
	}
	return 0;
}

static int name_procs(struct cgroup *g)
{
	if (!g->cpu)
		return 0;
	if (asprintf(&g->procs[0], "%s/cgroup.procs", g->cpu) < 0) {
		g->procs[0] = NULL;
		return -ENOMEM;
	}
	if (!g->memory || g->memory == g->cpu)
		return 0;
	if (asprintf(&g->procs[1], "%s/cgroup.procs", g->memory) < 0) {
		g->procs[1] = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int describe(struct cgroup *g, const char *why)
{
	int n = 0;

	if (!g->cpu)
		n = asprintf(&g->method, "wait4: %s", why);
	else
		n = asprintf(&g->method, "cgroup%d%s", g->place.version,
			     g->memory ? "" : ", without memory");
	if (n < 0)
		g->method = NULL;
	return n < 0 ? -ENOMEM : 0;
}

static int setup(struct cgroup *g, const char *name, unsigned number)
{
	char why[200] = "";
	int err = cgroup_find(&g->place, why, sizeof(why));

	if (err == -ENOMEM)
		return err;
	if (!err) {
		cgroup_sweep(&g->place);
		err = make_dirs(g, name, number);
		if (err == -ENOMEM)
			return err;
		if (err)
			(void)snprintf(why, sizeof(why), "mkdir in %s: %s",
				       g->place.cpu_parent, ms_errno_text(err));
	}
	err = name_procs(g);
	return err ? err : describe(g, why);
}

static bool good_name(const char *name)
{
	size_t len = strlen(name);

	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-')
			return false;
	return len > 0 && len < 64;
}

int cgroup_new(const char *name, struct cgroup **ret)
{
	struct cgroup *g = NULL;
	int slot = 0;
	int err = 0;

	if (!good_name(name))
		return ms_err(-EINVAL, "cgroup: bad name \"%.64s\"", name);
	g = calloc(1, sizeof(*g));
	if (!g)
		return ms_err(-ENOMEM, "cgroup");
	(void)pthread_mutex_lock(&all_lock);
	while (slot < GROUPS_MAX && all[slot])
		slot++;
	err = slot == GROUPS_MAX ? -ENOSPC : setup(g, name, created++);
	if (!err)
		all[slot] = g;
	(void)pthread_mutex_unlock(&all_lock);
	if (err) {
		remove_group(g);
		release(g);
		return ms_err(err, "cgroup: create %s", name);
	}
	*ret = g;
	return 0;
}

const char *cgroup_method(const struct cgroup *g)
{
	return g->method;
}

int cgroup_system_cpu(double *ret_busy_s)
{
	char text[FILE_MAX] = "";
	unsigned long long user = 0;
	unsigned long long nice = 0;
	unsigned long long sys = 0;
	unsigned long long idle = 0;
	unsigned long long wait = 0;
	unsigned long long irq = 0;
	unsigned long long soft = 0;
	long hz = sysconf(_SC_CLK_TCK);
	int err = read_text("/proc", "stat", text, sizeof(text));

	if (err)
		return err;
	/* The kernel's own text; numbers too large for it cannot be there. */
	/* NOLINTNEXTLINE(cert-err34-c) */
	if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice,
		   &sys, &idle, &wait, &irq, &soft) != 7 ||
	    hz <= 0)
		return ms_err(-EPROTO, "cgroup: /proc/stat: \"%.40s\"", text);
	*ret_busy_s = (double)(user + nice + sys + irq + soft) / (double)hz;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the control group that this process is in, in both versions and
 * their mixture, and sweeping up groups of dead owners; see cgroup-find.h.
 */
#include "harness/record/cgroup-find.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A whole file of /proc as text; the caller frees. NULL: not readable. */
static char *slurp(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t got = 0;

	if (!f)
		return NULL;
	got = getdelim(&text, &size, '\0', f);
	(void)fclose(f);
	if (got >= 0)
		return text;
	free(text);
	return NULL;
}

/* Is `word` one of the comma separated words of text[0, len)? */
static bool has_word(const char *text, size_t len, const char *word)
{
	size_t want = strlen(word);

	for (size_t at = 0; at < len;) {
		size_t n = 0;

		while (at + n < len && text[at + n] != ',')
			n++;
		if (n == want && !strncmp(text + at, word, n))
			return true;
		at += n + 1;
	}
	return false;
}

/*
 * Does a line of mountinfo mount the controller? Its fields: id parent dev
 * root point options [optional…] - type source super-options.
 */
static bool mounts(const char *line, const char *controller,
		   struct cgroup_mount *ret)
{
	const char *dash = strstr(line, " - ");
	char type[16];
	int super = 0;

	/* NOLINTNEXTLINE(cert-err34-c) */
	if (!dash || sscanf(dash, " - %15s %*s %n", type, &super) != 1 ||
	    !super)
		return false;
	if (*controller ? strcmp(type, "cgroup") != 0 ||
				  !has_word(dash + super,
					    strcspn(dash + super, "\n "),
					    controller)
			: strcmp(type, "cgroup2") != 0)
		return false;
	/* NOLINTNEXTLINE(cert-err34-c) */
	return sscanf(line, "%*s %*s %*s %511s %511s", ret->root, ret->point) ==
	       2;
}

int cgroup_parse_mounts(const char *mountinfo, const char *controller,
			struct cgroup_mount *ret)
{
	const char *line = mountinfo;

	while (line && *line) {
		size_t len = strcspn(line, "\n");
		char *copy = strndup(line, len);
		bool found = false;

		if (!copy)
			return -ENOMEM;
		found = mounts(copy, controller, ret);
		free(copy);
		if (found)
			return 0;
		line += len;
		line += *line == '\n';
	}
	return -ENOENT;
}

int cgroup_parse_self(const char *text, const char *controller, char *ret,
		      size_t size)
{
	/* Lines are ID:CONTROLLERS:PATH, with an empty list in version 2. */
	while (*text) {
		const char *list = strchr(text, ':');
		const char *path = list ? strchr(list + 1, ':') : NULL;
		size_t len = strcspn(text, "\n");
		bool found = false;

		if (path && path < text + len) {
			size_t list_len = (size_t)(path - list - 1);
			size_t path_len = len - (size_t)(path + 1 - text);

			found = *controller ? has_word(list + 1, list_len,
						       controller)
					    : list_len == 0;
			if (found && path_len < size) {
				memcpy(ret, path + 1, path_len);
				ret[path_len] = '\0';
				return 0;
			}
		}
		text += len;
		text += *text == '\n';
	}
	return -ENOENT;
}

/* The folder of our own group under a controller; the caller frees. */
static char *own_group(const char *mountinfo, const char *self,
		       const char *controller)
{
	struct cgroup_mount m;
	char path[512];
	const char *below = path;
	char *dir = NULL;

	if (cgroup_parse_mounts(mountinfo, controller, &m) ||
	    cgroup_parse_self(self, controller, path, sizeof(path)))
		return NULL;
	/* A mount of a container shows only what is below its root. */
	if (strcmp(m.root, "/") != 0) {
		size_t len = strlen(m.root);

		if (!strncmp(path, m.root, len) &&
		    (path[len] == '/' || !path[len]))
			below = path + len;
		else if (strncmp(path, "/..", 3) != 0)
			return NULL;
		else
			below = "";
	}
	if (!strcmp(below, "/"))
		below = "";
	return asprintf(&dir, "%s%s", m.point, below) < 0 ? NULL : dir;
}

/* Can a folder be made there? By trying: permissions do not tell. */
static int try_folder(const char *parent, char *ret_probe, size_t size)
{
	char id[CGROUP_ID_MAX];

	cgroup_own_id(id, sizeof(id));
	if (snprintf(ret_probe, size, "%s/" CGROUP_PREFIX "%s-probe", parent,
		     id) >= (int)size)
		return -ENAMETOOLONG;
	return mkdir(ret_probe, 0755) ? -errno : 0;
}

static bool has_file(const char *dir, const char *name)
{
	char path[1024];

	return snprintf(path, sizeof(path), "%s/%s", dir, name) <
		       (int)sizeof(path) &&
	       !access(path, R_OK);
}

/*
 * A group is useful if the folder has the file we read. In version 2 CPU time
 * is always there, peak memory only where the parent hands memory down.
 */
static bool usable(const char *parent, const char *file, const char *also,
		   bool *ret_also)
{
	char probe[1024];
	bool good = false;

	if (try_folder(parent, probe, sizeof(probe)))
		return false;
	good = has_file(probe, file);
	if (also)
		*ret_also = has_file(probe, also);
	(void)rmdir(probe);
	return good;
}

static bool find_v2(struct cgroup_place *p, const char *mounts_text,
		    const char *self)
{
	bool memory = false;
	char *dir = own_group(mounts_text, self, "");

	if (!dir)
		return false;
	/* A mixed system has CPU time here, but memory in version 1. */
	if (!usable(dir, "cpu.stat", "memory.peak", &memory) || !memory) {
		free(dir);
		return false;
	}
	p->version = 2;
	p->cpu_parent = dir;
	p->memory_parent = strdup(dir);
	return p->memory_parent;
}

static bool find_v1(struct cgroup_place *p, const char *mounts_text,
		    const char *self)
{
	char *cpu = own_group(mounts_text, self, "cpuacct");
	char *memory = own_group(mounts_text, self, "memory");

	if (!cpu || !usable(cpu, "cpuacct.usage_user", NULL, NULL)) {
		free(cpu);
		free(memory);
		return false;
	}
	if (memory &&
	    !usable(memory, "memory.max_usage_in_bytes", NULL, NULL)) {
		free(memory);
		memory = NULL;
	}
	p->version = 1;
	p->cpu_parent = cpu;
	p->memory_parent = memory;
	return true;
}

/* Version 2 without memory is still better than nothing. */
static bool find_v2_cpu(struct cgroup_place *p, const char *mounts_text,
			const char *self)
{
	char *dir = own_group(mounts_text, self, "");

	if (!dir || !usable(dir, "cpu.stat", NULL, NULL)) {
		free(dir);
		return false;
	}
	p->version = 2;
	p->cpu_parent = dir;
	return true;
}

int cgroup_find(struct cgroup_place *ret, char *why, size_t size)
{
	char *mounts_text = slurp("/proc/self/mountinfo");
	char *self = slurp("/proc/self/cgroup");
	bool found = false;

	*ret = (struct cgroup_place){0};
	if (mounts_text && self)
		found = find_v2(ret, mounts_text, self) ||
			find_v1(ret, mounts_text, self) ||
			find_v2_cpu(ret, mounts_text, self);
	if (!found)
		(void)snprintf(why, size, "%s",
			       mounts_text && self
				       ? "no control group of cpuacct or "
					 "version 2 can be made below our own"
				       : "/proc is not readable");
	free(mounts_text);
	free(self);
	return found ? 0 : -ENOENT;
}

void cgroup_place_release(struct cgroup_place *p)
{
	free(p->cpu_parent);
	free(p->memory_parent);
	*p = (struct cgroup_place){0};
}

/* When a process was started, in ticks since boot; 0: there is none. */
static uint64_t start_time(long pid)
{
	char path[64];
	char *text = NULL;
	char *at = NULL;
	uint64_t ticks = 0;

	(void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	text = slurp(path);
	if (!text)
		return 0;
	/* The name is in parentheses and may hold anything; then 19 fields. */
	at = strrchr(text, ')');
	for (int i = 0; at && i < 20; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (at)
		ticks = strtoull(at, NULL, 10);
	free(text);
	return ticks;
}

/* Pids mean something within their namespace only. */
static uint64_t pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : (uint64_t)st.st_ino;
}

void cgroup_own_id(char *buf, size_t size)
{
	(void)snprintf(buf, size, "%ld-%" PRIu64 "-%" PRIu64, (long)getpid(),
		       start_time((long)getpid()), pid_namespace());
}

/* Is it the folder of a process that is no more? */
static bool stale(const char *name)
{
	const char *at = name + strlen(CGROUP_PREFIX);
	char *end = NULL;
	long pid = 0;
	uint64_t started = 0;
	uint64_t space = 0;

	if (strncmp(name, CGROUP_PREFIX, strlen(CGROUP_PREFIX)) != 0)
		return false;
	pid = strtol(at, &end, 10);
	if (end == at || *end != '-' || pid <= 0)
		return false;
	at = end + 1;
	started = strtoull(at, &end, 10);
	if (end == at || *end != '-')
		return false;
	at = end + 1;
	space = strtoull(at, &end, 10);
	if (end == at || *end != '-' || space != pid_namespace())
		return false;
	return start_time(pid) != started;
}

static void kill_and_remove(const char *dir)
{
	uint64_t limit = ms_now_ns() + MS_NS_PER_S;
	char path[1200];
	char line[32];

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	while (rmdir(dir) && errno == EBUSY && ms_now_ns() < limit) {
		struct timespec pause = ms_timespec(MS_NS_PER_MS);
		FILE *f = fopen(path, "re");

		while (f && fgets(line, sizeof(line), f)) {
			long pid = strtol(line, NULL, 10);

			if (pid > 1 && pid != (long)getpid())
				(void)kill((pid_t)pid, SIGKILL);
		}
		if (f)
			(void)fclose(f);
		(void)nanosleep(&pause, NULL);
	}
}

static void sweep_parent(const char *parent)
{
	DIR *d = parent ? opendir(parent) : NULL;
	struct dirent *e = NULL;
	char path[1100];

	if (!d)
		return;
	while ((e = readdir(d)))
		if (stale(e->d_name) &&
		    snprintf(path, sizeof(path), "%s/%s", parent, e->d_name) <
			    (int)sizeof(path))
			kill_and_remove(path);
	(void)closedir(d);
}

void cgroup_sweep(const struct cgroup_place *p)
{
	sweep_parent(p->cpu_parent);
	sweep_parent(p->memory_parent);
}

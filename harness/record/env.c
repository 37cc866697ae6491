/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting and writing env.json; see env.h. Probes are in env-probe.c. */
#include "harness/record/env.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

/* The Makefile defines these for this file. */
#ifndef MS_VERSION
#define MS_VERSION "unknown"
#endif
#ifndef MS_GIT_DESCRIBE
#define MS_GIT_DESCRIBE "unknown"
#endif
#ifndef MS_CFLAGS
#define MS_CFLAGS "unknown"
#endif
#ifndef MS_CC_VERSION
#ifdef __clang__
#define MS_CC_VERSION __VERSION__
#else
#define MS_CC_VERSION "gcc " __VERSION__
#endif
#endif

/* The first line of a small file; NULL if it cannot be read. */
static char *first_line(const char *path)
{
	char line[512];
	FILE *f = fopen(path, "re");
	char *text = NULL;

	if (!f)
		return NULL;
	if (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		text = strdup(line);
	}
	(void)fclose(f);
	return text;
}

/*
 * A text as JSON: null where there is none. What the kernel or the firmware
 * gives need not be UTF-8; then it is null as well.
 */
static json_t *text_json(const char *text)
{
	json_t *j = text ? json_string(text) : NULL;

	return j ? j : json_null();
}

static json_t *file_json(const char *path)
{
	char *text = first_line(path);
	json_t *j = text_json(text);

	free(text);
	return j;
}

/* The value of a "key : value" line of a file such as /proc/cpuinfo. */
static char *value_of(const char *path, const char *key)
{
	char line[4096];
	FILE *f = fopen(path, "re");
	char *found = NULL;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) != 0 || !colon)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		found = strdup(colon);
	}
	if (f)
		(void)fclose(f);
	return found;
}

static json_t *kib_json(const char *key)
{
	char *text = value_of("/proc/meminfo", key);
	json_t *j = NULL;
	char *end = NULL;
	unsigned long long kib = 0;

	if (!text)
		return json_null();
	kib = strtoull(text, &end, 10);
	j = end == text ? json_null() : json_integer((json_int_t)kib * 1024);
	free(text);
	return j;
}

static json_t *machine(void)
{
	char *model = value_of("/proc/cpuinfo", "model name");
	char *flags = value_of("/proc/cpuinfo", "flags");
	json_t *hypervisor = json_null();
	json_t *j = json_object();

	/* With a blank on both sides it is a word of the list. */
	if (flags)
		hypervisor = json_boolean(strstr(flags, " hypervisor") != NULL);
	(void)json_object_set_new(j, "cpu_model", text_json(model));
	(void)json_object_set_new(j, "cpus_online",
				  json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	(void)json_object_set_new(j, "memory_bytes", kib_json("MemTotal"));
	(void)json_object_set_new(j, "swap_bytes", kib_json("SwapTotal"));
	(void)json_object_set_new(j, "page_bytes",
				  json_integer(sysconf(_SC_PAGESIZE)));
	(void)json_object_set_new(
		j, "governor",
		file_json("/sys/devices/system/cpu/cpu0/cpufreq/"
			  "scaling_governor"));
	(void)json_object_set_new(
		j, "no_turbo",
		file_json("/sys/devices/system/cpu/intel_pstate/no_turbo"));
	(void)json_object_set_new(
		j, "smt", file_json("/sys/devices/system/cpu/smt/active"));
	(void)json_object_set_new(
		j, "clocksource",
		file_json("/sys/devices/system/clocksource/clocksource0/"
			  "current_clocksource"));
	(void)json_object_set_new(j, "hypervisor", hypervisor);
	(void)json_object_set_new(j, "vendor",
				  file_json("/sys/class/dmi/id/sys_vendor"));
	(void)json_object_set_new(j, "product",
				  file_json("/sys/class/dmi/id/product_name"));
	free(flags);
	free(model);
	return j;
}

static json_t *kernel(void)
{
	struct utsname u;

	if (uname(&u))
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:s}", "name", u.sysname, "release",
			 u.release, "version", u.version, "machine", u.machine);
}

static json_t *build(void)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "version", MS_VERSION, "git",
			 MS_GIT_DESCRIBE, "compiler", MS_CC_VERSION, "cflags",
			 MS_CFLAGS);
}

static json_t *libraries(void)
{
	char xxhash[32];
	unsigned v = XXH_versionNumber();

	(void)snprintf(xxhash, sizeof(xxhash), "%u.%u.%u", v / 10000,
		       v / 100 % 100, v % 100);
	return json_pack("{s:s, s:s, s:s, s:s}", "libc", gnu_get_libc_version(),
			 "jansson", jansson_version_str(), "xxhash", xxhash,
			 "zlib", zlibVersion());
}

/* Settings that change results; of the namespace that the harness runs in. */
static json_t *settings(void)
{
	static const char *const files[] = {
		"/proc/sys/net/ipv4/tcp_congestion_control",
		"/proc/sys/net/ipv4/tcp_available_congestion_control",
		"/proc/sys/net/ipv4/tcp_mem",
		"/proc/sys/net/ipv4/tcp_rmem",
		"/proc/sys/net/ipv4/tcp_wmem",
		"/proc/sys/net/ipv4/tcp_no_metrics_save",
		"/proc/sys/net/ipv4/tcp_slow_start_after_idle",
		"/proc/sys/net/core/rmem_max",
		"/proc/sys/net/core/wmem_max",
		"/proc/sys/net/core/default_qdisc",
		"/proc/sys/vm/overcommit_memory",
		"/proc/sys/vm/swappiness",
		"/proc/sys/vm/dirty_ratio",
		"/proc/sys/vm/dirty_background_ratio",
		"/proc/sys/vm/nr_hugepages",
		"/proc/sys/vm/unprivileged_userfaultfd",
		"/proc/sys/kernel/randomize_va_space",
		"/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/kernel/mm/transparent_hugepage/defrag",
		"/sys/kernel/mm/transparent_hugepage/shmem_enabled",
	};
	json_t *j = json_object();

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		(void)json_object_set_new(j, files[i], file_json(files[i]));
	return j;
}

static json_t *now(void)
{
	char text[32];
	struct timespec t;
	struct tm tm;

	if (clock_gettime(CLOCK_REALTIME, &t) || !gmtime_r(&t.tv_sec, &tm) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

json_t *env_collect(void)
{
	json_t *j = json_object();
	int err = 0;

	/* set_new takes NULL for "no memory" and fails. */
	err |= json_object_set_new(j, "env_version", json_integer(ENV_VERSION));
	err |= json_object_set_new(j, "written", now());
	err |= json_object_set_new(j, "build", build());
	err |= json_object_set_new(j, "machine", machine());
	err |= json_object_set_new(j, "kernel", kernel());
	err |= json_object_set_new(j, "settings", settings());
	err |= json_object_set_new(j, "libraries", libraries());
	err |= json_object_set_new(j, "features", env_probe());
	if (!err)
		return j;
	json_decref(j);
	return NULL;
}

json_t *env_command(int argc, char *const *argv)
{
	json_t *j = json_array();

	for (int i = 0; i < argc; i++)
		if (json_array_append_new(j, text_json(argv[i]))) {
			json_decref(j);
			return NULL;
		}
	return j;
}

/* The file's bytes are on the disk before it gets its name. */
static int write_synced(const char *path, const json_t *env)
{
	FILE *f = fopen(path, "we");
	int err = 0;

	if (!f)
		return ms_err(-errno, "env: open %s", path);
	if (json_dumpf(env, f, JSON_INDENT(2)) || fputc('\n', f) == EOF ||
	    fflush(f) || fsync(fileno(f)))
		err = errno ? -errno : -EIO;
	if (fclose(f) && !err)
		err = -errno;
	return err ? ms_err(err, "env: write %s", path) : 0;
}

static int replace(const char *dir, const char *name, const json_t *env)
{
	char *path = NULL;
	char *temporary = NULL;
	int err = 0;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return ms_err(-ENOMEM, "env: %s", dir);
	if (asprintf(&temporary, "%s.%ld.tmp", path, (long)getpid()) < 0) {
		free(path);
		return ms_err(-ENOMEM, "env: %s", dir);
	}
	err = write_synced(temporary, env);
	if (!err && rename(temporary, path))
		err = ms_err(-errno, "env: rename to %s", path);
	if (err)
		(void)unlink(temporary);
	free(temporary);
	free(path);
	return err;
}

int env_write(const char *dir, const char *name, json_t *extra)
{
	json_t *env = env_collect();
	const char *key = NULL;
	json_t *value = NULL;
	int err = 0;

	if (!env)
		return ms_err(-ENOMEM, "env: %s", dir);
	json_object_foreach(extra, key, value)
	{
		if (json_object_get(env, key))
			err = ms_err(-EEXIST, "env: %s is there twice", key);
		else if (json_object_set(env, key, value))
			err = ms_err(-ENOMEM, "env: %s", dir);
		if (err)
			break;
	}
	if (!err)
		err = replace(dir, name, env);
	json_decref(env);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What was found out about the VM here; see facts.h. */
#include "harness/vm/facts.h"

#include "approaches/common/util/err.h"
#include "harness/run/approach.h"
#include "harness/run/no-memory.h"
#include "harness/vm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_NS UINT64_C(60000000000)

int facts_kvm_device(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return ms_err(-errno, "/dev/kvm");
	(void)close(fd);
	return 0;
}

static void read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");

	buf[0] = '\0';
	if (f && fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
	if (f)
		(void)fclose(f);
}

/* What the facts hold for; they are forgotten when any of it changes. */
static void make_key(const struct vm_kernel *k, char *buf, size_t size)
{
	char boot[64];
	char qemu[PATH_MAX];
	struct stat st = {.st_size = 0};

	read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	if (!approach_program(MACHINE_PROGRAM, qemu, sizeof(qemu)))
		(void)stat(qemu, &st);
	(void)snprintf(buf, size, "%s %.1000s %" PRIu64 "-%" PRIu64 " %s", boot,
		       k->dir, (uint64_t)st.st_size, (uint64_t)st.st_mtime,
		       facts_kvm_device() ? "no-kvm" : "kvm");
}

/* Beside the kernel's folder. */
static void file_name(const struct vm_kernel *k, char *buf, size_t size)
{
	const char *slash = strrchr(k->dir, '/');

	(void)snprintf(buf, size, "%.*s/facts.json",
		       (int)(slash ? slash - k->dir : 0), k->dir);
}

/* What is known, or an empty object. NULL: no memory. */
static json_t *load(const struct vm_kernel *k)
{
	char path[PATH_MAX + 16];
	char key[PATH_MAX + 128];
	const char *there;
	json_t *j;

	file_name(k, path, sizeof(path));
	make_key(k, key, sizeof(key));
	j = json_load_file(path, 0, NULL);
	there = json_string_value(json_object_get(j, "key"));
	if (there && !strcmp(there, key))
		return j;
	json_decref(j);
	return json_pack("{s:s}", "key", key);
}

static void store(const struct vm_kernel *k, const json_t *j)
{
	char path[PATH_MAX + 16];
	char temporary[PATH_MAX + 48];

	file_name(k, path, sizeof(path));
	(void)snprintf(temporary, sizeof(temporary), "%s.%d", path,
		       (int)getpid());
	if (json_dump_file(j, temporary, JSON_INDENT(2)) ||
	    rename(temporary, path))
		(void)unlink(temporary);
}

enum vm_accel facts_accel(const struct vm_kernel *kernel)
{
	json_t *j = load(kernel);
	const char *name = json_string_value(json_object_get(j, "accel"));
	enum vm_accel accel = VM_AUTO;

	for (unsigned i = 0; name && vm_accels[i]; i++)
		if (!strcmp(vm_accels[i], name))
			accel = (enum vm_accel)i;
	json_decref(j);
	return accel;
}

void facts_note_accel(const struct vm_kernel *kernel, enum vm_accel accel,
		      const char *why)
{
	json_t *j = load(kernel);

	if (!j)
		return;
	(void)json_object_set_new(j, "accel", json_string(vm_accels[accel]));
	(void)json_object_set_new(j, "why", json_string(why));
	store(kernel, j);
	json_decref(j);
}

/* What the guest's doctor says. */
static int ask_guest(int stop_fd, json_t **ret_features, char *release,
		     size_t size)
{
	char self[PATH_MAX] = "";
	const char *const argv[] = {self, "doctor", "--here", "--json", NULL};
	int out = memfd_create("memsync-vm-doctor", MFD_CLOEXEC);
	struct vm_config config = {.argv = argv,
				   .dir = "/",
				   .in = -1,
				   .out = out,
				   .err = STDERR_FILENO,
				   .limit_ns = PROBE_NS,
				   .stop_fd = stop_fd};
	struct vm_result *result = calloc(1, sizeof(*result));
	json_t *j = NULL;
	int err = 0;

	if (!result || out < 0 ||
	    readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		err = ms_err(-ENOMEM, "vm");
	if (!err)
		err = vm_run(&config, result);
	if (!err && result->status)
		err = ms_err_plain(-EIO, "the guest's doctor failed");
	if (!err && lseek(out, 0, SEEK_SET) == 0)
		j = json_loadfd(out, 0, NULL);
	if (!err && !j)
		err = ms_err_plain(-EIO,
				   "the guest's doctor said nothing sensible");
	if (!err)
		(void)snprintf(release, size, "%s", result->release);
	if (out >= 0)
		(void)close(out);
	free(result);
	*ret_features = j;
	return err;
}

int facts_probe(int stop_fd, json_t **ret)
{
	char release[64];
	struct vm_kernel kernel;
	json_t *features = NULL;
	json_t *j;
	int err = machine_supported();

	if (!err)
		err = vm_kernel_find(0, &kernel);
	if (err)
		return err;
	j = load(&kernel);
	if (!j)
		return no_memory("vm");
	if (json_object_get(j, "features")) {
		*ret = j;
		return 0;
	}
	json_decref(j);
	err = ask_guest(stop_fd, &features, release, sizeof(release));
	if (err)
		return err;
	/* Booting may have noted the acceleration meanwhile. */
	j = load(&kernel);
	if (!j || json_object_set_new(j, "features", features) ||
	    json_object_set_new(j, "kernel", json_string(release))) {
		json_decref(j);
		return no_memory("vm");
	}
	store(&kernel, j);
	*ret = j;
	return 0;
}

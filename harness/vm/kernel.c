/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel that the VM boots; see kernel.h. */
#include "harness/vm/kernel.h"

#include "approaches/common/util/err.h"
#include "harness/run/experiment.h"
#include "harness/util/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define FETCH_SECONDS 600

/* Beside the program's folder, as built and as installed. */
#define GUEST_ARCHIVE "lib/memsync/vm-init.cpio"

/* The script's three lines: folder, release, "cached" or "fetched". */
static int parse(char *said, struct vm_kernel *ret)
{
	char *save = NULL;
	const char *dir = strtok_r(said, "\n", &save);
	const char *release = strtok_r(NULL, "\n", &save);

	if (!dir || !release || *dir != '/' ||
	    strlen(dir) >= sizeof(ret->dir) ||
	    strlen(release) >= sizeof(ret->release))
		return ms_err_plain(-EOPNOTSUPP,
				    "no VM: its kernel was not found");
	(void)snprintf(ret->dir, sizeof(ret->dir), "%s", dir);
	(void)snprintf(ret->release, sizeof(ret->release), "%s", release);
	return 0;
}

int vm_kernel_find(int offline, struct vm_kernel *ret)
{
	char dir[PATH_MAX];
	char script[PATH_MAX + 16];
	char said[PATH_MAX + 256];
	const char *const argv[] = {script, offline ? "--offline" : NULL, NULL};
	int err = harness_folder("vm", dir, sizeof(dir));

	if (err)
		return ms_err_plain(-EOPNOTSUPP, "no VM: %s", ms_err_text());
	(void)snprintf(script, sizeof(script), "%s/kernel", dir);
	err = spawn_wait(argv, SPAWN_STDOUT, FETCH_SECONDS, said, sizeof(said));
	if (err < 0)
		return ms_err_plain(-EOPNOTSUPP, "no VM: %s", ms_err_text());
	if (err)
		return ms_err_plain(-EOPNOTSUPP,
				    "no VM: there is no kernel for it");
	return parse(said, ret);
}

static int append(int to, const char *path)
{
	struct stat st = {.st_size = 0};
	int err = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		err = -errno;
	for (off_t at = 0; !err && at < st.st_size;) {
		ssize_t n = sendfile(to, fd, &at, (size_t)(st.st_size - at));

		if (n <= 0)
			err = n ? -errno : -EIO;
	}
	if (fd >= 0)
		(void)close(fd);
	return err ? ms_err_plain(-EOPNOTSUPP, "no VM: %s: %s", path,
				  ms_errno_text(err))
		   : 0;
}

static int guest_archive(char *buf, size_t size)
{
	char at[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", at, sizeof(at) - 1);

	at[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 2; i++)
		if (strrchr(at, '/'))
			*strrchr(at, '/') = '\0';
	if (snprintf(buf, size, "%s/" GUEST_ARCHIVE, at) >= (int)size)
		return ms_err(-ENAMETOOLONG, "%s", at);
	return 0;
}

int vm_kernel_initrd(const struct vm_kernel *kernel, int *ret_fd)
{
	char path[PATH_MAX + 64];
	int fd = memfd_create("memsync-vm-initrd", MFD_CLOEXEC);
	int err = fd < 0 ? ms_err(-errno, "memfd_create") : 0;

	(void)snprintf(path, sizeof(path), "%s/modules.cpio", kernel->dir);
	if (!err)
		err = append(fd, path);
	if (!err)
		err = guest_archive(path, sizeof(path));
	if (!err)
		err = append(fd, path);
	if (err) {
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

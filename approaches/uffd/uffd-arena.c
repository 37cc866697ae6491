/* SPDX-License-Identifier: Apache-2.0 */
/* Memory files, in huge pages where possible; see uffd-arena.h. */
#include "approaches/uffd/uffd-arena.h"

#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define HUGE_BYTES (UINT64_C(2) << 20)

/* A tmpfs that is attached nowhere: it is gone with its last file. */
static int private_tmpfs(uint64_t bytes)
{
	char size[32];
	int mount = -1;
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	(void)snprintf(size, sizeof(size), "%" PRIu64, bytes);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mount < 0)
		mount = -errno;
	(void)close(fs);
	return mount;
}

static int huge_file(uint64_t length)
{
	uint64_t rounded = (length + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	int mount = private_tmpfs(rounded);

	if (mount < 0)
		return mount;
	int fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : 0;
	(void)close(mount);
	if (rc == 0 && ftruncate(fd, (off_t)rounded)) {
		rc = -errno;
		(void)close(fd);
	}
	return rc ? rc : fd;
}

static int plain_file(uint64_t length)
{
	int fd =
		memfd_create("memsync-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)length) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int rc = -errno;
		(void)close(fd);
		return rc;
	}
	return fd;
}

int ms_uffd_arena_open(struct ms_uffd_arena *a, uint64_t size, bool huge)
{
	*a = (struct ms_uffd_arena){.fd = -1};
	a->length = (size + MS_UFFD_PAGE - 1) & ~(MS_UFFD_PAGE - 1);
	/* One huge page for a few bytes would be a waste. */
	if (huge && size >= HUGE_BYTES)
		a->fd = huge_file(a->length);
	a->huge = a->fd >= 0;
	if (!a->huge)
		a->fd = plain_file(a->length);
	if (a->fd < 0)
		return ms_err(a->fd, "uffd: a memory file of %" PRIu64 " bytes",
			      a->length);
	void *addr = mmap(NULL, a->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			  a->fd, 0);
	if (addr == MAP_FAILED) {
		int rc = ms_err(-errno, "uffd: map %" PRIu64 " bytes",
				a->length);
		(void)close(a->fd);
		a->fd = -1;
		return rc;
	}
	a->addr = addr;
	return 0;
}

void ms_uffd_arena_close(struct ms_uffd_arena *a)
{
	if (a->addr)
		(void)munmap(a->addr, a->length);
	if (a->fd >= 0)
		(void)close(a->fd);
	*a = (struct ms_uffd_arena){.fd = -1};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Cold files; see local-disk.h. */
#include "harness/workload/local-disk.h"

#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STEP_BYTES (UINT64_C(1) << 20)
#define PAGE_BYTES UINT64_C(4096)

/* Pages that may stay: metadata readers and other processes touch some. */
enum {
	STAY_MAX_PERCENT = 1
};

static const char *memory_fs(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return NULL;
	if (fs.f_type == TMPFS_MAGIC)
		return "tmpfs";
	if (fs.f_type == RAMFS_MAGIC)
		return "ramfs";
	if (fs.f_type == HUGETLBFS_MAGIC)
		return "hugetlbfs";
	return NULL;
}

static int open_unnamed(const char *folder)
{
	char path[4096];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd < 0 ? -errno : fd;
	/* File systems without O_TMPFILE: named for an instant. */
	(void)snprintf(path, sizeof(path), "%.4000s/memsync-disk.XXXXXX",
		       folder);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)unlink(path);
	return fd;
}

static int fill(int fd, uint64_t size, uint64_t seed)
{
	char *buf = malloc(STEP_BYTES);
	int rc = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < size && rc == 0;) {
		uint64_t n = size - at < STEP_BYTES ? size - at : STEP_BYTES;
		ms_pattern_fill(seed, at, buf, n);
		ssize_t put = pwrite(fd, buf, n, (off_t)at);
		if (put < 0 && errno != EINTR)
			rc = -errno;
		else if (put > 0)
			at += (uint64_t)put;
	}
	if (rc == 0 && fsync(fd))
		rc = -errno;
	free(buf);
	return rc;
}

int local_disk_file(const char *folder, uint64_t size, uint64_t seed)
{
	int fd = open_unnamed(folder);

	if (fd < 0)
		return ms_err(fd, "disk: a file in %s", folder);
	const char *memory = memory_fs(fd);
	if (memory) {
		(void)close(fd);
		return ms_err(-EOPNOTSUPP,
			      "disk: %s is a %s, which is memory and no disk",
			      folder, memory);
	}
	/* Written bytes allocate as well, where this is not offered. */
	int rc = fallocate(fd, 0, 0, (off_t)size) && errno == ENOSPC ? -ENOSPC
								     : 0;
	if (rc == 0)
		rc = fill(fd, size, seed);
	if (rc) {
		(void)close(fd);
		return ms_err(rc, "disk: fill a file in %s", folder);
	}
	return fd;
}

/* How many pages the cache holds; UINT64_MAX: cannot be told. */
static uint64_t resident(int fd, uint64_t size)
{
	uint64_t pages = (size + PAGE_BYTES - 1) / PAGE_BYTES;
	uint64_t count = UINT64_MAX;
	unsigned char *vec = malloc(pages);
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (vec && map != MAP_FAILED && mincore(map, size, vec) == 0) {
		count = 0;
		for (uint64_t i = 0; i < pages; i++)
			count += vec[i] & 1;
	}
	if (map != MAP_FAILED)
		(void)munmap(map, size);
	free(vec);
	return count;
}

static void drop_all_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "1\n", 2);
	(void)close(fd);
}

int local_disk_drop_cache(int fd, uint64_t size)
{
	uint64_t pages = (size + PAGE_BYTES - 1) / PAGE_BYTES;
	uint64_t stay = pages * STAY_MAX_PERCENT / 100;
	uint64_t left = 0;

	for (int round = 0; round < 3; round++) {
		/* Dirty pages would stay. */
		if (fdatasync(fd) && errno != EINVAL && errno != EROFS)
			return ms_err(-errno, "drop the page cache: sync");
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		left = resident(fd, size);
		if (left <= stay)
			return 0;
		if (left == UINT64_MAX)
			return ms_err(-EOPNOTSUPP,
				      "drop the page cache: what is in it "
				      "cannot be told");
		drop_all_caches();
	}
	return ms_err(-EBUSY,
		      "drop the page cache: %" PRIu64 " of %" PRIu64
		      " pages stay",
		      left, pages);
}

uint64_t local_disk_size(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end <= 0) {
		(void)ms_err(end < 0 ? -errno : -EINVAL, "its size");
		return 0;
	}
	return (uint64_t)end;
}

int local_disk_read_ahead_kb(int fd)
{
	char path[128];
	struct stat st;
	int kb = -1;

	if (fstat(fd, &st))
		return -1;
	dev_t dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	/* For a partition the queue is its parent's. */
	for (int up = 0; up < 2 && kb < 0; up++) {
		char text[32] = "";
		(void)snprintf(path, sizeof(path),
			       "/sys/dev/block/%u:%u/%squeue/read_ahead_kb",
			       major(dev), minor(dev), up ? "../" : "");
		int f = open(path, O_RDONLY | O_CLOEXEC);
		if (f < 0)
			continue;
		if (read(f, text, sizeof(text) - 1) > 0)
			kb = (int)strtol(text, NULL, 10);
		(void)close(f);
	}
	return kb;
}

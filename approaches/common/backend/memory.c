/* SPDX-License-Identifier: Apache-2.0 */
/* Backend `memory`; see memory.h. */
#include "approaches/common/backend/memory.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>
#include <xxhash.h>

#define PAGE_BYTES   UINT64_C(4096)
#define HUGE_BYTES   (UINT64_C(2) << 20)
#define RESERVE_MIN  (UINT64_C(1) << 36)
#define RESERVE_MAX  (UINT64_C(1) << 42)
#define RESERVE_GROW 16

struct memory {
	struct ms_backend base;
	int fd;
	bool huge; /* the file is on a tmpfs of huge pages */
	char *addr;
	uint64_t reserved;	/* bytes of address space at addr */
	pthread_mutex_t resize; /* one change of size at a time */
};

static struct memory *self(struct ms_backend *b)
{
	return ms_container_of(b, struct memory, base);
}

/* Give whole pages back to the kernel, clear the rest by hand. */
static void zero_range(struct memory *m, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	uint64_t first = (offset + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	uint64_t last = end & ~(PAGE_BYTES - 1);

	if (first >= last ||
	    fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)first, (off_t)(last - first))) {
		memset(m->addr + offset, 0, length);
		return;
	}
	memset(m->addr + offset, 0, first - offset);
	memset(m->addr + last, 0, end - last);
}

static int resize(struct memory *m, uint64_t size)
{
	int rc = 0;

	if (size > m->reserved)
		return -ENOSPC;
	pthread_mutex_lock(&m->resize);
	if (ftruncate(m->fd, (off_t)size))
		rc = -errno;
	else
		ms_size_set(&m->base, size);
	pthread_mutex_unlock(&m->resize);
	return rc;
}

/* One extent: from `offset` to the next change between data and hole. */
static struct ms_extent extent_at(const struct memory *m, uint64_t offset,
				  uint64_t end)
{
	struct ms_extent e = {.offset = offset, .type = MS_EXTENT_DATA};
	off_t data = lseek(m->fd, (off_t)offset, SEEK_DATA);
	off_t next = (off_t)end;

	if (data < 0 || (uint64_t)data > offset) {
		e.type = MS_EXTENT_HOLE;
		next = data < 0 ? (off_t)end : data;
	} else {
		next = lseek(m->fd, (off_t)offset, SEEK_HOLE);
		if (next < 0)
			next = (off_t)end;
	}
	e.length = ((uint64_t)next < end ? (uint64_t)next : end) - offset;
	return e;
}

static void extents(const struct memory *m, struct ms_io *io)
{
	struct ms_extent *list = io->buf;
	uint64_t at = io->offset;
	uint64_t end = io->offset + io->length;

	while (at < end && io->extents_used < io->extents_max) {
		struct ms_extent e = extent_at(m, at, end);
		list[io->extents_used++] = e;
		at += e.length;
	}
}

static void hash(const struct memory *m, const struct ms_io *io)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(
		&canonical, XXH3_128bits(m->addr + io->offset, io->length));
	memcpy(io->buf, canonical.digest, sizeof(canonical.digest));
}

static void memory_submit(struct ms_backend *b, struct ms_io *io)
{
	struct memory *m = self(b);
	int rc = 0;

	switch (io->op) {
	case MS_OP_READ:
		memcpy(io->buf, m->addr + io->offset, io->length);
		break;
	case MS_OP_WRITE:
		memcpy(m->addr + io->offset, io->buf, io->length);
		break;
	case MS_OP_ZERO:
	case MS_OP_TRIM:
		zero_range(m, io->offset, io->length);
		break;
	case MS_OP_EXTENTS:
		extents(m, io);
		break;
	case MS_OP_HASH:
		hash(m, io);
		break;
	case MS_OP_RESIZE:
		rc = resize(m, io->offset);
		break;
	case MS_OP_SYNC: /* memory is as durable as it gets */
	case MS_OP_POPULATE:
	case MS_OP_COUNT:
		break;
	}
	ms_done(io, rc, "memory");
}

static int memory_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		      struct ms_mapping *ret)
{
	struct memory *m = self(b);

	*ret = (struct ms_mapping){.addr = m->addr + offset,
				   .length = length,
				   .fd = m->fd,
				   .fd_offset = offset};
	return 0;
}

static void memory_close(struct ms_backend *b)
{
	struct memory *m = self(b);

	if (m->addr)
		(void)munmap(m->addr, m->reserved);
	if (m->fd >= 0)
		(void)close(m->fd);
	pthread_mutex_destroy(&m->resize);
	free(m);
}

static void memory_stats(struct ms_backend *b, FILE *out)
{
	(void)fprintf(out, "pages %s\n", self(b)->huge ? "huge" : "small");
}

static const struct ms_backend_ops memory_ops = {
	.name = "memory",
	.submit = memory_submit,
	.map = memory_map,
	.stats = memory_stats,
	.close = memory_close,
};

static uint64_t reserve_for(uint64_t size)
{
	uint64_t bytes =
		size <= RESERVE_MAX / RESERVE_GROW ? size * RESERVE_GROW : size;

	if (bytes < RESERVE_MIN)
		bytes = RESERVE_MIN;
	return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/*
 * A tmpfs of huge pages that is attached nowhere: it is gone with its last
 * file. It has no size of its own, as little as a memfd's has.
 */
static int private_tmpfs(void)
{
	int mount = -1;
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -1;
	if (fsconfig(fs, FSCONFIG_SET_STRING, "huge", "advise", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	(void)close(fs);
	return mount;
}

static int huge_file(void)
{
	int mount = private_tmpfs();

	if (mount < 0)
		return -1;
	int fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	(void)close(mount);
	return fd;
}

int ms_memory_open_with(uint64_t size, bool huge, struct ms_backend **ret)
{
	struct memory *m = calloc(1, sizeof(*m));
	int rc = 0;

	if (!m)
		return ms_err(-ENOMEM, "memory");
	ms_backend_init(&m->base, &memory_ops, size,
			MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO | MS_CAN_TRIM |
				MS_CAN_EXTENTS | MS_CAN_HASH | MS_CAN_RESIZE |
				MS_CAN_MAP);
	(void)pthread_mutex_init(&m->resize, NULL);
	m->reserved = reserve_for(size);
	/* A huge page for a few bytes would be a waste. */
	m->fd = huge && size >= HUGE_BYTES ? huge_file() : -1;
	m->huge = m->fd >= 0;
	if (!m->huge)
		m->fd = memfd_create("memsync", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)size)) {
		rc = ms_err(-errno, "memory: a memory file of %llu bytes",
			    (unsigned long long)size);
		goto fail;
	}
	/* Longer than the file: it may grow without moving. */
	void *addr = mmap(NULL, m->reserved, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, m->fd, 0);
	if (addr == MAP_FAILED) {
		rc = ms_err(-errno, "memory: map %llu bytes",
			    (unsigned long long)m->reserved);
		goto fail;
	}
	m->addr = addr;
	*ret = &m->base;
	return 0;
fail:
	memory_close(&m->base);
	return rc;
}

int ms_memory_open(uint64_t size, struct ms_backend **ret)
{
	return ms_memory_open_with(size, false, ret);
}

void ms_memory_want_huge(struct ms_backend *b, uint64_t offset)
{
	struct memory *m = self(b);
	uint64_t from = (offset + HUGE_BYTES - 1) & ~(uint64_t)(HUGE_BYTES - 1);

	/* A kernel without them goes on with small ones. */
	if (m->huge && from < m->reserved)
		(void)madvise(m->addr + from, m->reserved - from,
			      MADV_HUGEPAGE);
}

bool ms_memory_is_huge(const struct ms_backend *b)
{
	return b->ops == &memory_ops &&
	       ms_container_of(b, const struct memory, base)->huge;
}

struct memory_config {
	uint64_t size;
	uint64_t seed;
	bool huge;
};

static const struct ms_opt memory_options[] = {
	MS_OPT_SIZE(struct memory_config, size, "size", 0, "64M", 0, INT64_MAX,
		    "size of the region"),
	MS_OPT_UINT(struct memory_config, seed, "seed", 0, "0", 0, 0,
		    "fill with the pattern of this seed; 0: zeros"),
	MS_OPT_FLAG(struct memory_config, huge, "huge", 0,
		    "in huge pages, if that may be done"),
	MS_OPT_END,
};

static int memory_type_open(const void *config, struct ms_backend **ret)
{
	const struct memory_config *c = config;
	int rc = ms_memory_open_with(c->size, c->huge, ret);

	if (rc == 0)
		ms_memory_want_huge(*ret, 0);
	if (rc == 0 && c->seed && c->size)
		ms_pattern_fill(c->seed, 0, self(*ret)->addr, c->size);
	return rc;
}

const struct ms_backend_type ms_memory_type = {
	.name = "memory",
	.summary = "bytes in this process's memory",
	.kind = MS_STORE,
	.options = memory_options,
	.config_size = sizeof(struct memory_config),
	.open = memory_type_open,
	.example = "memory:size={size}",
};

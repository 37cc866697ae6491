/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking calls of backend `file`; see file.h. */
#include "approaches/common/backend/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

/* Longer reads go to a thread: copying them would hold up the caller. */
#define ANSWER_MAX (UINT64_C(1) << 20)
/* Steps of hashing and of O_DIRECT through an aligned buffer of our own. */
#define STEP_BYTES (UINT64_C(256) << 10)
/* Ranges are given to a block device in units of this. */
#define DEVICE_UNIT UINT64_C(4096)

static bool flag(const bool *f)
{
	return __atomic_load_n(f, __ATOMIC_RELAXED);
}

static void set_flag(bool *f)
{
	__atomic_store_n(f, true, __ATOMIC_RELAXED);
}

/* --- read and write -------------------------------------------------------
 */

static int read_all(int fd, char *buf, uint64_t length, uint64_t offset)
{
	while (length) {
		ssize_t n = pread(fd, buf, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The file was cut by somebody else: not zeros, an error. */
		if (n == 0)
			return -EIO;
		buf += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

static int write_all(int fd, const char *buf, uint64_t length, uint64_t offset,
		     int flags)
{
	while (length) {
		struct iovec v = {.iov_base = (void *)buf, .iov_len = length};
		ssize_t n = pwritev2(fd, &v, 1, (off_t)offset, flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		buf += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* True if O_DIRECT takes the range; the tail of a region need not fit. */
static bool takes_direct(const struct ms_file *f, uint64_t length,
			 uint64_t offset)
{
	return f->fd_direct >= 0 &&
	       ((offset | length) & (f->direct_offset - 1)) == 0;
}

static bool aligned(const struct ms_file *f, const void *buf)
{
	return ((uintptr_t)buf & (f->direct_memory - 1)) == 0;
}

static char *bounce_new(const struct ms_file *f)
{
	return aligned_alloc(f->direct_memory, STEP_BYTES);
}

static int read_bounced(const struct ms_file *f, char *buf, uint64_t length,
			uint64_t offset)
{
	char *bounce = bounce_new(f);
	int rc = bounce ? 0 : -ENOMEM;

	while (rc == 0 && length) {
		uint64_t n = length < STEP_BYTES ? length : STEP_BYTES;
		rc = read_all(f->fd_direct, bounce, n, offset);
		if (rc == 0)
			memcpy(buf, bounce, n);
		buf += n;
		offset += n;
		length -= n;
	}
	free(bounce);
	return rc;
}

static int write_bounced(const struct ms_file *f, const char *buf,
			 uint64_t length, uint64_t offset, int flags)
{
	char *bounce = bounce_new(f);
	int rc = bounce ? 0 : -ENOMEM;

	while (rc == 0 && length) {
		uint64_t n = length < STEP_BYTES ? length : STEP_BYTES;
		memcpy(bounce, buf, n);
		rc = write_all(f->fd_direct, bounce, n, offset, flags);
		buf += n;
		offset += n;
		length -= n;
	}
	free(bounce);
	return rc;
}

/* The part of a range that O_DIRECT takes; the rest is the region's tail. */
static uint64_t direct_part(const struct ms_file *f, uint64_t length,
			    uint64_t offset)
{
	uint64_t part = length & ~(uint64_t)(f->direct_offset - 1);

	return takes_direct(f, part, offset) ? part : 0;
}

static int file_read(void *store, void *buf, uint64_t length, uint64_t offset)
{
	const struct ms_file *f = store;
	uint64_t part = f->fd_direct < 0 ? 0 : direct_part(f, length, offset);
	int rc = 0;

	if (part && aligned(f, buf))
		rc = read_all(f->fd_direct, buf, part, offset);
	else if (part)
		rc = read_bounced(f, buf, part, offset);
	if (rc == 0)
		rc = read_all(f->fd, (char *)buf + part, length - part,
			      offset + part);
	return rc;
}

static int file_write(void *store, const void *buf, uint64_t length,
		      uint64_t offset, bool fua)
{
	const struct ms_file *f = store;
	uint64_t part = f->fd_direct < 0 ? 0 : direct_part(f, length, offset);
	bool durable = f->sync == MS_FILE_SYNC_ALWAYS ||
		       (fua && f->sync == MS_FILE_SYNC_YES);
	int flags = durable ? RWF_DSYNC : 0;
	int rc = 0;

	if (part && aligned(f, buf))
		rc = write_all(f->fd_direct, buf, part, offset, flags);
	else if (part)
		rc = write_bounced(f, buf, part, offset, flags);
	if (rc == 0)
		rc = write_all(f->fd, (const char *)buf + part, length - part,
			       offset + part, flags);
	return rc;
}

/* A read that the page cache can answer, without waiting for the disk. */
static int file_answer(void *store, const struct ms_io *io)
{
	struct ms_file *f = store;
	struct iovec v = {.iov_base = io->buf, .iov_len = io->length};

	if (f->fd_direct >= 0 || io->length > ANSWER_MAX || flag(&f->no_nowait))
		return -EAGAIN;
	ssize_t n = preadv2(f->fd, &v, 1, (off_t)io->offset, RWF_NOWAIT);
	if (n == (ssize_t)io->length)
		return 0;
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		set_flag(&f->no_nowait);
	/* Partly cached, not cached, or an error: a thread finds out. */
	return -EAGAIN;
}

static int make_durable(struct ms_file *f)
{
	int none = 0;

	if (fdatasync(f->fd) == 0)
		return 0;
	int rc = -errno;
	(void)__atomic_compare_exchange_n(&f->lost, &none, rc, false,
					  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return rc;
}

static int file_sync(void *store)
{
	struct ms_file *f = store;
	int rc = 0;

	if (f->writable && f->sync != MS_FILE_SYNC_NO)
		rc = make_durable(f);
	int lost = __atomic_load_n(&f->lost, __ATOMIC_RELAXED);
	return lost ? lost : rc;
}

/* --- zero and trim --------------------------------------------------------
 */

static int write_zeros(struct ms_file *f, uint64_t length, uint64_t offset)
{
	static const char zeros[1 << 16] __attribute__((aligned(4096))) = {0};

	while (length) {
		uint64_t n = length < sizeof(zeros) ? length : sizeof(zeros);
		int rc = file_write(f, zeros, n, offset, false);
		if (rc)
			return rc;
		offset += n;
		length -= n;
	}
	return 0;
}

/* fallocate in `mode`; -EOPNOTSUPP is remembered in `no`. */
static int allocate(const struct ms_file *f, int mode, bool *no,
		    uint64_t length, uint64_t offset)
{
	int rc = 0;

	if (flag(no))
		return -EOPNOTSUPP;
	do {
		rc = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			       (off_t)length)
			     ? -errno
			     : 0;
	} while (rc == -EINTR);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS) {
		set_flag(no);
		return -EOPNOTSUPP;
	}
	return rc;
}

static int zero_regular(struct ms_file *f, uint64_t length, uint64_t offset)
{
	int rc = allocate(f, FALLOC_FL_ZERO_RANGE, &f->no_zero_range, length,
			  offset);

	if (rc == -EOPNOTSUPP)
		rc = allocate(f, FALLOC_FL_PUNCH_HOLE, &f->no_punch, length,
			      offset);
	if (rc == -EOPNOTSUPP)
		rc = write_zeros(f, length, offset);
	return rc;
}

/* Give whole units of a block device to an ioctl. */
static int device_range(const struct ms_file *f, unsigned long request,
			uint64_t first, uint64_t end)
{
	uint64_t range[2] = {first, end - first};

	return ioctl(f->fd, request, range) ? -errno : 0;
}

static int zero_device(struct ms_file *f, uint64_t length, uint64_t offset)
{
	uint64_t end = offset + length;
	uint64_t first = (offset + DEVICE_UNIT - 1) & ~(DEVICE_UNIT - 1);
	uint64_t last = end & ~(DEVICE_UNIT - 1);

	if (first >= last || flag(&f->no_zero_range))
		return write_zeros(f, length, offset);
	int rc = device_range(f, BLKZEROOUT, first, last);
	if (rc == -EOPNOTSUPP || rc == -ENOTTY) {
		set_flag(&f->no_zero_range);
		return write_zeros(f, length, offset);
	}
	if (rc == 0)
		rc = write_zeros(f, first - offset, offset);
	if (rc == 0)
		rc = write_zeros(f, end - last, last);
	return rc;
}

static int file_zero(void *store, uint64_t length, uint64_t offset)
{
	struct ms_file *f = store;
	int rc = f->device ? zero_device(f, length, offset)
			   : zero_regular(f, length, offset);

	if (rc == 0 && f->sync == MS_FILE_SYNC_ALWAYS)
		rc = make_durable(f);
	return rc;
}

static int file_trim(void *store, uint64_t length, uint64_t offset)
{
	struct ms_file *f = store;
	int rc = 0;

	if (f->device) {
		uint64_t first =
			(offset + DEVICE_UNIT - 1) & ~(DEVICE_UNIT - 1);
		uint64_t last = (offset + length) & ~(DEVICE_UNIT - 1);
		if (first < last && !flag(&f->no_punch))
			rc = device_range(f, BLKDISCARD, first, last);
		if (rc == -EOPNOTSUPP || rc == -ENOTTY)
			set_flag(&f->no_punch);
	} else {
		rc = allocate(f, FALLOC_FL_PUNCH_HOLE, &f->no_punch, length,
			      offset);
	}
	/* TRIM promises nothing, so what cannot be done is done. */
	if (rc == -EOPNOTSUPP || rc == -ENOTTY)
		return 0;
	if (rc == 0 && f->sync == MS_FILE_SYNC_ALWAYS)
		rc = make_durable(f);
	return rc;
}

/* --- extents, hash, size, mapping -----------------------------------------
 */

/* The first byte at or after `offset` of a kind, at most `end`. */
static int seek(const struct ms_file *f, uint64_t offset, uint64_t end,
		int whence, uint64_t *ret)
{
	off_t at = lseek(f->fd, (off_t)offset, whence);

	if (at < 0 && errno != ENXIO)
		return -errno;
	*ret = at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
	return 0;
}

static int file_extents(void *store, uint64_t length, uint64_t offset,
			struct ms_extent *list, size_t max, size_t *ret_used)
{
	const struct ms_file *f = store;
	uint64_t end = offset + length;
	size_t used = 0;

	while (offset < end && used < max) {
		struct ms_extent *e = &list[used++];
		uint64_t next = 0;
		*e = (struct ms_extent){.offset = offset,
					.type = MS_EXTENT_HOLE};
		int rc = seek(f, offset, end, SEEK_DATA, &next);
		if (rc == 0 && next == offset) {
			e->type = MS_EXTENT_DATA;
			rc = seek(f, offset, end, SEEK_HOLE, &next);
		}
		if (rc)
			return rc;
		/* Somebody writes between the two calls: it is data now. */
		if (next == offset) {
			e->type = MS_EXTENT_DATA;
			next = end;
		}
		e->length = next - offset;
		offset = next;
	}
	*ret_used = used;
	return 0;
}

static int file_hash(void *store, uint64_t length, uint64_t offset,
		     unsigned char ret_digest[16])
{
	const struct ms_file *f = store;
	XXH3_state_t *state = XXH3_createState();
	char *buf = malloc(STEP_BYTES);
	int rc = 0;

	if (!state || !buf || XXH3_128bits_reset(state) != XXH_OK)
		rc = -ENOMEM;
	while (rc == 0 && length) {
		uint64_t n = length < STEP_BYTES ? length : STEP_BYTES;
		rc = read_all(f->fd, buf, n, offset);
		if (rc == 0)
			(void)XXH3_128bits_update(state, buf, n);
		offset += n;
		length -= n;
	}
	if (rc == 0) {
		XXH128_canonical_t canonical;
		XXH128_canonicalFromHash(&canonical,
					 XXH3_128bits_digest(state));
		memcpy(ret_digest, canonical.digest, sizeof(canonical.digest));
	}
	free(buf);
	(void)XXH3_freeState(state);
	return rc;
}

static int file_resize(void *store, uint64_t size)
{
	const struct ms_file *f = store;

	if (size > INT64_MAX)
		return -EFBIG;
	return ftruncate(f->fd, (off_t)size) ? -errno : 0;
}

/* Map the file as long as it is now; older mappings stay where they are. */
static struct ms_file_map *map_whole(struct ms_file *f)
{
	off_t length = lseek(f->fd, 0, SEEK_END);
	struct ms_file_map *map = malloc(sizeof(*map));

	if (length <= 0 || !map) {
		free(map);
		return NULL;
	}
	void *addr = mmap(NULL, (size_t)length,
			  f->writable ? PROT_READ | PROT_WRITE : PROT_READ,
			  MAP_SHARED, f->fd, 0);
	if (addr == MAP_FAILED) {
		free(map);
		return NULL;
	}
	*map = (struct ms_file_map){
		.next = f->maps, .addr = addr, .length = (uint64_t)length};
	f->maps = map;
	return map;
}

static int file_map(void *store, uint64_t length, uint64_t offset,
		    struct ms_mapping *ret)
{
	struct ms_file *f = store;
	struct ms_file_map *found = NULL;

	pthread_mutex_lock(&f->map_lock);
	/* The oldest that covers the range, so that its address is stable. */
	for (struct ms_file_map *m = f->maps; m; m = m->next)
		if (offset + length <= m->length)
			found = m;
	if (!found)
		found = map_whole(f);
	pthread_mutex_unlock(&f->map_lock);
	if (!found)
		return -ENOMEM;
	if (offset + length > found->length)
		return -EIO; /* the file was cut by somebody else */
	*ret = (struct ms_mapping){.addr = found->addr + offset,
				   .length = length,
				   .fd = f->fd,
				   .fd_offset = offset};
	return 0;
}

static void file_close(void *store)
{
	struct ms_file *f = store;

	while (f->maps) {
		struct ms_file_map *m = f->maps;
		f->maps = m->next;
		(void)munmap(m->addr, m->length);
		free(m);
	}
	if (f->fd_direct >= 0)
		(void)close(f->fd_direct);
	if (f->fd >= 0)
		(void)close(f->fd);
	(void)pthread_mutex_destroy(&f->map_lock);
	free(f);
}

const struct ms_blocking_ops ms_file_ops = {
	.name = "file",
	.read = file_read,
	.write = file_write,
	.sync = file_sync,
	.zero = file_zero,
	.trim = file_trim,
	.extents = file_extents,
	.hash = file_hash,
	.resize = file_resize,
	.map = file_map,
	.answer = file_answer,
	.close = file_close,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Backend `file`: opening, checking and locking; see file.h. */
#include "approaches/common/backend/file.h"

#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a disk reads at once anyway, and the most that O_DIRECT asks for. */
#define DIRECT_ALIGN_DEFAULT 4096

struct file_config {
	char *path;
	uint64_t size;
	uint64_t width;
	int sync; /* enum ms_file_sync */
	bool create;
	bool read_only;
	bool direct;
	bool preallocate;
};

static const char *const sync_names[] = {"yes", "no", "always", NULL};

static const struct ms_opt file_options[] = {
	MS_OPT_ENTRY(struct file_config, path, "path", 0, MS_OPT_T_STRING, 0, 0,
		     NULL, "PATH", "a regular file or a block device",
		     .required = true),
	MS_OPT_SIZE(struct file_config, size, "size", 0, "0", 0, INT64_MAX,
		    "create or extend the file to this size; 0: as it is"),
	MS_OPT_FLAG(struct file_config, create, "create", 0,
		    "create the file if it is missing, also an empty one"),
	MS_OPT_FLAG(struct file_config, read_only, "read-only", 0,
		    "refuse changes; the file is not locked"),
	MS_OPT_CHOICE(struct file_config, sync, "sync", 0, "yes", sync_names,
		      "durable on request, never, or after every write"),
	MS_OPT_FLAG(struct file_config, direct, "direct", 0,
		    "bypass the page cache (O_DIRECT)"),
	MS_OPT_FLAG(struct file_config, preallocate, "preallocate", 0,
		    "take the disk space now, so that no write finds it full"),
	MS_OPT_UINT(struct file_config, width, "width", 0, "8", 1,
		    MS_POOL_WIDTH_MAX, "blocking calls at once (threads)"),
	MS_OPT_END,
};

/* --- opening --------------------------------------------------------------
 */

static int check_kind(const struct file_config *c, const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return ms_err(-EISDIR, "file: %s is a folder", c->path);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return ms_err(-EINVAL,
			      "file: %s is neither a regular file nor a block "
			      "device",
			      c->path);
	return 0;
}

/* The folder's entry must be as durable as the bytes in a new file. */
static int sync_folder(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	int rc = fsync(fd) ? -errno : 0;
	(void)close(fd);
	/* Some file systems have nothing to sync in a folder. */
	return rc == -EINVAL ? 0 : rc;
}

/*
 * Opens c->path, which does not exist yet if `create` is set. The kind is
 * looked at before: opening a fifo or a tape does things.
 */
static int open_path(const struct file_config *c, bool create, int extra)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | extra;

	flags |= c->read_only ? O_RDONLY : O_RDWR;
	if (create)
		flags |= O_CREAT | O_EXCL;
	int fd = open(c->path, flags, 0666);
	return fd < 0 ? -errno : fd;
}

static int open_regular_or_device(const struct file_config *c, int *ret_fd)
{
	struct stat st;
	bool create = false;
	int extra = 0;

	if (stat(c->path, &st) == 0) {
		int rc = check_kind(c, &st);
		if (rc)
			return rc;
		/* Not a device that is mounted or otherwise in use. */
		if (S_ISBLK(st.st_mode) && !c->read_only)
			extra = O_EXCL;
	} else if (errno == ENOENT && (c->size || c->create) && !c->read_only) {
		create = true;
	} else {
		return ms_err(-errno, "file: open %s", c->path);
	}
	int fd = open_path(c, create, extra);
	if (fd < 0)
		return ms_err(fd, "file: %s %s", create ? "create" : "open",
			      c->path);
	int rc = fstat(fd, &st) ? ms_err(-errno, "file: stat %s", c->path)
				: check_kind(c, &st);
	if (rc == 0 && create && c->sync != MS_FILE_SYNC_NO) {
		rc = sync_folder(c->path);
		if (rc)
			(void)ms_err(rc, "file: sync the folder of %s",
				     c->path);
	}
	if (rc) {
		(void)close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* One writer at a time, also within this process: an open-file lock. */
static int lock_for_writing(const struct file_config *c, int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return ms_err(-EBUSY, "file: %s has another writer", c->path);
	return ms_err(-errno, "file: lock %s", c->path);
}

/* --- size -----------------------------------------------------------------
 */

static int device_size(const struct file_config *c, int fd, uint64_t *ret)
{
	uint64_t bytes = 0;

	if (ioctl(fd, BLKGETSIZE64, &bytes))
		return ms_err(-errno, "file: size of %s", c->path);
	if (c->size && c->size != bytes)
		return ms_err(-EINVAL,
			      "file: %s is a device of %" PRIu64
			      " bytes, not of %" PRIu64,
			      c->path, bytes, c->size);
	*ret = bytes;
	return 0;
}

static int regular_size(const struct file_config *c, int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st))
		return ms_err(-errno, "file: stat %s", c->path);
	uint64_t bytes = (uint64_t)st.st_size;
	if (c->size && c->size < bytes)
		return ms_err(-EINVAL,
			      "file: %s has %" PRIu64
			      " bytes, more than size=%" PRIu64
			      " (nothing is cut off by opening)",
			      c->path, bytes, c->size);
	if (c->size > bytes) {
		if (c->read_only)
			return ms_err(-EROFS,
				      "file: %s has %" PRIu64
				      " bytes, fewer than size=%" PRIu64,
				      c->path, bytes, c->size);
		if (ftruncate(fd, (off_t)c->size))
			return ms_err(-errno,
				      "file: extend %s to %" PRIu64 " bytes",
				      c->path, c->size);
		bytes = c->size;
	}
	if (c->preallocate && bytes && !c->read_only) {
		int rc = posix_fallocate(fd, 0, (off_t)bytes);
		if (rc)
			return ms_err(-rc,
				      "file: take %" PRIu64
				      " bytes of disk space for %s",
				      bytes, c->path);
	}
	*ret = bytes;
	return 0;
}

/* --- O_DIRECT -------------------------------------------------------------
 */

static void direct_alignment(struct ms_file *f, int fd)
{
	struct statx x = {0};
	int sector = 0;

	f->direct_offset = DIRECT_ALIGN_DEFAULT;
	f->direct_memory = DIRECT_ALIGN_DEFAULT;
	if (f->device) {
		if (ioctl(fd, BLKSSZGET, &sector) == 0 && sector > 0)
			f->direct_offset = (uint32_t)sector;
		return;
	}
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 &&
	    (x.stx_mask & STATX_DIOALIGN) && x.stx_dio_offset_align) {
		f->direct_offset = x.stx_dio_offset_align;
		/* aligned_alloc wants a pointer's worth; more never hurts. */
		if (x.stx_dio_mem_align > DIRECT_ALIGN_DEFAULT)
			f->direct_memory = x.stx_dio_mem_align;
	}
}

/* The same file again without the page cache, beside the one that has it. */
static int open_direct(const struct file_config *c, struct ms_file *f)
{
	char self[64];

	/* Through the descriptor: the path may name another file by now. */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	f->fd_direct = open(self, O_CLOEXEC | O_DIRECT |
					  (c->read_only ? O_RDONLY : O_RDWR));
	if (f->fd_direct < 0)
		return ms_err(-errno, "file: open %s with O_DIRECT", c->path);
	direct_alignment(f, f->fd_direct);
	return 0;
}

/* --- the type -------------------------------------------------------------
 */

static unsigned caps_of(const struct ms_file *f)
{
	unsigned caps = MS_CAN_HASH;

	if (f->writable)
		caps |= MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO | MS_CAN_TRIM;
	if (f->device)
		return caps;
	caps |= MS_CAN_EXTENTS;
	if (f->writable)
		caps |= MS_CAN_RESIZE;
	/* A mapping goes through the page cache, which `direct` forbids. */
	if (f->fd_direct < 0)
		caps |= MS_CAN_MAP;
	return caps;
}

static int prepare(const struct file_config *c, struct ms_file *f,
		   uint64_t *ret_size)
{
	struct stat st;
	int rc = open_regular_or_device(c, &f->fd);

	if (rc)
		return rc;
	if (fstat(f->fd, &st))
		return ms_err(-errno, "file: stat %s", c->path);
	f->device = S_ISBLK(st.st_mode);
	f->writable = !c->read_only;
	f->sync = (enum ms_file_sync)c->sync;
	if (f->writable)
		rc = lock_for_writing(c, f->fd);
	if (rc == 0)
		rc = f->device ? device_size(c, f->fd, ret_size)
			       : regular_size(c, f->fd, ret_size);
	if (rc == 0 && c->direct)
		rc = open_direct(c, f);
	return rc;
}

static int file_type_open(const void *config, struct ms_backend **ret)
{
	const struct file_config *c = config;
	struct ms_pool_config pool = {.width = (unsigned)c->width};
	struct ms_file *f = calloc(1, sizeof(*f));

	if (!f)
		return ms_err(-ENOMEM, "file");
	f->fd = -1;
	f->fd_direct = -1;
	(void)pthread_mutex_init(&f->map_lock, NULL);
	int rc = prepare(c, f, &pool.size);
	pool.caps = caps_of(f);
	pool.block = f->fd_direct >= 0 ? f->direct_offset : 1;
	if (rc == 0)
		rc = ms_pool_open(&ms_file_ops, f, &pool, ret);
	if (rc)
		ms_file_ops.close(f);
	return rc;
}

const struct ms_backend_type ms_file_type = {
	.name = "file",
	.summary = "bytes in a regular file or a block device",
	.kind = MS_STORE,
	.options = file_options,
	.config_size = sizeof(struct file_config),
	.open = file_type_open,
	.example = "file:path={dir}/region,size={size},create=yes",
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD shim: a program that opens the file named by MEMSYNC_UFFD_FILE
 * gets the region served at MEMSYNC_UFFD instead, read-only, in its own memory.
 * It stands in for open, fopen, read, pread, lseek, fstat, mmap and dup; the
 * descriptor that the program sees is a place holder (O_PATH), on which every
 * call that is not stood in for fails with EBADF, so that nothing else can be
 * read by mistake.
 */

/* Or the headers would give these functions other symbols. */
#undef _FILE_OFFSET_BITS

#include "memsync/uffd.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
	FILES_MAX = 1024, /* descriptors above are not stood in for */
};

/* An open file; dup shares it. */
struct shown {
	unsigned users;
	uint64_t position;
};

static struct {
	pthread_mutex_t lock;
	struct shown *file[FILES_MAX];
	struct memsync_uffd *region; /* never closed: mappings may live on */
	char path[PATH_MAX];	     /* canonical, "" if there is none */
	const char *name;	     /* its last part, or NULL */
} shim = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The function that this one stands in for. */
#define NEXT(type, name)                                             \
	static type next;                                            \
	if (!__atomic_load_n(&next, __ATOMIC_RELAXED)) {             \
		void *symbol = dlsym(RTLD_NEXT, name);               \
		type function = NULL;                                \
		memcpy(&function, &symbol, sizeof(function));        \
		__atomic_store_n(&next, function, __ATOMIC_RELAXED); \
	}

typedef int open_fn(const char *, int, ...);
typedef int openat_fn(int, const char *, int, ...);
typedef int close_fn(int);
typedef ssize_t read_fn(int, void *, size_t);
typedef ssize_t pread_fn(int, void *, size_t, off_t);
typedef off_t lseek_fn(int, off_t, int);
typedef int fstat_fn(int, struct stat *);
typedef void *mmap_fn(void *, size_t, int, int, int, off_t);
typedef int munmap_fn(void *, size_t);
typedef int dup_fn(int);
typedef int dup2_fn(int, int);
typedef int dup3_fn(int, int, int);
typedef FILE *fopen_fn(const char *, const char *);
typedef int fcntl_fn(int, int, ...);

/* The folder in its canonical form and the name as it is: the file itself need
 * not exist. */
static int canonical(const char *path, char *ret)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (strlen(path) >= sizeof(folder))
		return -1;
	(void)snprintf(folder, sizeof(folder), "%.*s",
		       slash ? (int)(slash - path) + 1 : 2,
		       slash ? path : "./");
	char *real = realpath(folder, NULL);
	if (!real)
		return -1;
	int n = snprintf(ret, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "",
			 name);
	free(real);
	return n > 0 && n < PATH_MAX ? 0 : -1;
}

/* A child does not have the mapping: it connects for itself when it reads. */
static void in_child(void)
{
	shim.region = NULL;
}

static void start(void)
{
	const char *file = getenv("MEMSYNC_UFFD_FILE");

	if (file && *file && getenv("MEMSYNC_UFFD") &&
	    canonical(file, shim.path) == 0)
		shim.name = strrchr(shim.path, '/') + 1;
	(void)pthread_atfork(NULL, NULL, in_child);
}

static bool is_ours(const char *path)
{
	char real[PATH_MAX];
	int saved = errno;

	(void)pthread_once(&once, start);
	/* The name first: most files differ there. */
	const char *slash = path ? strrchr(path, '/') : NULL;
	const char *name = slash ? slash + 1 : path;
	bool same = shim.name && name && strcmp(name, shim.name) == 0 &&
		    canonical(path, real) == 0 && strcmp(real, shim.path) == 0;
	errno = saved;
	return same;
}

/* --- the table ---------------------------------------------------------------
 */

static struct shown *find(int fd)
{
	if (fd < 0 || fd >= FILES_MAX)
		return NULL;
	pthread_mutex_lock(&shim.lock);
	struct shown *f = shim.file[fd];
	pthread_mutex_unlock(&shim.lock);
	return f;
}

/* Connect once. False: errno is set, and the reason was printed. */
static bool have_region(void)
{
	int rc = 0;

	pthread_mutex_lock(&shim.lock);
	struct memsync_uffd *region = shim.region;
	pthread_mutex_unlock(&shim.lock);
	if (region)
		return true;
	const char *service = getenv("MEMSYNC_UFFD");
	if (!service) {
		errno = EIO; /* it was there when the file was opened */
		return false;
	}
	rc = memsync_uffd_connect(service, &region);
	if (rc) {
		(void)fprintf(stderr, "libmemsync-uffd: %s\n", memsync_error());
		errno = EIO;
		return false;
	}
	pthread_mutex_lock(&shim.lock);
	bool late = shim.region != NULL;
	if (!late)
		shim.region = region;
	pthread_mutex_unlock(&shim.lock);
	if (late)
		memsync_uffd_close(region);
	return true;
}

static int place_holder(void)
{
	NEXT(open_fn *, "open")
	return next("/", O_PATH | O_CLOEXEC | O_DIRECTORY);
}

static int real_close(int fd)
{
	NEXT(close_fn *, "close")
	return next(fd);
}

/* Let `fd` be a further descriptor of f, which is counted. */
static void attach(int fd, struct shown *f)
{
	pthread_mutex_lock(&shim.lock);
	struct shown *before = shim.file[fd];
	if (f)
		f->users++;
	shim.file[fd] = f;
	if (before && --before->users == 0)
		free(before);
	pthread_mutex_unlock(&shim.lock);
}

static int open_ours(int flags)
{
	if ((flags & O_ACCMODE) != O_RDONLY) {
		errno = EROFS;
		return -1;
	}
	if (!have_region())
		return -1;
	struct shown *f = calloc(1, sizeof(*f));
	int fd = f ? place_holder() : -1;
	if (fd < 0 || fd >= FILES_MAX) {
		if (fd >= 0) {
			(void)real_close(fd);
			errno = EMFILE;
		}
		free(f);
		return -1;
	}
	attach(fd, f);
	return fd;
}

static ssize_t copy_out(void *buf, size_t n, uint64_t at)
{
	if (!have_region())
		return -1;
	uint64_t size = memsync_uffd_size(shim.region);
	uint64_t left = at < size ? size - at : 0;
	size_t part = n < left ? n : (size_t)left;

	memcpy(buf, (const char *)memsync_uffd_addr(shim.region) + at, part);
	return (ssize_t)part;
}

static ssize_t read_ours(struct shown *f, void *buf, size_t n)
{
	ssize_t got = copy_out(buf, n,
			       __atomic_load_n(&f->position, __ATOMIC_RELAXED));

	if (got > 0)
		__atomic_fetch_add(&f->position, (uint64_t)got,
				   __ATOMIC_RELAXED);
	return got;
}

static off_t seek_ours(struct shown *f, off_t offset, int whence)
{
	if (!have_region())
		return -1;
	uint64_t size = memsync_uffd_size(shim.region);
	off_t base = 0;

	if (whence == SEEK_CUR)
		base = (off_t)f->position;
	else if (whence == SEEK_END || whence == SEEK_HOLE)
		base = (off_t)size;
	else if (whence != SEEK_SET && whence != SEEK_DATA)
		offset = -1;
	if (whence == SEEK_HOLE)
		offset = 0;
	if (offset < -base) {
		errno = EINVAL;
		return -1;
	}
	f->position = (uint64_t)(base + offset);
	return base + offset;
}

static int stat_ours(struct stat *st)
{
	if (!have_region())
		return -1;
	*st = (struct stat){
		.st_mode = S_IFREG | 0400,
		.st_nlink = 1,
		.st_uid = getuid(),
		.st_gid = getgid(),
		.st_size = (off_t)memsync_uffd_size(shim.region),
		.st_blksize = 1 << 20,
		.st_ino = 1,
	};
	st->st_blocks = (st->st_size + 511) / 512;
	return 0;
}

/* mmap gives out what is read-only as a pointer that is not. */
static char *region_bytes(void)
{
	const void *addr = memsync_uffd_addr(shim.region);
	char *bytes = NULL;

	memcpy(&bytes, &addr, sizeof(bytes));
	return bytes;
}

/* A mapping is a part of the region itself: there is only one. */
static void *map_ours(size_t length, int prot, int flags, off_t offset)
{
	if (!have_region())
		return MAP_FAILED;
	uint64_t rounded =
		(memsync_uffd_size(shim.region) + 4095) & ~UINT64_C(4095);

	if ((prot & ~PROT_READ) || (flags & MAP_FIXED)) {
		errno = EACCES;
		return MAP_FAILED;
	}
	if (offset < 0 || offset % 4096 || length == 0 ||
	    (uint64_t)offset > rounded || length > rounded - (uint64_t)offset) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	return region_bytes() + offset;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the
 * headers' own names are reserved. */

/* --- what is stood in for
 * ------------------------------------------------------ */

/* The mode argument exists only with these flags. */
#define MODE_OF(flags)                           \
	mode_t mode = 0;                         \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list ap;                      \
		va_start(ap, flags);             \
		mode = va_arg(ap, mode_t);       \
		va_end(ap);                      \
	}

EXPORT int open(const char *path, int flags, ...)
{
	MODE_OF(flags)
	if (is_ours(path))
		return open_ours(flags);
	NEXT(open_fn *, "open")
	return next(path, flags, mode);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	MODE_OF(flags)
	if ((dir == AT_FDCWD || path[0] == '/') && is_ours(path))
		return open_ours(flags);
	NEXT(openat_fn *, "openat")
	return next(dir, path, flags, mode);
}

EXPORT int close(int fd)
{
	if (find(fd))
		attach(fd, NULL);
	return real_close(fd);
}

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct shown *f = find(fd);

	if (f)
		return read_ours(f, buf, n);
	NEXT(read_fn *, "read")
	return next(fd, buf, n);
}

EXPORT ssize_t pread(int fd, void *buf, size_t n, off_t offset)
{
	if (find(fd)) {
		if (offset >= 0)
			return copy_out(buf, n, (uint64_t)offset);
		errno = EINVAL;
		return -1;
	}
	NEXT(pread_fn *, "pread")
	return next(fd, buf, n, offset);
}

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	struct shown *f = find(fd);

	if (f)
		return seek_ours(f, offset, whence);
	NEXT(lseek_fn *, "lseek")
	return next(fd, offset, whence);
}

EXPORT int fstat(int fd, struct stat *st)
{
	if (find(fd))
		return stat_ours(st);
	NEXT(fstat_fn *, "fstat")
	return next(fd, st);
}

EXPORT void *mmap(void *addr, size_t length, int prot, int flags, int fd,
		  off_t offset)
{
	if (!(flags & MAP_ANONYMOUS) && find(fd))
		return map_ours(length, prot, flags, offset);
	NEXT(mmap_fn *, "mmap")
	return next(addr, length, prot, flags, fd, offset);
}

EXPORT int munmap(void *addr, size_t length)
{
	if (shim.region &&
	    (char *)addr >= (const char *)memsync_uffd_addr(shim.region) &&
	    (const char *)addr < (const char *)memsync_uffd_addr(shim.region) +
					 memsync_uffd_size(shim.region))
		return 0; /* the region stays for the next one */
	NEXT(munmap_fn *, "munmap")
	return next(addr, length);
}

static int attach_copy(int from, int to)
{
	struct shown *f = find(from);

	if (to >= 0 && to < FILES_MAX && (f || find(to)))
		attach(to, f);
	return to;
}

EXPORT int dup(int fd)
{
	NEXT(dup_fn *, "dup")
	return attach_copy(fd, next(fd));
}

EXPORT int dup2(int from, int to)
{
	NEXT(dup2_fn *, "dup2")
	int fd = next(from, to);
	return fd < 0 || from == to ? fd : attach_copy(from, fd);
}

EXPORT int dup3(int from, int to, int flags)
{
	NEXT(dup3_fn *, "dup3")
	return attach_copy(from, next(from, to, flags));
}

/* Every command takes one word, as the kernel has it. */
EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;

	va_start(ap, cmd);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	NEXT(fcntl_fn *, "fcntl")
	int rc = next(fd, cmd, arg);
	if (rc >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC))
		return attach_copy(fd, rc);
	if (rc >= 0 && cmd == F_GETFL && find(fd))
		return O_RDONLY;
	return rc;
}

/* --- streams: the C library's own calls do not come by here
 * -------------------- */

static ssize_t cookie_read(void *cookie, char *buf, size_t n)
{
	return read_ours(cookie, buf, n);
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	off_t at = seek_ours(cookie, *offset, whence);

	if (at < 0)
		return -1;
	*offset = at;
	return 0;
}

static int cookie_close(void *cookie)
{
	free(cookie);
	return 0;
}

static FILE *fopen_ours(const char *mode)
{
	static const cookie_io_functions_t functions = {
		.read = cookie_read,
		.seek = cookie_seek,
		.close = cookie_close,
	};

	if (mode[0] != 'r' || strchr(mode, '+')) {
		errno = EROFS;
		return NULL;
	}
	if (!have_region())
		return NULL;
	struct shown *f = calloc(1, sizeof(*f));
	FILE *stream = f ? fopencookie(f, mode, functions) : NULL;
	if (!stream)
		free(f);
	return stream;
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
	if (is_ours(path))
		return fopen_ours(mode);
	NEXT(fopen_fn *, "fopen")
	return next(path, mode);
}

/* --- the same under the names that compilers and headers make of them
 * ---------- */

/* The headers promise of their names what is the same for all of these. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

#define ALIAS(result, c_name, symbol, of, ...)                   \
	EXPORT extern result c_name(__VA_ARGS__) __asm__(symbol) \
		__attribute__((alias(of)));

ALIAS(int, open_64, "open64", "open", const char *path, int flags, ...)
ALIAS(int, openat_64, "openat64", "openat", int dir, const char *path,
      int flags, ...)
ALIAS(ssize_t, pread_64, "pread64", "pread", int fd, void *buf, size_t n,
      off_t offset)
ALIAS(off_t, lseek_64, "lseek64", "lseek", int fd, off_t offset, int whence)
ALIAS(int, fstat_64, "fstat64", "fstat", int fd, struct stat *st)
ALIAS(void *, mmap_64, "mmap64", "mmap", void *addr, size_t length, int prot,
      int flags, int fd, off_t offset)
ALIAS(int, fcntl_64, "fcntl64", "fcntl", int fd, int cmd, ...)
ALIAS(FILE *, fopen_64, "fopen64", "fopen", const char *path, const char *mode)

/* With _FORTIFY_SOURCE: one argument more, which is checked there. */
EXPORT int open_2(const char *path, int flags) __asm__("__open_2");
EXPORT int open_2(const char *path, int flags)
{
	return open(path, flags);
}

EXPORT int open64_2(const char *path, int flags) __asm__("__open64_2");
EXPORT int open64_2(const char *path, int flags)
{
	return open(path, flags);
}

EXPORT int openat_2(int dir, const char *path, int flags) __asm__("__openat_2");
EXPORT int openat_2(int dir, const char *path, int flags)
{
	return openat(dir, path, flags);
}

EXPORT ssize_t read_chk(int fd, void *buf, size_t n,
			size_t room) __asm__("__read_chk");
EXPORT ssize_t read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		abort();
	return read(fd, buf, n);
}

EXPORT ssize_t pread_chk(int fd, void *buf, size_t n, off_t offset,
			 size_t room) __asm__("__pread_chk");
EXPORT ssize_t pread_chk(int fd, void *buf, size_t n, off_t offset, size_t room)
{
	if (n > room)
		abort();
	return pread(fd, buf, n, offset);
}
ALIAS(ssize_t, pread64_chk, "__pread64_chk", "__pread_chk", int fd, void *buf,
      size_t n, off_t offset, size_t room)

/* Programs built for a C library before 2.33. */
EXPORT int fxstat(int version, int fd, struct stat *st) __asm__("__fxstat");
EXPORT int fxstat(int version, int fd, struct stat *st)
{
	(void)version;
	return fstat(fd, st);
}
ALIAS(int, fxstat_64, "__fxstat64", "__fxstat", int version, int fd,
      struct stat *st)
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* SPDX-License-Identifier: Apache-2.0 */
/* System calls of userfaultfd; see uffd-kernel.h. */
#include "approaches/uffd/uffd-kernel.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-compat.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Features that change nothing for an application that does not know them. */
#define WANTED                                                             \
	((uint64_t)UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_POISON)

/* How long an ioctl may answer EAGAIN without any progress. */
#define AGAIN_NS MS_NS_PER_S

static int raw_create(bool *ret_user_mode_only)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int fd = (int)syscall(SYS_userfaultfd, flags);

	*ret_user_mode_only = false;
	if (fd >= 0)
		return fd;
	if (errno != EPERM)
		return -errno;
	/* Not root: the device may have been opened to us. */
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		(void)close(dev);
		if (fd >= 0)
			return fd;
	}
	fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	*ret_user_mode_only = true;
	return fd >= 0 ? fd : -errno;
}

static int handshake(int fd, uint64_t features, uint64_t *ret_features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	*ret_features = api.features;
	return 0;
}

int ms_uffd_create(int *ret_fd, struct ms_uffd_features *ret_features)
{
	struct ms_uffd_features f = {0};
	uint64_t enabled = 0;
	int probe = raw_create(&f.user_mode_only);

	if (probe == -ENOSYS)
		return ms_err(probe, "this kernel has no userfaultfd");
	if (probe < 0)
		return ms_err(probe,
			      "userfaultfd (needs root, /dev/userfaultfd "
			      "or vm.unprivileged_userfaultfd=1)");
	/* The first handshake tells what there is; a descriptor has only one.
	 */
	int rc = handshake(probe, 0, &f.bits);
	(void)close(probe);
	if (rc)
		return ms_err(rc, "userfaultfd handshake");
	int fd = raw_create(&f.user_mode_only);
	if (fd < 0)
		return ms_err(fd, "userfaultfd");
	rc = handshake(fd, f.bits & WANTED, &enabled);
	if (rc) {
		(void)close(fd);
		return ms_err(rc, "userfaultfd features");
	}
	*ret_fd = fd;
	*ret_features = f;
	return 0;
}

int ms_uffd_register(int fd, uint64_t start, uint64_t length, bool minor)
{
	struct uffdio_register r = {
		.range = {.start = start, .len = length},
		.mode = UFFDIO_REGISTER_MODE_MISSING |
			(minor ? UFFDIO_REGISTER_MODE_MINOR : 0),
	};

	if (ioctl(fd, UFFDIO_REGISTER, &r))
		return ms_err(-errno, "register memory with userfaultfd");
	return 0;
}

int ms_uffd_wake(int fd, uint64_t start, uint64_t length)
{
	struct uffdio_range r = {.start = start, .len = length};

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

/* One call for the whole rest of a range: bytes done, or a negative errno. */
typedef int64_t resolve_fn(int fd, uint64_t start, const char *src,
			   uint64_t length);

static int64_t answer(int rc, int64_t done)
{
	if (rc == 0)
		return done;
	/* Part of the range was done, and then something was in the way. */
	if (errno == EAGAIN && done > 0)
		return done;
	return -errno;
}

static int64_t copy_once(int fd, uint64_t start, const char *src,
			 uint64_t length)
{
	struct uffdio_copy c = {
		.dst = start, .src = (uint64_t)(uintptr_t)src, .len = length};

	int rc = ioctl(fd, UFFDIO_COPY, &c);

	return answer(rc, c.copy);
}

static int64_t continue_once(int fd, uint64_t start, const char *src,
			     uint64_t length)
{
	struct uffdio_continue c = {.range = {.start = start, .len = length}};

	(void)src;
	int rc = ioctl(fd, UFFDIO_CONTINUE, &c);

	return answer(rc, c.mapped);
}

static int64_t poison_once(int fd, uint64_t start, const char *src,
			   uint64_t length)
{
	struct uffdio_poison p = {.range = {.start = start, .len = length}};

	(void)src;
	int rc = ioctl(fd, UFFDIO_POISON, &p);

	return answer(rc, p.updated);
}

static int resolve(int fd, uint64_t start, const char *src, uint64_t length,
		   resolve_fn *once, struct ms_uffd_done *done)
{
	uint64_t at = 0;
	uint64_t again_since = 0;

	while (at < length) {
		int64_t n = once(fd, start + at, src ? src + at : NULL,
				 length - at);
		if (n > 0) {
			at += (uint64_t)n;
			done->installed += (uint64_t)n / MS_UFFD_PAGE;
			again_since = 0;
			continue;
		}
		if (n == -EEXIST) {
			/* Someone was faster; whoever waits must look again. */
			(void)ms_uffd_wake(fd, start + at, MS_UFFD_PAGE);
			at += MS_UFFD_PAGE;
			done->present++;
			continue;
		}
		if (n != -EAGAIN && n != 0)
			return (int)n;
		/* The memory map is changing under us: let it. */
		uint64_t now = ms_now_ns();
		done->again++;
		if (again_since == 0)
			again_since = now;
		else if (now - again_since > AGAIN_NS)
			return -EAGAIN;
		(void)sched_yield();
	}
	return 0;
}

int ms_uffd_copy(int fd, uint64_t start, const void *src, uint64_t length,
		 struct ms_uffd_done *done)
{
	return resolve(fd, start, src, length, copy_once, done);
}

int ms_uffd_continue(int fd, uint64_t start, uint64_t length,
		     struct ms_uffd_done *done)
{
	return resolve(fd, start, NULL, length, continue_once, done);
}

int ms_uffd_poison(int fd, uint64_t start, uint64_t length,
		   struct ms_uffd_done *done)
{
	return resolve(fd, start, NULL, length, poison_once, done);
}

int ms_uffd_cover(int fd, uint64_t start, uint64_t length)
{
	int empty = memfd_create("memsync-failed", MFD_CLOEXEC);
	int rc = 0;

	if (empty < 0)
		return -errno;
	/* Beyond the end of a file every access is a SIGBUS. */
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): addresses of the kernel */
	void *place = (void *)(uintptr_t)start;
	void *at = mmap(place, length, PROT_READ, MAP_SHARED | MAP_FIXED, empty,
			0);
	if (at == MAP_FAILED)
		rc = -errno;
	(void)close(empty);
	return rc ? rc : ms_uffd_wake(fd, start, length);
}

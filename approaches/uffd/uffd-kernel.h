/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's userfaultfd as the rest of this folder uses it: create, probe,
 * register, and the calls that resolve faults. The resolving calls do whole
 * ranges, step over pages that are resolved already, and wake who waits.
 */
#ifndef MS_UFFD_KERNEL_H
#define MS_UFFD_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#define MS_UFFD_PAGE UINT64_C(4096)

/* What the running kernel can do, found out by asking it. */
struct ms_uffd_features {
	uint64_t bits;	     /* UFFD_FEATURE_* */
	bool user_mode_only; /* faults from system calls fail with EFAULT */
};

/*
 * Create a userfaultfd (close-on-exec, non-blocking) with the useful features
 * that there are. 0; -EPERM, -ENOSYS with a sentence that says what to do.
 */
int ms_uffd_create(int *ret_fd, struct ms_uffd_features *ret_features)
	__attribute__((nonnull, warn_unused_result));

/* Register [start, start + length) for missing, and for minor faults too. */
int ms_uffd_register(int fd, uint64_t start, uint64_t length, bool minor)
	__attribute__((warn_unused_result));

/* Numbers of pages, added up over calls by whoever keeps them. */
struct ms_uffd_done {
	uint64_t installed;
	uint64_t present; /* were resolved before: EEXIST */
	uint64_t again;	  /* the kernel asked to be called again: EAGAIN */
};

/*
 * Resolve a page-aligned range: with a copy of `src`; with the pages that the
 * memory file has; with poison, so that accesses raise SIGBUS. Pages that are
 * there already are left alone. 0; -EFAULT (CONTINUE: the file has a hole),
 * -ENOENT, -ESRCH (the memory is gone), or another negative errno.
 */
int ms_uffd_copy(int fd, uint64_t start, const void *src, uint64_t length,
		 struct ms_uffd_done *done) __attribute__((nonnull));
int ms_uffd_continue(int fd, uint64_t start, uint64_t length,
		     struct ms_uffd_done *done) __attribute__((nonnull));
int ms_uffd_poison(int fd, uint64_t start, uint64_t length,
		   struct ms_uffd_done *done) __attribute__((nonnull));

/* Let threads that wait in the range look again. */
int ms_uffd_wake(int fd, uint64_t start, uint64_t length);

/*
 * For kernels without POISON, and for memory of this process only: put an
 * empty file over the range, so that accesses raise SIGBUS.
 */
int ms_uffd_cover(int fd, uint64_t start, uint64_t length);

#endif

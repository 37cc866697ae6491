/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool adaptor makes a backend of a store that blocks (a file, a call to a
 * database): a few threads take requests from a queue and run them.
 *
 *	submit --> try (answers at once, or not) --> queue --> `width` threads
 *
 * The width is the number of calls that the store can usefully have at once;
 * it bounds threads, never requests, which wait in the queue as structs,
 * urgent ones first. A waiting request ends with -ETIMEDOUT at its deadline
 * and with -ECANCELED when it is cancelled, without having run. One that is
 * running cannot be interrupted: the call has the caller's buffer.
 */
#ifndef MS_COMMON_BACKEND_POOL_H
#define MS_COMMON_BACKEND_POOL_H

#include "memsync/backend.h"

#define MS_POOL_WIDTH_MAX 1024

/*
 * A store that blocks. Calls come from several threads at once, with ranges
 * that have been checked; RESIZE runs alone. All return 0 or a negative errno
 * and set no sentence. Those without a capability for them may be NULL.
 */
struct ms_blocking_ops {
	const char *name; /* static; the origin of errors */
	int (*read)(void *store, void *buf, uint64_t length, uint64_t offset);
	int (*write)(void *store, const void *buf, uint64_t length,
		     uint64_t offset, bool fua);
	int (*sync)(void *store);
	int (*zero)(void *store, uint64_t length, uint64_t offset);
	int (*trim)(void *store, uint64_t length, uint64_t offset);
	/* Fill list in order, gapless, at least one entry, at most max. */
	int (*extents)(void *store, uint64_t length, uint64_t offset,
		       struct ms_extent *list, size_t max, size_t *ret_used);
	int (*hash)(void *store, uint64_t length, uint64_t offset,
		    unsigned char ret_digest[16]);
	int (*resize)(void *store, uint64_t size);
	int (*map)(void *store, uint64_t length, uint64_t offset,
		   struct ms_mapping *ret);
	/*
	 * Answer `io` without blocking, on the thread of the caller: 0 or a
	 * negative errno is the answer, -EAGAIN means "queue it". May be NULL.
	 */
	int (*answer)(void *store, const struct ms_io *io);
	void (*stats)(void *store, FILE *out); /* may be NULL */
	void (*close)(void *store);
};

struct ms_pool_config {
	uint64_t size;	/* of the region, bytes */
	unsigned caps;	/* MS_CAN_*; READ and SYNC are always there */
	uint32_t block; /* as in struct ms_backend; 0 means 1 */
	unsigned width; /* threads at most, 1 ... MS_POOL_WIDTH_MAX */
};

/*
 * Make a backend of `store`, which belongs to it from then on (closed with
 * ops->close after the threads have ended). One thread is started at once, the
 * others when requests wait. 0, -EINVAL, -ENOMEM, -EAGAIN with a sentence; the
 * store is still the caller's then.
 */
int ms_pool_open(const struct ms_blocking_ops *ops, void *store,
		 const struct ms_pool_config *config, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/* The store behind a backend that ms_pool_open made. */
void *ms_pool_store(struct ms_backend *b) __attribute__((nonnull));

#endif

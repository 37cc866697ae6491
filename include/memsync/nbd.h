/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region of a remote or local backend as a block device of this machine:
 * /dev/nbdN, a descriptor of it, or memory. Reads and writes of the device
 * become requests to the backend, either each of them (a direct mount) or
 * those that a local cache cannot answer, which is filled and written back in
 * the background (a managed mount).
 *
 *	struct memsync_nbd *m;
 *	void *bytes;
 *	if (memsync_nbd_open("tcp://source:7000", NULL, &m) ||
 *	    memsync_nbd_map(m, &bytes))
 *		errx(1, "%s", memsync_error());
 *	...
 *	memsync_nbd_close(m);
 *
 * What was written is durable at the backend when memsync_nbd_sync, fsync(2)
 * on the device or on a file system on it, or memsync_nbd_close has returned 0.
 * Needs root and a kernel with nbd.
 */
#ifndef MEMSYNC_NBD_H
#define MEMSYNC_NBD_H

#include "memsync/backend.h" /* memsync_error, specs */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden but this. */
#pragma GCC visibility push(default)

struct memsync_nbd;

enum memsync_nbd_variant {
	MEMSYNC_NBD_TUNED,  /* concurrent, merged, adaptive */
	MEMSYNC_NBD_THESIS, /* one request at a time through one connection of
			       the device, chunks of 4 KiB one by one */
};

enum memsync_nbd_kind {
	MEMSYNC_NBD_MANAGED,
	MEMSYNC_NBD_DIRECT,
};

/* How the device is attached, and how it is noticed to be there. */
enum memsync_nbd_attach {
	MEMSYNC_NBD_NETLINK,
	MEMSYNC_NBD_IOCTL,
};
enum memsync_nbd_ready {
	MEMSYNC_NBD_UEVENT,
	MEMSYNC_NBD_SYSFS,
};

#define MEMSYNC_NBD_NO_WORKERS UINT32_MAX

/*
 * Zeroed memory means: every option has its default. Functions are called from
 * threads of the mount, must not block for long and must not call the mount.
 */
struct memsync_nbd_options {
	enum memsync_nbd_kind kind;
	enum memsync_nbd_variant variant;
	bool read_only;	      /* also if the backend cannot be written */
	uint32_t block_bytes; /* of the device, 512 to 4096 [4096 if managed or
				 thesis, else the backend's, at least 512] */

	/* The device. The thesis variant has ioctl, one connection, sysfs. */
	enum memsync_nbd_attach attach;
	enum memsync_nbd_ready ready;
	unsigned connections; /* between kernel and us [processors, up to 4] */
	unsigned timeout_s;   /* of a request of the kernel [0: none] */
	uint32_t read_ahead_bytes; /* [direct tuned: 4 MiB; else 128 KiB] */

	/* Managed mounts. A spec that is a cache itself is taken as it is. */
	const char *local;    /* spec of the cache's store [memory:huge=yes] */
	uint64_t chunk_bytes; /* of the cache [4096] */
	uint64_t
		request_bytes; /* longest fetch or push [1 MiB; thesis: 4096] */
	/*
	 * Requests of the background pull at once: NO_WORKERS: it is off.
	 * [tuned: as many as the measured window takes; thesis: 512]
	 */
	uint32_t pull_workers;
	bool pull_first; /* open when everything is local */
	/* Chunks in the order in which they are pulled first, or NULL; copied.
	 */
	const uint64_t *pull_list;
	size_t pull_list_count;
	/* Or a function: the n-th chunk to pull, UINT64_MAX at the end. */
	uint64_t (*pull_order)(void *user, uint64_t n);
	uint64_t push_interval_ns; /* UINT64_MAX: only on demand [5 s; thesis:
				      20 s] */

	/* What the application wants to know of, each may be NULL. */
	void (*before_sync)(void *user); /* memsync_nbd_sync, from its thread */
	void (*before_close)(void *user); /* memsync_nbd_close, likewise */
	void (*chunk_is_local)(void *user, uint64_t offset, uint64_t length);
	void *user;
};

/*
 * Mount the region of a pipeline (`spec_or_uri` as in memsync/backend.h).
 * Options NULL: defaults. Blocks until the device is there. 0, or a negative
 * errno with the sentence in memsync_error: -EOPNOTSUPP (this kernel has no
 * nbd), -EPERM, -EBUSY (no free device), -EINVAL, or an error of the backend.
 */
int memsync_nbd_open(const char *spec_or_uri,
		     const struct memsync_nbd_options *options,
		     struct memsync_nbd **ret)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* "/dev/nbd3"; as long as it is mounted. */
const char *memsync_nbd_path(const struct memsync_nbd *m)
	__attribute__((nonnull));

/* Bytes of the region. The device's size is rounded up to its block. */
uint64_t memsync_nbd_size(const struct memsync_nbd *m) __attribute__((nonnull));

/* The pipeline as it was built, for people and results. */
const char *memsync_nbd_pipeline(const struct memsync_nbd *m)
	__attribute__((nonnull));

/* A descriptor of the device, the mount's: -errno, or the same each time. */
int memsync_nbd_fd(struct memsync_nbd *m)
	__attribute__((nonnull, warn_unused_result));

/*
 * The device as memory, shared and (unless read_only) writable; the same
 * address each time, valid until close. An access to what cannot be had raises
 * SIGBUS. 0 or a negative errno.
 */
int memsync_nbd_map(struct memsync_nbd *m, void **ret_addr)
	__attribute__((nonnull, warn_unused_result));

/*
 * Everything written so far through map, descriptor, device or a file system on
 * it that was synced is durable at the backend when this returns 0. Blocks.
 */
int memsync_nbd_sync(struct memsync_nbd *m)
	__attribute__((nonnull, warn_unused_result));

/* Begin to push what is dirty now; returns at once. Direct: does nothing. */
void memsync_nbd_push(struct memsync_nbd *m) __attribute__((nonnull));

/* Wait until everything is local. 0, or the error that ended the pull. */
int memsync_nbd_wait_local(struct memsync_nbd *m)
	__attribute__((nonnull, warn_unused_result));

/* What happened so far. */
struct memsync_nbd_stats {
	uint64_t setup_ns;	/* of the device */
	uint64_t local_bytes;	/* managed: that are local */
	uint64_t dirty_bytes;	/* of them not pushed yet */
	uint64_t pull_requests; /* made in the background */
	uint64_t pull_bytes;
	uint64_t errors; /* of the background pull */
	int error;	 /* the last of them, or 0 */
	bool complete;	 /* everything is local */
};
void memsync_nbd_get_stats(const struct memsync_nbd *m,
			   struct memsync_nbd_stats *ret)
	__attribute__((nonnull));

/*
 * Sync, detach the device and end everything; a file system on it must be
 * unmounted before. NULL is legal. Returns 0, or the error of the sync: then
 * something that was written is not durable (and, if the cache's store does not
 * survive, lost). Everything is freed in any case.
 */
int memsync_nbd_close(struct memsync_nbd *m);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

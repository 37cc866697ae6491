/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount: pipeline, background workers, server and device, and the order in
 * which they come and go (include/memsync/nbd.h is what applications see).
 *
 *	application -- /dev/nbdN -- kernel == socket pairs == server -- pipeline
 *
 *	opening:  pipeline, pull starts, server, device
 *	sync:     msync, fsync (FLUSH comes to the server: SYNC of the pipeline)
 *	closing:  sync, unmap, close, detach, server, workers, SYNC, pipeline
 */
#ifndef MS_NBD_MOUNT_H
#define MS_NBD_MOUNT_H

#include "approaches/common/stage/puller.h"
#include "approaches/common/stage/pusher.h"
#include "approaches/nbd/device.h"
#include "approaches/nbd/nbd-server.h"
#include "memsync/nbd.h"

struct memsync_nbd {
	struct memsync_nbd_options options; /* complete */
	char *pipeline;
	struct ms_backend *backend; /* a cache if managed */
	struct ms_puller *puller;   /* or NULL */
	struct ms_pusher *pusher;   /* or NULL */
	struct nbd_server *server;
	struct nbd_device *device;
	uint64_t device_bytes; /* the region's, rounded up */
	int fd;		       /* -1: not opened yet */
	void *addr;	       /* NULL: not mapped yet */
};

/* Fill in what has its default. -EINVAL with a sentence. */
int nbd_mount_complete(struct memsync_nbd_options *o)
	__attribute__((nonnull, warn_unused_result));

/*
 * The spec of the pipeline that complete options make of `spec`, to be freed;
 * NULL without memory.
 */
char *nbd_mount_spec(const char *spec, const struct memsync_nbd_options *o)
	__attribute__((nonnull, warn_unused_result));

/* Print "key value" lines of every part. */
void nbd_mount_stats(struct memsync_nbd *m, FILE *out) __attribute__((nonnull));

#endif

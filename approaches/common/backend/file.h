/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `file`: bytes in a regular file or a block device. Everything that
 * may wait for a disk runs on the threads of the pool adaptor; a read that the
 * page cache can answer is answered on the caller's thread.
 *
 * file.c opens, checks and locks; file-io.c holds the blocking calls. This
 * header is what the two share.
 */
#ifndef MS_COMMON_BACKEND_FILE_H
#define MS_COMMON_BACKEND_FILE_H

#include "approaches/common/backend/pool.h"

#include <pthread.h>

enum ms_file_sync {
	MS_FILE_SYNC_YES,    /* SYNC and FUA make durable */
	MS_FILE_SYNC_NO,     /* they do nothing: a crash may lose everything */
	MS_FILE_SYNC_ALWAYS, /* every write is durable when it completes */
};

/* One mapping of the whole file, as it was when somebody asked for it. */
struct ms_file_map {
	struct ms_file_map *next;
	char *addr;
	uint64_t length;
};

struct ms_file {
	int fd;	       /* through the page cache */
	int fd_direct; /* O_DIRECT, or -1 */
	bool device;   /* a block device */
	bool writable;
	enum ms_file_sync sync;
	uint32_t direct_offset; /* O_DIRECT: alignment of offset and length */
	uint32_t direct_memory; /* and of the buffer */
	/* Once the kernel has lost written bytes they stay lost, though it
	 * tells only one fsync: the first error is kept. Atomic. */
	int lost;
	/* What the file system turned out not to do; atomic. */
	bool no_nowait;
	bool no_zero_range;
	bool no_punch;
	pthread_mutex_t map_lock;
	struct ms_file_map *maps; /* map_lock */
};

/* The blocking calls over a struct ms_file. */
extern const struct ms_blocking_ops ms_file_ops;

#endif

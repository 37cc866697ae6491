/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `chunker`: cuts requests at the boundaries of chunks and has the
 * pieces done at once, so that no read or write below crosses one. Aligned
 * (the default), the store below sees nothing but whole chunks, and the
 * shorter one at the region's end: a part of a chunk is read by reading the
 * chunk, and written by reading it, changing it and writing it back, under a
 * lock on that chunk, so that users of different parts do not see each other.
 *The region above then has no alignment at all, whatever the store below asks.
 *
 *	         |  chunk  |  chunk  |  chunk  |
 *	request:      |------------------|
 *	below:   |=========|=========|=========|    the outer two by a copy
 *
 * A request that is a whole chunk, or within one if not aligned, is handed on
 * as it is (aligned writes excepted, which take the lock). Of the operations
 * without bytes, ZERO and TRIM reach the store as whole chunks too (many in
 * one request), the others unchanged.
 */
#ifndef MS_COMMON_STAGE_CHUNKER_H
#define MS_COMMON_STAGE_CHUNKER_H

#include "memsync/backend.h"

/*
 * A chunker over `next`, which belongs to it on success. `chunk` is a power of
 * two, not smaller than next->block, 512 ... 256 MiB. 0, -EINVAL, -ENOMEM.
 */
int ms_chunker_over(struct ms_backend *next, uint32_t chunk, bool align,
		    struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What chunker.c (cutting) and chunker-part.c (doing one piece) share.
 *
 * Life of a split: made with a count of its pieces and one for the loop that
 * starts them; each piece takes one off when it has ended, and whoever takes
 * the last completes the caller's request. The first error wins.
 */
#ifndef MS_COMMON_STAGE_CHUNKER_IMPL_H
#define MS_COMMON_STAGE_CHUNKER_IMPL_H

#include "approaches/common/stage/rangelock.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/timer.h"

struct chunker {
	struct ms_backend base;
	struct ms_backend *next;
	uint32_t chunk;
	bool align;
	struct ms_rangelock locks; /* by number of the chunk */
	uint64_t forwarded;	   /* requests handed on as they were; atomic */
	uint64_t cut;		   /* requests that were not; atomic */
	uint64_t copied;	   /* parts of chunks, by a copy; atomic */
};

struct split;

/* One piece of a request; at most one request of it is below at a time. */
struct part {
	struct ms_io io; /* first: the request below */
	struct split *split;
	struct ms_rangelock_node lock;
	struct ms_timer expiry; /* while it waits for the lock */
	/* What is wanted; `io` may be the whole chunk around it. */
	enum ms_op op;
	uint64_t offset;
	uint64_t length;
	char *buf;	 /* NULL for a write of zeros, and without bytes */
	char *bounce;	 /* the whole chunk, if only a part is wanted */
	bool locks;	 /* wants the lock */
	bool has_lock;	 /* and has it */
	bool write_back; /* the chunk was read and is being written */
	bool ended;	 /* atomic */
};

struct split {
	struct ms_held held;
	struct chunker *c;
	size_t pending; /* atomic */
	int result;	/* the first error; atomic */
	const char *origin;
	size_t count;
	struct part parts[];
};

/* End of the chunk that holds `offset`, or of the region. */
uint64_t ms_chunk_end(const struct chunker *c, uint64_t offset);

/* Start a piece whose wants are filled in. May be over when it returns. */
void ms_part_start(struct part *part);

/* End it early if that is possible. */
void ms_part_cancel(struct part *part);

/* One of the split's count less; the split may be gone when it returns. */
void ms_split_put(struct split *split);

#endif

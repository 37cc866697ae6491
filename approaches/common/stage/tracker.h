/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `tracker`: remembers which chunks were changed, so that a migration
 * can copy a region that is being written, and then only what changed.
 *
 * A change is marked twice: before it is handed on, and again after it has
 * completed. So a chunk that is taken and copied while it is being written is
 * in the next take as well, and no order of events loses a byte. For that the
 * tracker sees every completion of a change, also while tracking is off: a
 * change that is in flight at ms_tracker_start lands after it. Reads pass at
 * the cost of a branch.
 *
 * What is written through a mapping cannot be seen, so there is no MAP.
 */
#ifndef MS_COMMON_STAGE_TRACKER_H
#define MS_COMMON_STAGE_TRACKER_H

#include "memsync/backend.h"

/*
 * A tracker over `next`, which belongs to it on success. `chunk` is a power of
 * two, at least 512. 0, -EINVAL, -ENOMEM with a sentence.
 */
int ms_tracker_over(struct ms_backend *next, uint32_t chunk,
		    struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/* Forget all marks and mark from now on. */
void ms_tracker_start(struct ms_backend *tracker) __attribute__((nonnull));

/* Mark no more. The marks stay and can be taken. */
void ms_tracker_stop(struct ms_backend *tracker) __attribute__((nonnull));

/* The bytes of a chunk. */
uint32_t ms_tracker_chunk(const struct ms_backend *tracker)
	__attribute__((nonnull));

/* The words that a bitmap of the region's chunks has at its current size. */
size_t ms_tracker_words(const struct ms_backend *tracker)
	__attribute__((nonnull));

/*
 * Move the marks into `bitmap` (bit i of word i / 64 is chunk i): each word is
 * taken and cleared in one step, so that every mark is in exactly one take.
 * Words behind the region's end are set to 0. Returns the number of chunks.
 */
uint64_t ms_tracker_take(struct ms_backend *tracker, uint64_t *bitmap,
			 size_t words) __attribute__((nonnull));

/* Chunks marked now. */
uint64_t ms_tracker_count(const struct ms_backend *tracker)
	__attribute__((nonnull));

/* Neighbouring chunks. Start with all zero. */
struct ms_chunk_range {
	uint64_t first;
	uint64_t count;
};

/*
 * The next run of set bits behind `range`, as long as possible; false when
 * there is none.
 */
bool ms_chunk_range_next(const uint64_t *bitmap, size_t words,
			 struct ms_chunk_range *range) __attribute__((nonnull));

#endif

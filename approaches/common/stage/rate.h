/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `rate`: lets reads and writes through at so many BYTES a second (not
 * bits), summed over both. A bucket of `burst` bytes fills at the rate; a
 * request leaves when the bucket holds its length, or is full, and takes its
 * whole length out of it, so that the rate holds for requests of any length.
 * What waits leaves in order of arrival, urgent requests first. Other
 * operations are not held up.
 */
#ifndef MS_COMMON_STAGE_RATE_H
#define MS_COMMON_STAGE_RATE_H

#include "memsync/backend.h"

/* `next` belongs to the stage on success. 0, -EINVAL, -ENOMEM. */
int ms_rate_over(struct ms_backend *next, uint64_t bytes_per_s,
		 uint64_t burst_bytes, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

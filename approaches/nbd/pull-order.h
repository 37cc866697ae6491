/* SPDX-License-Identifier: Apache-2.0 */
/* A file that says in which order chunks are pulled. */
#ifndef MS_NBD_PULL_ORDER_H
#define MS_NBD_PULL_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct pull_order {
	uint64_t *chunks;
	size_t count;
};

/*
 * Offsets in bytes, one a line, in decimal with an optional suffix K, M, G;
 * empty lines and those that begin with # are passed over. -EINVAL with file
 * and line, or the errno of reading.
 */
int pull_order_load(const char *path, uint64_t chunk_bytes,
		    struct pull_order *ret)
	__attribute__((nonnull, warn_unused_result));
void pull_order_release(struct pull_order *order) __attribute__((nonnull));

#endif

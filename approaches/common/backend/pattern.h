/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pattern: incompressible bytes computed from a seed and the offset, so
 * that any read of any place can be verified without keeping a copy. The
 * 8-byte little-endian word i is splitmix64's output i + 1 from the start value
 * that the seed, spread by the same function, gives (S. Vigna, public domain
 * generator; Steele et al., OOPSLA 2014).
 */
#ifndef MS_COMMON_BACKEND_PATTERN_H
#define MS_COMMON_BACKEND_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Write the `n` bytes of the pattern that belong at `offset` into `buf`. */
void ms_pattern_fill(uint64_t seed, uint64_t offset, void *buf, size_t n)
	__attribute__((nonnull));

/*
 * True if `buf` holds the pattern's `n` bytes at `offset`; else false, and the
 * region offset of the first wrong byte in ret_bad (may be NULL).
 */
bool ms_pattern_check(uint64_t seed, uint64_t offset, const void *buf, size_t n,
		      uint64_t *ret_bad)
	__attribute__((nonnull(3), warn_unused_result));

#endif

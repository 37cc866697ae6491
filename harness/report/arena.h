/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is given back all at once: what a figure or a page is made of
 * lives as long as its arena and is never freed piece by piece.
 */
#ifndef MS_HARNESS_REPORT_ARENA_H
#define MS_HARNESS_REPORT_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zeroed memory is an empty arena. */
struct arena {
	struct arena_block *blocks;
};

/* Zeroed memory for `n` objects of `size` bytes; NULL without memory. */
void *arena_alloc(struct arena *a, size_t n, size_t size)
	__attribute__((nonnull, malloc));

/* A formatted string; NULL without memory. */
char *arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull));

/* A copy of the first `n` bytes, ended with NUL; NULL without memory. */
char *arena_copy(struct arena *a, const char *text, size_t n)
	__attribute__((nonnull));

/*
 * Room for one more element in an array of `n` that grows by doubling: the
 * array itself or a larger copy. NULL without memory, the old one stays.
 */
void *arena_grow(struct arena *a, void *array, size_t n, size_t size)
	__attribute__((nonnull(1)));

void arena_free(struct arena *a) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given back all at once. */
#include "harness/report/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
	struct arena_block *next;
	max_align_t bytes[];
};

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
	struct arena_block *block = NULL;
	size_t bytes = 0;

	if (__builtin_mul_overflow(n, size, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof(*block), &bytes))
		return NULL;
	block = calloc(1, bytes);
	if (!block)
		return NULL;
	block->next = a->blocks;
	a->blocks = block;
	return block->bytes;
}

char *arena_copy(struct arena *a, const char *text, size_t n)
{
	char *copy = NULL;

	if (n == SIZE_MAX)
		return NULL;
	copy = arena_alloc(a, n + 1, 1);
	if (copy)
		memcpy(copy, text, n);
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	char *text = NULL;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return NULL;
	text = arena_alloc(a, (size_t)n + 1, 1);
	if (!text)
		return NULL;
	va_start(args, fmt);
	(void)vsnprintf(text, (size_t)n + 1, fmt, args);
	va_end(args);
	return text;
}

void *arena_grow(struct arena *a, void *array, size_t n, size_t size)
{
	void *larger = NULL;

	/* Full at 0 and at powers of two from 8 on. */
	if (n != 0 && (n < 8 || (n & (n - 1)) != 0))
		return array;
	larger = arena_alloc(a, n < 8 ? 8 : 2 * n, size);
	if (larger && n)
		memcpy(larger, array, n * size);
	return larger;
}

void arena_free(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
}

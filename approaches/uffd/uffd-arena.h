/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory for a region: a file in memory and this process's view. */
#ifndef MS_UFFD_ARENA_H
#define MS_UFFD_ARENA_H

#include <stdbool.h>
#include <stdint.h>

struct ms_uffd_arena {
	int fd;		 /* the file; never given to the application */
	char *addr;	 /* of this view, where bytes are put */
	uint64_t length; /* whole pages */
	bool huge;	 /* the file is made of huge pages */
};

/*
 * A zero-filled file of `size` bytes rounded up to pages. With `huge` on a
 * private mount of its own with huge pages, if that may be made and the size
 * makes sense of it; else, and as the stated step down, a plain memory file
 * that cannot shrink (sealed), so that it can be handed to another process.
 */
int ms_uffd_arena_open(struct ms_uffd_arena *a, uint64_t size, bool huge)
	__attribute__((nonnull, warn_unused_result));

void ms_uffd_arena_close(struct ms_uffd_arena *a) __attribute__((nonnull));

#endif

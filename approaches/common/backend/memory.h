/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `memory`: bytes in an anonymous memory file, mapped once at a stable
 * address, so that others can receive into it, send from it, and map it again
 * (ms_map gives address and descriptor).
 *
 * With huge=yes the file is on a private tmpfs of huge pages: what is received
 * into it costs one page fault for 2 MiB instead of 512. Where such a tmpfs
 * may not be made (it needs root), or below 2 MiB, the pages are small;
 * ms_stats has a line "pages huge" or "pages small". The kernel may still use
 * small pages within a huge file when memory is short.
 */
#ifndef MS_COMMON_BACKEND_MEMORY_H
#define MS_COMMON_BACKEND_MEMORY_H

#include "memsync/backend.h"

/*
 * A zero-filled store of `size` bytes. 0, or -ENOMEM, -EMFILE with a sentence.
 * Growing by RESIZE is possible up to 16 times the size, at least 64 GiB
 * (address space, not memory).
 */
int ms_memory_open(uint64_t size, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * The same; with `huge` it can have huge pages, if that is possible here, from
 * where ms_memory_want_huge says. It stays with that when it grows.
 */
int ms_memory_open_with(uint64_t size, bool huge, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Have what is not allocated yet, from the 2 MiB at or behind `offset` on, come
 * in huge pages. They make bulk cheap, but whoever touches one first waits
 * until all of it is cleared: 0.2 ms, and 5 ms where a hypervisor has to find
 * the memory first. Does nothing without `huge`. Any thread.
 */
void ms_memory_want_huge(struct ms_backend *b, uint64_t offset)
	__attribute__((nonnull));

/* True if `b` is a memory store that can have huge pages. */
bool ms_memory_is_huge(const struct ms_backend *b) __attribute__((nonnull));

#endif

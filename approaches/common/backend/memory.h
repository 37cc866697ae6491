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

/* The same, in huge pages if `huge` and if possible. It stays with what it
 * was opened with when it grows. */
int ms_memory_open_with(uint64_t size, bool huge, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/* True if `b` is a memory store in huge pages. */
bool ms_memory_is_huge(const struct ms_backend *b) __attribute__((nonnull));

#endif

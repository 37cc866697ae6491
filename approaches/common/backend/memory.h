/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `memory`: bytes in an anonymous memory file, mapped once at a stable
 * address, so that others can receive into it, send from it, and map it again
 * (ms_map gives address and descriptor).
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

#endif

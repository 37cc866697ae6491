/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that implementations of backends share. */
#ifndef MS_COMMON_BACKEND_BASE_H
#define MS_COMMON_BACKEND_BASE_H

#include "memsync/backend.h"

#include <stddef.h>

/* The struct that embeds `ptr` as `member`. */
#define ms_container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Set the common part; block 1 unless said otherwise afterwards. */
void ms_backend_init(struct ms_backend *b, const struct ms_backend_ops *ops,
		     uint64_t size, unsigned caps);

/*
 * A request of a stage's own, made to serve another one: heap memory from a
 * small per-thread reserve, freed by ms_io_free in its `done`. NULL: no memory.
 */
struct ms_io *ms_io_new(void);
void ms_io_free(struct ms_io *io);

/* Copy op, priority, flags, range, buffer and deadline of `from`. */
void ms_io_copy_request(struct ms_io *to, const struct ms_io *from);

/* True if `addr` points to `n` zero bytes. */
bool ms_is_zero(const void *addr, size_t n);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the bytes of a region should be: the pattern of a seed, or a file. */
#ifndef MS_COMMON_WORKLOAD_VERIFY_H
#define MS_COMMON_WORKLOAD_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ms_verifier {
	uint64_t seed; /* used if fd is -1 */
	int fd;	       /* the reference file, owned */
};

/* `path` NULL: the pattern. 0, or negative errno with a sentence. */
int ms_verifier_open(struct ms_verifier *v, const char *path, uint64_t seed)
	__attribute__((nonnull(1), warn_unused_result));
void ms_verifier_close(struct ms_verifier *v) __attribute__((nonnull));

/*
 * True if `buf` holds what belongs at `offset`. Else false, with the region
 * offset of the first difference. A reference that cannot be read, or is too
 * short, differs where it ends.
 */
bool ms_verifier_check(const struct ms_verifier *v, uint64_t offset,
		       const void *buf, size_t n, uint64_t *ret_bad)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A list of regions from a command line: [NAME=]SPEC... */
#ifndef MS_COMMON_CLI_REGIONS_H
#define MS_COMMON_CLI_REGIONS_H

#include "memsync/backend.h"

enum {
	MS_REGIONS_MAX = 64
};

struct ms_region {
	char *name; /* "default" for an operand without one */
	struct ms_backend *backend;
};

/* Zeroed memory is an empty list. */
struct ms_regions {
	struct ms_region list[MS_REGIONS_MAX];
	size_t count;
};

/*
 * Open what `operand` says and append it. A name has no colon; the SPEC may
 * have more equals signs. 0, -EINVAL (a name twice, too many, a wrong spec) or
 * what opening gives, with a sentence.
 */
int ms_regions_add(struct ms_regions *regions, const char *operand)
	__attribute__((nonnull, warn_unused_result));

/* Close all of them; the list is empty then. */
void ms_regions_close(struct ms_regions *regions) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a region, for the parts of this folder; see memsync/uffd.h. */
#ifndef MS_UFFD_REGION_H
#define MS_UFFD_REGION_H

#include "approaches/uffd/uffd-engine.h"

#include <pthread.h>

struct memsync_uffd {
	char *addr; /* what the application sees */
	uint64_t size;
	uint64_t length; /* whole pages */
	struct ms_uffd_features features;
	struct memsync_uffd_options options;

	/* Opened here: the engine runs in this process. */
	struct ms_uffd_engine *engine;
	struct ms_uffd_source *source;

	/* Connected: somebody else's engine. */
	int socket;
	int uffd;
	int stop_fd;
	pthread_t guard;
	bool guard_runs;
};

/* As memsync_uffd_open over an opened pipeline, which belongs to the region
 * from here on, also if this fails. */
int ms_uffd_region_open(struct ms_backend *backend,
			const struct memsync_uffd_options *options,
			struct memsync_uffd **ret)
	__attribute__((nonnull(1, 3), warn_unused_result));

/*
 * Map memory for the application and register it: shared with `memory_fd`
 * (missing and minor faults), or anonymous if that is -1. Fills in addr,
 * length, features and uffd of `r`, whose size is set.
 */
int ms_uffd_region_map(struct memsync_uffd *r, int memory_fd,
		       uint64_t file_offset)
	__attribute__((nonnull, warn_unused_result));

#endif

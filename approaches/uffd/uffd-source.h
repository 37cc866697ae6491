/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engines of one pipeline share: the cache whose local store owns the
 * pages, the puller that fills it in the background, and the list of engines
 * that want to know when a range became local. `tuned` always stands on a
 * cache: a pipeline that is none whose store maps is wrapped in one.
 *
 *	engine --POPULATE, urgent--> cache --> remote
 *	   ^                          | ^
 *	   +------- on_local ---------+ +-- POPULATE, bulk -- puller
 *
 * For `thesis` there is nothing but the backend.
 */
#ifndef MS_UFFD_SOURCE_H
#define MS_UFFD_SOURCE_H

#include "approaches/common/stage/puller.h"
#include "memsync/backend.h"
#include "memsync/uffd.h"

#include <pthread.h>

struct ms_uffd_engine;

struct ms_uffd_source {
	struct ms_backend *backend; /* what engines ask: a cache if tuned */
	struct ms_mapping memory;   /* of the cache; addr NULL: no cache */
	int home_cpu; /* of the opener: threads are placed around it */
	bool huge;
	struct ms_backend *local; /* the wrapped cache's store, or NULL */
	_Atomic uint64_t arrived; /* bytes that became local */
	struct ms_puller *puller; /* or NULL */
	pthread_rwlock_t lock;	  /* engines */
	struct ms_uffd_engine *engines;
};

/*
 * Set up what the complete `options` say over `backend`, and start to pull. The
 * pipeline belongs to the source from here on, also if this fails. 0 or a
 * negative errno with a sentence: -EINVAL for an empty region, -EOPNOTSUPP for
 * a cache that gives up chunks, as its pages would be mapped still.
 */
int ms_uffd_source_open(struct ms_backend *backend,
			const struct memsync_uffd_options *options,
			struct ms_uffd_source **ret)
	__attribute__((nonnull, warn_unused_result));

/* Stop pulling and close the pipeline. No engine uses it. NULL is legal. */
void ms_uffd_source_close(struct ms_uffd_source *source);

/* Tell an engine of ranges that become local, from now on; and no more. */
void ms_uffd_source_attach(struct ms_uffd_source *source,
			   struct ms_uffd_engine *engine)
	__attribute__((nonnull));
void ms_uffd_source_detach(struct ms_uffd_source *source,
			   struct ms_uffd_engine *engine)
	__attribute__((nonnull));

/* Add what the puller has done. */
void ms_uffd_source_stats(struct ms_uffd_source *source,
			  struct memsync_uffd_stats *stats)
	__attribute__((nonnull));

/*
 * The spec of the pipeline as `options` make it from `spec`, to be freed; NULL
 * without memory.
 */
char *ms_uffd_source_spec(const char *spec,
			  const struct memsync_uffd_options *options)
	__attribute__((nonnull, warn_unused_result));

#endif

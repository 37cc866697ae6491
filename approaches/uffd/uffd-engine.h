/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: answers the page faults of one registered range with bytes of a
 * backend. It needs the userfaultfd and the addresses in the memory that has
 * been registered, which may be another process's; it never touches that
 * memory itself.
 *
 * Variant `thesis` is one thread that reads one event, fetches 4 KiB, copies
 * them in, and only then looks at the next event.
 *
 * Variant `tuned` asks a cache (uffd-source.h) to make local what a fault
 *needs, with any number of requests in flight, and maps what has become local,
 *for whatever reason. The cache's local store owns the pages and the cache
 *knows which are there; the engine only keeps what it has done about each:
 *
 *	  +---- became local (pull, neighbour's fault) ----+
 *	  |						   v
 *	NONE --fault, not local--> WANTED --became local--> INSTALLED
 *				      |			   | ^ (dropped by
 *				      +--failed--> FAILED  +-+  the program)
 *
 * If the range is a second mapping of the cache's memory file, CONTINUE maps
 * those very pages; if it is anonymous memory (of another process), COPY
 * copies them.
 */
#ifndef MS_UFFD_ENGINE_H
#define MS_UFFD_ENGINE_H

#include "approaches/uffd/uffd-kernel.h"
#include "approaches/uffd/uffd-source.h"
#include "memsync/backend.h"
#include "memsync/uffd.h"

struct ms_uffd_engine;

struct ms_uffd_engine_config {
	int fd;		/* the userfaultfd; the engine's from start on */
	uint64_t start; /* address of the range where it is registered */
	uint64_t size;	/* bytes of the region; the range is rounded up
			   to whole pages */
	bool shared;	/* the range shows the cache's memory file */
	bool foreign;	/* the range is another process's */
	struct ms_uffd_source *source;	     /* borrowed */
	struct memsync_uffd_options options; /* complete: no zeros left */
};

/*
 * Start answering. On success the engine owns the userfaultfd, on failure the
 * caller keeps it. 0 or negative errno with a sentence.
 */
int ms_uffd_engine_start(const struct ms_uffd_engine_config *config,
			 struct ms_uffd_engine **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Stop: cancel what is in flight and end the thread. The range must be mapped
 * still, so that nothing else is at its addresses, and must not be accessed
 * any more. NULL is legal.
 */
void ms_uffd_engine_stop(struct ms_uffd_engine *engine);

/* Free a stopped engine and close the userfaultfd. NULL is legal. */
void ms_uffd_engine_free(struct ms_uffd_engine *engine);

void ms_uffd_engine_stats(const struct ms_uffd_engine *engine,
			  struct memsync_uffd_stats *ret)
	__attribute__((nonnull));

/* Fill in the defaults of every option that is zero. 0 or -EINVAL. */
int ms_uffd_options_complete(const struct memsync_uffd_options *from,
			     struct memsync_uffd_options *ret)
	__attribute__((nonnull(2), warn_unused_result));

#endif

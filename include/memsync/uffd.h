/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region of a remote or local backend as memory of this process: bytes
 * arrive when they are accessed (userfaultfd), and in the background before
 * that. The memory is read-only in this version.
 *
 *	struct memsync_uffd *region;
 *	if (memsync_uffd_open("tcp://source:7000", NULL, &region))
 *		errx(1, "%s", memsync_error());
 *	puts(memsync_uffd_addr(region));
 *	memsync_uffd_close(region);
 *
 * An access to bytes that cannot be had (the source is gone, the deadline has
 * passed) raises SIGBUS; it never reads zeros and never waits for ever. A
 * child made by fork does not have the mapping.
 */
#ifndef MEMSYNC_UFFD_H
#define MEMSYNC_UFFD_H

#include "memsync/backend.h" /* memsync_error, specs */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden but this. */
#pragma GCC visibility push(default)

struct memsync_uffd;

enum memsync_uffd_variant {
	MEMSYNC_UFFD_TUNED,  /* the fastest engine of this version */
	MEMSYNC_UFFD_THESIS, /* one thread, one 4 KiB copy an event */
};

/* Where the thread that answers faults runs. */
enum memsync_uffd_placement {
	MEMSYNC_UFFD_SAME,  /* on the processor of the thread that opens */
	MEMSYNC_UFFD_OTHER, /* on any but that one */
	MEMSYNC_UFFD_FLOAT, /* where the scheduler wants */
};

/* Zeroed memory means: every option has its default. */
struct memsync_uffd_options {
	enum memsync_uffd_variant variant;
	enum memsync_uffd_placement placement;
	uint64_t chunk_bytes;  /* fetched for a fault without locality; a power
				  of two, at least 4096 [32 KiB] */
	uint64_t span_bytes;   /* fetched at most at once [1 MiB] */
	uint64_t window_bytes; /* pulled in advance at most at once [32 MiB] */
	uint64_t deadline_ns;  /* of a fault, then SIGBUS [120 s] */
	unsigned workers;      /* threads that pull in the background [1] */
	bool no_pull;	       /* fetch only what is accessed */
	bool no_huge;	       /* do not use huge pages for the local copy */
};

/* What happened so far. */
struct memsync_uffd_stats {
	uint64_t faults;	  /* events of the kernel */
	uint64_t urgent_requests; /* made for a fault */
	uint64_t urgent_bytes;
	uint64_t pull_requests; /* made in the background */
	uint64_t pull_bytes;
	uint64_t pages_installed;
	uint64_t pages_present; /* found resolved already (EEXIST) */
	uint64_t kernel_again;	/* EAGAIN of the kernel */
	uint64_t retries;	/* requests repeated after an error */
	uint64_t errors;	/* requests that failed */
	uint64_t pages_failed;	/* poisoned: accesses raise SIGBUS */
	int error;		/* the last error of the backend, or 0 */
	bool user_mode_only;	/* faults inside system calls give EFAULT */
	bool huge;		/* the local copy is in huge pages */
	bool complete;		/* all of the region is local */
};

/*
 * Map the region of a pipeline (`spec_or_uri` as in memsync/backend.h, e.g.
 * "tcp://host:7000/export" or "file:path=/data"). Options NULL: defaults.
 * Returns 0, or a negative errno with the sentence in memsync_error: -EPERM
 * (userfaultfd is not allowed), -EINVAL (bad spec or option, empty region),
 * or an error of the backend.
 */
int memsync_uffd_open(const char *spec_or_uri,
		      const struct memsync_uffd_options *options,
		      struct memsync_uffd **ret)
	__attribute__((nonnull(1, 3), warn_unused_result));

/*
 * Map the region that a handler process serves at a Unix socket (`memsync-uffd
 * handle`, or the address in MEMSYNC_UFFD that `memsync-uffd map -- COMMAND`
 * gives). The descriptor of the mapping is handed to that process; when it
 * dies, pages that have not arrived raise SIGBUS. `options`: as far as they
 * concern the application; the handler has its own.
 */
int memsync_uffd_connect(const char *path, struct memsync_uffd **ret)
	__attribute__((nonnull, warn_unused_result));

/* First byte of the region; page-aligned, valid until close. */
const void *memsync_uffd_addr(const struct memsync_uffd *region)
	__attribute__((nonnull));

/* Bytes of the region. The rest of its last page reads zero. */
uint64_t memsync_uffd_size(const struct memsync_uffd *region)
	__attribute__((nonnull));

/* Numbers so far; of a connected region only those that this side knows. */
void memsync_uffd_get_stats(const struct memsync_uffd *region,
			    struct memsync_uffd_stats *ret)
	__attribute__((nonnull));

/* Unmap and end everything. No thread may access it any more. NULL is legal. */
void memsync_uffd_close(struct memsync_uffd *region);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

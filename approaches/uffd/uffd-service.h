/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handler process: listens at a Unix socket, takes over the faults of every
 * application that connects (uffd-handoff.h), and answers them from one
 * cache. An engine and a thread for each; it ends when the application
 * closes the connection or exits.
 */
#ifndef MS_UFFD_SERVICE_H
#define MS_UFFD_SERVICE_H

#include "memsync/backend.h"
#include "memsync/uffd.h"

struct ms_uffd_service;

/*
 * Listen at `path`, which must not be in use (a dead socket is replaced). The
 * pipeline belongs to the service from here on, also if this fails. 0 or
 * negative errno.
 */
int ms_uffd_service_open(const char *path, struct ms_backend *backend,
			 const struct memsync_uffd_options *options,
			 struct ms_uffd_service **ret)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));

/* What all regions together have done so far. */
void ms_uffd_service_stats(struct ms_uffd_service *service,
			   struct memsync_uffd_stats *ret)
	__attribute__((nonnull));

/*
 * Stop listening, let go of all regions (their applications see the end of the
 * connection), remove the socket. NULL is legal.
 */
void ms_uffd_service_close(struct ms_uffd_service *service);

#endif

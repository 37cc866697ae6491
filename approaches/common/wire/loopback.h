/* SPDX-License-Identifier: Apache-2.0 */
/* A backend behind a server and a client of its own, for tests. */
#ifndef MS_COMMON_WIRE_LOOPBACK_H
#define MS_COMMON_WIRE_LOOPBACK_H

#include "memsync/backend.h"

/*
 * Serve `child` over `transport` ("pair", "unix", "tcp") in this process and
 * return a client of that server. ms_close of it ends both and closes the
 * child; on failure the child is still the caller's. Errors as ms_open.
 */
int ms_wire_loopback(struct ms_backend *child, const char *transport,
		     struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

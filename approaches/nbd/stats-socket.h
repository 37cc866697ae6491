/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of a mount on a Unix socket: whoever connects gets "key value" lines
 * and the end. For people (socat - UNIX:PATH) and for programs.
 */
#ifndef MS_NBD_STATS_SOCKET_H
#define MS_NBD_STATS_SOCKET_H

#include "approaches/nbd/mount.h"

struct stats_socket;

/*
 * Answer at `path`, which is made; a socket that nobody answers at any more is
 * replaced. A thread of its own. 0, -EADDRINUSE, -ENAMETOOLONG, others.
 */
int stats_socket_open(const char *path, struct memsync_nbd *m,
		      struct stats_socket **ret)
	__attribute__((nonnull, warn_unused_result));

/* Answer no more, and remove the path. NULL is legal. */
void stats_socket_close(struct stats_socket *s);

#endif

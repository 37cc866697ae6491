/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving side of the wire: gives backends (exports) to clients that come
 * in over a transport. One thread a connection; requests go to the backends
 * asynchronously and are answered in whatever order they complete.
 */
#ifndef MS_COMMON_WIRE_SERVER_H
#define MS_COMMON_WIRE_SERVER_H

#include "memsync/backend.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ms_server;

struct ms_server_export {
	const char *name;	    /* as clients ask for it */
	struct ms_backend *backend; /* the caller's, outlives the server */
	bool read_only;
	uint32_t chunk_bytes; /* hint for clients, 0: none */
};

/* Limits of 0 mean the default in brackets. */
struct ms_server_config {
	const struct ms_server_export *exports; /* the first is the default */
	size_t export_count;
	const char *listen;	    /* URI; NULL: only ms_server_serve_fd */
	uint32_t connections_max;   /* [1024] */
	uint32_t request_max_bytes; /* [1 MiB] of one READ or WRITE */
	uint32_t requests_max;	    /* [16384] in flight on a connection */
	uint64_t outstanding_bytes; /* [16 MiB] of one connection; a client
				       that asks for more waits */
	uint64_t handshake_ns;	    /* [10 s] from connect to hello */
	uint64_t stall_ns;	    /* [30 s] a peer may leave half a frame or
				       an unread answer */
	uint64_t dead_ns;	    /* [5 s] until a silent peer is dead */
};

/*
 * Start to serve. Names are copied. 0, or negative errno with a sentence:
 * -EINVAL, -EADDRINUSE, -EACCES, -ENOMEM...
 */
int ms_server_open(const struct ms_server_config *config,
		   struct ms_server **ret)
	__attribute__((nonnull, warn_unused_result));

/* Where it listens, with the port that the kernel chose; "" if nowhere. */
const char *ms_server_uri(const struct ms_server *server);

/*
 * Serve one peer on the connected stream socket `fd`, which belongs to the
 * server from now on, also on failure. 0, -EBUSY, -ENOMEM.
 */
int ms_server_serve_fd(struct ms_server *server, int fd)
	__attribute__((nonnull, warn_unused_result));

/* Print "key value" lines. */
void ms_server_stats(struct ms_server *server, FILE *out)
	__attribute__((nonnull));

/*
 * End: no more connections, the open ones are cut, what the backends have in
 * hand is waited for. NULL is legal. The backends are still the caller's.
 */
void ms_server_stop(struct ms_server *server);

#endif

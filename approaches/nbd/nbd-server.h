/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server: gives backends (exports) to NBD clients, this project's, the
 * kernel's and anybody else's. One thread a connection; requests go to the
 * backends asynchronously and are answered in whatever order they complete.
 *
 * Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 * (fixed newstyle; simple and structured replies; base:allocation; STARTTLS).
 *
 * The size of an export is the backend's, rounded up to the export's minimum
 * block: what is behind the region's end reads zero, and what is written there
 * is dropped. It is read once for each client.
 */
#ifndef MS_NBD_SERVER_H
#define MS_NBD_SERVER_H

#include "memsync/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ms_tls;
struct nbd_server;

/* Block sizes of 0 mean the default in brackets. All are powers of two, and
 * minimum <= preferred <= maximum; maximum may be any multiple of minimum. */
struct nbd_server_export {
	const char *name;	 /* as clients ask for it; up to 4096 bytes */
	const char *description; /* shown to people, or NULL */
	struct ms_backend *backend; /* the caller's, outlives the server */
	bool read_only;		    /* also if the backend cannot write */
	uint32_t block_minimum;	    /* [the backend's block] 1 ... 65536 */
	uint32_t block_preferred; /* [4096; the minimum if that does not fit] */
	uint32_t block_maximum;	  /* [32 MiB] of READ and WRITE, up to
				     NBD_BLOCK_MAX */
};

/* The longest READ or WRITE that an export can be set to take. */
#define NBD_BLOCK_MAX (UINT32_C(64) << 20)

enum nbd_tls_mode {
	NBD_TLS_OFF,	 /* STARTTLS is refused */
	NBD_TLS_ON,	 /* the client chooses */
	NBD_TLS_REQUIRE, /* nothing but STARTTLS is answered without it */
};

/* Limits of 0 mean the default in brackets. */
struct nbd_server_config {
	const struct nbd_server_export *exports; /* the first is the default */
	size_t export_count;
	/*
	 * nbd://HOST[:PORT]/, nbd+unix:///?socket=PATH, tcp://HOST:PORT,
	 * unix:///PATH; port 0: any free one. NULL: only descriptors.
	 */
	const char *listen;
	uint32_t connections_max;   /* [1024] */
	uint32_t requests_max;	    /* [16384] in flight on a connection */
	uint64_t outstanding_bytes; /* [32 MiB] of one connection; a client
				       that asks for more waits. One request is
				       always let through. */
	uint64_t handshake_ns;	    /* [10 s] from connect to the end of the
				       handshake */
	uint64_t stall_ns; /* [30 s] a peer may leave half a request or an
			      unread answer */
	/* One request at a time, as the thesis' server had it; no multi-conn */
	bool serial;
	bool no_multi_conn;	  /* do not say that a client may use several */
	bool transmit_structured; /* nbd_server_transmit_fd: see there */
	enum nbd_tls_mode tls_mode;
	struct ms_tls *tls; /* a server's context; the caller's, outlives the
			       server; required unless OFF */
};

/*
 * Start to serve. Texts are copied. 0, or negative errno with a sentence:
 * -EINVAL, -EADDRINUSE, -EACCES, -ENOMEM...
 */
int nbd_server_open(const struct nbd_server_config *config,
		    struct nbd_server **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Where it listens as an NBD URI, with the port that the kernel chose; "" if
 * nowhere. nbds... if TLS is required.
 */
const char *nbd_server_uri(const struct nbd_server *server)
	__attribute__((nonnull));

/* What a client of an export is told, for those who set devices up. */
struct nbd_export_info {
	uint64_t size;	/* bytes, a multiple of block_minimum */
	uint16_t flags; /* transmission flags, NBD_FLAG_* of nbd-proto.h */
	uint32_t block_minimum;
	uint32_t block_preferred;
	uint32_t block_maximum;
};

/* Of the export at `index` of the configuration. 0, -EINVAL. */
int nbd_server_export_info(struct nbd_server *server, size_t index,
			   struct nbd_export_info *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Serve one peer on the connected stream socket `fd`, with the whole
 * handshake. The descriptor belongs to the server from now on, also on
 * failure. Returns at once. 0, -EBUSY (as many as there may be), -ENOMEM,
 * -EAGAIN.
 */
int nbd_server_serve_fd(struct nbd_server *server, int fd)
	__attribute__((nonnull, warn_unused_result));

/*
 * The same for a peer that is in the transmission phase already, such as the
 * kernel's client, whose end of a socket pair it is: there is no handshake,
 * and the peer was told nbd_server_export_info by other means. Replies are
 * simple, unless config.transmit_structured. Also -EINVAL: no such export.
 */
int nbd_server_transmit_fd(struct nbd_server *server, size_t export_index,
			   int fd) __attribute__((nonnull, warn_unused_result));

/* Print "key value" lines. */
void nbd_server_stats(struct nbd_server *server, FILE *out)
	__attribute__((nonnull));

/*
 * End: no more connections, the open ones are cut, what the backends have in
 * hand is waited for. NULL is legal. The backends are still the caller's.
 */
void nbd_server_stop(struct nbd_server *server);

#endif

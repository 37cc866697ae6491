/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transports: how streams come into being. One is one source file with a
 * `const struct ms_transport`, and one line in transport.c.
 */
#ifndef MS_COMMON_WIRE_TRANSPORT_H
#define MS_COMMON_WIRE_TRANSPORT_H

#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/stream.h"
#include "approaches/common/wire/uri.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ms_address {
	struct sockaddr_storage sa;
	socklen_t length;
};

enum {
	MS_ADDRESSES_MAX = 8
};

/* A place where peers knock; `fd` is readable when one is there. */
struct ms_listener {
	const struct ms_transport *transport;
	int fd;
	char uri[320]; /* where it listens, as a client would say it */
};

struct ms_transport {
	const char *scheme;
	/* The addresses that `uri` may mean, best first. May block. */
	int (*resolve)(const struct ms_uri *uri, struct ms_address *ret,
		       size_t *ret_count);
	/*
	 * Begin to connect. The stream becomes writable when that has ended;
	 * SO_ERROR of its descriptor says how.
	 */
	int (*connect)(const struct ms_address *address,
		       struct ms_stream **ret);
	int (*listen)(const struct ms_uri *uri, struct ms_listener *ret);
	/* One peer, or -EAGAIN. */
	int (*accept)(struct ms_listener *listener, struct ms_stream **ret);
	void (*unlisten)(struct ms_listener *listener);
	/*
	 * Set the socket up for its lane; a peer that is silent for `dead_ns`
	 * although it should answer breaks the stream. Optional.
	 */
	void (*tune)(struct ms_stream *stream, enum ms_proto_lane lane,
		     uint64_t dead_ns);
};

/* NULL-terminated. */
extern const struct ms_transport *const ms_transports[];

/* The transport of a parsed URI. Never NULL: the parser knows them all. */
const struct ms_transport *ms_transport_find(const char *scheme);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams that encrypt: TLS 1.3 (or 1.2, if the context allows it) over any
 * other stream, by OpenSSL, at either end. Who is at the other end is shown by
 * certificates.
 */
#ifndef MS_COMMON_WIRE_TLS_H
#define MS_COMMON_WIRE_TLS_H

#include "approaches/common/wire/stream.h"

#include <stdbool.h>
#include <stdint.h>

/* What is common to many connections; may be used by several threads. */
struct ms_tls;

/* Files are PEM and are read at once. */
struct ms_tls_config {
	bool server;
	bool allow_1_2;		 /* for peers of others; else 1.3 only */
	const char *certificate; /* ours, with its chain; a server needs one */
	const char *key;	 /* of it */
	/*
	 * The authorities whose certificates we believe. A server with one
	 * refuses clients without a certificate. A client without one has the
	 * system's.
	 */
	const char *authorities;
};

/* 0, or a negative errno with a sentence: -ENOENT, -EACCES, -EINVAL... */
int ms_tls_new(const struct ms_tls_config *config, struct ms_tls **ret)
	__attribute__((nonnull, warn_unused_result));

/* NULL is legal. Streams made of it are not touched. */
void ms_tls_free(struct ms_tls *tls);

/*
 * Agree with the peer over `inner` and make the encrypted stream. `host`, for
 * a client, is the name or address that the peer's certificate must bear; NULL
 * for a server. Blocks until `deadline_ns` (CLOCK_MONOTONIC) at most, or until
 * `stop_fd` is readable (-1: none; it is not read).
 *
 * On success `inner` belongs to the new stream; its descriptor is set not to
 * block. On failure it is still the caller's, and of no more use. 0,
 * -ETIMEDOUT, -ECANCELED (stop_fd), -EACCES (the certificate is not believed),
 * -EPROTO, -ENOMEM, or what the inner stream gives; with a sentence.
 */
int ms_tls_stream(struct ms_tls *tls, struct ms_stream *inner, const char *host,
		  uint64_t deadline_ns, int stop_fd, struct ms_stream **ret)
	__attribute__((nonnull(1, 2, 6), warn_unused_result));

#endif

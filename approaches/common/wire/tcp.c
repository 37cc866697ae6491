/* SPDX-License-Identifier: Apache-2.0 */
/* Transport `tcp`: IPv4 and IPv6. */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/wire/transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	BACKLOG = 256,
	/*
	 * Bytes the kernel may hold that are not on their way yet. What waits
	 * there cannot be overtaken, so the urgent lane gets little; the bulk
	 * lane enough that the link never waits for our thread.
	 */
	UNSENT_URGENT = 64 << 10,
	UNSENT_BULK = 512 << 10,
};

static int lookup(const struct ms_uri *uri, int flags, struct addrinfo **ret)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = flags | AI_NUMERICSERV};
	int rc = getaddrinfo(uri->host, uri->port, &hints, ret);

	if (rc == 0)
		return 0;
	return ms_err(rc == EAI_SYSTEM ? -errno : -EHOSTUNREACH,
		      "tcp: look up %s: %s", uri->host, gai_strerror(rc));
}

static int tcp_resolve(const struct ms_uri *uri, struct ms_address *ret,
		       size_t *ret_count)
{
	struct addrinfo *list = NULL;
	size_t n = 0;
	int rc = lookup(uri, AI_ADDRCONFIG, &list);

	/* A host that has nothing but loopback has no configured address. */
	if (rc)
		rc = lookup(uri, 0, &list);
	if (rc)
		return rc;
	for (const struct addrinfo *a = list; a && n < MS_ADDRESSES_MAX;
	     a = a->ai_next) {
		memcpy(&ret[n].sa, a->ai_addr, a->ai_addrlen);
		ret[n++].length = a->ai_addrlen;
	}
	freeaddrinfo(list);
	*ret_count = n;
	return 0;
}

static void set(int fd, int level, int option, int value)
{
	/* Tuning: a kernel that does not know an option is only slower. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

static int tcp_connect(const struct ms_address *address, struct ms_stream **ret)
{
	int fd = socket(address->sa.ss_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return ms_err(-errno, "tcp: socket");
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (connect(fd, (const struct sockaddr *)&address->sa,
		    address->length) &&
	    errno != EINPROGRESS)
		rc = ms_err(-errno, "tcp: connect");
	if (rc == 0)
		rc = ms_stream_new(fd, ret);
	if (rc)
		(void)close(fd);
	return rc;
}

/* The URI of a bound socket, with the port that the kernel chose. */
static int describe(int fd, struct ms_listener *l)
{
	struct sockaddr_storage sa = {0};
	socklen_t length = sizeof(sa);
	char host[NI_MAXHOST];
	char port[NI_MAXSERV];

	if (getsockname(fd, (struct sockaddr *)&sa, &length) ||
	    getnameinfo((struct sockaddr *)&sa, length, host, sizeof(host),
			port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return ms_err(-EIO, "tcp: name of the listening socket");
	int n = snprintf(l->uri, sizeof(l->uri),
			 sa.ss_family == AF_INET6 ? "tcp://[%s]:%s"
						  : "tcp://%s:%s",
			 host, port);
	return n > 0 && (size_t)n < sizeof(l->uri) ? 0 : -EINVAL;
}

static int listen_on(const struct addrinfo *a, struct ms_listener *l)
{
	int fd = socket(a->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG))
		rc = -errno;
	if (rc == 0)
		rc = describe(fd, l);
	if (rc)
		(void)close(fd);
	else
		l->fd = fd;
	return rc;
}

static int tcp_listen(const struct ms_uri *uri, struct ms_listener *ret)
{
	struct addrinfo *list = NULL;
	int rc = lookup(uri, AI_PASSIVE, &list);

	if (rc)
		return rc;
	rc = -EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; a && rc; a = a->ai_next)
		rc = listen_on(a, ret);
	freeaddrinfo(list);
	return rc ? ms_err(rc, "tcp: listen on %s:%s", uri->host, uri->port)
		  : 0;
}

static int tcp_accept(struct ms_listener *l, struct ms_stream **ret)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	int rc = ms_stream_new(fd, ret);
	if (rc)
		(void)close(fd);
	return rc;
}

static void tcp_unlisten(struct ms_listener *l)
{
	(void)close(l->fd);
}

static void tcp_tune(struct ms_stream *stream, enum ms_proto_lane lane,
		     uint64_t dead_ns)
{
	int fd = stream->fd;
	int seconds = (int)((dead_ns + MS_NS_PER_S - 1) / MS_NS_PER_S);

	set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
	    lane == MS_LANE_URGENT ? UNSENT_URGENT : UNSENT_BULK);
	if (dead_ns == 0)
		return;
	/* Idle: probes each second. Busy: unacknowledged for that long. */
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds > 2 ? seconds / 2 : 1);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, seconds > 2 ? seconds / 2 : 1);
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(dead_ns / MS_NS_PER_MS));
}

const struct ms_transport ms_tcp_transport = {
	.scheme = "tcp",
	.resolve = tcp_resolve,
	.connect = tcp_connect,
	.listen = tcp_listen,
	.accept = tcp_accept,
	.unlisten = tcp_unlisten,
	.tune = tcp_tune,
};

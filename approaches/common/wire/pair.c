/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport `pair`: a client and a server of one process, over socket pairs.
 * A listener is a name and a packet socket; to connect is to make a socket
 * pair and to send the number of one end through it.
 */
#include "approaches/common/util/err.h"
#include "approaches/common/wire/transport.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	LISTENERS_MAX = 64,
	NAME_BYTES = 64,
	SOCKET_BUFFER = 1 << 20,
};

static struct {
	pthread_mutex_t lock;
	struct {
		char name[NAME_BYTES];
		int door; /* the end that connecting clients write to */
		bool used;
	} listeners[LISTENERS_MAX];
	unsigned counter;
} pairs = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* With the lock held: the place of `name`, -1 if there is none. */
static int find(const char *name)
{
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (pairs.listeners[i].used &&
		    strcmp(pairs.listeners[i].name, name) == 0)
			return i;
	return -1;
}

static int pair_resolve(const struct ms_uri *uri, struct ms_address *ret,
			size_t *ret_count)
{
	if (strlen(uri->host) >= NAME_BYTES)
		return ms_err(-EINVAL, "pair: the name is too long");
	memcpy(&ret[0].sa, uri->host, strlen(uri->host) + 1);
	*ret_count = 1;
	return 0;
}

static int pair_connect(const struct ms_address *address,
			struct ms_stream **ret)
{
	int ends[2];
	int bytes = SOCKET_BUFFER;
	int rc = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       ends))
		return ms_err(-errno, "pair: socketpair");
	for (int i = 0; i < 2; i++)
		(void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes,
				 sizeof(bytes));
	pthread_mutex_lock(&pairs.lock);
	int at = find((const char *)&address->sa);
	if (at < 0 || send(pairs.listeners[at].door, &ends[1], sizeof(ends[1]),
			   MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		rc = ms_err(-ECONNREFUSED, "pair: connect");
	pthread_mutex_unlock(&pairs.lock);
	if (rc)
		(void)close(ends[1]);
	else
		rc = ms_stream_new(ends[0], ret);
	if (rc)
		(void)close(ends[0]);
	return rc;
}

static int enlist(const char *name, int door)
{
	for (int i = 0; i < LISTENERS_MAX && find(name) < 0; i++) {
		if (pairs.listeners[i].used)
			continue;
		pairs.listeners[i].used = true;
		pairs.listeners[i].door = door;
		(void)snprintf(pairs.listeners[i].name, NAME_BYTES, "%s", name);
		return 0;
	}
	return ms_err(-EADDRINUSE, "pair: listen on \"%s\"", name);
}

static int pair_listen(const struct ms_uri *uri, struct ms_listener *ret)
{
	char name[NAME_BYTES];
	int ends[2];

	if (strlen(uri->host) >= NAME_BYTES)
		return ms_err(-EINVAL, "pair: the name is too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0, ends))
		return ms_err(-errno, "pair: socketpair");
	pthread_mutex_lock(&pairs.lock);
	if (*uri->host)
		memcpy(name, uri->host, strlen(uri->host) + 1);
	else
		(void)snprintf(name, sizeof(name), "%u", ++pairs.counter);
	int rc = enlist(name, ends[1]);
	pthread_mutex_unlock(&pairs.lock);
	if (rc) {
		(void)close(ends[0]);
		(void)close(ends[1]);
		return rc;
	}
	ret->fd = ends[0];
	(void)snprintf(ret->uri, sizeof(ret->uri), "pair://%s", name);
	return 0;
}

static int pair_accept(struct ms_listener *l, struct ms_stream **ret)
{
	int fd = -1;

	if (recv(l->fd, &fd, sizeof(fd), MSG_DONTWAIT) != sizeof(fd))
		return -EAGAIN;
	int rc = ms_stream_new(fd, ret);
	if (rc)
		(void)close(fd);
	return rc;
}

static void pair_unlisten(struct ms_listener *l)
{
	int fd = -1;

	pthread_mutex_lock(&pairs.lock);
	int at = find(l->uri + strlen("pair://"));
	if (at >= 0) {
		pairs.listeners[at].used = false;
		(void)close(pairs.listeners[at].door);
	}
	pthread_mutex_unlock(&pairs.lock);
	/* Clients that knocked and were not let in must not wait for ever. */
	while (recv(l->fd, &fd, sizeof(fd), MSG_DONTWAIT) == sizeof(fd))
		(void)close(fd);
	(void)close(l->fd);
}

const struct ms_transport ms_pair_transport = {
	.scheme = "pair",
	.resolve = pair_resolve,
	.connect = pair_connect,
	.listen = pair_listen,
	.accept = pair_accept,
	.unlisten = pair_unlisten,
};

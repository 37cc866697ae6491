/* SPDX-License-Identifier: Apache-2.0 */
/* Transport `unix`: a stream socket at a path. */
#include "approaches/common/util/err.h"
#include "approaches/common/wire/transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BACKLOG = 256,
	SOCKET_BUFFER = 1 << 20, /* the default of 208 KiB costs wake-ups */
};

static int address_of(const char *path, struct sockaddr_un *ret)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t n = strlen(path);

	if (n >= sizeof(sa.sun_path))
		return ms_err(-ENAMETOOLONG, "unix: %s", path);
	memcpy(sa.sun_path, path, n + 1);
	*ret = sa;
	return 0;
}

static int unix_resolve(const struct ms_uri *uri, struct ms_address *ret,
			size_t *ret_count)
{
	struct sockaddr_un sa;
	int rc = address_of(uri->host, &sa);

	if (rc)
		return rc;
	memcpy(&ret[0].sa, &sa, sizeof(sa));
	ret[0].length = sizeof(sa);
	*ret_count = 1;
	return 0;
}

static void enlarge(int fd)
{
	int bytes = SOCKET_BUFFER;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int unix_connect(const struct ms_address *address,
			struct ms_stream **ret)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return ms_err(-errno, "unix: socket");
	enlarge(fd);
	if (connect(fd, (const struct sockaddr *)&address->sa, address->length))
		rc = ms_err(-errno, "unix: connect");
	if (rc == 0)
		rc = ms_stream_new(fd, ret);
	if (rc)
		(void)close(fd);
	return rc;
}

/* A socket file that nobody listens on is a leftover of a dead server. */
static void remove_stale(const struct sockaddr_un *sa)
{
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (lstat(sa->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) &&
	    errno == ECONNREFUSED)
		(void)unlink(sa->sun_path);
	(void)close(fd);
}

static int unix_listen(const struct ms_uri *uri, struct ms_listener *ret)
{
	struct sockaddr_un sa;
	int rc = address_of(uri->host, &sa);

	if (rc)
		return rc;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ms_err(-errno, "unix: socket");
	remove_stale(&sa);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) ||
	    listen(fd, BACKLOG)) {
		rc = ms_err(-errno, "unix: listen on %s", uri->host);
		(void)close(fd);
		return rc;
	}
	ret->fd = fd;
	(void)snprintf(ret->uri, sizeof(ret->uri), "unix://%s", uri->host);
	return 0;
}

static int unix_accept(struct ms_listener *l, struct ms_stream **ret)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	enlarge(fd);
	int rc = ms_stream_new(fd, ret);
	if (rc)
		(void)close(fd);
	return rc;
}

static void unix_unlisten(struct ms_listener *l)
{
	(void)unlink(l->uri + strlen("unix://"));
	(void)close(l->fd);
}

const struct ms_transport ms_unix_transport = {
	.scheme = "unix",
	.resolve = unix_resolve,
	.connect = unix_connect,
	.listen = unix_listen,
	.accept = unix_accept,
	.unlisten = unix_unlisten,
};

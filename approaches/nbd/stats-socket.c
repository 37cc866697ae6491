/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of a mount on a socket; see stats-socket.h. */
#include "approaches/nbd/stats-socket.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A reader that does not read is left alone after this. */
#define SEND_SECONDS 2

struct stats_socket {
	struct memsync_nbd *mount;
	struct sockaddr_un address;
	int listener;
	int stop_fd;
	pthread_t thread;
};

static void answer(struct memsync_nbd *m, int fd)
{
	const struct timeval limit = {.tv_sec = SEND_SECONDS};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	nbd_mount_stats(m, f);
	if (fclose(f) == 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit,
				 sizeof(limit));
		for (size_t at = 0; at < len;) {
			ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			at += (size_t)n;
		}
	}
	free(text);
}

static void *serve(void *arg)
{
	struct stats_socket *s = arg;

	for (;;) {
		struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN},
				      {.fd = s->stop_fd, .events = POLLIN}};
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[1].revents)
			return NULL;
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		answer(s->mount, fd);
		(void)close(fd);
	}
}

/* What a killed process left is in nobody's hands. */
static void remove_stale(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) &&
	    errno == ECONNREFUSED)
		(void)unlink(a->sun_path);
	(void)close(fd);
}

static int start(struct stats_socket *s)
{
	int rc;

	remove_stale(&s->address);
	s->listener =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->listener < 0 || s->stop_fd < 0 ||
	    bind(s->listener, (struct sockaddr *)&s->address,
		 sizeof(s->address)))
		return -errno;
	rc = listen(s->listener, 8) ? -errno : 0;
	if (!rc)
		rc = -pthread_create(&s->thread, NULL, serve, s);
	if (rc)
		(void)unlink(s->address.sun_path);
	return rc;
}

static void release(struct stats_socket *s)
{
	if (s->listener >= 0)
		(void)close(s->listener);
	if (s->stop_fd >= 0)
		(void)close(s->stop_fd);
	free(s);
}

int stats_socket_open(const char *path, struct memsync_nbd *m,
		      struct stats_socket **ret)
{
	struct stats_socket *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return ms_err(-ENOMEM, "%s", path);
	*s = (struct stats_socket){.mount = m,
				   .address = {.sun_family = AF_UNIX},
				   .listener = -1,
				   .stop_fd = -1};
	if (strlen(path) >= sizeof(s->address.sun_path)) {
		free(s);
		return ms_err(-ENAMETOOLONG, "%s", path);
	}
	(void)snprintf(s->address.sun_path, sizeof(s->address.sun_path), "%s",
		       path);
	rc = start(s);
	if (rc) {
		release(s);
		return ms_err(rc, "%s", path);
	}
	*ret = s;
	return 0;
}

void stats_socket_close(struct stats_socket *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	if (write(s->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		(void)pthread_join(s->thread, NULL);
	(void)unlink(s->address.sun_path);
	release(s);
}

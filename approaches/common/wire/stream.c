/* SPDX-License-Identifier: Apache-2.0 */
/* Streams over sockets; see stream.h. */
#include "approaches/common/wire/stream.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t socket_recv(struct ms_stream *stream, const struct iovec *iov,
			   int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov,
			     .msg_iovlen = (size_t)count};
	ssize_t n = 0;

	do
		n = recvmsg(stream->fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t socket_send(struct ms_stream *stream, const struct iovec *iov,
			   int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov,
			     .msg_iovlen = (size_t)count};
	ssize_t n = 0;

	do
		n = sendmsg(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void socket_close(struct ms_stream *stream)
{
	(void)close(stream->fd);
	free(stream);
}

static const struct ms_stream_ops socket_ops = {
	.recv = socket_recv,
	.send = socket_send,
	.close = socket_close,
};

int ms_stream_new(int fd, struct ms_stream **ret)
{
	struct ms_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return ms_err(-ENOMEM, "stream");
	stream->ops = &socket_ops;
	stream->fd = fd;
	*ret = stream;
	return 0;
}

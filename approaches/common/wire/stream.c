/* SPDX-License-Identifier: Apache-2.0 */
/* Streams over sockets; see stream.h. */
#include "approaches/common/wire/stream.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/*
 * What is sent may be a mapping that others write to at the same time; what
 * then arrives is as undefined as for any read beside a write, and no memory
 * of ours is touched. The thread sanitizer cannot know either that an answer
 * which has arrived is not being read any more, so it does not watch the call.
 */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER
#endif
#ifdef THREAD_SANITIZER
static ssize_t send_call(int fd, const struct msghdr *msg, int flags)
{
	return syscall(SYS_sendmsg, fd, msg, flags);
}
#else
#define send_call sendmsg
#endif

static ssize_t socket_send(struct ms_stream *stream, const struct iovec *iov,
			   int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov,
			     .msg_iovlen = (size_t)count};
	ssize_t n = 0;

	do
		n = send_call(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
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

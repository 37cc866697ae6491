/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of bytes to a peer, non-blocking. Sockets of every kind share one
 * implementation; one that encrypts brings its own.
 */
#ifndef MS_COMMON_WIRE_STREAM_H
#define MS_COMMON_WIRE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ms_stream;

struct ms_stream_ops {
	/*
	 * Bytes moved, at least 1; 0 at the end of the stream (recv only);
	 * -EAGAIN: poll `fd`; other negative errno: the stream is broken.
	 * After -EAGAIN of send the next send begins with the same bytes. One
	 * thread may be in recv while another one is in send.
	 */
	ssize_t (*recv)(struct ms_stream *stream, const struct iovec *iov,
			int count);
	ssize_t (*send)(struct ms_stream *stream, const struct iovec *iov,
			int count);
	/*
	 * True if recv has bytes that were taken from the descriptor already,
	 * so that polling it would not show them. NULL: never.
	 */
	bool (*pending)(struct ms_stream *stream);
	/* Frees the stream. What was sent still reaches the peer. */
	void (*close)(struct ms_stream *stream);
};

struct ms_stream {
	const struct ms_stream_ops *ops;
	int fd; /* to poll for both directions */
};

/* A stream over the socket `fd`, which it owns from now on. 0, -ENOMEM. */
int ms_stream_new(int fd, struct ms_stream **ret)
	__attribute__((nonnull, warn_unused_result));

static inline ssize_t ms_stream_recv(struct ms_stream *stream,
				     const struct iovec *iov, int count)
{
	return stream->ops->recv(stream, iov, count);
}

static inline ssize_t ms_stream_send(struct ms_stream *stream,
				     const struct iovec *iov, int count)
{
	return stream->ops->send(stream, iov, count);
}

static inline bool ms_stream_pending(struct ms_stream *stream)
{
	return stream->ops->pending && stream->ops->pending(stream);
}

/* NULL is legal. */
static inline void ms_stream_close(struct ms_stream *stream)
{
	if (stream)
		stream->ops->close(stream);
}

/*
 * Append what is left of `n` bytes at `base` to a vector for sendv, after
 * `skip` bytes of the whole that were sent before; `skip` counts down.
 */
static inline void ms_iov_add(struct iovec *iov, int *count, const void *base,
			      size_t n, size_t *skip)
{
	if (*skip >= n) {
		*skip -= n;
		return;
	}
	iov[*count].iov_base = (char *)base + *skip;
	iov[*count].iov_len = n - *skip;
	*skip = 0;
	++*count;
}

#endif

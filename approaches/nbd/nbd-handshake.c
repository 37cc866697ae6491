/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes before the first request: greeting, the client's flags, its
 * options one by one. The connection's thread does it straight on, waiting for
 * the peer where it must, and for no longer than the deadline in all.
 */
#include "approaches/common/util/clock.h"
#include "approaches/nbd/nbd-server-int.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
	/* An option that brings more is not read to its end. */
	SKIP_MAX = 1 << 20,
	/* How long data that an option has not announced may take; see
	 * take_short_go. */
	UNANNOUNCED_MS = 1000,
};

/* --- bytes, with the deadline --------------------------------------------- */

/* Wait for `events`; false: the deadline, or the server ends. */
static bool wait_for(struct nbd_conn *conn, short events, uint64_t until_ns)
{
	struct pollfd fds[2] = {{.fd = conn->stream->fd, .events = events},
				{.fd = conn->wake_fd, .events = POLLIN}};
	uint64_t now = ms_now_ns();

	if (until_ns > conn->deadline_ns)
		until_ns = conn->deadline_ns;
	if (now >= until_ns ||
	    __atomic_load_n(&conn->server->stopping, __ATOMIC_ACQUIRE))
		return false;
	uint64_t ms = (until_ns - now) / MS_NS_PER_MS + 1;
	if (poll(fds, 2, ms > 60000 ? 60000 : (int)ms) < 0 && errno != EINTR)
		return false;
	/* Nobody wakes us but the end of the server. */
	return !fds[1].revents;
}

bool nbd_need_until(struct nbd_conn *conn, size_t n, uint64_t until_ns)
{
	if (conn->at && conn->end - conn->at < n) {
		memmove(conn->recv_buf, conn->recv_buf + conn->at,
			conn->end - conn->at);
		conn->end -= conn->at;
		conn->at = 0;
	}
	while (conn->end - conn->at < n) {
		struct iovec iov = {.iov_base = conn->recv_buf + conn->end,
				    .iov_len = NBD_RECV_BYTES - conn->end};
		ssize_t got = ms_stream_recv(conn->stream, &iov, 1);
		if (got == -EAGAIN && wait_for(conn, POLLIN, until_ns))
			continue;
		if (got <= 0)
			return false;
		conn->end += (size_t)got;
		__atomic_add_fetch(&conn->received_bytes, (uint64_t)got,
				   __ATOMIC_RELAXED);
	}
	return true;
}

bool nbd_need(struct nbd_conn *conn, size_t n)
{
	return nbd_need_until(conn, n, UINT64_MAX);
}

bool nbd_give(struct nbd_conn *conn, const void *data, size_t n)
{
	const char *at = data;

	while (n) {
		struct iovec iov = {.iov_base = (void *)at, .iov_len = n};
		ssize_t sent = ms_stream_send(conn->stream, &iov, 1);
		if (sent == -EAGAIN && wait_for(conn, POLLOUT, UINT64_MAX))
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
		pthread_mutex_lock(&conn->lock);
		conn->sent_bytes += (uint64_t)sent;
		pthread_mutex_unlock(&conn->lock);
	}
	return true;
}

/* Read and forget. */
static bool skip(struct nbd_conn *conn, uint32_t n)
{
	while (n) {
		uint32_t part = n < NBD_RECV_BYTES ? n : NBD_RECV_BYTES;
		if (!nbd_need(conn, part))
			return false;
		conn->at += part;
		n -= part;
	}
	return true;
}

/* --- options -------------------------------------------------------------- */

/*
 * A client in use (go-nbd) announces no data for GO and sends them all the
 * same: the name's length, the name, the number of kinds of information and
 * the kinds. Where a strict client's next option would be there is its magic,
 * which is no length of a name; or nothing, as it waits for the answer.
 */
static enum nbd_step take_short_go(struct nbd_conn *conn,
				   const struct nbd_option *option)
{
	uint64_t until = ms_now_ns() + UNANNOUNCED_MS * MS_NS_PER_MS;
	struct nbd_option whole = *option;
	uint32_t name = 0;

	if (!nbd_need_until(conn, 4, until) ||
	    (name = nbd_get_u32(conn->recv_buf + conn->at)) > NBD_STRING_MAX)
		return nbd_refuse_option(conn, option->type,
					 NBD_REP_ERR_INVALID,
					 "the option's data are too short");
	if (!nbd_need_until(conn, 4 + name + 2, until))
		return NBD_STEP_END;
	uint32_t kinds = nbd_get_u16(conn->recv_buf + conn->at + 4 + name);
	whole.length = 4 + name + 2 + 2 * kinds;
	if (whole.length > NBD_OPTION_MAX ||
	    !nbd_need_until(conn, whole.length, until))
		return NBD_STEP_END;
	const uint8_t *data = conn->recv_buf + conn->at;
	conn->at += whole.length;
	return nbd_answer_option(conn, &whole, data);
}

static enum nbd_step take_option(struct nbd_conn *conn)
{
	struct nbd_option option;

	if (!nbd_need(conn, NBD_OPTION_BYTES) ||
	    nbd_get_option(conn->recv_buf + conn->at, &option))
		return NBD_STEP_END;
	conn->at += NBD_OPTION_BYTES;
	if (option.type == NBD_OPT_GO && option.length == 0)
		return take_short_go(conn, &option);
	if (option.length > SKIP_MAX)
		return NBD_STEP_END;
	if (option.length > NBD_OPTION_MAX)
		return skip(conn, option.length)
			       ? nbd_refuse_option(conn, option.type,
						   NBD_REP_ERR_TOO_BIG,
						   "the option is too long")
			       : NBD_STEP_END;
	if (!nbd_need(conn, option.length))
		return NBD_STEP_END;
	const uint8_t *data = conn->recv_buf + conn->at;
	conn->at += option.length;
	return nbd_answer_option(conn, &option, data);
}

bool nbd_handshake(struct nbd_conn *conn)
{
	enum nbd_step step = NBD_STEP_NEXT;
	uint8_t greeting[NBD_GREETING_BYTES];

	conn->deadline_ns = ms_now_ns() + conn->server->limits.handshake_ns;
	nbd_put_greeting(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES, greeting);
	if (!nbd_give(conn, greeting, sizeof(greeting)) ||
	    !nbd_need(conn, NBD_CLIENT_FLAGS_BYTES) ||
	    nbd_get_client_flags(conn->recv_buf + conn->at,
				 &conn->client_flags))
		return false;
	conn->at += NBD_CLIENT_FLAGS_BYTES;
	while (step == NBD_STEP_NEXT)
		step = take_option(conn);
	return step == NBD_STEP_TRANSMIT;
}

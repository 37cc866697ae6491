/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the NBD server: its thread agrees with the peer, reads
 * requests, and sends when the one who completed a request could not.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/nbd/nbd-server-int.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void nbd_conn_wake(struct nbd_conn *conn)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then it is awake. */
	(void)!write(conn->wake_fd, &one, sizeof(one));
}

/* Nothing more will be read; what was asked for is still answered. */
static void set_ended(struct nbd_conn *conn)
{
	pthread_mutex_lock(&conn->lock);
	conn->ended = true;
	pthread_mutex_unlock(&conn->lock);
}

/* --- requests ------------------------------------------------------------- */

/* May one more request be taken in? Notes it if not. */
static bool has_room(struct nbd_conn *conn, uint64_t bytes)
{
	const struct nbd_server_config *limits = &conn->server->limits;

	pthread_mutex_lock(&conn->lock);
	bool room = conn->held == 0 ||
		    (!limits->serial && conn->held < limits->requests_max &&
		     conn->held_bytes + bytes <= limits->outstanding_bytes);
	conn->starved = !room;
	pthread_mutex_unlock(&conn->lock);
	return room;
}

/* Take what of the payload has come with the header. */
static void take_payload(struct nbd_conn *conn)
{
	struct nbd_req *req = conn->filling;
	size_t left = req->request.length - conn->filled;
	size_t n = conn->end - conn->at;

	if (n > left)
		n = left;
	/* The payload of a refused WRITE goes nowhere. */
	if (req->buf)
		memcpy(req->buf->data + conn->filled, conn->recv_buf + conn->at,
		       n);
	conn->at += n;
	conn->filled += n;
}

static void finish_payload(struct nbd_conn *conn)
{
	struct nbd_req *req = conn->filling;

	if (!req)
		return;
	if (conn->at < conn->end)
		take_payload(conn);
	if (conn->filled < req->request.length)
		return;
	conn->filling = NULL;
	nbd_op_start(req);
}

/* One request from the buffer. 1: done, 0: not now, -1: close. */
static int parse_request(struct nbd_conn *conn)
{
	struct nbd_request r;

	if (conn->filling || conn->ended ||
	    conn->end - conn->at < NBD_REQUEST_BYTES)
		return 0;
	if (nbd_get_request(conn->recv_buf + conn->at, &r))
		return -1;
	int refused = nbd_check_request(&r, &conn->limits);
	if (!has_room(conn, nbd_op_cost(conn, &r, refused)))
		return 0;
	conn->at += NBD_REQUEST_BYTES;
	if (r.type == NBD_CMD_DISC) {
		set_ended(conn);
		return 0;
	}
	struct nbd_req *req = nbd_op_new(conn, &r, refused);
	if (!req)
		return -1;
	if (nbd_request_payload(&r) == 0) {
		nbd_op_start(req);
		return 1;
	}
	conn->filling = req;
	conn->filled = 0;
	finish_payload(conn);
	return 1;
}

/* Everything in the buffer that can be handled now. False: close. */
static bool parse(struct nbd_conn *conn)
{
	int rc = 1;

	/* Answers that come at once leave together. */
	pthread_mutex_lock(&conn->lock);
	conn->corked = true;
	pthread_mutex_unlock(&conn->lock);
	finish_payload(conn);
	while (rc == 1)
		rc = parse_request(conn);
	if (conn->at == conn->end)
		conn->at = conn->end = 0;
	pthread_mutex_lock(&conn->lock);
	conn->corked = false;
	nbd_flush(conn);
	pthread_mutex_unlock(&conn->lock);
	return rc == 0;
}

/* Where the next bytes go: a payload where it belongs, the rest into the
 * buffer. Returns how many of them are payload. */
static size_t plan_receive(struct nbd_conn *conn, struct iovec iov[2],
			   int *ret_count)
{
	size_t want = 0;
	int count = 0;

	if (conn->filling && conn->filling->buf) {
		want = conn->filling->request.length - conn->filled;
		iov[count].iov_base = conn->filling->buf->data + conn->filled;
		iov[count++].iov_len = want;
	} else if (conn->at) {
		memmove(conn->recv_buf, conn->recv_buf + conn->at,
			conn->end - conn->at);
		conn->end -= conn->at;
		conn->at = 0;
	}
	iov[count].iov_base = conn->recv_buf + conn->end;
	/* Behind a payload only the next header, lest payload be copied. */
	iov[count++].iov_len = want >= NBD_RECV_BYTES
				       ? NBD_REQUEST_BYTES
				       : NBD_RECV_BYTES - conn->end;
	*ret_count = count;
	return want;
}

/* Read once. False: close. */
static bool receive(struct nbd_conn *conn)
{
	struct iovec iov[2];
	int count = 0;
	size_t want = plan_receive(conn, iov, &count);
	size_t room = iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
	ssize_t n = ms_stream_recv(conn->stream, iov, count);

	conn->more = false;
	if (n == -EAGAIN)
		return true;
	if (n < 0)
		return false;
	if (n == 0) {
		set_ended(conn);
		/* Half a request has no answer. */
		return !conn->filling && conn->at == conn->end;
	}
	conn->more = (size_t)n == room || ms_stream_pending(conn->stream);
	conn->progress_ns = ms_now_ns();
	__atomic_add_fetch(&conn->received_bytes, (uint64_t)n,
			   __ATOMIC_RELAXED);
	size_t direct = (size_t)n < want ? (size_t)n : want;
	conn->filled += direct;
	conn->end += (size_t)n - direct;
	return true;
}

/* --- the thread ----------------------------------------------------------- */

/* What to poll for; false when the connection is over. */
static bool plan(struct nbd_conn *conn, struct pollfd *fd, bool *starved)
{
	pthread_mutex_lock(&conn->lock);
	bool go = !conn->broken && !(conn->ended && nbd_idle(conn));
	fd->events = 0;
	if (conn->blocked)
		fd->events |= POLLOUT;
	if (!conn->ended && !conn->starved)
		fd->events |= POLLIN;
	*starved = conn->starved;
	pthread_mutex_unlock(&conn->lock);
	return go;
}

/* True if the peer has left something half done for too long. */
static bool stalled(struct nbd_conn *conn)
{
	const struct nbd_server_config *limits = &conn->server->limits;
	uint64_t now = ms_now_ns();
	bool half = conn->filling || conn->end > conn->at;

	pthread_mutex_lock(&conn->lock);
	bool unread = conn->blocked && now - conn->sent_ns > limits->stall_ns;
	if (conn->starved)
		/* It is us who do not read. */
		conn->progress_ns = now;
	pthread_mutex_unlock(&conn->lock);
	return unread || (half && now - conn->progress_ns > limits->stall_ns);
}

static bool handle(struct nbd_conn *conn, const struct pollfd *fds)
{
	uint64_t count = 0;

	if (fds[1].revents)
		(void)!read(conn->wake_fd, &count, sizeof(count));
	if (fds[0].revents & (POLLERR | POLLNVAL))
		return false;
	/* Both directions gone: nobody is left to read the answers. */
	if (fds[0].revents & POLLHUP && !(fds[0].revents & POLLIN))
		return false;
	if (fds[0].revents & POLLOUT) {
		pthread_mutex_lock(&conn->lock);
		conn->blocked = false;
		nbd_flush(conn);
		pthread_mutex_unlock(&conn->lock);
	}
	if (fds[0].revents & POLLIN && !receive(conn))
		return false;
	return parse(conn);
}

static void serve(struct nbd_conn *conn)
{
	struct pollfd fds[2] = {{.fd = conn->stream->fd},
				{.fd = conn->wake_fd, .events = POLLIN}};
	bool starved = false;

	while (plan(conn, &fds[0], &starved)) {
		bool busy = starved || conn->filling || conn->end > conn->at ||
			    (fds[0].events & POLLOUT);
		bool more = conn->more && fds[0].events == POLLIN;
		fds[0].revents = more ? POLLIN : 0;
		fds[1].revents = 0;
		if (!more && poll(fds, 2, busy ? 1000 : -1) < 0 &&
		    errno != EINTR)
			return;
		if (__atomic_load_n(&conn->server->stopping, __ATOMIC_ACQUIRE))
			return;
		if (!handle(conn, fds) || stalled(conn))
			return;
	}
}

/* What the backend still holds of ours must come back first. */
static void drain(struct nbd_conn *conn)
{
	struct pollfd wake = {.fd = conn->wake_fd, .events = POLLIN};
	uint64_t count = 0;

	pthread_mutex_lock(&conn->lock);
	conn->broken = true;
	while (conn->in_flight || conn->sending) {
		pthread_mutex_unlock(&conn->lock);
		(void)poll(&wake, 1, 1000);
		(void)!read(conn->wake_fd, &count, sizeof(count));
		pthread_mutex_lock(&conn->lock);
	}
	if (conn->filling)
		nbd_req_put(conn, conn->filling);
	nbd_drop_replies(conn);
	pthread_mutex_unlock(&conn->lock);
}

void *nbd_conn_main(void *arg)
{
	struct nbd_conn *conn = arg;
	bool agreed = conn->export || nbd_handshake(conn);

	conn->progress_ns = ms_now_ns();
	if (agreed) {
		/* Requests may have come with the handshake's last option. */
		conn->more = true;
		serve(conn);
	}
	drain(conn);
	nbd_conn_free(conn);
	return NULL;
}

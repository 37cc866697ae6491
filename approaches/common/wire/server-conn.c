/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the server: its thread reads the handshake and then
 * requests, and sends when the one who completed a request could not.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/wire/server-int.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	TICK_MS = 1000,
	LOOK_AGAIN_MS = 250,
};

void server_conn_wake(struct server_conn *conn)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then it is awake. */
	(void)!write(conn->wake_fd, &one, sizeof(one));
}

/* Nothing more will be read; what was asked for is still answered. */
static void set_ended(struct server_conn *conn)
{
	pthread_mutex_lock(&conn->lock);
	conn->ended = true;
	pthread_mutex_unlock(&conn->lock);
}

/* --- handshake ------------------------------------------------------------ */

static uint32_t request_max(const struct server_conn *conn,
			    const struct ms_hello *hello)
{
	uint32_t most = conn->server->limits.request_max_bytes;

	if (hello->request_max >= MS_PROTO_REQUEST_MIN &&
	    hello->request_max < most)
		most = hello->request_max;
	return most < conn->export->backend->block
		       ? conn->export->backend->block
		       : most;
}

/* What clients can use; what only a door adds is cheaper on this side. */
static unsigned export_caps(const struct server_export *export)
{
	unsigned caps = export->backend->caps;

	if (export->read_only)
		caps &= ~(unsigned)(MS_CAN_WRITE | MS_CAN_RESIZE);
	if (!(caps & MS_CAN_WRITE))
		return caps & (MS_CAN_EXTENTS | MS_CAN_HASH);
	caps |= MS_CAN_FUA | MS_CAN_ZERO;
	return caps & (MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO | MS_CAN_TRIM |
		       MS_CAN_EXTENTS | MS_CAN_HASH | MS_CAN_RESIZE);
}

static int refuse(struct ms_welcome *welcome, int status, const char *text)
{
	welcome->status = status;
	(void)snprintf(welcome->text, sizeof(welcome->text), "%s", text);
	return status;
}

static const char *why_not(int rc)
{
	if (rc == -EACCES)
		return "the session is of another export";
	if (rc == -EBUSY)
		return "a newer connection has taken the place of this one";
	return rc == -ESHUTDOWN ? "the server ends" : "no memory";
}

/* Fill in the answer to `hello`. 0, or the status it refuses with. */
static int welcome_for(struct server_conn *conn, const struct ms_hello *hello,
		       struct ms_welcome *w)
{
	struct ms_server *server = conn->server;

	conn->export = server_find_export(server, hello->name);
	if (!conn->export)
		return refuse(w, -ENOENT, "there is no such export");
	int rc = server_join(conn, hello);
	if (rc)
		return refuse(w, rc, why_not(rc));
	conn->request_max = request_max(conn, hello);
	w->features = hello->features & MS_PROTO_FEATURES;
	conn->alive = w->features & MS_PROTO_FEATURE_ALIVE;
	memcpy(w->token, hello->token, sizeof(w->token));
	memcpy(w->instance, server->instance, sizeof(w->instance));
	w->size = ms_size(conn->export->backend);
	w->block = conn->export->backend->block;
	w->chunk = conn->export->chunk_bytes;
	w->request_max = conn->request_max;
	w->caps = export_caps(conn->export);
	w->extents_max = MS_PROTO_EXTENTS_MAX;
	w->requests_max = server->limits.requests_max;
	if (conn->transport && conn->transport->tune)
		conn->transport->tune(conn->stream, hello->lane,
				      server->limits.dead_ns);
	return 0;
}

/* The hello is in the buffer: answer it. Returns false to close. */
static bool greet(struct server_conn *conn, size_t length)
{
	struct ms_hello hello;
	struct ms_welcome welcome = {.version = MS_PROTO_VERSION};
	int rc = ms_proto_get_hello(conn->recv_buf, length, &hello);

	if (rc)
		(void)refuse(&welcome, rc, "the hello is not understood");
	else
		rc = welcome_for(conn, &hello, &welcome);
	conn->at = length;
	pthread_mutex_lock(&conn->lock);
	server_reply_welcome(conn, &welcome);
	pthread_mutex_unlock(&conn->lock);
	conn->greeted = true;
	if (rc)
		set_ended(conn);
	return true;
}

/* Returns false to close, else true (maybe with nothing done yet). */
static bool parse_hello(struct server_conn *conn)
{
	size_t length = 0;

	if (conn->end < MS_PROTO_HELLO_PREFIX)
		return true;
	if (ms_proto_hello_length(conn->recv_buf, MS_PROTO_HELLO_BYTES,
				  &length))
		return false;
	return conn->end < length ? true : greet(conn, length);
}

/* --- requests ------------------------------------------------------------- */

/* May one more request be taken in? Notes it if not. */
static bool has_room(struct server_conn *conn, uint64_t bytes)
{
	const struct ms_server_config *limits = &conn->server->limits;

	pthread_mutex_lock(&conn->lock);
	bool room = conn->held == 0 ||
		    (conn->held < limits->requests_max &&
		     conn->held_bytes + bytes <= limits->outstanding_bytes);
	conn->starved = !room;
	pthread_mutex_unlock(&conn->lock);
	return room;
}

static void take_payload(struct server_conn *conn)
{
	struct server_req *req = conn->filling;
	size_t left = req->request.length - conn->filled;
	size_t n = conn->end - conn->at;

	if (n > left)
		n = left;
	memcpy(req->buf->data + conn->filled, conn->recv_buf + conn->at, n);
	conn->at += n;
	conn->filled += n;
}

static void finish_payload(struct server_conn *conn)
{
	struct server_req *req = conn->filling;

	if (!req || conn->filled < req->request.length)
		return;
	conn->filling = NULL;
	server_op_start(req);
}

/* One request from the buffer. 1: done, 0: not now, -1: close. */
static int parse_request(struct server_conn *conn)
{
	struct ms_request r;

	if (conn->filling || conn->ended ||
	    conn->end - conn->at < MS_PROTO_FRAME_BYTES)
		return 0;
	if (ms_proto_get_request(conn->recv_buf + conn->at, conn->request_max,
				 &r))
		return -1;
	if (!has_room(conn, ms_proto_request_payload(&r) +
				    (r.op == MS_PROTO_READ ? r.length : 0)))
		return 0;
	conn->at += MS_PROTO_FRAME_BYTES;
	if (r.op == MS_PROTO_BYE) {
		set_ended(conn);
		return 0;
	}
	struct server_req *req = server_op_new(conn, &r);
	if (!req)
		return -1;
	if (ms_proto_request_payload(&r) == 0) {
		server_op_start(req);
		return 1;
	}
	conn->filling = req;
	conn->filled = 0;
	take_payload(conn);
	finish_payload(conn);
	return 1;
}

/* Everything in the buffer that can be handled now. False: close. */
static bool parse(struct server_conn *conn)
{
	int rc = 1;

	if (!conn->greeted && !parse_hello(conn))
		return false;
	if (!conn->greeted)
		return true;
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
	server_flush(conn);
	pthread_mutex_unlock(&conn->lock);
	return rc == 0;
}

/* Whatever comes over one connection shows that the client lives. */
static void note_heard(struct server_conn *conn)
{
	if (conn->alive)
		__atomic_store_n(&conn->session->heard_ns, ms_now_ns(),
				 __ATOMIC_RELAXED);
}

/* Read once: a payload where it belongs, the rest into the buffer. */
static bool receive(struct server_conn *conn)
{
	struct iovec iov[2];
	int count = 0;
	size_t want = 0;

	if (conn->filling) {
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
	iov[count++].iov_len = conn->filling && want >= SERVER_RECV_BYTES
				       ? MS_PROTO_FRAME_BYTES
				       : SERVER_RECV_BYTES - conn->end;
	ssize_t n = ms_stream_recv(conn->stream, iov, count);
	if (n == -EAGAIN)
		return true;
	if (n < 0)
		return false;
	if (n == 0) {
		set_ended(conn);
		/* Half a frame has no answer. */
		return !conn->filling && conn->at == conn->end;
	}
	conn->progress_ns = ms_now_ns();
	note_heard(conn);
	__atomic_add_fetch(&conn->received_bytes, (uint64_t)n,
			   __ATOMIC_RELAXED);
	size_t direct = (size_t)n < want ? (size_t)n : want;
	conn->filled += direct;
	conn->end += (size_t)n - direct;
	return true;
}

/* --- the thread ----------------------------------------------------------- */

/* What to poll for; false when the connection is over. */
static bool plan(struct server_conn *conn, struct pollfd *fd, bool *starved)
{
	pthread_mutex_lock(&conn->lock);
	bool go = !conn->broken && !(conn->ended && server_idle(conn));
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
static bool stalled(struct server_conn *conn)
{
	const struct ms_server_config *limits = &conn->server->limits;
	uint64_t now = ms_now_ns();
	uint64_t since = conn->progress_ns;
	bool half = !conn->greeted || conn->filling || conn->end > conn->at;

	pthread_mutex_lock(&conn->lock);
	bool unread = conn->blocked && now - conn->sent_ns > limits->stall_ns;
	half = half && !conn->starved;
	pthread_mutex_unlock(&conn->lock);
	if (unread)
		return true;
	return half && now - since > (conn->greeted ? limits->stall_ns
						    : limits->handshake_ns);
}

/* How long the client has not been heard. */
static uint64_t silence(const struct server_conn *conn)
{
	uint64_t now = ms_now_ns();
	uint64_t heard =
		__atomic_load_n(&conn->session->heard_ns, __ATOMIC_RELAXED);

	return now > heard ? now - heard : 0;
}

/*
 * True if a client with ALIVE is dead: silent for too long, and still so a
 * moment later, when what came while this process was stopped has been read.
 */
static bool silent(struct server_conn *conn)
{
	if (!conn->alive || silence(conn) <= conn->server->limits.dead_ns) {
		conn->suspect_ns = 0;
		return false;
	}
	if (!conn->suspect_ns)
		conn->suspect_ns = ms_now_ns();
	return ms_now_ns() - conn->suspect_ns > LOOK_AGAIN_MS * MS_NS_PER_MS;
}

/* How long the thread may sleep, in milliseconds; -1: for ever. */
static int sleep_ms(const struct server_conn *conn, bool busy)
{
	uint64_t dead_ns = conn->server->limits.dead_ns;

	if (busy)
		return TICK_MS;
	if (!conn->alive)
		return -1;
	uint64_t quiet = silence(conn);
	if (quiet > dead_ns)
		return LOOK_AGAIN_MS + 1;
	return (int)((dead_ns - quiet) / MS_NS_PER_MS) + 1;
}

/*
 * What the client sends is not read for now, its pings neither: it need not
 * show that it lives, but we have to.
 */
static void keep_alive(struct server_conn *conn)
{
	note_heard(conn);
	pthread_mutex_lock(&conn->lock);
	if (conn->alive)
		server_reply_alive(conn);
	pthread_mutex_unlock(&conn->lock);
}

static bool handle(struct server_conn *conn, const struct pollfd *fds)
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
		server_flush(conn);
		pthread_mutex_unlock(&conn->lock);
	}
	if (fds[0].revents & POLLIN && !receive(conn))
		return false;
	return parse(conn);
}

static void serve(struct server_conn *conn)
{
	struct pollfd fds[2] = {{.fd = conn->stream->fd},
				{.fd = conn->wake_fd, .events = POLLIN}};
	bool starved = false;

	while (plan(conn, &fds[0], &starved)) {
		bool busy = starved || conn->filling || !conn->greeted ||
			    conn->end > conn->at || (fds[0].events & POLLOUT);
		fds[0].revents = 0;
		fds[1].revents = 0;
		int rc = poll(fds, 2, sleep_ms(conn, busy));
		if (rc < 0 && errno != EINTR)
			return;
		if (__atomic_load_n(&conn->server->stopping,
				    __ATOMIC_ACQUIRE) ||
		    __atomic_load_n(&conn->replaced, __ATOMIC_ACQUIRE))
			return;
		if (rc == 0 && starved)
			keep_alive(conn);
		if (!handle(conn, fds) || stalled(conn) || silent(conn))
			return;
	}
}

void *server_conn_main(void *arg)
{
	struct server_conn *conn = arg;
	struct pollfd wake = {.fd = conn->wake_fd, .events = POLLIN};
	uint64_t count = 0;

	conn->progress_ns = ms_now_ns();
	serve(conn);
	/* What the backend still holds of ours must come back first. */
	pthread_mutex_lock(&conn->lock);
	conn->broken = true;
	while (conn->in_flight || conn->sending) {
		pthread_mutex_unlock(&conn->lock);
		(void)poll(&wake, 1, 1000);
		(void)!read(conn->wake_fd, &count, sizeof(count));
		pthread_mutex_lock(&conn->lock);
	}
	if (conn->filling)
		server_req_put(conn, conn->filling);
	server_drop_replies(conn);
	pthread_mutex_unlock(&conn->lock);
	server_conn_free(conn);
	return NULL;
}

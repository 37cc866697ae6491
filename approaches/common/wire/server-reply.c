/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's answers: two queues a connection, urgent before bulk, sent by
 * whoever completes a request; the connection's thread takes over when the
 * socket is full.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/server-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	BATCH_IOVS = 64,
	/* What is in `out` cannot be overtaken any more. */
	BATCH_BYTES = 256 << 10,
	BUF_GRAIN = 64 << 10,
};

/* --- queues --------------------------------------------------------------- */

static void queue_push(struct server_queue *q, struct server_req *req)
{
	if (!q->first)
		q->last = &q->first;
	req->next = NULL;
	*q->last = req;
	q->last = &req->next;
	q->count++;
}

static struct server_req *queue_pop(struct server_queue *q)
{
	struct server_req *req = q->first;

	if (req) {
		q->first = req->next;
		q->count--;
	}
	return req;
}

/* --- memory --------------------------------------------------------------- */

struct server_req *server_req_get(struct server_conn *conn)
{
	struct server_req *req = conn->spare;

	if (req)
		conn->spare = req->next;
	else
		req = malloc(sizeof(*req));
	if (!req)
		return NULL;
	*req = (struct server_req){.conn = conn};
	conn->held++;
	return req;
}

struct server_buf *server_buf_get(struct server_conn *conn, size_t size)
{
	struct server_buf *buf = NULL;

	for (struct server_buf **p = &conn->pool; *p; p = &(*p)->next) {
		if ((*p)->size < size)
			continue;
		buf = *p;
		*p = buf->next;
		conn->pool_count--;
		return buf;
	}
	size = (size + BUF_GRAIN - 1) & ~(size_t)(BUF_GRAIN - 1);
	buf = malloc(sizeof(*buf) + size);
	if (buf)
		buf->size = size;
	return buf;
}

static void buf_put(struct server_conn *conn, struct server_buf *buf)
{
	if (!buf)
		return;
	if (conn->pool_count == SERVER_POOL_MAX) {
		free(buf);
		return;
	}
	buf->next = conn->pool;
	conn->pool = buf;
	conn->pool_count++;
}

void server_req_put(struct server_conn *conn, struct server_req *req)
{
	buf_put(conn, req->buf);
	conn->held--;
	conn->held_bytes -= req->cost;
	req->next = conn->spare;
	conn->spare = req;
}

/* --- making answers ------------------------------------------------------- */

void server_reply(struct server_req *req, const struct ms_reply *reply,
		  const void *payload)
{
	struct server_conn *conn = req->conn;

	ms_proto_put_reply(reply, req->head);
	req->head_length = sizeof(req->head);
	req->payload = payload;
	req->payload_length = (size_t)ms_proto_reply_payload(reply);
	if (conn->broken)
		server_req_put(conn, req);
	else
		queue_push(req->urgent ? &conn->urgent : &conn->bulk, req);
}

void server_reply_welcome(struct server_conn *conn,
			  const struct ms_welcome *welcome)
{
	struct server_req *req = server_req_get(conn);
	struct server_buf *buf = server_buf_get(conn, MS_PROTO_HELLO_MAX);

	if (!req || !buf) {
		conn->broken = true;
		free(buf);
		if (req)
			server_req_put(conn, req);
		return;
	}
	req->buf = buf;
	req->payload = buf->data;
	req->payload_length =
		ms_proto_put_welcome(welcome, (uint8_t *)buf->data);
	/* Whatever the client sends early is answered after the welcome. */
	queue_push(&conn->out, req);
}

/*
 * A client that does not read its notices must not cost memory: the last one
 * that waits grows to cover what comes after it.
 */
static bool merge_change(struct server_conn *conn, unsigned flags,
			 uint64_t offset, uint64_t length)
{
	struct server_req *last = NULL;

	if (conn->changes < SERVER_CHANGES_MAX)
		return false;
	for (struct server_req *r = conn->urgent.first; r; r = r->next)
		if (r->request.op == MS_PROTO_CHANGED &&
		    r->request.flags == flags)
			last = r;
	if (!last)
		return false;
	uint64_t begin = last->request.offset;
	uint64_t end = begin + last->request.length;
	if (flags || offset < begin)
		begin = offset;
	if (offset + length > end)
		end = offset + length;
	last->request.offset = begin;
	last->request.length = flags ? 0 : end - begin;
	struct ms_reply notice = {.op = MS_PROTO_CHANGED,
				  .flags = flags,
				  .offset = begin,
				  .length = last->request.length};
	ms_proto_put_reply(&notice, last->head);
	return true;
}

void server_reply_changed(struct server_conn *conn, unsigned flags,
			  uint64_t offset, uint64_t length)
{
	struct ms_reply notice = {.op = MS_PROTO_CHANGED,
				  .flags = flags,
				  .offset = offset,
				  .length = length};

	if (conn->broken || merge_change(conn, flags, offset, length))
		return;
	struct server_req *req = server_req_get(conn);
	if (!req) {
		/* A client that misses a notice would trust old bytes. */
		conn->broken = true;
		return;
	}
	req->urgent = true;
	req->request = (struct ms_request){.op = MS_PROTO_CHANGED,
					   .flags = flags,
					   .offset = offset,
					   .length = length};
	conn->changes++;
	server_reply(req, &notice, NULL);
}

void server_reply_alive(struct server_conn *conn)
{
	struct ms_reply alive = {.op = MS_PROTO_PING};

	/* Any answer on its way says the same. */
	if (conn->broken || conn->blocked || conn->urgent.first)
		return;
	struct server_req *req = server_req_get(conn);
	if (!req)
		return;
	req->urgent = true;
	req->request.op = MS_PROTO_PING;
	server_reply(req, &alive, NULL);
	server_flush(conn);
}

/* --- sending -------------------------------------------------------------- */

static size_t req_bytes(const struct server_req *req)
{
	return req->head_length + req->payload_length;
}

/* Move answers into `out`, the urgent ones first. */
static void fill_out(struct server_conn *conn)
{
	size_t bytes = 0;

	for (const struct server_req *r = conn->out.first; r; r = r->next)
		bytes += req_bytes(r);
	while (bytes < BATCH_BYTES && conn->out.count < BATCH_IOVS / 2) {
		struct server_req *req = queue_pop(&conn->urgent);
		if (!req)
			req = queue_pop(&conn->bulk);
		if (!req)
			break;
		if (req->request.op == MS_PROTO_CHANGED)
			conn->changes--;
		bytes += req_bytes(req);
		queue_push(&conn->out, req);
	}
}

static int gather(const struct server_conn *conn, struct iovec *iov)
{
	size_t skip = conn->out_sent;
	int count = 0;

	for (const struct server_req *r = conn->out.first; r; r = r->next) {
		ms_iov_add(iov, &count, r->head, r->head_length, &skip);
		ms_iov_add(iov, &count, r->payload, r->payload_length, &skip);
		if (count >= BATCH_IOVS - 1)
			break;
	}
	return count;
}

static void advance(struct server_conn *conn, size_t n)
{
	conn->sent_bytes += n;
	conn->sent_ns = ms_now_ns();
	n += conn->out_sent;
	while (conn->out.first && n >= req_bytes(conn->out.first)) {
		struct server_req *req = queue_pop(&conn->out);
		n -= req_bytes(req);
		server_req_put(conn, req);
	}
	conn->out_sent = n;
}

static void send_all(struct server_conn *conn)
{
	struct iovec iov[BATCH_IOVS];

	while (!conn->broken) {
		fill_out(conn);
		if (!conn->out.first)
			return;
		int count = gather(conn, iov);
		pthread_mutex_unlock(&conn->lock);
		ssize_t n = ms_stream_send(conn->stream, iov, count);
		pthread_mutex_lock(&conn->lock);
		if (n == -EAGAIN) {
			conn->blocked = true;
			return;
		}
		if (n < 0)
			conn->broken = true;
		else
			advance(conn, (size_t)n);
	}
}

void server_flush(struct server_conn *conn)
{
	if (conn->sending || conn->blocked)
		return;
	uint64_t before = conn->sent_bytes;
	conn->sending = true;
	send_all(conn);
	conn->sending = false;
	/* The thread may be waiting for any of what has changed. */
	bool moved = conn->sent_bytes != before;
	if (conn->blocked || conn->broken ||
	    (moved && (conn->starved || conn->ended)))
		server_conn_wake(conn);
}

bool server_idle(const struct server_conn *conn)
{
	return !conn->in_flight && !conn->sending && !conn->out.first &&
	       !conn->urgent.first && !conn->bulk.first;
}

static void drop_queue(struct server_conn *conn, struct server_queue *q)
{
	struct server_req *req = NULL;

	while ((req = queue_pop(q)))
		server_req_put(conn, req);
}

void server_drop_replies(struct server_conn *conn)
{
	drop_queue(conn, &conn->out);
	drop_queue(conn, &conn->urgent);
	drop_queue(conn, &conn->bulk);
}

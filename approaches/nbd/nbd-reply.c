/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server's answers: two queues a connection, urgent before bulk, sent
 * in batches by whoever completes a request; the connection's thread takes
 * over when the socket is full.
 */
#include "approaches/common/util/clock.h"
#include "approaches/nbd/nbd-server-int.h"

#include <errno.h>
#include <stdlib.h>

enum {
	BATCH_IOVS = 96,
	/* What is in `out` cannot be overtaken any more. */
	BATCH_BYTES = 512 << 10,
	BUF_GRAIN = 64 << 10,
	/* Larger ones are given back: a connection keeps 4 MiB at most. */
	BUF_KEEP = 256 << 10,
};

/* Behind a region whose size is not a multiple of the export's block. */
static const char pad[NBD_PAD_MAX];

/* --- queues --------------------------------------------------------------- */

static void queue_push(struct nbd_queue *q, struct nbd_req *req)
{
	if (!q->first)
		q->last = &q->first;
	req->next = NULL;
	*q->last = req;
	q->last = &req->next;
}

static struct nbd_req *queue_pop(struct nbd_queue *q)
{
	struct nbd_req *req = q->first;

	if (req)
		q->first = req->next;
	return req;
}

/* --- memory --------------------------------------------------------------- */

struct nbd_req *nbd_req_get(struct nbd_conn *conn)
{
	struct nbd_req *req = conn->spare;

	if (req)
		conn->spare = req->next;
	else
		req = malloc(sizeof(*req));
	if (!req)
		return NULL;
	/* The header's bytes are written before they are sent. */
	req->io = (struct ms_io){0};
	req->conn = conn;
	req->buf = NULL;
	req->cost = 0;
	req->urgent = false;
	req->refused = 0;
	req->zeroed = 0;
	req->turn = 0;
	req->head_length = 0;
	req->payload = NULL;
	req->payload_length = 0;
	req->pad_length = 0;
	conn->held++;
	return req;
}

struct nbd_buf *nbd_buf_get(struct nbd_conn *conn, size_t size)
{
	struct nbd_buf *buf = NULL;

	for (struct nbd_buf **p = &conn->pool; *p; p = &(*p)->next) {
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

static void buf_put(struct nbd_conn *conn, struct nbd_buf *buf)
{
	if (!buf)
		return;
	if (conn->pool_count == NBD_POOL_MAX || buf->size > BUF_KEEP) {
		free(buf);
		return;
	}
	buf->next = conn->pool;
	conn->pool = buf;
	conn->pool_count++;
}

void nbd_req_put(struct nbd_conn *conn, struct nbd_req *req)
{
	buf_put(conn, req->buf);
	conn->held--;
	conn->held_bytes -= req->cost;
	req->next = conn->spare;
	conn->spare = req;
}

/* --- sending -------------------------------------------------------------- */

static size_t req_bytes(const struct nbd_req *req)
{
	return req->head_length + req->payload_length + req->pad_length;
}

void nbd_reply(struct nbd_req *req)
{
	struct nbd_conn *conn = req->conn;

	if (conn->broken)
		nbd_req_put(conn, req);
	else
		queue_push(req->urgent ? &conn->urgent : &conn->bulk, req);
}

/* Move answers to `out`, as many as one call sends, urgent ones first. */
static void fill_out(struct nbd_conn *conn)
{
	size_t bytes = 0;
	int count = 0;

	for (const struct nbd_req *r = conn->out.first; r; r = r->next) {
		bytes += req_bytes(r);
		count++;
	}
	while (bytes < BATCH_BYTES && count < BATCH_IOVS / 3) {
		struct nbd_req *req = queue_pop(&conn->urgent);
		if (!req)
			req = queue_pop(&conn->bulk);
		if (!req)
			break;
		bytes += req_bytes(req);
		count++;
		queue_push(&conn->out, req);
	}
}

static int gather(const struct nbd_conn *conn, struct iovec *iov)
{
	size_t skip = conn->out_sent;
	int count = 0;

	for (const struct nbd_req *r = conn->out.first; r; r = r->next) {
		ms_iov_add(iov, &count, r->head, r->head_length, &skip);
		if (r->payload_length)
			ms_iov_add(iov, &count, r->payload, r->payload_length,
				   &skip);
		if (r->pad_length)
			ms_iov_add(iov, &count, pad, r->pad_length, &skip);
		if (count > BATCH_IOVS - 3)
			break;
	}
	return count;
}

static void advance(struct nbd_conn *conn, size_t n)
{
	conn->sent_bytes += n;
	conn->sent_ns = ms_now_ns();
	n += conn->out_sent;
	while (conn->out.first && n >= req_bytes(conn->out.first)) {
		struct nbd_req *req = queue_pop(&conn->out);
		n -= req_bytes(req);
		nbd_req_put(conn, req);
	}
	conn->out_sent = n;
}

static void send_all(struct nbd_conn *conn)
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
			/* From here on it is the peer that holds us up. */
			conn->sent_ns = ms_now_ns();
			return;
		}
		if (n < 0)
			conn->broken = true;
		else
			advance(conn, (size_t)n);
	}
}

void nbd_flush(struct nbd_conn *conn)
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
		nbd_conn_wake(conn);
}

bool nbd_idle(const struct nbd_conn *conn)
{
	return !conn->in_flight && !conn->sending && !conn->out.first &&
	       !conn->urgent.first && !conn->bulk.first;
}

static void drop_queue(struct nbd_conn *conn, struct nbd_queue *q)
{
	struct nbd_req *req = NULL;

	while ((req = queue_pop(q)))
		nbd_req_put(conn, req);
}

void nbd_drop_replies(struct nbd_conn *conn)
{
	drop_queue(conn, &conn->out);
	drop_queue(conn, &conn->urgent);
	drop_queue(conn, &conn->bulk);
}

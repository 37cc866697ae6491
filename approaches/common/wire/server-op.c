/* SPDX-License-Identifier: Apache-2.0 */
/* What the server does for each kind of request. */
#include "approaches/common/backend/base.h"
#include "approaches/common/wire/server-int.h"

#include <errno.h>

/* What a request costs besides its bytes: its struct and its answer. */
#define COST_BASE sizeof(struct server_req)

static bool modifies(enum ms_proto_op op)
{
	return op == MS_PROTO_WRITE || op == MS_PROTO_ZERO ||
	       op == MS_PROTO_TRIM || op == MS_PROTO_RESIZE;
}

/* --- answers -------------------------------------------------------------- */

/* With the lock held: queue the answer of `req`. */
static void answer(struct server_req *req, int status, uint64_t length,
		   const void *payload)
{
	struct ms_reply reply = {.op = req->request.op,
				 .id = req->request.id,
				 .status = status,
				 .length = status ? 0 : length};

	server_reply(req, &reply, payload);
}

/* Send a range straight from where the export keeps it. */
static void answer_mapped(struct server_req *req, int status)
{
	struct ms_mapping map = {0};

	if (status == 0 && req->request.length)
		status = ms_map(req->conn->export->backend, req->request.offset,
				req->request.length, &map);
	pthread_mutex_lock(&req->conn->lock);
	answer(req, status, req->request.length, map.addr);
}

static void answer_extents(struct server_req *req)
{
	struct ms_extent *extents = (struct ms_extent *)(void *)req->buf->data;
	size_t used = req->io.extents_used;
	/* The wire form is smaller and may overwrite what it was made from. */
	uint8_t *wire = (uint8_t *)(extents + req->request.count);

	ms_proto_put_extents(extents, used, wire);
	pthread_mutex_lock(&req->conn->lock);
	answer(req, 0, (uint64_t)used * MS_PROTO_EXTENT_BYTES, wire);
}

/* Tell the others before the one who changed it hears that it is done. */
static void announce(const struct server_req *req)
{
	const struct ms_request *r = &req->request;
	struct server_export *export = req->conn->export;

	if (!__atomic_load_n(&export->watchers, __ATOMIC_ACQUIRE))
		return;
	if (r->op == MS_PROTO_RESIZE)
		server_changed(export, req->conn->session, MS_PROTO_SIZE,
			       r->offset, 0);
	else if (r->length)
		server_changed(export, req->conn->session, 0, r->offset,
			       r->length);
}

static void completed(struct ms_io *io)
{
	struct server_req *req = io->user;
	struct server_conn *conn = req->conn;
	int status = io->result;

	__atomic_add_fetch(&conn->export->completions, 1, __ATOMIC_RELEASE);
	if (status == 0 && modifies(req->request.op))
		announce(req);
	if (io->op == MS_OP_POPULATE) {
		answer_mapped(req, status);
	} else if (io->op == MS_OP_EXTENTS && status == 0) {
		answer_extents(req);
	} else {
		pthread_mutex_lock(&conn->lock);
		if (io->op == MS_OP_READ)
			answer(req, status, io->length, io->buf);
		else if (io->op == MS_OP_HASH)
			answer(req, status, sizeof(req->hash), req->hash);
		else
			answer(req, status, 0, NULL);
	}
	conn->in_flight--;
	if (!conn->corked)
		server_flush(conn);
	if (conn->ended || conn->broken)
		server_conn_wake(conn);
	pthread_mutex_unlock(&conn->lock);
}

/* --- requests ------------------------------------------------------------- */

/* Memory that the request needs beyond its struct. */
static size_t memory_of(const struct server_conn *conn,
			const struct ms_request *r)
{
	switch (r->op) {
	case MS_PROTO_READ:
		return conn->export->backend->caps & MS_CAN_MAP ? 0 : r->length;
	case MS_PROTO_WRITE:
		return r->length;
	case MS_PROTO_EXTENTS:
		return r->count *
		       (sizeof(struct ms_extent) + MS_PROTO_EXTENT_BYTES);
	case MS_PROTO_SYNC:
	case MS_PROTO_ZERO:
	case MS_PROTO_TRIM:
	case MS_PROTO_HASH:
	case MS_PROTO_RESIZE:
	case MS_PROTO_PING:
	case MS_PROTO_WATCH:
	case MS_PROTO_CHANGED:
	case MS_PROTO_BYE:
		break;
	}
	return 0;
}

struct server_req *server_op_new(struct server_conn *conn,
				 const struct ms_request *r)
{
	size_t memory = memory_of(conn, r);
	struct server_req *req = NULL;

	pthread_mutex_lock(&conn->lock);
	req = server_req_get(conn);
	if (req && memory) {
		req->buf = server_buf_get(conn, memory);
		if (!req->buf) {
			server_req_put(conn, req);
			req = NULL;
		}
	}
	if (req) {
		req->request = *r;
		req->urgent = r->flags & MS_PROTO_URGENT;
		/* A mapped READ counts too: its answer holds up the socket. */
		req->cost = COST_BASE +
			    (r->op == MS_PROTO_READ ? r->length : memory);
		conn->held_bytes += req->cost;
		conn->requests++;
	}
	pthread_mutex_unlock(&conn->lock);
	return req;
}

/* The backend's request for a wire request. */
static void make_io(struct server_req *req)
{
	const struct ms_request *r = &req->request;
	struct ms_io *io = &req->io;
	bool mapped = req->conn->export->backend->caps & MS_CAN_MAP;

	io->priority = req->urgent ? MS_URGENT : MS_BULK;
	io->offset = r->offset;
	io->length = r->length;
	io->buf = req->buf ? req->buf->data : NULL;
	io->done = completed;
	io->user = req;
	switch (r->op) {
	case MS_PROTO_READ:
		io->op = mapped ? MS_OP_POPULATE : MS_OP_READ;
		break;
	case MS_PROTO_WRITE:
		io->op = MS_OP_WRITE;
		io->flags = r->flags & MS_PROTO_FUA ? MS_FUA : 0;
		break;
	case MS_PROTO_ZERO:
		io->op = MS_OP_ZERO;
		break;
	case MS_PROTO_TRIM:
		io->op = MS_OP_TRIM;
		break;
	case MS_PROTO_EXTENTS:
		io->op = MS_OP_EXTENTS;
		io->extents_max = r->count;
		break;
	case MS_PROTO_HASH:
		io->op = MS_OP_HASH;
		io->buf = req->hash;
		break;
	case MS_PROTO_RESIZE:
		io->op = MS_OP_RESIZE;
		break;
	case MS_PROTO_SYNC:
	case MS_PROTO_PING:
	case MS_PROTO_WATCH:
	case MS_PROTO_CHANGED:
	case MS_PROTO_BYE:
		io->op = MS_OP_SYNC;
		break;
	}
}

/* Answer without a backend. */
static void answer_now(struct server_req *req, int status)
{
	struct server_conn *conn = req->conn;

	pthread_mutex_lock(&conn->lock);
	answer(req, status, 0, NULL);
	if (!conn->corked)
		server_flush(conn);
	pthread_mutex_unlock(&conn->lock);
}

void server_op_start(struct server_req *req)
{
	struct server_conn *conn = req->conn;
	enum ms_proto_op op = req->request.op;

	if (op == MS_PROTO_PING) {
		answer_now(req, 0);
		return;
	}
	if (op == MS_PROTO_WATCH) {
		server_watch(conn, req->request.length == 1);
		answer_now(req, 0);
		return;
	}
	if (conn->export->read_only && modifies(op)) {
		answer_now(req, -EROFS);
		return;
	}
	make_io(req);
	pthread_mutex_lock(&conn->lock);
	conn->in_flight++;
	pthread_mutex_unlock(&conn->lock);
	(void)__atomic_load_n(&conn->export->completions, __ATOMIC_ACQUIRE);
	ms_submit(conn->export->backend, &req->io);
}

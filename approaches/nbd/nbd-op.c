/* SPDX-License-Identifier: Apache-2.0 */
/* What the NBD server does for each kind of request. */
#include "approaches/common/backend/base.h"
#include "approaches/common/util/err.h"
#include "approaches/nbd/nbd-server-int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
	/* Somebody waits for a read of up to so much: read-ahead's size. */
	URGENT_BYTES = 128 << 10,
	ZEROS_BYTES = 1 << 20,
};

/* What a request costs besides its bytes: its struct and its answer. */
#define COST_BASE sizeof(struct nbd_req)

/* Never written: a page or two of memory, seen many times. */
static const char zeros[ZEROS_BYTES];

static void completed(struct ms_io *io);
static void zero_go(struct nbd_req *req);

/* --- answers; with the lock held ------------------------------------------ */

static void answer_error(struct nbd_req *req, int error)
{
	struct nbd_conn *conn = req->conn;
	uint64_t cookie = req->request.cookie;
	bool chunk = conn->limits.structured &&
		     (req->request.type == NBD_CMD_READ ||
		      req->request.type == NBD_CMD_BLOCK_STATUS);

	conn->errors++;
	req->urgent = true;
	req->payload_length = 0;
	req->pad_length = 0;
	req->head_length = NBD_SIMPLE_BYTES;
	if (chunk) {
		size_t n = nbd_put_error(error, ms_errno_text(error),
					 req->head + NBD_CHUNK_BYTES,
					 sizeof(req->head) - NBD_CHUNK_BYTES);
		nbd_put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_ERROR, cookie,
			      (uint32_t)n, req->head);
		req->head_length = NBD_CHUNK_BYTES + n;
	} else {
		nbd_put_simple(error, cookie, req->head);
	}
	nbd_reply(req);
}

static void answer_done(struct nbd_req *req)
{
	req->urgent = true;
	nbd_put_simple(0, req->request.cookie, req->head);
	req->head_length = NBD_SIMPLE_BYTES;
	nbd_reply(req);
}

/* What a READ asked for lies at `data`; zeros follow up to its length. */
static void answer_data(struct nbd_req *req, const char *data)
{
	const struct nbd_request *r = &req->request;
	uint32_t n = r->length;

	req->payload = data;
	req->payload_length = (size_t)req->io.length;
	req->pad_length = n - req->payload_length;
	if (!req->conn->limits.structured) {
		nbd_put_simple(0, r->cookie, req->head);
		req->head_length = NBD_SIMPLE_BYTES;
	} else if (n == 0) {
		/* A chunk of data is never empty. */
		nbd_put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_NONE, r->cookie, 0,
			      req->head);
		req->head_length = NBD_CHUNK_BYTES;
	} else {
		nbd_put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_DATA, r->cookie,
			      NBD_OFFSET_BYTES + n, req->head);
		nbd_put_u64(r->offset, req->head + NBD_CHUNK_BYTES);
		req->head_length = NBD_CHUNK_BYTES + NBD_OFFSET_BYTES;
	}
	nbd_reply(req);
}

static void answer_status(struct nbd_req *req, size_t count)
{
	if (req->request.flags & NBD_CMD_FLAG_REQ_ONE && count > 1)
		count = 1;
	req->payload_length = count * NBD_DESCRIPTOR_BYTES;
	nbd_put_chunk(
		NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS, req->request.cookie,
		(uint32_t)(NBD_CONTEXT_BYTES + req->payload_length), req->head);
	nbd_put_u32(NBD_CONTEXT_ID, req->head + NBD_CHUNK_BYTES);
	req->head_length = NBD_CHUNK_BYTES + NBD_CONTEXT_BYTES;
	nbd_reply(req);
}

/* --- completion ----------------------------------------------------------- */

/* The descriptors, made behind the extents, of which there are io.extents_max.
 */
static size_t make_status(struct nbd_req *req)
{
	const struct nbd_conn *conn = req->conn;
	/* BLOCK_STATUS always has one. */
	assert(req->buf);
	const struct ms_extent *list =
		(const struct ms_extent *)(void *)req->buf->data;
	size_t used = req->io.extents_used;
	uint8_t *out = (uint8_t *)(req->buf->data +
				   req->io.extents_max * sizeof(*list));
	struct nbd_status_range range = {
		.offset = req->request.offset,
		.length = req->request.length,
		.block = conn->limits.block_minimum,
		.tail_is_hole =
			used && list[used - 1].offset + list[used - 1].length >=
					conn->region};

	req->payload = (const char *)out;
	return nbd_put_status(&range, list, used, out);
}

/* Send a range straight from where the export keeps it. */
static int find_mapped(struct nbd_req *req, const char **ret)
{
	struct ms_mapping map = {0};
	int rc = ms_map(req->conn->export->backend, req->io.offset,
			req->io.length, &map);

	*ret = map.addr;
	return rc;
}

/* Everything about the request is known: answer it. */
static void finish(struct nbd_req *req, int result)
{
	struct nbd_conn *conn = req->conn;
	const char *data = req->buf ? req->buf->data : NULL;
	size_t count = 0;

	__atomic_add_fetch(&conn->export->completions, 1, __ATOMIC_RELEASE);
	if (result == 0 && req->request.type == NBD_CMD_READ && !req->buf &&
	    req->io.length)
		result = find_mapped(req, &data);
	if (result == 0 && req->request.type == NBD_CMD_BLOCK_STATUS)
		count = make_status(req);
	pthread_mutex_lock(&conn->lock);
	if (result)
		answer_error(req, result);
	else if (req->request.type == NBD_CMD_READ)
		answer_data(req, data);
	else if (req->request.type == NBD_CMD_BLOCK_STATUS)
		answer_status(req, count);
	else
		answer_done(req);
	conn->in_flight--;
	if (!conn->corked)
		nbd_flush(conn);
	if (conn->ended || conn->broken)
		nbd_conn_wake(conn);
	pthread_mutex_unlock(&conn->lock);
}

static void synced(struct ms_io *io)
{
	finish(io->user, io->result);
}

/* TRIM and ZERO have no FUA of their own: make what they did durable. */
static bool wants_sync(const struct nbd_req *req)
{
	return req->request.flags & NBD_CMD_FLAG_FUA &&
	       (req->request.type == NBD_CMD_TRIM ||
		req->request.type == NBD_CMD_WRITE_ZEROES);
}

static void sync_after(struct nbd_req *req)
{
	req->io = (struct ms_io){.op = MS_OP_SYNC, .done = synced, .user = req};
	ms_submit(req->conn->export->backend, &req->io);
}

static void completed(struct ms_io *io)
{
	struct nbd_req *req = io->user;

	if (io->result == 0 && wants_sync(req))
		sync_after(req);
	else
		finish(req, io->result);
}

/* --- zeros that must be written ------------------------------------------- */

/*
 * WRITE_ZEROES with NO_HOLE writes zeros piece by piece. A piece may complete
 * inside ms_submit; calling the next one from there would nest 4096 deep. So
 * after each piece both the submitter and the completion come by, and the one
 * who comes second goes on.
 */
static bool zero_is_second(struct nbd_req *req)
{
	return __atomic_add_fetch(&req->turn, 1, __ATOMIC_ACQ_REL) == 2;
}

/* A piece is done. True: one more was prepared, false: answered. */
static bool zero_next(struct nbd_req *req, uint64_t whole)
{
	struct ms_io *io = &req->io;

	if (io->result == 0)
		req->zeroed += io->length;
	if (io->result || req->zeroed == whole) {
		completed(io);
		return false;
	}
	return true;
}

static uint64_t zero_whole(const struct nbd_req *req)
{
	const struct nbd_request *r = &req->request;
	uint64_t region = req->conn->region;

	return r->offset + r->length > region ? region - r->offset : r->length;
}

static void zero_done(struct ms_io *io)
{
	struct nbd_req *req = io->user;

	if (zero_is_second(req) && zero_next(req, zero_whole(req)))
		zero_go(req);
}

static void zero_go(struct nbd_req *req)
{
	struct ms_backend *backend = req->conn->export->backend;
	uint64_t whole = zero_whole(req);

	do {
		uint64_t left = whole - req->zeroed;
		req->io = (struct ms_io){
			.op = MS_OP_WRITE,
			.offset = req->request.offset + req->zeroed,
			.length = left < ZEROS_BYTES ? left : ZEROS_BYTES,
			.buf = (void *)zeros,
			.done = zero_done,
			.user = req};
		__atomic_store_n(&req->turn, 0, __ATOMIC_RELEASE);
		ms_submit(backend, &req->io);
	} while (zero_is_second(req) && zero_next(req, whole));
}

/* --- requests ------------------------------------------------------------- */

static size_t extents_max(const struct nbd_request *r)
{
	return r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_EXTENTS_MAX;
}

/* Memory that the request needs beyond its struct. */
static size_t memory_of(const struct nbd_conn *conn,
			const struct nbd_request *r, int refused)
{
	if (refused)
		return 0;
	if (r->type == NBD_CMD_READ)
		return conn->export->backend->caps & MS_CAN_MAP ? 0 : r->length;
	if (r->type == NBD_CMD_WRITE)
		return r->length;
	if (r->type == NBD_CMD_BLOCK_STATUS)
		return extents_max(r) * sizeof(struct ms_extent) +
		       (2 * extents_max(r) + 2) * NBD_DESCRIPTOR_BYTES;
	return 0;
}

uint64_t nbd_op_cost(const struct nbd_conn *conn, const struct nbd_request *r,
		     int refused)
{
	/* A mapped READ counts too: its answer holds up the socket. */
	if (r->type == NBD_CMD_READ && !refused)
		return COST_BASE + r->length;
	return COST_BASE + memory_of(conn, r, refused);
}

struct nbd_req *nbd_op_new(struct nbd_conn *conn, const struct nbd_request *r,
			   int refused)
{
	size_t memory = memory_of(conn, r, refused);
	struct nbd_req *req = NULL;

	pthread_mutex_lock(&conn->lock);
	req = nbd_req_get(conn);
	if (req && memory) {
		req->buf = nbd_buf_get(conn, memory);
		if (!req->buf) {
			nbd_req_put(conn, req);
			req = NULL;
		}
	}
	if (req) {
		req->request = *r;
		req->refused = refused;
		req->urgent =
			r->type == NBD_CMD_READ && r->length <= URGENT_BYTES;
		req->cost = nbd_op_cost(conn, r, refused);
		conn->held_bytes += req->cost;
		conn->requests++;
	}
	pthread_mutex_unlock(&conn->lock);
	return req;
}

/* The backend's operation for a command. */
static enum ms_op op_of(const struct nbd_req *req)
{
	switch ((enum nbd_command)req->request.type) {
	case NBD_CMD_READ:
		return req->buf ? MS_OP_READ : MS_OP_POPULATE;
	case NBD_CMD_WRITE:
		return MS_OP_WRITE;
	case NBD_CMD_TRIM:
		return MS_OP_TRIM;
	case NBD_CMD_CACHE:
		return MS_OP_POPULATE;
	case NBD_CMD_WRITE_ZEROES:
		return MS_OP_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return MS_OP_EXTENTS;
	case NBD_CMD_FLUSH:
	case NBD_CMD_DISC:
	case NBD_CMD_COUNT:
		break;
	}
	return MS_OP_SYNC;
}

/* Fill in the backend's request, without what is behind the region's end. */
static void make_io(struct nbd_req *req)
{
	const struct nbd_request *r = &req->request;
	struct ms_io *io = &req->io;
	uint64_t region = req->conn->region;

	io->op = op_of(req);
	io->priority = req->urgent ? MS_URGENT : MS_BULK;
	io->offset = r->offset;
	io->length = r->length;
	if (r->offset >= region)
		io->length = 0;
	else if (r->length > region - r->offset)
		io->length = region - r->offset;
	io->buf = req->buf ? req->buf->data : NULL;
	io->done = completed;
	io->user = req;
	if (r->type == NBD_CMD_WRITE && r->flags & NBD_CMD_FLAG_FUA)
		io->flags = MS_FUA;
	if (r->type == NBD_CMD_BLOCK_STATUS)
		io->extents_max = extents_max(r);
}

/* What FAST_ZERO asks: refuse rather than take as long as a write. */
static bool too_slow(const struct nbd_req *req)
{
	unsigned flags = req->request.flags;

	if (req->request.type != NBD_CMD_WRITE_ZEROES ||
	    !(flags & NBD_CMD_FLAG_FAST_ZERO))
		return false;
	return flags & NBD_CMD_FLAG_NO_HOLE ||
	       !(req->conn->export->backend->caps & MS_CAN_ZERO);
}

void nbd_op_start(struct nbd_req *req)
{
	struct nbd_conn *conn = req->conn;
	unsigned no_hole = req->request.type == NBD_CMD_WRITE_ZEROES
				   ? req->request.flags & NBD_CMD_FLAG_NO_HOLE
				   : 0;

	pthread_mutex_lock(&conn->lock);
	conn->in_flight++;
	pthread_mutex_unlock(&conn->lock);
	(void)__atomic_load_n(&conn->export->completions, __ATOMIC_ACQUIRE);
	if (req->refused) {
		finish(req, req->refused);
		return;
	}
	if (too_slow(req)) {
		finish(req, -EOPNOTSUPP);
		return;
	}
	make_io(req);
	/* Nothing but the padding of the last block, or nothing at all. */
	if (req->io.length == 0 && req->io.op != MS_OP_SYNC &&
	    !(req->request.flags & NBD_CMD_FLAG_FUA))
		finish(req, 0);
	else if (req->io.length == 0)
		sync_after(req);
	else if (no_hole)
		zero_go(req);
	else
		ms_submit(conn->export->backend, &req->io);
}

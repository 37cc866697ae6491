/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the server share: server.c (listening, exports),
 * server-session.c, server-conn.c (a connection's thread: handshake, reading),
 * server-op.c (what each request does), server-reply.c (sending).
 *
 * Locks in order of taking: server->lock, conn->lock.
 */
#ifndef MS_COMMON_WIRE_SERVER_INT_H
#define MS_COMMON_WIRE_SERVER_INT_H

#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/server.h"
#include "approaches/common/wire/stream.h"
#include "approaches/common/wire/transport.h"

#include <pthread.h>

enum {
	SERVER_RECV_BYTES = 64 << 10,
	SERVER_POOL_MAX = 8, /* buffers that a connection keeps for reuse */
	SERVER_CHANGES_MAX = 256, /* change notices waiting for one client */
};

struct server_export {
	struct ms_server *server;
	char *name;
	struct ms_backend *backend;
	bool read_only;
	bool watched; /* we are the backend's watcher */
	uint32_t chunk_bytes;
	int watchers; /* sessions that want notices; atomic */
	/*
	 * Completions so far; atomic. A request that a client sent because it
	 * had seen an answer comes after what was answered, also when another
	 * thread has it: the peer's knowledge is not a memory barrier, so each
	 * completion releases here and each request acquires.
	 */
	uint64_t completions;
};

/* Connections that belong together. Under server->lock. */
struct server_session {
	uint8_t token[MS_PROTO_ID_BYTES];
	struct server_export *export;
	unsigned connections;
	struct server_conn *watcher; /* the one that gets notices, or NULL */
	uint64_t heard_ns; /* when the client was heard last; atomic */
	struct server_session *next;
};

struct ms_server {
	struct ms_server_config limits;
	struct server_export *exports;
	size_t export_count;
	uint8_t instance[MS_PROTO_ID_BYTES];
	struct ms_listener listener; /* fd -1: none */
	int stop_fd;
	pthread_t acceptor;
	bool accepting; /* the thread exists */

	pthread_mutex_t lock;
	pthread_cond_t gone; /* a connection has ended */
	bool stopping;
	struct server_conn *conns;
	unsigned conn_count;
	struct server_session *sessions;
	/* totals of ended connections */
	uint64_t received_bytes;
	uint64_t sent_bytes;
	uint64_t requests;
	uint64_t accepted;
	uint64_t refused;
};

/* A piece of memory that is reused; `size` is what was allocated. */
struct server_buf {
	struct server_buf *next;
	size_t size;
	char data[];
};

/* A request from its header to its last byte sent; also what we send unasked.
 */
struct server_req {
	struct ms_io io;
	struct server_conn *conn;
	struct ms_request request;
	struct server_req *next;
	struct server_buf *buf;
	uint64_t cost; /* bytes against the connection's limit */
	bool urgent;
	uint8_t head[MS_PROTO_FRAME_BYTES];
	size_t head_length; /* 0 for a welcome, which is all payload */
	const char *payload;
	size_t payload_length;
	uint8_t hash[MS_PROTO_HASH_BYTES];
};

struct server_queue {
	struct server_req *first;
	struct server_req **last;
	size_t count;
};

struct server_conn {
	struct ms_server *server;
	struct ms_stream *stream;
	const struct ms_transport *transport; /* NULL for a bare descriptor */
	int wake_fd;
	struct server_conn *next; /* under server->lock */
	struct server_conn **prev;
	struct server_session *session;
	struct server_export *export;
	uint32_t request_max;
	/* With RESUME, under server->lock: its place in the session. */
	bool resumes;
	uint32_t slot;
	uint32_t generation;
	bool replaced;	     /* by a newer one of that slot; atomic */
	bool alive;	     /* ALIVE: a client that is silent is dead */
	uint64_t suspect_ns; /* since when it seems so; 0: it does not */

	/* the thread's own: reading */
	bool greeted;
	bool ended; /* BYE or the end of the stream: answer, then close */
	struct server_req *filling; /* a WRITE whose payload is arriving */
	size_t filled;
	size_t at; /* in buf: begin and end of what is not parsed yet */
	size_t end;
	uint64_t progress_ns;
	uint8_t *recv_buf;

	pthread_mutex_t lock;
	/* under lock */
	struct server_queue urgent;
	struct server_queue bulk;
	struct server_queue out; /* being sent; of `sending` while it is set */
	size_t out_sent;	 /* bytes of out.first that are gone */
	bool sending;		 /* somebody is in the send call */
	bool corked;		 /* the thread will flush, nobody else */
	bool blocked;		 /* the socket is full: the thread polls */
	bool broken;
	bool starved;	    /* the thread waits for the limit */
	unsigned in_flight; /* requests that a backend holds */
	unsigned held;	    /* requests from header to last byte sent */
	uint64_t held_bytes;
	unsigned changes; /* CHANGED notices in `urgent` */
	uint64_t sent_ns; /* last progress of sending */
	uint64_t sent_bytes;
	uint64_t received_bytes; /* of the thread, read under lock at the end */
	uint64_t requests;
	struct server_buf *pool;
	unsigned pool_count;
	struct server_req *spare;
};

/* --- server.c ------------------------------------------------------------- */

/* The export called `name`, "" for the first; NULL. */
struct server_export *server_find_export(struct ms_server *server,
					 const char *name);

/* Take the connection out and free it. */
void server_conn_free(struct server_conn *conn);

/* --- server-session.c ----------------------------------------------------- */

/*
 * Put the connection into the session of its hello. With RESUME, what the
 * session has in the same slot is cut first, and waited for until nothing that
 * came over it can touch the store any more. 0, -EACCES, -ENOMEM, or -EBUSY: a
 * newer connection has the slot.
 */
int server_join(struct server_conn *conn, const struct ms_hello *hello);

/* Begin or end notices of changes to the connection's session. */
void server_watch(struct server_conn *conn, bool on);

/* Tell all sessions of `export` but `except` of a change; not blocking. */
void server_changed(struct server_export *export,
		    const struct server_session *except, unsigned flags,
		    uint64_t offset, uint64_t length);

/* With server->lock held: the connection is not of its session any more. */
void server_leave(struct server_conn *conn);

/* --- server-conn.c -------------------------------------------------------- */

void *server_conn_main(void *arg);
/* With conn->lock held: make its thread look around. */
void server_conn_wake(struct server_conn *conn);

/* --- server-op.c ---------------------------------------------------------- */

/*
 * Prepare the request whose header was read: memory for it, its io. False:
 * the connection cannot go on. A WRITE is submitted when its payload is here.
 */
struct server_req *server_op_new(struct server_conn *conn,
				 const struct ms_request *request);
void server_op_start(struct server_req *req);

/* --- server-reply.c; all with conn->lock held ----------------------------- */

struct server_req *server_req_get(struct server_conn *conn);
void server_req_put(struct server_conn *conn, struct server_req *req);
struct server_buf *server_buf_get(struct server_conn *conn, size_t size);
void server_reply(struct server_req *req, const struct ms_reply *reply,
		  const void *payload);
void server_reply_welcome(struct server_conn *conn,
			  const struct ms_welcome *welcome);
void server_reply_changed(struct server_conn *conn, unsigned flags,
			  uint64_t offset, uint64_t length);
/* Show a client with ALIVE that its requests wait, but not for a dead peer. */
void server_reply_alive(struct server_conn *conn);
void server_flush(struct server_conn *conn);
bool server_idle(const struct server_conn *conn);
void server_drop_replies(struct server_conn *conn);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the NBD server share: nbd-server.c (exports, connections,
 * listening), nbd-handshake.c and nbd-option.c (what comes before the first
 * request), nbd-conn.c (a connection's thread, reading requests), nbd-op.c
 * (what each request does), nbd-reply.c (sending answers).
 *
 * Locks in order of taking: server->lock, conn->lock.
 */
#ifndef MS_NBD_SERVER_INT_H
#define MS_NBD_SERVER_INT_H

#include "approaches/common/wire/stream.h"
#include "approaches/common/wire/transport.h"
#include "approaches/nbd/nbd-proto.h"
#include "approaches/nbd/nbd-server.h"

#include <pthread.h>

enum {
	NBD_RECV_BYTES = 64 << 10, /* at least NBD_OPTION_MAX */
	NBD_POOL_MAX = 16,	/* buffers that a connection keeps for reuse */
	NBD_EXTENTS_MAX = 4096, /* in one answer to BLOCK_STATUS */
	NBD_PAD_MAX = 64 << 10, /* the largest minimum block */
	NBD_HEAD_BYTES = 128,	/* a header with its error's text */
};

struct nbd_export {
	char *name;
	char *description; /* NULL: none */
	struct ms_backend *backend;
	bool read_only;
	uint32_t blocks[3]; /* minimum, preferred, maximum */
	/*
	 * Completions so far; atomic. A request that a client sent because it
	 * had seen an answer comes after what was answered, also on another
	 * connection: the peer's knowledge is not a memory barrier, so each
	 * completion releases here and each request acquires.
	 */
	uint64_t completions;
};

struct nbd_server {
	struct nbd_server_config limits;
	struct nbd_export *exports;
	size_t export_count;
	struct ms_listener listener; /* fd -1: none */
	char uri[1100];
	int stop_fd;
	pthread_t acceptor;
	bool accepting; /* the thread exists */

	pthread_mutex_t lock;
	pthread_cond_t gone; /* a connection has ended */
	bool stopping;	     /* atomic for the connections */
	struct nbd_conn *conns;
	unsigned conn_count;
	/* totals of ended connections */
	uint64_t received_bytes;
	uint64_t sent_bytes;
	uint64_t requests;
	uint64_t errors;
	uint64_t accepted;
	uint64_t refused;
};

/* A piece of memory that is reused; `size` is what was allocated. */
struct nbd_buf {
	struct nbd_buf *next;
	size_t size;
	char data[];
};

/* A request from its header to its last byte sent. */
struct nbd_req {
	struct ms_io io;
	struct nbd_conn *conn;
	struct nbd_request request;
	struct nbd_req *next;
	struct nbd_buf *buf;
	uint64_t cost; /* bytes against the connection's limit */
	bool urgent;
	int refused; /* a WRITE to be answered so when its payload is gone */
	uint64_t zeroed; /* WRITE_ZEROES by writing: bytes done */
	int turn;	 /* of that: who goes on, atomic; see nbd-op.c */
	size_t head_length;
	const char *payload; /* behind the header */
	size_t payload_length;
	size_t pad_length; /* zeros behind the payload */
	uint8_t head[NBD_HEAD_BYTES];
};

struct nbd_queue {
	struct nbd_req *first;
	struct nbd_req **last;
};

struct nbd_conn {
	struct nbd_server *server;
	struct ms_stream *stream;
	int wake_fd;
	struct nbd_conn *next; /* under server->lock */
	struct nbd_conn **prev;

	/* settled by the handshake */
	struct nbd_export *export;
	struct nbd_limits limits;
	uint64_t region; /* bytes that the backend has of limits.size */
	bool secure;	 /* TLS is on */

	/* the thread's own: handshake */
	uint32_t client_flags;
	uint64_t deadline_ns;
	const struct nbd_export
		*context; /* base:allocation was chosen for it */

	/* the thread's own: reading */
	bool ended; /* DISC or the end of the stream: answer, then close;
		       written under lock */
	bool more;  /* the last read filled all there was room for */
	struct nbd_req *filling; /* a WRITE whose payload is arriving */
	size_t filled;
	size_t at; /* in recv_buf: begin and end of what is not parsed yet */
	size_t end;
	uint64_t progress_ns;
	uint8_t *recv_buf;

	pthread_mutex_t lock;
	/* under lock */
	struct nbd_queue urgent;
	struct nbd_queue bulk;
	struct nbd_queue out; /* being sent; of `sending` while it is set */
	size_t out_sent;      /* bytes of out.first that are gone */
	bool sending;	      /* somebody is in the send call */
	bool corked;	      /* the thread will flush, nobody else */
	bool blocked;	      /* the socket is full: the thread polls */
	bool broken;
	bool starved;	    /* the thread waits for the limit */
	unsigned in_flight; /* requests that a backend holds */
	unsigned held;	    /* requests from header to last byte sent */
	uint64_t held_bytes;
	uint64_t sent_ns; /* last progress of sending */
	uint64_t sent_bytes;
	uint64_t received_bytes; /* of the thread, atomic */
	uint64_t requests;
	uint64_t errors;
	struct nbd_buf *pool;
	unsigned pool_count;
	struct nbd_req *spare;
};

/* --- nbd-server.c --------------------------------------------------------- */

/* The export called `name`, the first for the empty name; NULL. */
struct nbd_export *nbd_find_export(struct nbd_server *server,
				   const struct nbd_string *name);

/* What a client of the export is told; structured: it can get chunks. */
void nbd_export_describe(const struct nbd_server *server,
			 const struct nbd_export *export, bool structured,
			 struct nbd_export_info *ret);

/* Take the connection out and free it. */
void nbd_conn_free(struct nbd_conn *conn);

/* --- nbd-handshake.c ------------------------------------------------------ */

/*
 * Come to an agreement with the peer. True: transmission begins, with export
 * and limits set. All of it is over at conn->deadline_ns.
 */
bool nbd_handshake(struct nbd_conn *conn);

/*
 * Have `n` bytes that were received at recv_buf + at, n <= NBD_RECV_BYTES.
 * False: the peer is gone, too slow, or the server ends.
 */
bool nbd_need(struct nbd_conn *conn, size_t n);
/* The same, but wait for them no longer than `until_ns`. */
bool nbd_need_until(struct nbd_conn *conn, size_t n, uint64_t until_ns);

/* Send, wholly. False as above. */
bool nbd_give(struct nbd_conn *conn, const void *data, size_t n);

/* --- nbd-option.c --------------------------------------------------------- */

enum nbd_step {
	NBD_STEP_NEXT,	   /* another option */
	NBD_STEP_TRANSMIT, /* agreed */
	NBD_STEP_END,	   /* close */
};

/* Answer the option whose data, all of it, is at `data`. */
enum nbd_step nbd_answer_option(struct nbd_conn *conn,
				const struct nbd_option *option,
				const uint8_t *data);
/* Refuse an option, with a text for people. */
enum nbd_step nbd_refuse_option(struct nbd_conn *conn, uint32_t option,
				uint32_t error, const char *text);
/* Fix what holds in transmission. */
void nbd_settle(struct nbd_conn *conn, struct nbd_export *export);

/* --- nbd-conn.c ----------------------------------------------------------- */

void *nbd_conn_main(void *arg);
/* With or without conn->lock held: make its thread look around. */
void nbd_conn_wake(struct nbd_conn *conn);

/* --- nbd-op.c ------------------------------------------------------------- */

/* Bytes that the request counts against the connection's limit. */
uint64_t nbd_op_cost(const struct nbd_conn *conn, const struct nbd_request *r,
		     int refused);

/*
 * Prepare the request whose header was read: memory for it. NULL: none, the
 * connection cannot go on. A WRITE is started when its payload is here.
 */
struct nbd_req *nbd_op_new(struct nbd_conn *conn, const struct nbd_request *r,
			   int refused);
void nbd_op_start(struct nbd_req *req);

/* --- nbd-reply.c; all with conn->lock held -------------------------------- */

struct nbd_req *nbd_req_get(struct nbd_conn *conn);
void nbd_req_put(struct nbd_conn *conn, struct nbd_req *req);
struct nbd_buf *nbd_buf_get(struct nbd_conn *conn, size_t size);
/* Queue the answer whose header and payload are set. */
void nbd_reply(struct nbd_req *req);
void nbd_flush(struct nbd_conn *conn);
bool nbd_idle(const struct nbd_conn *conn);
void nbd_drop_replies(struct nbd_conn *conn);

#endif

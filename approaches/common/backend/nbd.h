/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `nbd`: a region that a standard NBD server exports, over several
 * connections, through libnbd's asynchronous calls (protocol: doc/proto.md of
 * NetworkBlockDevice/nbd). This header is for its own parts: nbd.c (options,
 * opening, the backend's operations), nbd-dial.c (the thread that connects),
 * nbd-handle.c (one libnbd handle: its settings, what the server can do),
 * nbd-loop.c (the thread that talks: events, deadlines, lost connections),
 * nbd-job.c (callers' requests and their pieces), nbd-dispatch.c (cutting, and
 * which connection gets what when), nbd-piece.c (one piece as a libnbd
 *command).
 *
 *	caller's io --> job --cut--> piece, piece ... --> connection
 *	   done  <------ job <---all answered-- piece <-- libnbd's callback
 *
 * Two threads, however many requests and connections. A handle belongs to the
 * dialling thread until it is connected and to the loop's thread afterwards,
 * so libnbd is never called with our lock held, nor a handle by two threads.
 *
 * libnbd cannot take a command back. A request that may have to end early (it
 * has a deadline) uses a buffer of ours, which is left behind; one without that
 * is cancelled waits for its answer, and after a second its connection is
 * closed, which is the only way to be sure that nothing touches its buffer.
 */
#ifndef MS_COMMON_BACKEND_NBD_H
#define MS_COMMON_BACKEND_NBD_H

#include "approaches/common/backend/base.h"
#include "memsync/backend.h"

#include <libnbd.h>
#include <pthread.h>
#include <sys/queue.h>

enum {
	NBD_CONNECTIONS_MAX = 64,
	/* The most that goes ahead of everything in one request. */
	NBD_URGENT_BYTES = 128 << 10,
};

TAILQ_HEAD(nbd_queue, nbd_job);
TAILQ_HEAD(nbd_batch, nbd_piece);

/* A caller's request while we have it. */
struct nbd_job {
	struct ms_io *io;
	uint64_t cursor;  /* bytes that pieces were made for; EXTENTS: known */
	unsigned pending; /* pieces not answered yet */
	int result;	  /* the first error */
	const char *origin;
	int abort;	 /* end it early with this, as soon as possible */
	bool urgent;	 /* somebody waits */
	bool full;	 /* EXTENTS: no room for another */
	uint64_t before; /* EXTENTS: the cursor when the piece was sent */
	uint64_t start_ns;
	uint64_t timeout_ns; /* of time without progress; 0: deadline_ns */
	uint64_t close_ns;   /* then connections it waits for are closed; 0 */
	struct nbd_batch pieces; /* by job_link */
	struct nbd_queue *queue; /* pieces are still to be made, or NULL */
	TAILQ_ENTRY(nbd_job) queue_link; /* or among the finished, or spare */
	TAILQ_ENTRY(nbd_job) all_link;
};

/* One command. Without a job nobody waits for its answer. */
struct nbd_piece {
	struct nbd_store *store;
	struct nbd_job *job;
	struct nbd_conn *conn; /* NULL: waits for one */
	enum ms_op op;
	unsigned flags;
	bool stale; /* left behind, and the server may still do it */
	bool lane;  /* goes ahead, outside of the window */
	uint64_t offset;
	uint64_t length;
	char *bytes;   /* the caller's, READ and WRITE */
	char *own;     /* what is used instead, so that it can be left behind */
	uint64_t seen; /* READ: bytes of it that the answer had */
	uint64_t covers; /* SYNC: changes answered before it was sent */
	int error;	 /* the answer, negative errno */
	TAILQ_ENTRY(nbd_piece) job_link;
	TAILQ_ENTRY(nbd_piece) link;	   /* connection, redo, or spare */
	TAILQ_ENTRY(nbd_piece) batch_link; /* to be sent, or answered */
};

/* Whose a connection is. */
enum nbd_state {
	NBD_DOWN,  /* the dialling thread's */
	NBD_FRESH, /* connected, to be taken over by the loop's */
	NBD_UP,	   /* the loop's thread's */
};

struct nbd_conn {
	enum nbd_state state;	   /* under the lock */
	struct nbd_handle *handle; /* the state's owner's */
	uint64_t dial_start_ns;	   /* the dialling thread's */
	uint64_t dial_next_ns;
	uint64_t dial_wait_ns;
	bool served;	      /* the loop's thread's: `handle` is its own */
	bool lost;	      /* the loop's thread's: to be closed */
	uint64_t since_ns;    /* when it came */
	uint64_t outstanding; /* bytes not yet answered */
	unsigned count;	      /* pieces not yet answered */
	struct nbd_batch pieces;
};

/* What a server said about the export. */
struct nbd_features {
	uint64_t size;
	uint64_t length_max; /* of a read or write */
	uint32_t block;
	unsigned caps; /* MS_CAN_* */
	bool flush;
	bool multi;
	bool tls;
};

enum nbd_tls {
	NBD_TLS_URI,
	NBD_TLS_OFF,
	NBD_TLS_ALLOW,
	NBD_TLS_REQUIRE,
};

struct nbd_config {
	char *uri;
	uint64_t connections;
	uint64_t window;
	uint64_t request_max;
	uint64_t connect_ns;
	uint64_t reconnect_ns;
	uint64_t dead_ns;
	bool read_only;
	int tls; /* enum nbd_tls */
	char *certificates;
	int trust; /* 0: the server's certificate is checked */
	char *user;
	char *psk;
};

struct nbd_store {
	struct ms_backend base;
	struct nbd_config config;     /* strings are copies */
	struct nbd_features features; /* fixed once `up` */
	uint64_t piece_max;
	pthread_t loop_thread;
	pthread_t dial_thread;
	bool loop_runs;
	bool dial_runs;
	int loop_fd; /* eventfds that wake them */
	int dial_fd;

	pthread_mutex_t lock;	/* everything below */
	pthread_cond_t changed; /* `up`, `dead`, or a connection came */
	bool up;
	bool stop;
	bool loop_sleeps;
	int dead;      /* why nothing works any more, negative errno */
	char why[240]; /* the last trouble, for people */
	struct nbd_conn conns[NBD_CONNECTIONS_MAX + 1];
	unsigned conn_count; /* wanted */
	unsigned up_count;   /* state UP */

	struct nbd_queue first;	 /* short: these wait for no window */
	struct nbd_queue urgent; /* long, but somebody waits */
	struct nbd_queue bulk;
	struct nbd_queue jobs; /* all of them, by all_link */
	struct nbd_queue finished;
	struct nbd_queue job_spare;
	struct nbd_batch stale; /* changes left behind, by job_link */
	struct nbd_batch redo;	/* pieces of lost connections */
	struct nbd_batch piece_spare;
	struct nbd_batch to_send;
	struct nbd_batch answered; /* the loop's, without the lock */
	struct nbd_buffer *buffer_spare;
	unsigned buffer_spare_count;
	uint64_t outstanding; /* bytes in the window */
	bool cancelled;	      /* a job was, and nobody has looked yet */

	uint64_t progress_ns; /* the last time something came in */
	uint64_t deadline_ns; /* no job ends earlier; UINT64_MAX */
	uint64_t alone_ns;    /* since when nothing was answered because there
				 was no connection; 0 */

	/* Changes that the server answered, counted, and how many of those a
	 * flush has made durable. */
	uint64_t changes;
	uint64_t durable;
	bool doubt; /* the next SYNC fails: what it covers may be lost */

	/* statistics */
	uint64_t requests;
	uint64_t read_bytes;
	uint64_t write_bytes;
	uint64_t reissued;
	uint64_t losses;
	uint64_t left_behind; /* commands whose requests ended before them */
};

/* --- nbd.c ---------------------------------------------------------------- */

/* Release the lock and complete what has finished meanwhile. */
void ms_nbd_store_unlock(struct nbd_store *s);
/* With the lock held: have the loop's thread look at things. */
void ms_nbd_wake_loop(struct nbd_store *s);
void ms_nbd_wake_dial(struct nbd_store *s);
/* With the lock held: keep a sentence for people. */
void ms_nbd_store_why(struct nbd_store *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* --- nbd-handle.c --------------------------------------------------------- */

/* Refuse settings that contradict each other. 0 or -EINVAL with a sentence. */
int ms_nbd_config_check(const struct nbd_config *config);
/*
 * A handle that has begun to connect. Resolving a name blocks, nothing else
 * does. 0 or a negative errno with a sentence.
 */
int ms_nbd_handle_start(const struct nbd_config *config,
			struct nbd_handle **ret);
/* Go on after poll(2) said `revents`. 0: under way, 1: connected, negative
 * errno with a sentence: failed. */
int ms_nbd_handle_continue(struct nbd_handle *h,
			   const struct nbd_config *config, short revents);
/* What poll(2) should wait for. False: the connection has ended. */
bool ms_nbd_handle_poll(struct nbd_handle *h, int *ret_fd, short *ret_events);
/* Ask a connected one what it can do. 0 or a negative errno with a sentence. */
int ms_nbd_handle_features(struct nbd_handle *h,
			   const struct nbd_config *config,
			   struct nbd_features *ret);
/* True if nothing can come from it any more. */
bool ms_nbd_handle_ended(struct nbd_handle *h);

/* --- nbd-dial.c ----------------------------------------------------------- */

void *ms_nbd_dial_main(void *arg); /* struct nbd_store */
/* After a failure; by the connection's owner. */
void ms_nbd_dial_wait_longer(struct nbd_conn *c);

/* --- nbd-loop.c ----------------------------------------------------------- */

void *ms_nbd_loop_main(void *arg); /* struct nbd_store */

/* --- nbd-job.c; with the lock held ---------------------------------------- */

/* Take a request over. 0; 1: it is done already; or why it fails at once. */
int ms_nbd_job_add(struct nbd_store *s, struct ms_io *io,
		   const char **ret_origin);
/* A piece was answered with `result`: it is freed. */
void ms_nbd_piece_done(struct nbd_store *s, struct nbd_piece *p, int result);
/* The connection that had the piece is gone. */
void ms_nbd_piece_lost(struct nbd_store *s, struct nbd_piece *p);
/* `io`, which is only compared, became urgent. */
void ms_nbd_job_hurry(struct nbd_store *s, const struct ms_io *io);
/* End it early with j->abort, at once if nothing can touch its buffer. */
void ms_nbd_job_abort(struct nbd_store *s, struct nbd_job *j, uint64_t now);
void ms_nbd_fail_all(struct nbd_store *s, int error);
/* Durability can no longer be claimed for what was not flushed. */
void ms_nbd_fail_syncs(struct nbd_store *s);
void ms_nbd_job_memory_free(struct nbd_store *s);
/* Short, and somebody waits: it waits for no window. */
bool ms_nbd_job_goes_first(const struct nbd_job *j);
/* No more pieces are to be made of it. */
void ms_nbd_job_dequeue(struct nbd_job *j);
/* The first error ends a job as soon as no piece of it is under way. */
void ms_nbd_job_fail(struct nbd_job *j, int result);
void ms_nbd_job_end_if_over(struct nbd_store *s, struct nbd_job *j);
/* What kind of operation it is. */
bool ms_nbd_moves_bytes(enum ms_op op);
bool ms_nbd_changes(enum ms_op op);
/* What a piece counts in the window, bytes. */
uint64_t ms_nbd_piece_weight(const struct nbd_piece *p);

/* --- nbd-dispatch.c; with the lock held ----------------------------------- */

/* Cut jobs and hand the pieces to connections, as the window allows. */
void ms_nbd_dispatch(struct nbd_store *s);

/* --- nbd-piece.c ---------------------------------------------------------- */

/* With the lock held: NULL: no memory. `own`: with a buffer of ours. */
struct nbd_piece *ms_nbd_piece_new(struct nbd_store *s, bool own);
void ms_nbd_piece_free(struct nbd_store *s, struct nbd_piece *p);
void ms_nbd_piece_memory_free(struct nbd_store *s);
/* Without the lock, the loop's thread: give it to its connection's handle.
 * The answer, also of a failure to send, is put on s->answered. */
void ms_nbd_piece_send(struct nbd_piece *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `remote`: a region that a server of the memsync protocol has. This
 * header is for its own parts and for loopback.c: remote.c (opening, the
 * backend's operations), remote-job.c (requests cut into pieces and handed to
 * connections), remote-send.c, remote-recv.c (one connection), remote-io.c
 * (the session's thread: events, deadlines), remote-resume.c (connections that
 * were lost are made again).
 *
 *	caller's io --> job --cut--> piece, piece ... --> connection's queue
 *	   done  <------ job <---all answered-- piece <-- reply by id
 *
 * One lock a session. Nobody holds it during a system call that moves data;
 * what a call is using meanwhile is pinned: the head of a queue by `sending`,
 * the buffer being filled by belonging to the session's thread, which is the
 * only one that takes requests back.
 */
#ifndef MS_COMMON_WIRE_REMOTE_H
#define MS_COMMON_WIRE_REMOTE_H

#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/stream.h"
#include "approaches/common/wire/transport.h"
#include "approaches/common/wire/window.h"
#include "memsync/backend.h"

#include <pthread.h>

enum {
	REMOTE_CONNECTIONS_MAX = 64,
	REMOTE_RECV_BYTES = 64 << 10,
	REMOTE_DRAIN_BYTES = 64 << 10,
	/* The most that goes over the urgent lane in one request. */
	REMOTE_URGENT_BYTES = 128 << 10,
};

/* A caller's request while we have it. */
struct remote_job {
	struct ms_io *io;
	uint64_t cursor;    /* bytes that pieces were made for */
	unsigned pending;   /* pieces not answered yet */
	int result;	    /* the first error */
	int abort;	    /* end it early with this, as soon as possible */
	const char *origin; /* of the result; static text */
	uint64_t epoch;	    /* of the first of its answers, 0: none yet */
	bool queued;	    /* in a queue: pieces are still to be made */
	uint64_t start_ns;
	uint64_t timeout_ns; /* of time without progress; 0: deadline_ns */
	struct remote_piece *pieces;
	struct remote_job *next; /* in a queue, or among the finished */
	struct remote_job *all_next;
	struct remote_job **all_prev;
};

/* One request on the wire. Without a job, nobody waits for its answer. */
struct remote_piece {
	struct ms_request request;
	struct remote_job *job;
	struct remote_conn *conn;
	char *dest;	     /* where the answer's bytes go, or NULL */
	const char *payload; /* what follows the header */
	size_t payload_length;
	void *own;	  /* memory of the piece's, freed with it */
	bool sent;	  /* all of it, header and payload */
	bool counted;	  /* in the window */
	uint64_t arrived; /* of the answer's bytes */
	uint64_t sent_ns;
	uint64_t covers; /* SYNC: answered writes before it was sent */
	unsigned tries;	 /* connections that broke under it */
	uint32_t slot;
	size_t head_length; /* 0: no header (a hello is all payload) */
	uint8_t head[MS_PROTO_FRAME_BYTES];
	struct remote_piece *next; /* in the send queue, or free */
	struct remote_piece *job_next;
	struct remote_piece **job_prev;
	struct remote_piece *conn_next; /* all that the connection has */
	struct remote_piece **conn_prev;
};

enum remote_state {
	REMOTE_CONNECTING,
	REMOTE_GREETING, /* hello sent */
	REMOTE_READY,
	REMOTE_CLOSED,
};

struct remote_conn {
	struct remote *remote;
	struct ms_stream *stream;
	enum remote_state state;
	enum ms_proto_lane lane;
	int error; /* found by a sender; the thread closes */
	uint64_t start_ns;

	/* making it again */
	uint32_t generation; /* attempts so far */
	unsigned failures;   /* in a row */
	uint64_t retry_ns;   /* CLOSED: not to be tried again before */
	uint64_t ready_ns;   /* when it was welcome last */
	bool worked;	     /* it brought an answer since */
	uint64_t lost_ns;    /* when it ended after that */
	const char *refused; /* why the server will not have us, for good */

	/* sending, under the lock */
	struct remote_piece *queue;
	struct remote_piece **queue_last;
	size_t queue_sent; /* bytes of the first that are gone */
	bool sending;	   /* a thread is in the send call */
	bool yield;	   /* it shall stop, the session's thread waits */
	bool awaited;	   /* the session's thread waits for its return */
	bool blocked;	   /* the socket is full */
	bool dirty;	   /* has something new to send */

	/* all it has, queued or sent */
	struct remote_piece *pieces;
	unsigned piece_count;
	uint64_t outstanding; /* bytes not yet answered */

	/* receiving, the session's thread's own */
	uint8_t *buf;
	size_t at;
	size_t end;
	struct remote_piece *current; /* its answer's bytes are arriving */
	struct ms_reply reply;	      /* to it */
	uint64_t left;		      /* bytes of that answer to come */
	uint64_t received_bytes;
	uint64_t sent_bytes;
};

struct remote_queue {
	struct remote_job *first;
	struct remote_job **last;
};

struct remote_config {
	char *uri;
	uint64_t connections;
	char *window;
	uint64_t request_max;
	uint64_t connect_ns;
	uint64_t dead_ns;
	uint64_t reconnect_ns;
};

struct remote {
	struct ms_backend base;
	struct ms_hello hello;
	const struct ms_transport *transport;
	uint64_t connect_ns;
	uint64_t dead_ns;
	uint64_t reconnect_ns; /* 0: a lost session is lost */
	struct ms_address address;

	pthread_t thread;
	bool running; /* the thread exists */
	int epoll_fd;
	int wake_fd;
	char *drain; /* where bytes go that nobody wants */
	void (*after_close)(void *user);
	void *after_close_user;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* `up` or `dead` or a watch was answered */
	bool up;		/* the first welcome has come */
	bool stop;
	int dead;	      /* why nothing works any more, negative errno */
	const char *dead_why; /* the same as static text */
	char dead_text[MS_PROTO_TEXT_MAX + 1];
	struct ms_welcome welcome;
	struct remote_conn *conns;
	unsigned conn_count;
	unsigned open_count; /* not CLOSED */

	struct remote_queue first;  /* short: these wait for no window */
	struct remote_queue urgent; /* long, but somebody waits */
	struct remote_queue bulk;
	struct remote_job *jobs;
	struct remote_job *finished; /* to be completed without the lock */
	struct remote_job **finished_last;
	unsigned aborting; /* jobs with `abort` set */
	struct remote_job *job_spare;
	struct remote_piece *piece_spare;
	struct remote_piece **slots;
	uint32_t slot_count;
	uint32_t *slot_free; /* stack of free slot numbers */
	uint32_t slot_free_count;
	uint64_t id_serial;

	/* surviving */
	uint64_t epoch;		  /* of server processes, from 1 */
	uint64_t writes_answered; /* that are not durable by themselves */
	uint64_t writes_synced;	  /* of those, covered by a SYNC */
	bool doubt;		  /* some of the others may be lost */
	bool kept;		  /* a closed connection has requests to move */
	uint64_t outage_ns;	  /* when all were lost; 0: not so */
	uint64_t ready_ns;	  /* when the first was welcome after that */
	uint64_t draws;		  /* of random numbers */

	struct ms_window window;
	uint64_t heard_ns;     /* the last byte that came in */
	uint64_t progress_ns;  /* the last one that was no ping's */
	uint64_t deadline_ns;  /* no job ends earlier; UINT64_MAX */
	uint64_t ping_sent_ns; /* 0: no ping under way */
	uint64_t ping_last_ns;
	uint64_t ping_next_ns;
	uint64_t moving_ns; /* when what we send was seen to move */
	uint64_t looked_ns; /* when that was */
	uint64_t moved;	    /* bytes that peers had acknowledged by then */
	bool suspect;	    /* the last look found it dead; this one decides */
	bool nudged;	    /* the wake-up is on its way */
	bool rewatch;	    /* the connection with the notices is gone */
	struct remote_conn *watch_conn;

	ms_changed_fn *watcher;
	void *watcher_user;
	bool watch_calls; /* the thread is in the watcher */
	int watch_result; /* 1: not answered yet */

	/* statistics */
	uint64_t requests;
	uint64_t read_bytes;
	uint64_t write_bytes;
	uint64_t reissued;
	uint64_t reconnects;
	uint64_t restarts;
};

/* --- remote.c ------------------------------------------------------------- */

/* As the type's open, for callers in C; `config` keeps its strings. */
int remote_open(const struct remote_config *config, struct ms_backend **ret);

/* Have `fn(user)` called when the backend is closed, at the very end. */
void remote_after_close(struct ms_backend *b, void (*fn)(void *user),
			void *user);

/* Release the lock and complete what has finished meanwhile. */
void remote_unlock(struct remote *r);

/* --- remote-job.c; all with the lock held --------------------------------- */

/* Take a request over. False: no memory. */
bool remote_job_add(struct remote *r, struct ms_io *io);
/* Cut jobs and hand the pieces to connections, as the window allows. */
void remote_dispatch(struct remote *r);
/* A piece was answered (or failed) with `result`: it is freed. */
void remote_piece_done(struct remote *r, struct remote_piece *p, int result);
/* Give a piece of a lost connection to another one. False: there is none. */
bool remote_piece_move(struct remote *r, struct remote_piece *p);
/* End jobs early; false if some cannot end yet (try again when nudged). */
bool remote_abort_jobs(struct remote *r);
void remote_fail_all(struct remote *r, int error, const char *why);
void remote_job_memory_free(struct remote *r);

/* --- remote-piece.c; with the lock held --- */

/* A piece of our own that no job waits for; NULL: no memory. */
struct remote_piece *remote_piece_new(struct remote *r,
				      struct remote_conn *conn);
/* The piece with that id on that connection, or NULL. */
struct remote_piece *remote_piece_find(struct remote *r,
				       const struct remote_conn *conn,
				       uint64_t id);
/* Make it one of the connection's, or none of its connection's any more. */
void remote_piece_link(struct remote_piece *p, struct remote_conn *c);
void remote_piece_unlink(struct remote_piece *p);
/* Its job does not wait for it any more. */
void remote_piece_orphan(struct remote_piece *p);
/* As if it had never been sent; of a READ what has arrived is kept. */
void remote_piece_take_back(struct remote *r, struct remote_piece *p);
/* True if doing it changes the region. */
bool remote_piece_modifies(const struct remote_piece *p);
/*
 * End the caller's part in a piece, so that its buffer is free. What is half
 * on the wire must be finished from a copy, and an answer that is still to
 * come is read into the drain. False: somebody is sending, not now.
 */
bool remote_piece_detach(struct remote *r, struct remote_piece *p);
void remote_piece_free(struct remote *r, struct remote_piece *p);
void remote_piece_memory_free(struct remote *r);

/* --- remote-send.c; with the lock held ------------------------------------ */

void remote_send_queue(struct remote_conn *c, struct remote_piece *p);
/* Send what is queued; drops the lock during calls. */
void remote_flush(struct remote_conn *c);
void remote_flush_dirty(struct remote *r);
void remote_nudge(struct remote *r);
/* Queue a small request of our own. 0, -ENOMEM. */
int remote_send_control(struct remote_conn *c, enum ms_proto_op op,
			uint64_t length);

/* --- remote-recv.c -------------------------------------------------------- */

/* Read and handle once, without the lock. >0: more may be there, 0: not;
 * negative errno: the connection is over. */
int remote_receive(struct remote_conn *c);

/* --- remote-resume.c; with the lock held ---------------------------------- */

/* True if what is lost will be made again. */
bool remote_resumes(const struct remote *r);
/* Begin to connect a closed connection. 0, or negative errno with a sentence:
 * it is as before. */
int remote_conn_start(struct remote_conn *c);
/* How long an attempt may take, from connecting to the welcome. */
uint64_t remote_attempt_ns(const struct remote_conn *c);
/* Keep, move or fail a piece of a connection that ended because of `why`. */
void remote_piece_lost(struct remote *r, struct remote_piece *p, int why);
/* The connection was closed: what now. */
void remote_conn_lost(struct remote_conn *c, bool was_ready);
/* Begin the attempts that are due; and when the next one is. */
void remote_reconnect(struct remote *r, uint64_t now);
uint64_t remote_reconnect_next(const struct remote *r);
/* Judge a welcome that is not the session's first: 0, or why to close. */
int remote_resume_welcome(struct remote_conn *c, const struct ms_welcome *w);
/* The server does not want the connection; returns `status`. */
int remote_resume_refused(struct remote_conn *c, int status);
/* Just before it is READY; `same`: the server is the one of before. */
void remote_resume_ready(struct remote_conn *c, const struct ms_welcome *w,
			 bool same);
/* Nothing works any more, and `why` (static text). */
void remote_session_lost(struct remote *r, int error, const char *why);

/* --- remote-doubt.c; with the lock held ----------------------------------- */

/* A piece was done, a job has ended: keep count. */
void remote_note_durable(struct remote *r, const struct remote_piece *p);
void remote_note_finished(struct remote *r, const struct remote_job *job);
/* Another process is the server from now on. */
void remote_new_epoch(struct remote *r);
/* True if a SYNC that has not been sent yet must fail. */
bool remote_sync_doubted(struct remote *r, struct remote_job *job);

/* --- remote-io.c ---------------------------------------------------------- */

void *remote_main(void *arg);

#endif

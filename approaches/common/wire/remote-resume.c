/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the client survives: connections that broke are made again, and what was
 * not answered is asked for again. With the lock held.
 *
 *	READY --lost--> CLOSED --wait--> CONNECTING --> GREETING --welcome-->
 *READY ^ requests are kept here      |
 *	                  +---------- failed -----------+
 *
 * Each connection has a slot. The hello of a new one names it, and the server
 * answers when nothing that came over the slot's old connection can touch the
 * store any more: a write that is sent again then comes after its first copy,
 * and so does whatever the caller writes after that.
 *
 * While none is READY one slot alone knocks, the others follow when it is let
 * in. When that takes longer than `reconnect`, or the server is another one
 * than before, the session is lost and everything fails.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	WAIT_FIRST_MS = 20,
	WAIT_MOST_MS = 1000,	   /* while nothing works: find it soon */
	WAIT_MOST_READY_MS = 8000, /* while others work */
	ATTEMPT_CONNECT_MS = 2000,
	ATTEMPT_FIRST_MS = 1000, /* to be welcome; doubles up to the limit */
	/* A connection that lasted as long as this was a good one. */
	GOOD_MS = 1000,
	/* A request that was cut off so often is what cuts. */
	TRIES_MAX = 50,
};

static const char gone_long[] =
	"remote: the server was away for longer than reconnect";
static const char refuses[] = "remote: the server refuses to go on";
static const char other_size[] =
	"remote: the server came back with a region of another size";
static const char does_less[] =
	"remote: the server came back and can do less than before";
bool remote_resumes(const struct remote *r)
{
	return r->up && r->reconnect_ns && !r->dead && !r->stop;
}

static bool some_ready(const struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].state == REMOTE_READY && !r->conns[i].error)
			return true;
	return false;
}

static bool some_knocking(const struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].state == REMOTE_CONNECTING ||
		    r->conns[i].state == REMOTE_GREETING)
			return true;
	return false;
}

/* --- one connection ------------------------------------------------------- */

/* The hello is the queue's first; what the slot has kept waits. */
static int queue_hello(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct remote_piece *p = remote_piece_new(r, c);

	if (!p)
		return -ENOMEM;
	p->own = malloc(MS_PROTO_HELLO_MAX);
	if (!p->own) {
		remote_piece_free(r, p);
		return -ENOMEM;
	}
	struct ms_hello hello = r->hello;
	hello.lane = c->lane;
	hello.slot = (uint32_t)(c - r->conns);
	hello.generation = ++c->generation;
	p->payload = p->own;
	p->payload_length = ms_proto_put_hello(&hello, p->own);
	remote_send_queue(c, p);
	return 0;
}

int remote_conn_start(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = c}};

	if (!c->buf)
		c->buf = malloc(REMOTE_RECV_BYTES);
	if (!c->buf)
		return ms_err(-ENOMEM, "remote");
	int rc = r->transport->connect(&r->address, &c->stream);
	if (rc)
		return rc;
	rc = queue_hello(c);
	if (rc == 0 &&
	    epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, c->stream->fd, &event))
		rc = -errno;
	if (rc) {
		ms_stream_close(c->stream);
		c->stream = NULL;
		while (c->queue) {
			struct remote_piece *p = c->queue;
			c->queue = p->next;
			remote_piece_free(r, p);
		}
		return ms_err(rc, "remote");
	}
	r->open_count++;
	c->error = 0;
	c->at = c->end = 0;
	c->blocked = false;
	c->yield = false;
	c->state = REMOTE_CONNECTING;
	c->start_ns = ms_now_ns();
	return 0;
}

/* Between half of `ms` and all of it, so that many clients spread. */
static uint64_t some_of(struct remote *r, uint64_t ms)
{
	uint64_t half = ms * MS_NS_PER_MS / 2;
	uint64_t n = 0;

	memcpy(&n, r->hello.token, sizeof(n));
	n = (n ^ ++r->draws) * UINT64_C(0x9e3779b97f4a7c15);
	return half + (n >> 11) % (half + 1);
}

/* The connection is closed: when to try again. */
static void plan_attempt(struct remote_conn *c, uint64_t now)
{
	struct remote *r = c->remote;
	uint64_t most = some_ready(r) ? WAIT_MOST_READY_MS : WAIT_MOST_MS;
	unsigned doublings = c->failures < 16 ? c->failures : 16;
	uint64_t ms = (uint64_t)WAIT_FIRST_MS << doublings;

	c->failures++;
	c->retry_ns = now + some_of(r, ms < most ? ms : most);
}

uint64_t remote_attempt_ns(const struct remote_conn *c)
{
	const struct remote *r = c->remote;
	unsigned doublings = c->failures < 16 ? c->failures : 16;
	uint64_t ns = (uint64_t)ATTEMPT_FIRST_MS * MS_NS_PER_MS << doublings;

	/*
	 * While a link is cut the kernel repeats itself ever more slowly; a
	 * new attempt finds sooner that it is back. A server that is there may
	 * need its time.
	 */
	if (c->state == REMOTE_CONNECTING)
		ns = ATTEMPT_CONNECT_MS * MS_NS_PER_MS +
		     4 * r->window.rtt_min_ns;
	/* The first of all, which ms_open waits for, has all the time. */
	if (c->generation <= 1 || ns > r->connect_ns)
		return r->connect_ns;
	return ns;
}

/* --- requests of a lost connection ---------------------------------------- */

static void fail_piece(struct remote *r, struct remote_piece *p)
{
	if (p->request.op == MS_PROTO_PING)
		r->ping_sent_ns = 0;
	if (p->request.op == MS_PROTO_WATCH) {
		r->watch_result = -ECONNRESET;
		pthread_cond_broadcast(&r->changed);
	}
	remote_piece_done(r, p, -ECONNRESET);
}

void remote_piece_lost(struct remote *r, struct remote_piece *p, int why)
{
	/* Without a job it was our own, or nobody waits any more. */
	bool wanted = p->job && !p->job->result && !p->job->abort;

	if (wanted && ++p->tries <= TRIES_MAX) {
		if (remote_piece_move(r, p))
			return;
		/* Who breaks the protocol would break it again. */
		if (remote_resumes(r) && why != -EPROTO) {
			remote_piece_take_back(r, p);
			r->kept = true;
			return;
		}
	}
	/* A job that is to end early ends with its own reason. */
	if (p->job && p->job->abort && !p->job->result)
		p->job->result = p->job->abort;
	fail_piece(r, p);
}

/* Reads wait for no slot of their own: any connection will do. */
static void move_kept(struct remote *r)
{
	bool kept = false;

	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		struct remote_piece *next = NULL;
		if (c->state == REMOTE_READY)
			continue;
		for (struct remote_piece *p = c->pieces; p; p = next) {
			next = p->conn_next;
			if (p->job && !p->sent && !remote_piece_move(r, p))
				kept = true;
		}
	}
	r->kept = kept;
}

/* Ask again for what the slot has kept, the oldest first. */
static void send_kept(struct remote_conn *c, bool fenced)
{
	struct remote *r = c->remote;
	struct remote_piece *first = NULL;
	struct remote_piece *next = NULL;

	for (struct remote_piece *p = c->pieces; p; p = next) {
		next = p->conn_next;
		if (!p->job)
			continue; /* the hello, whose sender is on his way */
		if (remote_piece_modifies(p) && !fenced) {
			/* Its first copy may come later than the second. */
			fail_piece(r, p);
			continue;
		}
		p->next = first;
		first = p;
	}
	while (first) {
		struct remote_piece *p = first;
		first = p->next;
		remote_send_queue(c, p);
		r->reissued++;
	}
}

/* --- the server behind a new connection ----------------------------------- */

static bool size_known(const struct remote *r, uint64_t size)
{
	if (size == ms_size(&r->base))
		return true;
	/* A RESIZE that was not answered may have happened. */
	for (const struct remote_job *j = r->jobs; j; j = j->all_next)
		if (j->io->op == MS_OP_RESIZE && j->io->offset == size)
			return true;
	return false;
}

static int refuse(struct remote_conn *c, int rc, const char *why)
{
	c->refused = why;
	return ms_err(rc, "%s", why);
}

int remote_resume_refused(struct remote_conn *c, int status)
{
	/* These pass. */
	if (status != -EBUSY && status != -ESHUTDOWN && status != -ENOMEM &&
	    status != -ETIMEDOUT && status != -ENOTCONN)
		c->refused = refuses;
	return status;
}

static unsigned caps_of(const struct ms_welcome *w)
{
	return w->caps |
	       (w->features & MS_PROTO_FEATURE_WATCH ? MS_CAN_WATCH : 0U);
}

/* Another process serves the region now. */
static void restarted(struct remote_conn *c, const struct ms_welcome *w)
{
	struct remote *r = c->remote;

	r->restarts++;
	remote_new_epoch(r);
	r->welcome = *w;
	for (unsigned i = 0; i < r->conn_count; i++)
		if (&r->conns[i] != c && r->conns[i].state == REMOTE_READY)
			r->conns[i].error = -ESTALE;
	/* Others may have written before it, and nobody told us. */
	if (r->watcher)
		r->rewatch = true;
}

int remote_resume_welcome(struct remote_conn *c, const struct ms_welcome *w)
{
	struct remote *r = c->remote;
	bool same = memcmp(w->instance, r->welcome.instance,
			   sizeof(w->instance)) == 0;

	if (!same && !remote_resumes(r))
		/* A new server does not have what the old one was given. */
		return ms_err(-ESTALE, "remote: the server was restarted");
	if (w->block != r->welcome.block ||
	    w->request_max < r->welcome.request_max ||
	    w->extents_max < r->welcome.extents_max ||
	    (caps_of(w) & r->base.caps) != r->base.caps)
		return refuse(c, -EPROTO, does_less);
	if (!same && !size_known(r, w->size))
		return refuse(c, -ESTALE, other_size);
	/* Somebody may have resized it while nobody could tell us. */
	if (r->rewatch && r->watcher && !size_known(r, w->size))
		ms_size_set(&r->base, w->size);
	if (!same)
		restarted(c, w);
	return 0;
}

void remote_resume_ready(struct remote_conn *c, const struct ms_welcome *w,
			 bool same)
{
	struct remote *r = c->remote;
	uint64_t now = ms_now_ns();

	if (!some_ready(r)) {
		/* The others have waited for this one. */
		for (unsigned i = 0; i < r->conn_count; i++)
			if (r->conns[i].state == REMOTE_CLOSED)
				r->conns[i].retry_ns = now;
		r->ready_ns = now;
	}
	c->ready_ns = now;
	c->worked = false;
	if (c->generation > 1)
		r->reconnects++;
	send_kept(c, !same || w->features & MS_PROTO_FEATURE_RESUME);
}

/* --- the session ---------------------------------------------------------- */

static void fail_kept(struct remote_conn *c)
{
	struct remote_piece *next = NULL;

	for (struct remote_piece *p = c->pieces; p; p = next) {
		next = p->conn_next;
		fail_piece(c->remote, p);
	}
}

void remote_session_lost(struct remote *r, int error, const char *why)
{
	r->dead = error;
	r->dead_why = why;
	remote_fail_all(r, r->up ? error : -ENOTCONN, why);
	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		if (c->state == REMOTE_CLOSED)
			fail_kept(c);
		else if (!c->error)
			c->error = -ECONNABORTED;
	}
	remote_nudge(r);
	pthread_cond_broadcast(&r->changed);
}

/* A connection has been closed. */
void remote_conn_lost(struct remote_conn *c, bool was_ready)
{
	struct remote *r = c->remote;
	uint64_t now = ms_now_ns();
	bool good = c->worked || now - c->ready_ns > GOOD_MS * MS_NS_PER_MS;

	if (r->dead)
		return;
	if (!remote_resumes(r)) {
		if (r->open_count == 0)
			remote_session_lost(r, r->up ? -ENOTCONN : c->error,
					    "remote");
		return;
	}
	if (c->refused && !some_ready(r)) {
		remote_session_lost(r, c->error, c->refused);
		return;
	}
	c->refused = NULL;
	if (was_ready && good)
		c->failures = 0;
	if (was_ready)
		c->lost_ns = now;
	plan_attempt(c, now);
	if (some_ready(r))
		return;
	/* One outage lasts until something has been answered again. */
	if (!r->outage_ns ||
	    (was_ready && now - r->ready_ns > GOOD_MS * MS_NS_PER_MS))
		r->outage_ns = now;
}

/* When the session, or what waits for that slot alone, is given up. */
static uint64_t give_up_ns(const struct remote *r, uint64_t since)
{
	return since + r->reconnect_ns > since ? since + r->reconnect_ns
					       : UINT64_MAX;
}

static void try_slot(struct remote_conn *c, uint64_t now)
{
	struct remote *r = c->remote;

	if (c->pieces && c->lost_ns && now >= give_up_ns(r, c->lost_ns) &&
	    some_ready(r))
		fail_kept(c);
	if (now >= c->retry_ns && remote_conn_start(c))
		plan_attempt(c, now);
}

void remote_reconnect(struct remote *r, uint64_t now)
{
	bool ready = some_ready(r);

	if (!remote_resumes(r))
		return;
	if (!ready && r->outage_ns && now >= give_up_ns(r, r->outage_ns)) {
		remote_session_lost(r, -ENOTCONN, gone_long);
		return;
	}
	for (unsigned i = 0; i < r->conn_count; i++) {
		if (r->conns[i].state != REMOTE_CLOSED)
			continue;
		if (!ready && some_knocking(r))
			break;
		try_slot(&r->conns[i], now);
	}
	if (r->kept && ready)
		move_kept(r);
}

uint64_t remote_reconnect_next(const struct remote *r)
{
	bool ready = some_ready(r);
	bool waits = !ready && some_knocking(r);
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < r->conn_count; i++) {
		const struct remote_conn *c = &r->conns[i];
		uint64_t when = UINT64_MAX;
		if (c->state == REMOTE_CONNECTING ||
		    c->state == REMOTE_GREETING)
			when = c->start_ns + remote_attempt_ns(c);
		else if (c->state == REMOTE_CLOSED && !waits &&
			 remote_resumes(r))
			when = c->retry_ns;
		next = when < next ? when : next;
	}
	if (remote_resumes(r) && !ready && r->outage_ns &&
	    give_up_ns(r, r->outage_ns) < next)
		next = give_up_ns(r, r->outage_ns);
	return next;
}

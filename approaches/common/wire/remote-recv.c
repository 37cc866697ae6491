/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving of the client, on the session's thread. The bytes of an answer are
 * read straight to where the caller wants them; together with them comes the
 * next header, so that a stream of large answers costs one call each.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <string.h>

enum {
	LARGE_BYTES = 32 << 10 /* answers worth a read call of their own */
};

/* --- the handshake -------------------------------------------------------- */

/* Keep why the server said no; the first reason counts. */
static int refused(struct remote_conn *c, const struct ms_welcome *w)
{
	struct remote *r = c->remote;

	if (!r->dead_text[0])
		memcpy(r->dead_text, w->text, sizeof(r->dead_text));
	return remote_resume_refused(c, w->status);
}

/* With the lock held: the first connection says what the region is. */
static int welcomed(struct remote_conn *c, const struct ms_welcome *w)
{
	struct remote *r = c->remote;

	if (w->status)
		return refused(c, w);
	if (memcmp(w->token, r->hello.token, sizeof(w->token)) != 0)
		return ms_err(-EPROTO, "remote: welcome to another session");
	uint64_t epoch = r->epoch;
	int rc = r->up ? remote_resume_welcome(c, w) : 0;
	if (rc)
		return rc;
	if (!r->up) {
		r->welcome = *w;
		r->base.caps = w->caps;
		if (w->features & MS_PROTO_FEATURE_WATCH)
			r->base.caps |= MS_CAN_WATCH;
		r->base.block = w->block;
		ms_size_set(&r->base, w->size);
		r->up = true;
		r->ping_next_ns = 0;
	}
	remote_resume_ready(c, w, r->epoch == epoch);
	c->state = REMOTE_READY;
	pthread_cond_broadcast(&r->changed);
	if (r->transport->tune)
		r->transport->tune(c->stream, c->lane, r->dead_ns);
	return 0;
}

/* 0: not all here yet; 1: done. */
static int take_welcome(struct remote_conn *c)
{
	struct ms_welcome w;
	size_t length = 0;

	if (c->end - c->at < MS_PROTO_HELLO_PREFIX)
		return 0;
	int rc = ms_proto_hello_length(c->buf + c->at, MS_PROTO_WELCOME_BYTES,
				       &length);
	if (rc)
		return rc;
	if (c->end - c->at < length)
		return 0;
	rc = ms_proto_get_welcome(c->buf + c->at, length, &w);
	if (rc == 0)
		rc = welcomed(c, &w);
	c->at += length;
	return rc ? rc : 1;
}

/* --- answers -------------------------------------------------------------- */

static void note_ping(struct remote *r, const struct remote_piece *p)
{
	uint64_t now = ms_now_ns();

	ms_window_rtt(&r->window, now - p->sent_ns, now);
	r->ping_sent_ns = 0;
	r->suspect = false;
}

/* The server does its work: what was lost before is over. */
static void note_work(struct remote_conn *c, bool ping)
{
	struct remote *r = c->remote;

	if (!ping)
		c->worked = true;
	if (!ping || r->heard_ns - r->ready_ns > MS_NS_PER_S)
		r->outage_ns = 0;
}

/* The answer to c->current is complete. */
static int take_answer(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct remote_piece *p = c->current;
	int status = c->reply.status;
	int rc = 0;

	c->current = NULL;
	if (p->request.op == MS_PROTO_PING)
		note_ping(r, p);
	else
		r->progress_ns = r->heard_ns;
	note_work(c, p->request.op == MS_PROTO_PING);
	if (p->request.op == MS_PROTO_WATCH) {
		r->watch_result = status;
		pthread_cond_broadcast(&r->changed);
	}
	if (p->request.op == MS_PROTO_EXTENTS && status == 0 && p->job &&
	    p->dest) {
		struct ms_io *io = p->job->io;
		rc = ms_proto_get_extents((uint8_t *)p->dest, c->reply.length,
					  &p->request, io->buf,
					  &io->extents_used);
	}
	if (p->request.op == MS_PROTO_RESIZE && status == 0)
		ms_size_set(&r->base, p->request.offset);
	if (rc)
		/* The piece fails with its connection. */
		return rc;
	remote_piece_done(r, p, status);
	return 0;
}

/* Somebody else changed the region. Called without the lock. */
static void tell_watcher(struct remote *r, const struct ms_reply *notice)
{
	ms_changed_fn *fn = r->watcher;
	void *user = r->watcher_user;
	uint64_t offset = notice->offset;
	uint64_t length = notice->length;

	if (notice->flags & MS_PROTO_SIZE) {
		uint64_t old = ms_size(&r->base);
		ms_size_set(&r->base, notice->offset);
		/* What is gone and what is new has changed. */
		offset = old < notice->offset ? old : notice->offset;
		length = old < notice->offset ? notice->offset - old
					      : old - notice->offset;
	}
	if (!fn || length == 0)
		return;
	r->watch_calls = true;
	remote_unlock(r);
	fn(user, offset, length);
	pthread_mutex_lock(&r->lock);
	r->watch_calls = false;
	pthread_cond_broadcast(&r->changed);
}

/*
 * The piece that an answer is for. The answer can be here before the thread
 * that sent the request is back from its system call; until then the call may
 * still be reading the caller's buffer, whatever the peer says.
 */
static struct remote_piece *answered_piece(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct remote_piece *p = remote_piece_find(r, c, c->reply.id);

	while (p && !p->sent && c->sending) {
		c->awaited = true;
		pthread_cond_wait(&r->changed, &r->lock);
		p = remote_piece_find(r, c, c->reply.id);
	}
	return p && p->sent ? p : NULL;
}

/* A header is in the buffer. 0 or a reason to close. */
static int take_header(struct remote_conn *c)
{
	struct remote *r = c->remote;
	int rc = ms_proto_get_reply(c->buf + c->at, &c->reply);

	c->at += MS_PROTO_FRAME_BYTES;
	if (rc)
		return rc;
	if (c->reply.op == MS_PROTO_CHANGED) {
		tell_watcher(r, &c->reply);
		return 0;
	}
	if (c->reply.op == MS_PROTO_BYE)
		return -ESHUTDOWN;
	/* The server lives, but does not read on for now. */
	if (c->reply.op == MS_PROTO_PING && c->reply.id == 0 &&
	    r->welcome.features & MS_PROTO_FEATURE_ALIVE)
		return 0;
	struct remote_piece *p = answered_piece(c);
	if (!p)
		return ms_err(-EPROTO, "remote: an answer nobody asked for");
	rc = ms_proto_match(&p->request, &c->reply);
	if (rc)
		return rc;
	c->current = p;
	c->left = ms_proto_reply_payload(&c->reply);
	return c->left ? 0 : take_answer(c);
}

/* Bytes of the current answer have come in. */
static int arrived(struct remote_conn *c, uint64_t n)
{
	struct remote *r = c->remote;
	struct remote_piece *p = c->current;

	r->progress_ns = r->heard_ns;
	p->arrived += n;
	c->left -= n;
	c->outstanding -= n < c->outstanding ? n : c->outstanding;
	if (p->counted)
		ms_window_delivered(&r->window, n, r->heard_ns);
	return c->left ? 0 : take_answer(c);
}

static int take_buffered(struct remote_conn *c)
{
	struct remote_piece *p = c->current;
	size_t n = c->end - c->at;

	if (n > c->left)
		n = (size_t)c->left;
	if (p->dest)
		memcpy(p->dest + p->arrived, c->buf + c->at, n);
	c->at += n;
	return arrived(c, n);
}

/* Everything in the buffer. */
static int take_all(struct remote_conn *c)
{
	int rc = 0;

	if (c->state == REMOTE_GREETING) {
		rc = take_welcome(c);
		if (rc <= 0)
			return rc;
		rc = 0;
	}
	while (rc == 0) {
		if (c->left && c->end > c->at)
			rc = take_buffered(c);
		else if (!c->left && c->end - c->at >= MS_PROTO_FRAME_BYTES)
			rc = take_header(c);
		else
			break;
	}
	if (c->at == c->end)
		c->at = c->end = 0;
	return rc;
}

/* --- reading -------------------------------------------------------------- */

/* How much to read behind what is expected: all, or just one header. */
static size_t read_ahead(const struct remote_conn *c)
{
	if (c->state == REMOTE_READY && c->piece_count &&
	    c->outstanding / c->piece_count >= LARGE_BYTES &&
	    c->end < MS_PROTO_FRAME_BYTES)
		return MS_PROTO_FRAME_BYTES - c->end;
	return REMOTE_RECV_BYTES - c->end;
}

static int prepare(struct remote_conn *c, struct iovec *iov, size_t *direct)
{
	int count = 0;

	*direct = 0;
	if (c->at) {
		memmove(c->buf, c->buf + c->at, c->end - c->at);
		c->end -= c->at;
		c->at = 0;
	}
	if (c->left) {
		const struct remote_piece *p = c->current;
		*direct = (size_t)c->left;
		iov[count].iov_base =
			p->dest ? p->dest + p->arrived : c->remote->drain;
		if (!p->dest && *direct > REMOTE_DRAIN_BYTES)
			*direct = REMOTE_DRAIN_BYTES;
		iov[count++].iov_len = *direct;
		/* Behind a part of an answer nothing else can come. */
		if (*direct < c->left)
			return count;
	}
	iov[count].iov_base = c->buf + c->end;
	iov[count++].iov_len = read_ahead(c);
	return count;
}

int remote_receive(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct iovec iov[2];
	size_t direct = 0;
	size_t room = 0;

	pthread_mutex_lock(&r->lock);
	int count = prepare(c, iov, &direct);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < count; i++)
		room += iov[i].iov_len;
	ssize_t n = ms_stream_recv(c->stream, iov, count);
	if (n == -EAGAIN)
		return 0;
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return (int)n;
	pthread_mutex_lock(&r->lock);
	r->heard_ns = ms_now_ns();
	c->received_bytes += (uint64_t)n;
	if (direct > (size_t)n)
		direct = (size_t)n;
	c->end += (size_t)n - direct;
	int rc = direct ? arrived(c, direct) : 0;
	if (rc == 0)
		rc = take_all(c);
	remote_unlock(r);
	return rc ? rc : (size_t)n == room;
}

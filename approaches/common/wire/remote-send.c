/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending of the client. Whoever submits sends at once if nobody else is
 * sending on that connection; what comes meanwhile leaves with the next call.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	BATCH_IOVS = 64
};

void remote_nudge(struct remote *r)
{
	uint64_t one = 1;

	if (r->nudged)
		return;
	r->nudged = true;
	/* It can only fail when the counter is full, and then it is awake. */
	(void)!write(r->wake_fd, &one, sizeof(one));
}

void remote_send_queue(struct remote_conn *c, struct remote_piece *p)
{
	if (!c->queue)
		c->queue_last = &c->queue;
	p->next = NULL;
	*c->queue_last = p;
	c->queue_last = &p->next;
	c->dirty = true;
}

static size_t piece_bytes(const struct remote_piece *p)
{
	return p->head_length + p->payload_length;
}

static int gather(const struct remote_conn *c, struct iovec *iov)
{
	size_t skip = c->queue_sent;
	int count = 0;

	for (const struct remote_piece *p = c->queue; p; p = p->next) {
		ms_iov_add(iov, &count, p->head, p->head_length, &skip);
		ms_iov_add(iov, &count, p->payload, p->payload_length, &skip);
		if (count >= BATCH_IOVS - 1)
			break;
	}
	return count;
}

static void advance(struct remote_conn *c, size_t n)
{
	uint64_t now = ms_now_ns();

	c->sent_bytes += n;
	n += c->queue_sent;
	while (c->queue && n >= piece_bytes(c->queue)) {
		struct remote_piece *p = c->queue;
		n -= piece_bytes(p);
		c->queue = p->next;
		p->sent = true;
		p->sent_ns = now;
		/* Nothing answers a hello or a BYE. */
		if (p->head_length == 0 || p->request.op == MS_PROTO_BYE)
			remote_piece_done(c->remote, p, 0);
	}
	c->queue_sent = n;
}

/* The socket is full, or is not any more. */
static void want_write(struct remote_conn *c, bool on)
{
	struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0U),
				    .data = {.ptr = c}};

	c->blocked = on;
	(void)epoll_ctl(c->remote->epoll_fd, EPOLL_CTL_MOD, c->stream->fd,
			&event);
}

void remote_flush(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct iovec iov[BATCH_IOVS];

	c->dirty = false;
	if (c->sending || c->blocked || c->error ||
	    c->state == REMOTE_CONNECTING || c->state == REMOTE_CLOSED)
		return;
	c->sending = true;
	while (c->queue && !c->yield && !c->error && !c->blocked) {
		int count = gather(c, iov);
		pthread_mutex_unlock(&r->lock);
		ssize_t n = ms_stream_send(c->stream, iov, count);
		pthread_mutex_lock(&r->lock);
		if (n == -EAGAIN)
			want_write(c, true);
		else if (n < 0)
			c->error = (int)n;
		else
			advance(c, (size_t)n);
		if (c->awaited)
			pthread_cond_broadcast(&r->changed);
		c->awaited = false;
	}
	c->sending = false;
	if (c->yield || c->error)
		remote_nudge(r);
}

void remote_flush_dirty(struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].dirty)
			remote_flush(&r->conns[i]);
}

int remote_send_control(struct remote_conn *c, enum ms_proto_op op,
			uint64_t length)
{
	struct remote_piece *p = remote_piece_new(c->remote, c);

	if (!p)
		return -ENOMEM;
	p->request.op = op;
	p->request.length = length;
	p->request.flags = op == MS_PROTO_PING ? MS_PROTO_URGENT : 0;
	ms_proto_put_request(&p->request, p->head);
	p->head_length = sizeof(p->head);
	remote_send_queue(c, p);
	return 0;
}

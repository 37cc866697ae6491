/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a client's session: it waits for all connections, receives,
 * enforces deadlines, and buries connections.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/remote.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	EVENTS = 32,
	RECEIVES = 16, /* in a row from one connection, then the others */
	PING_EVERY_MS = 10,
	TICK_MS = 1000, /* requests of others start while this one sleeps */
};

/* --- lost connections ----------------------------------------------------- */

static void bury(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct remote_piece *next = NULL;
	bool was_ready = c->state == REMOTE_READY;

	/* Closing takes the descriptor out of the epoll set. */
	ms_stream_close(c->stream);
	c->stream = NULL;
	c->state = REMOTE_CLOSED;
	r->open_count--;
	c->queue = NULL;
	c->queue_sent = 0;
	c->current = NULL;
	c->left = 0;
	c->yield = false;
	c->blocked = false;
	if (r->watch_conn == c) {
		r->watch_conn = NULL;
		r->rewatch = true;
	}
	for (struct remote_piece *p = c->pieces; p; p = next) {
		next = p->conn_next;
		remote_piece_lost(r, p, c->error);
	}
	remote_conn_lost(c, was_ready);
	pthread_cond_broadcast(&r->changed);
}

static void bury_broken(struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		if (c->state == REMOTE_CLOSED || !c->error)
			continue;
		if (c->sending)
			c->yield = true; /* and nudge us afterwards */
		else
			bury(c);
	}
}

/* --- time ----------------------------------------------------------------- */

static uint64_t due(const struct remote *r, const struct remote_job *job)
{
	uint64_t since = job->start_ns;

	if (!job->timeout_ns)
		return job->io->deadline_ns ? job->io->deadline_ns : UINT64_MAX;
	if (since < r->progress_ns)
		since = r->progress_ns;
	return since + job->timeout_ns;
}

static void check_deadlines(struct remote *r, uint64_t now)
{
	if (now < r->deadline_ns)
		return;
	r->deadline_ns = UINT64_MAX;
	for (struct remote_job *j = r->jobs; j; j = j->all_next) {
		uint64_t when = due(r, j);
		if (j->abort)
			continue;
		if (when <= now) {
			j->abort = -ETIMEDOUT;
			r->aborting++;
		} else if (when < r->deadline_ns) {
			r->deadline_ns = when;
		}
	}
}

static void check_connecting(struct remote *r, uint64_t now)
{
	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		if ((c->state == REMOTE_CONNECTING ||
		     c->state == REMOTE_GREETING) &&
		    now - c->start_ns >= remote_attempt_ns(c))
			c->error = -ETIMEDOUT;
	}
}

/* The connection that short requests of our own take. */
static struct remote_conn *control_conn(const struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].state == REMOTE_READY && !r->conns[i].error)
			return &r->conns[i];
	return NULL;
}

/* How often an idle session shows that it lives, and sees that the peer does.
 */
static uint64_t idle_ping_ns(const struct remote *r)
{
	uint64_t ns = r->dead_ns / 5;

	if (r->dead_ns && ns < MS_NS_PER_S)
		return ns;
	if (r->dead_ns || r->welcome.features & MS_PROTO_FEATURE_ALIVE)
		return MS_NS_PER_S;
	return UINT64_MAX;
}

static uint64_t ping_due(const struct remote *r)
{
	uint64_t idle = idle_ping_ns(r);

	if (r->jobs || !r->window.rtt_min_ns)
		return r->ping_next_ns;
	return idle == UINT64_MAX ? idle : r->ping_last_ns + idle;
}

/* When a peer that does not answer the ping under way is dead. */
static uint64_t ping_limit(const struct remote *r)
{
	uint64_t since =
		r->ping_sent_ns > r->heard_ns ? r->ping_sent_ns : r->heard_ns;

	since = since > r->moving_ns ? since : r->moving_ns;

	if (!r->ping_sent_ns || !r->dead_ns)
		return UINT64_MAX;
	/* Up to here from the last sign of life it is all of dead_ns. */
	return since + r->dead_ns - idle_ping_ns(r);
}

/* When to look next at what is under way before the ping. */
static uint64_t look_due(const struct remote *r)
{
	uint64_t since =
		r->ping_sent_ns > r->looked_ns ? r->ping_sent_ns : r->looked_ns;

	return r->ping_sent_ns && r->dead_ns ? since + idle_ping_ns(r)
					     : UINT64_MAX;
}

/*
 * On a slow path a ping may wait for a long time behind what was written
 * before it. As long as the peer's kernel takes that in, nobody is dead.
 */
static void look(struct remote *r, uint64_t now)
{
	uint64_t moved = 0;
	bool waits = false;

	for (unsigned i = 0; i < r->conn_count; i++) {
		const struct remote_conn *c = &r->conns[i];
		int left = 0;
		if (c->state != REMOTE_READY)
			continue;
		if (ioctl(c->stream->fd, SIOCOUTQ, &left))
			left = 0;
		moved += c->sent_bytes - (uint64_t)left;
		waits = waits || left || c->queue;
	}
	/* The first look behind a ping has nothing to compare with. */
	if (r->looked_ns > r->ping_sent_ns && waits && moved != r->moved)
		r->moving_ns = now;
	r->moved = moved;
	r->looked_ns = now;
}

/*
 * Round trips are measured while there is work, once at the beginning, and now
 * and then. A ping without an answer, and nothing else either: the peer is
 * dead. That a process is stopped no kernel tells, so this is the only way to
 * see it.
 */
static void ping(struct remote *r, uint64_t now)
{
	struct remote_conn *c = NULL;

	if (r->ping_sent_ns) {
		if (now >= look_due(r))
			look(r, now);
		if (now < ping_limit(r)) {
			r->suspect = false;
			return;
		}
		/* It may be we who were stopped: read first what has come. */
		if (r->suspect)
			for (unsigned i = 0; i < r->conn_count; i++)
				if (r->conns[i].state == REMOTE_READY)
					r->conns[i].error = -ETIMEDOUT;
		r->suspect = !r->suspect;
		return;
	}
	if (now < ping_due(r))
		return;
	c = control_conn(r);
	if (!c || remote_send_control(c, MS_PROTO_PING, 0))
		return;
	uint64_t every = PING_EVERY_MS * MS_NS_PER_MS;
	r->ping_sent_ns = now;
	r->ping_last_ns = now;
	r->ping_next_ns =
		now + (r->window.rtt_ns > every ? r->window.rtt_ns : every);
}

static int sleep_ms(const struct remote *r, uint64_t now)
{
	uint64_t until = now + TICK_MS * MS_NS_PER_MS;
	const uint64_t times[] = {
		r->deadline_ns, remote_reconnect_next(r), ping_limit(r),
		look_due(r),
		r->ping_sent_ns || !control_conn(r) ? UINT64_MAX : ping_due(r)};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] < until)
			until = times[i];
	if (until <= now)
		return 0;
	/* Rounded up, else the last fraction is spent awake. */
	return (int)((until - now + MS_NS_PER_MS - 1) / MS_NS_PER_MS);
}

/* --- events --------------------------------------------------------------- */

static void connected(struct remote_conn *c)
{
	struct remote *r = c->remote;
	struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = c}};
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(c->stream->fd, SOL_SOCKET, SO_ERROR, &error, &length))
		error = errno;
	if (error) {
		c->error = -error;
		return;
	}
	(void)epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, c->stream->fd, &event);
	c->state = REMOTE_GREETING;
	c->dirty = true;
}

static void receive_some(struct remote_conn *c)
{
	int rc = 1;

	for (int i = 0; i < RECEIVES && rc > 0; i++)
		rc = remote_receive(c);
	if (rc >= 0)
		return;
	pthread_mutex_lock(&c->remote->lock);
	if (!c->error)
		c->error = rc;
	pthread_mutex_unlock(&c->remote->lock);
}

static void handle(struct remote_conn *c, uint32_t events)
{
	struct remote *r = c->remote;

	pthread_mutex_lock(&r->lock);
	bool receive = c->state != REMOTE_CONNECTING && !c->error;
	if (c->state == REMOTE_CONNECTING) {
		connected(c);
	} else if (events & EPOLLOUT && c->blocked) {
		struct epoll_event event = {.events = EPOLLIN,
					    .data = {.ptr = c}};
		c->blocked = false;
		c->dirty = true;
		(void)epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, c->stream->fd,
				&event);
	}
	pthread_mutex_unlock(&r->lock);
	if (receive && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive_some(c);
}

/* The notices of changes stopped: ask again, and take all as changed. */
static void watch_again(struct remote *r)
{
	struct remote_conn *c = control_conn(r);

	if (!c && remote_resumes(r))
		return; /* later */
	r->rewatch = false;
	if (!r->watcher || !c || remote_send_control(c, MS_PROTO_WATCH, 1))
		return;
	r->watch_conn = c;
	ms_changed_fn *fn = r->watcher;
	void *user = r->watcher_user;
	r->watch_calls = true;
	remote_unlock(r);
	fn(user, 0, ms_size(&r->base));
	pthread_mutex_lock(&r->lock);
	r->watch_calls = false;
	pthread_cond_broadcast(&r->changed);
}

/* Everything that is due, with the lock held. Returns how long to sleep. */
static int attend(struct remote *r)
{
	uint64_t now = ms_now_ns();

	check_connecting(r, now);
	ping(r, now);
	bury_broken(r);
	remote_reconnect(r, now);
	check_deadlines(r, now);
	if (remote_abort_jobs(r))
		for (unsigned i = 0; i < r->conn_count; i++) {
			struct remote_conn *c = &r->conns[i];
			if (!c->yield || c->sending)
				continue;
			c->yield = false;
			c->dirty = true;
		}
	if (r->rewatch)
		watch_again(r);
	remote_dispatch(r);
	remote_flush_dirty(r);
	return sleep_ms(r, now);
}

void *remote_main(void *arg)
{
	struct remote *r = arg;
	struct epoll_event events[EVENTS];
	uint64_t count = 0;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		int ms = attend(r);
		bool more = r->finished != NULL;
		remote_unlock(r);
		int n = epoll_wait(r->epoll_fd, events, EVENTS, more ? 0 : ms);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				handle(events[i].data.ptr, events[i].events);
			else
				(void)!read(r->wake_fd, &count, sizeof(count));
		}
		pthread_mutex_lock(&r->lock);
		r->nudged = false;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that talks to the server: it sends, receives, enforces deadlines
 * and buries connections. It owns a connection while its state is UP.
 */
#include "approaches/common/backend/nbd.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define LASTED_NS MS_NS_PER_S

enum {
	TICK_MS = 1000
};

/* --- connections that come and go ------------------------------------------
 */

/* Without the lock. Nothing touches the buffers of their pieces afterwards. */
static void close_lost(struct nbd_store *s)
{
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX + 1; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (!c->served || !c->lost)
			continue;
		nbd_close(c->handle);
		c->handle = NULL;
		c->served = false;
	}
}

static void adopt_fresh(struct nbd_store *s, uint64_t now)
{
	for (unsigned i = 0; i < s->conn_count; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (c->state != NBD_FRESH)
			continue;
		c->state = NBD_UP;
		c->served = true;
		c->since_ns = now;
		s->up_count++;
		if (TAILQ_EMPTY(&s->jobs))
			s->alone_ns = 0;
		(void)pthread_cond_broadcast(&s->changed);
	}
}

/* A connection that did not last is made again more slowly. */
static void plan_dial(const struct nbd_store *s, struct nbd_conn *c,
		      uint64_t now)
{
	if (now - c->since_ns > LASTED_NS)
		c->dial_wait_ns = 0;
	else
		ms_nbd_dial_wait_longer(c);
	c->dial_next_ns =
		s->config.reconnect_ns ? now + c->dial_wait_ns : UINT64_MAX;
}

/*
 * What was changed and not flushed is in doubt even if only one of several
 * connections is lost: it may be the first sign of a server that was restarted.
 */
static void bury(struct nbd_store *s, struct nbd_conn *c, uint64_t now)
{
	struct nbd_piece *p = TAILQ_FIRST(&c->pieces);
	struct nbd_piece *next = NULL;

	s->losses++;
	s->up_count--;
	ms_nbd_fail_syncs(s);
	for (; p; p = next) {
		next = TAILQ_NEXT(p, link);
		ms_nbd_piece_lost(s, p);
	}
	c->lost = false;
	c->state = NBD_DOWN;
	plan_dial(s, c, now);
	if (s->up_count == 0 &&
	    (!s->alone_ns || now - c->since_ns > s->config.reconnect_ns))
		s->alone_ns = now;
	ms_nbd_wake_dial(s);
}

static void bury_closed(struct nbd_store *s, uint64_t now)
{
	for (unsigned i = 0; i < s->conn_count; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (c->state == NBD_UP && !c->handle)
			bury(s, c, now);
	}
}

/*
 * Without an answer for too long: the server is lost for good. A connection
 * alone is no answer, or a server that takes and drops them would keep requests
 * for ever; while there is one, it may take its time.
 */
static void check_alone(struct nbd_store *s, uint64_t now)
{
	if (!s->alone_ns || s->up_count || s->dead ||
	    now - s->alone_ns < s->config.reconnect_ns)
		return;
	s->dead = -ENOTCONN;
	ms_nbd_fail_all(s, -ENOTCONN);
}

/* --- answers ---------------------------------------------------------------
 */

/* An answer that says that the connection is over is none. */
static bool says_lost(const struct nbd_piece *p)
{
	return p->error == -ENOTCONN || p->error == -ESHUTDOWN;
}

static void take_answers(struct nbd_store *s)
{
	struct nbd_piece *p = NULL;

	while ((p = TAILQ_FIRST(&s->answered)) != NULL) {
		TAILQ_REMOVE(&s->answered, p, batch_link);
		if (says_lost(p)) {
			p->conn->lost = true;
			continue;
		}
		s->alone_ns = 0;
		ms_nbd_piece_done(s, p, p->error);
	}
}

/* --- time ------------------------------------------------------------------
 */

static uint64_t due(const struct nbd_store *s, const struct nbd_job *j)
{
	uint64_t since = j->start_ns;

	if (!j->timeout_ns)
		return j->io->deadline_ns ? j->io->deadline_ns : UINT64_MAX;
	if (since < s->progress_ns)
		since = s->progress_ns;
	return since + j->timeout_ns;
}

/* The connections that hold the buffer of a job which must end. */
static void close_for(struct nbd_job *j)
{
	struct nbd_piece *p = NULL;

	for (p = TAILQ_FIRST(&j->pieces); p; p = TAILQ_NEXT(p, job_link))
		if (p->conn)
			p->conn->lost = true;
}

static void check_job(struct nbd_store *s, struct nbd_job *j, uint64_t now)
{
	uint64_t when = j->close_ns ? j->close_ns : due(s, j);

	if (j->close_ns && j->close_ns <= now) {
		close_for(j);
		return;
	}
	if (!j->close_ns && !j->abort && when <= now)
		j->abort = -ETIMEDOUT;
	if (!j->close_ns && j->abort) {
		ms_nbd_job_abort(s, j, now);
		when = j->close_ns ? j->close_ns : UINT64_MAX;
	}
	if (when < s->deadline_ns)
		s->deadline_ns = when;
}

static void check_jobs(struct nbd_store *s, uint64_t now)
{
	struct nbd_job *j = TAILQ_FIRST(&s->jobs);
	struct nbd_job *next = NULL;

	if (now < s->deadline_ns && !s->cancelled)
		return;
	s->cancelled = false;
	s->deadline_ns = UINT64_MAX;
	for (; j; j = next) {
		next = TAILQ_NEXT(j, all_link);
		check_job(s, j, now);
	}
}

static int sleep_ms(const struct nbd_store *s, uint64_t now)
{
	uint64_t until = now + TICK_MS * MS_NS_PER_MS;

	if (s->deadline_ns < until)
		until = s->deadline_ns;
	if (s->alone_ns && !s->up_count && !s->dead &&
	    s->alone_ns + s->config.reconnect_ns < until)
		until = s->alone_ns + s->config.reconnect_ns;
	if (until <= now)
		return 0;
	/* Rounded up, else the last fraction is spent awake. */
	return (int)((until - now + MS_NS_PER_MS - 1) / MS_NS_PER_MS);
}

/* --- events ----------------------------------------------------------------
 */

static void send_all(struct nbd_store *s)
{
	struct nbd_piece *p = NULL;

	while ((p = TAILQ_FIRST(&s->to_send)) != NULL) {
		TAILQ_REMOVE(&s->to_send, p, batch_link);
		ms_nbd_piece_send(p);
	}
}

/* The set to poll; [0] is the wake-up. `ret_more`: do not wait. */
static unsigned collect(struct nbd_store *s, struct pollfd *fds,
			struct nbd_conn **conns, bool *ret_more)
{
	unsigned n = 1;

	*ret_more = !TAILQ_EMPTY(&s->answered);
	fds[0] = (struct pollfd){.fd = s->loop_fd, .events = POLLIN};
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX + 1; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (!c->served)
			continue;
		if (c->lost || !ms_nbd_handle_poll(c->handle, &fds[n].fd,
						   &fds[n].events)) {
			c->lost = true;
			*ret_more = true;
			continue;
		}
		fds[n].revents = 0;
		conns[n++] = c;
	}
	return n;
}

static bool handle_events(struct nbd_store *s, const struct pollfd *fds,
			  struct nbd_conn **conns, unsigned n)
{
	bool progress = false;
	uint64_t count = 0;

	if (fds[0].revents)
		(void)!read(s->loop_fd, &count, sizeof(count));
	for (unsigned i = 1; i < n; i++) {
		if (!fds[i].revents)
			continue;
		progress |= (fds[i].revents & POLLIN) != 0;
		if (ms_nbd_handle_continue(conns[i]->handle, &s->config,
					   fds[i].revents) >= 0)
			continue;
		conns[i]->lost = true;
		pthread_mutex_lock(&s->lock);
		ms_nbd_store_why(s, "%s", ms_err_text());
		pthread_mutex_unlock(&s->lock);
	}
	return progress;
}

/* Everything that is due, with the lock held. Returns how long to sleep. */
static int attend(struct nbd_store *s, bool progress)
{
	uint64_t now = ms_now_ns();

	if (progress)
		s->progress_ns = now;
	adopt_fresh(s, now);
	take_answers(s);
	bury_closed(s, now);
	check_jobs(s, now);
	check_alone(s, now);
	ms_nbd_dispatch(s);
	return sleep_ms(s, now);
}

void *ms_nbd_loop_main(void *arg)
{
	struct nbd_store *s = arg;
	struct pollfd fds[NBD_CONNECTIONS_MAX + 2];
	struct nbd_conn *conns[NBD_CONNECTIONS_MAX + 2];
	bool progress = false;
	bool more = false;

	(void)pthread_setname_np(pthread_self(), "ms-nbd");
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		int ms = attend(s, progress);
		s->loop_sleeps = true;
		ms_nbd_store_unlock(s);
		send_all(s);
		unsigned n = collect(s, fds, conns, &more);
		(void)poll(fds, n, more ? 0 : ms);
		progress = handle_events(s, fds, conns, n);
		close_lost(s);
		pthread_mutex_lock(&s->lock);
		s->loop_sleeps = false;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

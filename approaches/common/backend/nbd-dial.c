/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that connects, at first and again. All connections that are down
 * are dialled at the same time; each waits longer after each failure. It owns
 * a connection while its state is DOWN.
 */
#include "approaches/common/backend/nbd.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAIT_FIRST_NS (50 * MS_NS_PER_MS)
#define WAIT_MAX_NS   (2 * MS_NS_PER_S)

/* With the lock held: the first connection failed, there is no backend. */
static void give_up(struct nbd_store *s, int error)
{
	s->dead = error;
	ms_nbd_store_why(s, "%s", ms_err_text());
	(void)pthread_cond_broadcast(&s->changed);
}

void ms_nbd_dial_wait_longer(struct nbd_conn *c)
{
	c->dial_wait_ns = c->dial_wait_ns ? 2 * c->dial_wait_ns : WAIT_FIRST_NS;
	if (c->dial_wait_ns > WAIT_MAX_NS)
		c->dial_wait_ns = WAIT_MAX_NS;
}

static void fail(struct nbd_store *s, struct nbd_conn *c, int error)
{
	nbd_close(c->handle);
	c->handle = NULL;
	ms_nbd_dial_wait_longer(c);
	c->dial_next_ns = ms_now_ns() + c->dial_wait_ns;
	pthread_mutex_lock(&s->lock);
	if (s->up)
		ms_nbd_store_why(s, "%s", ms_err_text());
	else
		give_up(s, error);
	pthread_mutex_unlock(&s->lock);
}

static bool same_export(const struct nbd_features *was,
			const struct nbd_features *is)
{
	return is->size == was->size && is->block <= was->block &&
	       is->length_max >= was->length_max && is->flush == was->flush &&
	       is->tls >= was->tls && (is->caps & was->caps) == was->caps;
}

/* With the lock held: what the first connection says is what there is. */
static void learn(struct nbd_store *s, const struct nbd_features *f)
{
	s->features = *f;
	s->base.caps = f->caps;
	s->base.block = f->block;
	ms_size_set(&s->base, f->size);
	s->piece_max = s->config.request_max & ~((uint64_t)f->block - 1);
	if (s->piece_max > f->length_max)
		s->piece_max = f->length_max;
	if (s->piece_max == 0)
		s->piece_max = f->block;
	/* Several connections only if a flush on one covers all. */
	if (f->multi && s->config.connections > 1)
		s->conn_count = (unsigned)s->config.connections + 1;
	s->up = true;
}

static void dial_succeeded(struct nbd_store *s, struct nbd_conn *c)
{
	struct nbd_features f;
	int rc = ms_nbd_handle_features(c->handle, &s->config, &f);

	if (rc == 0 && s->up && !same_export(&s->features, &f))
		rc = ms_err_plain(-ESTALE,
				  "nbd: %s: the export is not the one that was "
				  "opened any more",
				  s->config.uri);
	if (rc) {
		fail(s, c, rc);
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (!s->up)
		learn(s, &f);
	c->state = NBD_FRESH;
	ms_nbd_wake_loop(s);
	pthread_mutex_unlock(&s->lock);
}

static void go_on(struct nbd_store *s, struct nbd_conn *c, short revents)
{
	int rc = ms_nbd_handle_continue(c->handle, &s->config, revents);

	if (rc == 0 && ms_now_ns() - c->dial_start_ns > s->config.connect_ns)
		rc = ms_err(-ETIMEDOUT, "nbd: %s", s->config.uri);
	if (rc < 0)
		fail(s, c, rc);
	else if (rc > 0)
		dial_succeeded(s, c);
}

/* Begin with those that are to be dialled now. */
static void begin(struct nbd_store *s, uint64_t now)
{
	struct nbd_conn *start[NBD_CONNECTIONS_MAX + 1];
	unsigned count = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->conn_count && !s->dead; i++) {
		struct nbd_conn *c = &s->conns[i];
		if (c->state == NBD_DOWN && !c->handle &&
		    c->dial_next_ns <= now)
			start[count++] = c;
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < count; i++) {
		struct nbd_conn *c = start[i];
		c->dial_start_ns = ms_now_ns();
		int rc = ms_nbd_handle_start(&s->config, &c->handle);
		if (rc)
			fail(s, c, rc);
	}
}

/* The set to poll; [0] is the wake-up. Returns how many, and until when. */
static unsigned collect(struct nbd_store *s, struct pollfd *fds,
			struct nbd_conn **conns, uint64_t *ret_until)
{
	unsigned n = 1;

	*ret_until = UINT64_MAX;
	fds[0] = (struct pollfd){.fd = s->dial_fd, .events = POLLIN};
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->conn_count && !s->dead; i++) {
		struct nbd_conn *c = &s->conns[i];
		uint64_t until = c->dial_next_ns;
		if (c->state != NBD_DOWN)
			continue;
		if (c->handle) {
			/* An ended one is found by looking at it. */
			if (!ms_nbd_handle_poll(c->handle, &fds[n].fd,
						&fds[n].events))
				until = 0;
			else
				until = c->dial_start_ns + s->config.connect_ns;
			fds[n].revents = 0;
			conns[n++] = c;
		}
		if (until < *ret_until)
			*ret_until = until;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

static int sleep_ms(uint64_t until)
{
	uint64_t now = ms_now_ns();

	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)((until - now) / MS_NS_PER_MS) + 1;
}

void *ms_nbd_dial_main(void *arg)
{
	struct nbd_store *s = arg;
	struct pollfd fds[NBD_CONNECTIONS_MAX + 2];
	struct nbd_conn *conns[NBD_CONNECTIONS_MAX + 2];
	uint64_t until = 0;
	uint64_t count = 0;

	(void)pthread_setname_np(pthread_self(), "ms-nbd-dial");
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		begin(s, ms_now_ns());
		unsigned n = collect(s, fds, conns, &until);
		(void)poll(fds, n, sleep_ms(until));
		if (fds[0].revents)
			(void)!read(s->dial_fd, &count, sizeof(count));
		for (unsigned i = 1; i < n; i++)
			go_on(s, conns[i], fds[i].revents);
	}
	return NULL;
}

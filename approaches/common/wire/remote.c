/* SPDX-License-Identifier: Apache-2.0 */
/* Backend `remote`: opening, closing, and the backend's operations. */
#include "approaches/common/wire/remote.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	/*
	 * TCP begins slowly on every connection; this many together begin
	 * fast enough that a link of 1 Gbit/s and 20 ms loses little. Their
	 * initial windows of 10 segments make a burst of 117 KB, which a
	 * router's queue of 128 KiB still takes: twice as many lost segments
	 * at 100 Mbit/s, and a lost tail waits for a retransmission timeout.
	 */
	CONNECTIONS_TCP = 8,
	CONNECTIONS_LOCAL = 2,
};

static struct remote *self(const struct ms_backend *b)
{
	return ms_container_of(b, struct remote, base);
}

/* --- completing ----------------------------------------------------------- */

void remote_unlock(struct remote *r)
{
	struct remote_job *job = r->finished;
	struct remote_job *next = NULL;

	r->finished = NULL;
	pthread_mutex_unlock(&r->lock);
	if (!job)
		return;
	struct remote_job *first = job;
	struct remote_job *last = job;
	for (; job; job = next) {
		next = job->next;
		last = job;
		ms_done(job->io, job->result, job->origin);
	}
	pthread_mutex_lock(&r->lock);
	last->next = r->job_spare;
	r->job_spare = first;
	pthread_mutex_unlock(&r->lock);
}

/* --- operations ----------------------------------------------------------- */

static void remote_submit(struct ms_backend *b, struct ms_io *io)
{
	struct remote *r = self(b);
	const char *origin = "remote";
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (r->dead) {
		rc = r->dead;
		origin = r->dead_why;
	} else if (!remote_job_add(r, io)) {
		rc = -ENOMEM;
	}
	/* The session's own thread sends when it has completed a batch. */
	if (rc == 0 && !pthread_equal(r->thread, pthread_self())) {
		remote_dispatch(r);
		remote_flush_dirty(r);
	}
	remote_unlock(r);
	if (rc)
		ms_done(io, rc, origin);
}

static void remote_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct remote *r = self(b);

	pthread_mutex_lock(&r->lock);
	struct remote_job *job = io->hold[0];
	if (job && !job->abort) {
		job->abort = -ECANCELED;
		r->aborting++;
		remote_nudge(r);
	}
	pthread_mutex_unlock(&r->lock);
}

/* With the lock held: ask for notices and wait for the answer. */
static int start_watch(struct remote *r)
{
	struct remote_conn *c = NULL;

	for (unsigned i = 0; i < r->conn_count && !c; i++)
		if (r->conns[i].state == REMOTE_READY && !r->conns[i].error)
			c = &r->conns[i];
	if (!c)
		return -ENOTCONN;
	r->watch_result = 1;
	int rc = remote_send_control(c, MS_PROTO_WATCH, 1);
	if (rc)
		return rc;
	r->watch_conn = c;
	remote_flush(c);
	while (r->watch_result == 1 && !r->dead)
		pthread_cond_wait(&r->changed, &r->lock);
	return r->watch_result == 1 ? -ENOTCONN : r->watch_result;
}

static void stop_watch(struct remote *r)
{
	r->watcher = NULL;
	if (r->watch_conn &&
	    remote_send_control(r->watch_conn, MS_PROTO_WATCH, 0) == 0)
		remote_flush(r->watch_conn);
	r->watch_conn = NULL;
	/* When we return the watcher is not running and will not run. */
	while (r->watch_calls && !pthread_equal(r->thread, pthread_self()))
		pthread_cond_wait(&r->changed, &r->lock);
}

static int remote_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	struct remote *r = self(b);
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (!fn) {
		stop_watch(r);
	} else if (r->watcher) {
		rc = -EBUSY;
	} else {
		r->watcher = fn;
		r->watcher_user = user;
		rc = start_watch(r);
		if (rc)
			r->watcher = NULL;
	}
	remote_unlock(r);
	return rc ? ms_err(rc, "remote: watch") : 0;
}

static void remote_print_stats(struct ms_backend *b, FILE *out)
{
	struct remote *r = self(b);
	uint64_t received = 0;
	uint64_t sent = 0;
	unsigned ready = 0;

	pthread_mutex_lock(&r->lock);
	const struct ms_window *w = &r->window;
	for (unsigned i = 0; i < r->conn_count; i++) {
		received += r->conns[i].received_bytes;
		sent += r->conns[i].sent_bytes;
		ready += r->conns[i].state == REMOTE_READY;
	}
	uint64_t queue =
		w->rtt_ns > w->rtt_min_ns ? w->rtt_ns - w->rtt_min_ns : 0;
	(void)fprintf(out, "connections %u\n", ready);
	(void)fprintf(out, "requests %" PRIu64 "\n", r->requests);
	(void)fprintf(out, "reissued %" PRIu64 "\n", r->reissued);
	(void)fprintf(out, "reconnects %" PRIu64 "\n", r->reconnects);
	(void)fprintf(out, "restarts %" PRIu64 "\n", r->restarts);
	(void)fprintf(out, "read_bytes %" PRIu64 "\n", r->read_bytes);
	(void)fprintf(out, "write_bytes %" PRIu64 "\n", r->write_bytes);
	(void)fprintf(out, "stream_rx_bytes %" PRIu64 "\n", received);
	(void)fprintf(out, "stream_tx_bytes %" PRIu64 "\n", sent);
	(void)fprintf(out, "rtt_min_us %" PRIu64 "\n", w->rtt_min_ns / 1000);
	(void)fprintf(out, "rtt_us %" PRIu64 "\n", w->rtt_ns / 1000);
	(void)fprintf(out, "queue_us %" PRIu64 "\n", queue / 1000);
	(void)fprintf(out, "rate_bytes_s %" PRIu64 "\n", w->rate);
	(void)fprintf(out, "window_bytes %" PRIu64 "\n", w->size);
	(void)fprintf(out, "outstanding_bytes %" PRIu64 "\n", w->outstanding);
	pthread_mutex_unlock(&r->lock);
}

/* --- closing -------------------------------------------------------------- */

static void say_goodbye(struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		if (c->state != REMOTE_READY || c->error)
			continue;
		if (remote_send_control(c, MS_PROTO_BYE, 0) == 0)
			remote_flush(c);
	}
}

static void free_pieces(struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++) {
		struct remote_conn *c = &r->conns[i];
		c->queue = NULL;
		while (c->pieces)
			remote_piece_done(r, c->pieces, -ECANCELED);
		ms_stream_close(c->stream);
		free(c->buf);
	}
}

static void remote_close(struct ms_backend *b)
{
	struct remote *r = self(b);
	void (*after)(void *user) = r->after_close;
	void *user = r->after_close_user;

	pthread_mutex_lock(&r->lock);
	if (r->conns)
		say_goodbye(r);
	r->stop = true;
	if (r->running)
		remote_nudge(r);
	pthread_mutex_unlock(&r->lock);
	if (r->running)
		(void)pthread_join(r->thread, NULL);
	free_pieces(r);
	remote_job_memory_free(r);
	remote_piece_memory_free(r);
	free(r->conns);
	free(r->drain);
	if (r->epoll_fd >= 0)
		(void)close(r->epoll_fd);
	if (r->wake_fd >= 0)
		(void)close(r->wake_fd);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
	if (after)
		after(user);
}

void remote_after_close(struct ms_backend *b, void (*fn)(void *user),
			void *user)
{
	self(b)->after_close = fn;
	self(b)->after_close_user = user;
}

static const struct ms_backend_ops remote_ops = {
	.name = "remote",
	.submit = remote_submit,
	.cancel = remote_cancel,
	.watch = remote_watch,
	.close = remote_close,
	.stats = remote_print_stats,
};

/* --- opening -------------------------------------------------------------- */

static int window_bytes(const char *text, uint64_t *ret)
{
	if (!text || strcmp(text, "auto") == 0) {
		*ret = 0;
		return 0;
	}
	int rc = ms_parse_size(text, ret);
	if (rc || *ret == 0)
		return ms_err(-EINVAL,
			      "remote: window=%s is neither auto nor "
			      "a size",
			      text);
	return 0;
}

static int start_all(struct remote *r, unsigned bulk)
{
	struct epoll_event wake = {.events = EPOLLIN};
	/* With one connection alone there are no lanes. */
	unsigned count = bulk == 1 ? 1 : bulk + 1;

	r->conns = calloc(count, sizeof(*r->conns));
	r->drain = malloc(REMOTE_DRAIN_BYTES);
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->conns || !r->drain || r->epoll_fd < 0 || r->wake_fd < 0 ||
	    epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &wake))
		return ms_err(-ENOMEM, "remote");
	for (unsigned i = 0; i < count; i++) {
		struct remote_conn *c = &r->conns[i];
		c->remote = r;
		c->state = REMOTE_CLOSED;
		c->lane = count == 1 ? MS_LANE_ANY
				     : (i ? MS_LANE_BULK : MS_LANE_URGENT);
		r->conn_count++;
		int rc = remote_conn_start(c);
		if (rc)
			return rc;
	}
	int rc = -pthread_create(&r->thread, NULL, remote_main, r);
	r->running = rc == 0;
	return rc ? ms_err(rc, "remote: a thread") : 0;
}

/* With the lock held: connections that may still become usable. */
static bool some_pending(const struct remote *r)
{
	for (unsigned i = 0; i < r->conn_count; i++)
		if (r->conns[i].state == REMOTE_CONNECTING ||
		    r->conns[i].state == REMOTE_GREETING)
			return true;
	return false;
}

/*
 * The connections began together, so the others are welcome soon after the
 * first. To begin with all of them is worth an eighth of the time until then:
 * what is asked for over one connection arrives as slowly as one begins.
 */
static void await_others(struct remote *r, uint64_t start)
{
	uint64_t now = ms_now_ns();
	struct timespec until;

	until = ms_timespec(now + (now - start) / 8 + MS_NS_PER_MS);
	while (some_pending(r) && !r->dead)
		if (pthread_cond_clockwait(&r->changed, &r->lock,
					   CLOCK_MONOTONIC, &until))
			break;
}

/* Wait until connections are welcome, or none can be any more. */
static int await_welcome(struct remote *r, const char *uri)
{
	int rc = 0;
	uint64_t start = ms_now_ns();

	pthread_mutex_lock(&r->lock);
	while (!r->up && !r->dead)
		pthread_cond_wait(&r->changed, &r->lock);
	if (r->up) {
		await_others(r, start);
	} else {
		rc = r->dead;
		if (r->dead_text[0])
			(void)ms_err(rc, "remote: %s: the server says: %s", uri,
				     r->dead_text);
		else
			(void)ms_err(rc, "remote: %s", uri);
	}
	remote_unlock(r);
	return rc;
}

static int try_address(const struct remote_config *config,
		       const struct ms_uri *uri,
		       const struct ms_address *address,
		       struct ms_backend **ret)
{
	struct remote *r = calloc(1, sizeof(*r));
	uint64_t window = 0;
	int rc = 0;

	if (!r)
		return ms_err(-ENOMEM, "remote");
	ms_backend_init(&r->base, &remote_ops, 0, 0);
	(void)pthread_mutex_init(&r->lock, NULL);
	(void)pthread_cond_init(&r->changed, NULL);
	r->epoll_fd = -1;
	r->wake_fd = -1;
	r->transport = ms_transport_find(uri->scheme);
	r->connect_ns = config->connect_ns;
	r->dead_ns = config->dead_ns;
	r->reconnect_ns = config->reconnect_ns;
	r->address = *address;
	r->epoch = 1;
	r->deadline_ns = UINT64_MAX;
	r->hello = (struct ms_hello){
		.version_min = MS_PROTO_VERSION,
		.version_max = MS_PROTO_VERSION,
		.features = MS_PROTO_FEATURES,
		.request_max = (uint32_t)config->request_max,
		.role = MS_ROLE_TARGET,
	};
	memcpy(r->hello.name, uri->export_name, sizeof(r->hello.name));
	if (getrandom(r->hello.token, MS_PROTO_ID_BYTES, 0) !=
	    MS_PROTO_ID_BYTES)
		rc = ms_err(-EIO, "remote: no random bytes");
	if (rc == 0)
		rc = window_bytes(config->window, &window);
	ms_window_init(&r->window, window);
	unsigned bulk = (unsigned)config->connections;
	if (bulk == 0)
		bulk = strcmp(uri->scheme, "tcp") == 0 ? CONNECTIONS_TCP
						       : CONNECTIONS_LOCAL;
	if (rc == 0)
		rc = start_all(r, bulk);
	if (rc == 0)
		rc = await_welcome(r, config->uri);
	if (rc)
		remote_close(&r->base);
	else
		*ret = &r->base;
	return rc;
}

int remote_open(const struct remote_config *config, struct ms_backend **ret)
{
	struct ms_address addresses[MS_ADDRESSES_MAX];
	struct ms_uri uri;
	size_t count = 0;
	int rc = ms_uri_parse(config->uri, &uri);

	if (rc)
		return rc;
	rc = ms_transport_find(uri.scheme)->resolve(&uri, addresses, &count);
	if (rc)
		return rc;
	rc = ms_err(-EHOSTUNREACH, "remote: %s has no address", config->uri);
	for (size_t i = 0; i < count && rc; i++)
		rc = try_address(config, &uri, &addresses[i], ret);
	return rc;
}

static int remote_type_open(const void *config, struct ms_backend **ret)
{
	return remote_open(config, ret);
}

static const struct ms_opt remote_options[] = {
	MS_OPT_ENTRY(struct remote_config, uri, "uri", 0, MS_OPT_T_STRING, 0, 0,
		     NULL, "URI", "where the server is: tcp, unix",
		     .required = true),
	MS_OPT_UINT(struct remote_config, connections, "connections", 0, "0", 0,
		    REMOTE_CONNECTIONS_MAX,
		    "connections for bulk data; 1: no urgent lane; 0: chosen"),
	MS_OPT_STRING(struct remote_config, window, "window", 0, "auto", "SIZE",
		      "bytes under way at most; auto: measured"),
	MS_OPT_SIZE(struct remote_config, request_max, "max-request", 0, "1M",
		    MS_PROTO_REQUEST_MIN, MS_PROTO_REQUEST_MAX,
		    "the longest request"),
	MS_OPT_DURATION(struct remote_config, connect_ns, "connect-timeout", 0,
			"10s", "time to connect and to be welcome"),
	MS_OPT_DURATION(struct remote_config, dead_ns, "dead-after", 0, "5s",
			"silence after which the server is dead; 0: never"),
	MS_OPT_DURATION(struct remote_config, reconnect_ns, "reconnect", 0,
			"30s", "time to wait for a lost server; 0: none"),
	MS_OPT_END,
};

const struct ms_backend_type ms_remote_type = {
	.name = "remote",
	.summary = "a region that another host serves",
	.kind = MS_STORE,
	.options = remote_options,
	.config_size = sizeof(struct remote_config),
	.open = remote_type_open,
};

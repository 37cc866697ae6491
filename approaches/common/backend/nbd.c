/* SPDX-License-Identifier: Apache-2.0 */
/* Backend `nbd`: options, opening, closing, and the backend's operations. */
#include "approaches/common/backend/nbd.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct nbd_store *self(const struct ms_backend *b)
{
	return ms_container_of(b, struct nbd_store, base);
}

/* --- waking and completing ------------------------------------------------ */

static void ring(int fd)
{
	uint64_t one = 1;

	/* It can only fail when it is full, and then it has rung already. */
	(void)!write(fd, &one, sizeof(one));
}

void ms_nbd_wake_loop(struct nbd_store *s)
{
	if (!s->loop_sleeps)
		return;
	s->loop_sleeps = false;
	ring(s->loop_fd);
}

void ms_nbd_wake_dial(struct nbd_store *s)
{
	ring(s->dial_fd);
}

void ms_nbd_store_why(struct nbd_store *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

void ms_nbd_store_unlock(struct nbd_store *s)
{
	struct nbd_queue batch = TAILQ_HEAD_INITIALIZER(batch);
	struct nbd_job *j = NULL;

	TAILQ_CONCAT(&batch, &s->finished, queue_link);
	pthread_mutex_unlock(&s->lock);
	if (TAILQ_EMPTY(&batch))
		return;
	for (j = TAILQ_FIRST(&batch); j; j = TAILQ_NEXT(j, queue_link))
		ms_done(j->io, j->result, j->origin);
	pthread_mutex_lock(&s->lock);
	TAILQ_CONCAT(&s->job_spare, &batch, queue_link);
	pthread_mutex_unlock(&s->lock);
}

/* --- operations ----------------------------------------------------------- */

static void nbd_submit(struct ms_backend *b, struct ms_io *io)
{
	struct nbd_store *s = self(b);
	const char *origin = "nbd";

	pthread_mutex_lock(&s->lock);
	int rc = ms_nbd_job_add(s, io, &origin);
	if (rc == 0)
		ms_nbd_wake_loop(s);
	pthread_mutex_unlock(&s->lock);
	if (rc)
		ms_done(io, rc < 0 ? rc : 0, origin);
}

static void nbd_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct nbd_store *s = self(b);

	pthread_mutex_lock(&s->lock);
	struct nbd_job *j = io->hold[0];
	if (j && !j->abort) {
		j->abort = -ECANCELED;
		s->cancelled = true;
		ms_nbd_wake_loop(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void nbd_hurry(struct ms_backend *b, struct ms_io *io)
{
	struct nbd_store *s = self(b);

	pthread_mutex_lock(&s->lock);
	ms_nbd_job_hurry(s, io);
	pthread_mutex_unlock(&s->lock);
}

static void nbd_print_stats(struct ms_backend *b, FILE *out)
{
	struct nbd_store *s = self(b);

	pthread_mutex_lock(&s->lock);
	(void)fprintf(out, "connections %u\n", s->up_count);
	(void)fprintf(out, "connections_wanted %u\n", s->conn_count);
	(void)fprintf(out, "requests %" PRIu64 "\n", s->requests);
	(void)fprintf(out, "reissued %" PRIu64 "\n", s->reissued);
	(void)fprintf(out, "losses %" PRIu64 "\n", s->losses);
	(void)fprintf(out, "left_behind %" PRIu64 "\n", s->left_behind);
	(void)fprintf(out, "read_bytes %" PRIu64 "\n", s->read_bytes);
	(void)fprintf(out, "write_bytes %" PRIu64 "\n", s->write_bytes);
	(void)fprintf(out, "outstanding_bytes %" PRIu64 "\n", s->outstanding);
	(void)fprintf(out, "unflushed %" PRIu64 "\n", s->changes - s->durable);
	(void)fprintf(out, "tls %s\n", s->features.tls ? "yes" : "no");
	if (s->why[0])
		(void)fprintf(out, "trouble %s\n", s->why);
	pthread_mutex_unlock(&s->lock);
}

/* --- closing -------------------------------------------------------------- */

/* Both threads have ended: everything is ours. */
static void close_handles(struct nbd_store *s)
{
	struct nbd_piece *p = NULL;

	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX + 1; i++) {
		struct nbd_conn *c = &s->conns[i];
		/* A polite end, if the socket takes it. */
		if (c->handle && nbd_aio_is_ready(c->handle) > 0)
			(void)nbd_aio_disconnect(c->handle, 0);
		nbd_close(c->handle);
		/* Answers to requests that have ended long ago. */
		while ((p = TAILQ_FIRST(&c->pieces)) != NULL) {
			TAILQ_REMOVE(&c->pieces, p, link);
			ms_nbd_piece_free(s, p);
		}
	}
}

static void free_config(struct nbd_config *config)
{
	free(config->uri);
	free(config->certificates);
	free(config->user);
	free(config->psk);
}

static void nbd_store_close(struct ms_backend *b)
{
	struct nbd_store *s = self(b);

	pthread_mutex_lock(&s->lock);
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&s->lock);
	ring(s->loop_fd);
	ring(s->dial_fd);
	if (s->loop_runs)
		(void)pthread_join(s->loop_thread, NULL);
	if (s->dial_runs)
		(void)pthread_join(s->dial_thread, NULL);
	close_handles(s);
	ms_nbd_job_memory_free(s);
	ms_nbd_piece_memory_free(s);
	if (s->loop_fd >= 0)
		(void)close(s->loop_fd);
	if (s->dial_fd >= 0)
		(void)close(s->dial_fd);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	free_config(&s->config);
	free(s);
}

static const struct ms_backend_ops nbd_ops = {
	.name = "nbd",
	.submit = nbd_submit,
	.cancel = nbd_cancel,
	.hurry = nbd_hurry,
	.close = nbd_store_close,
	.stats = nbd_print_stats,
};

/* --- opening -------------------------------------------------------------- */

static void copy_text(char **text)
{
	if (*text)
		*text = strdup(*text);
}

/* The strings become copies; false: no memory. */
static bool copy_config(struct nbd_config *to, const struct nbd_config *from)
{
	*to = *from;
	copy_text(&to->uri);
	copy_text(&to->certificates);
	copy_text(&to->user);
	copy_text(&to->psk);
	/* As good as never, and can be added to a time. */
	if (to->connect_ns == 0 || to->connect_ns > UINT64_MAX / 4)
		to->connect_ns = UINT64_MAX / 4;
	if (to->reconnect_ns > UINT64_MAX / 4)
		to->reconnect_ns = UINT64_MAX / 4;
	return !to->uri == !from->uri &&
	       !to->certificates == !from->certificates &&
	       !to->user == !from->user && !to->psk == !from->psk;
}

static void init(struct nbd_store *s)
{
	ms_backend_init(&s->base, &nbd_ops, 0, 0);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	TAILQ_INIT(&s->first);
	TAILQ_INIT(&s->urgent);
	TAILQ_INIT(&s->bulk);
	TAILQ_INIT(&s->jobs);
	TAILQ_INIT(&s->finished);
	TAILQ_INIT(&s->job_spare);
	TAILQ_INIT(&s->stale);
	TAILQ_INIT(&s->redo);
	TAILQ_INIT(&s->piece_spare);
	TAILQ_INIT(&s->to_send);
	TAILQ_INIT(&s->answered);
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX + 1; i++)
		TAILQ_INIT(&s->conns[i].pieces);
	s->conn_count = 1;
	s->deadline_ns = UINT64_MAX;
	s->loop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->dial_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* Signals are for the program's own threads. */
static int start_threads(struct nbd_store *s)
{
	sigset_t all;
	sigset_t before;

	if (s->loop_fd < 0 || s->dial_fd < 0)
		return ms_err(-EMFILE, "nbd: wake-up");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = -pthread_create(&s->loop_thread, NULL, ms_nbd_loop_main, s);
	s->loop_runs = rc == 0;
	if (rc == 0)
		rc = -pthread_create(&s->dial_thread, NULL, ms_nbd_dial_main,
				     s);
	s->dial_runs = s->loop_runs && rc == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? ms_err(rc, "nbd: a thread") : 0;
}

/*
 * Wait until the first connection is up, and then a little for the others,
 * which take as long as the first did: what is asked for over one arrives as
 * slowly as one begins. A server that lets no more in is still a server.
 */
static int await(struct nbd_store *s)
{
	uint64_t start = ms_now_ns();
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->up && !s->dead)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	uint64_t now = ms_now_ns();
	struct timespec until =
		ms_timespec(now + 2 * (now - start) + 20 * MS_NS_PER_MS);
	while (s->up && s->up_count < s->conn_count)
		if (pthread_cond_clockwait(&s->changed, &s->lock,
					   CLOCK_MONOTONIC, &until))
			break;
	if (!s->up)
		rc = ms_err_plain(s->dead, "%s", s->why);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int nbd_open(const void *config, struct ms_backend **ret)
{
	int rc = ms_nbd_config_check(config);

	if (rc)
		return rc;
	struct nbd_store *s = calloc(1, sizeof(*s));
	if (!s)
		return ms_err(-ENOMEM, "nbd");
	init(s);
	if (!copy_config(&s->config, config))
		rc = ms_err(-ENOMEM, "nbd");
	if (rc == 0)
		rc = start_threads(s);
	if (rc == 0)
		rc = await(s);
	if (rc)
		nbd_store_close(&s->base);
	else
		*ret = &s->base;
	return rc;
}

static const char *const tls_names[] = {"uri", "off", "allow", "require", NULL};
static const char *const verify_names[] = {"yes", "no", NULL};

static const struct ms_opt nbd_options[] = {
	MS_OPT_ENTRY(struct nbd_config, uri, "uri", 0, MS_OPT_T_STRING, 0, 0,
		     NULL, "URI", "where the server is: nbd, nbds, nbd+unix",
		     .required = true),
	MS_OPT_UINT(struct nbd_config, connections, "connections", 0, "4", 1,
		    NBD_CONNECTIONS_MAX,
		    "connections for bulk data; 1: no urgent lane"),
	MS_OPT_SIZE(struct nbd_config, window, "window", 0, "16M", 65536,
		    UINT64_C(1) << 40, "bytes under way at most, in all"),
	MS_OPT_SIZE(struct nbd_config, request_max, "max-request", 0, "256K",
		    4096, 32 << 20, "the longest read or write"),
	MS_OPT_DURATION(struct nbd_config, connect_ns, "connect-timeout", 0,
			"10s", "time for one connection; 0: any"),
	MS_OPT_DURATION(struct nbd_config, reconnect_ns, "reconnect", 0, "30s",
			"time to find a lost server again; 0: do not try"),
	MS_OPT_DURATION(struct nbd_config, dead_ns, "dead-after", 0, "10s",
			"a host without a sign of life is dead; 0: never"),
	MS_OPT_FLAG(struct nbd_config, read_only, "read-only", 0,
		    "refuse changes"),
	MS_OPT_CHOICE(struct nbd_config, tls, "tls", 0, "uri", tls_names,
		      "encryption; uri: as the URI says"),
	MS_OPT_STRING(struct nbd_config, certificates, "certificates", 0, NULL,
		      "PATH",
		      "folder with ca-cert.pem, client-cert.pem, "
		      "client-key.pem"),
	MS_OPT_CHOICE(struct nbd_config, trust, "verify", 0, "yes",
		      verify_names, "check the server's certificate and name"),
	MS_OPT_STRING(struct nbd_config, user, "user", 0, NULL, "NAME",
		      "who we are, for psk"),
	MS_OPT_STRING(struct nbd_config, psk, "psk", 0, NULL, "PATH",
		      "file with the user's pre-shared key"),
	MS_OPT_END,
};

const struct ms_backend_type ms_nbd_type = {
	.name = "nbd",
	.summary = "a region that any NBD server exports",
	.kind = MS_STORE,
	.options = nbd_options,
	.config_size = sizeof(struct nbd_config),
	.open = nbd_open,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The handler process' service; see uffd-service.h. */
#include "approaches/uffd/uffd-service.h"

#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-engine.h"
#include "approaches/uffd/uffd-handoff.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	SESSIONS_MAX = 64, /* regions at a time */
};

/* One application. */
struct session {
	struct ms_uffd_service *service;
	struct session *next; /* of the service's list; its lock */
	pthread_t thread;
	bool ended; /* the thread can be joined; the lock */
	int socket;
	struct ms_uffd_engine *engine; /* the lock */
};

struct ms_uffd_service {
	struct ms_uffd_source *source; /* all regions share it */
	struct memsync_uffd_options options;
	struct sockaddr_un address;
	int listener;
	int stop_fd; /* eventfd: readable from the end on */
	pthread_t acceptor;
	bool accepting;
	pthread_mutex_t lock;
	struct session *sessions;
	unsigned count;
	struct memsync_uffd_stats ended; /* of sessions that are gone */
};

static void add_stats(struct memsync_uffd_stats *to,
		      const struct memsync_uffd_stats *from)
{
	to->faults += from->faults;
	to->urgent_requests += from->urgent_requests;
	to->urgent_bytes += from->urgent_bytes;
	to->pages_installed += from->pages_installed;
	to->pages_present += from->pages_present;
	to->kernel_again += from->kernel_again;
	to->retries += from->retries;
	to->errors += from->errors;
	to->pages_failed += from->pages_failed;
	if (from->error)
		to->error = from->error;
}

/* --- one application ---------------------------------------------------------
 */

static int start_engine(struct session *s, const struct ms_uffd_range *range)
{
	struct ms_uffd_service *v = s->service;
	struct ms_uffd_engine_config config = {
		.fd = range->uffd,
		.start = range->start,
		.size = ms_size(v->source->backend),
		.foreign = true,
		.source = v->source,
		.options = v->options};
	struct ms_uffd_engine *engine = NULL;

	int rc = ms_uffd_engine_start(&config, &engine);
	pthread_mutex_lock(&v->lock);
	s->engine = engine;
	pthread_mutex_unlock(&v->lock);
	return rc;
}

static int take_over(struct session *s)
{
	struct ms_uffd_service *v = s->service;
	struct ms_uffd_range range = {.uffd = -1, .memory = -1};
	struct ms_uffd_offer offer = {.size = ms_size(v->source->backend)};
	int rc = ms_uffd_send_offer(s->socket, &offer);

	if (rc == 0)
		rc = ms_uffd_recv_range(s->socket, &offer, &range);
	if (rc)
		return rc;
	rc = start_engine(s, &range);
	if (rc)
		(void)close(range.uffd);
	int sent = ms_uffd_send_answer(s->socket, rc);
	return rc ? rc : sent;
}

/* Until the application hangs up or the service ends. */
static void wait_for_end(const struct session *s)
{
	struct pollfd fds[] = {{.fd = s->socket, .events = POLLIN},
			       {.fd = s->service->stop_fd, .events = POLLIN}};

	while (!fds[0].revents && !fds[1].revents)
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
}

static void *session_main(void *arg)
{
	struct session *s = arg;
	struct ms_uffd_service *v = s->service;
	struct memsync_uffd_stats stats;

	if (take_over(s) == 0)
		wait_for_end(s);
	ms_uffd_engine_stop(s->engine);
	/*
	 * The application must learn of the end before the userfaultfd is
	 * closed here; it holds one itself and then poisons what is missing.
	 */
	(void)close(s->socket);
	pthread_mutex_lock(&v->lock);
	struct ms_uffd_engine *engine = s->engine;
	s->engine = NULL;
	if (engine) {
		ms_uffd_engine_stats(engine, &stats);
		add_stats(&v->ended, &stats);
	}
	s->ended = true;
	pthread_mutex_unlock(&v->lock);
	ms_uffd_engine_free(engine);
	return NULL;
}

/* --- the service -------------------------------------------------------------
 */

/* Join sessions that have ended, or all of them. */
static void reap(struct ms_uffd_service *v, bool all)
{
	struct session **at = &v->sessions;

	pthread_mutex_lock(&v->lock);
	while (*at) {
		struct session *s = *at;
		if (!all && !s->ended) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		v->count--;
		pthread_mutex_unlock(&v->lock);
		(void)pthread_join(s->thread, NULL);
		free(s);
		pthread_mutex_lock(&v->lock);
		at = &v->sessions;
	}
	pthread_mutex_unlock(&v->lock);
}

static void add_session(struct ms_uffd_service *v, int socket)
{
	struct session *s = NULL;

	reap(v, false);
	pthread_mutex_lock(&v->lock);
	if (v->count < SESSIONS_MAX)
		s = calloc(1, sizeof(*s));
	if (s) {
		s->service = v;
		s->socket = socket;
		if (pthread_create(&s->thread, NULL, session_main, s)) {
			free(s);
			s = NULL;
		}
	}
	if (s) {
		s->next = v->sessions;
		v->sessions = s;
		v->count++;
	}
	pthread_mutex_unlock(&v->lock);
	/* Too many: the peer sees the end of the connection. */
	if (!s)
		(void)close(socket);
}

static void *accept_main(void *arg)
{
	struct ms_uffd_service *v = arg;
	struct pollfd fds[] = {{.fd = v->listener, .events = POLLIN},
			       {.fd = v->stop_fd, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents)
			return NULL;
		if (!fds[0].revents)
			continue;
		int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			add_session(v, fd);
	}
}

/* A socket that nobody answers at is left over from a killed handler. */
static bool is_dead_socket(const struct sockaddr_un *address)
{
	struct stat st;
	int fd = -1;
	bool dead = false;

	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	dead = connect(fd, (const struct sockaddr *)address, sizeof(*address)) <
		       0 &&
	       errno == ECONNREFUSED;
	(void)close(fd);
	return dead;
}

static int start_listening(struct ms_uffd_service *v)
{
	const struct sockaddr *address = (const struct sockaddr *)&v->address;
	/* Whoever connects may read the region: the owner only. */
	v->listener =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->listener < 0)
		return ms_err(-errno, "socket");
	if (fchmod(v->listener, 0600))
		return ms_err(-errno, "socket");
	int rc = bind(v->listener, address, sizeof(v->address));
	if (rc && errno == EADDRINUSE && is_dead_socket(&v->address) &&
	    unlink(v->address.sun_path) == 0)
		rc = bind(v->listener, address, sizeof(v->address));
	if (rc || listen(v->listener, SESSIONS_MAX)) {
		rc = ms_err(-errno, "listen at %s", v->address.sun_path);
		(void)close(v->listener);
		v->listener = -1; /* what is there is not ours to remove */
		return rc;
	}
	return 0;
}

int ms_uffd_service_open(const char *path, struct ms_backend *backend,
			 const struct memsync_uffd_options *options,
			 struct ms_uffd_service **ret)
{
	struct ms_uffd_service *v = calloc(1, sizeof(*v));
	int rc = 0;

	if (!v) {
		ms_close(backend);
		return ms_err(-ENOMEM, "uffd service");
	}
	v->listener = v->stop_fd = -1;
	v->address.sun_family = AF_UNIX;
	(void)pthread_mutex_init(&v->lock, NULL);
	rc = ms_uffd_options_complete(options, &v->options);
	if (rc)
		ms_close(backend);
	else
		rc = ms_uffd_source_open(backend, &v->options, &v->source);
	if (rc == 0 && strlen(path) >= sizeof(v->address.sun_path))
		rc = ms_err(-ENAMETOOLONG, "socket %s", path);
	if (rc == 0) {
		memcpy(v->address.sun_path, path, strlen(path));
		v->stop_fd = eventfd(0, EFD_CLOEXEC);
		rc = v->stop_fd < 0 ? ms_err(-errno, "eventfd")
				    : start_listening(v);
	}
	if (rc == 0) {
		rc = -pthread_create(&v->acceptor, NULL, accept_main, v);
		v->accepting = rc == 0;
	}
	if (rc) {
		ms_uffd_service_close(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void ms_uffd_service_stats(struct ms_uffd_service *service,
			   struct memsync_uffd_stats *ret)
{
	struct memsync_uffd_stats one;

	pthread_mutex_lock(&service->lock);
	*ret = service->ended;
	for (struct session *s = service->sessions; s; s = s->next) {
		if (!s->engine)
			continue;
		ms_uffd_engine_stats(s->engine, &one);
		add_stats(ret, &one);
	}
	pthread_mutex_unlock(&service->lock);
	ms_uffd_source_stats(service->source, ret);
}

void ms_uffd_service_close(struct ms_uffd_service *service)
{
	if (!service)
		return;
	if (service->stop_fd >= 0)
		(void)eventfd_write(service->stop_fd, 1);
	if (service->accepting)
		(void)pthread_join(service->acceptor, NULL);
	reap(service, true);
	ms_uffd_source_close(service->source);
	if (service->listener >= 0) {
		(void)unlink(service->address.sun_path);
		(void)close(service->listener);
	}
	if (service->stop_fd >= 0)
		(void)close(service->stop_fd);
	(void)pthread_mutex_destroy(&service->lock);
	free(service);
}

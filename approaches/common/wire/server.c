/* SPDX-License-Identifier: Apache-2.0 */
/* The server: listening, exports, sessions; see server.h. */
#include "approaches/common/wire/server.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/wire/server-int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	STACK_BYTES = 512 << 10
};

/* --- exports -------------------------------------------------------------- */

struct server_export *server_find_export(struct ms_server *server,
					 const char *name)
{
	for (size_t i = 0; i < server->export_count; i++)
		if (!*name || strcmp(server->exports[i].name, name) == 0)
			return &server->exports[i];
	return NULL;
}

/* The backend was changed by somebody who is not our client. */
static void changed_below(void *user, uint64_t offset, uint64_t length)
{
	server_changed(user, NULL, 0, offset, length);
}

static int add_export(struct ms_server *server,
		      const struct ms_server_export *from)
{
	struct server_export *e = &server->exports[server->export_count];

	if (!from->name || strlen(from->name) > MS_PROTO_NAME_MAX)
		return ms_err(-EINVAL, "server: an export's name is too long");
	*e = (struct server_export){.server = server,
				    .name = strdup(from->name),
				    .backend = from->backend,
				    .read_only = from->read_only,
				    .chunk_bytes = from->chunk_bytes};
	if (!e->name)
		return ms_err(-ENOMEM, "server");
	server->export_count++;
	if (from->backend->block > MS_PROTO_REQUEST_MIN)
		return ms_err(-EINVAL, "server: export \"%s\" has blocks of %u",
			      from->name, (unsigned)from->backend->block);
	if (!(from->backend->caps & MS_CAN_WATCH))
		return 0;
	int rc = ms_watch(from->backend, changed_below, e);
	e->watched = rc == 0;
	return rc;
}

/* --- connections ---------------------------------------------------------- */

/* Memory and descriptors only. */
static void conn_release(struct server_conn *conn)
{
	while (conn->pool) {
		struct server_buf *buf = conn->pool;
		conn->pool = buf->next;
		free(buf);
	}
	while (conn->spare) {
		struct server_req *req = conn->spare;
		conn->spare = req->next;
		free(req);
	}
	ms_stream_close(conn->stream);
	if (conn->wake_fd >= 0)
		(void)close(conn->wake_fd);
	pthread_mutex_destroy(&conn->lock);
	free(conn->recv_buf);
	free(conn);
}

void server_conn_free(struct server_conn *conn)
{
	struct ms_server *server = conn->server;

	pthread_mutex_lock(&server->lock);
	server_leave(conn);
	*conn->prev = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	server->received_bytes += conn->received_bytes;
	server->sent_bytes += conn->sent_bytes;
	server->requests += conn->requests;
	/* Before the last one is counted out: stop() frees the server then. */
	conn_release(conn);
	server->conn_count--;
	pthread_cond_broadcast(&server->gone);
	pthread_mutex_unlock(&server->lock);
}

/* With server->lock held. */
static int start_thread(struct server_conn *conn)
{
	pthread_attr_t attr;
	pthread_t thread;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	int rc = -pthread_create(&thread, &attr, server_conn_main, conn);
	(void)pthread_attr_destroy(&attr);
	return rc;
}

static struct server_conn *conn_new(struct ms_server *server)
{
	struct server_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	(void)pthread_mutex_init(&conn->lock, NULL);
	conn->server = server;
	conn->recv_buf = malloc(SERVER_RECV_BYTES);
	conn->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (conn->recv_buf && conn->wake_fd >= 0)
		return conn;
	conn_release(conn);
	return NULL;
}

/* The stream is the connection's on success. */
static int admit(struct ms_server *server, const struct ms_transport *transport,
		 struct ms_stream *stream)
{
	int rc = 0;
	struct server_conn *conn = NULL;

	pthread_mutex_lock(&server->lock);
	if (server->stopping ||
	    server->conn_count == server->limits.connections_max) {
		server->refused++;
		rc = -EBUSY;
		goto out;
	}
	conn = conn_new(server);
	if (!conn) {
		rc = -ENOMEM;
		goto out;
	}
	conn->transport = transport;
	conn->stream = stream;
	rc = start_thread(conn);
	if (rc) {
		conn->stream = NULL;
		conn_release(conn);
		goto out;
	}
	/* The thread needs the lock to end, so it is listed by then. */
	conn->next = server->conns;
	conn->prev = &server->conns;
	if (conn->next)
		conn->next->prev = &conn->next;
	server->conns = conn;
	server->conn_count++;
	server->accepted++;
out:
	pthread_mutex_unlock(&server->lock);
	return rc ? ms_err(rc, "server: a connection") : 0;
}

int ms_server_serve_fd(struct ms_server *server, int fd)
{
	struct ms_stream *stream = NULL;
	int rc = ms_stream_new(fd, &stream);

	if (rc) {
		(void)close(fd);
		return rc;
	}
	rc = admit(server, NULL, stream);
	if (rc)
		ms_stream_close(stream);
	return rc;
}

/* --- listening ------------------------------------------------------------ */

static void *acceptor(void *arg)
{
	struct ms_server *server = arg;
	struct ms_listener *l = &server->listener;
	struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN},
				{.fd = server->stop_fd, .events = POLLIN}};

	for (;;) {
		struct ms_stream *stream = NULL;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		int rc = l->transport->accept(l, &stream);
		if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM)
			/* Nothing to accept with; the peer is still there. */
			(void)poll(&fds[1], 1, 100);
		if (rc == 0 && admit(server, l->transport, stream))
			ms_stream_close(stream);
	}
	return NULL;
}

static int start_listening(struct ms_server *server, const char *text)
{
	struct ms_uri uri;
	int rc = ms_uri_parse(text, &uri);

	if (rc)
		return rc;
	if (*uri.export_name)
		return ms_err(-EINVAL, "server: \"%s\" names an export", text);
	const struct ms_transport *transport = ms_transport_find(uri.scheme);
	struct ms_listener l = {.transport = transport, .fd = -1};
	rc = transport->listen(&uri, &l);
	if (rc)
		return rc;
	server->listener = l;
	rc = -pthread_create(&server->acceptor, NULL, acceptor, server);
	server->accepting = rc == 0;
	return rc ? ms_err(rc, "server: a thread") : 0;
}

static void set_defaults(struct ms_server_config *c)
{
	if (!c->connections_max)
		c->connections_max = 1024;
	if (!c->request_max_bytes)
		c->request_max_bytes = 1 << 20;
	if (!c->requests_max)
		c->requests_max = 16384;
	if (!c->outstanding_bytes)
		c->outstanding_bytes = 16 << 20;
	if (!c->handshake_ns)
		c->handshake_ns = 10 * MS_NS_PER_S;
	if (!c->stall_ns)
		c->stall_ns = 30 * MS_NS_PER_S;
	if (!c->dead_ns)
		c->dead_ns = 5 * MS_NS_PER_S;
}

static int check_config(const struct ms_server_config *c)
{
	if (c->export_count == 0)
		return ms_err(-EINVAL, "server: nothing to export");
	if (c->request_max_bytes < MS_PROTO_REQUEST_MIN ||
	    c->request_max_bytes > MS_PROTO_REQUEST_MAX)
		return ms_err(-EINVAL, "server: requests of up to %u bytes",
			      (unsigned)c->request_max_bytes);
	return 0;
}

int ms_server_open(const struct ms_server_config *config,
		   struct ms_server **ret)
{
	struct ms_server *server = calloc(1, sizeof(*server));
	int rc = 0;

	if (!server)
		return ms_err(-ENOMEM, "server");
	(void)pthread_mutex_init(&server->lock, NULL);
	(void)pthread_cond_init(&server->gone, NULL);
	server->limits = *config;
	server->limits.exports = NULL;
	server->limits.listen = NULL;
	server->listener.fd = -1;
	set_defaults(&server->limits);
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->exports =
		calloc(config->export_count + 1, sizeof(*server->exports));
	if (server->stop_fd < 0 || !server->exports)
		rc = ms_err(-ENOMEM, "server");
	if (rc == 0)
		rc = check_config(&server->limits);
	if (rc == 0 && getrandom(server->instance, sizeof(server->instance),
				 0) != sizeof(server->instance))
		rc = ms_err(-EIO, "server: no random bytes");
	for (size_t i = 0; rc == 0 && i < config->export_count; i++)
		rc = add_export(server, &config->exports[i]);
	if (rc == 0 && config->listen)
		rc = start_listening(server, config->listen);
	if (rc)
		ms_server_stop(server);
	else
		*ret = server;
	return rc;
}

const char *ms_server_uri(const struct ms_server *server)
{
	return server->listener.uri;
}

void ms_server_stats(struct ms_server *server, FILE *out)
{
	pthread_mutex_lock(&server->lock);
	uint64_t received = server->received_bytes;
	uint64_t sent = server->sent_bytes;
	uint64_t requests = server->requests;
	for (struct server_conn *c = server->conns; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		received +=
			__atomic_load_n(&c->received_bytes, __ATOMIC_RELAXED);
		sent += c->sent_bytes;
		requests += c->requests;
		pthread_mutex_unlock(&c->lock);
	}
	(void)fprintf(out, "connections %u\n", server->conn_count);
	(void)fprintf(out, "accepted %" PRIu64 "\n", server->accepted);
	(void)fprintf(out, "refused %" PRIu64 "\n", server->refused);
	(void)fprintf(out, "requests %" PRIu64 "\n", requests);
	(void)fprintf(out, "stream_rx_bytes %" PRIu64 "\n", received);
	(void)fprintf(out, "stream_tx_bytes %" PRIu64 "\n", sent);
	pthread_mutex_unlock(&server->lock);
}

/* No more connections, and an end of those there are. */
static void cut_all(struct ms_server *server)
{
	uint64_t one = 1;

	if (server->stop_fd >= 0)
		(void)!write(server->stop_fd, &one, sizeof(one));
	if (server->accepting)
		(void)pthread_join(server->acceptor, NULL);
	if (server->listener.fd >= 0)
		server->listener.transport->unlisten(&server->listener);
	for (size_t i = 0; i < server->export_count; i++)
		if (server->exports[i].watched)
			(void)!ms_watch(server->exports[i].backend, NULL, NULL);
	pthread_mutex_lock(&server->lock);
	__atomic_store_n(&server->stopping, true, __ATOMIC_RELEASE);
	for (struct server_conn *c = server->conns; c; c = c->next)
		server_conn_wake(c);
	pthread_cond_broadcast(&server->gone);
	while (server->conn_count)
		pthread_cond_wait(&server->gone, &server->lock);
	pthread_mutex_unlock(&server->lock);
}

void ms_server_stop(struct ms_server *server)
{
	if (!server)
		return;
	cut_all(server);
	for (size_t i = 0; i < server->export_count; i++)
		free(server->exports[i].name);
	free(server->exports);
	if (server->stop_fd >= 0)
		(void)close(server->stop_fd);
	pthread_cond_destroy(&server->gone);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD server: exports, connections, listening; see nbd-server.h. */
#include "approaches/nbd/nbd-server.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/nbd/nbd-server-int.h"
#include "approaches/nbd/nbd-uri.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	STACK_BYTES = 512 << 10,
	PREFERRED = 4096,
	MAXIMUM = 32 << 20,
};

/* --- exports -------------------------------------------------------------- */

struct nbd_export *nbd_find_export(struct nbd_server *server,
				   const struct nbd_string *name)
{
	for (size_t i = 0; i < server->export_count; i++) {
		struct nbd_export *e = &server->exports[i];

		if (!name->length || (e->name && nbd_string_is(name, e->name)))
			return e;
	}
	return NULL;
}

void nbd_export_describe(const struct nbd_server *server,
			 const struct nbd_export *export, bool structured,
			 struct nbd_export_info *ret)
{
	unsigned caps = export->backend->caps;
	uint64_t mask = export->blocks[0] - 1;
	unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
			 NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

	if (export->read_only)
		flags |= NBD_FLAG_READ_ONLY;
	else
		/* The backend's door writes zeros where it must. */
		flags |= NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO |
			 (caps & MS_CAN_TRIM ? NBD_FLAG_SEND_TRIM : 0);
	if (structured)
		flags |= NBD_FLAG_SEND_DF;
	/* A backend's SYNC covers what was written over any connection. */
	if (!server->limits.serial && !server->limits.no_multi_conn)
		flags |= NBD_FLAG_CAN_MULTI_CONN;
	*ret = (struct nbd_export_info){
		.size = (ms_size(export->backend) + mask) & ~mask,
		.flags = (uint16_t)flags,
		.block_minimum = export->blocks[0],
		.block_preferred = export->blocks[1],
		.block_maximum = export->blocks[2],
	};
}

static bool power_of_two(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* The block sizes, with their defaults. */
static int set_blocks(struct nbd_export *e,
		      const struct nbd_server_export *from)
{
	uint32_t backend = from->backend->block;
	uint32_t *b = e->blocks;

	b[0] = from->block_minimum ? from->block_minimum : backend;
	b[2] = from->block_maximum ? from->block_maximum : MAXIMUM;
	b[1] = from->block_preferred;
	if (!b[1])
		b[1] = b[0] > PREFERRED ? b[0] : PREFERRED;
	if (!from->block_preferred && b[1] > b[2])
		b[1] = b[0];
	if (!power_of_two(b[0]) || b[0] > NBD_PAD_MAX || b[0] < backend)
		return ms_err_plain(-EINVAL,
				    "nbd: export \"%s\": a minimum block of %u "
				    "is not a power of two from %u to %u",
				    from->name, (unsigned)b[0],
				    (unsigned)backend, (unsigned)NBD_PAD_MAX);
	if (b[2] % b[0] || b[2] > NBD_BLOCK_MAX)
		return ms_err_plain(-EINVAL,
				    "nbd: export \"%s\": a maximum block of %u "
				    "is not a multiple of the minimum up to %u",
				    from->name, (unsigned)b[2],
				    (unsigned)NBD_BLOCK_MAX);
	if (!power_of_two(b[1]) || b[1] < b[0] || b[1] > b[2])
		return ms_err_plain(-EINVAL,
				    "nbd: export \"%s\": a preferred block of "
				    "%u is not a power of two from the minimum "
				    "to the maximum",
				    from->name, (unsigned)b[1]);
	return 0;
}

static int add_export(struct nbd_server *server,
		      const struct nbd_server_export *from)
{
	struct nbd_export *e = &server->exports[server->export_count];
	const char *about = from->description;

	if (!from->name || strlen(from->name) > NBD_STRING_MAX ||
	    (about && strlen(about) > NBD_STRING_MAX))
		return ms_err_plain(-EINVAL,
				    "nbd: an export's name or description is "
				    "too long");
	struct nbd_string name = {from->name, (uint32_t)strlen(from->name)};
	if (server->export_count && nbd_find_export(server, &name))
		return ms_err_plain(-EINVAL, "nbd: two exports are called %s",
				    from->name);
	*e = (struct nbd_export){.name = strdup(from->name),
				 .description = about ? strdup(about) : NULL,
				 .backend = from->backend,
				 .read_only =
					 from->read_only ||
					 !(from->backend->caps & MS_CAN_WRITE)};
	/* Counted in any case: what it has is freed with the server. */
	server->export_count++;
	if (!e->name || (about && !e->description)) {
		(void)ms_err(-ENOMEM, "nbd");
		return -ENOMEM;
	}
	return set_blocks(e, from);
}

int nbd_server_export_info(struct nbd_server *server, size_t index,
			   struct nbd_export_info *ret)
{
	if (index >= server->export_count)
		return ms_err_plain(-EINVAL, "nbd: there is no export %zu",
				    index);
	nbd_export_describe(server, &server->exports[index],
			    server->limits.transmit_structured, ret);
	return 0;
}

/* --- connections ---------------------------------------------------------- */

/* Memory and descriptors only. */
static void conn_release(struct nbd_conn *conn)
{
	while (conn->pool) {
		struct nbd_buf *buf = conn->pool;
		conn->pool = buf->next;
		free(buf);
	}
	while (conn->spare) {
		struct nbd_req *req = conn->spare;
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

void nbd_conn_free(struct nbd_conn *conn)
{
	struct nbd_server *server = conn->server;

	pthread_mutex_lock(&server->lock);
	*conn->prev = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	server->received_bytes += conn->received_bytes;
	server->sent_bytes += conn->sent_bytes;
	server->requests += conn->requests;
	server->errors += conn->errors;
	/* Before the last one is counted out: stop() frees the server then. */
	conn_release(conn);
	server->conn_count--;
	pthread_cond_broadcast(&server->gone);
	pthread_mutex_unlock(&server->lock);
}

/* With server->lock held. */
static int start_thread(struct nbd_conn *conn)
{
	pthread_attr_t attr;
	pthread_t thread;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	int rc = -pthread_create(&thread, &attr, nbd_conn_main, conn);
	(void)pthread_attr_destroy(&attr);
	return rc;
}

static struct nbd_conn *conn_new(struct nbd_server *server)
{
	struct nbd_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	(void)pthread_mutex_init(&conn->lock, NULL);
	conn->server = server;
	conn->recv_buf = malloc(NBD_RECV_BYTES);
	conn->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (conn->recv_buf && conn->wake_fd >= 0)
		return conn;
	conn_release(conn);
	return NULL;
}

/* The stream is the connection's on success. With `export`, transmission
 * begins at once. */
static int admit(struct nbd_server *server, struct ms_stream *stream,
		 struct nbd_export *export)
{
	struct nbd_conn *conn = NULL;
	int rc = 0;

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
	conn->stream = stream;
	if (export) {
		conn->limits.structured = server->limits.transmit_structured;
		nbd_settle(conn, export);
	}
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
	return rc ? ms_err(rc, "nbd: a connection") : 0;
}

static int serve(struct nbd_server *server, int fd, struct nbd_export *export)
{
	struct ms_stream *stream = NULL;
	int rc = ms_stream_new(fd, &stream);

	if (rc) {
		(void)close(fd);
		return rc;
	}
	rc = admit(server, stream, export);
	if (rc)
		ms_stream_close(stream);
	return rc;
}

int nbd_server_serve_fd(struct nbd_server *server, int fd)
{
	return serve(server, fd, NULL);
}

int nbd_server_transmit_fd(struct nbd_server *server, size_t export_index,
			   int fd)
{
	if (export_index < server->export_count)
		return serve(server, fd, &server->exports[export_index]);
	(void)close(fd);
	return ms_err_plain(-EINVAL, "nbd: there is no export %zu",
			    export_index);
}

/* --- listening ------------------------------------------------------------ */

static void *acceptor(void *arg)
{
	struct nbd_server *server = arg;
	struct ms_listener *l = &server->listener;
	const struct ms_transport *t = l->transport;
	struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN},
				{.fd = server->stop_fd, .events = POLLIN}};

	for (;;) {
		struct ms_stream *stream = NULL;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		int rc = t->accept(l, &stream);
		if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM)
			/* Nothing to accept with; the peer is still there. */
			(void)poll(&fds[1], 1, 100);
		if (rc == 0 && t->tune)
			t->tune(stream, MS_LANE_BULK, server->limits.stall_ns);
		if (rc == 0 && admit(server, stream, NULL))
			ms_stream_close(stream);
	}
	return NULL;
}

static int start_listening(struct nbd_server *server, const char *text)
{
	struct ms_uri uri;
	int rc = nbd_uri_parse(text, &uri);

	if (rc)
		return rc;
	const struct ms_transport *transport = ms_transport_find(uri.scheme);
	struct ms_listener l = {.transport = transport, .fd = -1};
	rc = transport->listen(&uri, &l);
	if (rc)
		return rc;
	server->listener = l;
	nbd_uri_format(l.uri, server->limits.tls_mode == NBD_TLS_REQUIRE,
		       server->uri, sizeof(server->uri));
	rc = -pthread_create(&server->acceptor, NULL, acceptor, server);
	server->accepting = rc == 0;
	return rc ? ms_err(rc, "nbd: a thread") : 0;
}

static void set_defaults(struct nbd_server_config *c)
{
	if (!c->connections_max)
		c->connections_max = 1024;
	if (!c->requests_max)
		c->requests_max = 16384;
	if (!c->outstanding_bytes)
		c->outstanding_bytes = 32 << 20;
	if (!c->handshake_ns)
		c->handshake_ns = 10 * MS_NS_PER_S;
	if (!c->stall_ns)
		c->stall_ns = 30 * MS_NS_PER_S;
}

static int check_config(const struct nbd_server_config *c)
{
	if (c->export_count == 0)
		return ms_err_plain(-EINVAL, "nbd: nothing to export");
	if (c->tls_mode != NBD_TLS_OFF && !c->tls)
		return ms_err_plain(-EINVAL, "nbd: TLS needs a certificate");
	return 0;
}

int nbd_server_open(const struct nbd_server_config *config,
		    struct nbd_server **ret)
{
	struct nbd_server *server = calloc(1, sizeof(*server));
	int rc = 0;

	if (!server)
		return ms_err(-ENOMEM, "nbd");
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
	if (server->stop_fd < 0 || !server->exports) {
		rc = -ENOMEM;
		(void)ms_err(rc, "nbd");
	}
	if (rc == 0)
		rc = check_config(&server->limits);
	for (size_t i = 0; rc == 0 && i < config->export_count; i++)
		rc = add_export(server, &config->exports[i]);
	if (rc == 0 && config->listen)
		rc = start_listening(server, config->listen);
	if (rc)
		nbd_server_stop(server);
	else
		*ret = server;
	return rc;
}

const char *nbd_server_uri(const struct nbd_server *server)
{
	return server->uri;
}

void nbd_server_stats(struct nbd_server *server, FILE *out)
{
	pthread_mutex_lock(&server->lock);
	uint64_t received = server->received_bytes;
	uint64_t sent = server->sent_bytes;
	uint64_t requests = server->requests;
	uint64_t errors = server->errors;
	for (struct nbd_conn *c = server->conns; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		received +=
			__atomic_load_n(&c->received_bytes, __ATOMIC_RELAXED);
		sent += c->sent_bytes;
		requests += c->requests;
		errors += c->errors;
		pthread_mutex_unlock(&c->lock);
	}
	(void)fprintf(out, "connections %u\n", server->conn_count);
	(void)fprintf(out, "accepted %" PRIu64 "\n", server->accepted);
	(void)fprintf(out, "refused %" PRIu64 "\n", server->refused);
	(void)fprintf(out, "requests %" PRIu64 "\n", requests);
	(void)fprintf(out, "errors %" PRIu64 "\n", errors);
	(void)fprintf(out, "stream_rx_bytes %" PRIu64 "\n", received);
	(void)fprintf(out, "stream_tx_bytes %" PRIu64 "\n", sent);
	pthread_mutex_unlock(&server->lock);
}

/* No more connections, and an end of those there are. */
static void cut_all(struct nbd_server *server)
{
	uint64_t one = 1;

	if (server->stop_fd >= 0)
		(void)!write(server->stop_fd, &one, sizeof(one));
	if (server->accepting)
		(void)pthread_join(server->acceptor, NULL);
	if (server->listener.fd >= 0)
		server->listener.transport->unlisten(&server->listener);
	pthread_mutex_lock(&server->lock);
	__atomic_store_n(&server->stopping, true, __ATOMIC_RELEASE);
	for (struct nbd_conn *c = server->conns; c; c = c->next)
		nbd_conn_wake(c);
	while (server->conn_count)
		pthread_cond_wait(&server->gone, &server->lock);
	pthread_mutex_unlock(&server->lock);
}

void nbd_server_stop(struct nbd_server *server)
{
	if (!server)
		return;
	cut_all(server);
	for (size_t i = 0; i < server->export_count; i++) {
		free(server->exports[i].name);
		free(server->exports[i].description);
	}
	free(server->exports);
	if (server->stop_fd >= 0)
		(void)close(server->stop_fd);
	pthread_cond_destroy(&server->gone);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

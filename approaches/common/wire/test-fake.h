/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers made of bytes: a server and a client that do exactly what a test says,
 * to see what the real other side does about it.
 */
#ifndef MS_COMMON_WIRE_TEST_FAKE_H
#define MS_COMMON_WIRE_TEST_FAKE_H

#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/test-wire.h"
#include "approaches/common/wire/transport.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- bytes ---------------------------------------------------------------- */

static inline bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, WAIT_S * 1000) == 1;
}

/* Bytes received, up to `n`; fewer when the peer has closed. */
static inline size_t take_bytes(int fd, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		CHECK(readable(fd));
		ssize_t rc = recv(fd, (char *)buf + got, n - got, 0);
		if (rc < 0 && errno == EAGAIN)
			continue;
		if (rc <= 0)
			break;
		got += (size_t)rc;
	}
	return got;
}

/* False when the peer has closed. */
static inline bool give_bytes(int fd, const void *buf, size_t n)
{
	size_t sent = 0;

	while (sent < n) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		CHECK_EQ(poll(&p, 1, WAIT_S * 1000), 1);
		ssize_t rc = send(fd, (const char *)buf + sent, n - sent,
				  MSG_NOSIGNAL);
		if (rc < 0 && errno == EAGAIN)
			continue;
		if (rc < 0)
			return false;
		sent += (size_t)rc;
	}
	return true;
}

/* The peer closes without sending anything more. */
static inline void expect_end(int fd)
{
	char c = 0;

	CHECK_EQ(take_bytes(fd, &c, 1), 0);
}

/* --- a server made of bytes ----------------------------------------------- */

/* What it does with a connection; the descriptor is closed afterwards. */
typedef void fake_script(int fd, void *arg);

struct fake {
	struct ms_listener listener;
	pthread_t thread;
	fake_script *script;
	void *arg;
	unsigned connections; /* to serve, one after another */
};

static inline void *fake_main(void *arg)
{
	struct fake *f = arg;

	for (unsigned i = 0; i < f->connections; i++) {
		struct ms_stream *stream = NULL;
		CHECK(readable(f->listener.fd));
		CHECK_EQ(f->listener.transport->accept(&f->listener, &stream),
			 0);
		f->script(stream->fd, f->arg);
		ms_stream_close(stream);
	}
	return NULL;
}

static inline void fake_start(struct fake *f, fake_script *script, void *arg,
			      unsigned connections)
{
	struct ms_uri uri;

	memset(f, 0, sizeof(*f));
	CHECK_EQ(ms_uri_parse("pair://", &uri), 0);
	f->listener.transport = ms_transport_find(uri.scheme);
	CHECK_EQ(f->listener.transport->listen(&uri, &f->listener), 0);
	f->script = script;
	f->arg = arg;
	f->connections = connections;
	CHECK_EQ(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static inline void fake_stop(struct fake *f)
{
	CHECK_EQ(pthread_join(f->thread, NULL), 0);
	f->listener.transport->unlisten(&f->listener);
}

/* A client that takes the end of its connection for the end. */
static inline int fake_client(const struct fake *f, const char *options,
			      struct ms_backend **ret)
{
	char spec[512];

	(void)snprintf(spec, sizeof(spec),
		       "remote:uri=%s,connections=1,reconnect=0s%s",
		       f->listener.uri, options);
	return ms_open(spec, ret);
}

/* Read the client's hello. */
static inline void fake_hello(int fd, struct ms_hello *ret)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	size_t n = 0;

	CHECK_EQ(take_bytes(fd, buf, MS_PROTO_HELLO_PREFIX),
		 MS_PROTO_HELLO_PREFIX);
	CHECK_EQ(ms_proto_hello_length(buf, MS_PROTO_HELLO_BYTES, &n), 0);
	CHECK_EQ(take_bytes(fd, buf + MS_PROTO_HELLO_PREFIX,
			    n - MS_PROTO_HELLO_PREFIX),
		 n - MS_PROTO_HELLO_PREFIX);
	CHECK_EQ(ms_proto_get_hello(buf, n, ret), 0);
}

static inline struct ms_welcome fake_welcome(const struct ms_hello *hello)
{
	struct ms_welcome w = {.version = MS_PROTO_VERSION,
			       .size = 1 << 20,
			       .block = 1,
			       .request_max = 1 << 20,
			       .caps = MS_CAN_WRITE | MS_CAN_EXTENTS,
			       .extents_max = 16,
			       .requests_max = 64};

	memcpy(w.token, hello->token, sizeof(w.token));
	w.instance[0] = 1;
	return w;
}

/* Greet as a real server does. */
static inline void fake_greet(int fd)
{
	struct ms_hello hello;
	uint8_t buf[MS_PROTO_HELLO_MAX];

	fake_hello(fd, &hello);
	struct ms_welcome w = fake_welcome(&hello);
	CHECK(give_bytes(fd, buf, ms_proto_put_welcome(&w, buf)));
}

/*
 * The next request that is not a ping (those are answered). False at the end.
 */
static inline bool fake_request(int fd, struct ms_request *ret)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];

	for (;;) {
		if (take_bytes(fd, buf, sizeof(buf)) != sizeof(buf))
			return false;
		CHECK_EQ(ms_proto_get_request(buf, 1 << 20, ret), 0);
		if (ret->op != MS_PROTO_PING)
			return true;
		struct ms_reply pong = {.op = MS_PROTO_PING, .id = ret->id};
		ms_proto_put_reply(&pong, buf);
		if (!give_bytes(fd, buf, sizeof(buf)))
			return false;
	}
}

static inline bool fake_reply(int fd, const struct ms_reply *reply,
			      const void *payload)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];

	ms_proto_put_reply(reply, buf);
	return give_bytes(fd, buf, sizeof(buf)) &&
	       give_bytes(fd, payload, ms_proto_reply_payload(reply));
}

/* --- a client made of bytes ----------------------------------------------- */

/* Connect to a real server; no hello is sent. */
static inline int raw_connect(struct ms_server *server)
{
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	CHECK_EQ(ms_server_serve_fd(server, ends[1]), 0);
	return ends[0];
}

static inline struct ms_hello raw_hello(void)
{
	struct ms_hello h = {.version_min = 1,
			     .version_max = 1,
			     .features = MS_PROTO_FEATURE_WATCH,
			     .request_max = 1 << 20,
			     .role = MS_ROLE_TARGET};
	static uint64_t serial;

	serial++;
	memcpy(h.token, &serial, sizeof(serial));
	return h;
}

static inline void raw_take_welcome(int fd, struct ms_welcome *ret)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	size_t n = 0;

	CHECK_EQ(take_bytes(fd, buf, MS_PROTO_HELLO_PREFIX),
		 MS_PROTO_HELLO_PREFIX);
	CHECK_EQ(ms_proto_hello_length(buf, MS_PROTO_WELCOME_BYTES, &n), 0);
	CHECK_EQ(take_bytes(fd, buf + MS_PROTO_HELLO_PREFIX,
			    n - MS_PROTO_HELLO_PREFIX),
		 n - MS_PROTO_HELLO_PREFIX);
	CHECK_EQ(ms_proto_get_welcome(buf, n, ret), 0);
}

/* Connect and be welcome. */
static inline int raw_open(struct ms_server *server)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello hello = raw_hello();
	struct ms_welcome welcome;
	int fd = raw_connect(server);

	CHECK(give_bytes(fd, buf, ms_proto_put_hello(&hello, buf)));
	raw_take_welcome(fd, &welcome);
	CHECK_EQ(welcome.status, 0);
	return fd;
}

static inline void raw_request(int fd, struct ms_request request)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];

	ms_proto_put_request(&request, buf);
	CHECK(give_bytes(fd, buf, sizeof(buf)));
}

static inline struct ms_reply raw_reply(int fd, void *payload, size_t room)
{
	uint8_t buf[MS_PROTO_FRAME_BYTES];
	struct ms_reply reply;

	CHECK_EQ(take_bytes(fd, buf, sizeof(buf)), sizeof(buf));
	CHECK_EQ(ms_proto_get_reply(buf, &reply), 0);
	uint64_t n = ms_proto_reply_payload(&reply);
	CHECK(n <= room);
	CHECK_EQ(take_bytes(fd, payload, n), n);
	return reply;
}

#endif

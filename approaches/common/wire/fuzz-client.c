/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a hostile server against the real client. The input is a script:
 *
 *	0..127	take the client's next request and answer it properly, but for
 *		one byte: the next two of the input say which, and its value
 *		(places beyond the answer's header leave it as it is)
 *	128..	send that many (less 127) bytes of the input as they are
 *
 * Whatever happens, every request of the client ends exactly once, and the
 * buffers are not overrun (the address sanitizer sees that).
 */
#include "approaches/common/wire/remote.h"

#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	REQUESTS = 6
};

struct script {
	const uint8_t *data;
	size_t size;
	size_t at;
	int fd;
	struct ms_listener *listener;
};

/* --- the server ----------------------------------------------------------- */

static bool take(int fd, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 20) != 1)
			return false;
		ssize_t rc = recv(fd, (char *)buf + got, n - got, MSG_DONTWAIT);
		if (rc <= 0)
			return false;
		got += (size_t)rc;
	}
	return true;
}

static bool give(int fd, const void *buf, size_t n)
{
	size_t sent = 0;

	while (sent < n) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		if (poll(&p, 1, 1000) != 1)
			return false;
		ssize_t rc = send(fd, (const char *)buf + sent, n - sent,
				  MSG_NOSIGNAL | MSG_DONTWAIT);
		if (rc <= 0)
			return false;
		sent += (size_t)rc;
	}
	return true;
}

static uint8_t next(struct script *s)
{
	return s->at < s->size ? s->data[s->at++] : 0;
}

static bool greet(struct script *s)
{
	uint8_t buf[MS_PROTO_HELLO_MAX];
	struct ms_hello hello;

	size_t hello_bytes = MS_PROTO_HELLO_BYTES + MS_PROTO_RESUME_BYTES;
	if (!take(s->fd, buf, hello_bytes) ||
	    ms_proto_get_hello(buf, hello_bytes, &hello))
		return false;
	struct ms_welcome w = {.version = MS_PROTO_VERSION,
			       .features = MS_PROTO_FEATURES,
			       .size = 1 << 20,
			       .block = 1,
			       .request_max = 1 << 20,
			       .caps = MS_CAN_WRITE | MS_CAN_EXTENTS |
				       MS_CAN_HASH | MS_CAN_RESIZE,
			       .extents_max = 16,
			       .requests_max = 64};
	memcpy(w.token, hello.token, sizeof(w.token));
	size_t n = ms_proto_put_welcome(&w, buf);
	size_t place = next(s);
	uint8_t value = next(s);
	if (place < n)
		buf[place] = value;
	return give(s->fd, buf, n);
}

static bool answer(struct script *s)
{
	static uint8_t payload[1 << 20];
	uint8_t head[MS_PROTO_FRAME_BYTES];
	struct ms_request r;

	if (!take(s->fd, head, sizeof(head)) ||
	    ms_proto_get_request(head, 1 << 20, &r))
		return false;
	if (!take(s->fd, payload, ms_proto_request_payload(&r)))
		return false;
	struct ms_reply reply = {.op = r.op, .id = r.id};
	memset(payload, 0, 64);
	if (r.op == MS_PROTO_READ)
		reply.length = r.length;
	if (r.op == MS_PROTO_HASH)
		reply.length = MS_PROTO_HASH_BYTES;
	if (r.op == MS_PROTO_EXTENTS) {
		reply.length = MS_PROTO_EXTENT_BYTES;
		payload[0] = next(s);
		payload[8] = next(s);
	}
	ms_proto_put_reply(&reply, head);
	size_t place = next(s);
	uint8_t value = next(s);
	if (place < sizeof(head))
		head[place] = value;
	return give(s->fd, head, sizeof(head)) &&
	       give(s->fd, payload, reply.length);
}

static void *server(void *arg)
{
	struct script *s = arg;
	struct pollfd p = {.fd = s->listener->fd, .events = POLLIN};
	struct ms_stream *stream = NULL;

	if (poll(&p, 1, 1000) != 1 ||
	    s->listener->transport->accept(s->listener, &stream))
		abort();
	s->fd = stream->fd;
	bool going = greet(s);

	while (going && s->at < s->size) {
		size_t c = next(s);
		if (c < 128) {
			going = answer(s);
			continue;
		}
		size_t n = c - 127;
		if (n > s->size - s->at)
			n = s->size - s->at;
		going = give(s->fd, s->data + s->at, n);
		s->at += n;
	}
	/* The end of the stream ends every request that is left. */
	ms_stream_close(stream);
	return NULL;
}

/* --- the client ----------------------------------------------------------- */

struct request {
	struct ms_io io;
	sem_t done;
	int calls;
};

static void done(struct ms_io *io)
{
	struct request *r = io->user;

	if (++r->calls != 1)
		abort();
	(void)sem_post(&r->done);
}

static void changed(void *user, uint64_t offset, uint64_t length)
{
	(void)user;
	(void)offset;
	(void)length;
}

static void use(struct ms_backend *b)
{
	struct request requests[REQUESTS] = {0};
	struct ms_extent extents[3];
	uint8_t hash[16];
	char *bufs[2] = {calloc(1, 5000), calloc(1, 70000)};
	static const enum ms_op ops[REQUESTS] = {MS_OP_READ,	MS_OP_WRITE,
						 MS_OP_EXTENTS, MS_OP_HASH,
						 MS_OP_SYNC,	MS_OP_READ};

	for (unsigned i = 0; i < REQUESTS; i++) {
		struct ms_io *io = &requests[i].io;
		(void)sem_init(&requests[i].done, 0, 0);
		io->op = ops[i];
		io->priority = i % 2 ? MS_BULK : MS_URGENT;
		io->length = i == 5 ? 70000 : 5000;
		io->buf = i == 5 ? bufs[1] : bufs[0];
		if (io->op == MS_OP_EXTENTS)
			io->buf = extents;
		if (io->op == MS_OP_HASH)
			io->buf = hash;
		io->extents_max = 3;
		io->done = done;
		io->user = &requests[i];
		if (io->op == MS_OP_WRITE)
			io->offset = 9;
		ms_submit(b, io);
	}
	if (ms_watch(b, changed, NULL) == 0 && ms_watch(b, NULL, NULL))
		abort();
	for (unsigned i = 0; i < REQUESTS; i++)
		(void)sem_wait(&requests[i].done);
	free(bufs[0]);
	free(bufs[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ms_listener listener;
	struct script s = {.data = data, .size = size, .listener = &listener};
	struct remote_config config = {.uri = (char *)"pair://fuzz",
				       .connections = 1,
				       .request_max = 1 << 20,
				       .connect_ns = 1000000000};
	struct ms_backend *b = NULL;
	struct ms_uri uri;
	pthread_t thread;

	if (!listener.transport) {
		if (ms_uri_parse("pair://fuzz", &uri))
			abort();
		listener.transport = ms_transport_find(uri.scheme);
		if (listener.transport->listen(&uri, &listener))
			abort();
	}
	if (pthread_create(&thread, NULL, server, &s))
		abort();
	if (remote_open(&config, &b) == 0) {
		use(b);
		ms_close(b);
	}
	(void)pthread_join(thread, NULL);
	return 0;
}

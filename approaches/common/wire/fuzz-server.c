/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a hostile client's bytes against the real server, over a socket
 * pair. The first byte says whether a proper hello goes in front.
 */
#include "approaches/common/wire/proto.h"
#include "approaches/common/wire/server.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ms_server *start(void)
{
	struct ms_backend *b = NULL;
	struct ms_server *server = NULL;

	if (ms_open("memory:size=100001,seed=1", &b))
		abort();
	/* A region of a gigabyte would be the client's right, and slow. */
	b->caps &= ~(unsigned)MS_CAN_RESIZE;
	struct ms_server_export export = {.name = "disk", .backend = b};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .outstanding_bytes = 1 << 20};
	if (ms_server_open(&config, &server))
		abort();
	return server;
}

/* Send what the socket takes, reading answers meanwhile, until the end. */
static void talk(int fd, const uint8_t *data, size_t size)
{
	static uint8_t sink[65536];
	size_t sent = 0;

	if (size == 0)
		(void)shutdown(fd, SHUT_WR);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (sent < size)
			p.events |= POLLOUT;
		/* Ten seconds of silence at the end would be a hang. */
		if (poll(&p, 1, 10000) == 0)
			abort();
		if (p.revents & POLLOUT) {
			ssize_t n = send(fd, data + sent, size - sent,
					 MSG_NOSIGNAL | MSG_DONTWAIT);
			if (n < 0)
				return;
			sent += (size_t)n;
			if (sent == size)
				(void)shutdown(fd, SHUT_WR);
		}
		if (p.revents & (POLLIN | POLLHUP) &&
		    recv(fd, sink, sizeof(sink), MSG_DONTWAIT) <= 0)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ms_server *server;
	struct ms_hello hello = {.version_min = 1,
				 .version_max = 1,
				 .role = MS_ROLE_TARGET,
				 .token = {1}};
	uint8_t buf[MS_PROTO_HELLO_MAX];
	int ends[2];

	if (!server)
		server = start();
	if (size == 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return 0;
	if (ms_server_serve_fd(server, ends[1]))
		abort();
	if (data[0] & 1) {
		size_t n = ms_proto_put_hello(&hello, buf);
		if (send(ends[0], buf, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
	}
	talk(ends[0], data + 1, size - 1);
	(void)close(ends[0]);
	return 0;
}

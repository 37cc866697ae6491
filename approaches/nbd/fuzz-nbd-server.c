/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a hostile client's bytes against the real NBD server, over a socket
 * pair. Of the first byte, bit 0 says whether the client is in transmission
 * already, bit 1 whether it gets structured replies then, bit 2 whether the
 * export has blocks of 512 bytes and padding.
 */
#include "approaches/nbd/nbd-server.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One without and one with structured replies from the start. */
static struct nbd_server *start(struct ms_backend *b, bool structured)
{
	struct nbd_server *server = NULL;
	const struct nbd_server_export exports[2] = {
		{.name = "disk", .description = "a disk", .backend = b},
		{.name = "blocks", .backend = b, .block_minimum = 512},
	};
	const struct nbd_server_config config = {
		.exports = exports,
		.export_count = 2,
		.outstanding_bytes = 1 << 20,
		.transmit_structured = structured,
	};

	if (nbd_server_open(&config, &server))
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
	static struct nbd_server *servers[2];
	int ends[2];
	int rc = 0;

	if (!servers[0]) {
		struct ms_backend *b = NULL;
		if (ms_open("memory:size=100001,seed=1", &b))
			abort();
		servers[0] = start(b, false);
		servers[1] = start(b, true);
	}
	if (size == 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return 0;
	if (data[0] & 1)
		rc = nbd_server_transmit_fd(servers[data[0] >> 1 & 1],
					    data[0] >> 2 & 1, ends[1]);
	else
		rc = nbd_server_serve_fd(servers[0], ends[1]);
	if (rc)
		abort();
	talk(ends[0], data + 1, size - 1);
	(void)close(ends[0]);
	return 0;
}

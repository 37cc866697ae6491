/* SPDX-License-Identifier: Apache-2.0 */
/* A client made of bytes, for the tests of the NBD server. */
#ifndef MS_NBD_TEST_NBD_H
#define MS_NBD_TEST_NBD_H

#include "approaches/common/wire/test-wire.h"
#include "approaches/nbd/nbd-proto.h"
#include "approaches/nbd/nbd-server.h"

#include <sys/socket.h>
#include <sys/time.h>

/* A server of one export called "disk", with the rest as in `config`. */
static inline struct nbd_server *nbd_open(struct ms_backend *b,
					  struct nbd_server_config config)
{
	struct nbd_server_export export = {
		.name = "disk", .description = "a disk", .backend = b};
	struct nbd_server *server = NULL;

	if (!config.exports) {
		config.exports = &export;
		config.export_count = 1;
	}
	if (nbd_server_open(&config, &server)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return server;
}

/* --- bytes ---------------------------------------------------------------- */

static inline bool give(int fd, const void *data, size_t n)
{
	const char *at = data;

	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* False at the end of the stream; silence fails the test. */
static inline bool take(int fd, void *data, size_t n)
{
	char *at = data;

	while (n) {
		ssize_t got = recv(fd, at, n, 0);
		CHECK(got >= 0 || errno == ECONNRESET);
		if (got <= 0)
			return false;
		at += got;
		n -= (size_t)got;
	}
	return true;
}

/* The server closes, and says nothing more before. */
static inline void expect_end(int fd)
{
	char c = 0;

	CHECK(!take(fd, &c, 1));
	(void)close(fd);
}

static inline void patience(int fd)
{
	struct timeval t = {.tv_sec = WAIT_S};

	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)), 0);
}

static inline int raw_connect(struct nbd_server *server)
{
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	patience(ends[0]);
	CHECK_EQ(nbd_server_serve_fd(server, ends[1]), 0);
	return ends[0];
}

/* --- handshake ------------------------------------------------------------ */

static inline int raw_greet(struct nbd_server *server, uint32_t flags)
{
	uint8_t buf[NBD_GREETING_BYTES];
	int fd = raw_connect(server);

	CHECK(take(fd, buf, sizeof(buf)));
	CHECK(memcmp(buf, "NBDMAGICIHAVEOPT\0\3", sizeof(buf)) == 0);
	nbd_put_u32(flags, buf);
	CHECK(give(fd, buf, 4));
	return fd;
}

static inline void put_option(uint32_t type, uint32_t length, uint8_t out[16])
{
	nbd_put_u64(NBD_OPTION_MAGIC, out);
	nbd_put_u32(type, out + 8);
	nbd_put_u32(length, out + 12);
}

static inline void raw_option(int fd, uint32_t type, const void *data, size_t n)
{
	uint8_t head[16];

	put_option(type, (uint32_t)n, head);
	CHECK(give(fd, head, sizeof(head)));
	CHECK(give(fd, data, n));
}

/* One reply to `type`; its payload in `data`, its length in *ret_n. */
static inline uint32_t raw_option_reply(int fd, uint32_t type, void *data,
					size_t room, size_t *ret_n)
{
	uint8_t head[NBD_OPTION_REPLY_BYTES];

	CHECK(take(fd, head, sizeof(head)));
	CHECK(nbd_get_u64(head) == NBD_OPTION_REPLY);
	CHECK_EQ(nbd_get_u32(head + 8), type);
	*ret_n = nbd_get_u32(head + 16);
	CHECK(*ret_n <= room);
	CHECK(take(fd, data, *ret_n));
	return nbd_get_u32(head + 12);
}

/* The last reply to an option, after any others. */
static inline uint32_t raw_last_reply(int fd, uint32_t type)
{
	char data[8192];
	size_t n = 0;
	uint32_t reply = 0;

	do
		reply = raw_option_reply(fd, type, data, sizeof(data), &n);
	while (!(reply & NBD_REP_ERROR) && reply != NBD_REP_ACK);
	return reply;
}

static inline void raw_structured(int fd)
{
	raw_option(fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_STRUCTURED_REPLY), NBD_REP_ACK);
}

/* GO to the default export. */
static inline void raw_go(int fd)
{
	raw_option(fd, NBD_OPT_GO, "\0\0\0\0\0\0", 6);
	CHECK_EQ(raw_last_reply(fd, NBD_OPT_GO), NBD_REP_ACK);
}

/* Connected, agreed, in transmission. */
static inline int raw_open(struct nbd_server *server, bool structured)
{
	int fd = raw_greet(server, 3);

	if (structured)
		raw_structured(fd);
	raw_go(fd);
	return fd;
}

/* --- transmission --------------------------------------------------------- */

static inline void raw_request(int fd, struct nbd_request r)
{
	uint8_t head[NBD_REQUEST_BYTES];

	nbd_put_request(&r, head);
	CHECK(give(fd, head, sizeof(head)));
}

static inline void raw_read(int fd, uint64_t cookie, uint64_t offset,
			    uint32_t length)
{
	raw_request(fd, (struct nbd_request){.type = NBD_CMD_READ,
					     .cookie = cookie,
					     .offset = offset,
					     .length = length});
}

static inline void raw_write(int fd, uint64_t cookie, uint64_t offset,
			     const void *data, uint32_t length)
{
	raw_request(fd, (struct nbd_request){.type = NBD_CMD_WRITE,
					     .cookie = cookie,
					     .offset = offset,
					     .length = length});
	CHECK(give(fd, data, length));
}

/* A simple reply's error; its cookie. */
static inline uint32_t raw_simple(int fd, uint64_t *ret_cookie)
{
	uint8_t head[NBD_SIMPLE_BYTES];

	CHECK(take(fd, head, sizeof(head)));
	CHECK_EQ(nbd_get_u32(head), NBD_SIMPLE_MAGIC);
	*ret_cookie = nbd_get_u64(head + 8);
	return nbd_get_u32(head + 4);
}

/* The simple reply must be the one for `cookie`; its error. */
static inline uint32_t raw_answer(int fd, uint64_t cookie)
{
	uint64_t got = 0;
	uint32_t error = raw_simple(fd, &got);

	CHECK_EQ(got, cookie);
	return error;
}

/* A single structured chunk for `cookie`; its type. */
static inline uint16_t raw_chunk(int fd, uint64_t cookie, void *data,
				 size_t room, size_t *ret_n)
{
	uint8_t head[NBD_CHUNK_BYTES];

	CHECK(take(fd, head, sizeof(head)));
	CHECK_EQ(nbd_get_u32(head), NBD_STRUCTURED_MAGIC);
	CHECK_EQ(nbd_get_u16(head + 4), NBD_CHUNK_DONE);
	CHECK_EQ(nbd_get_u64(head + 8), cookie);
	*ret_n = nbd_get_u32(head + 16);
	CHECK(*ret_n <= room);
	CHECK(take(fd, data, *ret_n));
	return nbd_get_u16(head + 6);
}

#endif

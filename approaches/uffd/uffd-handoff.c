/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of the hand-over; see uffd-handoff.h and README.md. */
#include "approaches/uffd/uffd-handoff.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-kernel.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MESSAGE_BYTES = 40,
	FDS_MAX = 2,
	FLAG_SHARED = 1,
	PEER_MS = 10000, /* a peer that says nothing is not one of ours */
};

/* "MSUF", the kind, and the version of the message. */
enum {
	KIND_OFFER = 1,
	KIND_RANGE = 2,
	KIND_ANSWER = 3,
	VERSION = 1,
};

/* All three messages have the same shape. */
struct message {
	unsigned char bytes[MESSAGE_BYTES];
	int fds[FDS_MAX];
	unsigned fd_count;
};

/* Where the fields are: magic 0, kind 4, version 6, flags 8, page 12, a 16,
 * b 24, c 32. */
static void put32(struct message *m, size_t at, uint32_t value)
{
	value = htole32(value);
	memcpy(m->bytes + at, &value, sizeof(value));
}

static void put64(struct message *m, size_t at, uint64_t value)
{
	value = htole64(value);
	memcpy(m->bytes + at, &value, sizeof(value));
}

static uint32_t get32(const struct message *m, size_t at)
{
	uint32_t value = 0;

	memcpy(&value, m->bytes + at, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const struct message *m, size_t at)
{
	uint64_t value = 0;

	memcpy(&value, m->bytes + at, sizeof(value));
	return le64toh(value);
}

static struct message make(unsigned kind, uint32_t flags)
{
	struct message m = {0};

	memcpy(m.bytes, "MSUF", 4);
	put32(&m, 4, kind | (uint32_t)VERSION << 16);
	put32(&m, 8, flags);
	put32(&m, 12, (uint32_t)MS_UFFD_PAGE);
	return m;
}

static void close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->fd_count; i++)
		(void)close(m->fds[i]);
	m->fd_count = 0;
}

/* --- the socket ------------------------------------------------------------
 */

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static int send_message(int socket, struct message *m)
{
	union control control = {0};
	struct iovec iov = {.iov_base = m->bytes, .iov_len = MESSAGE_BYTES};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = 0;

	if (m->fd_count) {
		size_t bytes = m->fd_count * sizeof(int);
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), m->fds, bytes);
	}
	do
		n = sendmsg(socket, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return ms_err(-errno, "hand-over: send");
	/* So few bytes go out at once, or the socket is in trouble. */
	return n == MESSAGE_BYTES ? 0
				  : ms_err(-EPROTO, "hand-over: short send");
}

/* Take the descriptors out of a control message; all are ours to close. */
static int take_fds(struct msghdr *msg, struct message *m)
{
	int rc = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned count =
			(unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int fd = -1;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->fd_count < FDS_MAX) {
				m->fds[m->fd_count++] = fd;
			} else {
				(void)close(fd);
				rc = -EPROTO;
			}
		}
	}
	return rc;
}

static int wait_for_bytes(int socket, uint64_t until_ns)
{
	struct pollfd p = {.fd = socket, .events = POLLIN};

	for (;;) {
		uint64_t now = ms_now_ns();
		if (now >= until_ns)
			return -ETIMEDOUT;
		int ms = (int)((until_ns - now) / MS_NS_PER_MS) + 1;
		int n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int recv_bytes(int socket, struct message *m)
{
	uint64_t until = ms_now_ns() + PEER_MS * MS_NS_PER_MS;
	size_t got = 0;

	while (got < MESSAGE_BYTES) {
		union control control;
		struct iovec iov = {.iov_base = m->bytes + got,
				    .iov_len = MESSAGE_BYTES - got};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		int rc = wait_for_bytes(socket, until);
		if (rc)
			return rc;
		ssize_t n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		rc = take_fds(&msg, m);
		if (rc)
			return rc;
		got += (size_t)n;
	}
	return 0;
}

static int recv_message(int socket, unsigned kind, struct message *m)
{
	*m = (struct message){0};
	int rc = recv_bytes(socket, m);

	if (rc == 0 && (memcmp(m->bytes, "MSUF", 4) != 0 ||
			get32(m, 4) != (kind | (uint32_t)VERSION << 16) ||
			get32(m, 12) != MS_UFFD_PAGE ||
			(get32(m, 8) & ~(uint32_t)FLAG_SHARED)))
		rc = -EPROTO;
	if (rc) {
		close_fds(m);
		return ms_err(rc, "hand-over: message %u of the peer", kind);
	}
	return 0;
}

/* --- the messages ----------------------------------------------------------
 */

int ms_uffd_send_offer(int socket, const struct ms_uffd_offer *offer)
{
	struct message m = make(KIND_OFFER, offer->shared ? FLAG_SHARED : 0);

	put64(&m, 16, offer->size);
	return send_message(socket, &m);
}

int ms_uffd_recv_offer(int socket, struct ms_uffd_offer *ret)
{
	struct message m;
	int rc = recv_message(socket, KIND_OFFER, &m);

	if (rc)
		return rc;
	uint64_t size = get64(&m, 16);
	bool stray = m.fd_count > 0;
	close_fds(&m);
	if (stray || size == 0 || size > INT64_MAX - MS_UFFD_PAGE)
		return ms_err(-EPROTO,
			      "hand-over: an offer of %" PRIu64 " bytes", size);
	*ret = (struct ms_uffd_offer){.size = size,
				      .shared = get32(&m, 8) & FLAG_SHARED};
	return 0;
}

int ms_uffd_send_range(int socket, const struct ms_uffd_range *range)
{
	bool shared = range->memory >= 0;
	struct message m = make(KIND_RANGE, shared ? FLAG_SHARED : 0);

	put64(&m, 16, range->start);
	put64(&m, 24, range->length);
	m.fds[0] = range->uffd;
	m.fds[1] = range->memory;
	m.fd_count = shared ? 2 : 1;
	return send_message(socket, &m);
}

static bool is_userfaultfd(int fd)
{
	char link[64];
	char name[64] = "";

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, name, sizeof(name) - 1) > 0 &&
	       strcmp(name, "anon_inode:[userfaultfd]") == 0;
}

/* Memory that cannot be cut off under the handler, which writes into it. */
static bool is_safe_memory(int fd, uint64_t length)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK) &&
	       !(seals & F_SEAL_WRITE) && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode) && (uint64_t)st.st_size >= length;
}

static const char *what_is_wrong(const struct message *m,
				 const struct ms_uffd_offer *offer)
{
	uint64_t start = get64(m, 16);
	uint64_t length = get64(m, 24);
	uint64_t want = (offer->size + MS_UFFD_PAGE - 1) & ~(MS_UFFD_PAGE - 1);
	bool shared = get32(m, 8) & FLAG_SHARED;

	if (length != want)
		return "the range does not have the region's length";
	if (start % MS_UFFD_PAGE || start > UINT64_MAX - length)
		return "the range is not aligned or wraps around";
	if (shared && !offer->shared)
		return "shared memory was not asked for";
	if (m->fd_count != (shared ? 2U : 1U))
		return "the number of descriptors is wrong";
	if (!is_userfaultfd(m->fds[0]))
		return "the first descriptor is not a userfaultfd";
	if (shared && !is_safe_memory(m->fds[1], length))
		return "the second descriptor is not sealed memory of that "
		       "length";
	return NULL;
}

int ms_uffd_recv_range(int socket, const struct ms_uffd_offer *offer,
		       struct ms_uffd_range *ret)
{
	struct message m;
	int rc = recv_message(socket, KIND_RANGE, &m);

	if (rc)
		return rc;
	const char *wrong = what_is_wrong(&m, offer);
	if (wrong) {
		close_fds(&m);
		return ms_err(-EPROTO, "hand-over: %s", wrong);
	}
	/* A blocking descriptor would hold the handler up. */
	int flags = fcntl(m.fds[0], F_GETFL);
	if (flags < 0 || fcntl(m.fds[0], F_SETFL, flags | O_NONBLOCK)) {
		close_fds(&m);
		return ms_err(-EPROTO, "hand-over: the userfaultfd's flags");
	}
	*ret = (struct ms_uffd_range){.start = get64(&m, 16),
				      .length = get64(&m, 24),
				      .uffd = m.fds[0],
				      .memory = m.fd_count > 1 ? m.fds[1] : -1};
	return 0;
}

int ms_uffd_send_answer(int socket, int result)
{
	struct message m = make(KIND_ANSWER, 0);

	put64(&m, 16, (uint64_t)(int64_t)result);
	return send_message(socket, &m);
}

int ms_uffd_recv_answer(int socket)
{
	struct message m;
	int rc = recv_message(socket, KIND_ANSWER, &m);

	if (rc)
		return rc;
	int64_t result = (int64_t)get64(&m, 16);
	close_fds(&m);
	if (result == 0)
		return 0;
	if (result > 0 || result < -4095)
		return ms_err(-EPROTO, "hand-over: an answer of %" PRId64,
			      result);
	return ms_err((int)result, "the handler refused the region");
}

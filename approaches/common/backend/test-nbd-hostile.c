/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store against a server that lies: wrong greetings, impossible sizes,
 * answers to what nobody asked, answers without the bytes. Nothing crashes,
 * nothing is believed, every request ends. The messages are those of the NBD
 * protocol (doc/proto.md of NetworkBlockDevice/nbd).
 */
#include "approaches/common/backend/test-nbd.h"

#include <endian.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#define OPT_MAGIC   UINT64_C(0x49484156454f5054)
#define REPLY_MAGIC UINT64_C(0x0003e889045565a9)

enum {
	OPT_GO = 7,
	OPT_STRUCTURED = 8,
	OPT_SET_META = 10,
	REP_ACK = 1,
	REP_INFO = 3,
	REP_META = 4,
	CMD_DISC = 2,
	REQUEST_MAGIC = 0x25609513,
	CHUNK_MAGIC = 0x668e33ef,
	CHUNK_NONE = 0,
	CHUNK_DATA = 1,
	CHUNK_STATUS = 5,
	CHUNK_DONE = 1, /* flag */
	EXPORT_SIZE = 1 << 20,
};

enum lie {
	NO_LIE,
	GARBAGE,	/* instead of a greeting */
	SILENCE,	/* connects and says nothing */
	HANG_UP,	/* after the greeting */
	SIZE_NEGATIVE,	/* 2^63 and more */
	BLOCK_ODD,	/* a smallest block of 3 */
	BLOCK_GIANT,	/* of 2 GiB */
	NO_DATA,	/* a read succeeds without a byte */
	HALF_DATA,	/* or with the first half of them */
	DATA_OUTSIDE,	/* or with some of another place */
	CHUNK_GIANT,	/* 4 GiB are announced */
	OTHER_COOKIE,	/* the answer to another request */
	CUT_ANSWER,	/* ends within the bytes */
	STATUS_NOTHING, /* extents of no length */
	STATUS_LONG,	/* an extent far longer than the region */
	STATUS_SLIVERS, /* one byte each time */
};

static enum lie lie; /* atomic */
static char path[200];

/* --- the server -------------------------------------------------------------
 */

static bool get(int fd, void *buf, size_t n)
{
	return n == 0 || recv(fd, buf, n, MSG_WAITALL) == (ssize_t)n;
}

static void put(int fd, const void *buf, size_t n)
{
	(void)send(fd, buf, n, MSG_NOSIGNAL);
}

static void put16(int fd, uint16_t v)
{
	v = htobe16(v);
	put(fd, &v, sizeof(v));
}

static void put32(int fd, uint32_t v)
{
	v = htobe32(v);
	put(fd, &v, sizeof(v));
}

static void put64(int fd, uint64_t v)
{
	v = htobe64(v);
	put(fd, &v, sizeof(v));
}

static void option_reply(int fd, uint32_t option, uint32_t type, uint32_t n)
{
	put64(fd, REPLY_MAGIC);
	put32(fd, option);
	put32(fd, type);
	put32(fd, n);
}

static void say_export(int fd, enum lie what)
{
	option_reply(fd, OPT_GO, REP_INFO, 12);
	put16(fd, 0);
	put64(fd, what == SIZE_NEGATIVE ? UINT64_C(1) << 63 : EXPORT_SIZE);
	put16(fd, 1 | 4 | 8); /* flags, flush, FUA; no multi-conn */
	option_reply(fd, OPT_GO, REP_INFO, 14);
	put16(fd, 3);
	put32(fd, what == BLOCK_ODD	? 3
		  : what == BLOCK_GIANT ? UINT32_C(1) << 31
					: 1);
	put32(fd, 4096);
	put32(fd, 32 << 20);
	option_reply(fd, OPT_GO, REP_ACK, 0);
}

/* True when the client has chosen the export. */
static bool greet(int fd, enum lie what)
{
	uint32_t flags = 0;

	put(fd, "NBDMAGICIHAVEOPT", 16);
	put16(fd, 1 | 2);
	if (what == HANG_UP || !get(fd, &flags, sizeof(flags)))
		return false;
	for (;;) {
		uint64_t magic = 0;
		uint32_t head[2];
		char data[4096];
		if (!get(fd, &magic, 8) || !get(fd, head, 8) ||
		    be64toh(magic) != OPT_MAGIC ||
		    be32toh(head[1]) > sizeof(data) ||
		    !get(fd, data, be32toh(head[1])))
			return false;
		uint32_t option = be32toh(head[0]);
		if (option == OPT_GO) {
			say_export(fd, what);
			return true;
		}
		if (option == OPT_SET_META) {
			option_reply(fd, option, REP_META, 4 + 15);
			put32(fd, 42);
			put(fd, "base:allocation", 15);
		}
		option_reply(fd, option, REP_ACK, 0);
	}
}

struct __attribute__((packed)) request {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
};

static void chunk(int fd, unsigned type, uint64_t cookie, uint32_t n, bool done)
{
	put32(fd, CHUNK_MAGIC);
	put16(fd, done ? CHUNK_DONE : 0);
	put16(fd, (uint16_t)type);
	put64(fd, cookie);
	put32(fd, n);
}

static void answer_data(int fd, uint64_t cookie, uint64_t offset, uint32_t n)
{
	char *bytes = calloc(1, n);

	CHECK(bytes);
	memset(bytes, 'x', n);
	chunk(fd, CHUNK_DATA, cookie, 8 + n, true);
	put64(fd, offset);
	put(fd, bytes, n);
	free(bytes);
}

static void answer_status(int fd, uint64_t cookie, uint32_t length)
{
	chunk(fd, CHUNK_STATUS, cookie, 4 + 8, true);
	put32(fd, 42);
	put32(fd, length);
	put32(fd, 3);
}

/* False: hang up. */
static bool answer(int fd, const struct request *r, enum lie what)
{
	uint64_t cookie = be64toh(r->cookie);
	uint64_t offset = be64toh(r->offset);
	uint32_t n = be32toh(r->length);

	switch ((int)what) {
	case NO_DATA:
		chunk(fd, CHUNK_NONE, cookie, 0, true);
		return true;
	case HALF_DATA:
		answer_data(fd, cookie, offset, n / 2);
		return true;
	case DATA_OUTSIDE:
		answer_data(fd, cookie, offset + n, n);
		return true;
	case CHUNK_GIANT:
		chunk(fd, CHUNK_DATA, cookie, UINT32_MAX, true);
		return true;
	case OTHER_COOKIE:
		answer_data(fd, cookie + 1000, offset, n);
		return true;
	case CUT_ANSWER:
		chunk(fd, CHUNK_DATA, cookie, 8 + n, true);
		put64(fd, offset);
		put(fd, "short", 5);
		return false;
	case STATUS_NOTHING:
		answer_status(fd, cookie, 0);
		return true;
	case STATUS_LONG:
		answer_status(fd, cookie, UINT32_MAX);
		return true;
	case STATUS_SLIVERS:
		answer_status(fd, cookie, 1);
		return true;
	default:
		answer_data(fd, cookie, offset, n);
		return true;
	}
}

static void serve(int fd)
{
	enum lie what = __atomic_load_n(&lie, __ATOMIC_ACQUIRE);
	struct request r;

	if (what == GARBAGE)
		put(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	if (what == SILENCE)
		(void)recv(fd, &r, 1, 0);
	if (what == GARBAGE || what == SILENCE || !greet(fd, what))
		return;
	while (get(fd, &r, sizeof(r)) && be32toh(r.magic) == REQUEST_MAGIC &&
	       be16toh(r.type) != CMD_DISC)
		if (!answer(fd, &r, what))
			return;
}

static void *server_main(void *arg)
{
	int listener = *(int *)arg;

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return NULL;
		serve(fd);
		(void)close(fd);
	}
}

/* --- the cases --------------------------------------------------------------
 */

static int try_open(enum lie what, struct ms_backend **ret)
{
	char spec[400];

	__atomic_store_n(&lie, what, __ATOMIC_RELEASE);
	(void)snprintf(spec, sizeof(spec),
		       "nbd:uri=(nbd+unix:///?socket=%s),connect-timeout=300ms,"
		       "reconnect=300ms",
		       path);
	return ms_open(spec, ret);
}

static void test_greetings(void)
{
	static const enum lie lies[] = {GARBAGE,       SILENCE,	  HANG_UP,
					SIZE_NEGATIVE, BLOCK_ODD, BLOCK_GIANT};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct ms_backend *b = NULL;
		uint64_t start = ms_now_ns();
		int rc = try_open(lies[i], &b);
		if (rc == 0) {
			/* libnbd took an impossible block for none said. */
			CHECK(lies[i] == BLOCK_ODD || lies[i] == BLOCK_GIANT);
			CHECK(b->block == 1 && ms_size(b) == EXPORT_SIZE);
			ms_close(b);
			continue;
		}
		(void)printf("%d: %s\n", (int)lies[i], memsync_error());
		CHECK_HAS(memsync_error(), "nbd: ");
		CHECK(ms_now_ns() - start < 3 * MS_NS_PER_S);
		if (lies[i] == SILENCE)
			CHECK_EQ(rc, -ETIMEDOUT);
		if (lies[i] == SIZE_NEGATIVE)
			CHECK_EQ(rc, -EOVERFLOW);
	}
}

/* A read ends with an error, never with bytes that were not sent. */
static void test_reads(void)
{
	static const enum lie lies[] = {NO_DATA,     HALF_DATA,	   DATA_OUTSIDE,
					CHUNK_GIANT, OTHER_COOKIE, CUT_ANSWER};
	char *buf = malloc(65536);

	CHECK(buf);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		for (int own = 0; own < 2; own++) {
			struct ms_backend *b = NULL;
			struct nbd_task t;
			CHECK_EQ(try_open(lies[i], &b), 0);
			nbd_task_start(
				b, &t,
				(struct ms_io){
					.op = MS_OP_READ,
					.priority = MS_URGENT,
					.offset = 4096,
					.length = 65536,
					.buf = buf,
					.deadline_ns =
						own ? ms_now_ns() +
								2 * MS_NS_PER_S
						    : 0});
			nbd_pause_ms(own ? 0 : 300);
			if (!own)
				ms_cancel(b, &t.io);
			int rc = nbd_task_wait(&t);
			(void)printf("%d, %d: %s\n", (int)lies[i], own,
				     strerror(-rc));
			CHECK(rc < 0);
			ms_close(b);
		}
	}
	free(buf);
}

static int ask_extents(enum lie what, struct ms_extent *list, size_t max,
		       size_t *ret_used)
{
	struct ms_backend *b = NULL;

	CHECK_EQ(try_open(what, &b), 0);
	CHECK(b->caps & MS_CAN_EXTENTS);
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .offset = 100,
			   .length = 3000,
			   .buf = list,
			   .extents_max = max,
			   .deadline_ns = ms_now_ns() + 5 * MS_NS_PER_S};
	int rc = ms_wait(b, &io);
	*ret_used = io.extents_used;
	ms_close(b);
	return rc;
}

static void test_extents(void)
{
	struct ms_extent list[4];
	size_t used = 0;

	CHECK(ask_extents(STATUS_NOTHING, list, 4, &used) < 0);
	/* No more than was asked for. */
	CHECK_EQ(ask_extents(STATUS_LONG, list, 4, &used), 0);
	CHECK_EQ(used, 1);
	CHECK(list[0].offset == 100 && list[0].length == 3000 &&
	      list[0].type == MS_EXTENT_HOLE);
	/* Many answers make one extent. */
	CHECK_EQ(ask_extents(STATUS_SLIVERS, list, 1, &used), 0);
	CHECK_EQ(used, 1);
	CHECK(list[0].length == 3000);
}

/* The fake is a server: else the cases above would prove nothing. */
static void test_honest(void)
{
	struct ms_backend *b = NULL;
	char buf[5000] = {0};

	CHECK_EQ(try_open(NO_LIE, &b), 0);
	CHECK_EQ(ms_size(b), EXPORT_SIZE);
	CHECK_EQ(ms_read_at(b, buf, sizeof(buf), 1), 0);
	CHECK(buf[0] == 'x' && buf[4999] == 'x');
	ms_close(b);
}

int main(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *tmp = getenv("TMP");
	pthread_t thread;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)snprintf(path, sizeof(path), "%s/liar.%d", tmp ? tmp : "/tmp",
		       (int)getpid());
	CHECK(strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	CHECK(fd >= 0 &&
	      bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK_EQ(listen(fd, 8), 0);
	CHECK_EQ(pthread_create(&thread, NULL, server_main, &fd), 0);
	test_honest();
	test_greetings();
	test_reads();
	test_extents();
	(void)shutdown(fd, SHUT_RDWR);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	(void)close(fd);
	(void)unlink(path);
	return 0;
}

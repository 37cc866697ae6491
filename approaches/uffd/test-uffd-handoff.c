/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-over to a handler process: every size and variant through a real
 * one, two at a time, its death, and messages that are not what they should
 * be, each of which must be refused without keeping a descriptor.
 */
#include "approaches/uffd/test-uffd.h"
#include "approaches/uffd/uffd-compat.h"
#include "approaches/uffd/uffd-handoff.h"
#include "approaches/uffd/uffd-service.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[100];

static unsigned open_fds(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	CHECK(dir);
	while (readdir(dir))
		count++;
	CHECK_EQ(closedir(dir), 0);
	return count;
}

/* --- a handler process
 * ----------------------------------------------------------- */

struct handler {
	pid_t pid;
	int out; /* closed by us: it ends */
};

/* Serves the pattern; reads from `fail_from` on fail. */
static struct handler start_handler(uint64_t size, uint64_t fail_from,
				    enum memsync_uffd_variant variant)
{
	struct handler h;
	int ready[2];
	int end[2];
	char byte = 0;

	CHECK_EQ(pipe2(ready, O_CLOEXEC) | pipe2(end, O_CLOEXEC), 0);
	h.pid = fork();
	CHECK(h.pid >= 0);
	if (h.pid == 0) {
		struct memsync_uffd_options o = {.variant = variant,
						 .no_pull = true};
		struct ms_uffd_service *service = NULL;
		struct fake f;
		(void)close(end[1]);
		fake_init(&f, size);
		f.fail_from = fail_from;
		f.fail_to = UINT64_MAX;
		f.fail_times = UINT_MAX;
		CHECK_EQ(ms_uffd_service_open(path, &f.base, &o, &service), 0);
		CHECK_EQ(write(ready[1], "r", 1), 1);
		CHECK_EQ(read(end[0], &byte, 1), 0);
		ms_uffd_service_close(service);
		_exit(0);
	}
	(void)close(ready[1]);
	(void)close(end[0]);
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	h.out = end[1];
	return h;
}

static void end_handler(struct handler *h)
{
	int status = 0;

	CHECK_EQ(close(h->out), 0);
	CHECK_EQ(waitpid(h->pid, &status, 0), h->pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(access(path, F_OK) < 0);
}

static void every_size_through_a_handler(void)
{
	static const uint64_t sizes[] = {1, 4096, 4097, (1 << 20) + 123};

	for (int i = 0; i < 8; i++) {
		uint64_t size = sizes[i / 2];
		struct handler h = start_handler(size, UINT64_MAX,
						 i % 2 ? MEMSYNC_UFFD_THESIS
						       : MEMSYNC_UFFD_TUNED);
		struct memsync_uffd *a = NULL;
		struct memsync_uffd *b = NULL;
		CHECK_EQ(memsync_uffd_connect(path, &a), 0);
		CHECK_EQ(memsync_uffd_connect(path, &b), 0);
		CHECK_EQ(memsync_uffd_size(a), size);
		CHECK(ms_pattern_check(1, 0, memsync_uffd_addr(a), size, NULL));
		CHECK(ms_pattern_check(1, 0, memsync_uffd_addr(b), size, NULL));
		memsync_uffd_close(a);
		memsync_uffd_close(b);
		end_handler(&h);
	}
}

static void the_handlers_error_is_sigbus(void)
{
	for (int i = 0; i < 2; i++) {
		struct handler h = start_handler(64 * PAGE, 32 * PAGE,
						 i % 2 ? MEMSYNC_UFFD_THESIS
						       : MEMSYNC_UFFD_TUNED);
		struct memsync_uffd *r = NULL;
		unsigned char got = 0;
		CHECK_EQ(memsync_uffd_connect(path, &r), 0);
		const void *base = memsync_uffd_addr(r);
		CHECK(can_read(base, 64 * PAGE, 31 * PAGE, &got));
		CHECK_EQ(got, pattern_byte(31 * PAGE));
		CHECK(!can_read(base, 64 * PAGE, 32 * PAGE, &got));
		memsync_uffd_close(r);
		end_handler(&h);
	}
}

static void a_killed_handler_is_sigbus(void)
{
	for (int i = 0; i < 2; i++) {
		struct handler h = start_handler(64 * PAGE, UINT64_MAX,
						 i % 2 ? MEMSYNC_UFFD_THESIS
						       : MEMSYNC_UFFD_TUNED);
		struct memsync_uffd *r = NULL;
		unsigned char got = 0;
		int status = 0;
		CHECK_EQ(memsync_uffd_connect(path, &r), 0);
		const void *base = memsync_uffd_addr(r);
		CHECK(can_read(base, 64 * PAGE, 3 * PAGE, &got));
		CHECK_EQ(kill(h.pid, SIGKILL), 0);
		CHECK_EQ(waitpid(h.pid, &status, 0), h.pid);
		/* What has arrived stays; the rest is an error, no zeros. */
		CHECK(can_read(base, 64 * PAGE, 3 * PAGE, &got));
		CHECK_EQ(got, pattern_byte(3 * PAGE));
		CHECK(!can_read(base, 64 * PAGE, 63 * PAGE, &got));
		memsync_uffd_close(r);
		CHECK_EQ(close(h.out), 0);
		/* Its socket is left over: the next one takes its place. */
		CHECK_EQ(access(path, F_OK), 0);
		h = start_handler(PAGE, UINT64_MAX, MEMSYNC_UFFD_TUNED);
		end_handler(&h);
	}
}

static void two_handlers_at_one_path(void)
{
	struct handler h = start_handler(PAGE, UINT64_MAX, MEMSYNC_UFFD_TUNED);
	struct ms_uffd_service *service = NULL;
	struct stat st;
	struct fake f;

	fake_init(&f, PAGE);
	CHECK_EQ(ms_uffd_service_open(path, &f.base, NULL, &service),
		 -EADDRINUSE);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	end_handler(&h);
	struct memsync_uffd *r = NULL;
	CHECK_EQ(memsync_uffd_connect(path, &r), -ENOENT);
}

/* --- hostile messages
 * -------------------------------------------------------------- */

static void send_raw(int socket, const void *bytes, size_t n, const int *fds,
		     unsigned count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	char copy[64];
	struct iovec iov = {copy, n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	CHECK(n <= sizeof(copy));
	memcpy(copy, bytes, n);
	if (count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	CHECK_EQ(sendmsg(socket, &msg, 0), n);
}

/* A range message as a peer may make it. */
struct raw {
	char magic[4];
	uint16_t kind;
	uint16_t version;
	uint32_t flags;
	uint32_t page;
	uint64_t start;
	uint64_t length;
	uint64_t rest;
};

static const struct raw good = {
	{'M', 'S', 'U', 'F'}, 2, 1, 0, 4096, 1UL << 32, 8192, 0};

static int receive(const struct raw *raw, size_t n, const int *fds,
		   unsigned count, struct ms_uffd_range *ret)
{
	struct ms_uffd_offer offer = {.size = 5000, .shared = true};
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_raw(pair[0], raw, n, fds, count);
	CHECK_EQ(close(pair[0]), 0);
	int rc = ms_uffd_recv_range(pair[1], &offer, ret);
	CHECK_EQ(close(pair[1]), 0);
	return rc;
}

static void bad_ranges_are_refused(void)
{
	struct ms_uffd_features features;
	struct ms_uffd_range got;
	int uffd = -1;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int memory = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_EQ(ms_uffd_create(&uffd, &features), 0);
	CHECK(null >= 0 && memory >= 0);
	CHECK_EQ(ftruncate(memory, 8192), 0);
	const int fds[] = {uffd, memory, null, null};
	unsigned before = open_fds();
	struct raw bad[10];
	for (int i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].magic[0] = 'X';
	bad[1].kind = 3;
	bad[2].version = 2;
	bad[3].flags = 2;
	bad[4].page = 65536;
	bad[5].start = 4097;
	bad[6].start = UINT64_MAX - 4095;
	bad[7].length = 4096;
	bad[8].length = 0;
	bad[9].length = 1UL << 40;
	for (int i = 0; i < 10; i++)
		CHECK_EQ(receive(&bad[i], sizeof(good), fds, 1, &got), -EPROTO);
	/* Descriptors: none, the wrong one, too many, memory not announced. */
	CHECK_EQ(receive(&good, sizeof(good), fds, 0, &got), -EPROTO);
	CHECK_EQ(receive(&good, sizeof(good), fds + 2, 1, &got), -EPROTO);
	CHECK_EQ(receive(&good, sizeof(good), fds, 2, &got), -EPROTO);
	CHECK_EQ(receive(&good, sizeof(good), fds, 4, &got), -EPROTO);
	/* Memory that could be cut off under the handler. */
	struct raw shared = good;
	shared.flags = 1;
	CHECK_EQ(receive(&shared, sizeof(good), fds, 2, &got), -EPROTO);
	CHECK_EQ(receive(&shared, sizeof(good), fds, 1, &got), -EPROTO);
	/* Half a message. */
	CHECK_EQ(receive(&good, 20, fds, 1, &got), -ECONNRESET);
	CHECK_EQ(open_fds(), before);
	/* And what is right is taken. */
	CHECK_EQ(receive(&good, sizeof(good), fds, 1, &got), 0);
	CHECK_EQ(got.start, 1UL << 32);
	CHECK_EQ(got.length, 8192);
	CHECK_EQ(got.memory, -1);
	CHECK_EQ(close(got.uffd), 0);
	CHECK_EQ(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	CHECK_EQ(receive(&shared, sizeof(good), fds, 2, &got), 0);
	CHECK_EQ(close(got.uffd) | close(got.memory), 0);
	CHECK_EQ(open_fds(), before);
	CHECK_EQ(close(uffd) | close(null) | close(memory), 0);
}

static void a_service_survives_bad_clients(void)
{
	struct handler h = start_handler(PAGE, UINT64_MAX, MEMSYNC_UFFD_TUNED);
	struct memsync_uffd *r = NULL;

	for (int i = 0; i < 20; i++) {
		struct ms_uffd_offer offer;
		/* The first bytes of connect, then nonsense or nothing. */
		struct sockaddr_un {
			sa_family_t family;
			char path[108];
		} address = {.family = AF_UNIX};
		(void)snprintf(address.path, sizeof(address.path), "%s", path);
		int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQ(connect(s, (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
		CHECK_EQ(ms_uffd_recv_offer(s, &offer), 0);
		if (i % 2)
			send_raw(s, "nonsense", 8, NULL, 0);
		CHECK_EQ(close(s), 0);
	}
	CHECK_EQ(memsync_uffd_connect(path, &r), 0);
	CHECK(ms_pattern_check(1, 0, memsync_uffd_addr(r), PAGE, NULL));
	memsync_uffd_close(r);
	end_handler(&h);
}

int main(void)
{
	const char *tmp = getenv("TMP");

	skip_without_userfaultfd();
	(void)signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(ms_guard_install(), 0);
	/* The path of a socket is short. */
	(void)snprintf(path, sizeof(path), "%.60s/handler.%d",
		       tmp && strlen(tmp) < 60 ? tmp : "/tmp", (int)getpid());
	every_size_through_a_handler();
	the_handlers_error_is_sigbus();
	a_killed_handler_is_sigbus();
	two_handlers_at_one_path();
	bad_ranges_are_refused();
	a_service_survives_bad_clients();
	ms_guard_remove();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RTT and loss by small UDP packets. A way is timed from the call that sends to
 * the arrival in the receiving kernel, so that how fast a prober wakes up (20
 * to 50 us here, and it varies with the load) is not taken for the link. One
 * thread holds a socket at either end (a socket stays in the namespace it was
 * made in), so one clock sees both.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"
#include "harness/link/netns.h"

#define PROBE_GAP_NS   (2 * MS_NS_PER_MS)
#define PROBE_GAP_MAX  (10 * MS_NS_PER_MS)
#define PROBE_MAGIC    UINT32_C(0x6d6c6e6b)
#define PROBE_PRIORITY 9 /* below the emulator */
#define LOSS_GAP_NS    (33 * MS_NS_PER_US)
#define LOSS_BURST     8
#define GRACE_NS       (200 * MS_NS_PER_MS)
#define SOCKET_BUFFER  (8 << 20)

struct probe {
	uint32_t magic;
	uint32_t number;
	uint64_t sent_ns; /* by the side that sends it now */
	uint64_t out_ns;  /* what the way out took */
};
_Static_assert(sizeof(struct probe) + 28 == LINK_PROBE_BYTES, "probe size");
#define PROBE_PAYLOAD (LINK_PROBE_BYTES - 28)

struct socket_request {
	int type;
	int fd;
};

static int make_socket(void *arg)
{
	struct socket_request *q = arg;

	q->fd = socket(AF_INET, q->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return q->fd < 0 ? ms_err(-errno, "link: socket") : 0;
}

int link_socket(struct link *l, unsigned end, int type, int *ret_fd)
{
	struct socket_request q = {.type = type, .fd = -1};
	int r = netns_run(l->ns[end], make_socket, &q);

	if (!r)
		*ret_fd = q.fd;
	return r;
}

/* A pair of UDP sockets at both ends that know each other. */
struct pair {
	int near; /* of the sender */
	int far;
};

static int bind_to(int fd, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);

	if (bind(fd, (struct sockaddr *)a, sizeof(*a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)a, &len) < 0)
		return ms_err(-errno, "link: bind a probe socket");
	return 0;
}

static int connect_pair(struct pair *p, unsigned from)
{
	static const int size = SOCKET_BUFFER;
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr = {htonl(link_host_address(from))}};
	struct sockaddr_in b = {
		.sin_family = AF_INET,
		.sin_addr = {htonl(link_host_address(1 - from))}};
	int r = bind_to(p->near, &a);

	if (!r)
		r = bind_to(p->far, &b);
	if (!r && (connect(p->near, (struct sockaddr *)&b, sizeof(b)) < 0 ||
		   connect(p->far, (struct sockaddr *)&a, sizeof(a)) < 0))
		r = ms_err(-errno, "link: connect a probe socket");
	(void)setsockopt(p->near, SOL_SOCKET, SO_RCVBUFFORCE, &size,
			 sizeof(size));
	(void)setsockopt(p->far, SOL_SOCKET, SO_RCVBUFFORCE, &size,
			 sizeof(size));
	return r;
}

/* The kernel notes when a packet arrives: the reader's own wake-up is left out.
 */
static int stamp_arrivals(const struct pair *p)
{
	static const int on = 1;

	if (setsockopt(p->near, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) <
		    0 ||
	    setsockopt(p->far, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		return ms_err(-errno, "link: time stamps of probes");
	return 0;
}

static void close_pair(struct pair *p)
{
	if (p->near >= 0)
		(void)close(p->near);
	if (p->far >= 0)
		(void)close(p->far);
}

static int open_pair(struct link *l, unsigned from, struct pair *p)
{
	int r;

	*p = (struct pair){.near = -1, .far = -1};
	r = link_socket(l, from, SOCK_DGRAM, &p->near);
	if (!r)
		r = link_socket(l, 1 - from, SOCK_DGRAM, &p->far);
	if (!r)
		r = connect_pair(p, from);
	if (r)
		close_pair(p);
	return r;
}

int link_udp_pair(struct link *l, unsigned from, int *ret_near, int *ret_far)
{
	struct pair p;
	int r = open_pair(l, from, &p);

	if (!r) {
		*ret_near = p.near;
		*ret_far = p.far;
	}
	return r;
}

/*
 * The prober should not wait for other programs: it measures the link, not
 * the load. Refused is fine, the reading is only less sharp then.
 */
static void hurry(struct sched_param *old, int *old_policy)
{
	struct sched_param p = {.sched_priority = PROBE_PRIORITY};

	(void)pthread_getschedparam(pthread_self(), old_policy, old);
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
}

static void relax(const struct sched_param *old, int old_policy)
{
	(void)pthread_setschedparam(pthread_self(), old_policy, old);
}

static int receive(int fd, struct probe *ret)
{
	ssize_t n = recv(fd, ret, PROBE_PAYLOAD, 0);

	return n == PROBE_PAYLOAD && ret->magic == PROBE_MAGIC;
}

/* The clock of the kernel's stamps. */
static uint64_t stamp_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * MS_NS_PER_S + (uint64_t)t.tv_nsec;
}

static int receive_stamped(int fd, struct probe *ret, uint64_t *ret_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct timespec))];
	} control;
	struct iovec iov = {.iov_base = ret, .iov_len = PROBE_PAYLOAD};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, 0);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	struct timespec t;

	if (n != PROBE_PAYLOAD || ret->magic != PROBE_MAGIC || !c ||
	    c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
		return 0;
	memcpy(&t, CMSG_DATA(c), sizeof(t));
	*ret_ns = (uint64_t)t.tv_sec * MS_NS_PER_S + (uint64_t)t.tv_nsec;
	return 1;
}

struct rtt_run {
	struct pair pair;
	unsigned probes;
	unsigned sent;
	unsigned back;
	uint64_t gap_ns;
	double *rtt_ms;
};

static void rtt_events(struct rtt_run *run, uint64_t until)
{
	struct pollfd fds[2] = {{.fd = run->pair.near, .events = POLLIN},
				{.fd = run->pair.far, .events = POLLIN}};
	uint64_t now = ms_now_ns();
	struct timespec t = ms_timespec(until > now ? until - now : 0);
	struct probe p;
	uint64_t at = 0;

	if (ppoll(fds, 2, &t, NULL) <= 0)
		return;
	/* out and back are timed apart; the turning round is nobody's RTT */
	while (receive_stamped(run->pair.far, &p, &at)) {
		p.out_ns = at - p.sent_ns;
		p.sent_ns = stamp_now_ns();
		(void)!send(run->pair.far, &p, PROBE_PAYLOAD, 0);
	}
	while (receive_stamped(run->pair.near, &p, &at) &&
	       run->back < run->probes)
		run->rtt_ms[run->back++] =
			(double)(int64_t)(at - p.sent_ns + p.out_ns) / 1e6;
}

static void rtt_loop(struct rtt_run *run, uint64_t longest_ns)
{
	uint64_t next = ms_now_ns() + run->gap_ns;
	uint64_t end = LINE_NEVER;

	while (run->back < run->probes && ms_now_ns() < end) {
		struct probe p = {.magic = PROBE_MAGIC, .number = run->sent};

		rtt_events(run, run->sent < run->probes ? next : end);
		if (run->sent >= run->probes || ms_now_ns() < next)
			continue;
		next += run->gap_ns;
		p.sent_ns = stamp_now_ns();
		if (send(run->pair.near, &p, PROBE_PAYLOAD, 0) > 0)
			run->sent++;
		if (run->sent == run->probes)
			end = ms_now_ns() + longest_ns;
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static uint64_t longest_rtt_ns(const struct link_profile *p)
{
	return (uint64_t)((p->rtt_ms + p->jitter_ms) * 1e6) + GRACE_NS;
}

/* Wide enough for the jitter to be another one, within reason. */
static uint64_t probe_gap_ns(const struct link_profile *p)
{
	double gap = 2 * p->jitter_ms * 1e6;

	if (gap < (double)PROBE_GAP_NS)
		return PROBE_GAP_NS;
	return gap > (double)PROBE_GAP_MAX ? PROBE_GAP_MAX : (uint64_t)gap;
}

int link_probe_times(struct link *l, unsigned probes, double *rtt_ms,
		     struct link_probes *ret)
{
	struct rtt_run run = {.probes = probes,
			      .gap_ns = probe_gap_ns(&l->profile),
			      .rtt_ms = rtt_ms};
	struct sched_param old;
	int policy = SCHED_OTHER;
	int r = open_pair(l, LINK_SOURCE, &run.pair);

	if (r)
		return r;
	r = stamp_arrivals(&run.pair);
	if (!r) {
		hurry(&old, &policy);
		rtt_loop(&run, longest_rtt_ns(&l->profile));
		relax(&old, policy);
	}
	close_pair(&run.pair);
	if (!r && !run.back)
		r = ms_err(-ETIMEDOUT, "link: none of %u probes came back",
			   probes);
	*ret = (struct link_probes){.sent = run.sent,
				    .back = run.back,
				    .span_s = (double)(run.gap_ns * run.sent) /
					      1e9};
	return r;
}

int link_probe_rtt(struct link *l, unsigned probes, struct link_reading *ret)
{
	double *rtt_ms = calloc(probes, sizeof(*rtt_ms));
	struct link_probes p;
	int r;

	if (!rtt_ms)
		return ms_err(-ENOMEM, "link: %u probes", probes);
	r = link_probe_times(l, probes, rtt_ms, &p);
	if (r)
		goto out;
	qsort(rtt_ms, p.back, sizeof(*rtt_ms), by_size);
	ret->rtt_n = p.back;
	ret->rtt_lost = p.sent - p.back;
	ret->rtt_span_s = p.span_s;
	ret->rtt_ms_min = rtt_ms[0];
	ret->rtt_ms_p05 = rtt_ms[p.back / 20];
	ret->rtt_ms_p50 = rtt_ms[p.back / 2];
	ret->rtt_ms_p95 = rtt_ms[p.back * 19 / 20];
	ret->rtt_ms_p99 = rtt_ms[p.back * 99 / 100];
	ret->rtt_ms_max = rtt_ms[p.back - 1];
	ret->base_rtt_ms = (double)l->base_rtt_ns / 1e6;
out:
	free(rtt_ms);
	return r;
}

static unsigned drain_count(int fd)
{
	struct probe p;
	unsigned n = 0;

	while (receive(fd, &p))
		n++;
	return n;
}

/* Nanoseconds between packets: half of the rate, and not above our own pace. */
static uint64_t loss_gap_ns(const struct link_profile *p)
{
	double gap = 2 * link_serialize_ms(p, LINK_PROBE_BYTES) * 1e6;

	return gap > (double)LOSS_GAP_NS ? (uint64_t)gap : LOSS_GAP_NS;
}

int link_probe_loss(struct link *l, unsigned from, unsigned packets,
		    struct link_reading *ret)
{
	uint64_t gap = loss_gap_ns(&l->profile);
	struct pair pair;
	uint64_t next;
	uint64_t end;
	unsigned sent = 0;
	unsigned got = 0;
	int r = open_pair(l, from, &pair);

	if (r)
		return r;
	for (next = ms_now_ns(); sent < packets; next += gap * LOSS_BURST) {
		struct timespec t = ms_timespec(next);

		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		for (int i = 0; i < LOSS_BURST && sent < packets; i++) {
			struct probe p = {.magic = PROBE_MAGIC, .number = sent};

			sent += send(pair.near, &p, PROBE_PAYLOAD, 0) > 0;
		}
		got += drain_count(pair.far);
	}
	end = ms_now_ns() + longest_rtt_ns(&l->profile);
	while (got < sent && ms_now_ns() < end) {
		struct pollfd fd = {.fd = pair.far, .events = POLLIN};
		struct timespec t = ms_timespec(MS_NS_PER_MS);

		(void)ppoll(&fd, 1, &t, NULL);
		got += drain_count(pair.far);
	}
	close_pair(&pair);
	ret->loss_sent[from] = sent;
	ret->loss_lost[from] = sent - got;
	return 0;
}

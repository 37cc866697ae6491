/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate by bulk: TCP connections between the two ends, one thread sending and
 * the caller receiving; and, where loss keeps TCP from filling a link, a flood
 * of UDP packets whose arrivals show the rate.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"

#define CONNECTIONS_MAX 64
#define WRITE_BYTES	(256U << 10)
#define READ_BYTES	(1U << 20)
#define PARTS		5
#define BUCKET_NS	(10 * MS_NS_PER_MS)
#define BUCKETS_MAX	6000
#define CONNECT_MS	20000
#define FLOOD_WARM_NS	(100 * MS_NS_PER_MS)
#define FLOOD_WINDOW_NS (400 * MS_NS_PER_MS)
#define FLOOD_EXCESS	1.15
#define UDP_HEADERS	28

struct transfer {
	struct link *l;
	const struct link_bulk *how;
	int listener;
	int out[CONNECTIONS_MAX];
	int in[CONNECTIONS_MAX];
	atomic_bool stop;
	uint64_t start_ns;
	uint64_t bytes;
	uint64_t *buckets; /* cumulative bytes, every 10 ms */
	unsigned filled;   /* buckets */
	uint64_t mark_ns[PARTS + 1];
	uint64_t mark_bytes[PARTS + 1];
	unsigned marks;
};

static int listen_at(struct transfer *t, struct sockaddr_in *ret)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr = {htonl(link_host_address(1 - t->how->from))}};
	socklen_t len = sizeof(a);
	int r = link_socket(t->l, 1 - t->how->from, SOCK_STREAM, &t->listener);

	if (r)
		return r;
	if (bind(t->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(t->listener, CONNECTIONS_MAX) < 0 ||
	    getsockname(t->listener, (struct sockaddr *)&a, &len) < 0)
		return ms_err(-errno, "link: listen for a bulk transfer");
	*ret = a;
	return 0;
}

static int wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do {
		n = poll(&p, 1, CONNECT_MS);
	} while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : ms_err(-ETIMEDOUT, "link: connect a bulk transfer");
}

static int connect_one(struct transfer *t, unsigned i,
		       const struct sockaddr_in *to)
{
	int r = link_socket(t->l, t->how->from, SOCK_STREAM, &t->out[i]);

	if (r)
		return r;
	if (connect(t->out[i], (const struct sockaddr *)to, sizeof(*to)) < 0 &&
	    errno != EINPROGRESS)
		return ms_err(-errno, "link: connect a bulk transfer");
	r = wait_for(t->listener, POLLIN);
	if (r)
		return r;
	t->in[i] =
		accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (t->in[i] < 0)
		return ms_err(-errno, "link: accept a bulk transfer");
	return 0;
}

static int connect_all(struct transfer *t)
{
	struct sockaddr_in to;
	int r = listen_at(t, &to);

	for (unsigned i = 0; i < t->how->connections && !r; i++)
		r = connect_one(t, i, &to);
	return r;
}

static void *send_thread(void *arg)
{
	struct transfer *t = arg;
	struct pollfd fds[CONNECTIONS_MAX];
	unsigned n = t->how->connections;
	static const char zeros[WRITE_BYTES];

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = t->out[i], .events = POLLOUT};
	while (!atomic_load(&t->stop)) {
		if (poll(fds, n, 50) <= 0)
			continue;
		for (unsigned i = 0; i < n; i++)
			if (fds[i].revents)
				(void)!send(t->out[i], zeros, sizeof(zeros),
					    MSG_NOSIGNAL);
	}
	return NULL;
}

/* Bytes are counted and thrown away in the kernel. */
static void receive_ready(struct transfer *t, const struct pollfd *fds)
{
	for (unsigned i = 0; i < t->how->connections; i++) {
		ssize_t n;

		if (!fds[i].revents)
			continue;
		n = recv(t->in[i], NULL, READ_BYTES, MSG_TRUNC);
		if (n > 0)
			t->bytes += (uint64_t)n;
	}
}

static void note(struct transfer *t, uint64_t now)
{
	uint64_t passed = now - t->start_ns;
	uint64_t warm = (uint64_t)(t->how->warm_s * 1e9);
	uint64_t part = (uint64_t)(t->how->window_s * 1e9) / PARTS;

	while (t->filled < BUCKETS_MAX &&
	       (uint64_t)t->filled * BUCKET_NS <= passed)
		t->buckets[t->filled++] = t->bytes;
	if (t->marks <= PARTS && passed >= warm + t->marks * part) {
		t->mark_ns[t->marks] = now;
		t->mark_bytes[t->marks++] = t->bytes;
	}
}

static int receive_loop(struct transfer *t)
{
	struct pollfd fds[CONNECTIONS_MAX];
	unsigned n = t->how->connections;
	uint64_t limit;

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = t->in[i], .events = POLLIN};
	limit = t->start_ns +
		(uint64_t)((t->how->warm_s + t->how->window_s) * 2e9) +
		10 * MS_NS_PER_S;
	while (t->marks <= PARTS) {
		uint64_t now;

		if (poll(fds, n, 1000) > 0)
			receive_ready(t, fds);
		now = ms_now_ns();
		note(t, now);
		if (now > limit)
			return ms_err(-ETIMEDOUT, "link: bulk transfer");
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double mbit(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes * 8e3 / (double)ns : 0;
}

static void evaluate(const struct transfer *t, struct link_bulk_result *ret)
{
	double parts[PARTS];
	uint64_t want;

	for (unsigned i = 0; i < PARTS; i++)
		parts[i] = mbit(t->mark_bytes[i + 1] - t->mark_bytes[i],
				t->mark_ns[i + 1] - t->mark_ns[i]);
	qsort(parts, PARTS, sizeof(parts[0]), by_size);
	/* what waited for a retransmission counts when it is handed over */
	ret->goodput_mbit = parts[PARTS / 2];
	ret->mean_mbit = mbit(t->mark_bytes[PARTS] - t->mark_bytes[0],
			      t->mark_ns[PARTS] - t->mark_ns[0]);
	ret->bytes = t->bytes;
	ret->full_s = 0;
	want = (uint64_t)(ret->goodput_mbit * 0.95 * 5 * BUCKET_NS / 8e3);
	for (unsigned i = 5; i < t->filled; i++) {
		if (t->buckets[i] - t->buckets[i - 5] < want)
			continue;
		ret->full_s = (double)(i - 5) * BUCKET_NS / 1e9;
		break;
	}
}

static void close_transfer(struct transfer *t)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		/* reset: nothing of the backlog is sent any more */
		struct linger now = {.l_onoff = 1, .l_linger = 0};

		if (t->out[i] >= 0) {
			(void)setsockopt(t->out[i], SOL_SOCKET, SO_LINGER, &now,
					 sizeof(now));
			(void)close(t->out[i]);
		}
		if (t->in[i] >= 0)
			(void)close(t->in[i]);
	}
	if (t->listener >= 0)
		(void)close(t->listener);
	free(t->buckets);
	free(t);
}

int link_bulk(struct link *l, const struct link_bulk *how,
	      struct link_bulk_result *ret)
{
	struct transfer *t;
	pthread_t thread;
	int r;

	if (!how->connections || how->connections > CONNECTIONS_MAX ||
	    how->from > 1)
		return ms_err(-EINVAL,
			      "link: a bulk transfer takes 1 to %d "
			      "connections",
			      CONNECTIONS_MAX);
	t = calloc(1, sizeof(*t));
	if (!t)
		return ms_err(-ENOMEM, "link: bulk transfer");
	t->l = l;
	t->how = how;
	t->listener = -1;
	memset(t->out, -1, sizeof(t->out));
	memset(t->in, -1, sizeof(t->in));
	t->buckets = calloc(BUCKETS_MAX, sizeof(*t->buckets));
	r = t->buckets ? connect_all(t) : ms_err(-ENOMEM, "link: buckets");
	t->start_ns = ms_now_ns();
	if (!r) {
		r = -pthread_create(&thread, NULL, send_thread, t);
		if (r)
			r = ms_err(r, "link: thread of a bulk transfer");
	}
	if (!r) {
		r = receive_loop(t);
		atomic_store(&t->stop, true);
		(void)pthread_join(thread, NULL);
		if (!r)
			evaluate(t, ret);
	}
	close_transfer(t);
	return r;
}

struct flood {
	int near;
	int far;
	uint32_t payload;
	double gap_ns;
	double wire_bytes; /* of a packet */
	uint64_t window_ns;
	uint64_t first_ns; /* of the window */
	/* for the slope of packets over time */
	double n;
	double sum_t;
	double sum_tt;
	double sum_nt;
};

static void flood_receive(struct flood *f, uint64_t warm_until)
{
	while (recv(f->far, NULL, 0, MSG_TRUNC) > 0) {
		uint64_t now = ms_now_ns();
		double t;

		if (now < warm_until)
			continue;
		if (!f->first_ns)
			f->first_ns = now;
		t = (double)(now - f->first_ns) / 1e9;
		f->n++;
		f->sum_t += t;
		f->sum_tt += t * t;
		f->sum_nt += f->n * t;
	}
}

/* Least squares: jitter at either end of the window hardly turns the line. */
static double flood_mbit(const struct flood *f)
{
	double sum_n = f->n * (f->n + 1) / 2;
	double below = f->n * f->sum_tt - f->sum_t * f->sum_t;

	if (below <= 0)
		return 0;
	return (f->n * f->sum_nt - f->sum_t * sum_n) / below * f->wire_bytes *
	       8 / 1e6;
}

static void flood_loop(struct flood *f, uint64_t warm_ns)
{
	static const char zeros[65536];
	uint64_t start = ms_now_ns();
	uint64_t now = start;
	double sent = 0;

	while (now < start + warm_ns + f->window_ns) {
		struct pollfd p = {.fd = f->far, .events = POLLIN};
		struct timespec t = ms_timespec(50 * MS_NS_PER_US);

		while (sent * f->gap_ns < (double)(now - start)) {
			(void)!send(f->near, zeros, f->payload, 0);
			sent++;
		}
		(void)ppoll(&p, 1, &t, NULL);
		flood_receive(f, start + warm_ns);
		now = ms_now_ns();
	}
}

int link_flood(struct link *l, unsigned from, double *ret_rate_mbit)
{
	const struct link_profile *p = &l->profile;
	struct flood f = {.near = -1, .far = -1};
	uint64_t warm =
		FLOOD_WARM_NS + (uint64_t)((p->rtt_ms + p->jitter_ms) * 1e6);
	int r = link_udp_pair(l, from, &f.near, &f.far);

	if (r)
		return r;
	f.payload = p->mtu - UDP_HEADERS;
	f.wire_bytes = p->mtu + LINK_FRAME_BYTES;
	f.window_ns = FLOOD_WINDOW_NS + (uint64_t)(p->jitter_ms * 80e6);
	f.gap_ns = link_serialize_ms(p, p->mtu) * 1e6 / FLOOD_EXCESS *
		   (1 - p->loss_pct / 100);
	flood_loop(&f, warm);
	(void)close(f.near);
	(void)close(f.far);
	if (f.n < 10)
		return ms_err(-ETIMEDOUT, "link: no packet of a flood arrived");
	*ret_rate_mbit = flood_mbit(&f);
	return 0;
}

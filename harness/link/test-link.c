/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a link does besides its numbers: settings read back, data unharmed by
 * splitting and merging, order, counters, cut and restore, many hosts,
 * refusals, and the plain driver.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "approaches/common/util/clock.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"
#include "harness/link/test-live.h"

#define STREAM_BYTES ((size_t)(LIVE_SANITIZED ? 4 : 24) << 20)

static void settings(struct link *l)
{
	struct link_settings s;

	LIVE_OK(link_read_settings(l, LINK_SOURCE, &s));
	CHECK_STR(s.congestion, "cubic");
	CHECK_EQ(s.no_metrics_save, 1);
	CHECK_EQ(s.slow_start_after_idle, 0);
	CHECK(s.rmem_max >= 32 << 20);
	CHECK(s.wmem_max >= 32 << 20);
	CHECK_STR(link_address(l, LINK_SOURCE), "10.77.1.1");
	CHECK_STR(link_address(l, LINK_TARGET), "10.77.2.1");
	CHECK(!link_address(l, 2));
	CHECK(link_namespace(l, LINK_TARGET) >= 0);
	CHECK(link_emulator_pid(l) > 0);
}

struct stream {
	int out;
	int in;
	uint32_t *data;
};

static void connect_stream(struct link *l, unsigned from, unsigned to,
			   struct stream *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr = {htonl(link_host_address(to))}};
	socklen_t len = sizeof(a);
	struct pollfd p = {.events = POLLIN};
	int listener = -1;

	LIVE_OK(link_socket(l, to, SOCK_STREAM, &listener));
	CHECK_EQ(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_EQ(listen(listener, 1), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	LIVE_OK(link_socket(l, from, SOCK_STREAM, &s->out));
	CHECK(connect(s->out, (struct sockaddr *)&a, sizeof(a)) == 0 ||
	      errno == EINPROGRESS);
	p.fd = listener;
	CHECK_EQ(poll(&p, 1, 5000), 1);
	s->in = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK(s->in >= 0);
	(void)close(listener);
}

static void *send_stream(void *arg)
{
	struct stream *s = arg;
	const char *p = (const char *)s->data;
	size_t done = 0;

	while (done < STREAM_BYTES) {
		struct pollfd f = {.fd = s->out, .events = POLLOUT};
		ssize_t n = send(s->out, p + done, STREAM_BYTES - done,
				 MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EAGAIN)
			return NULL;
		else
			(void)poll(&f, 1, 1000);
	}
	(void)shutdown(s->out, SHUT_WR);
	return NULL;
}

static void receive_stream(struct stream *s)
{
	static uint32_t buf[65536];
	const char *want = (const char *)s->data;
	size_t done = 0;

	for (;;) {
		struct pollfd f = {.fd = s->in, .events = POLLIN};
		ssize_t n;

		CHECK_EQ(poll(&f, 1, 20000), 1);
		n = recv(s->in, buf, sizeof(buf), 0);
		if (n == 0)
			break;
		CHECK(n > 0);
		CHECK(done + (size_t)n <= STREAM_BYTES);
		CHECK(memcmp(buf, want + done, (size_t)n) == 0);
		done += (size_t)n;
	}
	CHECK_EQ(done, STREAM_BYTES);
}

/* Bytes survive loss, queue drops, and being cut and put together again. */
static void data_is_unharmed(struct link *l, unsigned from, unsigned to)
{
	struct stream s = {.out = -1, .in = -1, .data = malloc(STREAM_BYTES)};
	pthread_t thread;

	CHECK(s.data);
	for (size_t i = 0; i < STREAM_BYTES / 4; i++)
		s.data[i] = (uint32_t)(i * 2654435761U);
	connect_stream(l, from, to, &s);
	CHECK_EQ(pthread_create(&thread, NULL, send_stream, &s), 0);
	receive_stream(&s);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	(void)close(s.out);
	(void)close(s.in);
	free(s.data);
}

static void set(struct link *l, const char *text)
{
	struct link_profile p;

	LIVE_OK(link_profile_parse(text, &p));
	LIVE_OK(link_set(l, &p));
}

/* The emulator's counts against what went through: headers included. */
static void counters(struct link *l)
{
	struct link_counters a;
	struct link_counters b;
	struct link_counters a2;
	struct link_counters b2;
	double wire = (double)STREAM_BYTES * 1514 / 1448;
	uint64_t sent;

	set(l, "rtt=2,rate=500M,queue=16M");
	LIVE_OK(link_counters(l, LINK_SOURCE, &a));
	LIVE_OK(link_counters(l, LINK_TARGET, &b));
	data_is_unharmed(l, LINK_SOURCE, LINK_TARGET);
	LIVE_OK(link_counters(l, LINK_SOURCE, &a2));
	LIVE_OK(link_counters(l, LINK_TARGET, &b2));
	sent = a2.tx_bytes - a.tx_bytes;
	CHECK((double)sent > wire && (double)sent < wire * 1.01);
	CHECK((double)(b2.rx_bytes - b.rx_bytes) > wire);
	CHECK(b2.rx_packets - b.rx_packets >= STREAM_BYTES / 1448);
	CHECK(b2.if_rx_bytes - b.if_rx_bytes > STREAM_BYTES);
	CHECK_EQ(a2.if_tx_dropped, 0);
}

/* UDP packets arrive in order and with gaps only where some were dropped. */
static void order(struct link *l)
{
	uint32_t next = 0;
	uint32_t got = 0;
	int near = -1;
	int far = -1;

	set(l, "rtt=10,jitter=8,loss=5%");
	LIVE_OK(link_udp_pair(l, LINK_SOURCE, &near, &far));
	for (uint32_t i = 0; i < 5000; i++) {
		struct timespec t = ms_timespec(20 * MS_NS_PER_US);

		CHECK_EQ(send(near, &i, sizeof(i), 0), sizeof(i));
		(void)nanosleep(&t, NULL);
	}
	for (;;) {
		struct pollfd f = {.fd = far, .events = POLLIN};
		uint32_t v = 0;

		if (poll(&f, 1, 200) == 0)
			break;
		CHECK_EQ(recv(far, &v, sizeof(v), 0), sizeof(v));
		CHECK(v >= next);
		next = v + 1;
		got++;
	}
	CHECK(got > 4600 && got < 4900);
	(void)close(near);
	(void)close(far);
}

static void cut_and_restore(struct link *l)
{
	struct link_reading r;

	set(l, "rtt=2");
	LIVE_OK(link_probe_rtt(l, 10, &r));
	LIVE_OK(link_cut(l, true));
	CHECK_EQ(link_probe_rtt(l, 10, &r), -ETIMEDOUT);
	LIVE_OK(link_cut(l, false));
	LIVE_OK(link_probe_rtt(l, 10, &r));
	CHECK_EQ(r.rtt_lost, 0);
}

static void refusals(struct link *l)
{
	struct link_options options = {.driver = LINK_EMULATED};
	struct link_profile p;
	struct link *other = NULL;

	LIVE_OK(link_profile_parse("rate=90G", &p));
	CHECK_EQ(link_open(&p, &options, &other), -EINVAL);
	CHECK_HAS(ms_err_text(), "beyond the emulated driver");
	CHECK(!other);
	LIVE_OK(link_profile_parse("rtt=10000,rate=10G", &p));
	CHECK_EQ(link_set(l, &p), -EINVAL);
	LIVE_OK(link_profile_parse("mtu=1400", &p));
	CHECK_EQ(link_set(l, &p), -EINVAL);
	CHECK_HAS(ms_err_text(), "MTU");
	LIVE_OK(link_profile_parse("none", &p));
	options.congestion = "nonesuch";
	CHECK_EQ(link_open(&p, &options, &other), -EINVAL);
	CHECK_HAS(ms_err_text(), "nonesuch");
	options.congestion = NULL;
	options.hosts = 1;
	CHECK_EQ(link_open(&p, &options, &other), -EINVAL);
	CHECK_EQ(link_enter(l, 2), -EINVAL);
}

static void many_hosts(void)
{
	struct link_options options = {
		.driver = LINK_EMULATED, .hosts = 4, .congestion = "reno"};
	struct link_settings s;
	struct link_profile p;
	struct link *l;

	LIVE_OK(link_profile_parse("rtt=1,loss=0.5%", &p));
	LIVE_OK(link_open(&p, &options, &l));
	CHECK_EQ(link_hosts(l), 4);
	CHECK_STR(link_address(l, 3), "10.77.4.1");
	LIVE_OK(link_read_settings(l, 3, &s));
	CHECK_STR(s.congestion, "reno");
	data_is_unharmed(l, 3, 2);
	data_is_unharmed(l, 0, 3);
	link_close(l);
}

/* Plain veth pairs and a router; needs iproute2. */
static void plain_driver(void)
{
	struct link_options options = {.driver = LINK_SLEEP};
	struct link_counters c;
	struct link_reading r;
	struct link_profile p;
	struct link *l;

	LIVE_OK(link_profile_parse("rtt=20", &p));
	LIVE_OK(link_open(&p, &options, &l));
	CHECK_EQ(link_driver(l), LINK_SLEEP);
	CHECK_EQ(link_emulator_pid(l), -1);
	LIVE_OK(link_probe_rtt(l, 20, &r));
	CHECK(r.rtt_ms_p50 < 5);
	data_is_unharmed(l, LINK_SOURCE, LINK_TARGET);
	LIVE_OK(link_counters(l, LINK_TARGET, &c));
	CHECK(c.rx_bytes > STREAM_BYTES);
	CHECK_EQ(link_cut(l, true), -EOPNOTSUPP);
	link_close(l);
}

/* The driver itself where the kernel has it; its refusal where not. */
static void netem_driver(void)
{
	struct link_options options = {.driver = LINK_NETEM};
	struct link_reading r;
	struct link_profile p;
	struct link *l;
	int rc;

	LIVE_OK(link_profile_parse("rtt=20,rate=100M", &p));
	rc = link_open(&p, &options, &l);
	if (link_driver_supported(LINK_NETEM)) {
		CHECK_HAS(ms_err_text(), "netem");
		CHECK_EQ(rc, -EOPNOTSUPP);
		(void)printf("netem: %s\n", ms_err_text());
		return;
	}
	CHECK_EQ(rc, 0);
	LIVE_OK(link_probe_rtt(l, 50, &r));
	CHECK(r.rtt_ms_p50 >= 20 && r.rtt_ms_p50 < 22);
	data_is_unharmed(l, LINK_SOURCE, LINK_TARGET);
	LIVE_OK(link_cut(l, true));
	CHECK_EQ(link_probe_rtt(l, 5, &r), -ETIMEDOUT);
	LIVE_OK(link_cut(l, false));
	LIVE_OK(link_probe_rtt(l, 5, &r));
	link_close(l);
}

int main(void)
{
	struct link *l;

	live_need(false);
	l = live_open("rtt=2,rate=1G,loss=0.2%,queue=128K");
	settings(l);
	data_is_unharmed(l, LINK_SOURCE, LINK_TARGET);
	data_is_unharmed(l, LINK_TARGET, LINK_SOURCE);
	counters(l);
	order(l);
	cut_and_restore(l);
	refusals(l);
	link_close(l);
	many_hosts();
	plain_driver();
	netem_driver();
	return 0;
}

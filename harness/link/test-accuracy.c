/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated link against its request: RTT, rate, loss, jitter. Each is
 * tried up to three times, because the machine may be busy with other things
 * for a moment; a wrong link is wrong three times. MS_SOAK=1 measures more.
 */
#include <poll.h>
#include <sys/socket.h>

#include "approaches/common/util/clock.h"
#include "harness/link/measure.h"
#include "harness/link/test-live.h"

#define TRIES 3

static bool soak;

/* Measure until it is as asked, or `TRIES` times. */
static void expect(struct link *l, const struct link_measurement *what)
{
	struct link_reading r = {.rtt_n = 0};
	int rc = -1;

	for (int i = 0; i < TRIES && rc; i++) {
		LIVE_OK(link_measure(l, what, &r));
		rc = link_check(link_profile(l), &r, NULL);
		if (rc)
			(void)fprintf(stderr, "try %d: %s\n", i + 1,
				      ms_err_text());
	}
	(void)printf("rtt %7g ms, rate %5g Mbit/s, loss %4g %%: p50 %8.3f "
		     "p99 %8.3f ms, %8.3f %8.3f Mbit/s, lost %d %d\n",
		     link_profile(l)->rtt_ms, link_profile(l)->rate_mbit,
		     link_profile(l)->loss_pct, r.rtt_ms_p50, r.rtt_ms_p99,
		     r.rate_mbit[0], r.rate_mbit[1], (int)r.loss_lost[0],
		     (int)r.loss_lost[1]);
	CHECK_EQ(rc, 0);
	LIVE_OK(link_healthy(l));
}

static void set(struct link *l, const char *text)
{
	struct link_profile p;

	LIVE_OK(link_profile_parse(text, &p));
	LIVE_OK(link_set(l, &p));
}

static void round_trips(struct link *l)
{
	static const char *const texts[] = {"rtt=1", "rtt=5", "rtt=20",
					    "rtt=100", "rtt=20,rate=10M"};
	struct link_measurement what = {.rtt_probes = soak ? 5000 : 200};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		set(l, texts[i]);
		expect(l, &what);
	}
}

static void rates(struct link *l)
{
	static const char *const texts[] = {
		"rate=10M",	   "rate=100M",	       "rate=1G",
		"rtt=20,rate=10M", "rtt=20,rate=100M", "rtt=20,rate=1G"};
	struct link_measurement what = {.rate_directions = 2};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		set(l, texts[i]);
		for (int n = soak ? 20 : 1; n > 0; n--)
			expect(l, &what);
	}
}

static void losses(struct link *l)
{
	struct link_measurement what = {.loss_packets = soak ? 500000 : 20000};

	set(l, "rtt=1,loss=0.1%");
	expect(l, &what);
	set(l, "rtt=1,loss=1%");
	expect(l, &what);
	set(l, "rtt=1,loss=10%");
	expect(l, &what);
	/* and the rate of a lossy link, which TCP would not show */
	what = (struct link_measurement){.rate_directions = 2};
	set(l, "rtt=5,rate=50M,loss=2%");
	expect(l, &what);
}

/* The spread of a triangular distribution, and nothing beyond its ends. */
static void jitter(struct link *l)
{
	struct link_reading r = {.rtt_n = 0};
	bool good = false;

	set(l, "rtt=20,jitter=4");
	for (int i = 0; i < TRIES && !good; i++) {
		LIVE_OK(link_probe_rtt(l, 400, &r));
		(void)printf("jitter: p05 %.3f p50 %.3f p95 %.3f max %.3f\n",
			     r.rtt_ms_p05, r.rtt_ms_p50, r.rtt_ms_p95,
			     r.rtt_ms_max);
		/* 5 % quantile of the sum of two uniform +-2: -2.735 */
		good = r.rtt_ms_min > 15.9 && r.rtt_ms_p99 < 24.3 &&
		       r.rtt_ms_p05 > 16.5 && r.rtt_ms_p05 < 18.1 &&
		       r.rtt_ms_p50 > 19.4 && r.rtt_ms_p50 < 20.6 &&
		       r.rtt_ms_p95 > 21.9 && r.rtt_ms_p95 < 23.6;
	}
	CHECK(good);
}

#define BURSTS	     20
#define BURST	     24
#define BURST_GAP_NS (30 * MS_NS_PER_MS)

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * Bursts after a rest, each answered at once: where the emulator changes
 * between its two ways of waiting. A packet that comes early makes TCP believe
 * in a shorter path, and it leaves slow start at the next one that does not.
 */
static void bursts(struct link *l)
{
	uint64_t delays[BURSTS * BURST];
	uint64_t median;
	uint64_t next;
	unsigned n = 0;
	int near = -1;
	int far = -1;

	set(l, "rtt=100");
	LIVE_OK(link_udp_pair(l, LINK_SOURCE, &near, &far));
	next = ms_now_ns();
	for (unsigned sent = 0; n < BURSTS * BURST;) {
		struct pollfd f[2] = {{.fd = far, .events = POLLIN},
				      {.fd = near, .events = POLLIN}};
		uint64_t t;

		for (int i = 0;
		     i < BURST && sent < BURSTS * BURST && ms_now_ns() >= next;
		     i++, sent++) {
			t = ms_now_ns();
			CHECK_EQ(send(near, &t, sizeof(t), 0), sizeof(t));
			if (i == BURST - 1)
				next += BURST_GAP_NS;
		}
		CHECK(poll(f, 2, 1) >= 0);
		while (recv(far, &t, sizeof(t), MSG_DONTWAIT) == sizeof(t))
			CHECK_EQ(send(far, &t, sizeof(t), 0), sizeof(t));
		while (recv(near, &t, sizeof(t), MSG_DONTWAIT) == sizeof(t))
			delays[n++] = ms_now_ns() - t;
		CHECK(ms_now_ns() < next + 5 * MS_NS_PER_S);
	}
	qsort(delays, n, sizeof(delays[0]), by_size);
	median = delays[n / 2];
	(void)printf("bursts: RTT %.3f to %.3f ms, p50 %.3f\n",
		     (double)delays[0] / 1e6, (double)delays[n - 1] / 1e6,
		     (double)median / 1e6);
	CHECK(delays[0] >= 99700 * MS_NS_PER_US);
	CHECK(median <= 100500 * MS_NS_PER_US);
	(void)close(near);
	(void)close(far);
}

/* One connection leaves slow start only when the path is full. */
static void slow_start(struct link *l)
{
	struct link_bulk how = {.connections = 1, .warm_s = 1.5, .window_s = 1};
	struct link_bulk_result r = {.mean_mbit = 0};
	double want;

	set(l, "rtt=100,rate=1G");
	want = link_goodput_mbit(link_profile(l));
	for (int i = 0; i < TRIES && r.mean_mbit < 0.9 * want; i++)
		LIVE_OK(link_bulk(l, &how, &r));
	(void)printf("slow start: 1 connection at 100 ms, full after %.2f s\n",
		     r.full_s);
	CHECK(r.mean_mbit >= 0.9 * want);
}

/* Bulk TCP fills a long link: what the figures of bulk transfers stand on. */
static void bulk(struct link *l)
{
	struct link_bulk how = {.connections = 8, .warm_s = 1, .window_s = 2};
	struct link_bulk_result r = {.mean_mbit = 0};
	double want;

	set(l, "rtt=20,rate=1G");
	want = link_goodput_mbit(link_profile(l));
	for (int i = 0; i < TRIES && r.mean_mbit < 0.95 * want; i++)
		LIVE_OK(link_bulk(l, &how, &r));
	(void)printf("bulk: 8 connections, %.1f of %.1f Mbit/s, full after "
		     "%.2f s\n",
		     r.mean_mbit, want, r.full_s);
	CHECK(r.mean_mbit >= 0.95 * want);
	CHECK(r.mean_mbit <= 1.01 * want);
}

int main(void)
{
	struct link *l;

	live_need(true);
	soak = getenv("MS_SOAK") != NULL;
	l = live_open("none");
	round_trips(l);
	rates(l);
	losses(l);
	jitter(l);
	bursts(l);
	slow_start(l);
	bulk(l);
	link_close(l);
	return 0;
}

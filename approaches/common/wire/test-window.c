/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window against a simulated link: it fills the link and does not fill the
 * queue, whatever rate and round trip are, also when they change.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/window.h"
#include "tests/check.h"

enum {
	HISTORY = 4096 /* milliseconds of what is under way */
};

/* What is asked for arrives at the bottleneck a round trip later. */
struct path {
	double rate; /* bytes per millisecond */
	unsigned rtt_ms;
	double due[HISTORY];
	double backlog;
	uint64_t now_ms;
	double delivered;
	double queue_ms;
};

/* One millisecond: ask for what the window allows, deliver what is due. */
static void step(struct path *p, struct ms_window *w)
{
	uint64_t now = (p->now_ms + 1) * MS_NS_PER_MS;
	uint64_t asked = 0;

	while (ms_window_open(w, now)) {
		ms_window_sent(w, 16384, now);
		asked += 16384;
	}
	p->due[(p->now_ms + p->rtt_ms) % HISTORY] += (double)asked;
	p->backlog += p->due[p->now_ms % HISTORY];
	p->due[p->now_ms % HISTORY] = 0;
	double n = p->backlog < p->rate ? p->backlog : p->rate;
	p->backlog -= n;
	p->delivered += n;
	p->queue_ms = p->backlog / p->rate;
	if (n > 0)
		ms_window_delivered(w, (uint64_t)n, now);
	if (p->now_ms % 10 == 0)
		ms_window_rtt(w,
			      (uint64_t)((p->rtt_ms + p->queue_ms + 0.1) *
					 (double)MS_NS_PER_MS),
			      now);
	p->now_ms++;
}

static void run(struct path *p, struct ms_window *w, unsigned ms)
{
	p->delivered = 0;
	for (unsigned i = 0; i < ms; i++)
		step(p, w);
}

static void check_fills(double mbit, unsigned rtt_ms)
{
	static struct path p;
	struct ms_window w;

	p = (struct path){.rate = mbit * 125, .rtt_ms = rtt_ms};
	ms_window_init(&w, 0);
	/* The least round trip is known from the handshake on. */
	ms_window_rtt(&w, rtt_ms * MS_NS_PER_MS + 100000, 1);
	run(&p, &w, 10 * rtt_ms + 1000);
	run(&p, &w, 4000);
	(void)printf("%5.0f Mbit/s %3u ms: %5.1f %% of the rate, queue %4.1f "
		     "ms, window %" PRIu64 " KiB\n",
		     mbit, rtt_ms, p.delivered / p.rate / 40, p.queue_ms,
		     w.size >> 10);
	CHECK(p.delivered > 0.97 * p.rate * 4000);
	/* Half a round trip, or the smallest window there is, and a step. */
	double least = (262144 + 16384) / p.rate;
	double most = rtt_ms * 0.75 + 8;
	CHECK(p.queue_ms <= (most > least ? most : least));
}

/* The link becomes longer, then slower, in the middle of the work. */
static void check_follows(void)
{
	static struct path p;
	struct ms_window w;

	p = (struct path){.rate = 1000 * 125, .rtt_ms = 5};
	ms_window_init(&w, 0);
	ms_window_rtt(&w, 5 * MS_NS_PER_MS, 1);
	run(&p, &w, 5000);
	p.rtt_ms = 40;
	run(&p, &w, 30000);
	run(&p, &w, 4000);
	CHECK(p.delivered > 0.9 * p.rate * 4000);
	p.rate = 100 * 125;
	run(&p, &w, 10000);
	run(&p, &w, 2000);
	CHECK(p.delivered > 0.97 * p.rate * 2000);
	(void)printf("slower link: queue %.1f ms, least rtt %.1f ms\n",
		     p.queue_ms, (double)w.rtt_min_ns / 1e6);
	CHECK(p.queue_ms < 60);
}

static void check_fixed(void)
{
	struct ms_window w;

	ms_window_init(&w, 4096);
	CHECK(ms_window_open(&w, 1));
	ms_window_sent(&w, 4096, 1);
	CHECK(!ms_window_open(&w, 2));
	ms_window_rtt(&w, 1000, 2);
	ms_window_delivered(&w, 4096, 3);
	CHECK(ms_window_open(&w, 4));
	CHECK_EQ(ms_window_size(&w, 5), 4096);
	/* More is given back than was taken: not below nothing. */
	ms_window_dropped(&w, 4096);
	CHECK_EQ(w.outstanding, 0);
}

int main(void)
{
	static const double rates[] = {10, 100, 1000, 5000};
	static const unsigned rtts[] = {0, 1, 5, 20, 100};

	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < 5; k++)
			check_fills(rates[i], rtts[k]);
	check_follows();
	check_fixed();
	return 0;
}

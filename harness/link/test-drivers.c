/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated driver against real netem in one kernel: round trips, rates,
 * losses and the distributions under jitter and loss, side by side.
 *
 * needs-kernel: sch_netem tun
 */
#include <math.h>

#include "harness/link/measure.h"
#include "harness/link/test-live.h"
#include "harness/stats/stats.h"

#define TRIES	   3
#define PROBES_MAX 5000

static const enum link_driver drivers[2] = {LINK_NETEM, LINK_EMULATED};

/* What one driver showed. */
struct seen {
	struct link_probes probes;
	double rtt_ms[PROBES_MAX];
	struct link_reading reading;
};

static unsigned rtt_probes = 400;

static void measure(enum link_driver driver, const char *text,
		    const struct link_measurement *what, struct seen *ret)
{
	struct link_options options = {.driver = driver, .seed = 1};
	struct link_profile p;
	struct link *l = NULL;

	LIVE_OK(link_profile_parse(text, &p));
	LIVE_OK(link_open(&p, &options, &l));
	LIVE_OK(link_probe_times(l, rtt_probes, ret->rtt_ms, &ret->probes));
	LIVE_OK(link_measure(l, what, &ret->reading));
	LIVE_OK(link_healthy(l));
	link_close(l);
	stats_sort(ret->rtt_ms, ret->probes.back);
}

static double quantile(const struct seen *s, double q)
{
	return stats_quantile(s->rtt_ms, s->probes.back, q);
}

/* Within 5 % or 0.25 ms: what a run is refused for otherwise. */
static bool alike(double a, double b)
{
	return fabs(a - b) <= fmax(0.25, 0.05 * fmax(a, b));
}

static void print(const char *text, const struct seen s[2], double ks)
{
	(void)printf("%-32s %-9s %8s %8s %8s %8s %9s %9s %6s\n", text, "",
		     "p05", "p50", "p95", "p99", "Mbit/s", "back", "lost");
	for (int i = 0; i < 2; i++) {
		const struct link_reading *r = &s[i].reading;

		(void)printf("%-32s %-9s %8.3f %8.3f %8.3f %8.3f %9.3f %9.3f "
			     "%6u\n",
			     "", link_driver_name(drivers[i]),
			     quantile(&s[i], 0.05), quantile(&s[i], 0.5),
			     quantile(&s[i], 0.95), quantile(&s[i], 0.99),
			     r->rate_mbit[0], r->rate_mbit[1],
			     (unsigned)(r->loss_lost[0] + r->loss_lost[1]));
	}
	(void)printf(
		"%-32s RTT p50 %+.2f %%, distance of distributions %.3f\n", "",
		100 * (quantile(&s[1], 0.5) / quantile(&s[0], 0.5) - 1), ks);
}

static bool rates_alike(const struct seen s[2])
{
	for (int i = 0; i < 2; i++) {
		double a = s[0].reading.rate_mbit[i];
		double b = s[1].reading.rate_mbit[i];

		if (a > 0 && fabs(a / b - 1) > 0.02)
			return false;
	}
	return true;
}

/* Medians and rates; what the machine does in between is tried again. */
static void compare(const char *text, const struct link_measurement *what)
{
	static struct seen s[2];
	bool good = false;

	for (int t = 0; t < TRIES && !good; t++) {
		for (int i = 0; i < 2; i++)
			measure(drivers[i], text, what, &s[i]);
		print(text, s,
		      stats_ks(s[0].rtt_ms, s[0].probes.back, s[1].rtt_ms,
			       s[1].probes.back, NULL));
		good = alike(quantile(&s[0], 0.5), quantile(&s[1], 0.5)) &&
		       rates_alike(s);
	}
	CHECK(good);
}

/*
 * netem draws a delay for each packet; the emulator keeps one for twice the
 * jitter, so that packets stay in order. Probes are further apart than that,
 * so both show the sum of two uniform delays.
 */
static void compare_jitter(const char *text)
{
	static struct seen s[2];
	const struct link_measurement none = {.rtt_probes = 10};
	double ks = 1;

	for (int t = 0; t < TRIES && ks > 0.12; t++) {
		for (int i = 0; i < 2; i++)
			measure(drivers[i], text, &none, &s[i]);
		ks = stats_ks(s[0].rtt_ms, s[0].probes.back, s[1].rtt_ms,
			      s[1].probes.back, NULL);
		print(text, s, ks);
	}
	CHECK(ks <= 0.12);
	CHECK(alike(quantile(&s[0], 0.05), quantile(&s[1], 0.05)));
	CHECK(alike(quantile(&s[0], 0.95), quantile(&s[1], 0.95)));
}

/* Both lose what was asked, within the interval of chance. */
static void compare_loss(const char *text, double loss)
{
	static struct seen s[2];
	const struct link_measurement what = {.loss_packets = 20000};

	for (int i = 0; i < 2; i++) {
		measure(drivers[i], text, &what, &s[i]);
		for (int k = 0; k < 2; k++)
			CHECK(link_binomial_p(s[i].reading.loss_sent[k],
					      s[i].reading.loss_lost[k],
					      loss) > 0.0005);
	}
	print(text, s,
	      stats_ks(s[0].rtt_ms, s[0].probes.back, s[1].rtt_ms,
		       s[1].probes.back, NULL));
}

int main(void)
{
	const struct link_measurement both = {.rtt_probes = 10,
					      .rate_directions = 2};
	const struct link_measurement rtt = {.rtt_probes = 10};

	live_need(true);
	if (link_driver_supported(LINK_NETEM))
		SKIP("%s", ms_err_text());
	if (getenv("MS_SOAK"))
		rtt_probes = PROBES_MAX;
	compare("rtt=1", &rtt);
	compare("rtt=20", &rtt);
	compare("rtt=1,rate=10M", &both);
	compare("rtt=5,rate=100M", &both);
	compare("rtt=20,rate=100M", &both);
	compare_jitter("rtt=20,jitter=2");
	compare_loss("rtt=5,rate=100M,loss=0.1%", 0.001);
	compare_loss("rtt=5,rate=100M,loss=1%", 0.01);
	return 0;
}

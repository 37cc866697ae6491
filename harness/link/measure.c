/* SPDX-License-Identifier: Apache-2.0 */
/* The whole reading of a link, and its comparison with what was asked. */
#include "harness/link/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"

#define RTT_TOLERANCE_MS   0.1
#define RATE_TOLERANCE_PCT 1.0
#define LOSS_CONFIDENCE	   0.999
#define CALIBRATE_PROBES   64
#define BULK_CONNECTIONS   4
#define BULK_WARM_S	   0.4
#define BULK_WARM_RTTS	   15
#define BULK_WINDOW_S	   0.75
#define BULK_WINDOW_QUEUES 10

static int measure_rate(struct link *l, unsigned from, struct link_reading *ret)
{
	const struct link_profile *p = &l->profile;
	struct link_bulk how = {.from = from, .connections = BULK_CONNECTIONS};
	struct link_bulk_result result = {.goodput_mbit = 0};
	double payload = p->mtu - 28;
	int r;

	if (p->loss_pct > 0 && p->rate_mbit > 0) {
		ret->rate_by_udp = 1;
		r = link_flood(l, from, &ret->rate_mbit[from]);
		ret->goodput_mbit[from] = ret->rate_mbit[from] * payload /
					  (p->mtu + LINK_FRAME_BYTES);
		return r;
	}
	how.warm_s =
		BULK_WARM_S + BULK_WARM_RTTS * (p->rtt_ms + p->jitter_ms) / 1e3;
	how.window_s =
		BULK_WINDOW_S + (5 * p->rtt_ms + 100 * p->jitter_ms) / 1e3;
	/* a retransmission takes as long as the queue in front of it */
	if (p->rate_mbit > 0)
		how.window_s += BULK_WINDOW_QUEUES *
				(double)link_queue_bytes(p) * 8 /
				(p->rate_mbit * 1e6);
	r = link_bulk(l, &how, &result);
	ret->goodput_mbit[from] = result.goodput_mbit;
	ret->rate_mbit[from] = result.goodput_mbit *
			       (p->mtu + LINK_FRAME_BYTES) /
			       (p->mtu - LINK_TCP_HEADERS);
	return r;
}

int link_calibrate(struct link *l)
{
	struct link_reading reading = {.rtt_n = 0};
	double base;
	int r = link_probe_rtt(l, CALIBRATE_PROBES, &reading);

	if (r)
		return ms_err_add(r, "calibration");
	base = reading.rtt_ms_p50 * 1e6 - (double)LINK_CALIBRATE_RTT_NS;
	l->base_rtt_ns = base > 0 ? (uint64_t)base : 0;
	l->compensate_ns = l->base_rtt_ns / 2;
	return 0;
}

int link_measure(struct link *l, const struct link_measurement *what,
		 struct link_reading *ret)
{
	struct link_reading reading = {.rtt_n = 0};
	int r = 0;

	if (what->rtt_probes)
		r = link_probe_rtt(l, what->rtt_probes, &reading);
	for (unsigned i = 0; i < what->rate_directions && i < 2 && !r; i++)
		r = measure_rate(l, i, &reading);
	for (unsigned i = 0; i < 2 && what->loss_packets && !r; i++)
		r = link_probe_loss(l, i, what->loss_packets, &reading);
	if (!r)
		*ret = reading;
	return r;
}

/* Logarithm of the probability of exactly k of n. */
static double log_pmf(double n, double k, double p)
{
	return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) +
	       (n - k) * log1p(-p);
}

double link_binomial_p(uint64_t sent, uint64_t lost, double p)
{
	double below = 0; /* P(X <= lost) */
	double at;
	double above;

	if (p <= 0)
		return lost ? 0 : 1;
	if (p >= 1)
		return lost == sent ? 1 : 0;
	for (uint64_t k = 0; k <= lost; k++)
		below += exp(log_pmf((double)sent, (double)k, p));
	at = exp(log_pmf((double)sent, (double)lost, p));
	above = 1 - below + at;
	return fmin(1, 2 * fmin(below, above));
}

double link_expected_rtt_ms(const struct link_profile *profile,
			    const struct link_reading *reading)
{
	double wire = 2 * link_serialize_ms(profile, LINK_PROBE_BYTES);

	return fmax(profile->rtt_ms, reading->base_rtt_ms) + wire;
}

/*
 * How far the median of the probes may be from the truth because the RTT
 * varies: about 3.3 deviations. A jitter holds for twice its size.
 */
static double median_error_ms(const struct link_profile *p,
			      const struct link_reading *r)
{
	double draws = r->rtt_n;

	if (p->jitter_ms <= 0)
		return 0;
	draws = fmin(draws, r->rtt_span_s * 1e3 / (2 * p->jitter_ms));
	return 1.65 * p->jitter_ms / sqrt(fmax(draws, 1));
}

static int check_rtt(const struct link_profile *p, const struct link_reading *r,
		     double tolerance)
{
	double want = link_expected_rtt_ms(p, r);

	tolerance += median_error_ms(p, r);
	if (fabs(r->rtt_ms_p50 - want) <= tolerance)
		return 0;
	return ms_err_plain(
		-ERANGE,
		"link: RTT is %.3f ms at the median, %.3f +- %.3f ms "
		"is expected of rtt=%gms",
		r->rtt_ms_p50, want, tolerance, p->rtt_ms);
}

static int check_rate(const struct link_profile *p, double rate, unsigned from,
		      double tolerance_pct)
{
	double off = (rate / p->rate_mbit - 1) * 100;

	if (fabs(off) <= tolerance_pct)
		return 0;
	return ms_err_plain(
		-ERANGE,
		"link: rate from the %s is %.3f Mbit/s, %+.2f %% off "
		"rate=%gM (%g %% allowed)",
		from ? "target" : "source", rate, off, p->rate_mbit,
		tolerance_pct);
}

static int check_loss(const struct link_profile *p,
		      const struct link_reading *r, unsigned from,
		      double confidence)
{
	double chance = link_binomial_p(r->loss_sent[from], r->loss_lost[from],
					p->loss_pct / 100);

	if (chance >= 1 - confidence)
		return 0;
	return ms_err_plain(
		-ERANGE,
		"link: %" PRIu64 " of %" PRIu64 " packets from the %s "
		"were lost, outside the %g %% interval of loss=%g%%",
		r->loss_lost[from], r->loss_sent[from],
		from ? "target" : "source", confidence * 100, p->loss_pct);
}

int link_check(const struct link_profile *profile,
	       const struct link_reading *reading,
	       const struct link_tolerance *tolerance)
{
	struct link_tolerance t = {.rtt_ms = 0};
	int r = 0;

	if (tolerance)
		t = *tolerance;
	if (reading->rtt_n)
		r = check_rtt(profile, reading,
			      t.rtt_ms > 0 ? t.rtt_ms : RTT_TOLERANCE_MS);
	for (unsigned i = 0; i < 2 && !r; i++)
		if (profile->rate_mbit > 0 && reading->rate_mbit[i] > 0)
			r = check_rate(profile, reading->rate_mbit[i], i,
				       t.rate_pct > 0 ? t.rate_pct
						      : RATE_TOLERANCE_PCT);
	for (unsigned i = 0; i < 2 && !r; i++)
		if (reading->loss_sent[i])
			r = check_loss(profile, reading, i,
				       t.loss_confidence > 0 ? t.loss_confidence
							     : LOSS_CONFIDENCE);
	return r;
}

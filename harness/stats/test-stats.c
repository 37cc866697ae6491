/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics against answers that were computed another way. */
#include "harness/stats/stats.h"
#include "tests/check.h"

#include <math.h>

static void near(double got, double want, double slack)
{
	if (!(fabs(got - want) <= slack))
		(void)fprintf(stderr, "got %.17g, want %.17g\n", got, want);
	CHECK(fabs(got - want) <= slack);
}

static void quantiles(void)
{
	static const double one[] = {7};
	static const double five[] = {1, 2, 3, 4, 10};

	near(stats_quantile(one, 1, 0), 7, 0);
	near(stats_quantile(one, 1, 1), 7, 0);
	near(stats_quantile(five, 5, 0.5), 3, 0);
	near(stats_quantile(five, 5, 0), 1, 0);
	near(stats_quantile(five, 5, 1), 10, 0);
	near(stats_quantile(five, 5, 0.25), 2, 0);
	near(stats_quantile(five, 5, 0.9), 7.6, 1e-12);
	near(stats_quantile(five, 4, 0.5), 2.5, 0);
}

/* The resampled medians come from an independent program with full sorting. */
static void bootstrap_known_answers(void)
{
	static const double a[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
	static const double b[] = {10.5, 11.25, 9.75, 30, 10, 10.25, 11};
	static const double c[] = {1, 2, 3, 4};
	double lo = -1;
	double hi = -1;

	CHECK(stats_median_interval(a, 10, 42, &lo, &hi));
	near(lo, 2, 0);
	near(hi, 5, 0);
	CHECK(stats_median_interval(b, 7, 7, &lo, &hi));
	near(lo, 10, 0);
	near(hi, 11.25, 0);
	CHECK(stats_median_interval(c, 4, 1, &lo, &hi));
	near(lo, 1, 0);
	near(hi, 4, 0);
	lo = hi = -1;
	CHECK(!stats_median_interval(c, 2, 1, &lo, &hi));
	CHECK(!stats_median_interval(c, 0, 1, &lo, &hi));
	near(lo, -1, 0);
	near(hi, -1, 0);
}

/*
 * Of 400 samples from a known distribution about 95 in 100 intervals must hold
 * its median; the percentile bootstrap of a median is a little too wide.
 */
static void bootstrap_covers(void)
{
	uint64_t state = 1;
	int held = 0;

	for (int i = 0; i < 400; i++) {
		double v[25];
		double lo = 0;
		double hi = 0;

		for (int k = 0; k < 25; k++) {
			state = state * UINT64_C(6364136223846793005) + 1;
			v[k] = (double)(state >> 11) / 0x1p53;
		}
		CHECK(stats_median_interval(v, 25, (uint64_t)i, &lo, &hi));
		CHECK(lo <= hi);
		held += lo <= 0.5 && 0.5 <= hi;
	}
	CHECK(held >= 360 && held <= 398);
}

static void outliers(void)
{
	double even[] = {9.5, 10, 10.5, 11};
	double odd[] = {9, 10, 10, 11, 50};
	double flat[] = {5, 5, 5, 5, 5.001};
	double zero[] = {0, 0, 0, 1};

	/* even: median 10.25, deviations .75 .25 .25 .75, so MAD 0.5 */
	near(stats_mad_score(even, 4, 10.75), 0.5 / (0.5 * 1.4826), 1e-12);
	/* odd: median 10, deviations 1 0 0 1 40, so MAD 1 */
	near(stats_mad_score(odd, 5, 50), 40 / 1.4826, 1e-12);
	near(stats_mad_score(odd, 5, 10), 0, 0);
	CHECK(stats_mad_score(odd, 5, 50) > STATS_OUTLIER);
	CHECK(stats_mad_score(odd, 5, 11) < STATS_OUTLIER);
	/* The grain of a clock is not an outlier; a real step is. */
	CHECK(stats_mad_score(flat, 5, 5.001) < STATS_OUTLIER);
	CHECK(stats_mad_score(flat, 5, 6) > STATS_OUTLIER);
	CHECK(isinf(stats_mad_score(zero, 4, 1)));
	near(stats_mad_score(zero, 4, 0), 0, 0);
}

static void beta_function(void)
{
	near(stats_beta(2, 3, 0.5), 0.6875, 1e-13);
	near(stats_beta(1, 1, 0.3), 0.3, 1e-13);
	near(stats_beta(0.5, 0.5, 0.25), 1.0 / 3, 1e-12);
	near(stats_beta(5, 2, 0), 0, 0);
	near(stats_beta(5, 2, 1), 1, 0);
	/* symmetry, where the other branch is taken */
	near(stats_beta(37, 9964, 0.004) + stats_beta(9964, 37, 0.996), 1,
	     1e-10);
}

static void binomial(uint64_t hits, uint64_t tries, double lo, double hi)
{
	double got_lo = -1;
	double got_hi = -1;

	stats_binomial_interval(hits, tries, &got_lo, &got_hi);
	near(got_lo, lo, 1e-8);
	near(got_hi, hi, 1e-8);
}

/* From sums of binomial terms, not from the beta function. */
static void binomial_intervals(void)
{
	binomial(5, 100, 0.01643187918204711, 0.11283491110546295);
	binomial(0, 10, 0, 0.30849710781876083);
	binomial(10, 10, 0.6915028921812356, 1);
	binomial(37, 10000, 0.0026064390075960786, 0.005096391253153882);
	binomial(500, 100000, 0.004572244150575777, 0.005456841177024538);
}

/* Distances by hand; the probability by summing the series elsewhere. */
static void kolmogorov_smirnov(void)
{
	static const double a[] = {1, 2, 3, 4, 5};
	static const double b[] = {3, 4, 5, 6, 7, 8};
	static const double far[] = {10, 11, 12};
	static const double ties[] = {2, 2, 2, 2};
	double p = -1;

	near(stats_ks(a, 5, b, 6, &p), 0.5, 1e-15);
	near(p, 0.3670013850902251, 1e-12);
	near(stats_ks(a, 5, a, 5, &p), 0, 0);
	near(p, 1, 0);
	near(stats_ks(a, 5, far, 3, NULL), 1, 0);
	near(stats_ks(a, 5, ties, 4, NULL), 0.6, 1e-15);
	near(stats_ks(ties, 4, ties, 4, NULL), 0, 0);
}

int main(void)
{
	kolmogorov_smirnov();
	quantiles();
	bootstrap_known_answers();
	bootstrap_covers();
	outliers();
	beta_function();
	binomial_intervals();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Medians, bootstrap, outliers, binomial interval; see stats.h. */
#include "harness/stats/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

void stats_sort(double *values, size_t n)
{
	if (n)
		qsort(values, n, sizeof(*values), ascending);
}

double stats_quantile(const double *sorted, size_t n, double q)
{
	double at = q * (double)(n - 1);
	size_t low = (size_t)at;

	if (low + 1 >= n)
		return sorted[n - 1];
	return sorted[low] +
	       (at - (double)low) * (sorted[low + 1] - sorted[low]);
}

/* splitmix64: passes the statistical tests and needs one word of state. */
static uint64_t random64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Even over [0, n): the high half of the product (n is far below 2^64). */
static size_t random_below(uint64_t *state, size_t n)
{
	return (size_t)(((unsigned __int128)random64(state) * n) >> 64);
}

/*
 * The median of a resample of sorted values needs no sorting: count how often
 * each position was drawn and walk to the middle.
 */
static double resample_median(const double *sorted, size_t n, uint32_t *count,
			      uint64_t *state)
{
	size_t low = (n - 1) / 2; /* the two middle ranks, equal if n is odd */
	size_t high = n / 2;
	size_t rank = 0;
	size_t i = 0;
	double first = 0;

	memset(count, 0, n * sizeof(*count));
	for (size_t k = 0; k < n; k++)
		count[random_below(state, n)]++;
	while (rank + count[i] <= low)
		rank += count[i++];
	first = sorted[i];
	while (rank + count[i] <= high)
		rank += count[i++];
	return (first + sorted[i]) / 2;
}

bool stats_median_interval(const double *values, size_t n, uint64_t seed,
			   double *ret_lo, double *ret_hi)
{
	double medians[STATS_RESAMPLES];
	uint64_t state = seed;
	uint32_t *count = NULL;
	double *sorted = NULL;
	bool done = false;

	if (n < STATS_VALUES_MIN)
		return false;
	sorted = calloc(n, sizeof(*sorted));
	count = calloc(n, sizeof(*count));
	if (!sorted || !count)
		goto out;
	memcpy(sorted, values, n * sizeof(*sorted));
	stats_sort(sorted, n);
	for (int b = 0; b < STATS_RESAMPLES; b++)
		medians[b] = resample_median(sorted, n, count, &state);
	stats_sort(medians, STATS_RESAMPLES);
	*ret_lo = stats_quantile(medians, STATS_RESAMPLES, 0.025);
	*ret_hi = stats_quantile(medians, STATS_RESAMPLES, 0.975);
	done = true;
out:
	free(count);
	free(sorted);
	return done;
}

/*
 * Median of |x - median| over sorted values: those below and above the median
 * are two sorted lists already, so walk outwards from the middle.
 */
static double mad(const double *sorted, size_t n, double median)
{
	size_t below = 0; /* values left of `below` lie below the median */
	size_t above = 0;
	double last = 0;
	double before = 0;

	while (above < n && sorted[above] < median)
		above++;
	below = above;
	for (size_t taken = 0; taken <= n / 2; taken++) {
		bool down = below > 0 &&
			    (above == n || median - sorted[below - 1] <=
						   sorted[above] - median);

		before = last;
		last = down ? median - sorted[--below]
			    : sorted[above++] - median;
	}
	return n % 2 ? last : (before + last) / 2;
}

double stats_mad_score(const double *sorted, size_t n, double value)
{
	/* Turns the deviation of a normal distribution into its sigma. */
	static const double sigma = 1.4826;
	double median = stats_quantile(sorted, n, 0.5);
	double scale =
		fmax(mad(sorted, n, median) * sigma, fabs(median) * 0.001);

	if (scale == 0)
		return value == median ? 0 : (double)INFINITY;
	return fabs(value - median) / scale;
}

/* Lentz' evaluation of the continued fraction of the incomplete beta. */
static double beta_fraction(double a, double b, double x)
{
	static const double tiny = 1e-300;
	double c = 1;
	double d = 1 - (a + b) * x / (a + 1);
	double f = 0;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	f = d;
	for (int m = 1; m < 100000; m++) {
		for (int odd = 0; odd < 2; odd++) {
			double t =
				odd ? -(a + m) * (a + b + m) * x /
						((a + 2 * m) * (a + 2 * m + 1))
				    : m * (b - m) * x /
						((a + 2 * m - 1) * (a + 2 * m));

			d = 1 + t * d;
			d = 1 / (fabs(d) < tiny ? tiny : d);
			c = 1 + t / c;
			c = fabs(c) < tiny ? tiny : c;
			f *= c * d;
		}
		if (fabs(c * d - 1) < 1e-14)
			break;
	}
	return f;
}

static double log_gamma(double x)
{
	int sign = 0;

	return lgamma_r(x, &sign);
}

double stats_beta(double a, double b, double x)
{
	double front = 0;

	if (x <= 0)
		return 0;
	if (x >= 1)
		return 1;
	front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) +
		    a * log(x) + b * log1p(-x));
	/* The fraction converges fast on this side only. */
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/* The x with I_x(a, b) = p, by bisection to the last bit that matters. */
static double beta_inverse(double a, double b, double p)
{
	double low = 0;
	double high = 1;

	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2;

		if (stats_beta(a, b, middle) < p)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

void stats_binomial_interval(uint64_t hits, uint64_t tries, double *ret_lo,
			     double *ret_hi)
{
	double k = (double)hits;
	double n = (double)tries;

	*ret_lo = hits ? beta_inverse(k, n - k + 1, 0.025) : 0;
	*ret_hi = hits < tries ? beta_inverse(k + 1, n - k, 0.975) : 1;
}

/* The tail of the limiting distribution; its series alternates. */
static double ks_tail(double lambda)
{
	double sum = 0;
	double sign = 2;

	if (lambda < 0.2)
		return 1; /* where the series converges too slowly to matter */
	for (int j = 1; j <= 100; j++) {
		double term = sign * exp(-2 * lambda * lambda * j * j);

		sum += term;
		if (fabs(term) < 1e-12)
			break;
		sign = -sign;
	}
	return fmin(1, fmax(0, sum));
}

double stats_ks(const double *a, size_t n_a, const double *b, size_t n_b,
		double *ret_p)
{
	double distance = 0;
	size_t i = 0;
	size_t k = 0;

	while (i < n_a && k < n_b) {
		double at = fmin(a[i], b[k]);

		while (i < n_a && a[i] <= at)
			i++;
		while (k < n_b && b[k] <= at)
			k++;
		distance = fmax(distance, fabs((double)i / (double)n_a -
					       (double)k / (double)n_b));
	}
	if (ret_p) {
		double n =
			sqrt((double)n_a * (double)n_b / (double)(n_a + n_b));

		*ret_p = ks_tail((n + 0.12 + 0.11 / n) * distance);
	}
	return distance;
}

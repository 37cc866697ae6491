/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of small samples: medians with bootstrap intervals, outliers that
 * are pointed out and never removed, and the binomial interval for losses.
 * Everything is deterministic: the same values and seed give the same result.
 */
#ifndef MS_HARNESS_STATS_STATS_H
#define MS_HARNESS_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Resamples of the bootstrap, and fewest values it is meaningful for. */
#define STATS_RESAMPLES	 2000
#define STATS_VALUES_MIN 3

/*
 * Quantile q in [0, 1] with linear interpolation between the two nearest
 * values (the default of R and NumPy). `sorted` ascends; n > 0.
 */
double stats_quantile(const double *sorted, size_t n, double q)
	__attribute__((nonnull));

/* Sort ascending in place; the values are finite. */
void stats_sort(double *values, size_t n);

/*
 * 95 % interval of the median by the percentile bootstrap. Returns false, and
 * leaves the results alone, with fewer than STATS_VALUES_MIN values: there is
 * no interval. -ENOMEM is reported as false with *ret_lo untouched as well.
 */
bool stats_median_interval(const double *values, size_t n, uint64_t seed,
			   double *ret_lo, double *ret_hi)
	__attribute__((nonnull(4, 5)));

/*
 * Distance from the median in units of the standard deviation that the median
 * absolute deviation stands for; see STATS_OUTLIER. The deviation is at least
 * 0.1 % of the median, so that the grain of a clock is not an outlier.
 */
double stats_mad_score(const double *sorted, size_t n, double value)
	__attribute__((nonnull));

/*
 * Kolmogorov and Smirnov's distance of two samples: the largest difference
 * between their distribution functions, 0 to 1. Both ascend; n > 0. `ret_p`
 * (may be NULL) is the probability of at least that distance when both are of
 * one distribution (asymptotic, with Stephens' correction for small samples:
 * Numerical Recipes, 14.3.3).
 */
double stats_ks(const double *a, size_t n_a, const double *b, size_t n_b,
		double *ret_p) __attribute__((nonnull(1, 3)));

/* A value this many standard deviations off is pointed out. */
#define STATS_OUTLIER 10.0

/*
 * Exact (Clopper-Pearson) 95 % interval of a probability after `hits` in
 * `tries`; hits <= tries, tries > 0.
 */
void stats_binomial_interval(uint64_t hits, uint64_t tries, double *ret_lo,
			     double *ret_hi) __attribute__((nonnull));

/*
 * The regularised incomplete beta function I_x(a, b), a, b > 0, x in [0, 1].
 */
double stats_beta(double a, double b, double x);

#endif

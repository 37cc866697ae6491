/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram: log-linear buckets, 128 to each power of two, so every
 * quantile is exact to 1/128 (0.8 %) over the whole range of 64 bits. Fixed
 * size, no allocation when recording; one writer, or one histogram a thread
 * and a merge afterwards.
 */
#ifndef MS_COMMON_UTIL_HIST_H
#define MS_COMMON_UTIL_HIST_H

#include <stdint.h>

enum {
	MS_HIST_BITS = 7, /* 2^7 buckets to each power of two */
	MS_HIST_BUCKETS = (64 - MS_HIST_BITS + 1) << MS_HIST_BITS,
};

/* Zeroed memory is an empty histogram. About 59 KiB: heap, not stack. */
struct ms_hist {
	uint64_t count;
	uint64_t sum; /* of the recorded values, wraps after 580 years of ns */
	uint64_t min; /* meaningless while count is 0 */
	uint64_t max;
	uint64_t bucket[MS_HIST_BUCKETS];
};

void ms_hist_record(struct ms_hist *h, uint64_t value) __attribute__((nonnull));

/* Add everything that `from` holds to `to`. */
void ms_hist_merge(struct ms_hist *to, const struct ms_hist *from)
	__attribute__((nonnull));

/*
 * The smallest recorded value v (to the precision above, never above the true
 * maximum) with at least `q` (0..1) of all values <= v. 0 if empty.
 */
uint64_t ms_hist_quantile(const struct ms_hist *h, double q)
	__attribute__((nonnull));

/* Arithmetic mean, 0 if empty. */
double ms_hist_mean(const struct ms_hist *h) __attribute__((nonnull));

#endif

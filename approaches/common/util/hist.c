/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear histogram; see hist.h. */
#include "approaches/common/util/hist.h"

#include <stddef.h>

#define HALF (UINT64_C(1) << MS_HIST_BITS)

/*
 * Values below 2^BITS have a bucket each; above, the leading BITS + 1 bits
 * choose the bucket: the exponent the group, the rest the place in it.
 */
static size_t index_of(uint64_t value)
{
	if (value < HALF)
		return (size_t)value;
	unsigned shift = 63U - (unsigned)__builtin_clzll(value) - MS_HIST_BITS;
	return ((size_t)(shift + 1) << MS_HIST_BITS) +
	       (size_t)((value >> shift) - HALF);
}

/* The largest value that falls into the bucket. */
static uint64_t upper_bound(size_t index)
{
	if (index < HALF)
		return index;
	unsigned shift = (unsigned)(index >> MS_HIST_BITS) - 1;
	uint64_t low = (HALF + (index & (HALF - 1))) << shift;
	return low + ((UINT64_C(1) << shift) - 1);
}

void ms_hist_record(struct ms_hist *h, uint64_t value)
{
	if (h->count == 0 || value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count++;
	h->sum += value;
	h->bucket[index_of(value)]++;
}

void ms_hist_merge(struct ms_hist *to, const struct ms_hist *from)
{
	if (from->count == 0)
		return;
	if (to->count == 0 || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->count += from->count;
	to->sum += from->sum;
	for (size_t i = 0; i < MS_HIST_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

uint64_t ms_hist_quantile(const struct ms_hist *h, double q)
{
	uint64_t seen = 0;

	if (h->count == 0)
		return 0;
	double exact = q * (double)h->count;
	uint64_t rank = exact <= 1 ? 1 : (uint64_t)exact;
	if ((double)rank < exact)
		rank++;
	if (rank > h->count)
		rank = h->count;
	for (size_t i = 0; i < MS_HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank) {
			uint64_t value = upper_bound(i);
			return value < h->max ? value : h->max;
		}
	}
	return h->max;
}

double ms_hist_mean(const struct ms_hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram's quantiles against a sorted list, and its extremes. */
#include "approaches/common/util/hist.h"
#include "tests/check.h"

#include <math.h>

enum {
	VALUES = 20000
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t next(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return *state >> 11;
}

static void quantiles_are_within_one_percent(struct ms_hist *h)
{
	static const double qs[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
	uint64_t *values = calloc(VALUES, sizeof(*values));
	uint64_t state = 7;

	CHECK(values);
	for (int i = 0; i < VALUES; i++) {
		/* Over nine decades, as latencies are. */
		values[i] = (uint64_t)exp((double)(next(&state) % 20000) / 950);
		ms_hist_record(h, values[i]);
	}
	qsort(values, VALUES, sizeof(*values), compare);
	for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
		size_t rank = (size_t)ceil(qs[i] * VALUES);
		double want = (double)values[rank - 1];
		double got = (double)ms_hist_quantile(h, qs[i]);
		CHECK(got >= want && got <= want * (1 + 1.0 / 128) + 0.5);
	}
	CHECK_EQ(ms_hist_quantile(h, 1), values[VALUES - 1]);
	CHECK_EQ(h->min, values[0]);
	free(values);
}

static void extremes(struct ms_hist *h)
{
	CHECK_EQ(ms_hist_quantile(h, 0.5), 0);
	ms_hist_record(h, 0);
	CHECK_EQ(ms_hist_quantile(h, 1), 0);
	ms_hist_record(h, UINT64_MAX);
	CHECK(ms_hist_quantile(h, 1) == UINT64_MAX);
	CHECK_EQ(ms_hist_quantile(h, 0.5), 0);
	CHECK_EQ(h->count, 2);
	/* Small values are exact. */
	for (uint64_t v = 1; v < 256; v++) {
		memset(h, 0, sizeof(*h));
		ms_hist_record(h, v);
		ms_hist_record(h, UINT64_MAX);
		CHECK_EQ(ms_hist_quantile(h, 0.5), v);
	}
}

static void merging_is_recording_both(struct ms_hist *h)
{
	struct ms_hist *both = calloc(1, sizeof(*both));
	struct ms_hist *other = calloc(1, sizeof(*other));

	CHECK(both && other);
	memset(h, 0, sizeof(*h));
	for (uint64_t v = 100; v < 5000; v += 7) {
		ms_hist_record(v % 2 ? h : other, v);
		ms_hist_record(both, v);
	}
	ms_hist_merge(h, other);
	CHECK(memcmp(h, both, sizeof(*h)) == 0);
	CHECK(fabs(ms_hist_mean(h) - (double)both->sum / (double)both->count) <
	      1e-9);
	free(both);
	free(other);
}

int main(void)
{
	struct ms_hist *h = calloc(1, sizeof(*h));

	CHECK(h);
	quantiles_are_within_one_percent(h);
	memset(h, 0, sizeof(*h));
	extremes(h);
	merging_is_recording_both(h);
	free(h);
	return 0;
}

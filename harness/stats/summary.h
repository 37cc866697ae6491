/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows grouped into what plots, report and `compare` show: one summary for
 * each metric of each cell. Only rows that are ok and verified contribute
 * values; the others are counted, so that nothing is left out silently.
 */
#ifndef MS_HARNESS_STATS_SUMMARY_H
#define MS_HARNESS_STATS_SUMMARY_H

#include "harness/record/csv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Rows that contribute no value, by the reason. */
struct left_out {
	size_t failed;
	size_t refused;
	size_t skipped;
	size_t unverified; /* status ok, but not verified where it must be */
};

struct summary {
	const struct row *row; /* of the table: says which cell and metric */
	const char *metric; /* of the row, without bound_; "" if it has none */
	double *values;	    /* in the order of the repetitions */
	size_t n;	    /* may be 0: then only `left_out` is valid */
	double median;
	bool has_interval; /* false with fewer than STATS_VALUES_MIN values */
	double lo;	   /* bootstrap 95 % interval of the median */
	double hi;
	double min;
	double max;
	double q1;
	double q3;
	double bound;	    /* median of the cell's bound_ rows, NAN if none */
	size_t outliers;    /* values far off by the MAD; none is removed */
	bool first_outlier; /* the first repetition is one: no warm-up? */
	struct left_out left_out;
};

/*
 * Group the table's rows; a group has the same cell columns and metric.
 * The result is sorted by those columns (numbers as numbers) and borrows the
 * table's rows, so the table must outlive it. Rows of metrics named bound_…
 * become the `bound` of their metric's summary. 0 or -ENOMEM.
 */
int summary_build(const struct table *t, struct summary **ret, size_t *ret_n)
	__attribute__((nonnull, warn_unused_result));

void summary_free(struct summary *s, size_t n);

/* The sum of what was left out. */
struct left_out summary_left_out(const struct summary *s, size_t n);

/* "left out: 2 failed, 1 unverified", or "left out: none"; no newline. */
void summary_print_left_out(struct left_out l, FILE *out)
	__attribute__((nonnull));

/* One line on `out` for each summary with outliers or without an interval. */
void summary_print_warnings(const struct summary *s, size_t n, FILE *out)
	__attribute__((nonnull(3)));

/*
 * Write DIR/EXPERIMENT.METRIC.tsv (a line per cell: median, interval, bound …)
 * and DIR/EXPERIMENT.METRIC.values.tsv (a line per value, for distributions),
 * tab separated with a header line, for gnuplot. An empty number is NaN, an
 * empty text "-". The folder is created if need be. Comment lines begin with #
 * and say what was left out. 0 or negative errno with a sentence.
 */
int summary_write_tsv(const struct summary *s, size_t n, const char *dir)
	__attribute__((nonnull(3), warn_unused_result));

#endif

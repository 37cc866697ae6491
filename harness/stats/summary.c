/* SPDX-License-Identifier: Apache-2.0 */
/* Grouping of rows and the numbers of each group; see summary.h. */
#include "harness/stats/summary.h"
#include "harness/stats/stats.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MS_BOOTSTRAP_SEED UINT64_C(20230730)

/* How rows are sorted: what figures are about first, then all the rest. */
static const enum row_col order[] = {
	COL_EXPERIMENT,	 COL_METRIC,	 COL_WORKLOAD,	 COL_DATASET,
	COL_APPROACH,	 COL_VARIANT,	 COL_PARAMS,	 COL_WORKERS,
	COL_CHUNK_BYTES, COL_SIZE_BYTES, COL_RTT_MS,	 COL_RATE_MBIT,
	COL_JITTER_MS,	 COL_LOSS_PCT,	 COL_CONGESTION, COL_PLACE,
	COL_LINK_DRIVER, COL_PLACEMENT,	 COL_PIPELINE,
};

struct entry {
	const struct row *row;
	size_t index;	    /* in the table: order of measuring */
	const char *metric; /* without bound_ */
	bool bound;
};

static const void *column(const struct row *row, enum row_col col)
{
	return (const char *)row + row_columns[col].offset;
}

static int compare_numbers(double x, double y)
{
	/* What is not applicable comes first. */
	if (isnan(x) || isnan(y))
		return !isnan(x) - !isnan(y);
	return (x > y) - (x < y);
}

static int compare_counts(uint64_t x, uint64_t y)
{
	/* ROW_NO_COUNT + 1 wraps to 0: not applicable comes first. */
	x++;
	y++;
	return (x > y) - (x < y);
}

static int compare_column(const struct row *a, const struct row *b,
			  enum row_col col)
{
	char x[ROW_NUMBER_MAX];
	char y[ROW_NUMBER_MAX];

	if (row_columns[col].type == ROW_T_REAL)
		return compare_numbers(*(const double *)column(a, col),
				       *(const double *)column(b, col));
	if (row_columns[col].type == ROW_T_COUNT)
		return compare_counts(*(const uint64_t *)column(a, col),
				      *(const uint64_t *)column(b, col));
	return strcmp(row_text(a, col, x), row_text(b, col, y));
}

static int compare_group(const struct entry *a, const struct entry *b)
{
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		int c = order[i] == COL_METRIC
				? strcmp(a->metric, b->metric)
				: compare_column(a->row, b->row, order[i]);

		if (c)
			return c;
	}
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a;
	const struct entry *y = b;
	int c = compare_group(x, y);

	if (!c)
		c = x->bound - y->bound;
	if (!c)
		c = compare_counts(x->row->repetition, y->row->repetition);
	if (!c)
		c = x->index < y->index ? -1 : 1;
	return c;
}

static void leave_out(struct left_out *l, const struct row *row)
{
	switch ((enum row_status)row->status) {
	case ROW_FAILED:
		l->failed++;
		break;
	case ROW_REFUSED:
		l->refused++;
		break;
	case ROW_SKIPPED:
		l->skipped++;
		break;
	case ROW_OK:
	case ROW_STATUS_UNSET:
		l->unverified++;
		break;
	}
}

static void describe(struct summary *s, double *sorted)
{
	double scale = 0;

	memcpy(sorted, s->values, s->n * sizeof(*sorted));
	stats_sort(sorted, s->n);
	s->median = stats_quantile(sorted, s->n, 0.5);
	s->q1 = stats_quantile(sorted, s->n, 0.25);
	s->q3 = stats_quantile(sorted, s->n, 0.75);
	s->min = sorted[0];
	s->max = sorted[s->n - 1];
	s->has_interval = stats_median_interval(
		s->values, s->n, MS_BOOTSTRAP_SEED, &s->lo, &s->hi);
	if (s->n < STATS_VALUES_MIN)
		return;
	for (size_t i = 0; i < s->n; i++) {
		scale = stats_mad_score(sorted, s->n, s->values[i]);
		if (scale <= STATS_OUTLIER)
			continue;
		s->outliers++;
		if (i == 0)
			s->first_outlier = true;
	}
}

/* Fill one summary from the entries [e, e + n) of its group. */
static int summarise(struct summary *s, const struct entry *e, size_t n)
{
	double *bounds = calloc(2 * n, sizeof(*bounds));
	size_t bound_n = 0;

	s->values = calloc(n, sizeof(*s->values));
	s->row = e[0].row;
	s->metric = e[0].metric;
	s->median = s->lo = s->hi = s->min = s->max = (double)NAN;
	s->q1 = s->q3 = s->bound = (double)NAN;
	if (!bounds || !s->values) {
		free(bounds);
		return ms_err(-ENOMEM, "summary");
	}
	for (size_t i = 0; i < n; i++) {
		if (!row_usable(e[i].row))
			leave_out(&s->left_out, e[i].row);
		else if (e[i].bound)
			bounds[bound_n++] = e[i].row->value;
		else
			s->values[s->n++] = e[i].row->value;
	}
	stats_sort(bounds, bound_n);
	if (bound_n)
		s->bound = stats_quantile(bounds, bound_n, 0.5);
	if (s->n)
		describe(s, bounds);
	free(bounds);
	return 0;
}

static struct entry *entries(const struct table *t)
{
	struct entry *e = calloc(t->n, sizeof(*e));

	for (size_t i = 0; e && i < t->n; i++) {
		const char *metric = t->rows[i].metric;
		size_t prefix = strlen(ROW_BOUND_PREFIX);

		e[i].row = &t->rows[i];
		e[i].index = i;
		e[i].metric = metric ? metric : "";
		e[i].bound = !strncmp(e[i].metric, ROW_BOUND_PREFIX, prefix);
		if (e[i].bound)
			e[i].metric += prefix;
	}
	return e;
}

int summary_build(const struct table *t, struct summary **ret, size_t *ret_n)
{
	struct summary *s = calloc(t->n + 1, sizeof(*s));
	struct entry *e = t->n ? entries(t) : NULL;
	size_t groups = 0;
	int err = 0;

	if (!s || (t->n && !e)) {
		free(s);
		free(e);
		return ms_err(-ENOMEM, "summary");
	}
	if (e)
		qsort(e, t->n, sizeof(*e), compare_entries);
	for (size_t i = 0, end = 0; i < t->n && !err; i = end) {
		end = i + 1;
		while (end < t->n && !compare_group(&e[i], &e[end]))
			end++;
		err = summarise(&s[groups], &e[i], end - i);
		groups++;
	}
	free(e);
	if (err) {
		summary_free(s, groups);
		return err;
	}
	*ret = s;
	*ret_n = groups;
	return 0;
}

void summary_free(struct summary *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(s[i].values);
	free(s);
}

struct left_out summary_left_out(const struct summary *s, size_t n)
{
	struct left_out sum = {0};

	for (size_t i = 0; i < n; i++) {
		sum.failed += s[i].left_out.failed;
		sum.refused += s[i].left_out.refused;
		sum.skipped += s[i].left_out.skipped;
		sum.unverified += s[i].left_out.unverified;
	}
	return sum;
}

void summary_print_left_out(struct left_out l, FILE *out)
{
	const struct {
		size_t n;
		const char *name;
	} parts[] = {
		{l.failed, "failed"},
		{l.refused, "refused"},
		{l.skipped, "skipped"},
		{l.unverified, "unverified"},
	};
	const char *before = "left out:";

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!parts[i].n)
			continue;
		(void)fprintf(out, "%s %zu %s", before, parts[i].n,
			      parts[i].name);
		before = ",";
	}
	if (*before != ',')
		(void)fprintf(out, "%s none", before);
}

void summary_print_warnings(const struct summary *s, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = s[i].row;
		const char *variant = r->variant ? r->variant : "";

		if (!s[i].n)
			continue;
		if (!s[i].has_interval)
			(void)fprintf(out,
				      "%s: %s %s %s: only %zu values, no "
				      "interval\n",
				      r->experiment, r->approach, variant,
				      s[i].metric, s[i].n);
		if (s[i].first_outlier)
			(void)fprintf(out,
				      "%s: %s %s %s: the first run is far off "
				      "the others\n",
				      r->experiment, r->approach, variant,
				      s[i].metric);
		if (s[i].outliers > s[i].first_outlier)
			(void)fprintf(out,
				      "%s: %s %s %s: %zu of %zu values "
				      "are outliers\n",
				      r->experiment, r->approach, variant,
				      s[i].metric, s[i].outliers, s[i].n);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Summaries as files that gnuplot reads; see summary.h. */
#include "harness/stats/summary.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What says which point it is, in front of the numbers. */
static const enum row_col keys[] = {
	COL_APPROACH,  COL_VARIANT,	COL_WORKLOAD,	 COL_DATASET,
	COL_PLACE,     COL_LINK_DRIVER, COL_RTT_MS,	 COL_RATE_MBIT,
	COL_JITTER_MS, COL_LOSS_PCT,	COL_CHUNK_BYTES, COL_SIZE_BYTES,
	COL_WORKERS,   COL_PLACEMENT,	COL_CONGESTION,	 COL_PARAMS,
	COL_PIPELINE,
};

static void put_keys(const struct row *row, FILE *out)
{
	char number[ROW_NUMBER_MAX];

	for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++) {
		const char *text = row_text(row, keys[k], number);
		bool count = row_columns[keys[k]].type == ROW_T_REAL ||
			     row_columns[keys[k]].type == ROW_T_COUNT;

		if (!*text)
			text = count ? "NaN" : "-";
		(void)fprintf(out, "%s\t", text);
	}
}

static void put_number(double value, FILE *out, char end)
{
	char number[ROW_NUMBER_MAX];

	if (isnan(value)) {
		(void)fprintf(out, "NaN%c", end);
		return;
	}
	row_format_real(value, number);
	(void)fprintf(out, "%s%c", number, end);
}

static void put_header(const char *last, FILE *out)
{
	for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
		(void)fprintf(out, "%s\t", row_columns[keys[k]].name);
	(void)fprintf(out, "%s\n", last);
}

static void put_summary(const struct summary *s, FILE *out)
{
	put_keys(s->row, out);
	put_number(s->median, out, '\t');
	/* Without an interval the bar has no length, and n says why. */
	put_number(s->has_interval ? s->lo : s->median, out, '\t');
	put_number(s->has_interval ? s->hi : s->median, out, '\t');
	(void)fprintf(out, "%zu\t", s->n);
	put_number(s->bound, out, '\t');
	put_number(s->min, out, '\t');
	put_number(s->q1, out, '\t');
	put_number(s->q3, out, '\t');
	put_number(s->max, out, '\n');
}

/* The summaries of one file, and what its figure left out. */
struct part {
	const struct summary *s;
	size_t n;
	struct left_out left_out;
};

static void put_all(const struct part *p, FILE *out)
{
	(void)fprintf(out, "# ");
	summary_print_left_out(p->left_out, out);
	(void)fprintf(out, "\n");
	put_header("median\tlo\t"
		   "hi\tn\tbound\tmin\tq1\tq3\tmax",
		   out);
	for (size_t i = 0; i < p->n; i++)
		if (p->s[i].n)
			put_summary(&p->s[i], out);
}

static void put_values(const struct part *p, FILE *out)
{
	put_header("value", out);
	for (size_t i = 0; i < p->n; i++) {
		for (size_t v = 0; v < p->s[i].n; v++) {
			put_keys(p->s[i].row, out);
			put_number(p->s[i].values[v], out, '\n');
		}
	}
}

static int write_one(const struct part *p, const char *dir, const char *end,
		     void (*put)(const struct part *, FILE *))
{
	char *path = NULL;
	FILE *out = NULL;
	int err = 0;

	if (asprintf(&path, "%s/%s.%s%s", dir, p->s->row->experiment,
		     p->s->metric, end) < 0)
		return ms_err(-ENOMEM, "tsv: %s", dir);
	out = fopen(path, "we");
	if (!out) {
		err = ms_err(-errno, "tsv: open %s", path);
		free(path);
		return err;
	}
	put(p, out);
	err = ferror(out) ? -EIO : 0;
	if (fclose(out) && !err)
		err = -errno;
	if (err)
		err = ms_err(err, "tsv: write %s", path);
	free(path);
	return err;
}

static bool same_figure(const struct summary *a, const struct summary *b)
{
	return !strcmp(a->row->experiment, b->row->experiment);
}

static bool any_values(const struct part *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->s[i].n)
			return true;
	return false;
}

/* Rows that failed before they had a metric count for each file. */
static struct left_out without_metric(const struct summary *s, size_t n,
				      const struct summary *of)
{
	struct left_out sum = {0};

	for (size_t i = 0; i < n; i++) {
		struct left_out one = summary_left_out(&s[i], 1);

		if (*s[i].metric || !same_figure(&s[i], of))
			continue;
		sum.failed += one.failed;
		sum.refused += one.refused;
		sum.skipped += one.skipped;
		sum.unverified += one.unverified;
	}
	return sum;
}

static int write_part(struct part *p, const char *dir)
{
	struct left_out own = summary_left_out(p->s, p->n);
	int err = 0;

	p->left_out.failed += own.failed;
	p->left_out.refused += own.refused;
	p->left_out.skipped += own.skipped;
	p->left_out.unverified += own.unverified;
	/* A figure of which nothing could run has no file. */
	if (!any_values(p))
		return 0;
	err = write_one(p, dir, ".tsv", put_all);
	return err ? err : write_one(p, dir, ".values.tsv", put_values);
}

int summary_write_tsv(const struct summary *s, size_t n, const char *dir)
{
	int err = 0;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return ms_err(-errno, "tsv: create %s", dir);
	for (size_t i = 0, end = 0; i < n && !err; i = end) {
		struct part p = {.s = s + i};

		end = i + 1;
		while (end < n && same_figure(&s[i], &s[end]) &&
		       !strcmp(s[i].metric, s[end].metric))
			end++;
		if (!*s[i].metric)
			continue;
		p.n = end - i;
		p.left_out = without_metric(s, n, &s[i]);
		err = write_part(&p, dir);
	}
	return err;
}

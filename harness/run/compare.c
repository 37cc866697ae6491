/* SPDX-License-Identifier: Apache-2.0 */
/* Table and recommendation of a comparison; see compare.h. */
#include "harness/run/compare.h"

#include "approaches/common/util/err.h"
#include "harness/stats/summary.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_MAX 64
#define GIB	   1073741824.0

/* One series with its summaries; NULL where there is none. */
struct column {
	const char *approach;
	const char *variant; /* "" if there is none */
	const struct row *row;
	const struct summary *main; /* what decides */
	const struct summary *open;
	double wire; /* bytes on the wire for each useful byte */
	double cpu_source;
	double cpu_target; /* seconds for each GiB */
	double memory;
	double bound;
	const char *reason; /* why there is no number */
};

struct comparison {
	struct column list[SERIES_MAX];
	size_t n;
	const char *metric; /* that decides */
	const char *unit;
	bool higher;
	double scale; /* of the metric into `unit` */
};

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static bool is_series(const struct column *c, const struct row *r)
{
	return !strcmp(c->approach, r->approach) &&
	       !strcmp(c->variant, or_empty(r->variant));
}

static struct column *column_of(struct comparison *c, const struct row *r)
{
	for (size_t i = 0; i < c->n; i++)
		if (is_series(&c->list[i], r))
			return &c->list[i];
	if (c->n == SERIES_MAX)
		return NULL;
	c->list[c->n] = (struct column){.approach = r->approach,
					.variant = or_empty(r->variant),
					.row = r,
					.wire = NAN,
					.cpu_source = NAN,
					.cpu_target = NAN,
					.memory = NAN,
					.bound = NAN};
	return &c->list[c->n++];
}

/* What decides, by the workload: waiting for the first byte, or the rate. */
static void choose(struct comparison *c, const struct row *r)
{
	c->metric = "read_open_mib_s";
	c->unit = "MiB/s";
	c->scale = 1;
	c->higher = true;
	if (r->workload && !strcmp(r->workload, "first-access")) {
		c->metric = "first_access_us";
		c->unit = "ms";
		c->scale = 1e-3;
		c->higher = false;
	}
}

static void take(struct comparison *c, const struct summary *s)
{
	struct column *col = column_of(c, s->row);
	double done = s->row->bytes_done == ROW_NO_COUNT
			      ? NAN
			      : (double)s->row->bytes_done;

	if (!col)
		return;
	if (!s->n) {
		col->reason = s->row->reason ? s->row->reason : col->reason;
		return;
	}
	if (!strcmp(s->metric, c->metric)) {
		col->main = s;
		col->bound = s->bound;
	}
	if (!strcmp(s->metric, "open_ms"))
		col->open = s;
	if (!strcmp(s->metric, "wire_tx_bytes") ||
	    !strcmp(s->metric, "wire_rx_bytes"))
		col->wire =
			(isnan(col->wire) ? 0 : col->wire) + s->median / done;
	if (!strcmp(s->metric, "cpu_source_s"))
		col->cpu_source = s->median / done * GIB;
	if (!strcmp(s->metric, "cpu_target_s"))
		col->cpu_target = s->median / done * GIB;
	if (!strcmp(s->metric, "rss_max_bytes"))
		col->memory = s->median;
}

static const struct comparison *sorting;

/* Best first; those without a number last. */
static int by_main(const void *a, const void *b)
{
	const struct column *x = a;
	const struct column *y = b;
	double dx;

	if (!x->main || !y->main)
		return (x->main == NULL) - (y->main == NULL);
	dx = x->main->median - y->main->median;
	if (sorting->higher)
		dx = -dx;
	return (dx > 0) - (dx < 0);
}

static void name_of(const struct column *c, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s%s%s", c->approach, *c->variant ? "/" : "",
		       c->variant);
}

static void print_number(FILE *out, double value, int width, int digits)
{
	if (isnan(value))
		(void)fprintf(out, " %*s", width, "-");
	else
		(void)fprintf(out, " %*.*f", width, digits, value);
}

static void print_row(const struct comparison *c, const struct column *col,
		      FILE *out)
{
	const struct summary *s = col->main;
	char name[80];
	char range[40] = "-";

	name_of(col, name, sizeof(name));
	if (!s) {
		(void)fprintf(out, "%-16s %s\n", name,
			      col->reason ? col->reason : "no number");
		return;
	}
	if (s->has_interval)
		(void)snprintf(range, sizeof(range), "%.3g..%.3g",
			       s->lo * c->scale, s->hi * c->scale);
	(void)fprintf(out, "%-16s %9.4g %15s", name, s->median * c->scale,
		      range);
	print_number(out, col->bound * c->scale, 8, 1);
	print_number(out, col->open ? col->open->median : NAN, 9, 1);
	print_number(out, col->wire, 9, 3);
	print_number(out, col->cpu_source, 8, 2);
	print_number(out, col->cpu_target, 8, 2);
	print_number(out, col->memory / 1048576, 8, 0);
	(void)fprintf(out, " %4zu\n", s->n);
}

static void print_table(const struct comparison *c, FILE *out)
{
	char heading[32];

	(void)snprintf(heading, sizeof(heading), "%s", c->unit);
	(void)fprintf(out, "%-16s %9s %15s %8s %9s %9s %8s %8s %8s %4s\n", "",
		      heading, "95 % interval", "bound", "open ms", "wire/byte",
		      "s/GiB src", "s/GiB tgt", "MiB tgt", "runs");
	for (size_t i = 0; i < c->n; i++)
		print_row(c, &c->list[i], out);
}

static bool apart(const struct summary *a, const struct summary *b)
{
	if (!a->has_interval || !b->has_interval)
		return false;
	return a->lo > b->hi || b->lo > a->hi;
}

static double cpu_of(const struct column *c)
{
	return (isnan(c->cpu_source) ? 0 : c->cpu_source) + c->cpu_target;
}

/* Somebody who is clearly cheaper than the best, in words. */
static void print_cheaper(const struct comparison *c, FILE *out)
{
	const struct column *best = &c->list[0];
	const struct column *cpu = best;
	const struct column *wire = best;
	char name[80];

	for (size_t i = 1; i < c->n && c->list[i].main; i++) {
		if (cpu_of(&c->list[i]) < cpu_of(cpu) * 0.8)
			cpu = &c->list[i];
		if (c->list[i].wire < wire->wire * 0.9)
			wire = &c->list[i];
	}
	if (cpu != best) {
		name_of(cpu, name, sizeof(name));
		(void)fprintf(out,
			      " %s takes less processor time (%.2f "
			      "against %.2f s for each GiB).",
			      name, cpu_of(cpu), cpu_of(best));
	}
	if (wire != best) {
		name_of(wire, name, sizeof(name));
		(void)fprintf(out,
			      " %s sends less (%.2f against %.2f bytes "
			      "for each that is used).",
			      name, wire->wire, best->wire);
	}
}

static void print_advice(const struct comparison *c, FILE *out)
{
	const struct column *best = &c->list[0];
	const struct column *next =
		c->n > 1 && c->list[1].main ? &c->list[1] : NULL;
	double ratio = 1;
	char name[80];
	char other[80];

	name_of(best, name, sizeof(name));
	(void)fprintf(out, "Take %s: %.4g %s", name,
		      best->main->median * c->scale, c->unit);
	if (next) {
		name_of(next, other, sizeof(other));
		ratio = c->higher ? best->main->median / next->main->median
				  : next->main->median / best->main->median;
		if (apart(best->main, next->main))
			(void)fprintf(out, ", %.3g times as good as %s", ratio,
				      other);
		else
			(void)fprintf(out,
				      "; %s is not to be told from it with so "
				      "few runs (%.4g %s)",
				      other, next->main->median * c->scale,
				      c->unit);
	}
	if (c->higher && best->bound > 0)
		(void)fprintf(out, "; %.0f %% of what the link allows",
			      best->main->median / best->bound * 100);
	(void)fprintf(out, ".");
	print_cheaper(c, out);
	(void)fprintf(out, "\n");
}

int compare_print(const struct table *rows, FILE *out)
{
	struct comparison *c = calloc(1, sizeof(*c));
	struct summary *sums = NULL;
	size_t n = 0;
	int err = c ? summary_build(rows, &sums, &n) : -ENOMEM;

	if (!err && !rows->n)
		err = ms_err(-ENODATA, "there are no rows");
	if (!err)
		choose(c, &rows->rows[0]);
	for (size_t i = 0; i < n && !err; i++)
		take(c, &sums[i]);
	if (!err) {
		sorting = c;
		qsort(c->list, c->n, sizeof(*c->list), by_main);
		print_table(c, out);
		if (!c->n || !c->list[0].main)
			err = ms_err(-ENODATA, "no series has a number");
		else
			print_advice(c, out);
	}
	summary_free(sums, n);
	free(c);
	return err;
}

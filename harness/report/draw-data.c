/* SPDX-License-Identifier: Apache-2.0 */
/* A selection arranged into rows and lines, and as numbers for gnuplot. */
#include "harness/report/draw.h"
#include "harness/report/drawing.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- arranging --- */

static size_t find_line(const struct drawing *d, const char *label, double x)
{
	size_t i = 0;

	while (i < d->n_lines &&
	       (d->lines[i].x != x || strcmp(d->lines[i].label, label) != 0))
		i++;
	return i;
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *p = a;
	const struct line *q = b;
	int r;

	if (p->rank != q->rank)
		return p->rank < q->rank ? -1 : 1;
	r = strcmp(p->label, q->label);
	return r ? r : (p->x > q->x) - (p->x < q->x);
}

static int arrange_lines(struct drawing *d)
{
	const struct selection *s = d->s;

	for (size_t i = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];

		for (size_t k = 0; k < c->n; k++) {
			double x = c->cells[k].x;

			if (find_line(d, c->label, x) < d->n_lines)
				continue;
			d->lines = arena_grow(s->arena, d->lines, d->n_lines,
					      sizeof(*d->lines));
			if (!d->lines)
				return -ENOMEM;
			d->lines[d->n_lines++] = (struct line){
				.label = c->label, .rank = c->rank, .x = x};
		}
	}
	if (d->n_lines)
		qsort(d->lines, d->n_lines, sizeof(*d->lines), compare_lines);
	return 0;
}

static int arrange_metrics(struct drawing *d)
{
	const struct selection *s = d->s;

	for (size_t i = 0; i < s->n; i++) {
		if (i && !strcmp(s->curves[i].metric, s->curves[i - 1].metric))
			continue;
		d->metrics = arena_grow(s->arena, d->metrics, d->n_metrics,
					sizeof(*d->metrics));
		if (!d->metrics)
			return -ENOMEM;
		d->metrics[d->n_metrics++] = s->curves[i].metric;
	}
	return 0;
}

static bool agree(const struct drawing *d, const struct bound *b,
		  const double *at)
{
	for (size_t i = 0; i < d->s->n_xs; i++)
		if (!isnan(b->at[i]) && !isnan(at[i]) &&
		    fabs(b->at[i] - at[i]) > 0.01 * fabs(at[i]))
			return false;
	return true;
}

static int add_bound(struct drawing *d, const struct curve *c, double *at)
{
	struct bound *b = NULL;
	size_t i = 0;

	while (i < d->n_bounds &&
	       (strcmp(d->bounds[i].metric, c->metric) != 0 ||
		!agree(d, &d->bounds[i], at)))
		i++;
	if (i == d->n_bounds) {
		d->bounds = arena_grow(d->s->arena, d->bounds, d->n_bounds,
				       sizeof(*d->bounds));
		if (!d->bounds)
			return -ENOMEM;
		d->bounds[d->n_bounds++] = (struct bound){
			.metric = c->metric, .label = c->label, .at = at};
	}
	b = &d->bounds[i];
	b->points = 0;
	for (i = 0; i < d->s->n_xs; i++) {
		if (isnan(b->at[i]))
			b->at[i] = at[i];
		b->points += !isnan(b->at[i]);
	}
	return 0;
}

static int arrange_bounds(struct drawing *d)
{
	const struct selection *s = d->s;
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];
		double *at = arena_alloc(s->arena, s->n_xs, sizeof(*at));
		int r;

		if (!at)
			return -ENOMEM;
		for (size_t k = 0, x = 0; x < s->n_xs; x++) {
			at[x] = (double)NAN;
			if (k < c->n && c->cells[k].x == s->xs[x])
				at[x] = c->cells[k++].sum->bound;
		}
		r = add_bound(d, c, at);
		if (r)
			return r;
	}
	/* A point is no line, unless there is only one RTT at all. */
	for (size_t i = 0; i < d->n_bounds; i++)
		if (d->bounds[i].points > (s->n_xs > 1))
			d->bounds[kept++] = d->bounds[i];
	d->n_bounds = kept;
	return 0;
}

int drawing_arrange(const struct selection *s, struct drawing *ret)
{
	struct drawing d = {.s = s};
	int r = arrange_lines(&d);

	r = r ? r : arrange_metrics(&d);
	r = r ? r : arrange_bounds(&d);
	if (!r)
		*ret = d;
	return r;
}

/* --- numbers --- */

static void put_number(double v, FILE *out, char end)
{
	if (isnan(v))
		(void)fprintf(out, "NaN%c", end);
	else
		(void)fprintf(out, "%.17g%c", v, end);
}

static void put_cell(struct drawing *d, const struct curve *c,
		     const struct cell *cell, FILE *out)
{
	const struct summary *u = cell->sum;
	size_t line = find_line(d, c->label, cell->x);
	double all[] = {cell->x,
			u->median,
			u->has_interval ? u->lo : u->median,
			u->has_interval ? u->hi : u->median,
			(double)u->n,
			u->min,
			u->q1,
			u->q3,
			u->max,
			isnan(u->bound) ? 0 : u->bound,
			(double)line + 1};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		put_number(all[i], out, '\t');
	put_number(d->lines[line].total, out, '\n');
	d->lines[line].total += u->median;
}

static void put_runs(const struct drawing *d, const struct curve *c,
		     const struct cell *cell, FILE *out)
{
	size_t n = cell->sum->n;

	for (size_t i = 0; i < n; i++) {
		double spread = n > 1 ? (double)i / (double)(n - 1) - 0.5 : 0;

		put_number(cell->x, out, '\t');
		put_number(cell->sum->values[i], out, '\t');
		put_number((double)find_line(d, c->label, cell->x) + 1, out,
			   '\t');
		put_number(0.4 * spread, out, '\n');
	}
}

int draw_data(const struct selection *s, FILE *out)
{
	struct drawing d = {0};
	int r = drawing_arrange(s, &d);

	if (r)
		return r;
	for (size_t i = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];

		(void)fprintf(out, "# curve_%zu\n", i + 1);
		for (size_t k = 0; k < c->n; k++)
			put_cell(&d, c, &c->cells[k], out);
		(void)fprintf(out, "\n\n# runs_%zu\n", i + 1);
		for (size_t k = 0; k < c->n; k++)
			put_runs(&d, c, &c->cells[k], out);
		(void)fprintf(out, "\n\n");
	}
	for (size_t i = 0; i < d.n_bounds; i++) {
		(void)fprintf(out, "# bound_%zu\n", i + 1);
		for (size_t x = 0; x < s->n_xs; x++) {
			if (isnan(d.bounds[i].at[x]))
				continue;
			put_number(s->xs[x], out, '\t');
			put_number(d.bounds[i].at[x], out, '\n');
		}
		(void)fprintf(out, "\n\n");
	}
	(void)fprintf(out, "# curve_none\n1e-300");
	for (int i = 1; i < 12; i++)
		(void)fprintf(out, "\t1e-300");
	(void)fprintf(out, "\n\n\n# bound_none\n1e-300\t1e-300\n\n\n");
	(void)fprintf(out, "# totals\n");
	for (size_t i = 0; i < d.n_lines; i++) {
		put_number(d.lines[i].total, out, '\t');
		put_number((double)i + 1, out, '\n');
	}
	return 0;
}

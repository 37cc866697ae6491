/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A selection as variables for gnuplot. Reasons and names come from files that
 * are not trusted: texts are written in single quotes, in which gnuplot expands
 * nothing.
 */
#include "harness/report/draw.h"
#include "harness/report/drawing.h"
#include "harness/report/words.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* Below a picture of 900 units there is room for this many characters. */
#define NOTE_COLUMNS 128
#define NOTE_LINES   5

static void put_text(const char *text, size_t n, FILE *out)
{
	(void)fputc('\'', out);
	for (size_t i = 0; i < n && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\'')
			(void)fputs("''", out);
		else
			(void)fputc(c < ' ' || c == 127 ? ' ' : c, out);
	}
	(void)fputc('\'', out);
}

/* A label of an axis: gnuplot takes it as a format, also in single quotes. */
static void put_tic_label(const char *name, const char *text, FILE *out)
{
	char twice[2 * 256 + 1];
	size_t n = 0;

	for (; *text && n + 2 < sizeof(twice); text++) {
		if (*text == '%')
			twice[n++] = '%';
		twice[n++] = *text;
	}
	(void)fprintf(out, "%s = ", name);
	put_text(twice, n, out);
	(void)fputc('\n', out);
}

static void put_string(const char *name, const char *text, FILE *out)
{
	(void)fprintf(out, "%s = ", name);
	put_text(text, strlen(text), out);
	(void)fputc('\n', out);
}

/* How much of `text` goes into a line; never within a UTF-8 character. */
static size_t break_at(const char *text)
{
	size_t n = strlen(text);

	if (n <= NOTE_COLUMNS)
		return n;
	for (n = NOTE_COLUMNS; n > NOTE_COLUMNS / 2; n--)
		if (text[n] == ' ')
			return n;
	for (n = NOTE_COLUMNS;
	     n > 1 && ((unsigned char)text[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

static void put_note(const char *text, FILE *out)
{
	unsigned lines = 0;

	(void)fprintf(out, "fig_note = ''");
	while (*text && lines < NOTE_LINES) {
		size_t n = break_at(text);

		(void)fprintf(out, "%s.", lines ? ".\"\\n\"" : "");
		put_text(text, n, out);
		text += n;
		text += strspn(text, " ");
		lines++;
	}
	if (*text)
		(void)fprintf(out, ".' \342\200\246'");
	(void)fprintf(out, "\nnote_lines = %u\n", lines);
}

/* What the picture lacks, in the picture itself. */
static const char *note_text(const struct selection *s)
{
	const char *text = "";
	const char *partly = "";

	for (size_t i = 0; i < s->n_gaps && text && partly; i++) {
		const struct gap *g = &s->gaps[i];

		if (g->partly)
			partly = arena_printf(s->arena, "%s%s%s: %zu (%.120s)",
					      partly,
					      *partly ? "; "
						      : "Runs without a "
							"number: ",
					      g->what, g->rows, g->why);
		else
			text = arena_printf(s->arena, "%s%s%s (%.120s)", text,
					    *text ? "; " : "Not measured: ",
					    g->what, g->why);
	}
	if (!text || !partly)
		return NULL;
	return arena_printf(s->arena, "%s%s%s", text,
			    *text && *partly ? ". " : "", partly);
}

/* min and max of everything that is drawn of a metric and fits a log axis */
static void metric_range(const struct drawing *d, const char *metric,
			 double *ret_min, double *ret_max)
{
	double lo = (double)INFINITY;
	double hi = 0;

	for (size_t i = 0; i < d->s->n; i++) {
		const struct curve *c = &d->s->curves[i];

		if (strcmp(c->metric, metric) != 0)
			continue;
		for (size_t k = 0; k < c->n; k++) {
			const struct summary *u = c->cells[k].sum;
			double bound = isnan(u->bound) ? u->median : u->bound;

			if (u->min > 0)
				lo = fmin(lo, u->min);
			if (bound > 0)
				lo = fmin(lo, bound);
			hi = fmax(hi, fmax(u->max, bound));
		}
	}
	*ret_min = isfinite(lo) ? lo : 1;
	*ret_max = hi > 0 ? hi : *ret_min * 10;
}

static void put_curves(const struct drawing *d, FILE *out)
{
	const struct selection *s = d->s;

	(void)fprintf(out,
		      "n_curves = %zu\narray curve_metric[n_curves]\n"
		      "array curve_approach[n_curves]\n"
		      "array curve_variant[n_curves]\n"
		      "array curve_label[n_curves]\n"
		      "array curve_twin[n_curves]\n",
		      s->n);
	for (size_t i = 0, twin = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];
		size_t metric = 0;
		char name[64];

		while (strcmp(d->metrics[metric], c->metric) != 0)
			metric++;
		twin = i && !strcmp(c[-1].metric, c->metric) &&
				       !strcmp(c[-1].approach, c->approach) &&
				       !strcmp(c[-1].variant, c->variant)
			       ? twin + 1
			       : 0;
		(void)fprintf(out, "curve_metric[%zu] = %zu\n", i + 1,
			      metric + 1);
		(void)fprintf(out, "curve_twin[%zu] = %zu\n", i + 1, twin);
		(void)snprintf(name, sizeof(name), "curve_approach[%zu]",
			       i + 1);
		put_string(name, c->approach, out);
		(void)snprintf(name, sizeof(name), "curve_variant[%zu]", i + 1);
		put_string(name, c->variant, out);
		(void)snprintf(name, sizeof(name), "curve_label[%zu]", i + 1);
		put_string(name, c->label, out);
	}
}

static bool has_bound(const struct curve *c)
{
	for (size_t k = 0; k < c->n; k++)
		if (c->cells[k].sum->bound > 0)
			return true;
	return false;
}

/*
 * The numbers of a metric's curves, for "for [c in ...]", which does not take
 * an empty list: "none" is a block far off every axis.
 */
static void put_panel(const struct drawing *d, const char *name, size_t m,
		      bool bounded, FILE *out)
{
	unsigned n = 0;

	(void)fprintf(out, "%s[%zu] = '", name, m + 1);
	for (size_t i = 0; i < d->s->n; i++) {
		const struct curve *c = &d->s->curves[i];

		if (strcmp(c->metric, d->metrics[m]) != 0 ||
		    (bounded && !has_bound(c)))
			continue;
		(void)fprintf(out, "%s%zu", n ? " " : "", i + 1);
		n++;
	}
	(void)fprintf(out, "%s'\n", n ? "" : "none");
}

static void put_panel_bounds(const struct drawing *d, size_t m, FILE *out)
{
	unsigned n = 0;

	(void)fprintf(out, "panel_bounds[%zu] = '", m + 1);
	for (size_t i = 0; i < d->n_bounds; i++)
		if (!strcmp(d->bounds[i].metric, d->metrics[m]))
			(void)fprintf(out, "%s%zu", n++ ? " " : "", i + 1);
	(void)fprintf(out, "%s'\n", n ? "" : "none");
}

static void put_metrics(const struct drawing *d, FILE *out)
{
	const struct selection *s = d->s;

	(void)fprintf(out,
		      "n_metrics = %zu\narray metric_label[n_metrics]\n"
		      "array metric_min[n_metrics]\n"
		      "array metric_max[n_metrics]\n"
		      "array panel_curves[n_metrics]\n"
		      "array panel_bounded[n_metrics]\n"
		      "array panel_bounds[n_metrics]\n",
		      d->n_metrics);
	for (size_t m = 0; m < d->n_metrics; m++) {
		const char *unit = "";
		double lo = 0;
		double hi = 0;

		metric_range(d, d->metrics[m], &lo, &hi);
		for (size_t i = 0; i < s->n; i++)
			if (!strcmp(s->curves[i].metric, d->metrics[m]))
				unit = s->curves[i].unit;
		put_panel(d, "panel_curves", m, false, out);
		put_panel(d, "panel_bounded", m, true, out);
		put_panel_bounds(d, m, out);
		(void)fprintf(out,
			      "metric_label[%zu] = '%s (%s)'\n"
			      "metric_min[%zu] = %.17g\n"
			      "metric_max[%zu] = %.17g\n",
			      m + 1, metric_words(d->metrics[m]),
			      unit_words(unit), m + 1, lo, m + 1, hi);
	}
}

static void put_lines(const struct drawing *d, FILE *out)
{
	double most = 0;

	(void)fprintf(out, "n_rows = %zu\narray row_label[n_rows]\n",
		      d->n_lines);
	for (size_t i = 0; i < d->n_lines; i++) {
		const struct line *l = &d->lines[i];
		double total = 0;
		char name[64];
		char label[256];

		(void)snprintf(name, sizeof(name), "row_label[%zu]", i + 1);
		if (d->s->n_xs > 1)
			(void)snprintf(label, sizeof(label), "%.200s, %g ms",
				       l->label, l->x);
		else
			(void)snprintf(label, sizeof(label), "%.200s",
				       l->label);
		put_tic_label(name, label, out);
		for (size_t c = 0; c < d->s->n; c++) {
			const struct curve *curve = &d->s->curves[c];

			if (strcmp(curve->label, l->label) != 0)
				continue;
			for (size_t k = 0; k < curve->n; k++)
				if (curve->cells[k].x == l->x)
					total += curve->cells[k].sum->median;
		}
		most = fmax(most, total);
	}
	(void)fprintf(
		out, "stack_max = %.17g\nstack_label = 'medians, added (%s)'\n",
		most > 0 ? most : 1, unit_words(d->s->curves[0].unit));
}

static void put_bounds(const struct drawing *d, FILE *out)
{
	(void)fprintf(out, "n_bounds = %zu\n", d->n_bounds);
	if (d->n_bounds)
		(void)fprintf(out, "array bound_label[n_bounds]\n");
	for (size_t i = 0; i < d->n_bounds; i++) {
		char name[64];
		char label[256] = "bound";
		size_t same = 0;

		for (size_t k = 0; k < d->n_bounds; k++)
			same += !strcmp(d->bounds[k].metric,
					d->bounds[i].metric);
		if (same > 1)
			(void)snprintf(label, sizeof(label), "bound of %.200s",
				       d->bounds[i].label);
		(void)snprintf(name, sizeof(name), "bound_label[%zu]", i + 1);
		put_string(name, label, out);
	}
}

int draw_vars(const struct selection *s, const char *data_path, FILE *out)
{
	struct drawing d = {0};
	const char *note = note_text(s);
	char *name = arena_copy(s->arena, s->figure->id, strlen(s->figure->id));
	int r = note && name ? drawing_arrange(s, &d) : -ENOMEM;

	if (r)
		return r;
	/* The SVG's ids: gnuplot takes letters, digits and _ only. */
	for (char *c = name; *c; c++)
		*c = isalnum((unsigned char)*c) ? *c : '_';
	put_string("fig_name", name, out);
	put_string("fig_title", s->figure->title, out);
	put_string("fig_conditions", s->conditions, out);
	put_string("data", data_path, out);
	put_note(note, out);
	put_metrics(&d, out);
	put_curves(&d, out);
	put_bounds(&d, out);
	put_lines(&d, out);
	(void)fprintf(out, "n_xs = %zu\narray xs[n_xs]\n", s->n_xs);
	for (size_t i = 0; i < s->n_xs; i++)
		(void)fprintf(out, "xs[%zu] = %.17g\n", i + 1, s->xs[i]);
	return 0;
}

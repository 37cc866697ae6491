/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the page: which approach on which link, and the numbers of a
 * figure.
 */
#include "harness/report/page.h"

#include "harness/report/html.h"
#include "harness/report/words.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double bound_share(const struct curve *c, const struct cell *cell)
{
	const struct row_metric *m = row_metric_find(c->metric, NULL);
	double bound = cell->sum->bound;
	double median = cell->sum->median;

	if (isnan(bound) || !(bound > 0) || !(median > 0))
		return (double)NAN;
	return m && (m->flags & METRIC_HIGHER) ? median / bound
					       : bound / median;
}

const char *link_words(struct arena *a, const struct row *row)
{
	static const enum row_col cols[] = {COL_RATE_MBIT, COL_JITTER_MS,
					    COL_LOSS_PCT, COL_CONGESTION};
	const char *text = NULL;

	if (row->link_driver == ROW_LINK_NONE)
		return "no link";
	text = arena_printf(a, "RTT %g ms", row_rtt(row));
	for (size_t i = 0; i < sizeof(cols) / sizeof(cols[0]) && text; i++) {
		const char *w = column_words(a, row, cols[i]);

		if (!w)
			return NULL;
		if (*w && strcmp(w, "jitter 0 ms") != 0 &&
		    strcmp(w, "loss 0 %") != 0)
			text = arena_printf(a, "%s, %s", text, w);
	}
	if (text && row->link_driver == ROW_LINK_SLEEP)
		text = arena_printf(a, "%s, by sleeping", text);
	return text;
}

static void put_interval(FILE *out, const struct summary *u)
{
	char lo[64];
	char hi[64];

	if (!u->has_interval) {
		(void)fputs("none", out);
		return;
	}
	number_words(u->lo, lo, sizeof(lo));
	number_words(u->hi, hi, sizeof(hi));
	(void)fprintf(out, "%s\342\200\223%s", lo, hi);
}

/* --- the first tables --- */

/* A link that occurs in a headline table. */
struct link_row {
	const char *words;
	double x;
	bool local;
};

/* A series of a headline table: its first curve names it. */
struct column {
	const struct curve *first;
};

struct headline {
	const struct page *p;
	const struct selection *s;
	const char *metric;
	struct link_row *links;
	size_t n;
	struct column *columns;
	size_t n_columns;
};

static int compare_links(const void *a, const void *b)
{
	const struct link_row *p = a;
	const struct link_row *q = b;

	if (p->local != q->local)
		return p->local ? -1 : 1;
	if (p->x != q->x)
		return p->x < q->x ? -1 : 1;
	return strcmp(p->words, q->words);
}

static int add_link(struct headline *h, const struct cell *cell)
{
	struct link_row l = {.words = link_words(h->p->arena, cell->sum->row),
			     .x = cell->x,
			     .local = cell->sum->row->link_driver ==
				      ROW_LINK_NONE};

	if (!l.words)
		return -ENOMEM;
	for (size_t i = 0; i < h->n; i++)
		if (!strcmp(h->links[i].words, l.words))
			return 0;
	h->links = arena_grow(h->p->arena, h->links, h->n, sizeof(l));
	if (!h->links)
		return -ENOMEM;
	h->links[h->n++] = l;
	return 0;
}

static int add_column(struct headline *h, const struct curve *c)
{
	for (size_t i = 0; i < h->n_columns; i++)
		if (!strcmp(h->columns[i].first->column, c->column))
			return 0;
	h->columns = arena_grow(h->p->arena, h->columns, h->n_columns,
				sizeof(*h->columns));
	if (!h->columns)
		return -ENOMEM;
	h->columns[h->n_columns++].first = c;
	return 0;
}

/* Curves of one column differ in the link only, so one of them has it. */
static const struct cell *cell_of(const struct headline *h,
				  const struct curve *column, const char *link)
{
	for (size_t i = 0; i < h->s->n; i++) {
		const struct curve *c = &h->s->curves[i];

		if (strcmp(c->metric, h->metric) != 0 ||
		    strcmp(c->column, column->column) != 0)
			continue;
		for (size_t k = 0; k < c->n; k++) {
			const char *w =
				link_words(h->p->arena, c->cells[k].sum->row);

			if (w && !strcmp(w, link))
				return &c->cells[k];
		}
	}
	return NULL;
}

/* Best of a row: the largest or the smallest median. */
static const struct cell *best_of(const struct headline *h, const char *link)
{
	const struct row_metric *m = row_metric_find(h->metric, NULL);
	bool higher = m && (m->flags & METRIC_HIGHER);
	const struct cell *best = NULL;

	for (size_t i = 0; i < h->n_columns; i++) {
		const struct cell *cell = cell_of(h, h->columns[i].first, link);

		if (!cell)
			continue;
		if (!best || (higher ? cell->sum->median > best->sum->median
				     : cell->sum->median < best->sum->median))
			best = cell;
	}
	return best;
}

/* Can the two not be told apart? */
static bool meets(const struct cell *a, const struct cell *b)
{
	if (a == b)
		return true;
	return a->sum->has_interval && b->sum->has_interval &&
	       a->sum->lo <= b->sum->hi && b->sum->lo <= a->sum->hi;
}

static void put_headline_cell(const struct headline *h, const struct curve *c,
			      const char *link, const struct cell *best)
{
	FILE *out = h->p->out;
	const struct cell *cell = cell_of(h, c, link);
	char number[64];
	double share;

	if (!cell) {
		(void)fputs("<td class=\"n none\">not measured</td>", out);
		return;
	}
	number_words(cell->sum->median, number, sizeof(number));
	(void)fprintf(out, "<td class=\"n%s\"><b>%s</b> <small>",
		      meets(cell, best) ? " best" : "", number);
	put_interval(out, cell->sum);
	share = bound_share(c, cell);
	if (!isnan(share)) {
		number_words(100 * share, number, sizeof(number));
		(void)fprintf(out, "<br>%s %% of the bound", number);
	}
	(void)fputs("</small></td>", out);
}

static void put_headline(const struct headline *h)
{
	FILE *out = h->p->out;
	const char *unit = unit_words(h->columns[0].first->unit);

	(void)fputs("<div class=\"scroll\"><table><caption>", out);
	html_text(out, h->s->figure->headline);
	(void)fprintf(out,
		      " (%s): median <small>95 %% interval</small></caption>"
		      "<thead><tr><th scope=\"col\">Link</th>",
		      unit);
	for (size_t i = 0; i < h->n_columns; i++)
		html_element(out, "th scope=\"col\" class=\"n\"",
			     h->columns[i].first->column);
	(void)fputs("</tr></thead><tbody>\n", out);
	for (size_t l = 0; l < h->n; l++) {
		const struct cell *best = best_of(h, h->links[l].words);

		(void)fputs("<tr>", out);
		html_element(out, "th scope=\"row\"", h->links[l].words);
		for (size_t i = 0; i < h->n_columns; i++)
			put_headline_cell(h, h->columns[i].first,
					  h->links[l].words, best);
		(void)fputs("</tr>\n", out);
	}
	(void)fputs("</tbody></table></div>\n", out);
}

/* The last metric of a figure is the one from end to end. */
static int headline_of(const struct page *p, const struct selection *s)
{
	const struct words *metrics = &s->figure->metrics;
	struct headline h = {.p = p, .s = s};

	h.metric = metrics->list[metrics->n - 1];
	for (size_t i = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];

		if (strcmp(c->metric, h.metric) != 0)
			continue;
		if (add_column(&h, c))
			return -ENOMEM;
		for (size_t k = 0; k < c->n; k++)
			if (add_link(&h, &c->cells[k]))
				return -ENOMEM;
	}
	if (!h.n) {
		(void)fputs("<p class=\"none\">", p->out);
		html_text(p->out, s->figure->headline);
		(void)fputs(": not measured in this run.</p>\n", p->out);
		return 0;
	}
	qsort(h.links, h.n, sizeof(*h.links), compare_links);
	put_headline(&h);
	return 0;
}

int page_headline(const struct page *p)
{
	(void)fputs("<section id=\"answer\"><h2>Which approach on which "
		    "link</h2>\n",
		    p->out);
	for (size_t i = 0; i < p->result->figures.n; i++) {
		int r = 0;

		if (p->figures[i].figure->headline)
			r = headline_of(p, &p->figures[i]);
		if (r)
			return r;
	}
	(void)fputs("<p class=\"note\">The best of a row stands out, with all "
		    "whose "
		    "intervals meet its own. The bound "
		    "is the least time or the highest rate that the link or "
		    "the memory allows; 100 % of it cannot be improved.</p>"
		    "</section>\n",
		    p->out);
	return 0;
}

/* --- the numbers of a figure --- */

static int put_cell_row(const struct page *p, const struct curve *c,
			const struct cell *cell)
{
	const struct summary *u = cell->sum;
	const char *link = link_words(p->arena, u->row);
	FILE *out = p->out;
	char number[64];
	char max[64];

	if (!link)
		return -ENOMEM;
	(void)fputs("<tr>", out);
	html_element(out, "th scope=\"row\"", c->label);
	html_element(out, "td", metric_words(c->metric));
	html_element(out, "td", link);
	number_words(u->median, number, sizeof(number));
	(void)fprintf(out, "<td class=\"n\"><b>%s</b></td><td class=\"n\">",
		      number);
	put_interval(out, u);
	number_words(u->min, number, sizeof(number));
	number_words(u->max, max, sizeof(max));
	(void)fprintf(out,
		      "</td><td class=\"n\">%s\342\200\223%s</td>"
		      "<td class=\"n\">%zu</td>",
		      number, max, u->n);
	number_words(u->bound, number, sizeof(number));
	number_words(100 * bound_share(c, cell), max, sizeof(max));
	(void)fprintf(out,
		      "<td class=\"n\">%s</td><td class=\"n\">%s</td></tr>"
		      "\n",
		      number, max);
	return 0;
}

static int put_table(const struct page *p, const struct selection *s)
{
	FILE *out = p->out;

	(void)fprintf(out,
		      "<details><summary>Numbers</summary>"
		      "<div class=\"scroll\"><table><thead><tr>"
		      "<th scope=\"col\">Series</th>"
		      "<th scope=\"col\">Metric</th>"
		      "<th scope=\"col\">Link</th>"
		      "<th scope=\"col\" class=\"n\">Median (%s)</th>"
		      "<th scope=\"col\" class=\"n\">95 %% interval</th>"
		      "<th scope=\"col\" class=\"n\">Range</th>"
		      "<th scope=\"col\" class=\"n\">n</th>"
		      "<th scope=\"col\" class=\"n\">Bound</th>"
		      "<th scope=\"col\" class=\"n\">%% of bound</th>"
		      "</tr></thead><tbody>\n",
		      unit_words(s->curves[0].unit));
	for (size_t i = 0; i < s->n; i++) {
		for (size_t k = 0; k < s->curves[i].n; k++) {
			int r = put_cell_row(p, &s->curves[i],
					     &s->curves[i].cells[k]);

			if (r)
				return r;
		}
	}
	(void)fputs("</tbody></table></div></details>\n", out);
	return 0;
}

static void put_caption(const struct page *p, const struct figure *f)
{
	FILE *out = p->out;

	(void)fputs("<dl class=\"caption\"><dt>Measured</dt>", out);
	html_element(out, "dd", f->measured);
	(void)fputs("<dt>Not in the timer</dt>", out);
	html_element(out, "dd", f->excluded);
	if (f->thesis) {
		(void)fputs("<dt>In the thesis</dt>", out);
		html_element(out, "dd", f->thesis);
	}
	(void)fputs("</dl>\n", out);
}

/* What the picture itself says below its axes, in full. */
static void put_gaps(const struct page *p, const struct selection *s)
{
	if (!s->n_gaps)
		return;
	(void)fputs("<ul class=\"gaps\">\n", p->out);
	for (size_t i = 0; i < s->n_gaps; i++) {
		const struct gap *g = &s->gaps[i];

		(void)fputs("<li>", p->out);
		html_element(p->out, "b", g->what);
		if (g->partly)
			(void)fprintf(p->out, " (%zu of its rows)", g->rows);
		(void)fputs(": ", p->out);
		html_text(p->out, g->why);
		(void)fputs("</li>\n", p->out);
	}
	(void)fputs("</ul>\n", p->out);
}

static int put_figure(const struct page *p, const struct selection *s)
{
	const struct figure *f = s->figure;
	FILE *out = p->out;
	char *svg = arena_printf(p->arena, "%s/plots/%s.svg", p->result->dir,
				 f->id);
	int r = 0;

	if (!svg)
		return -ENOMEM;
	(void)fputs("<section class=\"figure\" id=\"figure-", out);
	html_text(out, f->id);
	(void)fputs("\">", out);
	html_element(out, "h3", f->question);
	if (s->n) {
		(void)fputs("<figure class=\"scroll\">\n", out);
		r = html_svg(out, svg, f->id, f->title);
		(void)fputs("</figure>\n", out);
	} else {
		(void)fputs("<p class=\"none\">Not drawn: this run has no "
			    "verified number for it.</p>\n",
			    out);
	}
	put_caption(p, f);
	put_gaps(p, s);
	if (!r && s->n)
		r = put_table(p, s);
	(void)fputs("</section>\n", out);
	return r;
}

int page_figures(const struct page *p)
{
	int r = 0;

	(void)fputs("<section id=\"figures\"><h2>Figures</h2>"
		    "<p class=\"note\">Marks are medians of independent runs, "
		    "bars their 95 % bootstrap intervals, faint dots the runs "
		    "themselves. Dashed lines and open marks are the variant "
		    "that works as the thesis did, solid ones the tuned "
		    "variant.</p>\n",
		    p->out);
	for (size_t i = 0; !r && i < p->result->figures.n; i++)
		r = put_figure(p, &p->figures[i]);
	(void)fputs("</section>\n", p->out);
	return r;
}

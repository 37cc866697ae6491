/* SPDX-License-Identifier: Apache-2.0 */
/* Orders the rows of a figure into curves and cells; see select.h. */
#include "harness/report/select.h"

#include "harness/report/words.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB 1073741824.0

/* A cell that is used, with what it is sorted by. */
struct pick {
	const struct summary *sum;
	const struct row *row; /* the summary's */
	size_t metric;	       /* index in the figure's list */
	double x;
	const char *extra;
	const char *own; /* extra without what is about the link */
};

struct picks {
	struct pick *list;
	size_t n;
};

/* Columns that make series of their own where they differ at one x. */
static const enum row_col split_columns[] = {
	COL_WORKLOAD,	 COL_DATASET,	 COL_PLACE,	 COL_LINK_DRIVER,
	COL_RATE_MBIT,	 COL_JITTER_MS,	 COL_LOSS_PCT,	 COL_CONGESTION,
	COL_CHUNK_BYTES, COL_SIZE_BYTES, COL_WORKERS,	 COL_PLACEMENT,
	COL_PARAMS,	 COL_PIPELINE,	 COL_EXPERIMENT,
};
/* Those of them that say which link it was. */
#define LINK_SPLITS                                          \
	(ROW_BIT(COL_LINK_DRIVER) | ROW_BIT(COL_RATE_MBIT) | \
	 ROW_BIT(COL_JITTER_MS) | ROW_BIT(COL_LOSS_PCT) |    \
	 ROW_BIT(COL_CONGESTION))
#define SPLITS (sizeof(split_columns) / sizeof(split_columns[0]))

const char *text_or_empty(const char *text)
{
	return text ? text : "";
}

double row_rtt(const struct row *row)
{
	return isnan(row->rtt_ms) ? 0 : row->rtt_ms;
}

const char *series_label(struct arena *a, const char *approach,
			 const char *variant, const char *extra)
{
	return arena_printf(a, "%s%s%s%s%s", approach, *variant ? " " : "",
			    variant, *extra ? ", " : "", extra);
}

const char *column_words(struct arena *a, const struct row *row,
			 enum row_col col)
{
	char number[ROW_NUMBER_MAX];
	char size[32];
	const char *text = row_text(row, col, number);

	if (!*text)
		return "";
	switch ((int)col) {
	case COL_RTT_MS:
		return arena_printf(a, "RTT %s ms", text);
	case COL_RATE_MBIT:
		if (row->rate_mbit == 0)
			return "unlimited rate";
		return arena_printf(a, "%s Mbit/s", text);
	case COL_JITTER_MS:
		return arena_printf(a, "jitter %s ms", text);
	case COL_LOSS_PCT:
		return arena_printf(a, "loss %s %%", text);
	case COL_WORKERS:
		return arena_printf(a, "%s workers", text);
	case COL_CHUNK_BYTES:
		size_words(row->chunk_bytes, size, sizeof(size));
		return arena_printf(a, "chunk %s", size);
	case COL_SIZE_BYTES:
		size_words(row->size_bytes, size, sizeof(size));
		return arena_printf(a, "%s", size);
	case COL_LINK_DRIVER:
		if (row->link_driver == ROW_LINK_NONE)
			return "local";
		return arena_printf(a, "%s link", text);
	default:
		return arena_copy(a, text, strlen(text));
	}
}

/* --- choosing rows --- */

/*
 * Copy the rows of the figure's experiments. Values that the figure shows by
 * GiB are divided here, so that medians and intervals are those of the
 * quotients.
 */
static int copy_rows(struct selection *s, const struct table *table)
{
	const struct figure *f = s->figure;

	s->table = table_new();
	if (!s->table)
		return -ENOMEM;
	for (size_t i = 0; i < table->n; i++) {
		struct row row = table->rows[i];

		if (!words_have(&f->experiments, row.experiment))
			continue;
		if (f->per_gib && row.status == ROW_OK) {
			if (row.bytes_done == ROW_NO_COUNT || !row.bytes_done)
				continue;
			row.value /= (double)row.bytes_done / GIB;
		}
		if (table_add(s->table, &row))
			return -ENOMEM;
	}
	return summary_build(s->table, &s->sums, &s->n_sums);
}

static int pick_cells(struct selection *s, struct picks *ret)
{
	const struct figure *f = s->figure;

	for (size_t i = 0; i < s->n_sums; i++) {
		const struct summary *sum = &s->sums[i];
		struct pick p = {
			.sum = sum, .row = sum->row, .extra = "", .own = ""};

		/* All but the stacked figures have logarithmic axes. */
		if (!sum->n || (sum->median <= 0 && !f->per_gib))
			continue;
		p.x = row_rtt(sum->row);
		while (p.metric < f->metrics.n &&
		       strcmp(f->metrics.list[p.metric], sum->metric) != 0)
			p.metric++;
		if (p.metric == f->metrics.n)
			continue;
		ret->list = arena_grow(s->arena, ret->list, ret->n, sizeof(p));
		if (!ret->list)
			return -ENOMEM;
		ret->list[ret->n++] = p;
	}
	return 0;
}

static int compare_texts(const char *a, const char *b)
{
	return strcmp(text_or_empty(a), text_or_empty(b));
}

static int compare_series(const struct pick *a, const struct pick *b)
{
	int r = compare_texts(a->row->approach, b->row->approach);

	if (!r)
		r = compare_texts(a->row->variant, b->row->variant);
	if (!r)
		r = compare_texts(a->extra, b->extra);
	return r;
}

/* By series, then x: the order in which differing columns are looked for. */
static int compare_by_x(const void *a, const void *b)
{
	const struct pick *p = a;
	const struct pick *q = b;
	int r = compare_series(p, q);

	if (r)
		return r;
	return (p->x > q->x) - (p->x < q->x);
}

/* By metric, series and x: the order in which curves are made. */
static int compare_by_curve(const void *a, const void *b)
{
	const struct pick *p = a;
	const struct pick *q = b;

	if (p->metric != q->metric)
		return p->metric < q->metric ? -1 : 1;
	return compare_by_x(a, b);
}

static bool differs(const struct row *a, const struct row *b, enum row_col col)
{
	char x[ROW_NUMBER_MAX];
	char y[ROW_NUMBER_MAX];

	return strcmp(row_text(a, col, x), row_text(b, col, y)) != 0;
}

/* The columns in which rows of list[from..to), one approach, differ at one x */
static unsigned differing(const struct pick *list, size_t from, size_t to)
{
	unsigned set = 0;
	size_t first = from;

	for (size_t i = from; i < to; i++) {
		if (list[i].x != list[first].x)
			first = i;
		for (unsigned c = 0; c < SPLITS; c++)
			if (differs(list[first].row, list[i].row,
				    split_columns[c]))
				set |= 1u << c;
	}
	return set;
}

static const char *extra_words(struct arena *a, const struct row *row,
			       unsigned set, uint64_t except)
{
	const char *text = "";

	for (unsigned c = 0; c < SPLITS && text; c++) {
		const char *w = NULL;

		if (!(set & (1u << c)) || (ROW_BIT(split_columns[c]) & except))
			continue;
		w = column_words(a, row, split_columns[c]);
		if (!w)
			return NULL;
		/* Empty beside something is a value of its own. */
		if (!*w)
			w = arena_printf(a, "no %s",
					 row_columns[split_columns[c]].name);
		text = arena_printf(a, "%s%s%s", text, *text ? ", " : "", w);
	}
	return text;
}

/* Tell apart what is not one cell: two sizes, two rates, two pipelines. */
static int split_series(struct arena *a, struct picks *p)
{
	size_t from = 0;

	qsort(p->list, p->n, sizeof(*p->list), compare_by_x);
	while (from < p->n) {
		size_t to = from;
		unsigned set;

		while (to < p->n &&
		       compare_series(&p->list[from], &p->list[to]) == 0)
			to++;
		set = differing(p->list, from, to);
		for (size_t i = from; set && i < to; i++) {
			struct pick *q = &p->list[i];

			q->own = extra_words(a, q->row, set, LINK_SPLITS);
			q->extra = extra_words(a, q->row, set, 0);
			if (!q->own || !q->extra)
				return -ENOMEM;
		}
		from = to;
	}
	return 0;
}

/* --- curves and cells --- */

static unsigned series_rank(const struct figure *f, const char *approach,
			    const char *variant)
{
	char name[128];
	unsigned rank = 0;

	(void)snprintf(name, sizeof(name), "%s%s%s", approach,
		       *variant ? "/" : "", variant);
	for (rank = 0; rank < f->series.n; rank++)
		if (!strcmp(f->series.list[rank], name))
			return rank;
	for (size_t i = 0; row_approaches[i]; i++, rank++)
		if (!strcmp(row_approaches[i], approach))
			break;
	return rank;
}

static int start_curve(struct selection *s, const struct pick *p)
{
	const struct figure *f = s->figure;
	const struct row_metric *m =
		row_metric_find(f->metrics.list[p->metric], NULL);
	struct curve c = {
		.metric = m->name,
		.unit = f->unit ? f->unit : m->unit,
		.approach = text_or_empty(p->row->approach),
		.variant = text_or_empty(p->row->variant),
		.extra = text_or_empty(p->extra),
	};

	c.rank = series_rank(f, c.approach, c.variant);
	c.label = series_label(s->arena, c.approach, c.variant, c.extra);
	c.column = series_label(s->arena, c.approach, c.variant,
				text_or_empty(p->own));
	s->curves = arena_grow(s->arena, s->curves, s->n, sizeof(c));
	if (!c.label || !c.column || !s->curves)
		return -ENOMEM;
	s->curves[s->n++] = c;
	return 0;
}

static int make_curves(struct selection *s, const struct picks *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct pick *now = &p->list[i];
		struct curve *c = NULL;
		int r = 0;

		if (i == 0 || now->metric != p->list[i - 1].metric ||
		    compare_series(now, &p->list[i - 1]) != 0)
			r = start_curve(s, now);
		if (r)
			return r;
		c = &s->curves[s->n - 1];
		c->cells =
			arena_grow(s->arena, c->cells, c->n, sizeof(*c->cells));
		if (!c->cells)
			return -ENOMEM;
		c->cells[c->n++] = (struct cell){.x = now->x, .sum = now->sum};
	}
	return 0;
}

static size_t metric_rank(const struct figure *f, const char *metric)
{
	size_t i = 0;

	while (i < f->metrics.n && strcmp(f->metrics.list[i], metric) != 0)
		i++;
	return i;
}

/* Insertion sort: a few curves, and qsort has no room for the figure. */
static void order_curves(struct selection *s)
{
	for (size_t i = 1; i < s->n; i++) {
		struct curve c = s->curves[i];
		size_t rank = metric_rank(s->figure, c.metric);
		size_t k = i;

		for (; k > 0; k--) {
			const struct curve *b = &s->curves[k - 1];
			size_t before = metric_rank(s->figure, b->metric);

			if (before < rank ||
			    (before == rank && b->rank < c.rank) ||
			    (before == rank && b->rank == c.rank &&
			     strcmp(b->label, c.label) <= 0))
				break;
			s->curves[k] = s->curves[k - 1];
		}
		s->curves[k] = c;
	}
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static int add_x(struct selection *s, double x)
{
	s->xs = arena_grow(s->arena, s->xs, s->n_xs, sizeof(x));
	if (!s->xs)
		return -ENOMEM;
	s->xs[s->n_xs++] = x;
	return 0;
}

static int collect_xs(struct selection *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->curves[i].n; k++)
			if (add_x(s, s->curves[i].cells[k].x))
				return -ENOMEM;
	if (s->n_xs)
		qsort(s->xs, s->n_xs, sizeof(double), compare_doubles);
	for (size_t i = 0; i < s->n_xs; i++)
		if (i == 0 || s->xs[i] != s->xs[n - 1])
			s->xs[n++] = s->xs[i];
	s->n_xs = n;
	return 0;
}

void selection_release(struct selection *s)
{
	summary_free(s->sums, s->n_sums);
	table_free(s->table);
	*s = (struct selection){0};
}

int selection_make(struct arena *a, const struct figure *figure,
		   const struct table *table, struct selection *ret)
{
	struct selection s = {.figure = figure, .arena = a};
	struct picks picks = {0};
	int r = copy_rows(&s, table);

	r = r ? r : pick_cells(&s, &picks);
	if (!r && picks.n) {
		r = split_series(a, &picks);
		qsort(picks.list, picks.n, sizeof(*picks.list),
		      compare_by_curve);
	}
	r = r ? r : make_curves(&s, &picks);
	order_curves(&s);
	r = r ? r : collect_xs(&s);
	r = r ? r : selection_conditions(&s);
	r = r ? r : selection_gaps(&s);
	r = r ? r : selection_warnings(&s);
	if (r) {
		selection_release(&s);
		return r;
	}
	*ret = s;
	return 0;
}

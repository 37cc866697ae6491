/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a figure cannot show, and what to be careful about in what it shows.
 * Both stand beside the figure, so that no series is missing without a word.
 */
#include "harness/report/select.h"

#include "harness/report/words.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Fewer repetitions than this and an interval says little. */
#define FEW_REPETITIONS 5

static const char *const statuses[] = {
	[ROW_STATUS_UNSET] = "unknown", [ROW_OK] = "not verified",
	[ROW_FAILED] = "failed",	[ROW_REFUSED] = "refused",
	[ROW_SKIPPED] = "skipped",
};

static int add_gap(struct selection *s, const char *what, const char *why,
		   size_t rows, bool partly)
{
	if (!what || !why)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_gaps; i++) {
		if (strcmp(s->gaps[i].what, what) != 0 ||
		    strcmp(s->gaps[i].why, why) != 0)
			continue;
		s->gaps[i].rows += rows;
		return 0;
	}
	s->gaps = arena_grow(s->arena, s->gaps, s->n_gaps, sizeof(*s->gaps));
	if (!s->gaps)
		return -ENOMEM;
	s->gaps[s->n_gaps++] = (struct gap){
		.what = what, .why = why, .rows = rows, .partly = partly};
	return 0;
}

/* Does a curve have a point of this series at x? NAN: anywhere. */
static bool has_point(const struct selection *s, const char *approach,
		      const char *variant, double x)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct curve *c = &s->curves[i];

		if (strcmp(c->approach, approach) != 0 ||
		    strcmp(c->variant, variant) != 0)
			continue;
		for (size_t k = 0; k < c->n; k++)
			if (isnan(x) || c->cells[k].x == x)
				return true;
	}
	return false;
}

static bool wanted_metric(const struct figure *f, const struct row *row)
{
	const struct row_metric *m = NULL;

	if (!row->metric || !*row->metric)
		return true;
	m = row_metric_find(row->metric, NULL);
	return !m || words_have(&f->metrics, m->name);
}

/* Rows that gave no number: named with their RTT where others have a point. */
static int gap_of_row(struct selection *s, const struct row *row)
{
	const char *approach = text_or_empty(row->approach);
	const char *variant = text_or_empty(row->variant);
	const char *what = NULL;
	const char *why = statuses[row->status];
	bool at_all = has_point(s, approach, variant, (double)NAN);

	what = series_label(s->arena, approach, variant, "");
	if (what && (at_all || s->n_xs > 1))
		what = arena_printf(s->arena, "%s, RTT %g ms", what,
				    row_rtt(row));
	if (row->reason && *row->reason)
		why = arena_printf(s->arena, "%s: %s", why, row->reason);
	return add_gap(s, what, why, 1,
		       has_point(s, approach, variant, row_rtt(row)));
}

static bool seen_at_all(const struct selection *s, const char *name)
{
	char series[128];

	for (size_t i = 0; i < s->table->n; i++) {
		const struct row *row = &s->table->rows[i];
		const char *variant = text_or_empty(row->variant);

		(void)snprintf(series, sizeof(series), "%s%s%s",
			       text_or_empty(row->approach),
			       *variant ? "/" : "", variant);
		if (!strcmp(series, name) && wanted_metric(s->figure, row))
			return true;
	}
	return false;
}

static int gaps_of_zeros(struct selection *s)
{
	for (size_t i = 0; i < s->n_sums; i++) {
		const struct summary *u = &s->sums[i];
		const struct row *row = u->row;
		const char *what = NULL;
		int r;

		if (!u->n || u->median > 0 || s->figure->per_gib ||
		    !words_have(&s->figure->metrics, u->metric))
			continue;
		what = series_label(s->arena, text_or_empty(row->approach),
				    text_or_empty(row->variant), u->metric);
		r = add_gap(s, what,
			    "the median is 0, which a logarithmic axis has no "
			    "place for",
			    u->n, false);
		if (r)
			return r;
	}
	return 0;
}

int selection_gaps(struct selection *s)
{
	const struct words *expected = &s->figure->series;
	int r = gaps_of_zeros(s);

	for (size_t i = 0; !r && i < expected->n; i++) {
		const char *name = expected->list[i];
		char *what = NULL;

		if (seen_at_all(s, name))
			continue;
		what = arena_copy(s->arena, name, strlen(name));
		if (what && strchr(what, '/'))
			*strchr(what, '/') = ' ';
		r = add_gap(s, what, "not in this run", 0, false);
	}
	for (size_t i = 0; !r && i < s->table->n; i++) {
		const struct row *row = &s->table->rows[i];

		if (row_usable(row) || !wanted_metric(s->figure, row))
			continue;
		r = gap_of_row(s, row);
	}
	return r;
}

/* --- warnings --- */

int selection_warn(struct selection *s, const char *fmt, ...)
{
	char text[512];
	va_list args;
	char *copy = NULL;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (size_t i = 0; i < s->n_warnings; i++)
		if (!strcmp(s->warnings[i], text))
			return 0;
	copy = arena_copy(s->arena, text, strlen(text));
	s->warnings = arena_grow(s->arena, s->warnings, s->n_warnings,
				 sizeof(*s->warnings));
	if (!copy || !s->warnings)
		return -ENOMEM;
	s->warnings[s->n_warnings++] = copy;
	return 0;
}

static int warn_cell(struct selection *s, const struct curve *c,
		     const struct cell *cell)
{
	const struct summary *sum = cell->sum;
	int r = 0;

	if (sum->first_outlier)
		r = selection_warn(s,
				   "%s, RTT %g ms: the first repetition of %s "
				   "(%.4g %s) is far from the others (median "
				   "%.4g); it is kept",
				   c->label, cell->x, c->metric, sum->values[0],
				   c->unit, sum->median);
	else if (sum->outliers)
		r = selection_warn(s,
				   "%s, RTT %g ms: %zu of %zu values of %s far "
				   "from the median; kept",
				   c->label, cell->x, sum->outliers, sum->n,
				   c->metric);
	return r;
}

static int warn_repetitions(struct selection *s)
{
	size_t few = 0;
	size_t all = 0;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < s->n; i++) {
		for (size_t k = 0; k < s->curves[i].n; k++) {
			size_t n = s->curves[i].cells[k].sum->n;

			all++;
			few += n < FEW_REPETITIONS;
			least = n < least ? n : least;
		}
	}
	if (!few)
		return 0;
	return selection_warn(s,
			      "%zu of %zu points have fewer than %d "
			      "repetitions (fewest: %zu)%s",
			      few, all, FEW_REPETITIONS, least,
			      least < 3 ? "; fewer than 3 give no interval"
					: "");
}

/* A row that stopped early, or whose link was not the one asked for. */
static int warn_row(struct selection *s, const struct row *row)
{
	const char *label = NULL;
	char size[32];
	int r = 0;

	if (!row_usable(row) || !wanted_metric(s->figure, row))
		return 0;
	label = series_label(s->arena, text_or_empty(row->approach),
			     text_or_empty(row->variant), "");
	if (!label)
		return -ENOMEM;
	if (!row_rtt_fits(row) || !row_rate_fits(row))
		r = selection_warn(s,
				   "%s: the link read back is not what was "
				   "asked for (RTT %g ms, measured %.4g ms; "
				   "%g Mbit/s, measured %.4g)",
				   label, row_rtt(row), row->rtt_ms_measured,
				   row->rate_mbit, row->rate_mbit_measured);
	if (r || row->bytes_done == ROW_NO_COUNT ||
	    row->size_bytes == ROW_NO_COUNT ||
	    row->bytes_done >= row->size_bytes ||
	    !strstr(text_or_empty(row->metric), "_mib_s"))
		return r;
	size_words(row->size_bytes, size, sizeof(size));
	return selection_warn(s,
			      "%s, RTT %g ms: stopped before the end of the "
			      "region at the time limit (size %s)",
			      label, row_rtt(row), size);
}

int selection_warnings(struct selection *s)
{
	int r = s->n ? warn_repetitions(s) : 0;

	for (size_t i = 0; !r && i < s->n; i++)
		for (size_t k = 0; !r && k < s->curves[i].n; k++)
			r = warn_cell(s, &s->curves[i], &s->curves[i].cells[k]);
	for (size_t i = 0; !r && i < s->table->n; i++)
		r = warn_row(s, &s->table->rows[i]);
	return r;
}

/* --- the line under the title --- */

/* The different words of a column over all points, joined by " / ". */
static const char *column_values(struct selection *s, enum row_col col)
{
	const char *seen[4];
	size_t n = 0;
	const char *text = "";

	for (size_t i = 0; i < s->n; i++) {
		for (size_t k = 0; k < s->curves[i].n; k++) {
			const struct row *row = s->curves[i].cells[k].sum->row;
			const char *w = column_words(s->arena, row, col);
			size_t j = 0;

			if (!w)
				return NULL;
			while (j < n && strcmp(seen[j], w) != 0)
				j++;
			if (!*w || j < n)
				continue;
			if (n == 4)
				return arena_printf(s->arena, "various %s",
						    row_columns[col].name);
			seen[n++] = w;
			text = arena_printf(s->arena, "%s%s%s", text,
					    *text ? " / " : "", w);
			if (!text)
				return NULL;
		}
	}
	return text;
}

int selection_conditions(struct selection *s)
{
	static const struct {
		enum row_col col;
		const char *before;
	} parts[] = {
		{COL_LINK_DRIVER, ""},	{COL_RTT_MS, ", "},
		{COL_RATE_MBIT, ", "},	{COL_JITTER_MS, ", "},
		{COL_LOSS_PCT, ", "},	{COL_CONGESTION, ", "},
		{COL_SIZE_BYTES, "; "}, {COL_CHUNK_BYTES, ", "},
		{COL_WORKLOAD, "; "},	{COL_DATASET, ", "},
	};
	const char *text = "";

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const char *w = NULL;

		if (parts[i].col == COL_RTT_MS && s->n_xs > 1)
			continue;
		w = column_values(s, parts[i].col);
		if (!w)
			return -ENOMEM;
		/* "nothing of it" is not worth a word under a title */
		if (!*w || !strcmp(w, "jitter 0 ms") || !strcmp(w, "loss 0 %"))
			continue;
		text = arena_printf(s->arena, "%s%s%s", text,
				    *text ? parts[i].before : "", w);
		if (!text)
			return -ENOMEM;
	}
	s->conditions = text;
	return 0;
}

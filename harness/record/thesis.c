/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tidy rows into the thesis' wide files: rows of a group are sorted by label
 * (RTT, then workers or store), column and repetition; then repetition i of
 * each column stands in line i of its label. A label is written in the first
 * line of its group only, as the thesis' notebooks expect.
 */
#include "harness/record/thesis.h"
#include "harness/record/thesis-groups.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A row with its place in the wide file. */
struct cell {
	double rtt_ms;
	uint64_t label; /* workers, or index of the store */
	unsigned column;
	const struct row *row;
};

struct cells {
	struct cell *cell;
	size_t n;
};

static bool has_param(const struct row *row, const char *param)
{
	const char *equals = strchr(param, '=');
	char key[32];
	const char *value = NULL;
	size_t len = 0;

	(void)snprintf(key, sizeof(key), "%.*s", (int)(equals - param), param);
	return row_param(row->params, key, &value, &len) &&
	       len == strlen(equals + 1) && !strncmp(value, equals + 1, len);
}

/* The place of a row's store in the thesis' order; false if it has none. */
static bool store_index(const struct row *row, uint64_t *ret)
{
	const char *value = NULL;
	size_t len = 0;

	if (!row_param(row->params, "store", &value, &len))
		return false;
	for (uint64_t i = 0; thesis_stores[i]; i++) {
		if (strlen(thesis_stores[i]) != len ||
		    strncmp(thesis_stores[i], value, len) != 0)
			continue;
		*ret = i;
		return true;
	}
	return false;
}

static bool in_group(const struct thesis_group *g, const struct row *row)
{
	if (strcmp(row->experiment, g->name) != 0 &&
	    strcmp(row->experiment, g->experiment) != 0)
		return false;
	if (!row_usable(row) || strcmp(row->metric, g->metric) != 0)
		return false;
	return !row->variant || !*row->variant ||
	       !strcmp(row->variant, "thesis");
}

/* Where the row goes; false if the group has no column or label for it. */
static bool place(const struct thesis_group *g, const struct row *row,
		  struct cell *ret)
{
	*ret = (struct cell){.row = row};
	if (!in_group(g, row))
		return false;
	if (g->rtt_header && !isnan(row->rtt_ms))
		ret->rtt_ms = row->rtt_ms;
	if (g->label == LABEL_STORE && !store_index(row, &ret->label))
		return false;
	if (g->label == LABEL_WORKERS) {
		if (row->workers == ROW_NO_COUNT)
			return false;
		ret->label = row->workers;
	}
	for (; g->columns[ret->column].approach; ret->column++) {
		const struct thesis_column *c = &g->columns[ret->column];

		if (!strcmp(c->approach, row->approach) &&
		    (!c->param || has_param(row, c->param)))
			return true;
	}
	return false;
}

static int compare(double x, double y)
{
	return (x > y) - (x < y);
}

static bool same_label(const struct cell *a, const struct cell *b)
{
	return a->rtt_ms == b->rtt_ms && a->label == b->label;
}

static int by_place(const void *a, const void *b)
{
	const struct cell *x = a;
	const struct cell *y = b;
	int c = compare(x->rtt_ms, y->rtt_ms);

	if (!c)
		c = (x->label > y->label) - (x->label < y->label);
	if (!c)
		c = (x->column > y->column) - (x->column < y->column);
	if (!c)
		c = (x->row->repetition > y->row->repetition) -
		    (x->row->repetition < y->row->repetition);
	return c;
}

static int collect(const struct thesis_group *g, const struct table *t,
		   struct cells *ret)
{
	ret->n = 0;
	ret->cell = calloc(t->n + 1, sizeof(*ret->cell));
	if (!ret->cell)
		return ms_err(-ENOMEM, "thesis: %s", g->name);
	for (size_t i = 0; i < t->n; i++)
		if (place(g, &t->rows[i], &ret->cell[ret->n]))
			ret->n++;
	if (ret->n)
		qsort(ret->cell, ret->n, sizeof(*ret->cell), by_place);
	return 0;
}

/* The name of a cell column in which two rows differ, NULL if in none. */
static const char *difference(const struct row *a, const struct row *b)
{
	char x[ROW_NUMBER_MAX];
	char y[ROW_NUMBER_MAX];

	for (int c = 0; c < ROW_COLUMNS; c++)
		if ((row_columns[c].flags & ROW_CELL) &&
		    strcmp(row_text(a, c, x), row_text(b, c, y)) != 0)
			return row_columns[c].name;
	return NULL;
}

/* A column under one label must be repetitions of one cell. */
static int check_cells(const struct thesis_group *g, const struct cells *s)
{
	for (size_t i = 1; i < s->n; i++) {
		const struct cell *a = &s->cell[i - 1];
		const struct cell *b = &s->cell[i];
		const char *name = NULL;

		if (!same_label(a, b) || a->column != b->column)
			continue;
		name = difference(a->row, b->row);
		if (name)
			return ms_err(-EINVAL,
				      "thesis: %s: rows of \"%s\" differ in %s",
				      g->name, g->columns[a->column].header,
				      name);
	}
	return 0;
}

static void put_header(const struct thesis_group *g, FILE *out)
{
	const char *comma = "";

	if (g->rtt_header) {
		csv_put_field(out, g->rtt_header);
		comma = ",";
	}
	if (g->label_header) {
		(void)fprintf(out, "%s%s", comma, g->label_header);
		comma = ",";
	}
	for (unsigned c = 0; g->columns[c].approach; c++) {
		(void)fputs(comma, out);
		csv_put_field(out, g->columns[c].header);
		comma = ",";
	}
	(void)fputc('\n', out);
}

static void put_value(const struct thesis_group *g, const struct row *row,
		      FILE *out)
{
	char text[ROW_NUMBER_MAX];
	double value = row->value * g->scale;

	if (g->whole)
		(void)snprintf(text, sizeof(text), "%.0f", value);
	else
		row_format_real(value, text);
	(void)fputs(text, out);
}

static void put_labels(const struct thesis_group *g, const struct cell *cell,
		       bool first, FILE *out)
{
	char number[ROW_NUMBER_MAX];

	if (g->rtt_header) {
		row_format_real(cell->rtt_ms, number);
		(void)fprintf(out, "%s%s,", first ? number : "",
			      first ? "ms" : "");
	}
	if (g->label == LABEL_NONE)
		return;
	if (first && g->label == LABEL_STORE)
		(void)fputs(thesis_stores[cell->label], out);
	else if (first)
		(void)fprintf(out, "%llu", (unsigned long long)cell->label);
	(void)fputc(',', out);
}

/* The lines of one label: [first, end) of the sorted cells. */
static unsigned put_label(const struct thesis_group *g,
			  const struct cell *first, const struct cell *end,
			  FILE *out)
{
	const struct cell *next[THESIS_COLUMNS_MAX] = {NULL};
	unsigned lines = 0;
	unsigned count[THESIS_COLUMNS_MAX] = {0};

	for (const struct cell *c = first; c < end; c++) {
		if (!next[c->column])
			next[c->column] = c;
		count[c->column]++;
		if (count[c->column] > lines)
			lines = count[c->column];
	}
	for (unsigned i = 0; i < lines; i++) {
		put_labels(g, first, i == 0, out);
		for (unsigned c = 0; g->columns[c].approach; c++) {
			if (c)
				(void)fputc(',', out);
			if (next[c] && i < count[c])
				put_value(g, next[c][i].row, out);
		}
		(void)fputc('\n', out);
	}
	return lines;
}

static unsigned put_group(const struct thesis_group *g, const struct cells *s,
			  FILE *out)
{
	unsigned lines = 0;

	put_header(g, out);
	for (size_t i = 0, end = 0; i < s->n; i = end) {
		end = i + 1;
		while (end < s->n && same_label(&s->cell[i], &s->cell[end]))
			end++;
		lines += put_label(g, &s->cell[i], &s->cell[end], out);
	}
	return lines;
}

static int make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		return ms_err(-errno, "thesis: create %s", path);
	return 0;
}

static int write_file(const struct thesis_group *g, const struct cells *s,
		      const char *path, unsigned *ret_lines)
{
	FILE *out = fopen(path, "we");
	int err = 0;

	if (!out)
		return ms_err(-errno, "thesis: open %s", path);
	*ret_lines = put_group(g, s, out);
	err = ferror(out) ? -EIO : 0;
	if (fclose(out) && !err)
		err = -errno;
	return err ? ms_err(err, "thesis: write %s", path) : 0;
}

static int write_group(const struct thesis_group *g, const struct cells *s,
		       const char *outdir, FILE *report)
{
	unsigned lines = 0;
	char *dir = NULL;
	char *path = NULL;
	int err = check_cells(g, s);

	if (err)
		return err;
	if (asprintf(&dir, "%s/%s", outdir, g->name) < 0)
		return ms_err(-ENOMEM, "thesis: %s", g->name);
	if (asprintf(&path, "%s/results.csv", dir) < 0) {
		free(dir);
		return ms_err(-ENOMEM, "thesis: %s", g->name);
	}
	err = make_dir(outdir);
	if (!err)
		err = make_dir(dir);
	if (!err)
		err = write_file(g, s, path, &lines);
	if (!err)
		(void)fprintf(report, "%s: %u rows\n", path, lines);
	free(path);
	free(dir);
	return err;
}

int thesis_csv_write(const struct table *t, const char *outdir, FILE *report)
{
	int written = 0;

	for (unsigned i = 0; i < thesis_groups_n; i++) {
		const struct thesis_group *g = &thesis_groups[i];
		struct cells s;
		int err = collect(g, t, &s);

		if (err)
			return err;
		if (s.n) {
			err = write_group(g, &s, outdir, report);
			written++;
		} else {
			(void)fprintf(report,
				      "%s: not written, there are no usable "
				      "rows of %s (variant thesis, %s)\n",
				      g->name, g->experiment, g->metric);
		}
		free(s.cell);
		if (err)
			return err;
	}
	return written;
}

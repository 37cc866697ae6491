/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fairness between the series of a figure; see check-fair.h. Rows are sorted
 * into groups (a figure under one link), a group into series (approach and
 * variant), and for each aspect the sets of values of two series compared.
 */
#include "harness/record/check-fair.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_COLUMNS                                      \
	(ROW_BIT(COL_EXPERIMENT) | ROW_BIT(COL_WORKLOAD) | \
	 ROW_BIT(COL_LINK_DRIVER) | ROW_BIT(COL_RTT_MS) |  \
	 ROW_BIT(COL_RATE_MBIT) | ROW_BIT(COL_JITTER_MS) | \
	 ROW_BIT(COL_LOSS_PCT) | ROW_BIT(COL_CONGESTION))
#define SERIES_COLUMNS (ROW_BIT(COL_APPROACH) | ROW_BIT(COL_VARIANT))

/* What has to be the same: a column, or (param not NULL) a key of params. */
struct aspect {
	const char *name;
	enum row_col col;
	const char *param;
};

static const struct aspect aspects[] = {
	{"size_bytes", COL_SIZE_BYTES, NULL},
	{"chunk_bytes", COL_CHUNK_BYTES, NULL},
	{"dataset", COL_DATASET, NULL},
	{"seed", COL_PARAMS, "seed"},
	{"time_limit_ms", COL_PARAMS, "time_limit_ms"},
};

struct item {
	const struct row *row;
	unsigned long line;
	char *group;
	char *series;
};

/* Items next to each other: [first, end). */
struct span {
	const struct item *first;
	const struct item *end;
};

struct fair {
	struct item *items;
	size_t n;
	const char *path;
	FILE *report;
	int problems;
};

/* A piece of text that is not terminated, or the number in `buf`. */
struct piece {
	const char *text;
	size_t len; /* 0: does not apply */
	char buf[ROW_NUMBER_MAX];
};

static void value_of(const struct aspect *a, const struct row *row,
		     struct piece *ret)
{
	ret->text = "";
	ret->len = 0;
	if (a->param) {
		(void)row_param(row->params, a->param, &ret->text, &ret->len);
		return;
	}
	/* The variant thesis is 4 KiB by definition: its chunk is no choice. */
	if (a->col == COL_CHUNK_BYTES && row->variant &&
	    !strcmp(row->variant, "thesis"))
		return;
	ret->text = row_text(row, a->col, ret->buf);
	ret->len = strlen(ret->text);
}

static bool same(const struct piece *x, const struct piece *y)
{
	return x->len == y->len && !memcmp(x->text, y->text, x->len);
}

/*
 * The first item of `from` whose value no item of `in` has, NULL if there is
 * none or if the aspect does not apply to `in` at all.
 */
static const struct item *missing(const struct aspect *a, struct span from,
				  struct span in)
{
	struct piece want;
	struct piece have;

	for (const struct item *i = from.first; i < from.end; i++) {
		bool found = false;
		bool applies = false;

		value_of(a, i->row, &want);
		if (!want.len)
			continue;
		for (const struct item *k = in.first; k < in.end && !found;
		     k++) {
			value_of(a, k->row, &have);
			applies = applies || have.len;
			found = have.len && same(&want, &have);
		}
		if (applies && !found)
			return i;
	}
	return NULL;
}

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* Report it and return true if the aspect is unfair between two series. */
static bool unfair(struct fair *f, const struct aspect *a, struct span one,
		   struct span two)
{
	const struct item *x = missing(a, one, two);
	const struct item *y = missing(a, two, one);
	struct piece vx;
	struct piece vy;

	if (!x || !y)
		return false;
	value_of(a, x->row, &vx);
	value_of(a, y->row, &vy);
	(void)fprintf(f->report,
		      "%s:%lu: unfair: in %s, %s %s has %s %.*s, but %s %s has "
		      "%.*s (line %lu)\n",
		      f->path, y->line, y->row->experiment, y->row->approach,
		      text_of(y->row->variant), a->name, (int)vy.len, vy.text,
		      x->row->approach, text_of(x->row->variant), (int)vx.len,
		      vx.text, x->line);
	f->problems++;
	return true;
}

/* The items from `first` on that have the same series, within the group. */
static struct span next_series(const struct item *first, const struct item *end)
{
	struct span s = {first, first};

	while (s.end < end && !strcmp(s.end->series, first->series))
		s.end++;
	return s;
}

/* Each series against those before it: one line for each that differs. */
static void check_aspect(struct fair *f, const struct aspect *a,
			 struct span group)
{
	struct span one = {NULL, group.first};

	while (one.end < group.end) {
		struct span before = {NULL, group.first};
		bool told = false;

		one = next_series(one.end, group.end);
		while (!told && before.end < one.first) {
			before = next_series(before.end, one.first);
			told = unfair(f, a, before, one);
		}
	}
}

static void check_group(struct fair *f, struct span group)
{
	for (size_t a = 0; a < sizeof(aspects) / sizeof(*aspects); a++)
		check_aspect(f, &aspects[a], group);
}

/* All series of a figure share a kernel. Items are sorted by experiment. */
static void check_place(struct fair *f)
{
	const struct item *first = NULL;
	bool told = false;

	for (size_t i = 0; i < f->n; i++) {
		const struct item *it = &f->items[i];

		if (!first ||
		    strcmp(first->row->experiment, it->row->experiment) != 0) {
			first = it;
			told = false;
		}
		if (told || first->row->place == it->row->place)
			continue;
		(void)fprintf(f->report,
			      "%s:%lu: unfair: %s has rows of both places, "
			      "native and vm\n",
			      f->path, it->line, it->row->experiment);
		f->problems++;
		told = true;
	}
}

static int by_group(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;
	int order = strcmp(x->row->experiment, y->row->experiment);

	if (!order)
		order = strcmp(x->group, y->group);
	if (!order)
		order = strcmp(x->series, y->series);
	if (!order)
		order = x->line < y->line ? -1 : 1;
	return order;
}

static void check_groups(struct fair *f)
{
	struct span group = {NULL, f->items};
	const struct item *end = f->items + f->n;

	while (group.end < end) {
		group.first = group.end;
		while (group.end < end &&
		       !strcmp(group.end->group, group.first->group))
			group.end++;
		check_group(f, group);
	}
}

int check_fair(const struct table *table, const unsigned long *lines,
	       const char *path, FILE *report)
{
	struct fair f = {.path = path, .report = report};
	int err = 0;

	if (!table->n)
		return 0;
	f.items = calloc(table->n, sizeof(*f.items));
	if (!f.items)
		return ms_err(-ENOMEM, "check %s", path);
	for (size_t i = 0; i < table->n && !err; i++) {
		struct item *it = &f.items[f.n++];

		it->row = &table->rows[i];
		it->line = lines[i];
		it->group = row_key(it->row, GROUP_COLUMNS);
		it->series = row_key(it->row, SERIES_COLUMNS);
		if (!it->group || !it->series)
			err = ms_err(-ENOMEM, "check %s", path);
	}
	if (!err) {
		qsort(f.items, f.n, sizeof(*f.items), by_group);
		check_place(&f);
		check_groups(&f);
	}
	for (size_t i = 0; i < f.n; i++) {
		free(f.items[i].group);
		free(f.items[i].series);
	}
	free(f.items);
	return err ? err : f.problems;
}

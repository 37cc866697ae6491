/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker of runs.csv, row by row: fields, what they say about each
 * other, duplicates. What rows of a figure say about each other is in
 * check-fair.c. It goes on after a problem, so that one call shows them all.
 */
#include "harness/record/check.h"
#include "harness/record/check-fair.h"
#include "harness/record/csv.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* A row seen before, in the tree of keys. */
struct seen {
	char *key;
	unsigned long line;
};

struct check {
	const char *path;
	FILE *report;
	unsigned long line; /* of the row being checked */
	int problems;
	void *seen; /* tsearch tree of struct seen */
	struct table *table;
	unsigned long *lines; /* of the rows in `table` */
	size_t lines_size;
};

static void report(void *arg, const char *text)
{
	struct check *c = arg;

	(void)fprintf(c->report, "%s:%lu: %s\n", c->path, c->line, text);
	c->problems++;
}

static int by_key(const void *a, const void *b)
{
	const struct seen *x = a;
	const struct seen *y = b;

	return strcmp(x->key, y->key);
}

static void seen_free(void *node)
{
	struct seen *s = node;

	free(s->key);
	free(s);
}

/* The same repetition of the same cell must not have a metric twice. */
static int check_duplicate(struct check *c, const struct row *row)
{
	uint64_t columns = row_cell_columns() | ROW_BIT(COL_RUN_ID) |
			   ROW_BIT(COL_REPETITION) | ROW_BIT(COL_METRIC);
	struct seen *s = calloc(1, sizeof(*s));
	struct seen **found = NULL;
	char text[80];

	if (!s)
		return -ENOMEM;
	s->line = c->line;
	s->key = row_key(row, columns);
	found = s->key ? tsearch(s, &c->seen, by_key) : NULL;
	if (!found) {
		seen_free(s);
		return -ENOMEM;
	}
	if (*found == s)
		return 0;
	(void)snprintf(text, sizeof(text),
		       "the same run and metric as line %lu", (*found)->line);
	seen_free(s);
	report(c, text);
	return 0;
}

static int keep(struct check *c, const struct row *row)
{
	unsigned long *lines = NULL;
	size_t size = c->lines_size ? 2 * c->lines_size : 256;

	if (c->table->n == c->lines_size) {
		lines = reallocarray(c->lines, size, sizeof(*lines));
		if (!lines)
			return -ENOMEM;
		c->lines = lines;
		c->lines_size = size;
	}
	c->lines[c->table->n] = c->line;
	return table_add(c->table, row);
}

static int check_record(struct check *c, const struct csv_reader *r)
{
	char why[160];
	struct row row;
	int before = c->problems;

	if (r->torn) {
		report(c, "the last line is torn");
		return 0;
	}
	if (r->fields != ROW_COLUMNS) {
		(void)snprintf(why, sizeof(why), "%u columns, not %d",
			       r->fields, ROW_COLUMNS);
		report(c, why);
		return 0;
	}
	row_init(&row);
	for (unsigned i = 0; i < ROW_COLUMNS; i++)
		if (row_set(&row, i, csv_field(r, i), why, sizeof(why)))
			report(c, why);
	/* A field that could not be read would only cause further lines. */
	if (c->problems > before)
		return 0;
	if (row_check(&row, report, c) || row.status != ROW_OK)
		return check_duplicate(c, &row);
	if (keep(c, &row))
		return -ENOMEM;
	return check_duplicate(c, &row);
}

static int check_records(struct check *c, struct csv_reader *r)
{
	int got = 0;

	for (;;) {
		got = csv_reader_next(r);
		c->line = r->line;
		if (got == 0)
			return 0;
		if (got == -EBADMSG) {
			(void)fprintf(c->report, "%s: %s\n", c->path,
				      ms_err_text());
			c->problems++;
			continue;
		}
		if (got > 0)
			got = check_record(c, r);
		if (got < 0)
			return got;
	}
}

static int check_file(struct check *c, FILE *file)
{
	struct csv_reader r;
	char why[160];
	int got = 0;

	csv_reader_init(&r, file);
	got = csv_reader_next(&r);
	c->line = 1;
	if (got == 0) {
		report(c, "is empty");
	} else if (got < 0) {
		got = ms_err_add(got, "%s", c->path);
	} else if (!csv_header_ok(&r, why, sizeof(why))) {
		/* Nothing below can be understood without its header. */
		report(c, why);
		got = 0;
	} else {
		got = check_records(c, &r);
	}
	csv_reader_release(&r);
	if (got < 0)
		return got;
	got = check_fair(c->table, c->lines, c->path, c->report);
	if (got < 0)
		return got;
	c->problems += got;
	return 0;
}

int csv_check(const char *path, FILE *out)
{
	struct check c = {.report = out};
	char *full = csv_path(path);
	FILE *file = NULL;
	int err = 0;

	c.table = table_new();
	if (!full || !c.table) {
		err = ms_err(-ENOMEM, "check %s", path);
		goto out;
	}
	c.path = full;
	file = fopen(full, "re");
	if (!file) {
		err = ms_err(-errno, "check: open %s", full);
		goto out;
	}
	err = check_file(&c, file);
	if (err == -ENOMEM)
		err = ms_err(-ENOMEM, "check %s", full);
	(void)fclose(file);
	tdestroy(c.seen, seen_free);
out:
	free(c.lines);
	table_free(c.table);
	free(full);
	return err ? err : c.problems;
}

int cmd_check(int argc, char **argv)
{
	static const struct ms_opt options[] = {MS_OPT_END};
	static const struct ms_opt_command command = {
		.program = "memsync-bench check",
		.synopsis = "DIR|FILE...",
		.summary = "Check result files; exit 1 if one has a problem",
		.table = options,
		.operands_min = 1,
		.operands_max = UINT_MAX,
	};
	struct ms_opt_result result = {0};
	char none = 0;
	int code = 0;
	int got = ms_opt_parse(&command, &none, argc, argv, &result);

	if (got)
		return got < 0 ? 2 : 0;
	if (result.dump_config)
		return 0;
	for (int i = result.first_operand; i < argc; i++) {
		got = csv_check(argv[i], stdout);
		if (got < 0)
			(void)fprintf(stderr, "memsync-bench: %s\n",
				      ms_err_text());
		else
			(void)printf("%s: %d problem%s\n", argv[i], got,
				     got == 1 ? "" : "s");
		if (got)
			code = 1;
	}
	return code;
}

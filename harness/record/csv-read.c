/* SPDX-License-Identifier: Apache-2.0 */
/* Records, rows and tables read from runs.csv; nothing in it is trusted. */
#include "harness/record/csv.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void csv_reader_init(struct csv_reader *r, FILE *file)
{
	*r = (struct csv_reader){.file = file, .next_line = 1};
}

void csv_reader_release(struct csv_reader *r)
{
	free(r->buf);
	r->buf = NULL;
}

static int put(struct csv_reader *r, int ch)
{
	char *grown = NULL;
	size_t size = 0;

	if (r->len == CSV_RECORD_MAX)
		return ms_err(-EBADMSG, "line %lu: longer than %zu bytes",
			      r->line, CSV_RECORD_MAX);
	if (r->len == r->size) {
		size = r->size ? 2 * r->size : 512;
		grown = realloc(r->buf, size);
		if (!grown)
			return ms_err(-ENOMEM, "csv: read");
		r->buf = grown;
		r->size = size;
	}
	r->buf[r->len++] = (char)ch;
	return 0;
}

static int get(struct csv_reader *r)
{
	int ch = getc_unlocked(r->file);

	if (ch == EOF)
		return ch;
	r->end++;
	r->next_line += ch == '\n';
	return ch;
}

static void begin_field(struct csv_reader *r)
{
	if (r->fields < CSV_FIELDS_MAX)
		r->starts[r->fields] = r->len;
	r->fields++;
}

enum {
	AT_START,
	IN_PLAIN,
	IN_QUOTES,
	AFTER_QUOTE
};

static int quote(struct csv_reader *r, int *state)
{
	if (*state == IN_PLAIN)
		return ms_err(-EBADMSG, "line %lu: a quote within a field",
			      r->line);
	if (*state == AT_START) {
		*state = IN_QUOTES;
		return 0;
	}
	if (*state == IN_QUOTES) {
		*state = AFTER_QUOTE;
		return 0;
	}
	*state = IN_QUOTES; /* the second of two: one quote of the text */
	return put(r, '"');
}

/*
 * One character into the record. Returns 1 when it ended the record, 0 to go
 * on. `*state` says where in a field we are.
 */
static int step(struct csv_reader *r, int ch, int *state)
{
	int err = 0;

	if (ch == '\0')
		return ms_err(-EBADMSG, "line %lu: a NUL byte", r->line);
	if (ch == '"')
		return quote(r, state);
	if (*state == IN_QUOTES)
		return put(r, ch);
	if (ch == ',' || ch == '\n') {
		*state = AT_START;
		err = put(r, '\0');
		if (err)
			return err;
		if (ch == '\n')
			return 1;
		begin_field(r);
		return 0;
	}
	if (*state == AFTER_QUOTE && ch != '\r')
		return ms_err(-EBADMSG, "line %lu: text behind a quote",
			      r->line);
	if (*state == AT_START)
		*state = IN_PLAIN;
	return put(r, ch);
}

/* CRLF: the CR went into the last field. */
static void drop_cr(struct csv_reader *r)
{
	if (r->len >= 2 && r->buf[r->len - 2] == '\r') {
		r->len--;
		r->buf[r->len - 1] = '\0';
	}
}

int csv_reader_next(struct csv_reader *r)
{
	int state = AT_START;
	int got = 0;
	int ch = 0;

	r->line = r->next_line;
	r->offset = r->end;
	r->len = 0;
	r->fields = 0;
	r->torn = false;
	begin_field(r);
	while (!got) {
		ch = get(r);
		if (ch == EOF)
			break;
		got = step(r, ch, &state);
	}
	if (got == 1) {
		drop_cr(r);
		return 1;
	}
	if (got == -EBADMSG)
		/* Go on behind this line, wherever the quotes are. */
		while (ch != EOF && ch != '\n')
			ch = get(r);
	r->torn = ch == EOF && r->end > r->offset;
	if (got < 0)
		return got;
	if (ferror(r->file))
		return ms_err(-EIO, "csv: read");
	if (!r->torn)
		return 0;
	got = put(r, '\0');
	return got ? got : 1;
}

const char *csv_field(const struct csv_reader *r, unsigned i)
{
	return r->buf + r->starts[i];
}

bool csv_header_ok(const struct csv_reader *r, char *why, size_t size)
{
	for (unsigned c = 0; c < ROW_COLUMNS && c < r->fields; c++) {
		if (!strcmp(csv_field(r, c), row_columns[c].name))
			continue;
		(void)snprintf(why, size,
			       "header: column %u is \"%.40s\", not %s", c + 1,
			       csv_field(r, c), row_columns[c].name);
		return false;
	}
	if (r->fields != ROW_COLUMNS) {
		(void)snprintf(why, size, "header: %u columns, not %d",
			       r->fields, ROW_COLUMNS);
		return false;
	}
	return true;
}

/* The record as a row, which borrows the reader's buffer. */
static int read_row(const struct csv_reader *r, const char *path,
		    struct row *ret)
{
	char why[160];

	if (r->torn)
		return ms_err(-EBADMSG, "%s:%lu: the last line is torn", path,
			      r->line);
	if (r->fields != ROW_COLUMNS)
		return ms_err(-EBADMSG, "%s:%lu: %u columns, not %d", path,
			      r->line, r->fields, ROW_COLUMNS);
	row_init(ret);
	for (unsigned c = 0; c < ROW_COLUMNS; c++)
		if (row_set(ret, c, csv_field(r, c), why, sizeof(why)))
			return ms_err(-EBADMSG, "%s:%lu: %s", path, r->line,
				      why);
	return 0;
}

static int load(struct csv_reader *r, const char *path, csv_row_fn fn,
		void *arg)
{
	struct row row;
	char why[160];
	int got = csv_reader_next(r);

	if (got == 0)
		return ms_err(-EBADMSG, "%s: is empty", path);
	if (got < 0)
		return ms_err_add(got, "%s", path);
	if (!csv_header_ok(r, why, sizeof(why)))
		return ms_err(-EBADMSG, "%s:1: %s", path, why);
	for (;;) {
		got = csv_reader_next(r);
		if (got == 0)
			return 0;
		if (got < 0)
			return ms_err_add(got, "%s", path);
		got = read_row(r, path, &row);
		if (!got)
			got = fn(arg, &row);
		if (got)
			return got;
	}
}

int csv_load(const char *path, csv_row_fn fn, void *arg)
{
	struct csv_reader r;
	char *full = csv_path(path);
	FILE *file = NULL;
	int err = 0;

	if (!full)
		return ms_err(-ENOMEM, "csv: load %s", path);
	file = fopen(full, "re");
	if (!file) {
		err = ms_err(-errno, "csv: open %s", full);
		free(full);
		return err;
	}
	csv_reader_init(&r, file);
	err = load(&r, full, fn, arg);
	csv_reader_release(&r);
	(void)fclose(file);
	free(full);
	return err;
}

struct table *table_new(void)
{
	return calloc(1, sizeof(struct table));
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->texts[i]);
	free(t->texts);
	free(t->rows);
	free(t);
}

static int grow(struct table *t)
{
	size_t size = t->size ? 2 * t->size : 256;
	struct row *rows = NULL;
	char **texts = NULL;

	if (t->n < t->size)
		return 0;
	rows = reallocarray(t->rows, size, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	texts = reallocarray(t->texts, size, sizeof(*texts));
	if (!texts)
		return -ENOMEM;
	t->texts = texts;
	t->size = size;
	return 0;
}

static bool is_string(unsigned col)
{
	return row_columns[col].type == ROW_T_NAME ||
	       row_columns[col].type == ROW_T_TEXT;
}

int table_add(struct table *t, const struct row *row)
{
	struct row copy = *row;
	char number[ROW_NUMBER_MAX];
	size_t len = 1;
	char *at = NULL;

	if (grow(t))
		return ms_err(-ENOMEM, "csv: table");
	for (unsigned c = 0; c < ROW_COLUMNS; c++)
		if (is_string(c))
			len += strlen(row_text(row, c, number)) + 1;
	at = malloc(len);
	if (!at)
		return ms_err(-ENOMEM, "csv: table");
	t->texts[t->n] = at;
	for (unsigned c = 0; c < ROW_COLUMNS; c++) {
		const char **text = NULL;

		if (!is_string(c))
			continue;
		text = (const char **)((char *)&copy + row_columns[c].offset);
		len = strlen(row_text(row, c, number)) + 1;
		memcpy(at, row_text(row, c, number), len);
		*text = at;
		at += len;
	}
	t->rows[t->n++] = copy;
	return 0;
}

static int add_row(void *arg, const struct row *row)
{
	return table_add(arg, row);
}

int table_load(struct table *t, const char *path)
{
	return csv_load(path, add_row, t);
}

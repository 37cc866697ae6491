/* SPDX-License-Identifier: Apache-2.0 */
/* The appending side of runs.csv: lock, repair, one write per group of rows. */
#include "harness/record/csv.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct csv {
	int fd;
	unsigned flags;
	char *path;
	char *note; /* what was repaired */
};

void csv_put_field(FILE *out, const char *text)
{
	if (!text[strcspn(text, ",\"\r\n")]) {
		(void)fputs(text, out);
		return;
	}
	(void)fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			(void)fputc('"', out);
		(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

void csv_put_header(FILE *out)
{
	for (int c = 0; c < ROW_COLUMNS; c++)
		(void)fprintf(out, "%s%s", c ? "," : "", row_columns[c].name);
	(void)fputc('\n', out);
}

void csv_put_row(FILE *out, const struct row *row)
{
	char number[ROW_NUMBER_MAX];

	for (int c = 0; c < ROW_COLUMNS; c++) {
		if (c)
			(void)fputc(',', out);
		csv_put_field(out, row_text(row, c, number));
	}
	(void)fputc('\n', out);
}

char *csv_path(const char *path)
{
	struct stat st;
	char *full = NULL;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return strdup(path);
	if (asprintf(&full, "%s/%s", path, CSV_FILE) < 0)
		return NULL;
	return full;
}

/* Write all of it at the end of the file, or leave the file as it was. */
static int append(struct csv *csv, const char *data, size_t len)
{
	struct stat before;
	ssize_t done = 0;
	int err = 0;

	if (fstat(csv->fd, &before))
		return ms_err(-errno, "csv: stat %s", csv->path);
	do
		done = write(csv->fd, data, len);
	while (done < 0 && errno == EINTR);
	if (done == (ssize_t)len) {
		if ((csv->flags & CSV_SYNC) && fsync(csv->fd))
			return ms_err(-errno, "csv: sync %s", csv->path);
		return 0;
	}
	err = done < 0 ? -errno : -ENOSPC;
	if (done > 0 && ftruncate(csv->fd, before.st_size))
		return ms_err(-errno, "csv: take back a short write to %s",
			      csv->path);
	return ms_err(err, "csv: write to %s", csv->path);
}

static int write_header(struct csv *csv)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int err = 0;

	if (!out)
		return ms_err(-ENOMEM, "csv: header");
	csv_put_header(out);
	if (fclose(out))
		err = ms_err(-ENOMEM, "csv: header");
	else
		err = append(csv, text, len);
	free(text);
	return err;
}

/* What the repair has to know: where the rows of the last run begin. */
struct scan {
	long long run_start; /* first record of the last run */
	unsigned long run_rows;
	char *run[COL_REPETITION + 1]; /* the fields that name that run */
	bool torn;
	bool header_torn;
};

/* The columns that name a run: those up to repetition, but not measured. */
static bool names_run(unsigned col)
{
	return col <= COL_REPETITION && col != COL_RTT_MS_MEASURED &&
	       col != COL_RATE_MBIT_MEASURED;
}

/*
 * Does the record belong to the run of the last one? Of a torn record only
 * the fields before the last count, and too few of them count as the same: a
 * run too many is repeated, one too few would stay half recorded.
 */
static bool same_run(const struct scan *s, const struct csv_reader *r)
{
	unsigned whole = r->torn && r->fields ? r->fields - 1 : r->fields;

	for (unsigned c = 0; c <= COL_REPETITION && c < whole; c++)
		if (names_run(c) &&
		    (!s->run[c] || strcmp(s->run[c], csv_field(r, c)) != 0))
			return false;
	return true;
}

static void scan_release(struct scan *s)
{
	for (unsigned c = 0; c <= COL_REPETITION; c++) {
		free(s->run[c]);
		s->run[c] = NULL;
	}
}

static int scan_record(struct scan *s, const struct csv_reader *r)
{
	if (r->torn) {
		s->torn = true;
		if (s->run_rows && same_run(s, r))
			return 0;
		s->run_start = r->offset;
		s->run_rows = 0;
		return 0;
	}
	if (s->run_rows && same_run(s, r)) {
		s->run_rows++;
		return 0;
	}
	scan_release(s);
	s->run_start = r->offset;
	s->run_rows = 1;
	for (unsigned c = 0; c <= COL_REPETITION && c < r->fields; c++) {
		s->run[c] = strdup(csv_field(r, c));
		if (!s->run[c])
			return -ENOMEM;
	}
	return 0;
}

/* Only a beginning of our own header may be cut; anything else is a file
 * that is not ours. */
static bool torn_header(const struct csv_reader *r)
{
	if (r->fields > ROW_COLUMNS)
		return false;
	for (unsigned c = 0; c + 1 < r->fields; c++)
		if (strcmp(csv_field(r, c), row_columns[c].name) != 0)
			return false;
	return !strncmp(csv_field(r, r->fields - 1),
			row_columns[r->fields - 1].name,
			strlen(csv_field(r, r->fields - 1)));
}

static int scan_header(struct csv *csv, struct csv_reader *r, struct scan *s)
{
	char why[160];
	int got = csv_reader_next(r);

	if (got < 0)
		return ms_err_add(got, "%s", csv->path);
	if (got == 0)
		return 0;
	if (r->torn && torn_header(r)) {
		s->torn = true;
		s->header_torn = true;
		return 0;
	}
	if (!csv_header_ok(r, why, sizeof(why)))
		return ms_err(-EBADMSG, "%s: %s", csv->path, why);
	return 1;
}

/*
 * A bad record in the middle is left to the checker. So is a last record of
 * several lines: we never write one, so it is an open quote somewhere above
 * and cutting would take good rows.
 */
static int scan_tail(struct csv *csv, struct csv_reader *r, struct scan *s)
{
	int got = csv_reader_next(r);

	if (got == -EBADMSG && !r->torn)
		return 1;
	if (got < 0 && got != -EBADMSG)
		return got;
	if (got == 0)
		return 0;
	if (r->torn && r->next_line != r->line)
		return ms_err(-EBADMSG, "%s:%lu: a quote is not closed",
			      csv->path, r->line);
	if (scan_record(s, r))
		return ms_err(-ENOMEM, "csv: scan %s", csv->path);
	return r->torn ? 0 : 1;
}

static int scan_file(struct csv *csv, FILE *file, struct scan *s)
{
	struct csv_reader r;
	int got = 0;

	csv_reader_init(&r, file);
	got = scan_header(csv, &r, s);
	while (got > 0)
		got = scan_tail(csv, &r, s);
	csv_reader_release(&r);
	return got;
}

static int repair(struct csv *csv, const struct scan *s)
{
	long long end = s->header_torn ? 0 : s->run_start;
	int n = 0;

	if (ftruncate(csv->fd, end))
		return ms_err(-errno, "csv: cut the torn end of %s", csv->path);
	n = asprintf(&csv->note,
		     "%s: the last line was torn; cut it away with %lu whole "
		     "rows of the same run, which will be repeated",
		     csv->path, s->header_torn ? 0 : s->run_rows);
	if (n < 0) {
		csv->note = NULL;
		return ms_err(-ENOMEM, "csv: repair %s", csv->path);
	}
	return 0;
}

static int look_over(struct csv *csv)
{
	struct scan s = {0};
	struct stat st;
	FILE *file = NULL;
	int err = 0;

	file = fopen(csv->path, "re");
	if (!file)
		return ms_err(-errno, "csv: read %s", csv->path);
	err = scan_file(csv, file, &s);
	(void)fclose(file);
	scan_release(&s);
	if (!err && s.torn)
		err = repair(csv, &s);
	if (err)
		return err;
	if (fstat(csv->fd, &st))
		return ms_err(-errno, "csv: stat %s", csv->path);
	return st.st_size == 0 ? write_header(csv) : 0;
}

int csv_open(const char *dir, unsigned flags, struct csv **ret)
{
	struct csv *csv = calloc(1, sizeof(*csv));
	int err = 0;

	if (!csv)
		return ms_err(-ENOMEM, "csv: open %s", dir);
	csv->flags = flags;
	csv->fd = -1;
	if (asprintf(&csv->path, "%s/%s", dir, CSV_FILE) < 0) {
		csv->path = NULL;
		err = ms_err(-ENOMEM, "csv: open %s", dir);
		goto fail;
	}
	csv->fd =
		open(csv->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (csv->fd < 0) {
		err = ms_err(-errno, "csv: open %s", csv->path);
		goto fail;
	}
	if (flock(csv->fd, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK
			      ? ms_err(-EBUSY,
				       "csv: %s is being written by "
				       "another runner",
				       csv->path)
			      : ms_err(-errno, "csv: lock %s", csv->path);
		goto fail;
	}
	err = look_over(csv);
	if (err)
		goto fail;
	*ret = csv;
	return 0;
fail:
	(void)csv_close(csv);
	return err;
}

const char *csv_note(const struct csv *csv)
{
	return csv->note;
}

static void keep_first(void *arg, const char *text)
{
	char *first = arg;

	if (!*first)
		(void)snprintf(first, 256, "%s", text);
}

int csv_append(struct csv *csv, const struct row *rows, size_t n)
{
	char why[256] = "";
	char *text = NULL;
	size_t len = 0;
	FILE *out = NULL;
	int err = 0;

	for (size_t i = 0; i < n; i++)
		if (row_check(&rows[i], keep_first, why))
			return ms_err(-EINVAL, "csv: row %zu: %s", i, why);
	if (!n)
		return 0;
	out = open_memstream(&text, &len);
	if (!out)
		return ms_err(-ENOMEM, "csv: append");
	for (size_t i = 0; i < n; i++)
		csv_put_row(out, &rows[i]);
	if (fclose(out))
		err = ms_err(-ENOMEM, "csv: append");
	else
		err = append(csv, text, len);
	free(text);
	return err;
}

int csv_close(struct csv *csv)
{
	int err = 0;

	if (!csv)
		return 0;
	if (csv->fd >= 0 && close(csv->fd))
		err = ms_err(-errno, "csv: close %s", csv->path);
	free(csv->note);
	free(csv->path);
	free(csv);
	return err;
}

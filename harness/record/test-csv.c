/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading runs.csv: round trips, quoting, torn lines, the lock. */
#include "harness/record/csv.h"
#include "harness/record/test-rows.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct csv *must_open(void)
{
	struct csv *csv = NULL;
	int err = csv_open(test_dir(), 0, &csv);

	if (err)
		(void)fprintf(stderr, "%s\n", ms_err_text());
	CHECK_EQ(err, 0);
	return csv;
}

static struct table *must_load(void)
{
	struct table *t = table_new();

	CHECK(t);
	CHECK_EQ(table_load(t, test_dir()), 0);
	return t;
}

static void check_same(const struct row *a, const struct row *b)
{
	char x[ROW_NUMBER_MAX];
	char y[ROW_NUMBER_MAX];

	for (int c = 0; c < ROW_COLUMNS; c++)
		CHECK_STR(row_text(a, c, x), row_text(b, c, y));
}

static void start_over(void)
{
	(void)unlink(test_path(CSV_FILE));
}

static void round_trip(void)
{
	struct row rows[2] = {good_row(), good_row()};
	struct csv *csv = must_open();
	struct table *t = NULL;

	rows[0].pipeline = "a,\"b\",,c\"";
	rows[0].placement = "\"";
	rows[1].status = ROW_SKIPPED;
	rows[1].reason = "no nbd, \"really\"";
	rows[1].value = (double)NAN;
	rows[1].verified = 0;
	CHECK(!csv_note(csv));
	CHECK_EQ(csv_append(csv, rows, 2), 0);
	CHECK_EQ(csv_close(csv), 0);
	t = must_load();
	CHECK_EQ(t->n, 2);
	check_same(&rows[0], &t->rows[0]);
	check_same(&rows[1], &t->rows[1]);
	CHECK(t->rows[0].value == 101.25);
	CHECK(isnan(t->rows[1].value));
	CHECK_EQ(t->rows[0].workers == ROW_NO_COUNT, 1);
	table_free(t);
	start_over();
}

static void numbers_round_trip(void)
{
	static const double reals[] = {
		0,	0.1,	    1.0 / 3,	1e6,	   123456789.125,
		1e-9,	DBL_MAX,    DBL_MIN,	5e-324,	   1e21,
		0x1p53, 0x1p53 + 2, 4294967296, 0.3 + 0.6, 20,
	};
	char text[ROW_NUMBER_MAX];

	for (size_t i = 0; i < sizeof(reals) / sizeof(*reals); i++) {
		row_format_real(reals[i], text);
		CHECK(strlen(text) < ROW_NUMBER_MAX);
		CHECK(strtod(text, NULL) == reals[i]);
	}
	row_format_real(0.1, text);
	CHECK_STR(text, "0.1");
	row_format_real(268435456, text);
	CHECK_STR(text, "268435456");
	row_format_real(1e18, text);
	CHECK_STR(text, "1e+18");
}

/* The exact bytes, so that other programs can rely on them. */
static void bytes_on_disk(void)
{
	struct row row = good_row();
	struct csv *csv = must_open();
	char *text = NULL;

	row.pipeline = "x,y";
	CHECK_EQ(csv_append(csv, &row, 1), 0);
	CHECK_EQ(csv_close(csv), 0);
	text = read_file(test_path(CSV_FILE));
	CHECK_STR(text,
		  "schema_version,run_id,experiment,approach,variant,pipeline,"
		  "workload,dataset,place,link_driver,rtt_ms,rate_mbit,"
		  "jitter_ms,loss_pct,rtt_ms_measured,rate_mbit_measured,"
		  "chunk_bytes,size_bytes,workers,repetition,metric,value,unit,"
		  "verified,status,reason,bytes_done,placement,congestion,"
		  "params\n"
		  "1,20260101-000000,read-rtt,uffd,tuned,\"x,y\",seq-read,"
		  "random:seed=1,native,emulated,20,1000,,,20.0625,990.5,4096,"
		  "1048576,,0,read_mib_s,101.25,MiB/s,1,ok,,1048576,,cubic,"
		  "access_bytes=4096;seed=1;time_limit_ms=3000\n");
	free(text);
	start_over();
}

static void writer_refuses_bad_rows(void)
{
	struct row rows[2] = {good_row(), good_row()};
	struct csv *csv = must_open();
	struct table *t = NULL;

	rows[1].unit = "GiB/s";
	CHECK_EQ(csv_append(csv, rows, 2), -EINVAL);
	CHECK_HAS(ms_err_text(), "row 1: unit");
	rows[1] = good_row();
	rows[1].reason = NULL;
	rows[1].dataset = "two\nlines";
	CHECK_EQ(csv_append(csv, rows, 2), -EINVAL);
	CHECK_HAS(ms_err_text(), "control character");
	rows[1] = good_row();
	rows[1].value = (double)INFINITY;
	CHECK_EQ(csv_append(csv, rows, 2), -EINVAL);
	CHECK_EQ(csv_append(csv, rows, 0), 0);
	CHECK_EQ(csv_close(csv), 0);
	t = must_load();
	CHECK_EQ(t->n, 0);
	table_free(t);
	start_over();
}

static void second_writer_is_refused(void)
{
	struct csv *first = must_open();
	struct csv *second = NULL;
	int status = 0;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child)
		/* Another process; the lock is the file's, not the process'. */
		_exit(csv_open(test_dir(), 0, &second) == -EBUSY ? 0 : 1);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK_EQ(status, 0);
	CHECK_EQ(csv_open(test_dir(), 0, &second), -EBUSY);
	CHECK_HAS(ms_err_text(), "another runner");
	CHECK_EQ(csv_close(first), 0);
	first = must_open();
	CHECK_EQ(csv_close(first), 0);
	start_over();
}

/* Two runs of two rows each; returns the file's text, the caller frees. */
static char *four_rows(void)
{
	struct row rows[4];
	struct csv *csv = must_open();

	for (int i = 0; i < 4; i++) {
		rows[i] = good_row();
		rows[i].repetition = i < 2 ? 0 : 1;
		if (i % 2) {
			rows[i].metric = "open_ms";
			rows[i].unit = "ms";
		}
	}
	CHECK_EQ(csv_append(csv, rows, 2), 0);
	CHECK_EQ(csv_append(csv, rows + 2, 2), 0);
	CHECK_EQ(csv_close(csv), 0);
	return read_file(test_path(CSV_FILE));
}

/* Where line i (from 0) of the text begins. */
static size_t line_start(const char *text, int i)
{
	const char *at = text;

	while (i--)
		at = strchr(at, '\n') + 1;
	return (size_t)(at - text);
}

/* Rows (not the header) that are whole within the first `cut` bytes. */
static size_t lines_before(const char *text, size_t cut)
{
	size_t n = 0;

	for (size_t i = 0; i < cut; i++)
		n += text[i] == '\n';
	return n ? n - 1 : 0;
}

/*
 * Cut the file at every byte: opening it must leave whole runs only, say so
 * exactly when something was cut, and leave a file that can be read.
 */
static void every_torn_file_is_repaired(void)
{
	char *text = four_rows();
	size_t len = strlen(text);
	size_t second = line_start(text, 3);

	for (size_t cut = 0; cut <= len; cut++) {
		bool whole = cut == 0 || text[cut - 1] == '\n';
		struct csv *csv = NULL;
		struct table *t = NULL;

		write_file(CSV_FILE, text, cut);
		csv = must_open();
		CHECK_EQ(!csv_note(csv), whole);
		CHECK_EQ(csv_close(csv), 0);
		t = must_load();
		/* Whole lines stay; of a torn run none does. Where so little
		 * is left that it could be either run, both are repeated. */
		if (whole)
			CHECK_EQ(t->n, lines_before(text, cut));
		else
			CHECK(t->n == 0 || (t->n == 2 && cut > second));
		table_free(t);
	}
	free(text);
	start_over();
}

static void torn_run_is_dropped_as_a_whole(void)
{
	char *text = four_rows();
	struct csv *csv = NULL;
	struct table *t = NULL;

	/* The fourth row is torn behind its repetition: so row three goes. */
	write_file(CSV_FILE, text, strlen(text) - 20);
	csv = must_open();
	CHECK_HAS(csv_note(csv), "torn");
	CHECK_HAS(csv_note(csv), "1 whole row");
	CHECK_EQ(csv_close(csv), 0);
	t = must_load();
	CHECK_EQ(t->n, 2);
	table_free(t);
	free(text);
	start_over();
}

static void open_refuses(const char *text, const char *what)
{
	struct csv *csv = NULL;
	char *after = NULL;

	write_file(CSV_FILE, text, strlen(text));
	CHECK_EQ(csv_open(test_dir(), 0, &csv), -EBADMSG);
	CHECK_HAS(ms_err_text(), what);
	after = read_file(test_path(CSV_FILE));
	CHECK_STR(after, text); /* nothing of somebody's file was cut */
	free(after);
	start_over();
}

static void foreign_files_are_left_alone(void)
{
	char *text = four_rows();
	char *open_quote = NULL;

	open_refuses("a,b,c\n1,2,3\n", "header");
	open_refuses("not ours", "header");
	CHECK(asprintf(&open_quote, "%s1,\"x,\n1,y\n1,z\n", text) > 0);
	open_refuses(open_quote, "not closed");
	free(open_quote);
	free(text);
}

static void reading_refuses(const char *text, size_t len, const char *what)
{
	struct table *t = table_new();

	CHECK(t);
	write_file("bad.csv", text, len);
	CHECK_EQ(table_load(t, test_path("bad.csv")), -EBADMSG);
	CHECK_HAS(ms_err_text(), what);
	table_free(t);
}

static void bad_files_are_refused(void)
{
	char *text = four_rows();
	struct table *t = table_new();
	char *huge = calloc(1, CSV_RECORD_MAX + 2);

	CHECK(t && huge);
	reading_refuses("", 0, "empty");
	reading_refuses(text, strlen(text) - 3, "torn");
	reading_refuses("a\"b\n", 4, "quote");
	reading_refuses("\"a\"b\n", 5, "behind a quote");
	reading_refuses("a\0b\n", 4, "NUL");
	memset(huge, 'x', CSV_RECORD_MAX + 1);
	reading_refuses(huge, CSV_RECORD_MAX + 1, "longer");
	memset(huge, ',', CSV_RECORD_MAX);
	reading_refuses(huge, CSV_RECORD_MAX / 2, "header");
	CHECK_EQ(table_load(t, test_path("absent.csv")), -ENOENT);
	table_free(t);
	free(huge);
	free(text);
	start_over();
}

static void crlf_is_read(void)
{
	char *text = four_rows();
	char *crlf = calloc(2, strlen(text) + 1);
	struct table *t = table_new();
	char *to = crlf;

	CHECK(crlf && t);
	for (const char *from = text; *from; from++) {
		if (*from == '\n')
			*to++ = '\r';
		*to++ = *from;
	}
	write_file("crlf.csv", crlf, strlen(crlf));
	CHECK_EQ(table_load(t, test_path("crlf.csv")), 0);
	CHECK_EQ(t->n, 4);
	CHECK_STR(t->rows[3].params, good_row().params);
	table_free(t);
	free(crlf);
	free(text);
	start_over();
}

static int stop_at_two(void *arg, const struct row *row)
{
	int *n = arg;

	(void)row;
	return ++*n == 2 ? 42 : 0;
}

static void callback_ends_reading(void)
{
	char *text = four_rows();
	int n = 0;

	CHECK_EQ(csv_load(test_dir(), stop_at_two, &n), 42);
	CHECK_EQ(n, 2);
	free(text);
	start_over();
}

/*
 * A disk that fills up in the middle of a write must not keep half a run. The
 * limit on the file's size stands in for the disk: write() comes back short.
 */
static void short_write_is_taken_back(void)
{
	struct row rows[4] = {good_row(), good_row(), good_row(), good_row()};
	struct csv *csv = must_open();
	struct rlimit old;
	struct rlimit small;
	struct stat before;
	struct stat after;

	CHECK(!getrlimit(RLIMIT_FSIZE, &old));
	CHECK_EQ(csv_append(csv, rows, 1), 0);
	CHECK(!stat(test_path(CSV_FILE), &before));
	CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	small = old;
	small.rlim_cur = (rlim_t)before.st_size + 300;
	CHECK(!setrlimit(RLIMIT_FSIZE, &small));
	CHECK_EQ(csv_append(csv, rows, 4), -ENOSPC);
	CHECK(!setrlimit(RLIMIT_FSIZE, &old));
	CHECK(!stat(test_path(CSV_FILE), &after));
	CHECK_EQ(after.st_size, before.st_size);
	CHECK_EQ(csv_append(csv, rows, 4), 0);
	CHECK_EQ(csv_close(csv), 0);
	start_over();
}

int main(void)
{
	round_trip();
	numbers_round_trip();
	bytes_on_disk();
	writer_refuses_bad_rows();
	second_writer_is_refused();
	every_torn_file_is_repaired();
	torn_run_is_dropped_as_a_whole();
	foreign_files_are_left_alone();
	bad_files_are_refused();
	crlf_is_read();
	callback_ends_reading();
	short_write_is_taken_back();
	test_dir_remove();
	return 0;
}

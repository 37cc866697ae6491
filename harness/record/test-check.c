/* SPDX-License-Identifier: Apache-2.0 */
/* The checker finds each kind of fault, at its line, and nothing in a good
 * file. */
#include "harness/record/check.h"
#include "harness/record/csv.h"
#include "harness/record/test-rows.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>

/* Rows written without the writer's own checks. */
static void write_rows(const struct row *rows, size_t n)
{
	FILE *f = fopen(test_path(CSV_FILE), "we");

	CHECK(f);
	csv_put_header(f);
	for (size_t i = 0; i < n; i++)
		csv_put_row(f, &rows[i]);
	CHECK(!fclose(f));
}

/* Check the file and return the problems; the report goes to `ret`. */
static int run_check(char **ret)
{
	size_t len = 0;
	FILE *out = open_memstream(ret, &len);
	int got = 0;

	CHECK(out);
	got = csv_check(test_dir(), out);
	CHECK(!fclose(out));
	return got;
}

static void expect(int problems, const char *what)
{
	char *text = NULL;
	int got = run_check(&text);

	if (got != problems || (what && !strstr(text, what)))
		(void)fprintf(stderr, "wanted %d \"%s\", got %d:\n%s", problems,
			      what ? what : "", got, text);
	CHECK_EQ(got, problems);
	CHECK(!what || strstr(text, what));
	free(text);
}

static void good_files_pass(void)
{
	struct row rows[4] = {good_row(), good_row(), good_row(), good_row()};

	write_rows(rows, 0);
	expect(0, NULL);
	rows[1].repetition = 1;
	rows[2].metric = "bound_read_mib_s";
	rows[2].verified = 0;
	rows[3].metric = "cpu_link_s";
	rows[3].unit = "s";
	rows[3].verified = 0;
	write_rows(rows, 4);
	expect(0, NULL);
	rows[0].status = ROW_SKIPPED;
	rows[0].reason = "not built yet";
	rows[0].value = (double)NAN;
	rows[0].metric = NULL;
	rows[0].unit = NULL;
	rows[0].verified = 0;
	write_rows(rows, 1);
	expect(0, NULL);
}

/* Take a good row, spoil it, and look for the sentence on line 2. */
#define BAD(what, ...)                          \
	do {                                    \
		struct row row = good_row();    \
		__VA_ARGS__;                    \
		write_rows(&row, 1);            \
		expect(1, "runs.csv:2: " what); \
	} while (0)

static void each_bad_row_is_found(void)
{
	BAD("schema_version", row.schema_version = 2);
	BAD("run_id: is empty", row.run_id = NULL);
	BAD("run_id", row.run_id = "../../etc");
	BAD("experiment", row.experiment = "a b");
	BAD("experiment", row.experiment = ".hidden");
	BAD("approach: \"ufdf\"", row.approach = "ufdf");
	BAD("workload: is empty", row.workload = NULL);
	BAD("place: is empty", row.place = 0);
	BAD("link_driver: is empty", row.link_driver = 0);
	BAD("rtt_ms: \"-1\" is negative", row.rtt_ms = -1);
	BAD("loss_pct: \"101\" is too large", row.loss_pct = 101);
	BAD("size_bytes: is empty", row.size_bytes = ROW_NO_COUNT);
	BAD("repetition: is empty", row.repetition = ROW_NO_COUNT);
	BAD("metric: \"read_gib_s\"", row.metric = "read_gib_s");
	BAD("metric: \"bound_cpu_link_s\"", row.metric = "bound_cpu_link_s");
	BAD("metric: is empty", row.metric = NULL; row.unit = NULL);
	BAD("value: is empty", row.value = (double)NAN);
	BAD("value: \"inf\" is not a finite", row.value = (double)INFINITY);
	BAD("value: \"-3\" is negative", row.value = -3);
	BAD("unit: \"MB/s\", but read_mib_s is in MiB/s", row.unit = "MB/s");
	BAD("unit: is empty", row.unit = NULL);
	BAD("verified: read_mib_s is ok but was not", row.verified = 0);
	BAD("reason: given", row.reason = "because");
	BAD("params: \"seed\" is not key=value", row.params = "seed");
	BAD("params: \"=3\" is not key=value", row.params = "=3");
	BAD("params: \"a\" is not in order", row.params = "b=1;a=2");
	BAD("params: \"a\" is not in order", row.params = "a=1;a=2");
	BAD("params: ends in ;", row.params = "a=1;");
}

static void status_and_its_columns(void)
{
	BAD("reason: is empty", row.status = ROW_FAILED;
	    row.value = (double)NAN; row.verified = 0);
	BAD("reason: is empty", row.status = ROW_REFUSED;
	    row.value = (double)NAN; row.verified = 0);
	BAD("reason: is empty", row.status = ROW_SKIPPED;
	    row.value = (double)NAN; row.verified = 0);
	BAD("value: given", row.status = ROW_FAILED; row.reason = "x";
	    row.verified = 0);
	BAD("verified: 1, but", row.status = ROW_FAILED; row.reason = "x";
	    row.value = (double)NAN);
}

static void measured_link_must_fit(void)
{
	struct row wide = good_row();

	BAD("rtt_ms_measured: 21.5, but rtt_ms is 20",
	    row.rtt_ms_measured = 21.5);
	BAD("rtt_ms_measured: 18.75", row.rtt_ms_measured = 18.75);
	BAD("rtt_ms_measured: 0.5, but rtt_ms is 0", row.rtt_ms = 0;
	    row.rtt_ms_measured = 0.5);
	BAD("rtt_ms_measured: is empty", row.rtt_ms_measured = (double)NAN);
	BAD("rate_mbit_measured: 880", row.rate_mbit_measured = 880);
	BAD("rtt_ms: 20, but link_driver is none",
	    row.link_driver = ROW_LINK_NONE);
	wide.rtt_ms_measured = 20.9;
	wide.rate_mbit_measured = 910;
	write_rows(&wide, 1);
	expect(0, NULL);
	wide.rtt_ms_measured = 24;
	wide.jitter_ms = 4;
	wide.loss_pct = 1;
	wide.rate_mbit_measured = 300;
	write_rows(&wide, 1);
	expect(0, NULL);
}

static void bad_text_is_found(void)
{
	char *good = NULL;
	char *text = NULL;
	struct row row = good_row();

	write_file(CSV_FILE, "", 0);
	expect(1, "is empty");
	write_file(CSV_FILE, "schema_version,run\n", 19);
	expect(1, "runs.csv:1: header: column 2 is \"run\", not run_id");
	write_rows(&row, 1);
	good = read_file(test_path(CSV_FILE));
	CHECK(asprintf(&text, "%s1,2,3\n%s", good, strchr(good, '\n') + 1) > 0);
	write_file(CSV_FILE, text, strlen(text));
	expect(2, "runs.csv:3: 3 columns, not 30");
	expect(2, "runs.csv:4: the same run and metric as line 2");
	write_file(CSV_FILE, text, strlen(text) - 1);
	expect(2, "runs.csv:4: the last line is torn");
	free(text);
	CHECK(asprintf(&text, "%sx\"y\n1,2\n", good) > 0);
	write_file(CSV_FILE, text, strlen(text));
	expect(2, "line 3: a quote within a field");
	expect(2, "runs.csv:4: 2 columns");
	free(text);
	*strstr(good, ",params") = ';';
	write_file(CSV_FILE, good, strlen(good));
	expect(1, "header: column 29");
	free(good);
}

static void bad_number(const char *number, const char *what)
{
	struct row row = good_row();
	char *good = NULL;
	char *text = NULL;
	char *at = NULL;

	write_rows(&row, 1);
	good = read_file(test_path(CSV_FILE));
	at = strstr(good, ",101.25,");
	CHECK(at);
	*at = '\0';
	CHECK(asprintf(&text, "%s,%s,%s", good, number, at + 8) > 0);
	write_file(CSV_FILE, text, strlen(text));
	expect(1, what);
	free(text);
	free(good);
}

static void bad_numbers_are_found(void)
{
	bad_number("nan", "value: \"nan\" is not a finite number");
	bad_number("inf", "not a finite number");
	bad_number("1e999", "not a finite number");
	bad_number("0x10", "not a finite number");
	bad_number("12abc", "not a finite number");
	bad_number(" 12", "not a finite number");
	bad_number("1..2", "not a finite number");
	bad_number("-0.5", "is negative");
}

static void duplicates_are_found(void)
{
	struct row rows[3] = {good_row(), good_row(), good_row()};

	rows[1].repetition = 1;
	rows[2].value = 7; /* another value is still the same measurement */
	write_rows(rows, 3);
	expect(1, "runs.csv:4: the same run and metric as line 2");
	rows[2].run_id = "other";
	write_rows(rows, 3);
	expect(0, NULL);
}

/* Two series, one of them spoiled. */
#define UNFAIR(problems, what, ...)                            \
	do {                                                   \
		struct row rows[2] = {good_row(), good_row()}; \
		struct row *row = &rows[1];                    \
		row->variant = "thesis";                       \
		__VA_ARGS__;                                   \
		write_rows(rows, 2);                           \
		expect(problems, what);                        \
	} while (0)

static void unfair_series_are_found(void)
{
	UNFAIR(0, NULL, (void)row);
	UNFAIR(1, "tuned has size_bytes 1048576", row->size_bytes = 4096);
	UNFAIR(1, "unfair: in read-rtt, uffd", row->chunk_bytes = 65536;
	       row->variant = "other");
	/* The chunk of the variant thesis is part of what it is. */
	UNFAIR(0, NULL, row->chunk_bytes = 65536);
	UNFAIR(1, "dataset", row->dataset = "random:seed=2");
	UNFAIR(1, "time_limit_ms",
	       row->params = "access_bytes=4096;seed=1;time_limit_ms=9000");
	UNFAIR(1, "tuned has seed 1, but uffd thesis has 2",
	       row->params = "access_bytes=4096;seed=2;time_limit_ms=3000");
	UNFAIR(1, "both places", row->place = ROW_VM);
	/* What does not apply to a series is not compared. */
	UNFAIR(0, NULL, row->approach = "memory";
	       row->chunk_bytes = ROW_NO_COUNT);
	/* Another figure or another link is another comparison. */
	UNFAIR(0, NULL, row->experiment = "other"; row->size_bytes = 4096);
	UNFAIR(0, NULL, row->rtt_ms = 5; row->rtt_ms_measured = 5;
	       row->size_bytes = 4096);
	/* A failed run takes no part. */
	UNFAIR(0, NULL, row->size_bytes = 4096; row->status = ROW_FAILED;
	       row->value = (double)NAN; row->verified = 0;
	       row->reason = "killed");
}

static void sweeps_are_fair(void)
{
	struct row rows[5];

	for (int i = 0; i < 5; i++) {
		rows[i] = good_row();
		rows[i].variant = i < 3 ? "tuned" : "other";
		rows[i].chunk_bytes = UINT64_C(4096) << (i % 3);
	}
	/* the other has two of three chunk sizes: not finished, not unfair */
	write_rows(rows, 5);
	expect(0, NULL);
	rows[4].chunk_bytes = 1 << 20;
	write_rows(rows, 5);
	expect(1, "1048576");
	/* A baseline that sorts first and has no chunk hides nothing. */
	rows[0].approach = "disk";
	rows[0].chunk_bytes = ROW_NO_COUNT;
	rows[1].chunk_bytes = 8192;
	write_rows(rows, 5);
	expect(1, "chunk_bytes");
}

static void command(void)
{
	struct row row = good_row();
	char program[] = "check";
	char dir[PATH_MAX];
	char option[] = "--no-such";
	char *bad_option[] = {program, option, NULL};
	char *none[] = {program, NULL};
	char *good[] = {program, dir, NULL};
	char missing[] = "/nonexistent/runs.csv";
	char *absent[] = {program, missing, NULL};

	(void)snprintf(dir, sizeof(dir), "%s", test_dir());
	write_rows(&row, 1);
	CHECK_EQ(cmd_check(2, good), 0);
	row.unit = "MB";
	write_rows(&row, 1);
	CHECK_EQ(cmd_check(2, good), 1);
	CHECK_EQ(cmd_check(2, absent), 1);
	CHECK_EQ(cmd_check(1, none), 2);
	CHECK_EQ(cmd_check(2, bad_option), 2);
}

int main(void)
{
	good_files_pass();
	each_bad_row_is_found();
	status_and_its_columns();
	measured_link_must_fit();
	bad_text_is_found();
	bad_numbers_are_found();
	duplicates_are_found();
	unfair_series_are_found();
	sweeps_are_fair();
	command();
	test_dir_remove();
	return 0;
}

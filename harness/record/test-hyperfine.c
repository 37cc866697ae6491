/* SPDX-License-Identifier: Apache-2.0 */
/* hyperfine's file as rows; with the real program where it is installed. */
#include "harness/record/hyperfine.h"
#include "harness/record/test-rows.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>

static int add(void *arg, const struct row *row)
{
	return table_add(arg, row);
}

static void no_problem(void *arg, const char *text)
{
	(void)arg;
	(void)fprintf(stderr, "%s\n", text);
}

static struct table *rows_of(const char *path, int want)
{
	struct table *t = table_new();
	struct row base = good_row();

	CHECK(t);
	base.approach = "rsync";
	CHECK_EQ(hyperfine_rows(path, &base, add, t), want);
	for (size_t i = 0; i < t->n; i++)
		CHECK_EQ(row_check(&t->rows[i], no_problem, NULL), 0);
	return t;
}

static struct table *rows_of_text(const char *text, int want)
{
	write_file("h.json", text, strlen(text));
	return rows_of(test_path("h.json"), want);
}

static void every_run_is_kept(void)
{
	struct table *t = rows_of_text(
		"{\"results\": [{\"command\": \"x\", \"mean\": 9, \"times\": "
		"[0.5, 0.25, 1, 2], \"exit_codes\": [0, 0, 23, null]}]}",
		0);

	CHECK_EQ(t->n, 4);
	CHECK(t->rows[0].value == 500 && t->rows[1].value == 250);
	CHECK_STR(t->rows[0].metric, "total_ms");
	CHECK_STR(t->rows[0].approach, "rsync");
	CHECK_EQ(t->rows[1].repetition, 1);
	CHECK_EQ(t->rows[2].status, ROW_FAILED);
	CHECK_STR(t->rows[2].reason, "exit status 23");
	CHECK(isnan(t->rows[2].value));
	CHECK_STR(t->rows[3].reason, "ended by a signal");
	table_free(t);
}

static void bad(const char *text, const char *what)
{
	struct table *t = rows_of_text(text, -EBADMSG);

	CHECK_EQ(t->n, 0);
	CHECK_HAS(ms_err_text(), what);
	table_free(t);
}

static void bad_files_give_no_row(void)
{
	bad("", "h.json:1");
	bad("{\"results\": [", "h.json");
	bad("[]", "0 commands");
	bad("{\"results\": [{}]}", "no times");
	bad("{\"results\": [{}, {}]}", "2 commands");
	bad("{\"results\": [{\"times\": [1, 2], \"exit_codes\": [0]}]}",
	    "2 times but 1");
	bad("{\"results\": [{\"times\": [1, \"2\"], \"exit_codes\": [0, 0]}]}",
	    "time 1");
	bad("{\"results\": [{\"times\": [1, -2], \"exit_codes\": [0, 0]}]}",
	    "time 1");
	bad("{\"results\": [{\"times\": [1], \"exit_codes\": [\"0\"]}]}",
	    "exit code 0");
	table_free(rows_of("/nonexistent.json", -ENOENT));
}

static int stop(void *arg, const struct row *row)
{
	(void)row;
	++*(int *)arg;
	return 42;
}

static void callback_ends_it(void)
{
	static const char text[] = "{\"results\": [{\"times\": [1, 1], "
				   "\"exit_codes\": [0, 0]}]}";
	struct row base = good_row();
	int n = 0;

	write_file("h.json", text, strlen(text));
	CHECK_EQ(hyperfine_rows(test_path("h.json"), &base, stop, &n), 42);
	CHECK_EQ(n, 1);
}

static void real_program(void)
{
	char command[PATH_MAX + 128];
	struct table *t = NULL;

	if (system("hyperfine --version >/dev/null 2>&1") != 0)
		SKIP("hyperfine is not installed; fixed files were tested");
	(void)snprintf(command, sizeof(command),
		       "hyperfine -N -i -r 3 -w 0 --export-json '%s' 'sleep "
		       "0.02' >/dev/null 2>&1",
		       test_path("real.json"));
	CHECK(!system(command));
	t = rows_of(test_path("real.json"), 0);
	CHECK_EQ(t->n, 3);
	for (size_t i = 0; i < 3; i++)
		CHECK(t->rows[i].value >= 20 && t->rows[i].value < 2000);
	table_free(t);
}

int main(void)
{
	every_run_is_kept();
	bad_files_give_no_row();
	callback_ends_it();
	real_program();
	test_dir_remove();
	return 0;
}

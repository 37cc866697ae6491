/* SPDX-License-Identifier: Apache-2.0 */
/* Grouping: what counts as one group, what is left out, what the files hold. */
#include "harness/record/test-rows.h"
#include "harness/stats/summary.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>

static struct table *table;

static void add(struct row row, uint64_t repetition, double value)
{
	row.repetition = repetition;
	row.value = value;
	CHECK_EQ(table_add(table, &row), 0);
}

static void add_failed(const char *metric, enum row_status status)
{
	struct row row = good_row();

	row.metric = metric;
	row.unit = NULL;
	row.status = status;
	row.reason = "x";
	row.verified = 0;
	add(row, 0, (double)NAN);
}

static void build(struct summary **s, size_t *n)
{
	CHECK_EQ(summary_build(table, s, n), 0);
}

static void fill(void)
{
	struct row row = good_row();

	table = table_new();
	CHECK(table);
	for (uint64_t i = 0; i < 5; i++) {
		row.run_id = i < 3 ? "one" : "two"; /* not part of the cell */
		row.rtt_ms_measured = 20 + (double)i / 100;
		add(row, 4 - i, (double)(i + 1));
	}
	row.verified = 0;
	add(row, 5, 1000);
	row = good_row();
	row.metric = "bound_read_mib_s";
	row.verified = 0;
	add(row, 0, 117);
	row = good_row();
	row.rtt_ms = 5;
	add(row, 0, 42);
	row.rtt_ms = 100; /* behind 20 as a number, before it as a text */
	add(row, 0, 1);
	add_failed("read_mib_s", ROW_FAILED);
	add_failed(NULL, ROW_SKIPPED);
}

static void groups(void)
{
	struct summary *s = NULL;
	struct left_out left;
	size_t n = 0;

	fill();
	build(&s, &n);
	CHECK_EQ(n, 4);
	CHECK_STR(s[0].metric, ""); /* the skipped run without a metric */
	CHECK_EQ(s[0].n, 0);
	CHECK(s[1].row->rtt_ms == 5 && s[2].row->rtt_ms == 20);
	CHECK(s[3].row->rtt_ms == 100);
	CHECK_EQ(s[2].n, 5);
	CHECK(s[2].median == 3 && s[2].min == 1 && s[2].max == 5);
	CHECK(s[2].q1 == 2 && s[2].q3 == 4);
	CHECK(s[2].bound == 117);
	CHECK(s[2].has_interval && s[2].lo >= 1 && s[2].hi <= 5);
	CHECK(s[2].lo < 3 && s[2].hi > 3);
	CHECK(s[2].values[0] == 5); /* repetition 0 was added last */
	CHECK_EQ(s[2].left_out.unverified, 1);
	CHECK_EQ(s[2].left_out.failed, 1);
	CHECK(!s[1].has_interval && isnan(s[1].bound));
	left = summary_left_out(s, n);
	CHECK_EQ(left.failed, 1);
	CHECK_EQ(left.unverified, 1);
	CHECK_EQ(left.skipped, 1);
	CHECK_EQ(left.refused, 0);
	summary_free(s, n);
	table_free(table);
}

static void empty_table(void)
{
	struct summary *s = NULL;
	size_t n = 1;

	table = table_new();
	CHECK(table);
	build(&s, &n);
	CHECK_EQ(n, 0);
	summary_free(s, n);
	table_free(table);
}

static char *warnings(void)
{
	struct summary *s = NULL;
	size_t n = 0;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	build(&s, &n);
	summary_print_warnings(s, n, out);
	CHECK(!fclose(out));
	summary_free(s, n);
	return text;
}

static void outliers_are_told(void)
{
	char *text = NULL;

	table = table_new();
	CHECK(table);
	for (uint64_t i = 0; i < 9; i++)
		add(good_row(), i, i == 0 ? 500 : 100 + (double)i);
	text = warnings();
	CHECK_STR(text, "read-rtt: uffd tuned read_mib_s: the first run is far "
			"off the others\n");
	free(text);
	table->rows[0].value = 100;
	table->rows[4].value = 5;
	text = warnings();
	CHECK_STR(text, "read-rtt: uffd tuned read_mib_s: 1 of 9 values are "
			"outliers\n");
	free(text);
	table->n = 2;
	text = warnings();
	CHECK_STR(text, "read-rtt: uffd tuned read_mib_s: only 2 values, no "
			"interval\n");
	free(text);
	table->n = 9;
	table_free(table);
}

static void files(void)
{
	struct summary *s = NULL;
	char dir[PATH_MAX];
	char *text = NULL;
	char *line = NULL;
	const char *want = NULL;
	size_t n = 0;

	fill();
	build(&s, &n);
	(void)snprintf(dir, sizeof(dir), "%s", test_path("out"));
	CHECK_EQ(summary_write_tsv(s, n, dir), 0);
	text = read_file(test_path("out/read-rtt.read_mib_s.tsv"));
	CHECK(!strncmp(text, "# left out: 1 failed, 1 skipped, 1 unverified\n",
		       46));
	line = strchr(text, '\n') + 1;
	CHECK(!strncmp(line, "approach\tvariant\tworkload\t", 26));
	CHECK_HAS(line, "\tmedian\tlo\t"
			"hi\tn\tbound\t");
	line = strchr(line, '\n') + 1;
	want = "uffd\ttuned\tseq-read\trandom:seed=1\tnative\temulated\t5\t"
	       "1000\tNaN\tNaN\t4096\t1048576\tNaN\t-\tcubic\t";
	CHECK(!strncmp(line, want, strlen(want)));
	CHECK_HAS(line, "\t42\t42\t42\t1\tNaN\t42\t42\t42\t42\n");
	line = strchr(line, '\n') + 1;
	CHECK_HAS(line, "\t5\t117\t1\t2\t4\t5\n");
	free(text);
	text = read_file(test_path("out/read-rtt.read_mib_s.values.tsv"));
	CHECK_HAS(text, "\tvalue\n");
	n = 0;
	for (char *at = text; *at; at++)
		n += *at == '\n';
	CHECK_EQ(n, 1 + 7);
	CHECK(!strstr(text, "\t1000\n"));
	free(text);
	CHECK_EQ(summary_write_tsv(s, 4, "/nonexistent/x/y"), -ENOENT);
	summary_free(s, 4);
	table_free(table);
}

int main(void)
{
	groups();
	empty_table();
	outliers_are_told();
	files();
	test_dir_remove();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The thesis' CSV files, byte for byte. */
#include "harness/record/test-rows.h"
#include "harness/record/thesis-groups.h"
#include "harness/record/thesis.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <math.h>

static struct table *table;

static struct row row_of(const char *experiment, const char *approach,
			 double rtt, const char *metric, const char *unit)
{
	struct row row = good_row();

	row.experiment = experiment;
	row.approach = approach;
	row.variant = "thesis";
	row.rtt_ms = rtt;
	row.rtt_ms_measured = rtt;
	row.metric = metric;
	row.unit = unit;
	return row;
}

static void add(struct row row, uint64_t repetition, double value)
{
	row.repetition = repetition;
	row.value = value;
	CHECK_EQ(table_add(table, &row), 0);
}

static void start(void)
{
	table = table_new();
	CHECK(table);
}

/* Write all groups; the report is returned, the caller frees. */
static char *convert(int want)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	CHECK_EQ(thesis_csv_write(table, test_dir(), out), want);
	CHECK(!fclose(out));
	table_free(table);
	return text;
}

static void expect_file(const char *group, const char *want)
{
	char name[PATH_MAX];
	char *text = NULL;

	(void)snprintf(name, sizeof(name), "%s/results.csv", group);
	text = read_file(test_path(name));
	CHECK_STR(text, want);
	free(text);
}

static void no_label(void)
{
	char *report = NULL;
	struct row r;

	start();
	for (uint64_t i = 0; i < 3; i++) {
		r = row_of("first-chunk-rtt0", "uffd", 0, "first_access_us",
			   "us");
		add(r, 2 - i, 58.25 + (double)i);
		r.variant = "tuned"; /* not what the thesis ran */
		add(r, i, 1);
		r.variant = "thesis";
		r.verified = 0; /* nor is this to be shown */
		add(r, 9 + i, 1);
		if (i == 2)
			continue;
		r = row_of("first-chunk-rtt0", "memory", (double)NAN,
			   "first_access_us", "us");
		r.variant = NULL;
		add(r, i, 0.767);
	}
	report = convert(1);
	CHECK_HAS(report, "latency-first-chunk-rtt0/results.csv: 3 rows\n");
	CHECK_HAS(report, "throughput-allvar: not written");
	expect_file("latency-first-chunk-rtt0",
		    "First Chunk Latency for Disk (0ms RTT) (ns),"
		    "First Chunk Latency for Memory (0ms RTT) (ns),"
		    "First Chunk Latency for userfaultfd (0ms RTT) (ns),"
		    "First Chunk Latency for Direct Mounts (0ms RTT) (ns),"
		    "First Chunk Latency for Managed Mounts (0ms RTT) (ns)\n"
		    ",767,60250,,\n"
		    ",767,59250,,\n"
		    ",,58250,,\n");
	free(report);
}

static void rtt_label(void)
{
	static const double rtts[] = {20, 4, 0};
	char *report = NULL;

	start();
	for (int k = 0; k < 3; k++)
		for (uint64_t i = 0; i < 2; i++)
			add(row_of("throughput-rtt", "uffd", rtts[k],
				   "read_mib_s", "MiB/s"),
			    i, rtts[k] + 0.125 * (double)(i + 1));
	add(row_of("throughput-rttvar", "nbd-managed", 4, "read_mib_s",
		   "MiB/s"),
	    0, 1250.5);
	report = convert(1);
	expect_file("throughput-rttvar",
		    "RTT (ms),Throughput for userfaultfd (MB/s),"
		    "Throughput for Direct Mounts (MB/s),"
		    "Throughput for Managed Mounts (MB/s)\n"
		    "0ms,0.125,,\n"
		    ",0.25,,\n"
		    "4ms,4.125,,1250.5\n"
		    ",4.25,,\n"
		    "20ms,20.125,,\n"
		    ",20.25,,\n");
	free(report);
}

static void two_labels(void)
{
	struct row r;
	char *report = NULL;

	start();
	for (uint64_t w = 16; w; w = w == 16 ? 1 : 0) {
		r = row_of("preemptive-pull", "nbd-managed", 3,
			   "pulled_open_bytes", "bytes");
		r.workers = w;
		add(r, 0, 4096 * (double)w);
		add(r, 1, 8192 * (double)w);
	}
	r = row_of("throughput-stores-rtt", "nbd-direct", 2, "read_mib_s",
		   "MiB/s");
	r.params = "store=redis";
	add(r, 0, 13.5);
	r.params = "store=file";
	add(r, 0, 28);
	r.approach = "nbd-managed";
	add(r, 0, 200);
	report = convert(2);
	expect_file("latency-preemptive-pull",
		    "RTT (ms),Worker,"
		    "Preemptive Pulls for Managed Mounts (Byte)\n"
		    "3ms,1,4096\n"
		    ",,8192\n"
		    "3ms,16,65536\n"
		    ",,131072\n");
	expect_file("throughput-allvar",
		    "RTT,Service,Throughput for Direct Mounts (MB/s),"
		    "Throughput for Managed Mounts (MB/s)\n"
		    "2ms,file,28,200\n"
		    "2ms,redis,13.5,\n");
	free(report);
}

static void params_select_columns(void)
{
	struct row r;
	char *report = NULL;

	start();
	r = row_of("polling-udev", "nbd-direct", 0, "open_ms", "ms");
	r.params = "ready=udev";
	add(r, 0, 14.8);
	r.params = "ready=poll";
	add(r, 0, 11.7);
	r.params = "ready=guess";
	add(r, 0, 1);
	report = convert(1);
	expect_file("latency-polling-udev",
		    "Direct Mount Initialization Time (Polling) (ns),"
		    "Direct Mount Initialization Time (udev) (ns)\n"
		    "11700000,14800000\n");
	free(report);
}

static void mixed_cells_are_refused(void)
{
	struct row r =
		row_of("throughput-rtt", "uffd", 4, "read_mib_s", "MiB/s");
	char *report = NULL;

	start();
	add(r, 0, 1);
	r.rate_mbit = 100;
	add(r, 1, 2);
	report = convert(-EINVAL);
	CHECK_HAS(ms_err_text(), "differ in rate_mbit");
	free(report);
}

static void column_is_sound(const struct thesis_column *c)
{
	bool known = false;

	for (int a = 0; row_approaches[a]; a++)
		known |= !strcmp(row_approaches[a], c->approach);
	CHECK(known);
	CHECK(!c->param || strchr(c->param, '='));
	CHECK(c->header && *c->header);
}

/* Every metric and approach of the table exists, and columns fit. */
static void table_is_sound(void)
{
	CHECK_EQ(thesis_groups_n, 14);
	for (unsigned i = 0; i < thesis_groups_n; i++) {
		const struct thesis_group *g = &thesis_groups[i];
		unsigned n = 0;

		CHECK(row_metric_find(g->metric, NULL));
		CHECK((g->label == LABEL_NONE) == !g->label_header);
		while (g->columns[n].approach)
			column_is_sound(&g->columns[n++]);
		CHECK(n > 0 && n <= THESIS_COLUMNS_MAX);
	}
}

static void command(void)
{
	char program[] = "thesis-csv";
	char absent[] = "/nonexistent";
	char *no_such[] = {program, absent, NULL};
	char *many[] = {program, absent, absent, absent, NULL};
	char dir[PATH_MAX];
	char out[PATH_MAX];
	char *good[] = {program, dir, NULL};
	char *both[] = {program, dir, out, NULL};
	struct csv *csv = NULL;
	struct row r =
		row_of("throughput-rtt0", "uffd", 0, "read_mib_s", "MiB/s");

	(void)snprintf(dir, sizeof(dir), "%s", test_dir());
	(void)snprintf(out, sizeof(out), "%s", test_path("elsewhere"));
	CHECK_EQ(cmd_thesis_csv(2, no_such), 1);
	CHECK_EQ(cmd_thesis_csv(4, many), 2);
	CHECK_EQ(csv_open(dir, 0, &csv), 0);
	CHECK_EQ(cmd_thesis_csv(2, good), 1); /* no rows */
	CHECK_EQ(csv_append(csv, &r, 1), 0);
	CHECK_EQ(csv_close(csv), 0);
	CHECK_EQ(cmd_thesis_csv(2, good), 0);
	CHECK_EQ(cmd_thesis_csv(3, both), 0);
	CHECK(!access(test_path("thesis/throughput-rtt0/results.csv"), R_OK));
	CHECK(!access(test_path("elsewhere/throughput-rtt0/results.csv"),
		      R_OK));
}

int main(void)
{
	table_is_sound();
	no_label();
	rtt_label();
	two_labels();
	params_select_columns();
	mixed_cells_are_refused();
	command();
	test_dir_remove();
	return 0;
}

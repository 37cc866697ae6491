/* SPDX-License-Identifier: Apache-2.0 */
/* The table and the advice of a comparison follow from the rows. */
#include "tests/check.h"

#include "approaches/common/util/err.h"
#include "harness/run/compare.h"

#include <errno.h>

struct number {
	const char *approach;
	const char *variant;
	const char *metric;
	const char *unit;
	double values[3];
};

static struct row row_of(const struct number *n, const char *workload)
{
	struct row row;

	row_init(&row);
	row.run_id = "r";
	row.experiment = "compare";
	row.approach = n->approach;
	row.variant = n->variant;
	row.workload = workload;
	row.place = ROW_NATIVE;
	row.link_driver = ROW_LINK_EMULATED;
	row.rtt_ms = 5;
	row.rtt_ms_measured = 5;
	row.size_bytes = 1 << 30;
	row.bytes_done = 1 << 30;
	row.metric = n->metric;
	row.unit = n->unit;
	row.verified = 1;
	row.status = ROW_OK;
	return row;
}

/* What is printed for the numbers; static. */
static const char *print(const char *workload, const struct number *list,
			 size_t n, int want)
{
	static char *text;
	struct table *t = table_new();
	size_t size = 0;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	CHECK(t && out);
	for (size_t i = 0; i < n; i++) {
		for (uint64_t r = 0; r < 3; r++) {
			struct row row = row_of(&list[i], workload);

			row.repetition = r;
			row.value = list[i].values[r];
			if (!list[i].metric) {
				row.status = ROW_SKIPPED;
				row.verified = 0;
				row.value = (double)__builtin_nanf("");
				row.reason = "not built yet";
			}
			CHECK_EQ(table_add(t, &row), 0);
		}
	}
	CHECK_EQ(compare_print(t, out), want);
	CHECK(!fclose(out));
	table_free(t);
	return text;
}

#define PRINT(workload, list) \
	print(workload, list, sizeof(list) / sizeof(*(list)), 0)

static void clear_winner(void)
{
	static const struct number list[] = {
		{"rsync", NULL, "read_open_mib_s", "MiB/s", {50, 51, 52}},
		{"rsync", NULL, "wire_tx_bytes", "bytes", {6e8, 6e8, 6e8}},
		{"rsync", NULL, "cpu_target_s", "s", {1, 1, 1}},
		{"uffd", "tuned", "read_open_mib_s", "MiB/s", {99, 100, 101}},
		{"uffd",
		 "tuned",
		 "bound_read_open_mib_s",
		 "MiB/s",
		 {125, 125, 125}},
		{"uffd",
		 "tuned",
		 "wire_tx_bytes",
		 "bytes",
		 {1.2e9, 1.2e9, 1.2e9}},
		{"uffd", "tuned", "cpu_target_s", "s", {2, 2, 2}},
		{"nbd-direct", NULL, NULL, NULL, {0, 0, 0}},
	};
	const char *text = PRINT("seq-read", list);

	CHECK_HAS(text, "\nTake uffd/tuned: 100 MiB/s, 1.96 times as good as "
			"rsync; 80 % of what the link allows.");
	CHECK_HAS(text, "rsync takes less processor time (1.00 against 2.00 "
			"s for each GiB).");
	CHECK_HAS(text, "rsync sends less (0.56 against 1.12 bytes");
	/* What could not be measured stands in the table with its reason. */
	CHECK_HAS(text, "nbd-direct       not built yet");
	CHECK(strstr(text, "uffd/tuned") < strstr(text, "rsync  "));
}

static void no_clear_winner(void)
{
	static const struct number list[] = {
		{"rsync", NULL, "read_open_mib_s", "MiB/s", {50, 60, 70}},
		{"uffd", "tuned", "read_open_mib_s", "MiB/s", {55, 65, 75}},
	};
	const char *text = PRINT("rand-read", list);

	CHECK_HAS(text, "Take uffd/tuned: 65 MiB/s; rsync is not to be told "
			"from it with so few runs (60 MiB/s).");
	CHECK(!strstr(text, "takes less"));
}

/* The one who waits least is the best there. */
static void waiting(void)
{
	static const struct number list[] = {
		{"uffd", "thesis", "first_access_us", "us", {9000, 9001, 9002}},
		{"uffd", "tuned", "first_access_us", "us", {5000, 5001, 5002}},
	};

	CHECK_HAS(PRINT("first-access", list),
		  "Take uffd/tuned: 5.001 ms, 1.8 times as good as "
		  "uffd/thesis.");
}

static void nothing(void)
{
	static const struct number list[] = {
		{"uffd", "tuned", NULL, NULL, {0, 0, 0}},
	};

	CHECK_HAS(print("seq-read", list, 1, -ENODATA), "not built yet");
	CHECK_HAS(ms_err_text(), "no series has a number");
	(void)print("seq-read", list, 0, -ENODATA);
}

int main(void)
{
	clear_winner();
	no_clear_winner();
	waiting();
	nothing();
	return 0;
}

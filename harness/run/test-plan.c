/* SPDX-License-Identifier: Apache-2.0 */
/* The order of runs, and going on with what was interrupted. */
#include "tests/check.h"

#include "approaches/common/util/err.h"
#include "harness/run/folder.h"
#include "harness/run/scratch.h"

#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#define TEXT                                                                   \
	"{\"name\":\"x\",\"title\":\"X\",\"size\":\"1M\","                     \
	"\"link\":{\"rtt_ms\":[0,5,20]},\"workload\":{\"name\":\"seq-read\"}," \
	"\"series\":[{\"approach\":\"uffd\",\"variant\":\"tuned\"},"           \
	"{\"approach\":\"uffd\",\"variant\":\"thesis\"}],"                     \
	"\"repetitions\":4,\"warmup\":1}"

enum {
	LINKS = 3,
	SERIES = 2,
	REPETITIONS = 4,
};

static struct experiments experiments(void)
{
	json_t *j = json_loads(TEXT, 0, NULL);
	struct experiments e = {.list = calloc(1, sizeof(*e.list)), .n = 1};

	CHECK(j && e.list);
	CHECK_EQ(experiment_parse("x", j, NULL, &e.list[0]), 0);
	json_decref(j);
	return e;
}

/* Every repetition has every cell once, and is whole before the next. */
static void interleaved(void)
{
	struct experiments e = experiments();
	struct plan p;
	size_t width = (size_t)LINKS * SERIES;
	bool moved = false;

	CHECK_EQ(plan_make(&e, 1, &p), 0);
	CHECK_EQ(p.n_cells, width);
	CHECK_EQ(p.n, SERIES + width * REPETITIONS);
	CHECK_EQ(plan_left(&p, false), width * REPETITIONS);
	for (size_t i = 0; i < SERIES; i++)
		CHECK(p.runs[i].warmup);
	for (size_t r = 0; r < REPETITIONS; r++) {
		const struct plan_run *runs = &p.runs[SERIES + r * width];
		unsigned seen = 0;

		for (size_t i = 0; i < width; i++) {
			seen |= 1u << (runs[i].cell - p.cells);
			CHECK_EQ(runs[i].repetition, r);
			CHECK(!runs[i].warmup);
			moved |= runs[i].cell != &p.cells[i];
			/* The series of a link stand together. */
			if (i % SERIES)
				CHECK(runs[i].cell->link ==
				      runs[i - 1].cell->link);
		}
		CHECK_EQ(seen, (1u << width) - 1);
	}
	CHECK(moved);
	plan_release(&p);
	experiments_release(&e);
}

static bool same_order(const struct plan *a, const struct plan *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->runs[i].cell - a->cells != b->runs[i].cell - b->cells)
			return false;
	return true;
}

static void seeded(void)
{
	struct experiments e = experiments();
	struct plan a;
	struct plan b;
	struct plan c;

	CHECK_EQ(plan_make(&e, 1, &a), 0);
	CHECK_EQ(plan_make(&e, 1, &b), 0);
	CHECK_EQ(plan_make(&e, 2, &c), 0);
	CHECK(same_order(&a, &b));
	CHECK(!same_order(&a, &c));
	plan_release(&a);
	plan_release(&b);
	plan_release(&c);
	experiments_release(&e);
}

static struct row row_of(const struct plan_run *run, const char *run_id)
{
	struct row row;

	plan_row(run, &row);
	row.run_id = run_id;
	row.link_driver = ROW_LINK_EMULATED;
	row.rtt_ms_measured = row.rtt_ms;
	row.metric = "read_mib_s";
	row.unit = "MiB/s";
	row.value = 1;
	row.verified = 1;
	row.status = ROW_OK;
	return row;
}

static struct folder open_folder(const char *results, const char *dir,
				 struct experiments *e, struct plan *p,
				 uint64_t seed, int want)
{
	struct approaches none = {0};
	json_t *j = folder_plan(e, &none, "split", seed);
	struct folder f = {0};
	int err;

	CHECK(j);
	err = folder_open(results, dir, "quick", j, p, &f);
	if (err != want)
		(void)fprintf(stderr, "%s\n", ms_err_text());
	CHECK_EQ(err, want);
	json_decref(j);
	return f;
}

/* A folder is gone on with by the same plan alone, and by one at a time. */
static void resumed(void)
{
	struct experiments e = experiments();
	char results[300];
	char first[400];
	struct plan p;
	struct folder f;
	struct folder other;
	size_t all;

	(void)snprintf(results, sizeof(results), "%s/results-XXXXXX",
		       getenv("TMP") ? getenv("TMP") : "/tmp");
	CHECK(mkdtemp(results));
	CHECK_EQ(plan_make(&e, 1, &p), 0);
	all = plan_left(&p, false);
	f = open_folder(results, NULL, &e, &p, 1, 0);
	CHECK(!f.resumed);
	(void)snprintf(first, sizeof(first), "%s", f.dir);
	for (size_t i = SERIES; i < SERIES + 7; i++) {
		struct row row = row_of(&p.runs[i], f.name);

		CHECK_EQ(csv_append(f.csv, &row, 1), 0);
	}
	/* It is locked while it is open. */
	other = open_folder(results, first, &e, &p, 1, -EBUSY);
	CHECK(!other.dir);
	CHECK_EQ(folder_close(&f, true), 0);
	f = open_folder(results, NULL, &e, &p, 1, 0);
	CHECK(f.resumed);
	CHECK_STR(f.dir, first);
	CHECK_EQ(plan_left(&p, false), all - 7);
	for (size_t i = SERIES; i < p.n; i++)
		CHECK_EQ(p.runs[i].done, i < SERIES + 7);
	for (size_t i = 0; i < SERIES; i++)
		CHECK(!p.runs[i].done);
	for (size_t i = SERIES + 7; i < p.n; i++) {
		struct row row = row_of(&p.runs[i], f.name);

		CHECK_EQ(csv_append(f.csv, &row, 1), 0);
	}
	CHECK_EQ(folder_close(&f, true), 0);
	/* Finished: by its name there is nothing to do, else a new one. */
	f = open_folder(results, first, &e, &p, 1, 0);
	CHECK_EQ(plan_left(&p, true), 0);
	CHECK_EQ(folder_close(&f, true), 0);
	f = open_folder(results, NULL, &e, &p, 1, 0);
	CHECK(!f.resumed);
	CHECK(strcmp(f.dir, first) != 0);
	CHECK_EQ(plan_left(&p, false), all);
	CHECK_EQ(folder_close(&f, true), 0);
	/* Another plan does not fit. */
	f = open_folder(results, first, &e, &p, 2, -EINVAL);
	CHECK_HAS(ms_err_text(), "another plan");
	plan_release(&p);
	experiments_release(&e);
	scratch_remove(results);
}

int main(void)
{
	interleaved();
	seeded();
	resumed();
	return 0;
}

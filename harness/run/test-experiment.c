/* SPDX-License-Identifier: Apache-2.0 */
/* Experiment files: those in the tree parse, and bad ones say where. */
#include "tests/check.h"

#include "approaches/common/util/err.h"
#include "harness/run/experiment.h"
#include "harness/run/json.h"

#include <errno.h>
#include <unistd.h>

/* A good file with its parts to be replaced. */
#define HEAD   "{\"name\":\"x\",\"title\":\"X\",\"size\":\"1M\","
#define LINK   "\"link\":{\"rtt_ms\":[0,5],\"rate_mbit\":[100,1000]},"
#define LOAD   "\"workload\":{\"name\":\"seq-read\",\"access_bytes\":8192},"
#define SERIES "\"series\":[{\"approach\":\"uffd\",\"variant\":\"tuned\"}]"
#define GOOD   HEAD LINK LOAD SERIES "}"

static json_t *json_of(const char *text)
{
	json_error_t e;
	json_t *j = json_loads(text, 0, &e);

	if (!j)
		(void)fprintf(stderr, "%s in %s\n", e.text, text);
	CHECK(j);
	return j;
}

static void expect_bad(const char *text, const char *where)
{
	json_t *j = json_of(text);
	struct experiment e;

	CHECK_EQ(experiment_parse("f.json", j, NULL, &e), -EINVAL);
	if (!strstr(ms_err_text(), where))
		(void)fprintf(stderr, "\"%s\" lacks \"%s\"\n", ms_err_text(),
			      where);
	CHECK_HAS(ms_err_text(), "f.json: ");
	CHECK_HAS(ms_err_text(), where);
	CHECK(!strchr(ms_err_text(), '\n'));
	experiment_release(&e);
	json_decref(j);
}

static void bad_files_say_where(void)
{
	expect_bad("{}", "name");
	expect_bad("{\"name\":\"../x\"}", "name: takes a name");
	expect_bad("{\"name\":1}", "name: takes a text, not 1");
	expect_bad(HEAD LINK LOAD SERIES ",\"colour\":1}",
		   "colour: unknown key");
	expect_bad(HEAD LOAD SERIES "}", "link: is missing");
	expect_bad(HEAD LINK LOAD SERIES ",\"where\":\"mars\"}",
		   "where: takes auto, native or vm");
	expect_bad(HEAD LINK LOAD SERIES ",\"emulation\":1}",
		   "emulation: takes an object");
	expect_bad(HEAD "\"link\":{\"driver\":[\"netem\",\"x\"]}," LOAD SERIES
			"}",
		   "driver: takes auto");
	expect_bad(HEAD LINK SERIES "}", "workload: is missing");
	expect_bad(HEAD LINK LOAD "\"series\":[]}", "series: takes");
	expect_bad(HEAD LINK LOAD "\"series\":[{\"variant\":\"x\"}]}",
		   "series[0].approach");
	expect_bad(HEAD LINK LOAD "\"series\":[{\"approach\":\"a/b\"}]}",
		   "series[0].approach: takes a name, not \"a/b\"");
	expect_bad(HEAD LINK LOAD SERIES ",\"repetitions\":0}",
		   "repetitions: takes a whole number from 1");
	expect_bad(HEAD LINK LOAD SERIES ",\"repetitions\":2.5}",
		   "repetitions");
	expect_bad(HEAD LINK LOAD SERIES ",\"time_limit_s\":-1}",
		   "time_limit_s");
	expect_bad(HEAD LINK LOAD SERIES ",\"time_limit_s\":9,\"timeout_s\":5}",
		   "timeout_s: takes more than time_limit_s");
	expect_bad("{\"name\":\"x\",\"title\":\"X\",\"size\":\"-1\"," LINK LOAD
			   SERIES "}",
		   "size: takes a size");
	expect_bad(
		"{\"name\":\"x\",\"title\":\"X\",\"size\":0," LINK LOAD SERIES
		"}",
		"size: takes a size");
}

static void bad_links_say_where(void)
{
	expect_bad(HEAD "\"link\":{\"driver\":\"magic\"}," LOAD SERIES "}",
		   "link.driver: takes auto");
	expect_bad(HEAD
		   "\"link\":{\"driver\":\"none\",\"rtt_ms\":1}," LOAD SERIES
		   "}",
		   "link.driver");
	expect_bad(HEAD "\"link\":{\"rtt\":1}," LOAD SERIES "}",
		   "link.rtt: unknown key");
	expect_bad(HEAD "\"link\":{\"rtt_ms\":[]}," LOAD SERIES "}",
		   "link.rtt_ms: takes at least one");
	expect_bad(HEAD "\"link\":{\"rtt_ms\":[1,\"2\"]}," LOAD SERIES "}",
		   "link.rtt_ms: takes a number from 0");
	expect_bad(HEAD "\"link\":{\"loss_pct\":101}," LOAD SERIES "}",
		   "link.loss_pct: takes a number from 0 to 100");
	expect_bad(HEAD "\"link\":{\"profiles\":[\"mars\"]}," LOAD SERIES "}",
		   "link.profiles");
}

static void bad_workloads_say_where(void)
{
	expect_bad(HEAD LINK SERIES ",\"workload\":{\"name\":\"juggle\"}}",
		   "workload.name: takes the name of a workload");
	expect_bad(HEAD LINK SERIES
		   ",\"workload\":{\"name\":\"seq-read\",\"speed\":1}}",
		   "workload.speed: unknown key");
	expect_bad(HEAD LINK SERIES
		   ",\"workload\":{\"name\":\"seq-read\",\"threads\":0}}",
		   "threads=0 is out of range");
	/* The runner sets these from keys of their own. */
	expect_bad(HEAD LINK SERIES
		   ",\"workload\":{\"name\":\"seq-read\",\"time_limit\":"
		   "\"1s\"}}",
		   "workload.time_limit: unknown key");
	expect_bad(HEAD LINK SERIES
		   ",\"workload\":{\"name\":\"seq-read\",\"verify\":\"none\"}}",
		   "workload.verify: unknown key");
}

static void good_file(void)
{
	json_t *j = json_of(HEAD LINK LOAD SERIES
			    ",\"seed\":7,\"time_limit_s\":0.25,"
			    "\"sets\":{\"quick\":{\"repetitions\":2,\"link\":{"
			    "\"rtt_ms\":20}}}}");
	struct experiment e;

	CHECK_EQ(experiment_parse("f", j, "quick", &e), 0);
	CHECK_EQ(e.repetitions, 2);
	CHECK_EQ(e.n_links, 2);
	CHECK(e.links[0].rtt_ms == 20 && e.links[0].rate_mbit == 100);
	CHECK(e.links[1].rtt_ms == 20 && e.links[1].rate_mbit == 1000);
	CHECK_STR(e.params, "access_bytes=8192;seed=7;time_limit_ms=250");
	CHECK_STR(e.options[0], "--workload=seq-read");
	CHECK_STR(e.options[1], "--access-bytes=8K");
	CHECK_STR(e.options[2], "--time-limit=250ms");
	CHECK_STR(e.options[3], "--pattern-seed=7");
	CHECK(!e.options[4]);
	experiment_release(&e);
	CHECK_EQ(experiment_parse("f", j, NULL, &e), 0);
	CHECK_EQ(e.repetitions, 5);
	CHECK_EQ(e.n_links, 4);
	CHECK(e.links[1].rtt_ms == 0 && e.links[1].rate_mbit == 1000);
	CHECK(e.links[2].rtt_ms == 5 && e.links[2].rate_mbit == 100);
	experiment_release(&e);
	CHECK_EQ(experiment_parse("f", j, "thesis", &e), -ENOENT);
	experiment_release(&e);
	json_decref(j);
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	CHECK(f);
	CHECK(fputs(text, f) >= 0);
	CHECK(!fclose(f));
}

/* A bad set is found although another one was asked for. */
static void folders(void)
{
	char dir[200];
	char path[256];
	struct experiments list;
	const char *only[] = {"x", NULL};
	const char *none[] = {"y", NULL};

	(void)snprintf(dir, sizeof(dir), "%s/experiments-XXXXXX",
		       getenv("TMP") ? getenv("TMP") : "/tmp");
	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/x.json", dir);
	write_text(path, GOOD);
	CHECK_EQ(experiments_load(dir, "quick", NULL, &list), 0);
	CHECK_EQ(list.n, 0);
	experiments_release(&list);
	/* By its name also a figure that is in no set. */
	CHECK_EQ(experiments_load(dir, "quick", only, &list), 0);
	CHECK_EQ(list.n, 1);
	experiments_release(&list);
	CHECK_EQ(experiments_load(dir, "quick", none, &list), -EINVAL);
	CHECK_HAS(ms_err_text(), "there is no figure \"y\"");
	write_text(path, HEAD LINK LOAD SERIES
		   ",\"sets\":{\"quick\":{},\"full\":{\"repetitions\":-1}}}");
	CHECK_EQ(experiments_load(dir, "quick", NULL, &list), -EINVAL);
	CHECK_HAS(ms_err_text(), "set full: ");
	CHECK_HAS(ms_err_text(), "x.json: repetitions");
	write_text(path, HEAD LINK LOAD SERIES ",\"sets\":{\"slow\":{}}}");
	CHECK_EQ(experiments_load(dir, "quick", NULL, &list), -EINVAL);
	CHECK_HAS(ms_err_text(), "sets.slow: unknown key");
	write_text(path, "{\"name\": \"x\",}\n");
	CHECK_EQ(experiments_load(dir, "quick", NULL, &list), -EINVAL);
	CHECK_HAS(ms_err_text(), "x.json:1: ");
	CHECK(!unlink(path));
	CHECK(!rmdir(dir));
}

/* Those in the tree, in every set. */
static void own_files(void)
{
	const char *top = getenv("TOP");
	char dir[512];

	(void)snprintf(dir, sizeof(dir), "%s/harness/experiments",
		       top ? top : ".");
	for (size_t i = 0; experiment_sets[i]; i++) {
		struct experiments list;
		int err =
			experiments_load(dir, experiment_sets[i], NULL, &list);

		if (err)
			(void)fprintf(stderr, "%s\n", ms_err_text());
		CHECK_EQ(err, 0);
		CHECK(list.n > 0);
		experiments_release(&list);
	}
}

int main(void)
{
	good_file();
	bad_files_say_where();
	bad_links_say_where();
	bad_workloads_say_where();
	folders();
	own_files();
	return 0;
}

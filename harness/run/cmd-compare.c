/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench compare`: which approach for my file, my link, my workload.
 * An experiment over everything that can do it, then a table and a sentence.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/compare.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"
#include "harness/run/session.h"
#include "harness/run/side.h"
#include "harness/vm/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM	     "memsync-bench compare"
#define GENERATE_NS  (600 * MS_NS_PER_S)
#define EXIT_STOPPED 128

struct config {
	char *data;
	char *dataset;
	uint64_t size;
	char *link;
	char *driver;
	char *workload;
	char *access;
	uint64_t access_bytes;
	uint64_t threads;
	uint64_t repetitions;
	uint64_t time_limit_ns;
	uint64_t timeout_ns;
	char *only;
	char *results;
	char *result;
	char *where;
	int placement;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, data, "data", 'd', NULL, "FILE",
		      "the region: the bytes of this file"),
	MS_OPT_STRING(struct config, dataset, "dataset", 0, NULL, "NAME",
		      "or a dataset, made when it is not there (datasets/)"),
	MS_OPT_SIZE(struct config, size, "size", 's', "64M", 1, INT64_MAX,
		    "size of the dataset"),
	MS_OPT_STRING(struct config, link, "link", 'l', "lan", "PROFILE",
		      "a name of `memsync-bench list links`, or "
		      "rtt=20ms,rate=100M,..."),
	MS_OPT_STRING(struct config, driver, "driver", 0, "auto", "NAME",
		      "link: auto, emulated, netem, sleep"),
	MS_OPT_STRING(struct config, workload, "workload", 'w', "seq-read",
		      "NAME", "what the program does with the region"),
	MS_OPT_STRING(struct config, access, "access", 0, "mmap", "NAME",
		      "how it reaches the bytes: mmap, pread"),
	MS_OPT_SIZE(struct config, access_bytes, "access-bytes", 0, "4K", 1,
		    1U << 26, "bytes of one access"),
	MS_OPT_UINT(struct config, threads, "threads", 't', "1", 1, 256,
		    "accessing threads"),
	MS_OPT_UINT(struct config, repetitions, "repetitions", 'n', "5", 1,
		    10000, "runs of each series"),
	MS_OPT_DURATION(struct config, time_limit_ns, "time-limit", 0, "5s",
			"end the accesses after this; 0: no limit"),
	MS_OPT_DURATION(struct config, timeout_ns, "timeout", 0, "120s",
			"kill a run after this"),
	MS_OPT_STRING(struct config, only, "only", 0, NULL, "NAME,...",
		      "these approaches only"),
	MS_OPT_STRING(struct config, result, "result", 0, NULL, "DIR",
		      "result folder, made or gone on in"),
	MS_OPT_STRING(struct config, where, "where", 0, "native", "PLACE",
		      PLACE_WHERE_HELP),
	MS_OPT_STRING(struct config, results, "results", 0, "results", "DIR",
		      "where result folders are made"),
	MS_OPT_CHOICE(struct config, placement, "placement", 0, "split",
		      placement_modes, "processors of the sides"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "--data FILE | --dataset NAME [OPTIONS]",
	.summary = "Measure all approaches on one file, link and workload, and "
		   "say which to take",
	.epilogue = "Programs that copy the whole file (rsync) are timed from "
		    "start to end: the file\ncan be used when they are done.",
	.table = options,
};

static bool is_wanted(const struct config *c, const char *name)
{
	size_t len = strlen(name);
	const char *at = c->only;

	while (at && (at = strstr(at, name))) {
		bool begins = at == c->only || at[-1] == ',';

		if (begins && (at[len] == ',' || !at[len]))
			return true;
		at += len;
	}
	return !c->only;
}

/* Everything that has a form over a link, with every variant. */
static json_t *all_series(const struct config *c, const struct approaches *a)
{
	json_t *list = json_array();

	for (size_t i = 0; i < a->n; i++) {
		const struct approach *x = &a->list[i];
		const char *const *v = (const char *const *)x->variants;

		if (!x->target.argv || !is_wanted(c, x->name))
			continue;
		if (!v || !*v)
			(void)json_array_append_new(
				list, json_pack("{s:s}", "approach", x->name));
		for (; v && *v; v++)
			(void)json_array_append_new(
				list, json_pack("{s:s,s:s}", "approach",
						x->name, "variant", *v));
	}
	return list;
}

/* Run datasets/generate, which prints the path of the file. */
static int generate(const struct config *c, const char *program, char *path)
{
	char size[24];
	char name[] = "generate";
	char option[] = "--size";
	char *argv[] = {name, c->dataset, option, size, NULL};
	struct side_config config = {.name = "generate",
				     .program = program,
				     .argv = argv,
				     .log = "/dev/stderr"};
	struct side s;
	int err;

	(void)snprintf(size, sizeof(size), "%" PRIu64, c->size);
	err = side_start(&config, &s);
	if (err)
		return err;
	if (side_wait_end(&s, NULL, -1, ms_now_ns() + GENERATE_NS) !=
		    SIDE_DONE ||
	    s.status != 0)
		err = ms_err(-EIO, "the dataset %s could not be made",
			     c->dataset);
	s.text[strcspn(s.text, "\n")] = '\0';
	(void)snprintf(path, PATH_MAX, "%s", s.text);
	side_release(&s);
	return err;
}

static int find_data(const struct config *c, char *path)
{
	static const char *const places[] = {"../../datasets/generate",
					     "../datasets/generate"};
	char dir[PATH_MAX];
	char program[PATH_MAX + 64];
	int err;

	if (!c->data == !c->dataset)
		return ms_err(-EINVAL, "name the data by --data or --dataset");
	if (c->data)
		return realpath(c->data, path)
			       ? 0
			       : ms_err(-errno, "--data %s", c->data);
	err = harness_folder("approaches", dir, sizeof(dir));
	for (size_t i = 0; i < 2 && !err; i++) {
		(void)snprintf(program, sizeof(program), "%s/%s", dir,
			       places[i]);
		if (!access(program, X_OK))
			return generate(c, program, path);
	}
	return err ? err : ms_err(-ENOENT, "datasets/generate is not here");
}

/* A path goes into spec strings and argument templates. */
static int check_path(const char *path, uint64_t *ret_size)
{
	struct stat st;

	if (strpbrk(path, ",(){}"))
		return ms_err(-EINVAL,
			      "%s: a name with , ( ) { } cannot stand "
			      "in a pipeline",
			      path);
	if (stat(path, &st))
		return ms_err(-errno, "%s", path);
	if (!S_ISREG(st.st_mode) || !st.st_size)
		return ms_err(-EINVAL, "%s is not a file with bytes in it",
			      path);
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static int make_experiment(const struct config *c, const struct approaches *a,
			   struct experiments *ret)
{
	char path[PATH_MAX];
	char name[PATH_MAX + 8];
	uint64_t size = 0;
	json_t *j = NULL;
	int err = find_data(c, path);

	if (!err)
		err = check_path(path, &size);
	if (err)
		return err;
	(void)snprintf(name, sizeof(name), "file:%s", strrchr(path, '/') + 1);
	j = json_pack(
		"{s:s,s:s,s:{s:s,s:[s]},s:o,s:I,s:s,s:s,s:s,s:I,s:i,s:f,s:f,"
		"s:{s:s,s:s,s:I,s:I}}",
		"name", "compare", "title", "A comparison", "link", "driver",
		c->driver, "profiles", c->link, "series", all_series(c, a),
		"size", (json_int_t)size, "data", path, "dataset", name,
		"store", "file:path={data},read-only=yes", "repetitions",
		(json_int_t)c->repetitions, "warmup", 1, "time_limit_s",
		(double)c->time_limit_ns / 1e9, "timeout_s",
		(double)c->timeout_ns / 1e9, "workload", "name", c->workload,
		"access", c->access, "access_bytes",
		(json_int_t)c->access_bytes, "threads", (json_int_t)c->threads);
	if (!j)
		return ms_err(-EINVAL, "the options are not UTF-8");
	ret->list = calloc(1, sizeof(*ret->list));
	if (ret->list) {
		ret->n = 1;
		err = experiment_parse("command line", j, NULL, ret->list);
	} else {
		err = no_memory("experiment");
	}
	json_decref(j);
	return err;
}

static int show(const char *dir)
{
	struct table *rows = table_new();
	int err = rows ? table_load(rows, dir) : no_memory(dir);

	(void)printf("\n");
	if (!err)
		err = compare_print(rows, stdout);
	if (err)
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
	(void)printf("rows: %s/" CSV_FILE "\n", dir);
	table_free(rows);
	return err ? 1 : 0;
}

static int run(const struct config *c, int argc, char **argv)
{
	struct experiments e = {0};
	struct approaches a = {0};
	char dir[PATH_MAX];
	char *result = NULL;
	struct session s = {.experiments = &e,
			    .approaches = &a,
			    .set = "compare",
			    .results = c->results,
			    .dir = c->result,
			    .where = c->where,
			    .placement = (enum placement_mode)c->placement,
			    .order_seed = 1,
			    .argc = argc,
			    .argv = argv};
	int err = harness_folder("approaches", dir, sizeof(dir));
	int code = 0;

	if (!err)
		err = approaches_load(dir, &a);
	if (!err)
		err = make_experiment(c, &a, &e);
	if (err) {
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
		code = err == -EINVAL ? 2 : 1;
	} else {
		code = session_run(&s, &result);
	}
	/* The VM's part is shown by who started it. */
	if (result && !vm_inside() && code < EXIT_STOPPED && show(result))
		code = code ? code : 1;
	free(result);
	experiments_release(&e);
	approaches_release(&a);
	return code;
}

int cmd_compare(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc)
		code = rc > 0 ? 0 : 2;
	else if (parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else
		code = run(&c, argc, argv);
	ms_opt_release(options, &c);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Approach files and the templates of their commands. */
#include "tests/check.h"

#include "approaches/common/util/err.h"
#include "harness/run/approach.h"

#include <errno.h>

static const struct place_holder values[] = {
	{"store", "memory:size=1M"}, {"variant", "tuned"}, {"chunk", NULL},
	{"address", "10.0.0.1"},     {NULL, NULL},
};

static void templates(void)
{
	const char *const in[] = {"prog",
				  "--v={variant}",
				  "{?chunk}--c={chunk}",
				  "{?variant}--w={variant}",
				  "{options}",
				  "tcp://{address}:7/{variant}",
				  NULL};
	char first[] = "--a=1";
	char second[] = "--b={store}"; /* options are not templates */
	char *const options[] = {first, second, NULL};
	char **argv = NULL;
	char *text = NULL;

	CHECK_EQ(approach_argv(in, values, options, &argv), 0);
	CHECK_STR(argv[0], "prog");
	CHECK_STR(argv[1], "--v=tuned");
	CHECK_STR(argv[2], "--w=tuned");
	CHECK_STR(argv[3], "--a=1");
	CHECK_STR(argv[4], "--b={store}");
	CHECK_STR(argv[5], "tcp://10.0.0.1:7/tuned");
	CHECK(!argv[6]);
	approach_argv_free(argv);
	CHECK_EQ(approach_text("x{nothing}", values, &text), -EINVAL);
	CHECK_HAS(ms_err_text(), "there is no {nothing}");
	CHECK_EQ(approach_text("x{chunk}", values, &text), -EINVAL);
	CHECK_HAS(ms_err_text(), "{chunk} has no value here");
	CHECK_EQ(approach_text("x{store", values, &text), -EINVAL);
}

static void expect_bad(const char *text, const char *why)
{
	json_t *j = json_loads(text, 0, NULL);
	struct approach a;

	CHECK(j);
	CHECK_EQ(approach_parse("a.json", j, &a), -EINVAL);
	CHECK_HAS(ms_err_text(), "a.json: ");
	CHECK_HAS(ms_err_text(), why);
	approach_release(&a);
	json_decref(j);
}

static void bad_files(void)
{
	expect_bad("{}", "name: is missing");
	expect_bad("{\"name\":\"a\"}", "target: is missing");
	expect_bad("{\"name\":\"a\",\"local\":{}}", "local.command");
	expect_bad("{\"name\":\"a\",\"local\":{\"command\":\"rm\"}}",
		   "local.command: takes an array of texts, not \"rm\"");
	expect_bad("{\"name\":\"a\",\"local\":{\"command\":[\"x\"],\"cwd\":1}}",
		   "local.cwd: unknown key");
	expect_bad("{\"name\":\"a\",\"target\":{\"command\":[\"x\"]},"
		   "\"source\":{\"command\":[\"y\"]}}",
		   "source.ready");
	expect_bad("{\"name\":\"a\",\"source\":{\"command\":[\"y\"],"
		   "\"port\":1},\"local\":{\"command\":[\"x\"]}}",
		   "target");
	expect_bad("{\"name\":\"a\",\"timed\":true,"
		   "\"target\":{\"command\":[\"x\"]}}",
		   "output");
	expect_bad("{\"name\":\"a\",\"files\":{\"../x\":\"\"},"
		   "\"local\":{\"command\":[\"x\"]}}",
		   "files");
}

/* Those in the tree: every name in their templates is one that exists. */
static void own_files(void)
{
	static const struct place_holder all[] = {
		{"store", "s"},	    {"size", "1"},    {"seed", "1"},
		{"chunk", "1"},	    {"variant", "v"}, {"address", "a"},
		{"dir", "/d"},	    {"data", "/x/y"}, {"data_dir", "/x"},
		{"data_name", "y"}, {"seconds", "1"}, {NULL, NULL}};
	const char *top = getenv("TOP");
	char dir[512];
	struct approaches list;

	(void)snprintf(dir, sizeof(dir), "%s/harness/approaches",
		       top ? top : ".");
	if (approaches_load(dir, &list))
		(void)fprintf(stderr, "%s\n", ms_err_text());
	CHECK(approach_find(&list, "uffd"));
	CHECK(!approach_find(&list, "ufd"));
	CHECK(approach_has_variant(approach_find(&list, "uffd"), "thesis"));
	CHECK(!approach_has_variant(approach_find(&list, "uffd"), "fast"));
	for (size_t i = 0; i < list.n; i++) {
		const struct approach *a = &list.list[i];
		const struct command *commands[] = {&a->source, &a->target,
						    &a->local};

		for (size_t k = 0; k < 3; k++) {
			char **argv = NULL;

			if (!commands[k]->argv)
				continue;
			CHECK_EQ(approach_argv(commands[k]->argv, all, NULL,
					       &argv),
				 0);
			approach_argv_free(argv);
		}
	}
	approaches_release(&list);
}

static void programs(void)
{
	char path[4096];

	CHECK_EQ(approach_program("sh", path, sizeof(path)), 0);
	CHECK_EQ(approach_program("no-such-program-at-all", path, sizeof(path)),
		 -ENOENT);
	CHECK_HAS(ms_err_text(), "is not installed");
	CHECK_EQ(approach_program("memsync-nothing", path, sizeof(path)),
		 -ENOENT);
	CHECK_HAS(ms_err_text(), "not built yet");
}

int main(void)
{
	templates();
	bad_files();
	own_files();
	programs();
	return 0;
}

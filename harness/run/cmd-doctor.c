/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench doctor`: what this machine can run, and why not. */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/features.h"

#include <stdio.h>
#include <string.h>

#define PROGRAM "memsync-bench doctor"

struct config {
	bool json;
};

static const struct ms_opt options[] = {
	MS_OPT_FLAG(struct config, json, "json", 'j', "print as JSON"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS]",
	.summary = "Try what this machine can run, and say why not and how to "
		   "get it",
	.epilogue = "A feature that is missing makes figures that need it rows "
		    "with the reason; it is\nno error here.",
	.table = options,
};

static void print_details(const json_t *one)
{
	const char *method = json_string_value(json_object_get(one, "method"));
	const json_t *list = json_object_get(one, "features");
	size_t i;
	json_t *text;

	if (method)
		(void)printf(" (%s)", method);
	if (json_array_size(list))
		(void)printf("\n%29s", "");
	json_array_foreach(list, i, text)
	{
		if (i && i % 5 == 0)
			(void)printf("\n%29s", "");
		(void)printf(" %s", json_string_value(text));
	}
}

static void print_text(const json_t *all)
{
	for (const struct feature *f = features; f->name; f++) {
		const json_t *one = json_object_get(all, f->name);
		const char *reason =
			json_string_value(json_object_get(one, "reason"));

		if (json_is_true(json_object_get(one, "ok"))) {
			(void)printf("yes  %-18s %s", f->name, f->use);
			print_details(one);
			(void)printf("\n");
		} else {
			(void)printf("no   %-18s %s: %s; to get it: %s\n",
				     f->name, f->use,
				     reason ? reason : "not probed", f->get);
		}
	}
}

/* What each is for and how to get it, into the JSON as well. */
static void add_words(json_t *all)
{
	for (const struct feature *f = features; f->name; f++) {
		json_t *one = json_object_get(all, f->name);

		(void)json_object_set_new(one, "use", json_string(f->use));
		(void)json_object_set_new(one, "get", json_string(f->get));
	}
}

int cmd_doctor(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	json_t *all;

	if (rc || parsed.dump_config) {
		if (!rc)
			ms_opt_dump(options, &c, stdout);
		return rc < 0 ? 2 : 0;
	}
	all = features_probe();
	if (!all) {
		(void)fprintf(stderr, PROGRAM ": out of memory\n");
		return 1;
	}
	if (c.json) {
		add_words(all);
		(void)json_dumpf(all, stdout, JSON_INDENT(2));
		(void)printf("\n");
	} else {
		print_text(all);
	}
	json_decref(all);
	return fflush(stdout) ? 1 : 0;
}

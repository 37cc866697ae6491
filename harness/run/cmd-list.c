/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench list`: what there is to be named in other commands. */
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "approaches/common/workload/workload.h"
#include "harness/cmd.h"
#include "harness/link/profile.h"
#include "harness/run/approach.h"
#include "harness/run/experiment.h"
#include "harness/run/plan.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>

#define PROGRAM "memsync-bench list"

struct config {
	bool json;
};

static const struct ms_opt options[] = {
	MS_OPT_FLAG(struct config, json, "json", 'j', "print as JSON"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] [WHAT]",
	.summary = "List figures, sets, workloads, links, backends, approaches",
	.epilogue = "WHAT is one of: figures, sets, workloads, links, "
		    "backends, approaches.",
	.table = options,
	.operands_max = 1,
};

/* One entry: {"name": …, "summary": …, more}. */
static json_t *entry(const char *name, const char *summary)
{
	return json_pack("{s:s,s:s}", "name", name, "summary",
			 summary ? summary : "");
}

/* The figures of a set: the file as it is in that set. */
static int in_set(const char *dir, const char *set, json_t *figures,
		  json_t *ret_set)
{
	struct experiments e = {0};
	struct plan plan = {0};
	int err = experiments_load(dir, set, NULL, &e);
	json_t *names = json_array();

	if (!err)
		err = plan_make(&e, 1, &plan);
	for (size_t i = 0; i < e.n && !err; i++) {
		const struct experiment *x = &e.list[i];
		json_t *f = json_object_get(figures, x->name);

		(void)json_array_append_new(names, json_string(x->name));
		if (!f) {
			f = entry(x->name, x->title);
			(void)json_object_set_new(f, "sets", json_array());
			if (x->thesis)
				(void)json_object_set_new(
					f, "thesis", json_string(x->thesis));
			(void)json_object_set_new(figures, x->name, f);
		}
		(void)json_array_append_new(json_object_get(f, "sets"),
					    json_string(set));
	}
	(void)json_object_set_new(ret_set, "figures", names);
	(void)json_object_set_new(
		ret_set, "runs",
		json_integer((json_int_t)plan_left(&plan, false)));
	plan_release(&plan);
	experiments_release(&e);
	return err;
}

static int list_figures(json_t *all)
{
	char dir[PATH_MAX];
	json_t *by_name = json_object();
	json_t *figures = json_array();
	json_t *sets = json_array();
	const char *key;
	json_t *value;
	int err = harness_folder("experiments", dir, sizeof(dir));

	for (size_t i = 0; experiment_sets[i] && !err; i++) {
		json_t *set = entry(experiment_sets[i], "");

		err = in_set(dir, experiment_sets[i], by_name, set);
		(void)json_array_append_new(sets, set);
	}
	json_object_foreach(by_name, key, value)
	{
		(void)json_array_append(figures, value);
	}
	json_decref(by_name);
	(void)json_object_set_new(all, "figures", figures);
	(void)json_object_set_new(all, "sets", sets);
	return err;
}

static void list_workloads(json_t *all)
{
	json_t *list = json_array();

	for (size_t i = 0; ms_workload_kinds[i]; i++)
		(void)json_array_append_new(list,
					    entry(ms_workload_kinds[i], ""));
	(void)json_object_set_new(all, "workloads", list);
}

static void list_links(json_t *all)
{
	json_t *list = json_array();
	const char *summary = NULL;
	const struct link_profile *p;

	for (size_t i = 0; (p = link_profile_list(i, &summary)); i++) {
		char text[256];
		json_t *one = entry(p->name, summary);

		link_profile_format(p, text, sizeof(text));
		(void)json_object_set_new(one, "parameters", json_string(text));
		(void)json_array_append_new(list, one);
	}
	(void)json_object_set_new(all, "links", list);
}

static void list_backends(json_t *all)
{
	static const char *const kinds[] = {
		[MS_STORE] = "store", [MS_STAGE] = "stage", [MS_TEST] = "test"};
	json_t *list = json_array();

	for (size_t i = 0; ms_backend_types[i]; i++) {
		const struct ms_backend_type *t = ms_backend_types[i];
		json_t *one = entry(t->name, t->summary);

		(void)json_object_set_new(one, "kind",
					  json_string(kinds[t->kind]));
		(void)json_array_append_new(list, one);
	}
	(void)json_object_set_new(all, "backends", list);
}

static int list_approaches(json_t *all)
{
	char dir[PATH_MAX];
	char path[PATH_MAX];
	struct approaches a = {0};
	json_t *list = json_array();
	int err = harness_folder("approaches", dir, sizeof(dir));

	if (!err)
		err = approaches_load(dir, &a);
	for (size_t i = 0; i < a.n && !err; i++) {
		const struct approach *x = &a.list[i];
		const struct command *c =
			x->target.argv ? &x->target : &x->local;
		json_t *one = entry(x->name, x->title);
		json_t *variants = json_array();

		for (size_t k = 0; x->variants && x->variants[k]; k++)
			(void)json_array_append_new(
				variants, json_string(x->variants[k]));
		(void)json_object_set_new(one, "variants", variants);
		(void)json_object_set_new(
			one, "available",
			json_boolean(!approach_program(c->argv[0], path,
						       sizeof(path))));
		(void)json_array_append_new(list, one);
	}
	approaches_release(&a);
	(void)json_object_set_new(all, "approaches", list);
	return err;
}

/* "a b c" of an array of texts behind `label`. */
static void print_list(const json_t *one, const char *key, const char *label)
{
	const json_t *list = json_object_get(one, key);
	size_t i;
	json_t *text;

	if (!json_array_size(list))
		return;
	(void)printf("  (%s", label);
	json_array_foreach(list, i, text)
	{
		(void)printf(" %s", json_string_value(text));
	}
	(void)printf(")");
}

static void print_section(const char *what, const json_t *list)
{
	size_t i;
	json_t *one;

	(void)printf("%s:\n", what);
	json_array_foreach(list, i, one)
	{
		const char *kind =
			json_string_value(json_object_get(one, "kind"));
		const char *parameters =
			json_string_value(json_object_get(one, "parameters"));

		(void)printf(
			"  %-16s %s",
			json_string_value(json_object_get(one, "name")),
			json_string_value(json_object_get(one, "summary")));
		if (kind)
			(void)printf("  (%s)", kind);
		if (parameters)
			(void)printf("  (%s)", parameters);
		if (json_is_integer(json_object_get(one, "runs")))
			(void)printf("%lld runs:",
				     (long long)json_integer_value(
					     json_object_get(one, "runs")));
		if (json_is_false(json_object_get(one, "available")))
			(void)printf("  (not here)");
		print_list(one, "variants", "variants:");
		print_list(one, "sets", "sets:");
		print_list(one, "figures", "figures:");
		(void)printf("\n");
	}
}

static int show(json_t *all, const char *what, bool json)
{
	json_t *one = what ? json_object_get(all, what) : NULL;
	const char *key;
	json_t *list;

	if (what && !one)
		return ms_err(-EINVAL,
			      "there is nothing called \"%.40s\" to "
			      "list",
			      what);
	if (json)
		return json_dumpf(one ? one : all, stdout,
				  JSON_INDENT(2) | JSON_ENCODE_ANY) ||
				       puts("") == EOF
			       ? ms_err(-EIO, "stdout")
			       : 0;
	if (one) {
		print_section(what, one);
		return 0;
	}
	json_object_foreach(all, key, list)
	{
		print_section(key, list);
	}
	return 0;
}

int cmd_list(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	json_t *all = json_object();
	int err = ms_opt_parse(&command, &c, argc, argv, &parsed);

	if (err || parsed.dump_config) {
		if (!err)
			ms_opt_dump(options, &c, stdout);
		json_decref(all);
		return err < 0 ? 2 : 0;
	}
	err = list_figures(all);
	list_workloads(all);
	list_links(all);
	list_backends(all);
	if (!err)
		err = list_approaches(all);
	if (!err)
		err = show(all, argv[parsed.first_operand], c.json);
	if (err)
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
	json_decref(all);
	return err == -EINVAL ? 2 : err ? 1 : 0;
}

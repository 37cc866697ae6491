/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench doctor`: what this machine and its VM can run, why not, and
 * where each figure is measured.
 */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/features.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"
#include "harness/vm/facts.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "memsync-bench doctor"

struct config {
	bool json;
	bool here;
	char *has;
};

static const struct ms_opt options[] = {
	MS_OPT_FLAG(struct config, json, "json", 'j', "print as JSON"),
	MS_OPT_FLAG(struct config, here, "here", 0,
		    "this kernel only: neither the VM nor the figures"),
	MS_OPT_STRING(struct config, has, "has", 0, NULL, "FEATURE",
		      "print nothing; exit 0 if it is here, 1 if not"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS]",
	.summary = "Try what this machine and its VM can run, say why not and "
		   "how to get it,\nand where each figure is measured",
	.epilogue = "A feature that is missing makes figures that need it rows "
		    "with the reason; it is\nno error here. The first call "
		    "boots the VM (and fetches its kernel); what was seen\nis "
		    "kept until this machine boots again.",
	.table = options,
};

/* What was found out. */
struct findings {
	json_t *here;
	json_t *vm; /* facts_probe; NULL: none, or not asked for */
	char no_vm[400];
	struct experiments figures; /* with their places */
	struct approaches approaches;
};

static int load(struct findings *f)
{
	char dir[PATH_MAX];
	int err = harness_folder("approaches", dir, sizeof(dir));

	if (!err)
		err = approaches_load(dir, &f->approaches);
	if (!err)
		err = harness_folder("experiments", dir, sizeof(dir));
	if (!err)
		err = experiments_load(dir, "", NULL, &f->figures);
	return err;
}

static bool is_there(const json_t *probed, const char *name)
{
	return json_is_true(
		json_object_get(json_object_get(probed, name), "ok"));
}

/* A /dev/kvm that boots nothing is no KVM. */
static void judge_kvm(struct findings *f)
{
	const char *accel = json_string_value(json_object_get(f->vm, "accel"));
	const char *why = json_string_value(json_object_get(f->vm, "why"));
	json_t *one = json_object_get(f->here, "kvm");

	if (!accel || strcmp(accel, "tcg") != 0 || !is_there(f->here, "kvm"))
		return;
	(void)json_object_set_new(one, "ok", json_false());
	(void)json_object_set_new(
		one, "reason",
		json_pack("s+", "it boots no guest: ", why ? why : ""));
}

static int find_all(const struct config *c, struct findings *f)
{
	int err;

	f->here = features_probe();
	if (!f->here)
		return no_memory("features");
	if (c->here || c->has)
		return 0;
	err = load(f);
	if (!err && vm_inside())
		(void)snprintf(f->no_vm, sizeof(f->no_vm), "this is the VM");
	else if (!err && facts_probe(-1, &f->vm))
		(void)snprintf(f->no_vm, sizeof(f->no_vm), "%s", ms_err_text());
	judge_kvm(f);
	if (!err)
		err = places_choose("auto", &f->approaches, f->here, -1,
				    &f->figures);
	return err;
}

static void release(struct findings *f)
{
	json_decref(f->here);
	json_decref(f->vm);
	experiments_release(&f->figures);
	approaches_release(&f->approaches);
}

static void print_details(const json_t *one, int indent)
{
	const char *method = json_string_value(json_object_get(one, "method"));
	const json_t *list = json_object_get(one, "features");
	size_t i;
	json_t *text;

	if (method)
		(void)printf(" (%s)", method);
	if (json_array_size(list))
		(void)printf("\n%*s", indent, "");
	json_array_foreach(list, i, text)
	{
		if (i && i % 5 == 0)
			(void)printf("\n%*s", indent, "");
		(void)printf(" %s", json_string_value(text));
	}
}

static void print_feature(const struct findings *f, const struct feature *x)
{
	const json_t *one = json_object_get(f->here, x->name);
	const json_t *there = json_object_get(f->vm, "features");
	const char *reason = json_string_value(json_object_get(one, "reason"));
	bool here = is_there(f->here, x->name);
	int indent = 24;

	(void)printf("%-5s", here ? "yes" : "no");
	if (f->vm) {
		(void)printf("%-4s", is_there(there, x->name) ? "yes" : "no");
		indent += 4;
	}
	(void)printf("%-18s %s", x->name, x->use);
	if (here)
		print_details(one, indent);
	else
		(void)printf(": %s; to get it: %s%s",
			     reason ? reason : "not probed", x->get,
			     is_there(there, x->name) ? ", or --where=vm" : "");
	(void)printf("\n");
}

static void print_vm(const struct findings *f)
{
	const char *accel = json_string_value(json_object_get(f->vm, "accel"));
	const char *kernel =
		json_string_value(json_object_get(f->vm, "kernel"));

	if (!f->vm)
		(void)printf("\nno VM: %s\n", f->no_vm);
	else if (accel && !strcmp(accel, "kvm"))
		(void)printf("\nVM: kernel %s, by KVM\n", kernel);
	else
		(void)printf("\nVM: kernel %s, by software emulation\n",
			     kernel);
}

static void print_text(const struct config *c, const struct findings *f)
{
	if (f->vm)
		(void)printf("here VM  feature\n");
	for (const struct feature *x = features; x->name; x++)
		print_feature(f, x);
	if (c->here)
		return;
	print_vm(f);
	(void)printf("\n%-18s %-7s why\n", "figure", "place");
	for (size_t i = 0; i < f->figures.n; i++) {
		const struct experiment *e = &f->figures.list[i];

		(void)printf("%-18s %-7s %s\n", e->name,
			     e->place == ROW_VM ? "vm" : "native",
			     e->place_why);
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

static void print_json(const struct config *c, const struct findings *f)
{
	json_t *figures = json_object();

	add_words(f->here);
	for (size_t i = 0; i < f->figures.n; i++) {
		const struct experiment *e = &f->figures.list[i];

		(void)json_object_set_new(
			figures, e->name,
			json_pack("{s:s,s:s,s:s}", "place",
				  e->place == ROW_VM ? "vm" : "native", "accel",
				  e->accel, "why", e->place_why));
	}
	if (!c->here) {
		(void)json_object_set(f->here, "figures", figures);
		(void)json_object_set_new(
			f->here, "vm",
			f->vm ? json_incref(f->vm)
			      : json_pack("{s:s}", "reason", f->no_vm));
	}
	json_decref(figures);
	(void)json_dumpf(f->here, stdout, JSON_INDENT(2));
	(void)printf("\n");
}

static int run(const struct config *c)
{
	struct findings f = {.here = NULL};
	char why[300];
	int err = find_all(c, &f);
	int code = err ? 1 : 0;

	if (err)
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
	else if (c->has)
		code = feature_there(f.here, c->has, why, sizeof(why)) ? 0 : 1;
	else if (c->json)
		print_json(c, &f);
	else
		print_text(c, &f);
	release(&f);
	return fflush(stdout) ? 1 : code;
}

int cmd_doctor(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc)
		code = rc < 0 ? 2 : 0;
	else if (parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else
		code = run(&c);
	ms_opt_release(options, &c);
	return code;
}

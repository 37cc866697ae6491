/* SPDX-License-Identifier: Apache-2.0 */
/* Where figures go, without a VM: what was found here, what is asked for. */
#include "harness/run/place.h"
#include "harness/run/plan.h"
#include "tests/check.h"

#include "approaches/common/util/err.h"

#include <errno.h>

static const char two[] =
	"{\"name\": \"two\", \"title\": \"t\", \"size\": \"8M\","
	" \"link\": {\"driver\": [\"netem\", \"emulated\"], \"rtt_ms\": [1, "
	"5]},"
	" \"workload\": {\"name\": \"seq-read\", \"access\": \"mmap\"},"
	" \"emulation\": {\"size\": \"1M\", \"repetitions\": 2},"
	" \"series\": [{\"approach\": \"one\"}]}";
static const char local[] =
	"{\"name\": \"local\", \"title\": \"t\", \"size\": \"8M\","
	" \"link\": {\"driver\": \"none\"},"
	" \"workload\": {\"name\": \"seq-read\"},"
	" \"series\": [{\"approach\": \"one\"}]}";

static void parse(const char *text, struct experiment *ret)
{
	json_t *j = json_loads(text, 0, NULL);

	CHECK(j);
	if (experiment_parse("test", j, NULL, ret)) {
		(void)fprintf(stderr, "%s\n", ms_err_text());
		exit(1);
	}
	json_decref(j);
}

static void load(struct experiments *e, struct approaches *a)
{
	json_t *j;

	e->n = 2;
	e->list = calloc(2, sizeof(*e->list));
	parse(two, &e->list[0]);
	parse(local, &e->list[1]);
	a->n = 1;
	a->list = calloc(1, sizeof(*a->list));
	j = json_loads("{\"name\": \"one\", \"title\": \"t\", \"needs\": "
		       "[\"nbd\"], \"local\": {\"command\": [\"true\"]}}",
		       0, NULL);
	CHECK(j);
	CHECK_EQ(approach_parse("test", j, &a->list[0]), 0);
	json_decref(j);
}

static json_t *everything(void)
{
	return json_loads("{\"nbd\": {\"ok\": true}, \"sch_netem\": {\"ok\": "
			  "true}}",
			  0, NULL);
}

/* Each link comes once for each driver. */
static void drivers_are_an_axis(void)
{
	struct experiments e = {0};
	struct approaches a = {0};
	struct plan plan;
	struct row row;
	unsigned netem = 0;

	load(&e, &a);
	CHECK_EQ(e.list[0].n_links, 4);
	CHECK_EQ(plan_make(&e, 1, &plan), 0);
	for (size_t i = 0; i < plan.n; i++) {
		plan_row(&plan.runs[i], &row);
		netem += row.link_driver == ROW_LINK_NETEM &&
			 !plan.runs[i].warmup;
	}
	CHECK_EQ(netem, 2 * 5);
	plan_release(&plan);
	experiments_release(&e);
	approaches_release(&a);
}

static void here_if_all_can(void)
{
	struct experiments e = {0};
	struct approaches a = {0};
	json_t *features = everything();
	char *text;

	load(&e, &a);
	CHECK_EQ(places_choose("auto", &a, features, -1, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		CHECK_EQ(e.list[i].place, ROW_NATIVE);
		CHECK_HAS(e.list[i].place_why, "every series");
		CHECK(place_is_here(&e.list[i]));
	}
	text = places_text(&e);
	CHECK_STR(text, "two=native,local=native");
	free(text);
	json_decref(features);
	experiments_release(&e);
	approaches_release(&a);
}

static void what_is_asked_for(void)
{
	static const char *const bad[] = {"mars", "two=mars", "vm,two", "two"};
	struct experiments e = {0};
	struct approaches a = {0};
	json_t *nothing = json_object();

	load(&e, &a);
	CHECK_EQ(places_choose("native", &a, nothing, -1, &e), 0);
	CHECK_EQ(e.list[0].place, ROW_NATIVE);
	CHECK_EQ(places_choose("two=native,local=native", &a, nothing, -1, &e),
		 0);
	CHECK_HAS(e.list[1].place_why, "asked for");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK_EQ(places_choose(bad[i], &a, nothing, -1, &e), -EINVAL);
		CHECK_HAS(ms_err_text(), "--where takes auto, native, vm");
	}
	json_decref(nothing);
	experiments_release(&e);
	approaches_release(&a);
}

/* As in the VM, which says in the environment that it is one. */
static void in_the_vm(void)
{
	struct experiments e = {0};
	struct approaches a = {0};
	json_t *features = everything();
	json_t *places;

	load(&e, &a);
	CHECK_EQ(setenv("MEMSYNC_VM", "tcg", 1), 0);
	CHECK_EQ(places_choose("two=vm,local=native", &a, features, -1, &e), 0);
	CHECK(place_is_here(&e.list[0]));
	CHECK(!place_is_here(&e.list[1]));
	/* The changes, and the acceleration at its place in the parameters. */
	CHECK_EQ(e.list[0].sizes[0], 1 << 20);
	CHECK_EQ(e.list[0].repetitions, 2);
	CHECK_HAS(e.list[0].params, "accel=tcg;access=mmap;");
	CHECK_EQ(e.list[1].sizes[0], 8 << 20);
	CHECK(!strstr(e.list[1].params, "accel"));
	places = places_json(&e);
	CHECK_EQ(json_object_size(places), 1);
	json_decref(places);
	experiments_release(&e);
	approaches_release(&a);

	load(&e, &a);
	CHECK_EQ(setenv("MEMSYNC_VM", "kvm", 1), 0);
	CHECK_EQ(places_choose("auto", &a, features, -1, &e), 0);
	CHECK_EQ(e.list[0].sizes[0], 8 << 20);
	CHECK_HAS(e.list[0].params, "accel=kvm");
	CHECK(e.list[1].no_emulation);
	CHECK_EQ(places_choose("native", &a, features, -1, &e), -EINVAL);
	CHECK_EQ(unsetenv("MEMSYNC_VM"), 0);
	json_decref(features);
	experiments_release(&e);
	approaches_release(&a);
}

int main(void)
{
	CHECK_EQ(unsetenv("MEMSYNC_VM"), 0);
	drivers_are_an_axis();
	here_if_all_can();
	what_is_asked_for();
	in_the_vm();
	return 0;
}

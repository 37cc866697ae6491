/* SPDX-License-Identifier: Apache-2.0 */
/* Experiment files; see experiment.h. Lists of them are in catalogue.c. */
#include "harness/run/experiment.h"

#include "approaches/common/util/err.h"
#include "harness/run/json.h"
#include "harness/run/no-memory.h"
#include "harness/run/workload-args.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	REPETITIONS_MAX = 10000,
	SECONDS_MAX = 86400,
};

const char *const experiment_sets[] = {"quick", "thesis", "full", NULL};

static bool good_name(const char *text)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";

	return text && *text && *text != '.' && *text != '-' &&
	       strspn(text, ok) == strlen(text);
}

static int parse_series(const struct js *at, struct experiment *e)
{
	static const char *const known[] = {"approach", "variant", NULL};
	const json_t *list = json_object_get(at->object, "series");

	if (!json_is_array(list) || !json_array_size(list))
		return js_wrong(at, "series", "an array of series");
	e->n_series = json_array_size(list);
	e->series = calloc(e->n_series, sizeof(*e->series));
	if (!e->series)
		return no_memory(at->file);
	for (size_t i = 0; i < e->n_series; i++) {
		char where[32];
		struct js one = {.file = at->file,
				 .where = where,
				 .object = json_array_get(list, i)};
		int err;

		(void)snprintf(where, sizeof(where), "series[%zu].", i);
		if (!json_is_object(one.object))
			return js_wrong(at, "series", "an array of objects");
		err = js_known(&one, known);
		if (!err)
			err = js_text(&one, "approach", &e->series[i].approach);
		if (!err)
			err = js_text(&one, "variant", &e->series[i].variant);
		if (err)
			return err;
		if (!good_name(e->series[i].approach))
			return js_wrong(&one, "approach", "a name");
		if (e->series[i].variant && !good_name(e->series[i].variant))
			return js_wrong(&one, "variant", "a name");
	}
	return 0;
}

/* The parameters that can be lists; their product is the list of links. */
struct axes {
	double *rtt, *rate, *jitter, *loss;
	size_t n_rtt, n_rate, n_jitter, n_loss;
};

#define EMULATION_REASON                                                     \
	"the speed of memory and of hashing means nothing under software "   \
	"emulation: vector code is 50 times slower there, and the order of " \
	"designs changes"

static int parse_axes(const struct js *at, struct axes *a)
{
	int err = js_reals(at, "rtt_ms", 0, 10000, &a->rtt, &a->n_rtt);

	if (!err)
		err = js_reals(at, "rate_mbit", 0, 1e6, &a->rate, &a->n_rate);
	if (!err)
		err = js_reals(at, "jitter_ms", 0, 10000, &a->jitter,
			       &a->n_jitter);
	if (!err)
		err = js_reals(at, "loss_pct", 0, 100, &a->loss, &a->n_loss);
	return err;
}

static int make_link(const struct js *at, const struct axes *a, size_t i,
		     struct link_profile *ret)
{
	char text[200];
	size_t n_loss = a->loss ? a->n_loss : 1;
	size_t n_jitter = a->jitter ? a->n_jitter : 1;
	size_t n_rate = a->rate ? a->n_rate : 1;
	double loss = a->loss ? a->loss[i % n_loss] : 0;
	double jitter = a->jitter ? a->jitter[i / n_loss % n_jitter] : 0;
	double rate = a->rate ? a->rate[i / n_loss / n_jitter % n_rate] : 0;
	double rtt = a->rtt ? a->rtt[i / n_loss / n_jitter / n_rate] : 0;
	int len = snprintf(text, sizeof(text),
			   "rtt=%.6fms,jitter=%.6fms,loss=%.9f%%", rtt, jitter,
			   loss);

	if (rate > 0)
		(void)snprintf(text + len, sizeof(text) - (size_t)len,
			       ",rate=%.6fM", rate);
	if (link_profile_parse(text, ret))
		return ms_err_add(-EINVAL, "%s: %s", at->file, at->where);
	/* As the file has it, not as the text was rounded. */
	ret->rtt_ms = rtt;
	ret->rate_mbit = rate;
	ret->jitter_ms = jitter;
	ret->loss_pct = loss;
	return 0;
}

static int product_of(const struct js *at, const struct axes *a,
		      struct experiment *e)
{
	int err = 0;

	e->n_links = (a->rtt ? a->n_rtt : 1) * (a->rate ? a->n_rate : 1) *
		     (a->jitter ? a->n_jitter : 1) * (a->loss ? a->n_loss : 1);
	e->links = calloc(e->n_links, sizeof(*e->links));
	if (!e->links)
		return no_memory(at->file);
	for (size_t i = 0; i < e->n_links && !err; i++)
		err = make_link(at, a, i, &e->links[i]);
	return err;
}

static int parse_profiles(const struct js *at, struct experiment *e)
{
	const char **texts = NULL;
	int err = js_texts(at, "profiles", &texts, &e->n_links);

	if (!err && !e->n_links)
		err = js_wrong(at, "profiles", "at least one profile");
	e->links = calloc(e->n_links + 1, sizeof(*e->links));
	if (!err && !e->links)
		err = no_memory(at->file);
	for (size_t i = 0; i < e->n_links && !err; i++) {
		err = link_profile_parse(texts[i], &e->links[i]);
		if (err)
			err = ms_err_add(err, "%s: link.profiles", at->file);
	}
	free(texts);
	return err;
}

/* Each link once for each of the drivers. */
static int times_drivers(const struct js *at, const char *const *names,
			 size_t n, struct experiment *e)
{
	size_t links = e->n_links;
	struct link_profile *list = calloc(links * n + 1, sizeof(*list));

	e->drivers = calloc(links * n + 1, sizeof(*e->drivers));
	if (!list || !e->drivers) {
		free(list);
		return no_memory(at->file);
	}
	for (size_t i = 0; i < links * n; i++) {
		list[i] = e->links[i / n];
		if (link_driver_parse(names[i % n], &e->drivers[i])) {
			free(list);
			return js_wrong(at, "driver",
					"auto, emulated, netem, sleep (or a "
					"list of them), or none");
		}
	}
	free(e->links);
	e->links = list;
	e->n_links = links * n;
	return 0;
}

static int parse_links(const struct js *at, struct experiment *e)
{
	struct axes axes = {0};
	int err;

	if (js_has(at, "profiles"))
		return parse_profiles(at, e);
	err = parse_axes(at, &axes);
	if (!err)
		err = product_of(at, &axes, e);
	free(axes.rtt);
	free(axes.rate);
	free(axes.jitter);
	free(axes.loss);
	return err;
}

static int parse_link(const struct js *root, struct experiment *e)
{
	static const char *const known[] = {
		"driver",   "rtt_ms",	  "rate_mbit", "jitter_ms",
		"loss_pct", "congestion", "profiles",  NULL};
	static const char *const automatic[] = {"auto"};
	struct js at;
	const char **drivers = NULL;
	size_t n = 0;
	int err = js_object(root, "link", "link.", &at);

	if (!err)
		err = js_known(&at, known);
	if (!err)
		err = js_text_or_texts(&at, "driver", &drivers, &n);
	if (!err)
		err = js_text(&at, "congestion", &e->congestion);
	e->local = !err && n == 1 && !strcmp(drivers[0], "none");
	if (!err && e->local && json_object_size(at.object) != 1)
		err = js_wrong(&at, "driver",
			       "one that has a link, when there are other "
			       "keys");
	if (!err && !e->local)
		err = parse_links(&at, e);
	if (!err && !e->local)
		err = n ? times_drivers(&at, drivers, n, e)
			: times_drivers(&at, automatic, 1, e);
	free(drivers);
	return err;
}

/* "where", and "emulation": changes, or why it says nothing there. */
static int parse_place(const struct js *at, struct experiment *e)
{
	const json_t *emulation = json_object_get(at->object, "emulation");
	int err = js_text(at, "where", &e->where);

	if (!err && e->where && strcmp(e->where, "auto") != 0 &&
	    strcmp(e->where, "native") != 0 && strcmp(e->where, "vm") != 0)
		err = js_wrong(at, "where", "auto, native or vm");
	if (!err && emulation && !json_is_object(emulation) &&
	    !json_is_string(emulation))
		err = js_wrong(at, "emulation",
			       "an object of changes, or a text that says why "
			       "it cannot be emulated");
	e->no_emulation = json_string_value(emulation);
	if (!e->no_emulation && e->local)
		e->no_emulation = EMULATION_REASON;
	return err;
}

static int parse_numbers(const struct js *at, struct experiment *e)
{
	double limit = 0;
	double timeout = 60;
	uint64_t *chunk = NULL;
	size_t n = 0;
	int err = js_sizes(at, "size", &e->sizes, &e->n_sizes);

	if (!err && !e->sizes)
		err = js_wrong(at, "size", "a size such as \"256M\"");
	if (!err)
		err = js_sizes(at, "chunk", &chunk, &n);
	if (!err && n > 1)
		err = js_wrong(at, "chunk", "one size");
	e->chunk_bytes = chunk && n == 1 ? chunk[0] : 0;
	free(chunk);
	if (!err)
		err = js_count(at, "seed", 0, INT64_MAX, &e->seed);
	if (!err)
		err = js_count(at, "repetitions", 1, REPETITIONS_MAX,
			       &e->repetitions);
	if (!err)
		err = js_count(at, "warmup", 0, 100, &e->warmup);
	if (!err)
		err = js_real(at, "time_limit_s", 0, SECONDS_MAX, &limit);
	if (!err)
		err = js_real(at, "timeout_s", 0.1, SECONDS_MAX, &timeout);
	if (!err && limit > 0 && timeout <= limit)
		err = js_wrong(at, "timeout_s", "more than time_limit_s");
	e->time_limit_ms = (uint64_t)llround(limit * 1e3);
	e->timeout_ms = (uint64_t)llround(timeout * 1e3);
	return err;
}

static int parse_texts(const struct js *at, struct experiment *e)
{
	int err = js_text(at, "name", &e->name);

	if (!err && !good_name(e->name))
		err = js_wrong(at, "name", "a name (letters, digits, ._+-)");
	if (!err)
		err = js_text(at, "title", &e->title);
	if (!err && !e->title)
		err = js_wrong(at, "title", "a text");
	if (!err)
		err = js_text(at, "thesis", &e->thesis);
	if (!err)
		err = js_text(at, "store", &e->store);
	if (!err)
		err = js_text(at, "dataset", &e->dataset);
	if (!err)
		err = js_text(at, "data", &e->data);
	return err;
}

static int parse_all(const struct js *at, struct experiment *e)
{
	static const char *const known[] = {
		"name",	  "title",	  "thesis",
		"about",  "order",	  "workload",
		"link",	  "size",	  "chunk",
		"seed",	  "store",	  "dataset",
		"data",	  "series",	  "repetitions",
		"warmup", "time_limit_s", "timeout_s",
		"where",  "emulation",	  NULL};
	struct js workload;
	int err = js_known(at, known);

	if (!err)
		err = parse_texts(at, e);
	if (!err)
		err = parse_numbers(at, e);
	if (!err)
		err = parse_link(at, e);
	if (!err)
		err = parse_series(at, e);
	if (!err)
		err = parse_place(at, e);
	if (!err)
		err = js_object(at, "workload", "workload.", &workload);
	if (!err)
		err = workload_args(&workload, e);
	return err;
}

/* The file without its sets, and with the changes that `set` makes. */
static int effective(const char *file, const json_t *json, const char *set,
		     json_t **ret)
{
	const json_t *sets = json_object_get(json, "sets");
	json_t *change = NULL;
	json_t *copy = json_deep_copy(json);

	if (!copy)
		return no_memory(file);
	*ret = copy;
	(void)json_object_del(copy, "sets");
	if (!set || !*set)
		return 0;
	change = json_object_get(sets, set);
	if (!change)
		return -ENOENT;
	if (!json_is_object(change))
		return ms_err(-EINVAL, "%s: sets.%s: takes an object", file,
			      set);
	if (json_object_get(change, "name") || json_object_get(change, "sets"))
		return ms_err(-EINVAL, "%s: sets.%s: cannot change the name",
			      file, set);
	/* A link of other parameters, not a mixture of two. */
	if (json_object_update_recursive(copy, change))
		return no_memory(file);
	return 0;
}

int experiment_parse(const char *file, const json_t *json, const char *set,
		     struct experiment *ret)
{
	char prefix[48] = "";
	struct js at = {.file = file, .where = prefix};
	int err;

	*ret = (struct experiment){.seed = 1,
				   .repetitions = 5,
				   .congestion = "cubic",
				   .place = ROW_NATIVE,
				   .dataset = "pattern:seed={seed}",
				   .store = "memory:size={size},seed={seed}"};
	ret->file = strdup(file);
	if (!ret->file)
		return no_memory(file);
	err = effective(file, json, set, &ret->json);
	at.object = ret->json;
	return err ? err : parse_all(&at, ret);
}

/* "key=value" into "a=1;c=2" at its place. */
static int add_param(struct experiment *e, const char *key, const char *value)
{
	const char *at = e->params;
	char *text = NULL;
	size_t len = strlen(key);

	while (*at && (strncmp(at, key, len) < 0))
		at += strcspn(at, ";") + (at[strcspn(at, ";")] == ';');
	if (asprintf(&text, "%.*s%s%s=%s%s%s", (int)(at - e->params), e->params,
		     at > e->params && at[-1] != ';' ? ";" : "", key, value,
		     *at ? ";" : "", at) < 0)
		return no_memory(e->file);
	free(e->params);
	e->params = text;
	return 0;
}

/* Parse it again with the changes; what was chosen stays. */
static int change_for_emulation(struct experiment *e)
{
	struct experiment changed;
	json_t *copy = json_deep_copy(e->json);
	const json_t *changes = json_object_get(e->json, "emulation");
	int err;

	if (!copy || json_object_update_recursive(copy, (json_t *)changes) ||
	    json_object_del(copy, "emulation")) {
		json_decref(copy);
		return no_memory(e->file);
	}
	err = experiment_parse(e->file, copy, NULL, &changed);
	json_decref(copy);
	if (err) {
		experiment_release(&changed);
		return ms_err_add(err, "emulation");
	}
	changed.place = e->place;
	memcpy(changed.accel, e->accel, sizeof(e->accel));
	memcpy(changed.place_why, e->place_why, sizeof(e->place_why));
	experiment_release(e);
	*e = changed;
	return 0;
}

int experiment_settle(struct experiment *e)
{
	int err = 0;

	if (e->place != ROW_VM || !*e->accel)
		return 0;
	if (!strcmp(e->accel, "tcg") &&
	    json_is_object(json_object_get(e->json, "emulation")))
		err = change_for_emulation(e);
	return err ? err : add_param(e, "accel", e->accel);
}

void experiment_release(struct experiment *e)
{
	for (size_t i = 0; e->options && e->options[i]; i++)
		free(e->options[i]);
	free(e->options);
	free(e->params);
	free(e->series);
	free(e->links);
	free(e->drivers);
	free(e->sizes);
	free(e->file);
	json_decref(e->json);
	*e = (struct experiment){0};
}

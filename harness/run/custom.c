/* SPDX-License-Identifier: Apache-2.0 */
/* Options as the JSON of an experiment file, then parsed as one. */
#include "harness/run/custom.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/run/no-memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "command line"

json_t *custom_series(const char *text, const char *variant)
{
	json_t *list = json_array();
	char *copy = strdup(text);
	char *save = NULL;

	for (char *one = copy ? strtok_r(copy, ",", &save) : NULL; one;
	     one = strtok_r(NULL, ",", &save)) {
		char *slash = strchr(one, '/');
		json_t *s = json_object();

		if (slash)
			*slash = '\0';
		(void)json_object_set_new(s, "approach", json_string(one));
		if (slash)
			(void)json_object_set_new(s, "variant",
						  json_string(slash + 1));
		else if (variant)
			(void)json_object_set_new(s, "variant",
						  json_string(variant));
		(void)json_array_append_new(list, s);
	}
	free(copy);
	return list;
}

/* "0,5,20" as an array of numbers. */
static int numbers(const char *name, const char *text, json_t *link)
{
	json_t *list = json_array();
	char *copy = strdup(text);
	char *save = NULL;
	int err = copy ? 0 : no_memory(name);

	for (char *one = copy ? strtok_r(copy, ",", &save) : NULL; one && !err;
	     one = strtok_r(NULL, ",", &save)) {
		double value = 0;

		if (ms_parse_real(one, &value) || strchr(one, '%'))
			err = ms_err(-EINVAL,
				     "--%s takes numbers such as 0,5,20, not "
				     "\"%.40s\"",
				     !strcmp(name, "rtt_ms") ? "rtt" : "rate",
				     text);
		else
			(void)json_array_append_new(list, json_real(value));
	}
	free(copy);
	(void)json_object_set_new(link, name, list);
	return err;
}

static int make_link(const struct custom *c, json_t **ret)
{
	json_t *link = json_object();
	int err = 0;

	*ret = link;
	if ((c->rtt || c->rate) && c->link)
		return ms_err(-EINVAL, "--link and --rtt or --rate are two "
				       "different ways to name a link");
	if (!c->rtt && !c->rate && (!c->link || !strcmp(c->link, "local"))) {
		(void)json_object_set_new(link, "driver", json_string("none"));
		return 0;
	}
	(void)json_object_set_new(link, "driver", json_string(c->driver));
	if (c->link)
		(void)json_object_set_new(link, "profiles",
					  json_pack("[s]", c->link));
	if (c->rtt)
		err = numbers("rtt_ms", c->rtt, link);
	if (!err && c->rate)
		err = numbers("rate_mbit", c->rate, link);
	return err;
}

static json_t *describe(const struct custom *c, json_t *link)
{
	json_t *j = json_pack(
		"{s:s,s:s,s:O,s:o,s:I,s:I,s:I,s:I,s:f,s:f,"
		"s:{s:s,s:s,s:I,s:I}}",
		"name", "custom", "title", "A cell of one's own", "link", link,
		"series", custom_series(c->approach, c->variant), "size",
		(json_int_t)c->size, "seed", (json_int_t)c->seed, "repetitions",
		(json_int_t)c->repetitions, "warmup", (json_int_t)c->warmup,
		"time_limit_s", (double)c->time_limit_ns / 1e9, "timeout_s",
		(double)c->timeout_ns / 1e9, "workload", "name", c->workload,
		"access", c->access, "access_bytes",
		(json_int_t)c->access_bytes, "threads", (json_int_t)c->threads);

	if (j && c->chunk)
		(void)json_object_set_new(j, "chunk",
					  json_integer((json_int_t)c->chunk));
	return j;
}

int custom_make(const struct custom *c, struct experiments *ret)
{
	struct experiments list = {.list = calloc(1, sizeof(*list.list))};
	json_t *link = NULL;
	json_t *j = NULL;
	int err = list.list ? 0 : no_memory("experiment");

	if (!err)
		err = make_link(c, &link);
	if (!err) {
		j = describe(c, link);
		if (!j)
			err = ms_err(-EINVAL, "the options are not UTF-8");
	}
	if (!err && j) {
		list.n = 1;
		err = experiment_parse(WHERE, j, NULL, &list.list[0]);
	}
	json_decref(link);
	json_decref(j);
	if (err) {
		experiments_release(&list);
		return err;
	}
	*ret = list;
	return 0;
}

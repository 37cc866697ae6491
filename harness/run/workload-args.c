/* SPDX-License-Identifier: Apache-2.0 */
/* A workload as arguments; see workload-args.h. */
#include "harness/run/workload-args.h"

#include "approaches/common/util/err.h"
#include "approaches/common/workload/workload.h"
#include "harness/run/no-memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEYS_MAX = 32,
	TEXT_MAX = 128,
};

struct config {
	struct ms_workload_config w;
};

static const struct ms_opt options[] = {MS_WORKLOAD_OPTIONS(struct config, w),
					MS_OPT_END};

/* Set by the runner from keys of their own. */
static const char *const reserved[] = {"workload", "time-limit", "pattern-seed",
				       "reference", "verify"};

struct pairs {
	char text[KEYS_MAX][TEXT_MAX]; /* key=value */
	size_t n;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* '=' sorts behind '-', so compare keys as the row's checker does. */
static int by_key(const void *a, const void *b)
{
	size_t x = strcspn(a, "=");
	size_t y = strcspn(b, "=");
	int order = strncmp(a, b, x < y ? x : y);

	if (!order)
		order = (x > y) - (x < y);
	return order ? order : by_text(a, b);
}

static int value_text(const struct js *at, const char *key, char *buf,
		      size_t size)
{
	const json_t *v = json_object_get(at->object, key);

	if (json_is_string(v))
		(void)snprintf(buf, size, "%s", json_string_value(v));
	else if (json_is_integer(v))
		(void)snprintf(buf, size, "%lld",
			       (long long)json_integer_value(v));
	else if (json_is_real(v))
		(void)snprintf(buf, size, "%g", json_real_value(v));
	else if (json_is_boolean(v))
		(void)snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
	else
		return js_wrong(at, key, "a text, a number, true or false");
	return 0;
}

static void exchange(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static int add_arg(struct experiment *e, size_t *n, const char *text)
{
	e->options[*n] = strdup(text);
	if (!e->options[*n])
		return no_memory(e->file);
	(*n)++;
	return 0;
}

/* One option: check the value, add the arguments and the pair. */
static int add_option(const struct js *at, const char *key,
		      struct config *config, struct experiment *e,
		      struct pairs *pairs)
{
	char name[TEXT_MAX / 4];
	char value[TEXT_MAX / 2];
	char arg[TEXT_MAX];
	const struct ms_opt *opt = NULL;
	size_t n = 0;
	int err = value_text(at, key, value, sizeof(value));

	if (err)
		return err;
	(void)snprintf(name, sizeof(name), "%s", key);
	exchange(name, '_', '-');
	opt = ms_opt_find(options, name);
	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		if (!strcmp(name, reserved[i]))
			opt = NULL;
	if (!opt || pairs->n == KEYS_MAX)
		return ms_err(-EINVAL, "%s: %s%.40s: unknown key", at->file,
			      at->where, key);
	if (ms_opt_set(opt, config, opt->name, value))
		return ms_err_add(-EINVAL, "%s: %s", at->file, at->where);
	ms_opt_format(opt, config, value, sizeof(value));
	while (e->options[n])
		n++;
	if (opt->type == MS_OPT_T_FLAG) {
		(void)snprintf(arg, sizeof(arg), "--%s", opt->name);
		if (!strcmp(value, "no"))
			return 0;
	} else {
		(void)snprintf(arg, sizeof(arg), "--%s=%s", opt->name, value);
	}
	exchange(name, '-', '_');
	if (opt->type == MS_OPT_T_SIZE)
		(void)snprintf(value, sizeof(value), "%" PRIu64,
			       *(uint64_t *)((char *)config + opt->offset));
	(void)snprintf(pairs->text[pairs->n++], TEXT_MAX, "%s=%s", name, value);
	return add_arg(e, &n, arg);
}

/* What the runner adds to every workload. */
static int add_common(struct experiment *e, struct pairs *pairs)
{
	char arg[TEXT_MAX];
	size_t n = 0;
	int err = 0;

	while (e->options[n])
		n++;
	if (e->time_limit_ms) {
		(void)snprintf(arg, sizeof(arg), "--time-limit=%" PRIu64 "ms",
			       e->time_limit_ms);
		err = add_arg(e, &n, arg);
		(void)snprintf(pairs->text[pairs->n++], TEXT_MAX,
			       "time_limit_ms=%" PRIu64, e->time_limit_ms);
	}
	if (e->data)
		(void)snprintf(arg, sizeof(arg), "--reference=%.100s", e->data);
	else
		(void)snprintf(arg, sizeof(arg), "--pattern-seed=%" PRIu64,
			       e->seed);
	if (!err)
		err = add_arg(e, &n, arg);
	(void)snprintf(pairs->text[pairs->n++], TEXT_MAX, "seed=%" PRIu64,
		       e->seed);
	return err;
}

static int join(struct experiment *e, struct pairs *pairs)
{
	size_t len = 0;

	qsort(pairs->text, pairs->n, TEXT_MAX, by_key);
	e->params = calloc(pairs->n + 1, TEXT_MAX);
	if (!e->params)
		return no_memory(e->file);
	for (size_t i = 0; i < pairs->n; i++)
		len += (size_t)sprintf(e->params + len, "%s%s", i ? ";" : "",
				       pairs->text[i]);
	return 0;
}

static bool known_kind(const char *name)
{
	for (size_t i = 0; ms_workload_kinds[i]; i++)
		if (!strcmp(ms_workload_kinds[i], name))
			return true;
	return false;
}

int workload_args(const struct js *at, struct experiment *e)
{
	struct pairs *pairs = calloc(1, sizeof(*pairs));
	struct config config = {0};
	char arg[TEXT_MAX];
	size_t n = 0;
	void *i = json_object_iter((json_t *)at->object);
	int err = js_text(at, "name", &e->workload);

	e->options = calloc(KEYS_MAX + 8, sizeof(*e->options));
	if (!pairs || !e->options) {
		free(pairs);
		return no_memory(at->file);
	}
	/* "cost" is no access to a region: only the harness' own program. */
	if (!err && (!e->workload || (!known_kind(e->workload) &&
				      strcmp(e->workload, "cost") != 0)))
		err = js_wrong(at, "name", "the name of a workload");
	if (!err)
		err = ms_opt_defaults(options, &config);
	if (!err) {
		(void)snprintf(arg, sizeof(arg), "--workload=%s", e->workload);
		err = add_arg(e, &n, arg);
	}
	for (; i && !err; i = json_object_iter_next((json_t *)at->object, i))
		if (strcmp(json_object_iter_key(i), "name") != 0)
			err = add_option(at, json_object_iter_key(i), &config,
					 e, pairs);
	if (!err)
		err = add_common(e, pairs);
	if (!err)
		err = join(e, pairs);
	ms_opt_release(options, &config);
	free(pairs);
	return err;
}

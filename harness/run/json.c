/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of JSON files; see json.h. */
#include "harness/run/json.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/run/no-memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int js_load(const char *path, json_t **ret)
{
	json_error_t e;
	json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &e);

	if (!j && e.line < 0)
		return ms_err(-EINVAL, "%s", e.text);
	if (!j)
		return ms_err(-EINVAL, "%s:%d: %s", path, e.line, e.text);
	if (!json_is_object(j)) {
		json_decref(j);
		return ms_err(-EINVAL, "%s: is not a JSON object", path);
	}
	*ret = j;
	return 0;
}

int js_known(const struct js *at, const char *const *known)
{
	void *i = json_object_iter((json_t *)at->object);

	for (; i; i = json_object_iter_next((json_t *)at->object, i)) {
		const char *key = json_object_iter_key(i);
		bool found = false;

		for (size_t k = 0; known[k] && !found; k++)
			found = !strcmp(known[k], key);
		if (!found)
			return ms_err(-EINVAL, "%s: %s%.60s: unknown key",
				      at->file, at->where, key);
	}
	return 0;
}

bool js_has(const struct js *at, const char *key)
{
	return json_object_get(at->object, key) != NULL;
}

int js_wrong(const struct js *at, const char *key, const char *takes)
{
	json_t *value = json_object_get(at->object, key);
	char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT)
			   : NULL;

	if (text)
		(void)ms_err(-EINVAL, "%s: %s%s: takes %s, not %.60s", at->file,
			     at->where, key, takes, text);
	else
		(void)ms_err(-EINVAL, "%s: %s%s: is missing (takes %s)",
			     at->file, at->where, key, takes);
	free(text);
	return -EINVAL;
}

int js_text(const struct js *at, const char *key, const char **ret)
{
	const json_t *v = json_object_get(at->object, key);

	if (!v)
		return 0;
	if (!json_is_string(v) || !json_string_length(v))
		return js_wrong(at, key, "a text");
	*ret = json_string_value(v);
	return 0;
}

int js_flag(const struct js *at, const char *key, bool *ret)
{
	const json_t *v = json_object_get(at->object, key);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return js_wrong(at, key, "true or false");
	*ret = json_is_true(v);
	return 0;
}

static int one_real(const struct js *at, const char *key, const json_t *v,
		    const double range[2], double *ret)
{
	char takes[80];
	double value = json_number_value(v);

	if (json_is_number(v) && value >= range[0] && value <= range[1]) {
		*ret = value;
		return 0;
	}
	(void)snprintf(takes, sizeof(takes), "a number from %g to %g", range[0],
		       range[1]);
	return js_wrong(at, key, takes);
}

int js_real(const struct js *at, const char *key, double min, double max,
	    double *ret)
{
	const json_t *v = json_object_get(at->object, key);
	double range[2] = {min, max};

	return v ? one_real(at, key, v, range, ret) : 0;
}

int js_count(const struct js *at, const char *key, uint64_t min, uint64_t max,
	     uint64_t *ret)
{
	const json_t *v = json_object_get(at->object, key);
	json_int_t value = json_integer_value(v);
	char takes[80];

	if (!v)
		return 0;
	if (json_is_integer(v) && value >= 0 && (uint64_t)value >= min &&
	    (uint64_t)value <= max) {
		*ret = (uint64_t)value;
		return 0;
	}
	(void)snprintf(takes, sizeof(takes), "a whole number from %llu to %llu",
		       (unsigned long long)min, (unsigned long long)max);
	return js_wrong(at, key, takes);
}

int js_object(const struct js *at, const char *key, const char *where,
	      struct js *ret)
{
	const json_t *v = json_object_get(at->object, key);

	if (!json_is_object(v))
		return js_wrong(at, key, "an object");
	*ret = (struct js){.file = at->file, .where = where, .object = v};
	return 0;
}

/* The value as a list: one element that is not an array is a list of one. */
static size_t list_size(const json_t *v)
{
	return json_is_array(v) ? json_array_size(v) : 1;
}

static const json_t *list_item(const json_t *v, size_t i)
{
	return json_is_array(v) ? json_array_get(v, i) : v;
}

int js_reals(const struct js *at, const char *key, double min, double max,
	     double **ret, size_t *ret_n)
{
	const json_t *v = json_object_get(at->object, key);
	double range[2] = {min, max};
	size_t n = list_size(v);
	double *list = NULL;
	int err = 0;

	if (!v)
		return 0;
	if (!n)
		return js_wrong(at, key, "at least one number");
	list = calloc(n, sizeof(*list));
	if (!list)
		return no_memory(at->file);
	for (size_t i = 0; i < n && !err; i++)
		err = one_real(at, key, list_item(v, i), range, &list[i]);
	if (err) {
		free(list);
		return err;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

static int one_size(const struct js *at, const char *key, const json_t *v,
		    uint64_t *ret)
{
	if (json_is_integer(v) && json_integer_value(v) > 0) {
		*ret = (uint64_t)json_integer_value(v);
		return 0;
	}
	if (json_is_string(v) && !ms_parse_size(json_string_value(v), ret) &&
	    *ret > 0 && *ret <= INT64_MAX)
		return 0;
	return js_wrong(at, key, "a size such as 4096 or \"256M\"");
}

int js_sizes(const struct js *at, const char *key, uint64_t **ret,
	     size_t *ret_n)
{
	const json_t *v = json_object_get(at->object, key);
	size_t n = list_size(v);
	uint64_t *list = NULL;
	int err = 0;

	if (!v)
		return 0;
	if (!n)
		return js_wrong(at, key, "at least one size");
	list = calloc(n, sizeof(*list));
	if (!list)
		return no_memory(at->file);
	for (size_t i = 0; i < n && !err; i++)
		err = one_size(at, key, list_item(v, i), &list[i]);
	if (err) {
		free(list);
		return err;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int js_texts(const struct js *at, const char *key, const char ***ret,
	     size_t *ret_n)
{
	const json_t *v = json_object_get(at->object, key);
	const char **list = NULL;

	if (!v)
		return 0;
	if (!json_is_array(v))
		return js_wrong(at, key, "an array of texts");
	list = calloc(json_array_size(v) + 1, sizeof(*list));
	if (!list)
		return no_memory(at->file);
	for (size_t i = 0; i < json_array_size(v); i++) {
		list[i] = json_string_value(json_array_get(v, i));
		if (list[i])
			continue;
		free(list);
		return js_wrong(at, key, "an array of texts");
	}
	*ret = list;
	*ret_n = json_array_size(v);
	return 0;
}

int js_text_or_texts(const struct js *at, const char *key, const char ***ret,
		     size_t *ret_n)
{
	const char *one = json_string_value(json_object_get(at->object, key));
	const char **list;

	if (!one)
		return js_texts(at, key, ret, ret_n);
	list = calloc(2, sizeof(*list));
	if (!list)
		return no_memory(at->file);
	list[0] = one;
	*ret = list;
	*ret_n = 1;
	return 0;
}

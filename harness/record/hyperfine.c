/* SPDX-License-Identifier: Apache-2.0 */
/* hyperfine's JSON as rows: every run is kept, also the failed ones. */
#include "harness/record/hyperfine.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>

/* The arrays of the file's only command. */
struct runs {
	json_t *times;
	json_t *codes;
	size_t n;
};

static int find_runs(const json_t *root, const char *path, struct runs *ret)
{
	json_t *results = json_object_get(root, "results");
	json_t *one = json_array_get(results, 0);

	if (json_array_size(results) != 1)
		return ms_err(-EBADMSG, "%s: %zu commands, not one", path,
			      json_array_size(results));
	ret->times = json_object_get(one, "times");
	ret->codes = json_object_get(one, "exit_codes");
	ret->n = json_array_size(ret->times);
	if (!ret->n)
		return ms_err(-EBADMSG, "%s: no times", path);
	if (json_array_size(ret->codes) != ret->n)
		return ms_err(-EBADMSG, "%s: %zu times but %zu exit codes",
			      path, ret->n, json_array_size(ret->codes));
	for (size_t i = 0; i < ret->n; i++) {
		const json_t *time = json_array_get(ret->times, i);
		const json_t *code = json_array_get(ret->codes, i);

		if (!json_is_number(time) || json_number_value(time) < 0)
			return ms_err(-EBADMSG, "%s: time %zu is no time", path,
				      i);
		/* null: ended by a signal */
		if (!json_is_integer(code) && !json_is_null(code))
			return ms_err(-EBADMSG,
				      "%s: exit code %zu is no number", path,
				      i);
	}
	return 0;
}

static int one_row(const struct runs *runs, size_t i, const struct row *base,
		   csv_row_fn fn, void *arg)
{
	const json_t *code = json_array_get(runs->codes, i);
	struct row row = *base;
	char reason[64];

	row.repetition = i;
	row.metric = "total_ms";
	row.unit = "ms";
	row.status = ROW_OK;
	row.reason = NULL;
	row.value = json_number_value(json_array_get(runs->times, i)) * 1000;
	if (json_is_null(code) || json_integer_value(code) != 0) {
		row.status = ROW_FAILED;
		row.value = (double)NAN;
		row.verified = 0;
		if (json_is_null(code))
			(void)snprintf(reason, sizeof(reason),
				       "ended by a signal");
		else
			(void)snprintf(reason, sizeof(reason),
				       "exit status %" JSON_INTEGER_FORMAT,
				       json_integer_value(code));
		row.reason = reason;
	}
	return fn(arg, &row);
}

int hyperfine_rows(const char *json_path, const struct row *base, csv_row_fn fn,
		   void *arg)
{
	struct runs runs = {0};
	json_error_t why;
	json_t *root = NULL;
	FILE *file = fopen(json_path, "re");
	int err = 0;

	if (!file)
		return ms_err(-errno, "hyperfine: open %s", json_path);
	root = json_loadf(file, JSON_REJECT_DUPLICATES, &why);
	(void)fclose(file);
	if (!root)
		return ms_err(-EBADMSG, "%s:%d: %s", json_path, why.line,
			      why.text);
	err = find_runs(root, json_path, &runs);
	for (size_t i = 0; !err && i < runs.n; i++)
		err = one_row(&runs, i, base, fn, arg);
	json_decref(root);
	return err;
}

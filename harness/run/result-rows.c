/* SPDX-License-Identifier: Apache-2.0 */
/* A program's result as rows; see result-rows.h. */
#include "harness/run/result-rows.h"

#include "approaches/common/util/err.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA "memsync-result/1"

void rows_status(struct run_rows *r, enum row_status status, const char *fmt,
		 ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
	va_end(ap);
	/* A row is a line of text. */
	for (char *c = r->reason; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	if (!r->reason[0])
		(void)snprintf(r->reason, sizeof(r->reason), "no reason given");
	r->base.status = (int)status;
	r->base.reason = r->reason;
	r->base.verified = 0;
	r->list[0] = r->base;
	r->list[0].metric = NULL;
	r->list[0].unit = NULL;
	r->list[0].value = NAN;
	r->n = 1;
}

void rows_add(struct run_rows *r, const char *metric, double value)
{
	const struct row_metric *m = row_metric_find(metric, NULL);
	struct row *row;

	if (r->base.status != ROW_OK || !m || !isfinite(value) || value < 0 ||
	    r->n == ROWS_MAX)
		return;
	/* A program that moves nothing has numbers about the harness only. */
	if (!r->base.verified && !(m->flags & METRIC_HARNESS))
		return;
	row = &r->list[r->n++];
	*row = r->base;
	row->metric = metric;
	row->unit = m->unit;
	row->value = value;
}

void rows_replace(struct run_rows *r, const char *metric, double value)
{
	for (size_t i = 0; i < r->n; i++) {
		if (r->list[i].metric && !strcmp(r->list[i].metric, metric)) {
			r->list[i].value = value;
			return;
		}
	}
	rows_add(r, metric, value);
}

double rows_value(const struct run_rows *r, const char *metric)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].metric && !strcmp(r->list[i].metric, metric))
			return r->list[i].value;
	return NAN;
}

void rows_add_bound(struct run_rows *r, const char *metric, double value)
{
	char *name = r->bound_names[r->n_bounds];

	if (isnan(rows_value(r, metric)) || r->n_bounds + 1 == ROWS_MAX)
		return;
	(void)snprintf(name, sizeof(r->bound_names[0]), ROW_BOUND_PREFIX "%s",
		       metric);
	r->n_bounds++;
	rows_add(r, name, value);
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));

	return text && *text ? text : NULL;
}

static uint64_t count_of(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

static int status_of(const char *text)
{
	static const char *const names[] = {[ROW_OK] = "ok",
					    [ROW_FAILED] = "failed",
					    [ROW_REFUSED] = "refused",
					    [ROW_SKIPPED] = "skipped"};

	for (int i = ROW_OK; text && i <= ROW_SKIPPED; i++)
		if (!strcmp(names[i], text))
			return i;
	return ROW_STATUS_UNSET;
}

/* Columns that only the program knows. Longer texts are cut, not refused. */
static void take_columns(struct run_rows *r)
{
	const json_t *j = r->result;
	const char *placement = text_of(j, "placement");
	const char *pipeline = text_of(j, "pipeline");
	size_t len = strlen(r->placement);

	if (placement)
		(void)snprintf(r->placement + len, sizeof(r->placement) - len,
			       "%shandler %s", len ? " " : "", placement);
	r->base.placement = r->placement[0] ? r->placement : NULL;
	len = strlen(r->pipeline);
	if (pipeline) {
		char remote[sizeof(r->pipeline)];

		memcpy(remote, r->pipeline, sizeof(remote));
		(void)snprintf(r->pipeline, sizeof(r->pipeline),
			       "%.200s%s%.300s", pipeline, len ? " <- " : "",
			       remote);
	}
	r->base.pipeline = r->pipeline[0] ? r->pipeline : NULL;
	if (count_of(j, "chunk_bytes"))
		r->base.chunk_bytes = count_of(j, "chunk_bytes");
	if (count_of(j, "workers"))
		r->base.workers = count_of(j, "workers");
	r->base.bytes_done = count_of(j, "bytes_done");
	r->base.verified = count_of(j, "verified") == 1;
}

/* 0, or -1 after rows_status. */
static int take_metric(struct run_rows *r, const json_t *item)
{
	const char *name = text_of(item, "metric");
	const char *unit = text_of(item, "unit");
	const json_t *value = json_object_get(item, "value");
	bool bound = false;
	const struct row_metric *m =
		name ? row_metric_find(name, &bound) : NULL;

	if (!m) {
		rows_status(r, ROW_FAILED,
			    "the program reported a metric \"%.40s\" that is "
			    "not in the schema",
			    name ? name : "");
		return -1;
	}
	if (!unit || strcmp(unit, m->unit) != 0 || !json_is_number(value) ||
	    !(json_number_value(value) >= 0)) {
		rows_status(r, ROW_FAILED,
			    "the program reported %s without a number in %s",
			    name, m->unit);
		return -1;
	}
	rows_add(r, name, json_number_value(value));
	return 0;
}

static bool check_result(struct run_rows *r, int exit_code)
{
	const char *schema = text_of(r->result, "schema");
	int status = status_of(text_of(r->result, "status"));
	const char *reason = text_of(r->result, "reason");
	int want = status == ROW_OK ? 0 : status == ROW_FAILED ? 1 : 77;

	if (!schema || strcmp(schema, SCHEMA) != 0) {
		rows_status(r, ROW_FAILED,
			    "the program's result has schema \"%.40s\", not "
			    "\"" SCHEMA "\"",
			    schema ? schema : "");
		return false;
	}
	if (status == ROW_STATUS_UNSET) {
		rows_status(r, ROW_FAILED,
			    "the program's result has no status");
		return false;
	}
	if (r->base.variant && text_of(r->result, "variant") &&
	    strcmp(text_of(r->result, "variant"), r->base.variant) != 0) {
		rows_status(r, ROW_FAILED, "the program ran variant %.40s",
			    text_of(r->result, "variant"));
		return false;
	}
	if (exit_code != want) {
		rows_status(r, ROW_FAILED,
			    "the program says %s but ended with exit status %d",
			    text_of(r->result, "status"), exit_code);
		return false;
	}
	if (status != ROW_OK) {
		rows_status(r, (enum row_status)status, "%s",
			    reason ? reason : "");
		return false;
	}
	return true;
}

void rows_result(struct run_rows *r, const char *text, int exit_code)
{
	json_error_t e;
	const json_t *metrics;
	size_t i;
	json_t *item;

	r->result = json_loads(text, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(r->result)) {
		rows_status(r, ROW_FAILED,
			    *text ? "the program printed no result: %s near "
				    "column %d"
				  : "the program printed nothing",
			    e.text, e.column);
		return;
	}
	if (!check_result(r, exit_code))
		return;
	take_columns(r);
	r->base.status = ROW_OK;
	metrics = json_object_get(r->result, "metrics");
	json_array_foreach(metrics, i, item)
	{
		if (take_metric(r, item))
			return;
	}
	if (!r->n)
		rows_status(r, ROW_FAILED, "the program reported no metric");
	else if (!r->base.verified && strcmp(r->base.approach, "null") != 0)
		rows_status(r, ROW_FAILED, "the bytes were not verified");
}

void rows_release(struct run_rows *r)
{
	json_decref(r->result);
	r->result = NULL;
}

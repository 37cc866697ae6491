/* SPDX-License-Identifier: Apache-2.0 */
/* The result object of a program; see result.h. */
#include "approaches/common/cli/result.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
	TEXT_MAX = 512
};

const char *ms_status_name(enum ms_status status)
{
	static const char *const names[] = {
		[MS_STATUS_OK] = "ok",
		[MS_STATUS_FAILED] = "failed",
		[MS_STATUS_REFUSED] = "refused",
		[MS_STATUS_SKIPPED] = "skipped",
	};

	return names[status];
}

/* JSON is UTF-8; a path in a message may be anything. */
static void make_utf8(char *text)
{
	json_t *probe = json_string(text);

	if (!probe)
		for (; *text; text++)
			if ((unsigned char)*text >= 0x80)
				*text = '?';
	json_decref(probe);
}

void ms_result_text(char **field, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (copy)
		make_utf8(copy);
	free(*field);
	*field = copy;
}

/* Add `item` (consumed) to the list in `slot`, which is made when needed. */
static void append(void **slot, json_t *item)
{
	json_t *list = *slot;

	if (!list)
		*slot = list = json_array();
	(void)json_array_append_new(list, item);
}

void ms_result_metric(struct ms_result *r, const char *metric, double value,
		      const char *unit)
{
	/* JSON has no infinities; a metric that is none is not reported. */
	if (!isfinite(value))
		return;
	append(&r->metrics, json_pack("{s:s,s:f,s:s}", "metric", metric,
				      "value", value, "unit", unit));
}

void ms_result_param(struct ms_result *r, const char *key, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	make_utf8(text);
	if (!r->params)
		r->params = json_object();
	(void)json_object_set_new(r->params, key, json_string(text));
}

void ms_result_note(struct ms_result *r, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	make_utf8(text);
	append(&r->notes, json_string(text));
}

void ms_result_fail(struct ms_result *r, enum ms_status status, const char *fmt,
		    ...)
{
	char text[TEXT_MAX];
	va_list ap;

	if (r->status != MS_STATUS_OK)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->status = status;
	ms_result_text(&r->reason, text);
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

/* A new reference to the list, or an empty one. */
static json_t *list_of(void *slot, json_t *(*make)(void))
{
	return slot ? json_incref((json_t *)slot) : make();
}

static int print_json(const struct ms_result *r, FILE *out)
{
	json_t *root = json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:I,s:i,s:s,s:s,"
		"s:o,s:o,s:o}",
		"schema", "memsync-result/1", "program", or_empty(r->program),
		"approach", or_empty(r->approach), "variant",
		or_empty(r->variant), "pipeline", or_empty(r->pipeline),
		"workload", or_empty(r->workload), "chunk_bytes",
		(json_int_t)r->chunk_bytes, "size_bytes",
		(json_int_t)r->size_bytes, "workers", (json_int_t)r->workers,
		"placement", or_empty(r->placement), "bytes_done",
		(json_int_t)r->bytes_done, "verified", r->verified ? 1 : 0,
		"status", ms_status_name(r->status), "reason",
		or_empty(r->reason), "metrics", list_of(r->metrics, json_array),
		"params", list_of(r->params, json_object), "notes",
		list_of(r->notes, json_array));
	int rc = -1;

	if (root && json_dumpf(root, out, JSON_COMPACT) == 0)
		rc = fputc('\n', out) == EOF ? -1 : 0;
	json_decref(root);
	return rc;
}

static int print_text(const struct ms_result *r, FILE *out)
{
	size_t i = 0;
	json_t *item = NULL;

	(void)fprintf(out, "%s %s: %s, %" PRIu64 " bytes of %" PRIu64 ", %s\n",
		      or_empty(r->program), or_empty(r->workload),
		      ms_status_name(r->status), r->bytes_done, r->size_bytes,
		      r->verified ? "verified" : "not verified");
	json_array_foreach((json_t *)r->metrics, i, item)(void)
		fprintf(out, "  %-22s %.6g %s\n",
			json_string_value(json_object_get(item, "metric")),
			json_number_value(json_object_get(item, "value")),
			json_string_value(json_object_get(item, "unit")));
	json_array_foreach((json_t *)r->notes, i, item)(void)
		fprintf(out, "  %s\n", json_string_value(item));
	return ferror(out) ? -1 : 0;
}

int ms_result_print(const struct ms_result *r, bool json, FILE *out)
{
	int rc = json ? print_json(r, out) : print_text(r, out);

	if (fflush(out) || rc) {
		(void)fprintf(stderr, "%s: the result could not be written\n",
			      or_empty(r->program));
		return 1;
	}
	if (r->status == MS_STATUS_OK)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", or_empty(r->program),
		      or_empty(r->reason));
	return r->status == MS_STATUS_FAILED ? 1 : 77;
}

void ms_result_release(struct ms_result *r)
{
	free(r->pipeline);
	free(r->placement);
	free(r->reason);
	json_decref(r->metrics);
	json_decref(r->params);
	json_decref(r->notes);
	*r = (struct ms_result){0};
}

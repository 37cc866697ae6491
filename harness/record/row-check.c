/* SPDX-License-Identifier: Apache-2.0 */
/* What the columns of one row must say about each other; see SCHEMA.md. */
#include "harness/record/row.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct problems {
	row_problem_fn fn;
	void *arg;
	unsigned count;
};

static void problem(struct problems *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void problem(struct problems *p, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	p->fn(p->arg, text);
	p->count++;
}

static bool empty(const char *text)
{
	return !text || !*text;
}

bool row_rtt_fits(const struct row *row)
{
	double slack = ROW_RTT_OFF_MS;

	if (isnan(row->rtt_ms) || isnan(row->rtt_ms_measured))
		return true;
	slack = fmax(slack, row->rtt_ms * ROW_RTT_OFF_SHARE);
	if (!isnan(row->jitter_ms))
		slack += row->jitter_ms;
	return fabs(row->rtt_ms_measured - row->rtt_ms) <= slack;
}

bool row_rate_fits(const struct row *row)
{
	if (isnan(row->rate_mbit) || isnan(row->rate_mbit_measured) ||
	    row->rate_mbit == 0)
		return true;
	/* Under loss the sender's window decides, not the link. */
	if (row->loss_pct > 0)
		return true;
	return fabs(row->rate_mbit_measured - row->rate_mbit) <=
	       row->rate_mbit * ROW_RATE_OFF_SHARE;
}

static void check_required(const struct row *row, struct problems *p)
{
	char number[ROW_NUMBER_MAX];

	for (int c = 0; c < ROW_COLUMNS; c++) {
		unsigned flags = row_columns[c].flags;
		bool needed =
			(flags & ROW_REQUIRED) ||
			((flags & ROW_REQUIRED_OK) && row->status == ROW_OK);

		if (needed && !*row_text(row, c, number))
			problem(p, "%s: is empty", row_columns[c].name);
	}
	if (row->schema_version != ROW_SCHEMA_VERSION)
		problem(p, "schema_version: is not %d", ROW_SCHEMA_VERSION);
}

/*
 * Rows need not have passed row_set (a runner fills them by hand), so numbers
 * and texts are checked the same way here: by writing and reading them.
 */
static void check_fields(const struct row *row, struct problems *p)
{
	char number[ROW_NUMBER_MAX];
	char why[128];
	struct row copy;

	row_init(&copy);
	for (int c = 0; c < ROW_COLUMNS; c++)
		if (row_set(&copy, c, row_text(row, c, number), why,
			    sizeof(why)))
			problem(p, "%s", why);
}

static void check_approach(const struct row *row, struct problems *p)
{
	if (empty(row->approach))
		return;
	for (int i = 0; row_approaches[i]; i++)
		if (!strcmp(row_approaches[i], row->approach))
			return;
	problem(p, "approach: \"%.60s\" is not in the schema", row->approach);
}

static void check_metric(const struct row *row, struct problems *p)
{
	bool bound = false;
	const struct row_metric *m = NULL;

	if (empty(row->metric)) {
		if (!empty(row->unit))
			problem(p, "unit: there is no metric");
		return;
	}
	m = row_metric_find(row->metric, &bound);
	if (!m) {
		problem(p, "metric: \"%.60s\" is not in the schema",
			row->metric);
		return;
	}
	if (empty(row->unit))
		problem(p, "unit: is empty");
	else if (strcmp(row->unit, m->unit) != 0)
		problem(p, "unit: \"%.20s\", but %s is in %s", row->unit,
			row->metric, m->unit);
	if (row->status == ROW_OK && !row->verified && !bound &&
	    !(m->flags & METRIC_HARNESS))
		problem(p, "verified: %s is ok but was not verified",
			row->metric);
}

static void check_status(const struct row *row, struct problems *p)
{
	if (row->status == ROW_STATUS_UNSET)
		return;
	if (row->status == ROW_OK) {
		if (!empty(row->reason))
			problem(p, "reason: given, but the status is ok");
		return;
	}
	if (empty(row->reason))
		problem(p, "reason: is empty, but the status is not ok");
	if (!isnan(row->value))
		problem(p, "value: given, but the status is not ok");
	if (row->verified)
		problem(p, "verified: 1, but the status is not ok");
}

static void check_link(const struct row *row, struct problems *p)
{
	char asked[ROW_NUMBER_MAX];
	char got[ROW_NUMBER_MAX];

	if (row->status != ROW_OK)
		return;
	if (!row_rtt_fits(row))
		problem(p, "rtt_ms_measured: %s, but rtt_ms is %s",
			row_text(row, COL_RTT_MS_MEASURED, got),
			row_text(row, COL_RTT_MS, asked));
	if (!row_rate_fits(row))
		problem(p, "rate_mbit_measured: %s, but rate_mbit is %s",
			row_text(row, COL_RATE_MBIT_MEASURED, got),
			row_text(row, COL_RATE_MBIT, asked));
	/* A link that really delays packets is read back before each cell. */
	if ((row->link_driver == ROW_LINK_EMULATED ||
	     row->link_driver == ROW_LINK_NETEM) &&
	    isnan(row->rtt_ms_measured))
		problem(p, "rtt_ms_measured: is empty, but there is a link");
	if (row->link_driver == ROW_LINK_NONE && row->rtt_ms > 0)
		problem(p, "rtt_ms: %s, but link_driver is none",
			row_text(row, COL_RTT_MS, asked));
}

static void check_params(const struct row *row, struct problems *p)
{
	const char *at = row->params ? row->params : "";
	const char *last = NULL;
	size_t last_len = 0;

	while (*at) {
		size_t all = strcspn(at, ";");
		size_t key = strcspn(at, "=");
		int order = -1;

		if (key == 0 || key >= all) {
			problem(p, "params: \"%.*s\" is not key=value",
				(int)all, at);
			return;
		}
		if (last) {
			order = strncmp(last, at,
					last_len < key ? last_len : key);
			if (order == 0)
				order = last_len < key ? -1 : 1;
		}
		if (order >= 0) {
			problem(p, "params: \"%.*s\" is not in order", (int)key,
				at);
			return;
		}
		last = at;
		last_len = key;
		at += all;
		if (*at == ';' && !*++at)
			problem(p, "params: ends in ;");
	}
}

unsigned row_check(const struct row *row, row_problem_fn fn, void *arg)
{
	struct problems p = {.fn = fn, .arg = arg};

	check_required(row, &p);
	check_fields(row, &p);
	check_approach(row, &p);
	check_metric(row, &p);
	check_status(row, &p);
	check_link(row, &p);
	check_params(row, &p);
	return p.count;
}

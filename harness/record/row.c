/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of columns, metrics and approaches, and single fields of a row. */
#include "harness/record/row.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const places[] = {"", "native", "vm", NULL};
static const char *const links[] = {"",	     "none",  "emulated",
				    "netem", "sleep", NULL};
static const char *const statuses[] = {"",	  "ok",	     "failed",
				       "refused", "skipped", NULL};

#define COLUMN(col, field, ty, fl, ...)                 \
	[col] = {.name = #field,                        \
		 .type = (ty),                          \
		 .offset = offsetof(struct row, field), \
		 .flags = (fl),                         \
		 __VA_ARGS__}

const struct row_column row_columns[ROW_COLUMNS] = {
	COLUMN(COL_SCHEMA_VERSION, schema_version, ROW_T_COUNT, ROW_REQUIRED),
	COLUMN(COL_RUN_ID, run_id, ROW_T_NAME, ROW_REQUIRED),
	COLUMN(COL_EXPERIMENT, experiment, ROW_T_NAME, ROW_REQUIRED | ROW_CELL),
	COLUMN(COL_APPROACH, approach, ROW_T_NAME, ROW_REQUIRED | ROW_CELL),
	COLUMN(COL_VARIANT, variant, ROW_T_NAME, ROW_CELL),
	COLUMN(COL_PIPELINE, pipeline, ROW_T_TEXT, ROW_CELL),
	COLUMN(COL_WORKLOAD, workload, ROW_T_NAME, ROW_REQUIRED_OK | ROW_CELL),
	COLUMN(COL_DATASET, dataset, ROW_T_TEXT, ROW_CELL),
	COLUMN(COL_PLACE, place, ROW_T_ENUM, ROW_REQUIRED | ROW_CELL,
	       .choices = places),
	COLUMN(COL_LINK_DRIVER, link_driver, ROW_T_ENUM,
	       ROW_REQUIRED | ROW_CELL, .choices = links),
	COLUMN(COL_RTT_MS, rtt_ms, ROW_T_REAL, ROW_CELL, .unit = "ms"),
	COLUMN(COL_RATE_MBIT, rate_mbit, ROW_T_REAL, ROW_CELL,
	       .unit = "Mbit/s"),
	COLUMN(COL_JITTER_MS, jitter_ms, ROW_T_REAL, ROW_CELL, .unit = "ms"),
	COLUMN(COL_LOSS_PCT, loss_pct, ROW_T_REAL, ROW_CELL, .unit = "%",
	       .max = 100),
	COLUMN(COL_RTT_MS_MEASURED, rtt_ms_measured, ROW_T_REAL, 0,
	       .unit = "ms"),
	COLUMN(COL_RATE_MBIT_MEASURED, rate_mbit_measured, ROW_T_REAL, 0,
	       .unit = "Mbit/s"),
	COLUMN(COL_CHUNK_BYTES, chunk_bytes, ROW_T_COUNT, ROW_CELL,
	       .unit = "bytes"),
	COLUMN(COL_SIZE_BYTES, size_bytes, ROW_T_COUNT,
	       ROW_REQUIRED_OK | ROW_CELL, .unit = "bytes"),
	COLUMN(COL_WORKERS, workers, ROW_T_COUNT, ROW_CELL),
	COLUMN(COL_REPETITION, repetition, ROW_T_COUNT, ROW_REQUIRED_OK),
	COLUMN(COL_METRIC, metric, ROW_T_NAME, ROW_REQUIRED_OK),
	COLUMN(COL_VALUE, value, ROW_T_REAL, ROW_REQUIRED_OK),
	COLUMN(COL_UNIT, unit, ROW_T_TEXT, 0),
	COLUMN(COL_VERIFIED, verified, ROW_T_BOOL, ROW_REQUIRED),
	COLUMN(COL_STATUS, status, ROW_T_ENUM, ROW_REQUIRED,
	       .choices = statuses),
	COLUMN(COL_REASON, reason, ROW_T_TEXT, 0),
	COLUMN(COL_BYTES_DONE, bytes_done, ROW_T_COUNT, 0, .unit = "bytes"),
	COLUMN(COL_PLACEMENT, placement, ROW_T_TEXT, ROW_CELL),
	COLUMN(COL_CONGESTION, congestion, ROW_T_NAME, ROW_CELL),
	COLUMN(COL_PARAMS, params, ROW_T_TEXT, ROW_CELL),
};

const struct row_metric row_metrics[] = {
	{"first_access_us", "us", 0},
	{"access_us_p50", "us", 0},
	{"access_us_p99", "us", 0},
	{"access_us_p999", "us", 0},
	{"read_mib_s", "MiB/s", METRIC_HIGHER},
	{"read_open_mib_s", "MiB/s", METRIC_HIGHER},
	{"write_mib_s", "MiB/s", METRIC_HIGHER},
	{"write_durable_mib_s", "MiB/s", METRIC_HIGHER},
	{"open_ms", "ms", 0},
	{"downtime_ms", "ms", 0},
	{"stall_max_ms", "ms", 0},
	{"total_ms", "ms", 0},
	{"lag_ms", "ms", 0},
	{"recovery_ms", "ms", 0},
	{"pulled_open_bytes", "bytes", METRIC_HIGHER},
	{"stream_bytes", "bytes", 0},
	{"wire_tx_bytes", "bytes", 0},
	{"wire_rx_bytes", "bytes", 0},
	{"resent_bytes", "bytes", 0},
	{"cpu_source_s", "s", 0},
	{"cpu_target_s", "s", 0},
	{"rss_max_bytes", "bytes", 0},
	{"cpu_link_s", "s", METRIC_HARNESS},
	{"cpu_system_s", "s", METRIC_HARNESS},
	{"cpu_harness_s", "s", METRIC_HARNESS},
	{"goodput_mbit", "Mbit/s", METRIC_HARNESS | METRIC_HIGHER},
	{"link_rtt_ms", "ms", METRIC_HARNESS},
	{"link_loss_pct", "%", METRIC_HARNESS},
	{"op_us", "us", METRIC_HARNESS},
	{NULL, NULL, 0},
};

const char *const row_approaches[] = {
	"memory",     "disk",	     "null",	  "uffd",  "delta",  "fuse",
	"nbd-direct", "nbd-managed", "migration", "rsync", "nbdkit", "nbdfuse",
	"nbdcopy",    "nbd-client",  "qemu-nbd",  "qemu",  "criu",   "casync",
	"sshfs",      "scp",	     "iperf3",	  "fio",   "link",   NULL,
};

uint64_t row_cell_columns(void)
{
	uint64_t set = 0;

	for (int c = 0; c < ROW_COLUMNS; c++)
		if (row_columns[c].flags & ROW_CELL)
			set |= ROW_BIT(c);
	return set;
}

const struct row_metric *row_metric_find(const char *name, bool *ret_bound)
{
	size_t prefix = strlen(ROW_BOUND_PREFIX);
	bool bound = !strncmp(name, ROW_BOUND_PREFIX, prefix);

	if (bound)
		name += prefix;
	for (const struct row_metric *m = row_metrics; m->name; m++) {
		if (strcmp(m->name, name) != 0)
			continue;
		if (bound && (m->flags & METRIC_HARNESS))
			return NULL;
		if (ret_bound)
			*ret_bound = bound;
		return m;
	}
	return NULL;
}

bool row_usable(const struct row *row)
{
	bool bound = false;
	const struct row_metric *m = NULL;

	if (row->status != ROW_OK || !row->metric || isnan(row->value))
		return false;
	m = row_metric_find(row->metric, &bound);
	if (!m)
		return false;
	return row->verified || bound || (m->flags & METRIC_HARNESS);
}

static void *field(struct row *row, enum row_col col)
{
	return (char *)row + row_columns[col].offset;
}

static const void *field_const(const struct row *row, enum row_col col)
{
	return (const char *)row + row_columns[col].offset;
}

void row_init(struct row *row)
{
	*row = (struct row){0};
	for (int c = 0; c < ROW_COLUMNS; c++) {
		if (row_columns[c].type == ROW_T_COUNT)
			*(uint64_t *)field(row, c) = ROW_NO_COUNT;
		else if (row_columns[c].type == ROW_T_REAL)
			*(double *)field(row, c) = (double)NAN;
	}
	row->schema_version = ROW_SCHEMA_VERSION;
}

void row_format_real(double value, char buf[ROW_NUMBER_MAX])
{
	/* 17 digits always read back; most values need fewer. */
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(buf, ROW_NUMBER_MAX, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	/* 1e+06 is harder to read than 1000000 and reads back as exactly. */
	if (strchr(buf, 'e') && value < 9007199254740992.0 &&
	    value == floor(value))
		(void)snprintf(buf, ROW_NUMBER_MAX, "%.0f", value);
}

const char *row_text(const struct row *row, enum row_col col,
		     char buf[ROW_NUMBER_MAX])
{
	const struct row_column *c = &row_columns[col];
	const void *at = field_const(row, col);
	const char *text = NULL;
	uint64_t count = 0;
	double real = 0;

	buf[0] = '\0';
	switch (c->type) {
	case ROW_T_NAME:
	case ROW_T_TEXT:
		text = *(const char *const *)at;
		return text ? text : "";
	case ROW_T_ENUM:
		return c->choices[*(const int *)at];
	case ROW_T_BOOL:
		return *(const int *)at ? "1" : "0";
	case ROW_T_COUNT:
		count = *(const uint64_t *)at;
		if (count != ROW_NO_COUNT)
			(void)snprintf(buf, ROW_NUMBER_MAX, "%" PRIu64, count);
		return buf;
	case ROW_T_REAL:
		real = *(const double *)at;
		if (!isnan(real))
			row_format_real(real, buf);
		return buf;
	}
	abort(); /* the switch names every type */
}

static int set_count(uint64_t *ret, const char *text)
{
	char *end = NULL;
	unsigned long long value = 0;

	for (const char *p = text; *p; p++)
		if (!isdigit((unsigned char)*p))
			return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value == ROW_NO_COUNT)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int set_real(double *ret, const char *text)
{
	char *end = NULL;
	double value = 0;

	/* Of what strtod takes: no blanks, hexadecimals, inf or nan. */
	if (text[strspn(text, "0123456789.eE+-")])
		return -EINVAL;
	errno = 0;
	value = strtod(text, &end);
	if (end == text || *end || !isfinite(value))
		return -EINVAL;
	*ret = value;
	return 0;
}

static int set_enum(int *ret, const char *const *choices, const char *text)
{
	for (int i = 1; choices[i]; i++) {
		if (!strcmp(choices[i], text)) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static bool good_name(const char *text)
{
	/* A leading dot or dash is a hidden file or an option. */
	if (*text == '.' || *text == '-')
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("._+-", *text))
			return false;
	return true;
}

static bool good_text(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == '\x7f')
			return false;
	return true;
}

static int bad(char *why, size_t size, const char *name, const char *text,
	       const char *what)
{
	(void)snprintf(why, size, "%s: \"%.60s\" %s", name, text, what);
	return -EINVAL;
}

static int set_number(struct row *row, enum row_col col, const char *text,
		      char *why, size_t size)
{
	const struct row_column *c = &row_columns[col];
	double real = 0;

	if (c->type == ROW_T_COUNT) {
		if (set_count(field(row, col), text))
			return bad(why, size, c->name, text,
				   "is not a whole number");
		return 0;
	}
	if (set_real(&real, text))
		return bad(why, size, c->name, text, "is not a finite number");
	if (real < 0)
		return bad(why, size, c->name, text, "is negative");
	if (c->max > 0 && real > c->max)
		return bad(why, size, c->name, text, "is too large");
	*(double *)field(row, col) = real;
	return 0;
}

static int set_empty(struct row *row, enum row_col col)
{
	struct row none;
	const void *from = NULL;
	size_t size = 0;

	row_init(&none);
	from = field_const(&none, col);
	switch (row_columns[col].type) {
	case ROW_T_NAME:
	case ROW_T_TEXT:
		size = sizeof(char *);
		break;
	case ROW_T_COUNT:
		size = sizeof(uint64_t);
		break;
	case ROW_T_REAL:
		size = sizeof(double);
		break;
	case ROW_T_BOOL:
	case ROW_T_ENUM:
		size = sizeof(int);
		break;
	}
	memcpy(field(row, col), from, size);
	return 0;
}

int row_set(struct row *row, enum row_col col, const char *text, char *why,
	    size_t size)
{
	const struct row_column *c = &row_columns[col];

	if (!*text && c->type != ROW_T_BOOL)
		return set_empty(row, col);
	switch (c->type) {
	case ROW_T_NAME:
	case ROW_T_TEXT:
		if (c->type == ROW_T_NAME && !good_name(text))
			return bad(why, size, c->name, text,
				   "is not a name of letters, digits, . _ + -");
		if (!good_text(text))
			return bad(why, size, c->name, "",
				   "holds a control character");
		*(const char **)field(row, col) = text;
		return 0;
	case ROW_T_ENUM:
		if (set_enum(field(row, col), c->choices, text))
			return bad(why, size, c->name, text,
				   "is not one of its values");
		return 0;
	case ROW_T_BOOL:
		if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
			return bad(why, size, c->name, text,
				   "is neither 0 nor 1");
		*(int *)field(row, col) = *text == '1';
		return 0;
	case ROW_T_COUNT:
	case ROW_T_REAL:
		return set_number(row, col, text, why, size);
	}
	abort(); /* the switch names every type */
}

char *row_key(const struct row *row, uint64_t columns)
{
	char number[ROW_NUMBER_MAX];
	char *key = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&key, &len);

	if (!out)
		return NULL;
	for (int c = 0; c < ROW_COLUMNS; c++)
		if (columns & ROW_BIT(c))
			(void)fprintf(out, "%s\x1f", row_text(row, c, number));
	if (fclose(out)) {
		free(key);
		return NULL;
	}
	return key;
}

bool row_param(const char *params, const char *key, const char **ret_value,
	       size_t *ret_len)
{
	size_t len = strlen(key);

	while (params && *params) {
		size_t all = strcspn(params, ";");

		if (all > len && params[len] == '=' &&
		    !strncmp(params, key, len)) {
			*ret_value = params + len + 1;
			*ret_len = all - len - 1;
			return true;
		}
		params += all;
		params += *params == ';';
	}
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* SCHEMA.md says the same as the tables of row.c, in both directions. */
#include "harness/record/row.h"
#include "harness/record/test-rows.h"

enum {
	CELLS_MAX = 8
};

static char *document;

/* The text between a heading and the next one; the caller frees. */
static char *section(const char *heading)
{
	const char *at = strstr(document, heading);
	const char *end = NULL;

	CHECK(at);
	at += strlen(heading);
	end = strstr(at, "\n## ");
	return strndup(at, end ? (size_t)(end - at) : strlen(at));
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (*text == ' ' || *text == '`')
		text++;
	while (end > text && (end[-1] == ' ' || end[-1] == '`'))
		*--end = '\0';
	return text;
}

/* Split a table line into its cells; returns how many. */
static int cells(char *line, char *ret[CELLS_MAX])
{
	int n = 0;

	for (char *cell = strtok(line + 1, "|"); cell && n < CELLS_MAX;
	     cell = strtok(NULL, "|"))
		ret[n++] = trim(cell);
	return n;
}

/* The next line that is a row of a table (its first cell is code). */
static char *table_line(char **at)
{
	while (*at && **at) {
		char *line = strsep(at, "\n");

		if (!strncmp(line, "| `", 3))
			return line;
	}
	return NULL;
}

static const char *type_name(enum row_type type)
{
	static const char *const names[] = {
		[ROW_T_NAME] = "name",	 [ROW_T_TEXT] = "text",
		[ROW_T_COUNT] = "count", [ROW_T_REAL] = "real",
		[ROW_T_BOOL] = "bool",	 [ROW_T_ENUM] = "enum",
	};

	return names[type];
}

static void columns(void)
{
	char *text = section("\n## Columns\n");
	char *at = text;
	char *cell[CELLS_MAX];
	char *line = NULL;
	int c = 0;

	while ((line = table_line(&at))) {
		const struct row_column *col = &row_columns[c];

		CHECK(c < ROW_COLUMNS);
		CHECK_EQ(cells(line, cell), 6);
		CHECK_STR(cell[0], col->name);
		CHECK_STR(cell[1], type_name(col->type));
		CHECK_STR(cell[2], col->unit ? col->unit : "");
		CHECK_STR(cell[3], col->flags & ROW_REQUIRED	  ? "always"
				   : col->flags & ROW_REQUIRED_OK ? "ok"
								  : "no");
		CHECK_STR(cell[4], col->flags & ROW_CELL ? "yes" : "no");
		CHECK(*cell[5]);
		for (int i = 1; col->choices && col->choices[i]; i++)
			CHECK_HAS(cell[5], col->choices[i]);
		c++;
	}
	CHECK_EQ(c, ROW_COLUMNS);
	free(text);
}

static void metrics(void)
{
	char *text = section("\n## Metrics\n");
	char *at = text;
	char *cell[CELLS_MAX];
	char *line = NULL;
	const struct row_metric *m = row_metrics;

	for (; (line = table_line(&at)); m++) {
		CHECK(m->name);
		CHECK_EQ(cells(line, cell), 5);
		CHECK_STR(cell[0], m->name);
		CHECK_STR(cell[1], m->unit);
		CHECK_STR(cell[2],
			  m->flags & METRIC_HARNESS ? "harness" : "measured");
		CHECK_STR(cell[3],
			  m->flags & METRIC_HIGHER ? "higher" : "lower");
		CHECK(*cell[4]);
	}
	CHECK(!m->name);
	free(text);
}

static void approaches(void)
{
	char *text = section("\n## Approaches\n");
	char *at = text;
	int known = 0;
	int named = 0;

	for (int i = 0; row_approaches[i]; i++, known++) {
		char quoted[64];

		(void)snprintf(quoted, sizeof(quoted), "`%s`",
			       row_approaches[i]);
		CHECK_HAS(text, quoted);
	}
	/* Each is named once, so equal numbers mean equal lists. */
	(void)strsep(&at, "`");
	while (at && strsep(&at, "`")) {
		named++;
		(void)strsep(&at, "`");
	}
	CHECK_EQ(named, known);
	free(text);
}

/* The layout that is promised to other programs, once more as a literal. */
static void header_is_stable(void)
{
	static const char header[] =
		"schema_version,run_id,experiment,approach,variant,pipeline,"
		"workload,dataset,place,link_driver,rtt_ms,rate_mbit,jitter_ms,"
		"loss_pct,rtt_ms_measured,rate_mbit_measured,chunk_bytes,"
		"size_bytes,workers,repetition,metric,value,unit,verified,"
		"status,reason,bytes_done,placement,congestion,params";
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	for (int c = 0; c < ROW_COLUMNS; c++)
		(void)fprintf(out, "%s%s", c ? "," : "", row_columns[c].name);
	CHECK(!fclose(out));
	CHECK_STR(text, header);
	free(text);
	CHECK_HAS(document, "schema version 1\n");
	CHECK_EQ(ROW_SCHEMA_VERSION, 1);
}

/* Fields stand in the struct in the order of the columns, without overlap. */
static void offsets_ascend(void)
{
	for (int c = 1; c < ROW_COLUMNS; c++)
		CHECK(row_columns[c].offset > row_columns[c - 1].offset);
}

static void metric_lookup(void)
{
	bool bound = true;

	CHECK(row_metric_find("read_mib_s", &bound) && !bound);
	CHECK(row_metric_find("bound_read_mib_s", &bound) && bound);
	CHECK(!row_metric_find("bound_bound_read_mib_s", NULL));
	CHECK(!row_metric_find("bound_cpu_link_s", NULL));
	CHECK(!row_metric_find("", NULL));
	CHECK(!row_metric_find("bound_", NULL));
}

static void parameters(void)
{
	const char *v = NULL;
	size_t n = 0;

	CHECK(row_param("ab=1;b=22;c=", "b", &v, &n));
	CHECK(n == 2 && !strncmp(v, "22", 2));
	CHECK(row_param("ab=1;b=22;c=", "c", &v, &n) && n == 0);
	CHECK(!row_param("ab=1;b=22;c=", "a", &v, &n));
	CHECK(!row_param("ab=1", "ab=1", &v, &n));
	CHECK(!row_param(NULL, "a", &v, &n));
}

int main(void)
{
	const char *top = getenv("TOP");
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/harness/record/SCHEMA.md",
		       top ? top : ".");
	document = read_file(path);
	columns();
	metrics();
	approaches();
	header_is_stable();
	offsets_ascend();
	metric_lookup();
	parameters();
	free(document);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench diff`: the same cells measured twice or more, side by side:
 * in other places, over other link drivers, before and after a change. What is
 * compared are results' cells that agree in everything but place, driver,
 * placement and what only the VM adds to the parameters.
 */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/no-memory.h"
#include "harness/stats/stats.h"
#include "harness/stats/summary.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM	    "memsync-bench diff"
#define SIDES_MAX   26 /* they are called A to Z */
#define RESULTS_MAX 16

struct config {
	char *metric;
	double within_pct;
	bool json;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, metric, "metric", 'm', NULL, "NAME,...",
		      "these only; default: what decides a figure"),
	MS_OPT_REAL(struct config, within_pct, "within", 'w', "0", 0, 1e6,
		    "PERCENT",
		    "exit 1 if a median is further off than this; 0: no limit"),
	MS_OPT_FLAG(struct config, json, "json", 'j', "print as JSON"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] RESULT-DIR...",
	.summary = "Compare cells that differ only in result, place or link "
		   "driver",
	.epilogue =
		"The first side that has a cell is what the others are "
		"compared with: the difference of\nthe medians, and Kolmogorov "
		"and Smirnov's distance of the distributions with the\n"
		"probability of at least that by chance.",
	.table = options,
	.operands_min = 1,
	.operands_max = RESULTS_MAX,
};

static const char *const decisive[] = {
	"first_access_us", "read_open_mib_s",	  "access_us_p50",
	"access_us_p99",   "write_durable_mib_s", "total_ms",
	"downtime_ms",	   "goodput_mbit",	  NULL};

/* What the rows of one side have in common. */
struct diff_side {
	size_t result;
	int place;
	int driver;
};

struct item {
	const struct summary *sum;
	char *key; /* metric and cell, without what tells sides apart */
	size_t side;
};

struct diff {
	const struct config *config;
	char **dirs;
	size_t n_dirs;
	struct table *tables[RESULTS_MAX];
	struct summary *sums[RESULTS_MAX];
	size_t n_sums[RESULTS_MAX];
	struct diff_side sides[SIDES_MAX];
	size_t n_sides;
	struct item *items;
	size_t n;
	json_t *cells;
	size_t compared;
	size_t off;
};

static bool wanted(const struct config *c, const char *metric)
{
	size_t len = strlen(metric);
	const char *at = c->metric;

	for (size_t i = 0; !at && decisive[i]; i++)
		if (!strcmp(decisive[i], metric))
			return true;
	while (at && *at) {
		size_t n = strcspn(at, ",");

		if (n == len && !strncmp(at, metric, len))
			return true;
		at += n + (at[n] == ',');
	}
	return false;
}

static int side_of(struct diff *d, size_t result, const struct row *row,
		   size_t *ret)
{
	for (size_t i = 0; i < d->n_sides; i++) {
		if (d->sides[i].result != result ||
		    d->sides[i].place != row->place ||
		    d->sides[i].driver != row->link_driver)
			continue;
		*ret = i;
		return 0;
	}
	if (d->n_sides == SIDES_MAX)
		return ms_err(-E2BIG, "more than %d sides", SIDES_MAX);
	d->sides[d->n_sides] = (struct diff_side){.result = result,
						  .place = row->place,
						  .driver = row->link_driver};
	*ret = d->n_sides++;
	return 0;
}

/* "a=1;accel=tcg;b=2" without accel. */
static void strip_accel(const char *params, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (const char *at = params ? params : ""; *at;) {
		size_t n = strcspn(at, ";");

		if (strncmp(at, "accel=", 6) != 0)
			len += (size_t)snprintf(buf + len, size - len, "%s%.*s",
						len ? ";" : "", (int)n, at);
		if (len >= size)
			return;
		at += n + (at[n] == ';');
	}
}

static char *make_key(const struct summary *s)
{
	uint64_t columns = row_cell_columns() | ROW_BIT(COL_METRIC);
	char params[1024];
	struct row row = *s->row;

	columns &= ~(ROW_BIT(COL_PLACE) | ROW_BIT(COL_LINK_DRIVER) |
		     ROW_BIT(COL_PLACEMENT) | ROW_BIT(COL_CONGESTION));
	strip_accel(row.params, params, sizeof(params));
	row.params = params;
	row.metric = s->metric;
	return row_key(&row, columns);
}

static int add_result(struct diff *d, size_t result)
{
	int err;

	d->tables[result] = table_new();
	if (!d->tables[result])
		return no_memory(PROGRAM);
	err = table_load(d->tables[result], d->dirs[result]);
	if (!err)
		err = summary_build(d->tables[result], &d->sums[result],
				    &d->n_sums[result]);
	for (size_t i = 0; i < d->n_sums[result] && !err; i++) {
		const struct summary *s = &d->sums[result][i];
		struct item *grown;

		if (!s->n || !wanted(d->config, s->metric))
			continue;
		grown = realloc(d->items, (d->n + 1) * sizeof(*d->items));
		if (!grown)
			return no_memory(PROGRAM);
		d->items = grown;
		d->items[d->n] = (struct item){.sum = s, .key = make_key(s)};
		if (!d->items[d->n].key)
			return no_memory(PROGRAM);
		err = side_of(d, result, s->row, &d->items[d->n].side);
		d->n++;
	}
	return err;
}

static int by_key(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;
	int order = strcmp(x->sum->metric, y->sum->metric);

	if (!order)
		order = strcmp(x->key, y->key);
	if (!order)
		order = x->side < y->side ? -1 : x->side > y->side;
	return order;
}

static void print_sides(const struct diff *d)
{
	for (size_t i = 0; i < d->n_sides; i++) {
		struct row row;
		char place[ROW_NUMBER_MAX];
		char driver[ROW_NUMBER_MAX];

		row_init(&row);
		row.place = d->sides[i].place;
		row.link_driver = d->sides[i].driver;
		(void)printf("%c  %s, link %s, %s\n", (char)('A' + i),
			     row_text(&row, COL_PLACE, place),
			     row_text(&row, COL_LINK_DRIVER, driver),
			     d->dirs[d->sides[i].result]);
	}
}

static void describe(const struct row *r, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s %s%s%s", r->experiment, r->approach,
			 r->variant ? "/" : "", r->variant ? r->variant : "");

	if (!isnan(r->rtt_ms) && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, " %g ms", r->rtt_ms);
	if (!isnan(r->rate_mbit) && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, " %g Mbit/s",
			      r->rate_mbit);
	if (r->jitter_ms > 0 && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, " jitter %g ms",
			      r->jitter_ms);
	if (r->loss_pct > 0 && n > 0 && (size_t)n < size)
		(void)snprintf(buf + n, size - (size_t)n, " loss %g %%",
			       r->loss_pct);
}

/* Two sides of a cell. */
struct pair {
	double pct; /* of the medians */
	double ks;
	double p;
};

static int measure_pair(const struct summary *a, const struct summary *b,
			struct pair *ret)
{
	size_t n = a->n + b->n;
	double *values = calloc(n, sizeof(*values));

	if (!values)
		return no_memory(PROGRAM);
	memcpy(values, a->values, a->n * sizeof(*values));
	memcpy(values + a->n, b->values, b->n * sizeof(*values));
	stats_sort(values, a->n);
	stats_sort(values + a->n, b->n);
	ret->ks = stats_ks(values, a->n, values + a->n, b->n, &ret->p);
	ret->pct = 100 * (b->median / a->median - 1);
	free(values);
	return 0;
}

static json_t *side_json(const struct diff *d, const struct item *it)
{
	const struct summary *s = it->sum;
	char side[2] = {(char)('A' + it->side), '\0'};
	json_t *j = json_pack("{s:s,s:s,s:f,s:I}", "side", side, "result",
			      d->dirs[d->sides[it->side].result], "median",
			      s->median, "n", (json_int_t)s->n);

	if (s->has_interval) {
		(void)json_object_set_new(j, "low", json_real(s->lo));
		(void)json_object_set_new(j, "high", json_real(s->hi));
	}
	return j;
}

static void print_side(const struct item *it, const struct pair *p)
{
	const struct summary *s = it->sum;

	(void)printf("  %c %10.5g", (char)('A' + it->side), s->median);
	if (s->has_interval)
		(void)printf("  [%.5g, %.5g]", s->lo, s->hi);
	(void)printf("  n %zu", s->n);
	if (p)
		(void)printf("  %+.1f %%  distance %.2f (p %.2g)", p->pct,
			     p->ks, p->p);
	(void)printf("\n");
}

/* The items of one cell, at least two of them. */
static int compare_cell(struct diff *d, const struct item *it, size_t n)
{
	json_t *sides = json_array();
	char what[200];

	describe(it->sum->row, what, sizeof(what));
	if (!d->config->json)
		(void)printf("%s, %s\n", it->sum->metric, what);
	for (size_t i = 0; i < n; i++) {
		json_t *j = side_json(d, &it[i]);
		struct pair p = {0};
		int err = i ? measure_pair(it[0].sum, it[i].sum, &p) : 0;

		if (err) {
			json_decref(j);
			json_decref(sides);
			return err;
		}
		if (i) {
			(void)json_object_set_new(j, "difference_pct",
						  json_real(p.pct));
			(void)json_object_set_new(j, "ks_distance",
						  json_real(p.ks));
			(void)json_object_set_new(j, "ks_p", json_real(p.p));
			d->compared++;
			d->off += d->config->within_pct > 0 &&
				  fabs(p.pct) > d->config->within_pct;
		}
		if (!d->config->json)
			print_side(&it[i], i ? &p : NULL);
		(void)json_array_append_new(sides, j);
	}
	(void)json_array_append_new(
		d->cells, json_pack("{s:s,s:s,s:s,s:o}", "metric",
				    it->sum->metric, "unit", it->sum->row->unit,
				    "cell", what, "sides", sides));
	return 0;
}

static int compare_all(struct diff *d)
{
	int err = 0;

	if (d->n)
		qsort(d->items, d->n, sizeof(*d->items), by_key);
	for (size_t i = 0; i < d->n && !err;) {
		size_t n = 1;

		while (i + n < d->n &&
		       !strcmp(d->items[i].sum->metric,
			       d->items[i + n].sum->metric) &&
		       !strcmp(d->items[i].key, d->items[i + n].key))
			n++;
		if (n > 1)
			err = compare_cell(d, &d->items[i], n);
		i += n;
	}
	return err;
}

static void release(struct diff *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->items[i].key);
	free(d->items);
	for (size_t i = 0; i < d->n_dirs; i++) {
		summary_free(d->sums[i], d->n_sums[i]);
		table_free(d->tables[i]);
	}
	json_decref(d->cells);
}

static int run(const struct config *c, char **dirs, size_t n)
{
	struct diff d = {
		.config = c, .dirs = dirs, .n_dirs = n, .cells = json_array()};
	int err = 0;
	int code;

	for (size_t i = 0; i < n && !err; i++)
		err = add_result(&d, i);
	if (!err && !c->json)
		print_sides(&d);
	if (!err)
		err = compare_all(&d);
	if (!err && !d.compared)
		err = ms_err_plain(-ENODATA,
				   "no cell was measured on two sides");
	if (!err && c->json)
		(void)json_dumpf(d.cells, stdout, JSON_INDENT(2));
	if (!err && !c->json && c->within_pct > 0)
		(void)printf("%zu of %zu medians are more than %g %% off\n",
			     d.off, d.compared, c->within_pct);
	if (err)
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
	code = err || d.off ? 1 : 0;
	release(&d);
	return fflush(stdout) ? 1 : code;
}

int cmd_diff(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc)
		code = rc < 0 ? 2 : 0;
	else if (parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else
		code = run(&c, argv + parsed.first_operand,
			   (size_t)(argc - parsed.first_operand));
	ms_opt_release(options, &c);
	return code;
}

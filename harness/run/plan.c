/* SPDX-License-Identifier: Apache-2.0 */
/* Cells, runs and their order; see plan.h. */
#include "harness/run/plan.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/run/approach.h"
#include "harness/run/links.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a plan and its rows must agree in for a run to be that run. */
#define RUN_COLUMNS                                                            \
	(ROW_BIT(COL_EXPERIMENT) | ROW_BIT(COL_APPROACH) |                     \
	 ROW_BIT(COL_VARIANT) | ROW_BIT(COL_WORKLOAD) | ROW_BIT(COL_DATASET) | \
	 ROW_BIT(COL_RTT_MS) | ROW_BIT(COL_RATE_MBIT) |                        \
	 ROW_BIT(COL_JITTER_MS) | ROW_BIT(COL_LOSS_PCT) |                      \
	 ROW_BIT(COL_SIZE_BYTES) | ROW_BIT(COL_PARAMS) |                       \
	 ROW_BIT(COL_REPETITION))

/* SplitMix64: small, and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void shuffle(size_t *list, size_t n, uint64_t *state)
{
	for (size_t i = 0; i < n; i++)
		list[i] = i;
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)(next_random(state) % i);
		size_t t = list[i - 1];

		list[i - 1] = list[k];
		list[k] = t;
	}
}

static size_t links_of(const struct experiment *e)
{
	return e->local ? 1 : e->n_links;
}

/* Cells of one link: every series at every size. */
static size_t width_of(const struct experiment *e)
{
	return e->n_series * e->n_sizes;
}

static int fill_cell(struct cell *c, const struct experiment *e, size_t link,
		     size_t i)
{
	char size[24];
	char seed[24];
	const struct place_holder values[] = {{"size", size},
					      {"seed", seed},
					      {"data", e->data},
					      {NULL, NULL}};
	int err;

	c->e = e;
	c->s = &e->series[i % e->n_series];
	c->size = e->sizes[i / e->n_series];
	c->link = e->local ? NULL : &e->links[link];
	c->driver = e->local ? LINK_AUTO : e->drivers[link];
	(void)snprintf(size, sizeof(size), "%" PRIu64, c->size);
	(void)snprintf(seed, sizeof(seed), "%" PRIu64, e->seed);
	err = approach_text(e->dataset, values, &c->dataset);
	if (!err)
		err = approach_text(e->store, values, &c->store);
	return err ? ms_err_add(err, "%s", e->file) : 0;
}

static int make_cells(const struct experiments *list, struct plan *p)
{
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < list->n; i++)
		n += links_of(&list->list[i]) * width_of(&list->list[i]);
	p->cells = calloc(n + 1, sizeof(*p->cells));
	if (!p->cells)
		return no_memory("plan");
	for (size_t i = 0; i < list->n; i++) {
		const struct experiment *e = &list->list[i];
		size_t cells = links_of(e) * width_of(e);

		for (size_t k = 0; k < cells && !err; k++)
			err = fill_cell(&p->cells[p->n_cells++], e,
					k / width_of(e), k % width_of(e));
	}
	return err;
}

/* The runs of one experiment, whose cells start at `cells`. */
static void order_runs(struct plan *p, const struct experiment *e,
		       struct cell *cells, uint64_t *state, size_t *links,
		       size_t *series)
{
	size_t width = width_of(e);

	for (uint64_t w = 0; w < e->warmup; w++)
		for (size_t s = 0; s < width; s++)
			p->runs[p->n++] = (struct plan_run){.cell = &cells[s],
							    .repetition = w,
							    .warmup = true};
	for (uint64_t r = 0; r < e->repetitions; r++) {
		shuffle(links, links_of(e), state);
		for (size_t l = 0; l < links_of(e); l++) {
			shuffle(series, width, state);
			for (size_t s = 0; s < width; s++)
				p->runs[p->n++] = (struct plan_run){
					.cell = &cells[links[l] * width +
						       series[s]],
					.repetition = r};
		}
	}
}

static int make_runs(const struct experiments *list, struct plan *p)
{
	size_t most = p->n_cells + 1;
	size_t n = 0;
	size_t at = 0;
	uint64_t state = p->seed;
	size_t *links = calloc(most, sizeof(*links));
	size_t *series = calloc(most, sizeof(*series));

	for (size_t i = 0; i < list->n; i++) {
		const struct experiment *e = &list->list[i];

		n += width_of(e) * (links_of(e) * e->repetitions + e->warmup);
	}
	p->runs = calloc(n + 1, sizeof(*p->runs));
	if (!p->runs || !links || !series) {
		free(links);
		free(series);
		return no_memory("plan");
	}
	for (size_t i = 0; i < list->n; i++) {
		const struct experiment *e = &list->list[i];

		order_runs(p, e, &p->cells[at], &state, links, series);
		at += links_of(e) * width_of(e);
	}
	free(links);
	free(series);
	return 0;
}

int plan_make(const struct experiments *list, uint64_t seed, struct plan *ret)
{
	int err;

	*ret = (struct plan){.seed = seed};
	err = make_cells(list, ret);
	if (!err)
		err = make_runs(list, ret);
	for (size_t i = 0; !err && i < ret->n && ret->runs[i].cell; i++)
		ret->runs[i].elsewhere = !place_is_here(ret->runs[i].cell->e);
	if (err)
		plan_release(ret);
	return err;
}

void plan_release(struct plan *p)
{
	for (size_t i = 0; i < p->n_cells; i++) {
		free(p->cells[i].dataset);
		free(p->cells[i].store);
	}
	free(p->cells);
	free(p->runs);
	*p = (struct plan){0};
}

void plan_row(const struct plan_run *run, struct row *ret)
{
	const struct cell *c = run->cell;

	row_init(ret);
	ret->experiment = c->e->name;
	ret->approach = c->s->approach;
	ret->variant = c->s->variant;
	ret->workload = c->e->workload;
	ret->dataset = c->dataset;
	ret->size_bytes = c->size;
	ret->repetition = run->repetition;
	ret->params = c->e->params;
	ret->place = (int)c->e->place;
	ret->link_driver = (int)links_row_of(c->driver);
	ret->verified = 0;
	if (!c->link)
		return;
	ret->rtt_ms = c->link->rtt_ms;
	if (c->link->rate_mbit > 0)
		ret->rate_mbit = c->link->rate_mbit;
	ret->jitter_ms = c->link->jitter_ms;
	ret->loss_pct = c->link->loss_pct;
	ret->congestion = c->e->congestion;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A driver that was asked for by name tells runs apart, "auto" does not. */
static uint64_t columns_of(bool driver)
{
	return RUN_COLUMNS | (driver ? ROW_BIT(COL_LINK_DRIVER) : 0);
}

/* The sorted keys of all rows. */
static int keys_of(const struct table *rows, bool driver, char ***ret)
{
	char **keys = calloc(rows->n + 1, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < rows->n; i++) {
		keys[i] = row_key(&rows->rows[i], columns_of(driver));
		if (!keys[i]) {
			approach_argv_free(keys);
			return -ENOMEM;
		}
	}
	if (rows->n)
		qsort(keys, rows->n, sizeof(*keys), by_key);
	*ret = keys;
	return 0;
}

static bool series_left(const struct plan *p, const struct plan_run *warm)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct plan_run *r = &p->runs[i];

		if (!r->warmup && !r->done && r->cell->e == warm->cell->e &&
		    r->cell->s == warm->cell->s)
			return true;
	}
	return false;
}

long plan_mark_done(struct plan *p, const struct table *rows)
{
	char **keys[2] = {NULL, NULL}; /* without and with the driver */
	long left = 0;

	if (keys_of(rows, false, &keys[0]) || keys_of(rows, true, &keys[1])) {
		approach_argv_free(keys[0]);
		return no_memory("plan");
	}
	for (size_t i = 0; i < p->n; i++) {
		struct plan_run *run = &p->runs[i];
		bool driver = run->cell->driver != LINK_AUTO;
		struct row row;
		char *key;

		if (run->warmup)
			continue;
		plan_row(run, &row);
		key = row_key(&row, columns_of(driver));
		if (!key) {
			left = no_memory("plan");
			break;
		}
		run->done = rows->n && bsearch(&key, keys[driver], rows->n,
					       sizeof(*keys[driver]), by_key);
		left += !run->done;
		free(key);
	}
	approach_argv_free(keys[0]);
	approach_argv_free(keys[1]);
	for (size_t i = 0; i < p->n && left >= 0; i++)
		if (p->runs[i].warmup)
			p->runs[i].done = !series_left(p, &p->runs[i]);
	return left;
}

size_t plan_left(const struct plan *p, bool warmup)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += !p->runs[i].done && !p->runs[i].elsewhere &&
		     (warmup || !p->runs[i].warmup);
	return n;
}

size_t plan_left_elsewhere(const struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += !p->runs[i].done && p->runs[i].elsewhere &&
		     !p->runs[i].warmup;
	return n;
}

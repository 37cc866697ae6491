/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a measurement: the cells of all experiments, each as many times
 * as it is repeated, in the order in which they are run.
 *
 * Experiments follow each other, so that an interrupted measurement has whole
 * figures. Within one, each repetition goes over all links in a random order
 * and at each link over all series in a random order: whatever drifts on the
 * machine hits all series alike, and the link is changed as seldom as that
 * allows. The order depends on the seed only.
 */
#ifndef MS_HARNESS_RUN_PLAN_H
#define MS_HARNESS_RUN_PLAN_H

#include "harness/record/csv.h"
#include "harness/run/experiment.h"

/* A point of a figure. */
struct cell {
	const struct experiment *e;
	const struct series *s;
	const struct link_profile *link; /* NULL: local */
	enum link_driver driver;
	uint64_t size;
	char *dataset;
	char *store; /* spec of the region at the source */
};

struct plan_run {
	struct cell *cell;
	uint64_t repetition;
	bool warmup;	/* not recorded */
	bool done;	/* its rows are there */
	bool elsewhere; /* its place is not where this process runs */
};

struct plan {
	struct cell *cells;
	size_t n_cells;
	struct plan_run *runs;
	size_t n;
	uint64_t seed; /* of the order */
};

/* The experiments must outlive the plan. 0 or -ENOMEM. */
int plan_make(const struct experiments *list, uint64_t seed, struct plan *ret)
	__attribute__((nonnull, warn_unused_result));
void plan_release(struct plan *p) __attribute__((nonnull));

/* The columns that are known before a run; texts are the plan's. */
void plan_row(const struct plan_run *run, struct row *ret)
	__attribute__((nonnull));

/*
 * Mark the runs that have rows in the table as done, and the warm-up runs of
 * series that have nothing left to do. Returns how many recorded runs are
 * left, or -ENOMEM.
 */
long plan_mark_done(struct plan *p, const struct table *rows)
	__attribute__((nonnull, warn_unused_result));

/* Runs to be done by this process, warm-up ones included or not. */
size_t plan_left(const struct plan *p, bool warmup) __attribute__((nonnull));

/* Recorded runs to be done elsewhere. */
size_t plan_left_elsewhere(const struct plan *p) __attribute__((nonnull));

#endif

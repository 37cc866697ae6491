/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A selection arranged for drawing: rows, panels and lines of bounds. Between
 * draw-data.c and draw-vars.c only.
 */
#ifndef MS_HARNESS_REPORT_DRAWING_H
#define MS_HARNESS_REPORT_DRAWING_H

#include "harness/report/select.h"

/* A row of the layouts that have a row for each series. */
struct line {
	const char *label;
	unsigned rank;
	double x;
	double total; /* of the medians that were stacked so far */
};

/* A bound by RTT that one or more curves share: a value for each of s->xs. */
struct bound {
	const char *metric;
	const char *label;
	double *at;
	size_t points;
};

struct drawing {
	const struct selection *s;
	struct line *lines;
	size_t n_lines;
	struct bound *bounds;
	size_t n_bounds;
	const char **metrics; /* those that have curves */
	size_t n_metrics;
};

/* 0 or -ENOMEM; everything lives in the selection's arena. */
int drawing_arrange(const struct selection *s, struct drawing *ret)
	__attribute__((nonnull, warn_unused_result));

#endif

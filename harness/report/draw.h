/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A selection as files for gnuplot, and the pictures. DIR/data/ID.dat has the
 * numbers, DIR/data/ID.vars.gp the variables that a script in plots/ expects
 * (plots/README.md describes both), DIR/ID.svg and DIR/ID.png are the result.
 */
#ifndef MS_HARNESS_REPORT_DRAW_H
#define MS_HARNESS_REPORT_DRAW_H

#include "harness/report/select.h"

#include <stdio.h>

/*
 * Draw the figure, or remove what an earlier run left if it has no points.
 * Pictures appear whole or not at all. 0 or a negative errno with a sentence;
 * -ENOENT says that there is no gnuplot.
 */
int draw_figure(const struct selection *s, const char *plots_dir,
		const char *dir) __attribute__((nonnull, warn_unused_result));

/* The parts, also for tests: variables and numbers of a figure. */
int draw_vars(const struct selection *s, const char *data_path, FILE *out)
	__attribute__((nonnull, warn_unused_result));
int draw_data(const struct selection *s, FILE *out)
	__attribute__((nonnull, warn_unused_result));

/* The half-finished picture is removed when SIGINT, TERM or HUP ends us. */
void draw_catch_signals(void);

#endif

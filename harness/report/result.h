/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `plots` and `report` start from: a result folder, its rows, and the
 * figures that there are.
 */
#ifndef MS_HARNESS_REPORT_RESULT_H
#define MS_HARNESS_REPORT_RESULT_H

#include "approaches/common/util/opt.h"
#include "harness/record/csv.h"
#include "harness/report/figure.h"

struct result {
	struct arena arena;
	char *dir;	 /* holds runs.csv and env.json */
	char *plots_dir; /* the scripts */
	struct table *table;
	struct figures figures;
};

/*
 * Read DIR (NULL: the folder in results/ whose runs.csv is the newest, other
 * than reference/) with the scripts in `plots_dir` (NULL: found beside the
 * program or in the current folder). An existing runs.csv without rows is
 * fine. 0 or a negative errno with a sentence; release it in both cases.
 */
int result_open(struct result *r, const char *dir, const char *plots_dir)
	__attribute__((nonnull(1), warn_unused_result));
void result_release(struct result *r) __attribute__((nonnull));

/* What the command lines of both have in common. */
struct result_options {
	char *plots;
};

/* Draw all figures that have numbers into DIR/plots. */
int result_draw(struct result *r) __attribute__((nonnull, warn_unused_result));

/*
 * A command over a result: parse argv by `command`, whose table fills a struct
 * result_options, open the result, draw it, and do `work` on it. Returns the
 * program's exit code after at most one line on stderr.
 */
int result_command(const struct ms_opt_command *command, int argc, char **argv,
		   int (*work)(struct result *r)) __attribute__((nonnull));

#endif

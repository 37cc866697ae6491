/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a program printed (schema memsync-result/1, see approaches/common/
 * cli/result.h) to rows. The programs are not trusted: whatever is not exactly
 * such a result makes the run a failed one, with the reason.
 */
#ifndef MS_HARNESS_RUN_RESULT_ROWS_H
#define MS_HARNESS_RUN_RESULT_ROWS_H

#include "harness/record/row.h"

#include <jansson.h>
#include <stddef.h>

#define ROWS_MAX 96

/* The rows of one run. All are copies of `base` with a metric. */
struct run_rows {
	struct row base;
	struct row list[ROWS_MAX];
	size_t n;
	json_t *result;	  /* owns texts */
	char reason[400]; /* owns base.reason */
	char placement[200];
	char pipeline[512];
	char bound_names[ROWS_MAX][48];
	size_t n_bounds;
};

/* A failed, refused or skipped run: one row with the reason. */
void rows_status(struct run_rows *r, enum row_status status, const char *fmt,
		 ...) __attribute__((format(printf, 3, 4), nonnull(1, 3)));

/*
 * Read the text that the target printed, after it ended with `exit_code`. What
 * is wrong with it becomes rows_status. `base` is complete before, but for
 * what the result says.
 */
void rows_result(struct run_rows *r, const char *text, int exit_code)
	__attribute__((nonnull));

/* Add a number in the unit of its metric; nothing if the run is not ok. */
void rows_add(struct run_rows *r, const char *metric, double value)
	__attribute__((nonnull));

/* The same, over a value that the program reported itself. */
void rows_replace(struct run_rows *r, const char *metric, double value)
	__attribute__((nonnull));

/* Add bound_METRIC if there is a row of METRIC. */
void rows_add_bound(struct run_rows *r, const char *metric, double value)
	__attribute__((nonnull));

/* The value of a metric; NAN if there is none. */
double rows_value(const struct run_rows *r, const char *metric)
	__attribute__((nonnull));

void rows_release(struct run_rows *r) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a measurement stands: on a terminal one line that is rewritten, with
 * the time that is left; elsewhere a plain line for each run.
 */
#ifndef MS_HARNESS_RUN_PROGRESS_H
#define MS_HARNESS_RUN_PROGRESS_H

#include "harness/run/plan.h"
#include "harness/run/result-rows.h"

struct progress;

/* `quiet`: only what is not ok. NULL without memory. */
struct progress *progress_new(const struct plan *plan, FILE *out, bool quiet);
void progress_free(struct progress *p);

void progress_start(struct progress *p, const struct plan_run *run)
	__attribute__((nonnull));

/* The run's end; `rows` NULL: it was stopped. */
void progress_end(struct progress *p, const struct plan_run *run,
		  const struct run_rows *rows) __attribute__((nonnull(1, 2)));

/* A line of its own, above the line that is rewritten. */
void progress_say(struct progress *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(1, 2)));

#endif

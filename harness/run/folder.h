/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Result folders: RESULTS/YYYYMMDD-HHMMSS-SET with plan.json, env.json,
 * runs.csv and log/. plan.json says what is measured; a folder is continued
 * only by the same plan.
 */
#ifndef MS_HARNESS_RUN_FOLDER_H
#define MS_HARNESS_RUN_FOLDER_H

#include "harness/run/approach.h"
#include "harness/run/plan.h"

#define PLAN_FILE "plan.json"

struct folder {
	char *dir;
	const char *name; /* last part of it: the run_id */
	bool resumed;
	struct csv *csv;
};

/*
 * The plan as JSON: everything that decides what is measured, and its hash as
 * "id". The caller owns it; NULL without memory.
 */
json_t *folder_plan(const struct experiments *e, const struct approaches *a,
		    const char *placement, uint64_t seed);

/* The folder as given to folder_open, absolute, for others to open. */
int folder_absolute(const struct folder *f, char *buf, size_t size)
	__attribute__((nonnull, warn_unused_result));

/*
 * Continue `dir` if it is given (made if it is not there), else the newest
 * folder in `results` with the same plan that is not finished, else make one
 * called by time and `set`. Marks in `plan` what is there. The folder is
 * locked by its open runs.csv: -EBUSY if somebody else is at work in it.
 */
int folder_open(const char *results, const char *dir, const char *set,
		const json_t *plan_json, struct plan *plan, struct folder *ret)
	__attribute__((nonnull(1, 3, 4, 5, 6), warn_unused_result));

/* Close; removes the folder if it is new and nothing was recorded. */
int folder_close(struct folder *f, bool keep) __attribute__((nonnull));

#endif

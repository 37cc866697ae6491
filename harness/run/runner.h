/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries a plan out: link, sides, rows. Everything it starts is gone when it
 * returns, and when it is killed.
 */
#ifndef MS_HARNESS_RUN_RUNNER_H
#define MS_HARNESS_RUN_RUNNER_H

#include "harness/record/csv.h"
#include "harness/run/approach.h"
#include "harness/run/links.h"
#include "harness/run/placement.h"
#include "harness/run/plan.h"
#include "harness/run/result-rows.h"

#include <jansson.h>
#include <stdbool.h>

struct progress;

struct runner {
	const struct approaches *approaches;
	const struct placement *placement;
	const json_t *features;
	struct plan *plan;
	const char *dir;    /* result folder */
	const char *run_id; /* its name */
	struct csv *csv;
	json_t *env;	      /* what env.json has of ours; "link" is added */
	const char *env_file; /* ENV_FILE, or ENV_VM_FILE in the VM */
	int stop_fd;	      /* readable: stop; signal_stop_fd() */
	struct links links;
	struct progress *progress;
};

/* How the runs ended; warm-up runs are not counted. */
struct runner_totals {
	size_t ok;
	size_t failed;
	size_t refused;
	size_t skipped;
	size_t before; /* were there already */
};

/*
 * Do all runs of the plan that are not done. 0 if all were done (whatever came
 * out), -EINTR when stopped, or a negative errno with a sentence when it
 * cannot go on (the disk is full).
 */
int runner_run(struct runner *r, struct runner_totals *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * One run, into rows. 0, or -EINTR when stopped: then there are no rows.
 * `number` names its logs.
 */
int execute(struct runner *r, const struct plan_run *run, size_t number,
	    struct run_rows *ret) __attribute__((nonnull, warn_unused_result));

/*
 * SIGINT, SIGTERM and SIGHUP are blocked from now on and make the descriptor
 * readable; signal_stop_signal says which came, 0 if none.
 */
int signal_stop_open(int *ret_fd) __attribute__((nonnull, warn_unused_result));
int signal_stop_signal(int fd);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One run while it lasts; shared by the files that carry it out. */
#ifndef MS_HARNESS_RUN_EXECUTE_H
#define MS_HARNESS_RUN_EXECUTE_H

#include "harness/run/runner.h"
#include "harness/run/side.h"

#include <sys/wait.h>

#define EXECUTE_PATH_MAX 4096

struct execution {
	struct runner *r;
	const struct plan_run *run;
	const struct approach *approach; /* NULL: not built yet */
	const struct command *command;	 /* of the target */
	struct run_rows *rows;
	struct side source;
	struct side target;
	struct cgroup *source_group;
	struct cgroup *target_group;
	char dir[EXECUTE_PATH_MAX - 64]; /* scratch folder; "" without */
	char log[EXECUTE_PATH_MAX - 64]; /* start of the logs' names */
	char *store;
	char warning[100];
	struct place_holder values[16];
	struct {
		char size[24];
		char seed[24];
		char chunk[24];
		char seconds[24];
		char data_dir[1024];
	} text;
};

/* Numbers that are read before and after. */
struct meter {
	double system_s;
	double self_s;
	double link_cpu_s; /* NAN without an emulator */
	struct link_counters wire;
};

/* Wait until a port of the source accepts; SIDE_LOST if the source ends. */
enum side_event execute_wait_port(struct execution *x, uint16_t port,
				  uint64_t deadline_ns)
	__attribute__((nonnull));

/* Make the folder log/ of the result and the name of this run's logs. */
int execute_log_name(struct execution *x, size_t number)
	__attribute__((nonnull, warn_unused_result));

/* Keep what the target printed, beside the logs; empty logs are removed. */
void execute_keep_output(struct execution *x) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-uffd map: the target; a workload or a command on the region. */
#include "approaches/common/cli/result.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/workload.h"
#include "approaches/uffd/uffd-cmd.h"
#include "approaches/uffd/uffd-region.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "memsync-uffd map"

struct config {
	struct uffd_cmd_engine engine;
	struct ms_workload_config workload;
	char *file;
	bool json;
};

static const struct ms_opt options[] = {
	UFFD_CMD_ENGINE_OPTIONS(struct config, engine),
	MS_WORKLOAD_OPTIONS(struct config, workload),
	MS_OPT_STRING(struct config, file, "file", 'f', NULL, "NAME",
		      "with COMMAND: it finds the region as this file"),
	MS_OPT_FLAG(struct config, json, "json", 'j',
		    "print the result as one line of JSON"),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] SPEC|URI [-- COMMAND [ARGUMENT]...]",
	.summary = "Map a region into memory and run a workload on it, or a "
		   "command that gets it",
	.epilogue =
		"SPEC is a pipeline such as pattern:size=1G,seed=1 or "
		"file:path=NAME,\nURI is a source: tcp://HOST:PORT[/EXPORT] "
		"or unix:///PATH[?EXPORT].",
	.table = options,
	.operands_min = 1,
	.operands_max = UINT_MAX,
	.stop_at_operand = true,
};

/*
 * The measuring thread stays where the threads were placed around it, or
 * placement means nothing. Not before they are: they would inherit it.
 */
static void stay_at(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void add_stats(struct ms_result *r, const struct config *c,
		      const struct memsync_uffd_stats *s)
{
	ms_result_param(r, "faults", "%" PRIu64, s->faults);
	ms_result_param(r, "urgent_requests", "%" PRIu64, s->urgent_requests);
	ms_result_param(r, "urgent_bytes", "%" PRIu64, s->urgent_bytes);
	if (c->engine.variant == MEMSYNC_UFFD_TUNED) {
		ms_result_param(r, "pull_requests", "%" PRIu64,
				s->pull_requests);
		ms_result_param(r, "pull_bytes", "%" PRIu64, s->pull_bytes);
		ms_result_param(r, "span_bytes", "%" PRIu64, c->engine.span);
		ms_result_param(r, "window_bytes", "%" PRIu64,
				c->engine.window);
		ms_result_param(r, "pull", c->engine.no_pull ? "no" : "yes");
		ms_result_param(r, "pages", s->huge ? "huge" : "small");
		if (!s->huge && !c->engine.no_huge)
			ms_result_note(r, "the local copy is in small pages: "
					  "the region is small, or a private "
					  "tmpfs with huge pages may not be "
					  "made");
	}
	if (s->user_mode_only)
		ms_result_note(r, "unprivileged userfaultfd: system calls on "
				  "missing pages fail");
	if (s->errors)
		ms_result_note(r, "%" PRIu64 " requests failed, last: %s",
			       s->errors, ms_errno_text(s->error));
}

/* The workload saw a SIGBUS; the engine knows why it was raised. */
static void explain(struct ms_workload_result *w,
		    const struct memsync_uffd_stats *s)
{
	size_t used = strlen(w->reason);

	if (w->status != MS_STATUS_OK && s->error)
		(void)snprintf(w->reason + used, sizeof(w->reason) - used,
			       " (source: %s)", ms_errno_text(s->error));
}

/*
 * A store of this process stands in for a source that is there already: it is
 * made, and filled, before the clock starts. Anything with a URI is reached
 * while it runs.
 */
static int open_region(const struct config *c, const char *spec,
		       struct memsync_uffd **ret, uint64_t *ret_open_ns)
{
	struct memsync_uffd_options o = uffd_cmd_options(&c->engine);
	struct ms_backend *store = NULL;

	int rc = strstr(spec, "://") ? 0 : ms_open(spec, &store);

	/* After the store: else it would take the memory that was touched. */
	if (rc == 0)
		rc = ms_workload_pretouch(&c->workload);
	if (rc) {
		ms_close(store);
		return rc;
	}
	uint64_t before = ms_now_ns();
	rc = store ? ms_uffd_region_open(store, &o, ret)
		   : memsync_uffd_open(spec, &o, ret);
	*ret_open_ns = ms_now_ns() - before;
	return rc;
}

static int measure(const struct config *c, const char *spec,
		   struct ms_result *r)
{
	struct memsync_uffd *region = NULL;
	struct memsync_uffd_stats stats;
	struct ms_workload_result w = {0};
	uint64_t open_ns = 0;
	int rc = open_region(c, spec, &region, &open_ns);

	if (rc) {
		ms_result_fail(r,
			       rc == -EPERM || rc == -ENOSYS ? MS_STATUS_SKIPPED
							     : MS_STATUS_FAILED,
			       "%s", ms_err_text());
		return rc;
	}
	if (c->engine.placement != MEMSYNC_UFFD_FLOAT &&
	    c->workload.threads == 1)
		stay_at(region->source->home_cpu);
	struct ms_workload_target target = {
		.addr = region->addr, /* read-only, as is what is done */
		.fd = -1,
		.size = memsync_uffd_size(region),
		.open_ns = open_ns,
	};
	rc = ms_workload_run(&c->workload, &target, &w);
	memsync_uffd_get_stats(region, &stats);
	if (rc == 0) {
		explain(&w, &stats);
		ms_workload_report(&c->workload, &target, &w, r);
	} else {
		ms_result_fail(r, MS_STATUS_FAILED, "%s", ms_err_text());
	}
	add_stats(r, c, &stats);
	ms_workload_release(&w);
	memsync_uffd_close(region);
	return rc;
}

static int run_workload(const struct config *c, const char *spec)
{
	static const char *const where[] = {"same-cpu", "other-cpu", "float"};
	bool thesis = c->engine.variant == MEMSYNC_UFFD_THESIS;
	struct ms_result r = {
		.program = PROGRAM,
		.approach = "uffd",
		.variant = uffd_cmd_variants[c->engine.variant],
		.workload = ms_workload_kinds[c->workload.kind],
		.chunk_bytes = thesis ? 4096 : c->engine.chunk,
		.workers = thesis || c->engine.no_pull ? 0 : c->engine.workers,
	};

	const struct memsync_uffd_options o = uffd_cmd_options(&c->engine);
	char *pipeline = ms_uffd_source_spec(spec, &o);
	ms_result_text(&r.pipeline, pipeline ? pipeline : spec);
	free(pipeline);
	ms_result_text(&r.placement, where[c->engine.placement]);
	int rc = measure(c, spec, &r);
	int code = 2;
	/* A bad spec or workload is a usage error, not a measurement. */
	if (rc == -EINVAL)
		(void)fprintf(stderr, PROGRAM ": %s\n", r.reason);
	else
		code = ms_result_print(&r, c->json, stdout);
	ms_result_release(&r);
	return code;
}

static int run_command(const struct config *c, int argc, char **argv)
{
	const struct uffd_cmd_run run = {
		.program = PROGRAM,
		.spec = argv[0],
		.file = c->file,
		.options = uffd_cmd_options(&c->engine),
		.argv = argv + 2,
	};

	if (strcmp(argv[1], "--") != 0 || argc < 3) {
		(void)fprintf(stderr, PROGRAM ": what follows the pipeline is "
					      "-- and a command\n");
		return 2;
	}
	return uffd_cmd_run(&run);
}

/* The options, and the pipeline that they make of the operand. */
static int dump_config(const struct config *c, int argc, char **argv)
{
	const struct memsync_uffd_options o = uffd_cmd_options(&c->engine);

	ms_opt_dump(options, c, stdout);
	if (argc == 0)
		return 0;
	char *pipeline = ms_uffd_source_spec(argv[0], &o);
	if (!pipeline) {
		(void)fprintf(stderr, PROGRAM ": out of memory\n");
		return 1;
	}
	(void)printf("pipeline=%s\n", pipeline);
	free(pipeline);
	return 0;
}

int uffd_cmd_map(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed;
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc < 0)
		code = 2;
	else if (rc == 0 && parsed.dump_config)
		code = dump_config(&c, argc - parsed.first_operand,
				   argv + parsed.first_operand);
	else if (rc == 0 && argc - parsed.first_operand == 1)
		code = run_workload(&c, argv[parsed.first_operand]);
	else if (rc == 0)
		code = run_command(&c, argc - parsed.first_operand,
				   argv + parsed.first_operand);
	ms_opt_release(options, &c);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run: is it possible, the link, the source, the target, and what is read
 * before and after. What the target printed becomes rows in result-rows.c;
 * bounds are added by bounds.c.
 */
#include "harness/run/execute.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/run/bounds.h"
#include "harness/run/features.h"
#include "harness/run/scratch.h"
#include "harness/run/timed.h"
#include "harness/vm/vm.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define READY_NS (20 * MS_NS_PER_S) /* of a source, to serve */
#define GRACE_NS (3 * MS_NS_PER_S)  /* of a source, to end on SIGTERM */

/* Why the run cannot be made here; false if it can. */
static bool impossible(struct execution *x)
{
	const struct cell *c = x->run->cell;
	const struct approach *a = x->approach;
	char why[300];

	if (!a || !approach_has_variant(a, c->s->variant)) {
		rows_status(x->rows, ROW_SKIPPED, "not built yet");
		return true;
	}
	if (!strcmp(c->e->accel, "tcg") && c->e->no_emulation) {
		rows_status(x->rows, ROW_REFUSED, "%s", c->e->no_emulation);
		return true;
	}
	x->command = c->link ? &a->target : &a->local;
	if (!x->command->argv) {
		rows_status(x->rows, ROW_SKIPPED, "%s has no form %s a link",
			    a->name, c->link ? "over" : "without");
		return true;
	}
	if (a->timed && !c->e->data) {
		rows_status(x->rows, ROW_SKIPPED,
			    "%s needs the region as a file", a->name);
		return true;
	}
	for (size_t i = 0; a->needs && a->needs[i]; i++) {
		if (feature_there(x->r->features, a->needs[i], why,
				  sizeof(why)))
			continue;
		rows_status(x->rows, ROW_SKIPPED, "%s", why);
		return true;
	}
	for (size_t i = 0; a->workloads && a->workloads[i]; i++) {
		if (!strcmp(a->workloads[i], c->e->workload))
			return false;
		if (a->workloads[i + 1])
			continue;
		rows_status(x->rows, ROW_SKIPPED, "%s cannot do %s", a->name,
			    c->e->workload);
		return true;
	}
	return false;
}

/* The link is there and is what was asked, or the run has its row. */
static int bring_link(struct execution *x)
{
	const struct cell *c = x->run->cell;
	struct link_readback back;
	struct row *base = &x->rows->base;
	int err;

	if (!c->link)
		return 0;
	if (geteuid() != 0) {
		rows_status(x->rows, ROW_SKIPPED,
			    "a link needs root, for network namespaces");
		return 1;
	}
	err = links_use(&x->r->links, c->e, c->driver, c->link, &back);
	if (x->r->links.link)
		base->link_driver = (int)links_row_driver(&x->r->links);
	if (!err) {
		base->rtt_ms_measured = back.rtt_ms;
		base->rate_mbit_measured = back.rate_mbit;
		return 0;
	}
	if (x->r->links.link && link_healthy(x->r->links.link))
		links_close(&x->r->links);
	rows_status(x->rows,
		    err == -EOPNOTSUPP || err == -EPERM ? ROW_SKIPPED
							: ROW_REFUSED,
		    "%s", ms_err_text());
	return 1;
}

static int make_store(struct execution *x)
{
	const struct cell *c = x->run->cell;

	if (c->link && links_row_driver(&x->r->links) == ROW_LINK_SLEEP)
		return asprintf(&x->store, "delay:time=%.0fus,next=(%s)",
				c->link->rtt_ms * 1e3, c->store) < 0
			       ? -ENOMEM
			       : 0;
	x->store = strdup(c->store);
	return x->store ? 0 : -ENOMEM;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int make_values(struct execution *x)
{
	const struct cell *c = x->run->cell;
	const struct experiment *e = c->e;
	const struct place_holder values[] = {
		{"store", x->store},
		{"size", x->text.size},
		{"seed", x->text.seed},
		{"chunk", e->chunk_bytes ? x->text.chunk : NULL},
		{"variant", c->s->variant},
		{"address",
		 c->link ? link_address(x->r->links.link, LINK_SOURCE) : NULL},
		{"dir", x->dir},
		{"data", e->data},
		{"data_dir", e->data ? x->text.data_dir : NULL},
		{"data_name", e->data ? base_name(e->data) : NULL},
		{"seconds", x->text.seconds},
		{NULL, NULL},
	};

	(void)snprintf(x->text.size, sizeof(x->text.size), "%" PRIu64, c->size);
	(void)snprintf(x->text.seed, sizeof(x->text.seed), "%" PRIu64, e->seed);
	(void)snprintf(x->text.chunk, sizeof(x->text.chunk), "%" PRIu64,
		       e->chunk_bytes);
	(void)snprintf(x->text.seconds, sizeof(x->text.seconds), "%.3f",
		       (double)(e->time_limit_ms ? e->time_limit_ms : 1000) /
			       1e3);
	if (e->data)
		(void)snprintf(x->text.data_dir, sizeof(x->text.data_dir),
			       "%.*s", (int)(base_name(e->data) - e->data),
			       e->data);
	static_assert(sizeof(values) <= sizeof(x->values), "room for all");
	memcpy(x->values, values, sizeof(values));
	return 0;
}

/* Files the programs need, such as a daemon's configuration. */
static int write_files(struct execution *x)
{
	const char *const *files = (const char *const *)x->approach->files;
	int err = 0;

	for (; files && *files && !err; files += 2) {
		char *text = NULL;

		err = approach_text(files[1], x->values, &text);
		if (!err)
			err = scratch_write(x->dir, files[0], text);
		free(text);
	}
	return err;
}

/* Resolve the program and its arguments; the caller frees *ret_argv. */
static int resolve(struct execution *x, const struct command *c, bool timed,
		   char *program, char ***ret_argv)
{
	int err = approach_program(c->argv[0], program, EXECUTE_PATH_MAX);

	if (!err)
		err = approach_argv(c->argv, x->values,
				    x->run->cell->e->options, ret_argv);
	if (!err && timed)
		err = timed_wrap(x->dir, program, ret_argv);
	return err;
}

static int start_side(struct execution *x, bool is_source)
{
	const struct placement *p = x->r->placement;
	const struct command *c = is_source ? &x->approach->source : x->command;
	char program[EXECUTE_PATH_MAX];
	char log[EXECUTE_PATH_MAX];
	char **argv = NULL;
	struct side_config config = {
		.name = is_source ? "source" : "target",
		.program = program,
		.link = x->run->cell->link ? x->r->links.link : NULL,
		.end = is_source ? LINK_SOURCE : LINK_TARGET,
		.cgroup = is_source ? x->source_group : x->target_group,
		.cpus = !p->pinned || !x->run->cell->link ? NULL
			: is_source			  ? &p->source
							  : &p->target,
		.dir = x->dir,
		.log = log,
		.pid_namespace = geteuid() == 0,
	};
	int err =
		resolve(x, c, !is_source && x->approach->timed, program, &argv);

	(void)snprintf(log, sizeof(log), "%s.%s.log", x->log, config.name);
	config.argv = argv;
	if (!err)
		err = side_start(&config, is_source ? &x->source : &x->target);
	approach_argv_free(argv);
	return err;
}

static int groups(struct execution *x)
{
	int err = cgroup_new("target", &x->target_group);

	if (!err && x->run->cell->link)
		err = cgroup_new("source", &x->source_group);
	return err;
}

/* The last line of a side's log, for a reason. */
static void log_tail(struct execution *x, const char *side, char *buf,
		     size_t size)
{
	char path[EXECUTE_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s.%s.log", x->log, side);
	scratch_last_line(path, buf, size);
}

/* 0: it serves; 1: there is a row; -EINTR. */
static int wait_source(struct execution *x)
{
	const struct command *c = &x->approach->source;
	uint64_t deadline = ms_now_ns() + READY_NS;
	enum side_event e;
	char tail[200];

	if (c->ready)
		e = side_wait_line(&x->source, c->ready, x->r->stop_fd,
				   deadline);
	else
		e = execute_wait_port(x, (uint16_t)c->port, deadline);
	if (e == SIDE_DONE)
		return 0;
	if (e == SIDE_STOPPED)
		return -EINTR;
	log_tail(x, "source", tail, sizeof(tail));
	if (e == SIDE_LOST)
		rows_status(x->rows, ROW_FAILED,
			    "the source ended before it served: %s%s%s",
			    side_status_text(&x->source), *tail ? ": " : "",
			    tail);
	else
		rows_status(x->rows, ROW_FAILED,
			    "the source did not serve within %d s%s%s",
			    (int)(READY_NS / MS_NS_PER_S), *tail ? ": " : "",
			    tail);
	return 1;
}

/* What has been used so far, by everything. */
static int meter(struct execution *x, struct meter *ret)
{
	struct meter m = {.link_cpu_s = NAN};
	struct rusage self;
	struct emulate_stats stats = {.cpu_ns = 0};
	struct link *l = x->run->cell->link ? x->r->links.link : NULL;
	int err = cgroup_system_cpu(&m.system_s);

	if (!err && l)
		err = link_counters(l, LINK_SOURCE, &m.wire);
	if (!err && l && link_driver(l) == LINK_EMULATED)
		err = link_emulator_stats(l, &stats);
	if (err)
		return err;
	if (l && link_driver(l) == LINK_EMULATED)
		m.link_cpu_s = (double)stats.cpu_ns / 1e9;
	if (getrusage(RUSAGE_SELF, &self))
		return ms_err(-errno, "getrusage");
	m.self_s =
		(double)self.ru_utime.tv_sec + (double)self.ru_stime.tv_sec +
		(double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec) / 1e6;
	*ret = m;
	return 0;
}

/* 0: the target has ended by itself; 1: there is a row; -EINTR. */
static int wait_target(struct execution *x)
{
	const struct experiment *e = x->run->cell->e;
	uint64_t deadline = ms_now_ns() + e->timeout_ms * MS_NS_PER_MS;
	struct side *source = x->run->cell->link ? &x->source : NULL;
	enum side_event event =
		side_wait_end(&x->target, source, x->r->stop_fd, deadline);
	char tail[200];

	switch (event) {
	case SIDE_DONE:
		return 0;
	case SIDE_STOPPED:
		return -EINTR;
	case SIDE_LOST:
		log_tail(x, "source", tail, sizeof(tail));
		rows_status(x->rows, ROW_FAILED,
			    "the source ended during the run (%s%s%s) and the "
			    "target did not notice",
			    side_status_text(&x->source), *tail ? ": " : "",
			    tail);
		return 1;
	case SIDE_TIMEOUT:
		break;
	}
	log_tail(x, "target", tail, sizeof(tail));
	rows_status(x->rows, ROW_FAILED,
		    "the target had not ended after %.3g s and was killed%s%s",
		    (double)e->timeout_ms / 1e3, *tail ? ": " : "", tail);
	return 1;
}

/* The target's answer as rows; it has ended. */
static void take_result(struct execution *x)
{
	const struct side *t = &x->target;
	char tail[200];

	log_tail(x, "target", tail, sizeof(tail));
	if (t->overflow)
		rows_status(x->rows, ROW_FAILED,
			    "the target printed more than %u bytes",
			    SIDE_OUTPUT_MAX);
	else if (WIFSIGNALED(t->status) || (!t->len && !x->approach->timed))
		rows_status(x->rows, ROW_FAILED,
			    "the target printed no result: %s%s%s",
			    side_status_text(t), *tail ? ": " : "", tail);
	else if (x->approach->timed)
		timed_result(x);
	else
		rows_result(x->rows, t->text, WEXITSTATUS(t->status));
	if (x->run->cell->link && x->source.ended &&
	    x->rows->base.status == ROW_OK)
		rows_status(x->rows, ROW_FAILED,
			    "the source ended during the run: %s",
			    side_status_text(&x->source));
}

static void add_usage(struct execution *x)
{
	struct cgroup_usage u;

	if (!cgroup_read(x->target_group, &u)) {
		rows_add(x->rows, "cpu_target_s", u.user_s + u.system_s);
		if (u.memory)
			rows_replace(x->rows, "rss_max_bytes",
				     (double)u.memory_max_bytes);
	}
	if (x->source_group && !cgroup_read(x->source_group, &u))
		rows_add(x->rows, "cpu_source_s", u.user_s + u.system_s);
}

static void add_meters(struct execution *x, const struct meter *a,
		       const struct meter *b)
{
	rows_add(x->rows, "cpu_link_s", b->link_cpu_s - a->link_cpu_s);
	rows_add(x->rows, "cpu_system_s", b->system_s - a->system_s);
	rows_add(x->rows, "cpu_harness_s", b->self_s - a->self_s);
	if (!x->run->cell->link)
		return;
	rows_add(x->rows, "wire_tx_bytes",
		 (double)(b->wire.tx_bytes - a->wire.tx_bytes));
	rows_add(x->rows, "wire_rx_bytes",
		 (double)(b->wire.rx_bytes - a->wire.rx_bytes));
}

/* Link and source are there: run the target and read everything. */
static int measure(struct execution *x)
{
	struct meter before = {.self_s = 0};
	struct meter after = {.self_s = 0};
	int err = meter(x, &before);

	if (!err)
		err = start_side(x, false);
	if (err)
		return err;
	err = wait_target(x);
	if (err)
		return err;
	err = meter(x, &after);
	if (err)
		return err;
	take_result(x);
	if (x->source.pid > 0 && !side_stop(&x->source, GRACE_NS))
		(void)snprintf(x->warning, sizeof(x->warning),
			       "the source did not end on SIGTERM");
	if (x->run->cell->link && link_healthy(x->r->links.link)) {
		rows_status(x->rows, ROW_REFUSED, "%s", ms_err_text());
		links_close(&x->r->links);
		return 0;
	}
	add_usage(x);
	add_meters(x, &before, &after);
	bounds_add(x);
	return 0;
}

/* Of the row: what is at the source; the target's part comes in front. */
static void name_pipeline(struct execution *x)
{
	if (x->run->cell->link && x->approach->source.argv)
		(void)snprintf(x->rows->pipeline, sizeof(x->rows->pipeline),
			       "%s", x->store);
}

static int run_sides(struct execution *x)
{
	int err = groups(x);

	if (!err)
		err = make_store(x);
	if (!err)
		err = make_values(x);
	if (!err)
		err = write_files(x);
	if (!err)
		name_pipeline(x);
	if (!err && x->run->cell->link && x->approach->source.argv) {
		err = start_side(x, true);
		if (!err)
			err = wait_source(x);
	}
	if (!err)
		err = measure(x);
	return err;
}

static void describe(struct execution *x)
{
	const struct cell *c = x->run->cell;
	const struct placement *p = x->r->placement;

	plan_row(x->run, &x->rows->base);
	x->rows->base.run_id = x->r->run_id;
	x->rows->base.chunk_bytes =
		c->e->chunk_bytes ? c->e->chunk_bytes : ROW_NO_COUNT;
	(void)snprintf(x->rows->placement, sizeof(x->rows->placement), "%s",
		       c->link ? p->remote_text : p->local_text);
	x->rows->base.placement = x->rows->placement;
}

static void clean_up(struct execution *x)
{
	side_release(&x->target);
	side_release(&x->source);
	cgroup_free(x->target_group);
	cgroup_free(x->source_group);
	free(x->store);
	if (x->dir[0])
		scratch_remove(x->dir);
}

int execute(struct runner *r, const struct plan_run *run, size_t number,
	    struct run_rows *ret)
{
	struct execution x = {
		.r = r,
		.run = run,
		.rows = ret,
		.source = {.pid = -1, .out = -1, .status_fd = -1},
		.target = {.pid = -1, .out = -1, .status_fd = -1}};
	int err = 0;

	memset(ret, 0, sizeof(*ret));
	x.approach = approach_find(r->approaches, run->cell->s->approach);
	describe(&x);
	if (impossible(&x) || bring_link(&x))
		return 0;
	/* Writing into the result folder of a VM is slow. */
	err = scratch_make(vm_inside() ? "/tmp" : r->dir, x.dir, sizeof(x.dir));
	if (!err)
		err = execute_log_name(&x, number);
	if (!err)
		err = run_sides(&x);
	if (err < 0 && err != -EINTR)
		rows_status(ret, err == -ENOENT ? ROW_SKIPPED : ROW_FAILED,
			    "%s", ms_err_text());
	execute_keep_output(&x);
	clean_up(&x);
	return err == -EINTR ? -EINTR : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-nbd mount: a region as a block device; a workload or a command. */
#include "approaches/common/cli/program.h"
#include "approaches/common/cli/result.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/workload.h"
#include "approaches/nbd/mount.h"
#include "approaches/nbd/nbd-cmd.h"
#include "approaches/nbd/pull-order.h"
#include "approaches/nbd/stats-socket.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "memsync-nbd mount"

enum {
	WITHOUT, /* attach, and stay until a signal comes */
	WORKLOAD,
	COMMAND,
};

struct config {
	bool direct;
	bool managed;
	int variant;
	bool read_only;
	int attach;
	int ready;
	uint64_t connections;
	uint64_t block;
	uint64_t timeout_ns;
	uint64_t read_ahead;
	char *local;
	uint64_t chunk;
	uint64_t request;
	char *pull_workers;
	bool pull_first;
	char *pull_order;
	char *push_interval;
	char *stats;
	char *before_sync;
	char *before_close;
	bool run;
	bool json;
	struct ms_workload_config workload;
};

static const char *const variants[] = {"tuned", "thesis", NULL};
static const char *const attaches[] = {"netlink", "ioctl", NULL};
static const char *const readies[] = {"uevent", "sysfs", NULL};

static const struct ms_opt options[] = {
	MS_OPT_FLAG(struct config, managed, "managed", 'm',
		    "with a local cache, filled and written back in the "
		    "background (the default)"),
	MS_OPT_FLAG(struct config, direct, "direct", 'd',
		    "every request of the device goes to the backend"),
	MS_OPT_CHOICE(struct config, variant, "variant", 'v', "tuned", variants,
		      "how it works"),
	MS_OPT_FLAG(struct config, read_only, "read-only", 'r',
		    "the device cannot be written"),
	MS_OPT_CHOICE(struct config, attach, "attach", 0, "netlink", attaches,
		      "how the device is attached; thesis: ioctl"),
	MS_OPT_CHOICE(struct config, ready, "ready", 0, "uevent", readies,
		      "how it is noticed to be there; thesis: sysfs"),
	MS_OPT_UINT(struct config, connections, "connections", 0, "0", 0, 64,
		    "between kernel and us; 0: one for each of up to four "
		    "processors"),
	MS_OPT_SIZE(struct config, block, "block", 'b', "0", 0, 4096,
		    "block of the device, 512 to 4K; 0: what fits"),
	MS_OPT_DURATION(struct config, timeout_ns, "timeout", 0, "0",
			"the kernel gives a request up after this; 0: never"),
	MS_OPT_SIZE(struct config, read_ahead, "read-ahead", 0, "0", 0,
		    1U << 30,
		    "of the kernel; 0: 4M if direct and tuned, else 128K"),
	MS_OPT_STRING(struct config, local, "local", 'l', NULL, "SPEC",
		      "managed: store of the cache [memory:huge=yes]"),
	MS_OPT_SIZE(struct config, chunk, "chunk", 'c', "4K", 4096, 1U << 28,
		    "managed: unit of the cache"),
	MS_OPT_SIZE(struct config, request, "request", 0, "0", 0, 1U << 28,
		    "managed: longest fetch or push; 0: 1M, thesis 4K"),
	MS_OPT_STRING(struct config, pull_workers, "pull-workers", 0, NULL, "N",
		      "managed: requests of the background pull at once; 0: "
		      "no pull [as the link takes; thesis: 512]"),
	MS_OPT_FLAG(struct config, pull_first, "pull-first", 0,
		    "managed: mount when everything is local"),
	MS_OPT_STRING(struct config, pull_order, "pull-order", 0, NULL, "FILE",
		      "managed: offsets in bytes, one a line, to pull first"),
	MS_OPT_STRING(struct config, push_interval, "push-interval", 0, NULL,
		      "TIME",
		      "managed: between write-backs; never: only by sync [5s; "
		      "thesis: 20s]"),
	MS_OPT_STRING(struct config, stats, "stats", 0, NULL, "PATH",
		      "answer each connection to this socket with numbers"),
	MS_OPT_STRING(struct config, before_sync, "before-sync", 0, NULL,
		      "COMMAND", "run by a shell before the last sync"),
	MS_OPT_STRING(struct config, before_close, "before-close", 0, NULL,
		      "COMMAND", "run by a shell before the device goes"),
	MS_OPT_FLAG(struct config, run, "run", 0,
		    "run the workload of the options and print its result"),
	MS_WORKLOAD_OPTIONS(struct config, workload),
	MS_OPT_FLAG(struct config, json, "json", 'j',
		    "run the workload, print its result as one line of JSON"),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] SPEC|URI [-- COMMAND [ARGUMENT]...]",
	.summary = "Mount a region as a block device of this machine",
	.epilogue =
		"Prints \"mounted on /dev/nbdN\" and ends on SIGINT or "
		"SIGTERM, "
		"when everything\nwritten is durable. COMMAND finds the device "
		"in MEMSYNC_NBD and ends the mount.\nWith --run or --json a "
		"workload is run instead.",
	.table = options,
	.operands_min = 1,
	.operands_max = UINT_MAX,
	.stop_at_operand = true,
};

/* --- options ---------------------------------------------------------------
 */

static int parse_workers(const struct config *c, struct memsync_nbd_options *o)
{
	uint64_t n;

	if (!c->pull_workers)
		return 0;
	if (ms_parse_uint(c->pull_workers, &n) || n > 16384)
		return ms_err(-EINVAL,
			      "--pull-workers takes a number from 0 "
			      "to 16384, not \"%.40s\"",
			      c->pull_workers);
	o->pull_workers = n ? (uint32_t)n : MEMSYNC_NBD_NO_WORKERS;
	return 0;
}

static int parse_interval(const struct config *c, struct memsync_nbd_options *o)
{
	if (!c->push_interval)
		return 0;
	if (!strcmp(c->push_interval, "never")) {
		o->push_interval_ns = UINT64_MAX;
		return 0;
	}
	if (ms_parse_duration(c->push_interval, &o->push_interval_ns) ||
	    !o->push_interval_ns)
		return ms_err(-EINVAL,
			      "--push-interval takes a time such as 5s, or "
			      "never, not \"%.40s\"",
			      c->push_interval);
	return 0;
}

static void run_hook(const char *text)
{
	int status = text ? system(text) : 0; /* NOLINT(cert-env33-c) */

	if (status)
		(void)fprintf(stderr, PROGRAM ": \"%s\" ended with %d\n", text,
			      WIFEXITED(status) ? WEXITSTATUS(status) : 128);
}

static void before_sync(void *user)
{
	run_hook(((const struct config *)user)->before_sync);
}

static void before_close(void *user)
{
	run_hook(((const struct config *)user)->before_close);
}

/* `order` is to be freed after the mount was opened. */
static int make_options(struct config *c, struct memsync_nbd_options *o,
			struct pull_order *order)
{
	int rc = 0;

	*o = (struct memsync_nbd_options){
		.kind = c->direct ? MEMSYNC_NBD_DIRECT : MEMSYNC_NBD_MANAGED,
		.variant = (enum memsync_nbd_variant)c->variant,
		.read_only = c->read_only,
		.attach = (enum memsync_nbd_attach)c->attach,
		.ready = (enum memsync_nbd_ready)c->ready,
		.connections = (unsigned)c->connections,
		.block_bytes = (uint32_t)c->block,
		.timeout_s = (unsigned)((c->timeout_ns + MS_NS_PER_S - 1) /
					MS_NS_PER_S),
		.read_ahead_bytes = (uint32_t)c->read_ahead,
		.local = c->local,
		.chunk_bytes = c->chunk,
		.request_bytes = c->request,
		.pull_first = c->pull_first,
		.before_sync = c->before_sync ? before_sync : NULL,
		.before_close = c->before_close ? before_close : NULL,
		.user = c};
	if (c->direct && c->managed)
		return ms_err(-EINVAL, "--direct and --managed exclude each "
				       "other");
	rc = parse_workers(c, o);
	if (!rc)
		rc = parse_interval(c, o);
	if (!rc && c->pull_order)
		rc = pull_order_load(c->pull_order, c->chunk, order);
	o->pull_list = order->chunks;
	o->pull_list_count = order->count;
	return rc;
}

/* --- a workload ------------------------------------------------------------
 */

static int sync_mount(void *user)
{
	return memsync_nbd_sync(user);
}

static void add_stats(struct ms_result *r, const struct memsync_nbd *m)
{
	struct memsync_nbd_stats s;

	memsync_nbd_get_stats(m, &s);
	ms_result_param(r, "setup_us", "%" PRIu64, s.setup_ns / 1000);
	ms_result_param(r, "ready", "%s", readies[m->options.ready]);
	ms_result_param(r, "connections", "%u", m->options.connections);
	if (m->options.kind == MEMSYNC_NBD_DIRECT)
		return;
	ms_result_param(r, "pull_requests", "%" PRIu64, s.pull_requests);
	ms_result_param(r, "pull_bytes", "%" PRIu64, s.pull_bytes);
	if (s.errors)
		ms_result_note(r, "%" PRIu64 " requests failed, last: %s",
			       s.errors, ms_errno_text(s.error));
}

/* A store of this process stands in for a source that is there already. */
static int open_mount(const struct config *c, const char *spec,
		      const struct memsync_nbd_options *o,
		      struct memsync_nbd **ret, uint64_t *ret_open_ns)
{
	int rc = ms_workload_pretouch(&c->workload);
	uint64_t before = ms_now_ns();

	if (!rc)
		rc = memsync_nbd_open(spec, o, ret);
	*ret_open_ns = ms_now_ns() - before;
	return rc;
}

static int run_on(const struct config *c, struct memsync_nbd *m,
		  uint64_t open_ns, struct ms_result *r)
{
	struct ms_workload_result w = {0};
	struct ms_workload_target target = {
		.fd = memsync_nbd_fd(m),
		.size = memsync_nbd_size(m),
		.writable = !m->options.read_only,
		.sync = sync_mount,
		.user = m,
		.open_ns = open_ns,
	};
	int rc = target.fd < 0 ? target.fd : 0;

	if (!rc && c->workload.access == MS_WL_MMAP)
		rc = memsync_nbd_map(m, &target.addr);
	if (!rc)
		rc = ms_workload_run(&c->workload, &target, &w);
	if (!rc)
		ms_workload_report(&c->workload, &target, &w, r);
	else
		ms_result_fail(r, MS_STATUS_FAILED, "%s", ms_err_text());
	add_stats(r, m);
	ms_workload_release(&w);
	return rc;
}

static int measure(const struct config *c, const char *spec,
		   const struct memsync_nbd_options *o, struct ms_result *r)
{
	struct memsync_nbd *m = NULL;
	uint64_t open_ns = 0;
	int rc = open_mount(c, spec, o, &m, &open_ns);
	int closed;

	if (rc) {
		ms_result_fail(r,
			       rc == -EPERM || rc == -EOPNOTSUPP
				       ? MS_STATUS_SKIPPED
				       : MS_STATUS_FAILED,
			       "%s", ms_err_text());
		return rc;
	}
	ms_result_text(&r->pipeline, memsync_nbd_pipeline(m));
	rc = run_on(c, m, open_ns, r);
	closed = memsync_nbd_close(m);
	if (closed)
		ms_result_fail(r, MS_STATUS_FAILED, "%s", ms_err_text());
	return rc;
}

static int run_workload(const struct config *c, const char *spec,
			const struct memsync_nbd_options *o)
{
	struct ms_result r = {
		.program = PROGRAM,
		.approach = c->direct ? "nbd-direct" : "nbd-managed",
		.variant = variants[c->variant],
		.workload = ms_workload_kinds[c->workload.kind],
		/* A direct tuned mount has no chunks. */
		.chunk_bytes = c->direct && c->variant == MEMSYNC_NBD_TUNED
				       ? 0
				       : c->chunk,
		.workers = o->pull_workers == MEMSYNC_NBD_NO_WORKERS
				   ? 0
				   : o->pull_workers,
	};
	int rc;
	int code = 2;

	ms_result_text(&r.pipeline, spec);
	rc = measure(c, spec, o, &r);
	/* A bad spec or workload is a usage error, not a measurement. */
	if (rc == -EINVAL)
		(void)fprintf(stderr, PROGRAM ": %s\n", r.reason);
	else
		code = ms_result_print(&r, c->json, stdout);
	ms_result_release(&r);
	return code;
}

/* --- a command, or until a signal ------------------------------------------
 */

/* In the child; only returns on failure. */
static void become(char **argv, const char *path, const sigset_t *mask)
{
	(void)setenv("MEMSYNC_NBD", path, 1);
	(void)pthread_sigmask(SIG_SETMASK, mask, NULL);
	(void)execvp(argv[0], argv);
	(void)fprintf(stderr, PROGRAM ": %s: %s\n", argv[0],
		      ms_errno_text(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int run_command(const struct memsync_nbd *m, char **argv,
		       const sigset_t *mask)
{
	pid_t child = fork();

	if (child == 0)
		become(argv, memsync_nbd_path(m), mask);
	if (child < 0) {
		(void)fprintf(stderr, PROGRAM ": fork: %s\n",
			      ms_errno_text(errno));
		return 1;
	}
	return ms_program_wait_child(child);
}

static int stay(struct memsync_nbd *m)
{
	(void)printf("mounted on %s\n", memsync_nbd_path(m));
	(void)fflush(stdout);
	(void)ms_program_wait_signal();
	return 0;
}

static int mount_and(const struct config *c, const char *spec,
		     const struct memsync_nbd_options *o, char **argv)
{
	struct stats_socket *stats = NULL;
	struct memsync_nbd *m = NULL;
	sigset_t mask;
	int code = 0;
	int rc;

	ms_program_block_signals(&mask);
	rc = memsync_nbd_open(spec, o, &m);
	if (!rc && c->stats)
		rc = stats_socket_open(c->stats, m, &stats);
	if (rc) {
		code = ms_program_error(PROGRAM, rc);
		(void)memsync_nbd_close(m);
		return code;
	}
	code = argv ? run_command(m, argv, &mask) : stay(m);
	stats_socket_close(stats);
	rc = memsync_nbd_close(m);
	return rc ? ms_program_error(PROGRAM, rc) : code;
}

static int run(struct config *c, int argc, char **argv)
{
	struct memsync_nbd_options o;
	struct pull_order order = {0};
	char **rest = argc > 2 ? argv + 2 : NULL;
	int code;

	if (argc > 1 &&
	    (strcmp(argv[1], "--") != 0 || argc < 3 || c->run || c->json)) {
		(void)fprintf(stderr, PROGRAM ": what follows the pipeline is "
					      "-- and a command, without "
					      "--run and --json\n");
		return 2;
	}
	if (make_options(c, &o, &order)) {
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
		code = 2;
	} else if (c->run || c->json) {
		code = run_workload(c, argv[0], &o);
	} else {
		code = mount_and(c, argv[0], &o, rest);
	}
	pull_order_release(&order);
	return code;
}

int nbd_cmd_mount(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed;
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc < 0)
		code = 2;
	else if (rc == 0 && parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else if (rc == 0)
		code = run(&c, argc - parsed.first_operand,
			   argv + parsed.first_operand);
	ms_opt_release(options, &c);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memsync-bench workload: the workload engine on what every approach is
 * compared with: memory, a disk, or any file or device, with the same accesses,
 * timers and verification as inside the approaches' programs.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/cli/result.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/workload.h"
#include "harness/cmd.h"
#include "harness/workload/local-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROGRAM "memsync-bench workload"

enum on {
	ON_MEMORY,
	ON_DISK,
	ON_PATH,
};

static const char *const on_names[] = {"memory", "disk", "path", NULL};

struct config {
	int on;
	uint64_t size;
	char *folder;
	char *path;
	char *approach;
	char *variant;
	bool keep_cache;
	bool write;
	bool json;
	struct ms_workload_config workload;
};

static const struct ms_opt options[] = {
	MS_OPT_CHOICE(struct config, on, "on", 'o', "memory", on_names,
		      "what to access"),
	MS_OPT_SIZE(struct config, size, "size", 's', "64M", 1, INT64_MAX,
		    "bytes of memory, or of the file on disk"),
	MS_OPT_STRING(struct config, folder, "folder", 'd', "/var/tmp",
		      "FOLDER", "disk: where the file is made"),
	MS_OPT_STRING(struct config, path, "path", 'p', NULL, "NAME",
		      "path: the file or device"),
	MS_OPT_FLAG(struct config, write, "write", 0,
		    "path: may be written to"),
	MS_OPT_FLAG(struct config, keep_cache, "keep-cache", 0,
		    "do not drop the page cache before"),
	MS_OPT_STRING(struct config, approach, "approach", 0, NULL, "NAME",
		      "approach in the result; default: memory or disk"),
	MS_OPT_STRING(struct config, variant, "variant", 0, "", "NAME",
		      "variant in the result"),
	MS_OPT_FLAG(struct config, json, "json", 'j',
		    "print the result as one line of JSON"),
	MS_WORKLOAD_OPTIONS(struct config, workload),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS]",
	.summary = "Access memory, a disk, or any file or device, measured and "
		   "verified",
	.table = options,
	.operands_max = 0,
};

/* What is accessed, and what it takes to undo it. */
struct place {
	struct ms_workload_target target;
	uint64_t mapped;
};

static int open_memory(const struct config *c, struct place *p)
{
	uint64_t before = ms_now_ns();
	void *at = mmap(NULL, c->size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		return ms_err(-errno, "%llu bytes of memory",
			      (unsigned long long)c->size);
	p->target.open_ns = ms_now_ns() - before;
	/* Every page is touched here, before any timer of the accesses. */
	ms_pattern_fill(c->workload.pattern_seed, 0, at, c->size);
	p->target.addr = at;
	p->mapped = p->target.size = c->size;
	p->target.writable = true;
	return 0;
}

static int map_file(const struct config *c, struct place *p)
{
	int prot = PROT_READ | (p->target.writable ? PROT_WRITE : 0);
	uint64_t before = ms_now_ns();

	if (c->workload.access != MS_WL_MMAP)
		return 0;
	void *at =
		mmap(NULL, p->target.size, prot, MAP_SHARED, p->target.fd, 0);
	if (at == MAP_FAILED)
		return ms_err(-errno, "map the file");
	p->target.open_ns += ms_now_ns() - before;
	p->target.addr = at;
	p->mapped = p->target.size;
	return 0;
}

static int open_disk(const struct config *c, struct place *p,
		     struct ms_result *r)
{
	int fd = local_disk_file(c->folder, c->size, c->workload.pattern_seed);

	if (fd < 0)
		return fd;
	p->target.fd = fd;
	p->target.size = c->size;
	p->target.writable = true;
	ms_result_param(r, "read_ahead_kb", "%d", local_disk_read_ahead_kb(fd));
	int rc = c->keep_cache ? 0 : local_disk_drop_cache(fd, c->size);
	return rc ? rc : map_file(c, p);
}

static int open_path(const struct config *c, struct place *p,
		     struct ms_result *r)
{
	uint64_t before = ms_now_ns();

	if (!c->path)
		return ms_err(-EINVAL, "--on=path needs --path");
	int fd = open(c->path, (c->write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return ms_err(-errno, "%s", c->path);
	p->target.open_ns = ms_now_ns() - before;
	p->target.fd = fd;
	p->target.writable = c->write;
	p->target.size = local_disk_size(fd);
	if (p->target.size == 0)
		return ms_err_add(ms_err_code(), "%s", c->path);
	ms_result_param(r, "read_ahead_kb", "%d", local_disk_read_ahead_kb(fd));
	int rc = c->keep_cache ? 0 : local_disk_drop_cache(fd, p->target.size);
	return rc ? rc : map_file(c, p);
}

static int sync_mapped(void *user)
{
	const struct place *p = user;

	return msync(p->target.addr, p->mapped, MS_SYNC) ? -errno : 0;
}

static int open_place(const struct config *c, struct place *p,
		      struct ms_result *r)
{
	int rc = 0;

	if (c->on == ON_MEMORY)
		rc = open_memory(c, p);
	else if (c->on == ON_DISK)
		rc = open_disk(c, p, r);
	else
		rc = open_path(c, p, r);
	if (rc == 0 && p->mapped && p->target.fd >= 0) {
		p->target.sync = sync_mapped;
		p->target.user = p;
	}
	return rc;
}

static void close_place(struct place *p)
{
	if (p->mapped)
		(void)munmap(p->target.addr, p->mapped);
	if (p->target.fd >= 0)
		(void)close(p->target.fd);
}

static int measure(const struct config *c, struct ms_result *r)
{
	struct place p = {0};
	struct ms_workload_result w = {0};
	int rc = ms_workload_pretouch(&c->workload);

	p.target.fd = -1;
	if (rc == 0)
		rc = open_place(c, &p, r);
	if (rc == 0)
		rc = ms_workload_run(&c->workload, &p.target, &w);
	if (rc == 0) {
		ms_workload_report(&c->workload, &p.target, &w, r);
		ms_result_param(r, "page_cache", "%s",
				c->on == ON_MEMORY ? "none"
				: c->keep_cache	   ? "kept"
						   : "dropped");
	} else {
		bool refused = rc == -EOPNOTSUPP || rc == -EBUSY;
		ms_result_fail(r,
			       refused ? MS_STATUS_REFUSED : MS_STATUS_FAILED,
			       "%s", ms_err_text());
	}
	ms_workload_release(&w);
	close_place(&p);
	return rc;
}

static int run(const struct config *c)
{
	struct ms_result r = {
		.program = PROGRAM,
		.approach = c->approach		 ? c->approach
			    : c->on == ON_MEMORY ? "memory"
						 : "disk",
		.variant = c->variant,
		.workload = ms_workload_kinds[c->workload.kind],
	};
	int code = 2;

	ms_result_text(&r.pipeline, on_names[c->on]);
	r.size_bytes = c->size;
	if (measure(c, &r) == -EINVAL)
		(void)fprintf(stderr, PROGRAM ": %s\n", r.reason);
	else
		code = ms_result_print(&r, c->json, stdout);
	ms_result_release(&r);
	return code;
}

int cmd_workload(int argc, char **argv)
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
		code = run(&c);
	ms_opt_release(options, &c);
	return code;
}

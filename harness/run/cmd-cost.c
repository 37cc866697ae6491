/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench cost`: what the stack itself costs. Reads of 4 KiB that hit
 * the cache, through door, chunker and cache over a store without content, one
 * after the other in one thread. Below this no approach can be.
 */
#include "approaches/common/cli/result.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "memsync/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define PROGRAM	   "memsync-bench cost"
#define READ_BYTES 4096u
#define SIZE	   (4u << 20)
#define BATCH	   1024u /* reads between two looks at the clock */
#define SPEC                                                            \
	"chunker:size=64K,align=no,next=(cache:local=(memory:size=4M)," \
	"remote=(null:size=4M),chunk=64K)"

struct config {
	double seconds;
	char *spec;
	bool json;
};

static const struct ms_opt options[] = {
	MS_OPT_REAL(struct config, seconds, "seconds", 's', "1", 0.01, 3600,
		    "SECONDS", "how long to measure"),
	MS_OPT_STRING(struct config, spec, "spec", 0, SPEC, "SPEC",
		      "pipeline of at least 4 MiB"),
	MS_OPT_FLAG(struct config, json, "json", 'j',
		    "print the result as one line of JSON"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS]",
	.summary = "Measure what the harness' own stack costs an I/O of 4 KiB",
	.table = options,
};

struct counter {
	atomic_uint_fast64_t done;
	atomic_int result;
};

static void count(struct ms_io *io)
{
	struct counter *c = io->user;

	if (io->result)
		atomic_store(&c->result, io->result);
	atomic_fetch_add_explicit(&c->done, 1, memory_order_release);
}

/* One read after the other; a completion may come from another thread. */
static void read_batch(struct ms_backend *b, char *buf, struct counter *c,
		       uint64_t *io)
{
	for (unsigned i = 0; i < BATCH; i++, (*io)++) {
		struct ms_io r = {.op = MS_OP_READ,
				  .priority = MS_URGENT,
				  .offset = *io % (SIZE / READ_BYTES) *
					    READ_BYTES,
				  .length = READ_BYTES,
				  .buf = buf,
				  .done = count,
				  .user = c};

		ms_submit(b, &r);
		while (atomic_load_explicit(&c->done, memory_order_acquire) <=
		       *io)
			(void)sched_yield();
	}
}

static int measure(const struct config *c, struct ms_result *r)
{
	static _Alignas(4096) char buf[READ_BYTES];
	struct counter counter = {.done = 0};
	struct ms_backend *b = NULL;
	uint64_t ios = 0;
	uint64_t start;
	uint64_t end;
	int err = ms_open(c->spec, &b);

	if (err)
		return err;
	if (ms_size(b) < SIZE) {
		ms_close(b);
		return ms_err(-EINVAL, "the pipeline is smaller than 4 MiB");
	}
	/* The first pass makes everything local. */
	read_batch(b, buf, &counter, &ios);
	start = ms_now_ns();
	end = start + (uint64_t)(c->seconds * 1e9);
	counter.done = 0;
	ios = 0;
	while (ms_now_ns() < end && !atomic_load(&counter.result))
		read_batch(b, buf, &counter, &ios);
	end = ms_now_ns();
	ms_close(b);
	err = atomic_load(&counter.result);
	if (err)
		return ms_err(err, "read");
	r->bytes_done = ios * READ_BYTES;
	ms_result_metric(r, "op_us", (double)(end - start) / 1e3 / (double)ios,
			 "us");
	ms_result_param(r, "ios", "%" PRIu64, ios);
	return 0;
}

int cmd_cost(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	struct ms_result r = {.program = PROGRAM,
			      .approach = "null",
			      .variant = "",
			      .workload = "cost",
			      .size_bytes = SIZE};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc || parsed.dump_config) {
		if (!rc)
			ms_opt_dump(options, &c, stdout);
		ms_opt_release(options, &c);
		return rc < 0 ? 2 : 0;
	}
	ms_result_text(&r.pipeline, c.spec);
	rc = measure(&c, &r);
	if (rc)
		ms_result_fail(&r, MS_STATUS_FAILED, "%s", ms_err_text());
	code = ms_result_print(&r, c.json, stdout);
	ms_result_release(&r);
	ms_opt_release(options, &c);
	return rc == -EINVAL ? 2 : code;
}

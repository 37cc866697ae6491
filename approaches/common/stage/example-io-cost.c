/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the harness itself costs: nanoseconds of one 4 KiB request, in one
 * thread, through the door and through each stage that a pipeline is made of,
 * over stores that do no more than a copy. A figure of an approach is only
 * believable if it is far above these.
 */
#include "approaches/common/cli/result.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "memsync/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRAM	   "example-io-cost"
#define IO_BYTES   UINT64_C(4096)
#define BATCH	   UINT64_C(256)
#define LIMIT_NS   1000.0 /* what the whole stack may cost */
#define REGION	   "16M"
#define WHOLE	   (STACKS - 1)
#define STACK_NAME 30

struct stack {
	const char *name;
	const char *spec;
};

enum {
	STACKS = 7
};

static const struct stack stacks[STACKS] = {
	{"memory", "memory:size=" REGION},
	{"null", "null:size=" REGION},
	{"chunker over null", "chunker:align=no,next=(null:size=" REGION ")"},
	{"tracker over null", "tracker:next=(null:size=" REGION ")"},
	{"cache hit", "cache:local=memory,remote=(null:size=" REGION ")"},
	/* This one reads 64 KiB for each 4 KiB, which is what it is for. */
	{"aligning chunker over null", "chunker:next=(null:size=" REGION ")"},
	{"whole stack",
	 "chunker:align=no,next=(tracker:next=(cache:local=memory,"
	 "remote=(null:size=" REGION ")))"},
};

struct cost {
	double p50, p99; /* ns a request */
};

struct config {
	bool json;
	uint64_t rounds;
};

static const struct ms_opt options[] = {
	MS_OPT_FLAG(struct config, json, "json", 0, "print the result as JSON"),
	MS_OPT_UINT(struct config, rounds, "rounds", 0, "2000", 10, 1000000,
		    "batches of 256 requests for each number"),
	MS_OPT_END,
};

/* --- one number ----------------------------------------------------------- */

static int result;

static void done(struct ms_io *io)
{
	if (io->result < 0)
		result = io->result;
}

/* One batch; each request completes before ms_submit returns. */
static double batch_ns(struct ms_backend *b, enum ms_op op, char *buf,
		       uint64_t *offset)
{
	uint64_t begin = ms_now_ns();

	for (uint64_t i = 0; i < BATCH; i++) {
		struct ms_io io = {.op = op,
				   .priority = MS_URGENT,
				   .offset = *offset,
				   .length = IO_BYTES,
				   .buf = buf,
				   .done = done};
		ms_submit(b, &io);
		*offset = (*offset + IO_BYTES) % ms_size(b);
	}
	return (double)(ms_now_ns() - begin) / (double)BATCH;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

static int measure(struct ms_backend *b, enum ms_op op, uint64_t rounds,
		   struct cost *ret)
{
	double *ns = calloc(rounds, sizeof(*ns));
	char *buf = aligned_alloc(IO_BYTES, IO_BYTES);
	uint64_t offset = 0;
	int rc = 0;

	if (!ns || !buf) {
		free(ns);
		free(buf);
		return ms_err(-ENOMEM, PROGRAM);
	}
	result = 0;
	for (uint64_t i = 0; rc == 0 && i < rounds; i++) {
		ns[i] = batch_ns(b, op, buf, &offset);
		rc = result;
	}
	if (rc == 0) {
		qsort(ns, rounds, sizeof(*ns), by_value);
		*ret = (struct cost){.p50 = ns[rounds / 2],
				     .p99 = ns[rounds * 99 / 100]};
	}
	free(ns);
	free(buf);
	return rc;
}

/* Everything local and every page touched, so that all that follows hits. */
static int warm_up(struct ms_backend *b)
{
	uint64_t size = ms_size(b);
	char *buf = calloc(1, size);

	if (!buf)
		return ms_err(-ENOMEM, PROGRAM);
	int rc = ms_read_at(b, buf, size, 0);
	if (rc == 0)
		rc = ms_write_at(b, buf, size, 0);
	free(buf);
	return rc;
}

static int measure_stack(const struct stack *stack, uint64_t rounds,
			 struct cost *ret_read, struct cost *ret_write)
{
	struct ms_backend *b = NULL;
	int rc = ms_open(stack->spec, &b);

	if (rc)
		return rc;
	rc = warm_up(b);
	if (rc == 0)
		rc = measure(b, MS_OP_READ, rounds, ret_read);
	if (rc == 0)
		rc = measure(b, MS_OP_WRITE, rounds, ret_write);
	ms_close(b);
	return rc;
}

/* --- the table ------------------------------------------------------------ */

static void print_table(const struct cost *reads, const struct cost *writes)
{
	(void)printf("%-*s %10s %10s %10s %10s\n", STACK_NAME, "ns for 4 KiB",
		     "read p50", "read p99", "write p50", "write p99");
	for (int i = 0; i < STACKS; i++)
		(void)printf("%-*s %10.0f %10.0f %10.0f %10.0f\n", STACK_NAME,
			     stacks[i].name, reads[i].p50, reads[i].p99,
			     writes[i].p50, writes[i].p99);
}

static int report(const struct config *c, const struct cost *reads,
		  const struct cost *writes, int error)
{
	struct ms_result r = {.program = PROGRAM,
			      .approach = "null",
			      .variant = "tuned",
			      .workload = "io-cost",
			      .chunk_bytes = 64 << 10,
			      .size_bytes = 16 << 20};

	ms_result_text(&r.pipeline, stacks[WHOLE].spec);
	if (error) {
		ms_result_fail(&r, MS_STATUS_FAILED, "%s", memsync_error());
	} else {
		r.bytes_done = c->rounds * BATCH * IO_BYTES;
		ms_result_metric(&r, "op_us", reads[WHOLE].p50 / 1e3, "us");
		for (int i = 0; i < STACKS; i++)
			ms_result_note(&r, "%s: read %.0f ns, write %.0f ns",
				       stacks[i].name, reads[i].p50,
				       writes[i].p50);
		if (reads[WHOLE].p50 >= LIMIT_NS)
			ms_result_fail(&r, MS_STATUS_FAILED,
				       "the whole stack costs %.0f ns, over "
				       "%.0f",
				       reads[WHOLE].p50, LIMIT_NS);
		if (!c->json)
			print_table(reads, writes);
	}
	int rc = r.status == MS_STATUS_OK ? 0 : 1;
	if (c->json || rc)
		rc = ms_result_print(&r, c->json, stdout);
	ms_result_release(&r);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct ms_opt_command command = {
		.program = PROGRAM,
		.synopsis = "[OPTIONS]",
		.summary = "Measure what the door and the stages cost",
		.table = options};
	struct cost reads[STACKS] = {0};
	struct cost writes[STACKS] = {0};
	struct ms_opt_result parsed;
	struct config c = {0};
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);

	if (rc)
		return rc < 0 ? 2 : 0;
	if (parsed.dump_config) {
		ms_opt_dump(options, &c, stdout);
		return 0;
	}
	for (int i = 0; rc == 0 && i < STACKS; i++)
		rc = measure_stack(&stacks[i], c.rounds, &reads[i], &writes[i]);
	return report(&c, reads, writes, rc);
}

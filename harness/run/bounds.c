/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds of a cell; see bounds.h. */
#include "harness/run/bounds.h"

#include "approaches/common/util/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB 1048576.0
/* More than any cache, little enough to be copied in an instant. */
#define MEMORY_BYTES_MAX (UINT64_C(256) << 20)
#define MEMORY_PASSES	 3

double bounds_read_mib_s(const struct link_profile *p)
{
	return link_goodput_mbit(p) * 1e6 / 8 / MIB;
}

double bounds_read_open_mib_s(const struct link_profile *p, uint64_t size)
{
	double goodput = bounds_read_mib_s(p) * MIB;
	double wire_s = goodput > 0 ? (double)size / goodput : 0;
	double least_s = p->rtt_ms / 1e3 + wire_s;

	return least_s > 0 ? (double)size / MIB / least_s : 0;
}

double bounds_first_us(const struct link_profile *p, uint64_t access_bytes)
{
	double goodput = bounds_read_mib_s(p) * MIB;
	double wire_us = goodput > 0 ? (double)access_bytes / goodput * 1e6 : 0;

	return p->rtt_ms * 1e3 + wire_us;
}

static double pass(const char *from, uint64_t size, char *to, uint64_t step)
{
	uint64_t start = ms_now_ns();

	for (uint64_t at = 0; at + step <= size; at += step) {
		memcpy(to, from + at, step);
		/* The copy must happen, whatever the compiler can see. */
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	return (double)size / MIB / ((double)(ms_now_ns() - start) / 1e9);
}

double bounds_memory_mib_s(uint64_t size, uint64_t access_bytes,
			   const struct placement *where)
{
	uint64_t bytes = size < MEMORY_BYTES_MAX ? size : MEMORY_BYTES_MAX;
	cpu_set_t before;
	char *to = malloc(access_bytes);
	char *from = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double best = 0;

	if (!to || from == MAP_FAILED || access_bytes > bytes) {
		free(to);
		if (from != MAP_FAILED)
			(void)munmap(from, bytes);
		return 0;
	}
	(void)sched_getaffinity(0, sizeof(before), &before);
	if (where->pinned)
		(void)sched_setaffinity(0, sizeof(where->target),
					&where->target);
	(void)madvise(from, bytes, MADV_HUGEPAGE);
	memset(from, 1, bytes);
	for (int i = 0; i < MEMORY_PASSES; i++) {
		double rate = pass(from, bytes, to, access_bytes);

		best = rate > best ? rate : best;
	}
	(void)sched_setaffinity(0, sizeof(before), &before);
	(void)munmap(from, bytes);
	free(to);
	return best;
}

static uint64_t param(const struct experiment *e, const char *key,
		      uint64_t otherwise)
{
	const char *text = NULL;
	size_t len = 0;

	if (!row_param(e->params, key, &text, &len))
		return otherwise;
	return strtoull(text, NULL, 10);
}

static void add(struct execution *x, const char *metric, double value)
{
	if (value > 0)
		rows_add_bound(x->rows, metric, value);
}

void bounds_add(struct execution *x)
{
	const struct cell *c = x->run->cell;
	uint64_t access = param(c->e, "access_bytes", 4096);
	double memory = 0;

	if (x->rows->base.status != ROW_OK)
		return;
	if (c->link) {
		add(x, "first_access_us", bounds_first_us(c->link, access));
		add(x, "read_mib_s", bounds_read_mib_s(c->link));
		add(x, "read_open_mib_s",
		    bounds_read_open_mib_s(c->link, c->size));
		return;
	}
	/* Of one thread: several copy faster than this. */
	if (param(c->e, "threads", 1) > 1 ||
	    strcmp(c->e->workload, "seq-read") != 0)
		return;
	memory = bounds_memory_mib_s(c->size, access, x->r->placement);
	add(x, "read_mib_s", memory);
	add(x, "read_open_mib_s", memory);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in flight on one egress. Memory is taken at the tail and given back
 * at the head; when nothing is in flight both go back to the start, so that a
 * quiet link works in a few warm pages.
 */
#include "harness/link/line.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "harness/link/profile.h"

#define RUN_BYTES_MEAN 128 /* packets in flight this small, at most */

struct line_run {
	uint64_t due_ns;
	uint64_t offset; /* of the packet's record */
	uint32_t wire_bytes;
	uint16_t first;
	uint16_t count;
	int is_last; /* of its packet: its memory ends here */
};

struct record {
	struct segment_packet packet;
	uint32_t end; /* from the record's start, aligned */
};

#define RECORD_BYTES 32
_Static_assert(sizeof(struct record) <= RECORD_BYTES, "record header");
_Static_assert(RECORD_BYTES + SEGMENT_PACKET_MAX + 16 <= LINE_RESERVE,
	       "a packet and its record");

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* advice: a first touch in the packet path costs microseconds */
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

/* Touch in the process that uses it: a fork would share and copy the pages. */
static void touch(volatile uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 4096)
		p[i] = 0;
}

static size_t runs_for(size_t memory_bytes)
{
	size_t n = 4096;

	while (n < memory_bytes / RUN_BYTES_MEAN)
		n *= 2;
	return n;
}

int line_init(struct line *l, uint64_t seed, size_t memory_bytes)
{
	memset(l, 0, sizeof(*l));
	shaper_init(&l->shaper, seed);
	return line_resize(l, memory_bytes);
}

void line_release(struct line *l)
{
	if (l->mem)
		(void)munmap(l->mem, l->mem_bytes);
	if (l->runs)
		(void)munmap(l->runs, (l->runs_mask + 1) * sizeof(*l->runs));
	l->mem = NULL;
	l->runs = NULL;
}

/* Copy what is in flight into the new memory, oldest first. */
static void move(struct line *l, uint8_t *mem, struct line_run *runs)
{
	size_t to = 0;
	size_t n = 0;
	uint64_t from = LINE_NEVER;

	for (size_t i = l->run_head; i != l->run_tail; i++) {
		struct line_run run = l->runs[i & l->runs_mask];
		const struct record *r = (void *)(l->mem + run.offset);

		if (run.offset != from) {
			from = run.offset;
			memcpy(mem + to, r, r->end);
		}
		run.offset = to;
		runs[n++] = run;
		if (run.is_last) {
			to += r->end;
			from = LINE_NEVER;
		}
	}
	l->head = 0;
	l->tail = to;
	l->run_head = 0;
	l->run_tail = n;
}

int line_resize(struct line *l, size_t memory_bytes)
{
	struct line old = *l;
	struct line_run *runs;
	size_t count;
	uint8_t *mem;

	if (memory_bytes < (size_t)4 * LINE_RESERVE)
		memory_bytes = (size_t)4 * LINE_RESERVE;
	memory_bytes = (memory_bytes + 0x1fffff) & ~(size_t)0x1fffff;
	if (memory_bytes <= l->mem_bytes)
		return 0;
	count = runs_for(memory_bytes);
	mem = map(memory_bytes);
	runs = map(count * sizeof(*runs));
	if (!mem || !runs) {
		if (mem)
			(void)munmap(mem, memory_bytes);
		if (runs)
			(void)munmap(runs, count * sizeof(*runs));
		return -ENOMEM;
	}
	touch(mem, memory_bytes);
	touch((uint8_t *)runs, count * sizeof(*runs));
	if (old.mem)
		move(l, mem, runs);
	l->mem = mem;
	l->mem_bytes = memory_bytes;
	l->runs = runs;
	l->runs_mask = count - 1;
	line_release(&old);
	return 0;
}

uint8_t *line_reserve(struct line *l)
{
	if (!l->packets) {
		l->head = 0;
		l->tail = 0;
	}
	if (l->tail >= l->head && l->mem_bytes - l->tail < LINE_RESERVE) {
		if (l->packets && l->head <= LINE_RESERVE)
			return NULL;
		l->tail = 0;
	}
	if (l->packets && l->tail < l->head &&
	    l->head - l->tail <= LINE_RESERVE)
		return NULL;
	return l->mem + l->tail + RECORD_BYTES;
}

static void push(struct line *l, const struct line_run *run)
{
	l->runs[l->run_tail++ & l->runs_mask] = *run;
}

/* Offer each segment and gather what arrives together into runs. */
static unsigned offer(struct line *l, const struct segment_packet *p,
		      uint64_t now_ns)
{
	struct line_run run = {.count = 0};
	uint64_t started = 0;
	uint64_t due = 0;
	unsigned pushed = 0;

	for (unsigned i = 0; i < p->segments; i++) {
		uint32_t wire = segment_ip_bytes(p, i) + LINK_FRAME_BYTES;
		enum shaper_verdict v =
			shaper_offer(&l->shaper, now_ns, wire, &due);

		l->stats.in_bytes += wire;
		l->stats.lost += v == SHAPER_LOSS;
		l->stats.queue_drops += v == SHAPER_QUEUE;
		if (run.count &&
		    (v != SHAPER_PASS || due - started > LINE_COALESCE_NS)) {
			push(l, &run);
			pushed++;
			run.count = 0;
		}
		if (v != SHAPER_PASS)
			continue;
		if (!run.count) {
			started = due;
			run = (struct line_run){.offset = l->tail,
						.first = (uint16_t)i};
		}
		run.due_ns = due;
		run.wire_bytes += wire;
		run.count++;
	}
	l->stats.in_segments += p->segments;
	if (run.count) {
		push(l, &run);
		pushed++;
	}
	return pushed;
}

void line_commit(struct line *l, const struct segment_packet *p, uint32_t bytes,
		 uint64_t now_ns)
{
	struct record *r = (void *)(l->mem + l->tail);
	uint64_t backlog;

	if (l->runs_mask + 1 - (l->run_tail - l->run_head) < p->segments) {
		line_refuse(l, p, 0);
		return;
	}
	if (offer(l, p, now_ns)) {
		r->packet = *p;
		r->end = (RECORD_BYTES + bytes + 15) & ~15U;
		l->runs[(l->run_tail - 1) & l->runs_mask].is_last = 1;
		l->tail += r->end;
		l->packets++;
	}
	backlog = shaper_backlog(&l->shaper, now_ns);
	if (backlog > l->stats.backlog_max_bytes)
		l->stats.backlog_max_bytes = backlog;
}

void line_refuse(struct line *l, const struct segment_packet *p, int is_cut)
{
	l->stats.in_segments += p->segments;
	for (unsigned i = 0; i < p->segments; i++)
		l->stats.in_bytes += segment_ip_bytes(p, i) + LINK_FRAME_BYTES;
	if (is_cut)
		l->stats.cut_drops += p->segments;
	else if (l->shaper.params.rate_bps)
		l->stats.memory_drops += p->segments;
	else
		l->stats.queue_drops += p->segments;
}

uint64_t line_due(const struct line *l)
{
	if (l->run_head == l->run_tail)
		return LINE_NEVER;
	return l->runs[l->run_head & l->runs_mask].due_ns;
}

uint64_t line_due_after(const struct line *l, size_t n)
{
	if (l->run_tail - l->run_head <= n)
		return LINE_NEVER;
	return l->runs[(l->run_head + n) & l->runs_mask].due_ns;
}

void line_peek(const struct line *l, struct segment_run *ret)
{
	const struct line_run *run = &l->runs[l->run_head & l->runs_mask];
	const struct record *r = (void *)(l->mem + run->offset);

	segment_run(l->mem + run->offset + RECORD_BYTES, &r->packet, run->first,
		    run->count, ret);
}

/* Four buckets a power of two: the bucket's upper end is at most 25 % off. */
static unsigned late_bucket(uint64_t ns)
{
	unsigned log2;

	if (ns < 4)
		return (unsigned)ns;
	log2 = 63 - (unsigned)__builtin_clzll(ns);
	return log2 * 4 + (unsigned)(ns >> (log2 - 2) & 3);
}

static void drop_head(struct line *l)
{
	const struct line_run *run = &l->runs[l->run_head++ & l->runs_mask];
	const struct record *r = (void *)(l->mem + run->offset);

	if (run->is_last) {
		l->head = run->offset + r->end;
		l->packets--;
	}
}

void line_pop(struct line *l, uint64_t now_ns)
{
	const struct line_run *run = &l->runs[l->run_head & l->runs_mask];
	uint64_t late = now_ns > run->due_ns ? now_ns - run->due_ns : 0;

	l->stats.late[late_bucket(late)]++;
	if (late > l->stats.late_max_ns)
		l->stats.late_max_ns = late;
	l->stats.out_segments += run->count;
	l->stats.out_bytes += run->wire_bytes;
	drop_head(l);
}

void line_flush(struct line *l)
{
	while (l->run_head != l->run_tail) {
		l->stats.cut_drops += l->runs[l->run_head & l->runs_mask].count;
		drop_head(l);
	}
	shaper_flush(&l->shaper);
}

uint64_t line_late_ns(const struct line_stats *s, double q)
{
	uint64_t total = 0;
	uint64_t seen = 0;

	for (unsigned i = 0; i < LINE_LATE_BUCKETS; i++)
		total += s->late[i];
	for (unsigned i = 0; i < LINE_LATE_BUCKETS; i++) {
		seen += s->late[i];
		if (total && (double)seen >= q * (double)total) {
			uint64_t upper;

			if (i < 8)
				return i;
			upper = (UINT64_C(4) + i % 4 + 1) << (i / 4 - 2);
			return upper - 1 < s->late_max_ns ? upper - 1
							  : s->late_max_ns;
		}
	}
	return 0;
}

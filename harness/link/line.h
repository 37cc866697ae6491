/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router's egress towards one host: a shaper, the packets in flight and
 * their memory. First in, first out, so the memory is a ring of bytes that a
 * packet is read into and written from without a copy, and a ring of runs
 * (contiguous segments that are delivered together). No I/O here, and no
 * allocation after line_init and line_resize.
 *
 * Segments of one super-packet that reach the far end within
 * LINE_COALESCE_NS are delivered as one packet when the last of them is there,
 * as a network card with interrupt coalescing and receive offload does.
 */
#ifndef MS_HARNESS_LINK_LINE_H
#define MS_HARNESS_LINK_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "harness/link/segment.h"
#include "harness/link/shaper.h"

#define LINE_COALESCE_NS UINT64_C(100000)
#define LINE_NEVER	 UINT64_MAX
/* What line_reserve asks to be contiguous: one packet and its record. */
#define LINE_RESERVE	  (SEGMENT_PACKET_MAX + 64)
#define LINE_LATE_BUCKETS 256

/* Segments and their bytes with frame headers, from the emulator's start on. */
struct line_stats {
	uint64_t in_segments;
	uint64_t in_bytes;
	uint64_t out_segments;
	uint64_t out_bytes;
	uint64_t lost;	       /* by the loss asked for */
	uint64_t queue_drops;  /* the queue was full; without a rate: memory */
	uint64_t memory_drops; /* with a rate, our memory was full: distorted */
	uint64_t cut_drops;
	uint64_t backlog_max_bytes;
	uint64_t late_max_ns;
	/* how late runs were handed over: quarter powers of two */
	uint32_t late[LINE_LATE_BUCKETS];
};

struct line_run;

struct line {
	struct shaper shaper;
	struct line_stats stats;
	uint8_t *mem;
	size_t mem_bytes;
	size_t head; /* oldest packet in flight */
	size_t tail; /* where the next one goes */
	size_t packets;
	struct line_run *runs;
	size_t runs_mask;
	size_t run_head;
	size_t run_tail;
};

/* `memory_bytes` of packets in flight at most. Returns 0 or -ENOMEM. */
int line_init(struct line *l, uint64_t seed, size_t memory_bytes);
void line_release(struct line *l);

/* Make room for `memory_bytes`; never shrinks. Returns 0 or -ENOMEM. */
int line_resize(struct line *l, size_t memory_bytes);

/* Where to read the next packet: SEGMENT_PACKET_MAX bytes, or NULL if full. */
uint8_t *line_reserve(struct line *l);

/*
 * The packet `p` of `bytes` was read at the last line_reserve, at `now_ns`.
 */
void line_commit(struct line *l, const struct segment_packet *p, uint32_t bytes,
		 uint64_t now_ns);

/* `p` arrived but cannot be kept or sent: count it. */
void line_refuse(struct line *l, const struct segment_packet *p, int is_cut);

/* Time at which the next run is due, LINE_NEVER if nothing is in flight. */
uint64_t line_due(const struct line *l);

/* When the run `n` places behind the next one is due; LINE_NEVER if none. */
uint64_t line_due_after(const struct line *l, size_t n);

/* The run that is due next; there must be one. */
void line_peek(const struct line *l, struct segment_run *ret);

/* It was delivered at `now_ns`: forget it. */
void line_pop(struct line *l, uint64_t now_ns);

/* All that is in flight is lost (a cut). */
void line_flush(struct line *l);

/* Lateness in ns that the share `q` (0..1) of the runs did not exceed. */
uint64_t line_late_ns(const struct line_stats *s, double q);

#endif

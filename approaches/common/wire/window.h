/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes to keep under way. Nothing is configured: the window grows
 * as fast as data arrives until the rate stops rising or the round-trip time
 * inflates, and then follows delivery rate times the least round-trip time.
 * Pure arithmetic over what the caller reports; the caller has the lock.
 *
 *	startup --queue seen, or rate flat for 3 rounds--> follow
 *	follow  --queue--> rate * (least rtt + tolerated queue)
 *	follow  --no queue, window full, rate rising--> grow by an eighth
 *	follow  --least rtt older than 10 s--> drain the queue, measure anew
 */
#ifndef MS_COMMON_WIRE_WINDOW_H
#define MS_COMMON_WIRE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
	MS_WINDOW_ROUNDS = 10 /* rounds over which the best rate counts */
};

struct ms_window {
	uint64_t fixed; /* bytes; 0: measured */
	uint64_t size;
	uint64_t outstanding;
	bool startup;
	bool limited; /* the window was full during this round */
	/* the round */
	uint64_t round_start_ns;
	uint64_t round_delivered;
	uint64_t round_rtt_ns; /* least seen in it, 0: none */
	/* rates in bytes per second */
	uint64_t rates[MS_WINDOW_ROUNDS];
	unsigned rate_at;
	uint64_t rate;	     /* best of `rates` */
	uint64_t rate_last;  /* of the last full round */
	uint64_t rate_grown; /* when the window grew last */
	uint64_t grown_ns;
	unsigned flat_rounds;
	/* round-trip times */
	uint64_t rtt_min_ns;
	uint64_t rtt_min_at_ns;
	uint64_t rtt_ns;
	bool probing;	     /* the queue is drained to see the least rtt */
	uint64_t drained_ns; /* when that had happened, 0: not yet */
};

/* `fixed` bytes for ever, or 0 to measure. */
void ms_window_init(struct ms_window *w, uint64_t fixed);

/* Bytes that may be under way now. */
uint64_t ms_window_size(const struct ms_window *w, uint64_t now_ns);

/* True if more may be sent; notes it if not. */
bool ms_window_open(struct ms_window *w, uint64_t now_ns);

/* Bytes were asked for, or given to the wire. */
void ms_window_sent(struct ms_window *w, uint64_t n, uint64_t now_ns);

/* Some of those have arrived, or were given up. */
void ms_window_delivered(struct ms_window *w, uint64_t n, uint64_t now_ns);
void ms_window_dropped(struct ms_window *w, uint64_t n);

/* A round trip of a small message. */
void ms_window_rtt(struct ms_window *w, uint64_t rtt_ns, uint64_t now_ns);

#endif

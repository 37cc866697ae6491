/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a link as arithmetic: when does a segment that arrives now
 * reach the far end, or why does it not. No I/O, no clock, no memory: the
 * caller says what time it is, so that tests can.
 *
 *	arrives ── loss? ── queue full? ── wire (rate) ── delay ± jitter ──▶
 *
 * The wire is a virtual clock: a segment starts when the wire is free and
 * occupies it for exactly its bits at the rate; remainders of the division
 * are carried, so that no rate drifts.
 */
#ifndef MS_HARNESS_LINK_SHAPER_H
#define MS_HARNESS_LINK_SHAPER_H

#include <stdint.h>

struct shaper_params {
	uint64_t rate_bps;    /* 0: unlimited */
	uint64_t delay_ns;    /* one way */
	uint64_t jitter_ns;   /* delay varies by at most this, up or down */
	uint64_t queue_bytes; /* waiting for the wire; unused without a rate */
	double loss;	      /* probability for a segment, 0 to 1 */
};

enum shaper_verdict {
	SHAPER_PASS,
	SHAPER_LOSS,  /* the die was cast against it */
	SHAPER_QUEUE, /* tail drop */
};

struct shaper {
	struct shaper_params params;
	uint64_t loss_below;	  /* of 2^64; see loss_all */
	int loss_all;		  /* probability 1 does not fit in 64 bits */
	uint64_t queue_ns;	  /* queue_bytes as time on the wire */
	uint64_t free_ns;	  /* when the wire is free */
	uint64_t free_rem;	  /* its fraction, in 1/rate_bps ns */
	uint64_t delivered_ns;	  /* last delivery: later ones not before it */
	uint64_t jitter_until_ns; /* the drawn jitter holds until then */
	int64_t jitter_now_ns;
	uint64_t rng_loss;
	uint64_t rng_jitter;
};

/* Everything to a defined start; the same seed gives the same fates. */
void shaper_init(struct shaper *s, uint64_t seed);

/*
 * New parameters for segments that arrive from now on. What has departed
 * keeps its time, and order is kept across the change.
 */
void shaper_set(struct shaper *s, const struct shaper_params *params);

/* The wire lost what it held: it is free at once, with the same fates ahead. */
void shaper_flush(struct shaper *s);

/*
 * A segment of `wire_bytes` (frame header included) arrives at `now_ns`.
 * On SHAPER_PASS, `ret_deliver_ns` is when its last bit is at the far end.
 * `now_ns` never goes back.
 */
enum shaper_verdict shaper_offer(struct shaper *s, uint64_t now_ns,
				 uint32_t wire_bytes, uint64_t *ret_deliver_ns);

/* Bytes that wait for the wire at `now_ns`, the one on it included. */
uint64_t shaper_backlog(const struct shaper *s, uint64_t now_ns);

#endif

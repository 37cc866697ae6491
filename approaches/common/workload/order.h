/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In which order a workload visits the blocks of a region: sequential, in a
 * seeded random order that visits every block once before any a second time,
 * or by Zipf's law. A pure function of the step, so that threads need no
 * common state and a run can be repeated exactly.
 */
#ifndef MS_COMMON_WORKLOAD_ORDER_H
#define MS_COMMON_WORKLOAD_ORDER_H

#include <stdint.h>

enum ms_order_kind {
	MS_ORDER_SEQUENTIAL,
	MS_ORDER_RANDOM, /* a permutation, another one in each pass */
	MS_ORDER_ZIPF,	 /* block ranks by Zipf, scattered over the region */
};

struct ms_order {
	enum ms_order_kind kind;
	uint64_t blocks;
	uint64_t seed;
	unsigned half_bits; /* of the Feistel network's halves */
	double theta;	    /* Zipf's constants */
	double zeta;
	double alpha;
	double eta;
};

/*
 * `blocks` > 0; `theta` in [0, 1) for Zipf. Zipf takes time in proportion to
 * the number of blocks.
 */
void ms_order_init(struct ms_order *o, enum ms_order_kind kind, uint64_t blocks,
		   uint64_t seed, double theta) __attribute__((nonnull));

/* The block of step `i`, < blocks. */
uint64_t ms_order_at(const struct ms_order *o, uint64_t i)
	__attribute__((nonnull, pure));

/* A well-mixed function of a number, for choices made by step. */
static inline uint64_t ms_mix64(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

#endif

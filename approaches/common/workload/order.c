/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of access; see order.h. */
#include "approaches/common/workload/order.h"

#include <assert.h>
#include <math.h>

enum {
	FEISTEL_ROUNDS = 4
};

/* A bijection of [0, 4^half_bits). */
static uint64_t feistel(const struct ms_order *o, uint64_t pass, uint64_t x)
{
	uint64_t mask = (UINT64_C(1) << o->half_bits) - 1;
	uint64_t left = x >> o->half_bits;
	uint64_t right = x & mask;

	for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
		uint64_t key = o->seed + (pass << 8) + round;
		uint64_t f =
			ms_mix64(right ^ (key * UINT64_C(0x9e3779b97f4a7c15)));
		uint64_t next = left ^ (f & mask);
		left = right;
		right = next;
	}
	return (left << o->half_bits) | right;
}

/* The bijection, walked until it lands inside: at most 4 steps on average. */
static uint64_t permute(const struct ms_order *o, uint64_t i)
{
	assert(o->blocks > 0);
	uint64_t pass = i / o->blocks;
	uint64_t x = i % o->blocks;

	do
		x = feistel(o, pass, x);
	while (x >= o->blocks);
	return x;
}

/*
 * Gray et al., "Quickly generating billion-record synthetic databases"
 * (SIGMOD 1994): the inverse of the distribution in closed form.
 */
static uint64_t zipf(const struct ms_order *o, uint64_t i)
{
	double u = (double)(ms_mix64(o->seed * UINT64_C(0x9e3779b97f4a7c15) +
				     ms_mix64(i + 1)) >>
			    11) *
		   0x1p-53;
	double uz = u * o->zeta;
	uint64_t rank = 0;

	if (uz >= 1 + pow(0.5, o->theta))
		rank = (uint64_t)((double)o->blocks *
				  pow(o->eta * u - o->eta + 1, o->alpha));
	else if (uz >= 1)
		rank = 1;
	if (rank >= o->blocks)
		rank = o->blocks - 1;
	return permute(o, rank);
}

void ms_order_init(struct ms_order *o, enum ms_order_kind kind, uint64_t blocks,
		   uint64_t seed, double theta)
{
	*o = (struct ms_order){.kind = kind,
			       .blocks = blocks,
			       .seed = seed,
			       .half_bits = 1,
			       .theta = theta};
	while ((UINT64_C(1) << (2 * o->half_bits)) < blocks)
		o->half_bits++;
	if (kind != MS_ORDER_ZIPF)
		return;
	for (uint64_t n = 1; n <= blocks; n++)
		o->zeta += 1 / pow((double)n, theta);
	double zeta2 = 1 + pow(0.5, theta);
	o->alpha = 1 / (1 - theta);
	/* With two blocks or fewer the closed form is not reached. */
	if (blocks > 2)
		o->eta = (1 - pow(2.0 / (double)blocks, 1 - theta)) /
			 (1 - zeta2 / o->zeta);
}

uint64_t ms_order_at(const struct ms_order *o, uint64_t i)
{
	switch (o->kind) {
	case MS_ORDER_SEQUENTIAL:
		return i % o->blocks;
	case MS_ORDER_RANDOM:
		return permute(o, i);
	case MS_ORDER_ZIPF:
		return zipf(o, i);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th random number of a seed, without a state to share: threads draw
 * from one sequence by counting, and a run can be repeated from its seed.
 */
#ifndef MS_COMMON_STAGE_RANDOM_H
#define MS_COMMON_STAGE_RANDOM_H

#include <stdint.h>

/* SplitMix64 of (seed, n); passes the usual statistical tests. */
static inline uint64_t ms_random(uint64_t seed, uint64_t n)
{
	uint64_t x = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* The same as a fraction, 0 <= f < 1. */
static inline double ms_random_fraction(uint64_t seed, uint64_t n)
{
	return (double)(ms_random(seed, n) >> 11) * 0x1p-53;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What physics allows in a cell, as rows beside what was measured:
 *
 *	first access     one RTT, and the time of its bytes on the wire
 *	read, link       the link's rate less headers
 *	read from open   the same, after one RTT: size / (RTT + size / goodput)
 *	read, no link    copying memory that is there, measured in the same run
 */
#ifndef MS_HARNESS_RUN_BOUNDS_H
#define MS_HARNESS_RUN_BOUNDS_H

#include "harness/run/execute.h"

/* Add the bounds of the rows that there are. */
void bounds_add(struct execution *x) __attribute__((nonnull));

/* The parts, for tests. MiB/s and microseconds; 0: there is no bound. */
double bounds_read_mib_s(const struct link_profile *p);
double bounds_read_open_mib_s(const struct link_profile *p, uint64_t size);
double bounds_first_us(const struct link_profile *p, uint64_t access_bytes);

/* MiB/s of copying `size` resident bytes, `access_bytes` at a time. */
double bounds_memory_mib_s(uint64_t size, uint64_t access_bytes,
			   const struct placement *where);

#endif

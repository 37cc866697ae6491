/* SPDX-License-Identifier: Apache-2.0 */
/* The one clock: CLOCK_MONOTONIC in nanoseconds. */
#ifndef MS_COMMON_UTIL_CLOCK_H
#define MS_COMMON_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

#define MS_NS_PER_S  UINT64_C(1000000000)
#define MS_NS_PER_MS UINT64_C(1000000)
#define MS_NS_PER_US UINT64_C(1000)

/* Nanoseconds of CLOCK_MONOTONIC; the same clock in every process of a host. */
static inline uint64_t ms_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * MS_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* A nanosecond time as the timespec that system calls take. */
static inline struct timespec ms_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / MS_NS_PER_S),
				 .tv_nsec = (long)(ns % MS_NS_PER_S)};
}

#endif

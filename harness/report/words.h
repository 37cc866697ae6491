/* SPDX-License-Identifier: Apache-2.0 */
/* How metrics and units are called on axes and in tables. */
#ifndef MS_HARNESS_REPORT_WORDS_H
#define MS_HARNESS_REPORT_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* "read throughput, opening included"; the metric itself if it has no words. */
const char *metric_words(const char *metric) __attribute__((nonnull));

/* "µs" for "us", others as they are. */
const char *unit_words(const char *unit) __attribute__((nonnull));

/* A number with three digits that count: 0.0123, 4.56, 1234. */
void number_words(double value, char *buf, size_t size)
	__attribute__((nonnull));

/* 268435456 as "256 MiB": the largest unit that divides exactly. */
void size_words(uint64_t bytes, char *buf, size_t size)
	__attribute__((nonnull));

#endif

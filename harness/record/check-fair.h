/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are the series of a figure comparable: the same bytes, chunk, time limit and
 * kernel for each. Part of the checker.
 */
#ifndef MS_HARNESS_RECORD_CHECK_FAIR_H
#define MS_HARNESS_RECORD_CHECK_FAIR_H

#include "harness/record/csv.h"

/*
 * `table` holds rows with status ok, `lines` the line of each. Returns how many
 * problems were reported, or -ENOMEM with a sentence.
 *
 * A series that has only some of the values of another one is not a problem:
 * an interrupted sweep looks like that. Two series that each have a value the
 * other has not are.
 */
int check_fair(const struct table *table, const unsigned long *lines,
	       const char *path, FILE *report)
	__attribute__((nonnull(1, 3, 4)));

#endif

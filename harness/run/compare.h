/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a comparison showed: a table of the series and one sentence about which
 * to take, both made of the rows alone.
 */
#ifndef MS_HARNESS_RUN_COMPARE_H
#define MS_HARNESS_RUN_COMPARE_H

#include "harness/record/csv.h"

#include <stdio.h>

/*
 * Print table and recommendation of the rows, which are one experiment over
 * one link. 0, -ENODATA if not one series has a verified number, -ENOMEM.
 */
int compare_print(const struct table *rows, FILE *out)
	__attribute__((nonnull, warn_unused_result));

#endif

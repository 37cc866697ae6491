/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results in the layout of the thesis' own CSV files, so that its notebooks
 * read them: one folder for each benchmark group with a wide results.csv. A
 * value column holds rows of the variant `thesis` (or of a program without
 * variants), since that is what the thesis ran.
 */
#ifndef MS_HARNESS_RECORD_THESIS_H
#define MS_HARNESS_RECORD_THESIS_H

#include "harness/record/csv.h"

/*
 * Write OUTDIR/GROUP/results.csv for each group that has usable rows, and a
 * line on `report` for each group: how many rows it got, or why it was not
 * written. Returns how many were written, -EINVAL if a column would mix
 * several cells (say, two rates), or another negative errno, with a sentence.
 */
int thesis_csv_write(const struct table *t, const char *outdir, FILE *report)
	__attribute__((nonnull, warn_unused_result));

/*
 * `memsync-bench thesis-csv [RESULT [OUTDIR]]`; the exit code. Without RESULT
 * the newest folder of results/, without OUTDIR the folder thesis/ in RESULT.
 */
int cmd_thesis_csv(int argc, char **argv);

#endif

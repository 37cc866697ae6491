/* SPDX-License-Identifier: Apache-2.0 */
/* Rows from what hyperfine wrote with --export-json. */
#ifndef MS_HARNESS_RECORD_HYPERFINE_H
#define MS_HARNESS_RECORD_HYPERFINE_H

#include "harness/record/csv.h"

/*
 * Call `fn` with a row for each run of the one command in the file: a copy of
 * `base` with repetition, metric total_ms and value, status ok. A run that
 * exited with a status other than 0 becomes a failed row with it as the reason.
 * `base` says whether the results were verified (hyperfine cannot know).
 * Returns 0, what `fn` returned if that was not 0, or -EBADMSG/-errno with a
 * sentence; nothing is handed out of a file that is not whole.
 */
int hyperfine_rows(const char *json_path, const struct row *base, csv_row_fn fn,
		   void *arg)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

#endif

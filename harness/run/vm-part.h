/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a session whose place is the VM: this program once more, in the
 * guest, into the same result folder, which is written back. Nothing is lost
 * with a guest: the run that it died in becomes a failed row, and another guest
 * goes on behind it.
 */
#ifndef MS_HARNESS_RUN_VM_PART_H
#define MS_HARNESS_RUN_VM_PART_H

#include "harness/run/folder.h"
#include "harness/run/session.h"

/*
 * Measure what the plan has elsewhere. `dir` is the absolute result folder,
 * which nobody has open; `plan_json` is of folder_plan. Returns the exit code
 * of session_run for this part.
 */
int vm_part_run(const struct session *s, const char *dir,
		const json_t *plan_json, struct plan *plan, int stop_fd)
	__attribute__((nonnull, warn_unused_result));

#endif

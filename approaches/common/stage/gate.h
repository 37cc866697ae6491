/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `gate`: a place where the traffic to a backend can be stopped. Shut,
 * it holds requests (they end at their deadline, and can be cancelled) until
 * it is opened; failed, it refuses them with one error. Requests below it are
 * counted, so that shutting can wait until nothing is in flight: then the
 * bytes below stand still, which is what a migration needs for its last copy.
 *
 *	     ms_gate_shut          ms_gate_fail
 *	open <----------> shut ----------------> failed
 *	     ms_gate_open   ^---ms_gate_shut--------'  (ms_gate_open as well)
 *
 * Memory that was mapped cannot be held up, so a gate does not offer MAP.
 */
#ifndef MS_COMMON_STAGE_GATE_H
#define MS_COMMON_STAGE_GATE_H

#include "memsync/backend.h"

/* An open gate over `next`, which belongs to it on success. 0, -ENOMEM. */
int ms_gate_over(struct ms_backend *next, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Hold what comes from now on. With `drain`, return only when nothing is in
 * flight below; not from a `done` callback then. 0, or -ECANCELED if somebody
 * opened or failed the gate while this call was waiting.
 */
int ms_gate_shut(struct ms_backend *gate, bool drain)
	__attribute__((nonnull, warn_unused_result));

/* Let everything through, what was held first. */
void ms_gate_open(struct ms_backend *gate) __attribute__((nonnull));

/* End what is held, and what comes, with `err` (negative), origin "gate". */
void ms_gate_fail(struct ms_backend *gate, int err) __attribute__((nonnull));

#endif

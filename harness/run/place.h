/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a figure is measured: on this machine's own kernel ("native") or in
 * the VM ("vm", harness/vm). All series of a figure share a place, because
 * they are compared. "auto" takes this machine if every series can run here,
 * else the VM if that has what is missing, else this machine, where what
 * cannot run becomes a row with the reason.
 */
#ifndef MS_HARNESS_RUN_PLACE_H
#define MS_HARNESS_RUN_PLACE_H

#include "harness/run/approach.h"
#include "harness/run/experiment.h"

/* Longest text of --where, and of one reason. */
#define PLACE_WHERE_HELP "where it runs: auto, native, vm, or FIGURE=PLACE,..."

/*
 * Choose the place of every experiment and note it there with the reason;
 * under software emulation their "emulation" changes are applied. `where` is
 * "auto", "native", "vm", or "FIGURE=PLACE,…" (others: auto). `probed` is of
 * features_probe. May boot the VM to see what it can do; `stop_fd` as vm_run.
 * -EINVAL: `where` is wrong; -EOPNOTSUPP: it asks for a VM and there can be
 * none; -EINTR.
 */
int places_choose(const char *where, const struct approaches *a,
		  const json_t *probed, int stop_fd, struct experiments *e)
	__attribute__((nonnull, warn_unused_result));

/* "FIGURE=PLACE,…" as chosen, for the same choice in the VM; caller frees. */
char *places_text(const struct experiments *e) __attribute__((nonnull));

/* The figures that are in the VM, as an object NAME: "tcg" or "kvm". */
json_t *places_json(const struct experiments *e) __attribute__((nonnull));

/* Is this process where the experiment is to be measured? */
bool place_is_here(const struct experiment *e) __attribute__((nonnull));

#endif

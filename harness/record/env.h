/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env.json: on what, with what and how a run was measured. One file in each
 * result folder. It holds nothing that names a person or a host: no host name,
 * no kernel command line, no environment variables.
 */
#ifndef MS_HARNESS_RECORD_ENV_H
#define MS_HARNESS_RECORD_ENV_H

#include <jansson.h>

#define ENV_FILE    "env.json"
#define ENV_VM_FILE "env-vm.json" /* of the guest, where there was one */
#define ENV_VERSION 1

/*
 * Write DIR/NAME, whole or not at all (an older one stays until then).
 * `extra` is an object whose members stand beside ours: what only the runner
 * knows, such as "command", "options", "link", "cgroup". It is borrowed and may
 * be NULL. -EEXIST if it has a member of ours, else a negative errno, both
 * with a sentence.
 */
int env_write(const char *dir, const char *name, json_t *extra)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* What env_write writes, without `extra`; the caller owns it. NULL: memory. */
json_t *env_collect(void);

/*
 * What this machine can do, each found by trying: {"fuse": {"ok": true}, "nbd":
 * {"ok": false, "reason": "..."}, …}. Leaves nothing behind. NULL: memory.
 */
json_t *env_probe(void);

/* The arguments of a program as a JSON array, for "command". */
json_t *env_command(int argc, char *const *argv);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest is to run: the payload of FRAME_START, a list of texts, each
 * a letter, the text and a NUL.
 *
 *	letter  text                                     how many
 *	D       working directory                        1
 *	M       folder that holds lib/modules of the kernel   1
 *	S       tag=path: a folder that is written back  any
 *	T       "1": the command gets a terminal         0 or 1
 *	A       an argument of the command               1 or more
 *	E       NAME=VALUE of its environment            any
 */
#ifndef MS_HARNESS_VM_START_H
#define MS_HARNESS_VM_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm_start {
	const char *dir;
	const char *modules;
	bool terminal;
	const char **shares; /* each list is NULL-terminated */
	const char **argv;
	const char **env;
	void *owned; /* of vm_start_unpack */
};

/*
 * The payload, which the caller frees. -E2BIG if it is longer than FRAME_MAX
 * (arguments and environment are too long), or -ENOMEM.
 */
int vm_start_pack(const struct vm_start *start, uint8_t **ret, size_t *ret_len)
	__attribute__((nonnull, warn_unused_result));

/*
 * The reverse; the texts are a copy, for vm_start_release. -EPROTO if it is not
 * such a list or a required text is missing; -ENOMEM.
 */
int vm_start_unpack(const uint8_t *data, size_t len, struct vm_start *ret)
	__attribute__((nonnull, warn_unused_result));
void vm_start_release(struct vm_start *start) __attribute__((nonnull));

#endif

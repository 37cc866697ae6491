/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU as a child: its command line, its life and its end. It dies with the
 * caller's thread, and everything it holds are descriptors, so nothing of it
 * is left in any case.
 */
#ifndef MS_HARNESS_VM_MACHINE_H
#define MS_HARNESS_VM_MACHINE_H

#include "harness/vm/kernel.h"
#include "harness/vm/vm.h"

#include <sys/types.h>

#define MACHINE_PROGRAM "qemu-system-x86_64"

struct machine {
	pid_t pid;   /* -1: not running */
	int agent;   /* frames, see frame.h */
	int console; /* serial console, and what QEMU says on stderr */
};

/* 0, or -EOPNOTSUPP with a sentence: QEMU is not installed. */
int machine_supported(void) __attribute__((warn_unused_result));

/* `accel` is VM_KVM or VM_TCG. Errors also as machine_supported. */
int machine_start(const struct vm_config *config, enum vm_accel accel,
		  const struct vm_kernel *kernel, struct machine *ret)
	__attribute__((nonnull, warn_unused_result));

/* Kill, wait, close. Legal for one that is not running. */
void machine_stop(struct machine *m) __attribute__((nonnull));

/* The 9p tag of the n-th share. */
void machine_share_tag(unsigned n, char buf[16]);

#endif

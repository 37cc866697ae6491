/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found out about the VM here, so that it need not be tried each
 * time: whether KVM boots a guest, and what the guest's kernel can do. Kept in
 * the cache folder and valid for this boot of this machine, this kernel of the
 * guest, this QEMU and this /dev/kvm (or its absence).
 */
#ifndef MS_HARNESS_VM_FACTS_H
#define MS_HARNESS_VM_FACTS_H

#include "harness/vm/kernel.h"
#include "harness/vm/vm.h"

#include <jansson.h>

/* 0 if /dev/kvm can be opened, else a negative errno with a sentence. */
int facts_kvm_device(void) __attribute__((warn_unused_result));

/* What a boot has shown; VM_AUTO: none was tried. */
enum vm_accel facts_accel(const struct vm_kernel *kernel)
	__attribute__((nonnull));

/* Keep it; `why` says why KVM does not do. What cannot be kept is no error. */
void facts_note_accel(const struct vm_kernel *kernel, enum vm_accel accel,
		      const char *why) __attribute__((nonnull));

/*
 * What the VM is: {"accel": "tcg", "why": "...", "kernel": "6.12…", "features":
 * {…}} with the features as features_probe gives them, found by booting it
 * unless that is known. The caller owns it. Errors as vm_run.
 */
int facts_probe(int stop_fd, json_t **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel that the VM boots; the script `kernel` fetches and keeps it. */
#ifndef MS_HARNESS_VM_KERNEL_H
#define MS_HARNESS_VM_KERNEL_H

#include <limits.h>

struct vm_kernel {
	char dir[PATH_MAX]; /* with vmlinuz, modules.cpio, lib/modules */
	char release[64];
};

/*
 * Find the kernel, or fetch it unless `offline`. -EOPNOTSUPP with a sentence
 * if there is none to be had.
 */
int vm_kernel_find(int offline, struct vm_kernel *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * A descriptor of the initial RAM file system: the modules that mount the root
 * and the guest's first process, one archive behind the other. The caller
 * closes it.
 */
int vm_kernel_initrd(const struct vm_kernel *kernel, int *ret_fd)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second place to run: a virtual machine with Debian's stock kernel, which
 * has netem, nbd and ublk where the machine's own kernel has not. The guest's
 * root is the host's, read-only below an overlay that vanishes with it, so it
 * sees the host's programs and files at their paths; folders that are named
 * are written back. It has no network but its own loopback and namespaces, no
 * disk image and no password. It runs one command and ends; so it does when
 * the caller ends, however that ends.
 */
#ifndef MS_HARNESS_VM_VM_H
#define MS_HARNESS_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vm_accel {
	VM_AUTO, /* KVM if a guest has booted with it here, else emulation */
	VM_KVM,
	VM_TCG, /* software emulation */
};
/* "auto", "kvm", "tcg"; NULL-terminated. */
extern const char *const vm_accels[];

/* Set in the guest's environment to "kvm" or "tcg". */
#define VM_ENVIRONMENT "MEMSYNC_VM"

struct vm_config {
	enum vm_accel accel;
	uint64_t memory_bytes;	   /* 0: 3 GiB */
	unsigned cpus;		   /* 0: 2 */
	const char *const *shares; /* absolute paths of folders; NULL: none */
	const char *const *argv;   /* the command, found in PATH */
	const char *dir;	   /* its working directory; NULL: ours */
	const char *const *env;	   /* NAME=VALUE besides ours; NULL: none */
	int in;			   /* -1: it has no input */
	int out;
	int err;
	bool terminal;	     /* in and out are one: give it a terminal */
	const char *console; /* file that gets the console, or NULL */
	uint64_t limit_ns;   /* for the command; 0: none */
	int stop_fd;	     /* signalfd of what ends or is passed on; -1 */
};

#define VM_CONSOLE_MAX (16u << 10)

struct vm_result {
	int status; /* of the command, as wait has it */
	enum vm_accel accel;
	char release[64]; /* of the guest's kernel */
	double boot_s;	  /* from the call to the command's start */
	int signal;	  /* that came by stop_fd, 0: none */
	char console[VM_CONSOLE_MAX + 1]; /* its end, printable */
};

/*
 * Boot, run the command, end. Blocks. 0 when the command has run, whatever its
 * status; else a negative errno with a sentence:
 *
 *	-EOPNOTSUPP  there can be no VM here (no QEMU, no kernel to be had)
 *	-ETIMEDOUT   the guest gave no sign of life and was killed, or the
 *		     command ran longer than limit_ns
 *	-EIO         the guest died
 *	-EINTR       a signal ended it; ret->signal
 *
 * SIGINT, SIGTERM and SIGHUP from stop_fd are passed to the command, which has
 * 15 s then; a second one ends the guest at once.
 */
int vm_run(const struct vm_config *config, struct vm_result *ret)
	__attribute__((nonnull, warn_unused_result));

/* In which VM this process runs: NULL in none, else "kvm" or "tcg". */
const char *vm_inside(void);

#endif

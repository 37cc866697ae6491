/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of the guest: statically linked, alone in the initial RAM
 * file system. It mounts the host's root read-only below an overlay, moves
 * into it, runs one command and powers off. These are its parts:
 *
 *	main.c    the order of things, and talking to the harness
 *	root.c    modules, mounts, moving into the root
 *	command.c the command with its terminal or pipes
 *
 * Functions return 0 or a negative errno; guest_fail keeps what was being done
 * for the message to the harness.
 */
#ifndef MS_HARNESS_VM_GUEST_H
#define MS_HARNESS_VM_GUEST_H

#include "harness/vm/frame.h"
#include "harness/vm/start.h"

#include <sys/types.h>

/* Keep the sentence for FRAME_FAILED; returns `err`. */
int guest_fail(int err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));

/* Send one frame; a harness that is gone ends the guest. */
void guest_send(int port, unsigned type, const void *data, size_t len);

/* What has to be there before the harness can be talked to. */
int guest_early_mounts(void) __attribute__((warn_unused_result));
/* Load the modules of the initial RAM file system, in their order. */
int guest_boot_modules(void) __attribute__((warn_unused_result));
/* Build the root that `start` asks for and move into it. */
int guest_enter_root(const struct vm_start *start)
	__attribute__((nonnull, warn_unused_result));
/* What a host has besides files: lo, a name, modules of block devices. */
int guest_finish_host(void) __attribute__((warn_unused_result));

/* The command while it runs. */
struct guest_command {
	pid_t pid;
	int in; /* -1: closed */
	int out;
	int err; /* -1: with a terminal */
	bool terminal;
	uint8_t *waiting; /* FRAME_WINDOW bytes of input not written yet */
	size_t waiting_len;
	bool in_ended; /* the harness has no more */
};

int guest_command_start(const struct vm_start *start, struct guest_command *ret)
	__attribute__((nonnull, warn_unused_result));
/* A frame of the harness for the command. -EPROTO: it makes no sense. */
int guest_command_frame(struct guest_command *c, const struct frame *f)
	__attribute__((nonnull, warn_unused_result));
/* Write waiting input; returns how many bytes the command took. */
size_t guest_command_feed(struct guest_command *c) __attribute__((nonnull));

#endif

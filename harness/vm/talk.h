/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness' half of a session with the guest: it waits for its HELLO, tells
 * it what to run, passes input, output and signals, and notices when the guest
 * does not answer any more.
 */
#ifndef MS_HARNESS_VM_TALK_H
#define MS_HARNESS_VM_TALK_H

#include "harness/vm/console.h"
#include "harness/vm/frame.h"
#include "harness/vm/machine.h"
#include "harness/vm/terminal.h"

struct talk {
	const struct vm_config *config;
	const struct machine *machine;
	struct console *console;
	struct frame_decoder in;
	uint8_t *out; /* frames not yet written to the guest */
	size_t out_len;
	size_t out_room;
	size_t window; /* bytes of input that the guest has room for */
	bool hello;    /* the guest's kernel runs */
	bool running;  /* its command too */
	bool in_ended;
	bool done;
	int status;	   /* of the command */
	int signal;	   /* that came first, 0: none */
	char release[64];  /* of the guest's kernel */
	uint64_t alive_ns; /* when the guest was heard last */
	uint64_t started_ns;
	uint64_t kill_ns;    /* end it then, 0: no */
	unsigned interrupts; /* Ctrl-C typed and not answered */
	struct terminal terminal;
};

/* -ENOMEM; talk_release in all cases. */
int talk_init(struct talk *t, const struct vm_config *config,
	      const struct machine *machine, struct console *console)
	__attribute__((nonnull, warn_unused_result));
void talk_release(struct talk *t) __attribute__((nonnull));

/*
 * Until the guest's kernel says HELLO, at most `limit_ns`. 0, or -ETIMEDOUT,
 * -EIO, -EINTR as vm_run.
 */
int talk_boot(struct talk *t, uint64_t limit_ns)
	__attribute__((nonnull, warn_unused_result));

/* From START to the end of the command; errors as vm_run. */
int talk_command(struct talk *t, const char *modules)
	__attribute__((nonnull, warn_unused_result));

#endif

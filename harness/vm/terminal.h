/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's terminal while the command in the guest has it. */
#ifndef MS_HARNESS_VM_TERMINAL_H
#define MS_HARNESS_VM_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct terminal {
	struct termios saved;
	bool raw;
};

/* Every byte goes to the guest from now on, and comes as it sends it. */
void terminal_raw(struct terminal *t, int fd) __attribute__((nonnull));
/* As it was. Legal when it was never raw. */
void terminal_restore(struct terminal *t, int fd) __attribute__((nonnull));
/* Its size; 24 by 80 if it does not say. */
void terminal_size(int fd, uint32_t *ret_rows, uint32_t *ret_columns)
	__attribute__((nonnull));

#endif

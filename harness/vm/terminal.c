/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's terminal; see terminal.h. */
#include "harness/vm/terminal.h"

#include <sys/ioctl.h>

void terminal_raw(struct terminal *t, int fd)
{
	struct termios raw;

	if (t->raw || tcgetattr(fd, &t->saved))
		return;
	raw = t->saved;
	cfmakeraw(&raw);
	t->raw = tcsetattr(fd, TCSADRAIN, &raw) == 0;
}

void terminal_restore(struct terminal *t, int fd)
{
	if (t->raw)
		(void)tcsetattr(fd, TCSADRAIN, &t->saved);
	t->raw = false;
}

void terminal_size(int fd, uint32_t *ret_rows, uint32_t *ret_columns)
{
	struct winsize w = {0};

	*ret_rows = 24;
	*ret_columns = 80;
	if (ioctl(fd, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col)
		return;
	*ret_rows = w.ws_row;
	*ret_columns = w.ws_col;
}

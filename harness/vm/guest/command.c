/* SPDX-License-Identifier: Apache-2.0 */
/* The command that the guest is there for; see guest.h. */
#include "harness/vm/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	EXIT_SETUP = 126,
	EXIT_NOT_FOUND = 127,
};

/* Read ends of ours, write ends of the command's, or the reverse for stdin. */
struct pipes {
	int in[2];
	int out[2];
	int err[2];
};

static int open_pipes(struct pipes *p)
{
	if (pipe2(p->in, O_CLOEXEC) || pipe2(p->out, O_CLOEXEC) ||
	    pipe2(p->err, O_CLOEXEC))
		return guest_fail(-errno, "pipe");
	return 0;
}

static void say(const char *what, const char *why)
{
	const char *parts[] = {"memsync-bench vm: ", what, ": ", why, "\n"};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0)
			return;
}

/* In the child, with its standard descriptors in place. */
static void __attribute__((noreturn)) become(const struct vm_start *start)
{
	sigset_t none;
	char **argv = (char **)start->argv;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (clearenv())
		_exit(EXIT_SETUP);
	for (const char **e = start->env; *e; e++)
		(void)putenv((char *)*e);
	if (chdir(start->dir)) {
		say(start->dir, strerror(errno));
		_exit(EXIT_SETUP);
	}
	(void)execvp(argv[0], argv);
	say(argv[0], strerror(errno));
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_SETUP);
}

static int start_with_terminal(const struct vm_start *start,
			       struct guest_command *c)
{
	int master = -1;

	c->pid = forkpty(&master, NULL, NULL, NULL);
	if (c->pid < 0)
		return guest_fail(-errno, "forkpty");
	if (c->pid == 0)
		become(start);
	(void)fcntl(master, F_SETFD, FD_CLOEXEC);
	c->out = master;
	c->in = fcntl(master, F_DUPFD_CLOEXEC, 0);
	return c->in < 0 ? guest_fail(-errno, "dup") : 0;
}

static int start_with_pipes(const struct vm_start *start,
			    struct guest_command *c)
{
	struct pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
	int err = open_pipes(&p);

	if (err)
		return err;
	c->pid = fork();
	if (c->pid < 0)
		return guest_fail(-errno, "fork");
	if (c->pid == 0) {
		(void)setsid();
		if (dup2(p.in[0], 0) < 0 || dup2(p.out[1], 1) < 0 ||
		    dup2(p.err[1], 2) < 0)
			_exit(EXIT_SETUP);
		become(start);
	}
	(void)close(p.in[0]);
	(void)close(p.out[1]);
	(void)close(p.err[1]);
	c->in = p.in[1];
	c->out = p.out[0];
	c->err = p.err[0];
	return 0;
}

int guest_command_start(const struct vm_start *start, struct guest_command *ret)
{
	struct guest_command c = {
		.in = -1, .out = -1, .err = -1, .terminal = start->terminal};
	int err;

	c.waiting = malloc(FRAME_WINDOW);
	if (!c.waiting)
		return guest_fail(-ENOMEM, "command");
	err = c.terminal ? start_with_terminal(start, &c)
			 : start_with_pipes(start, &c);
	/* Neither a full pipe nor a slow terminal may hold up the rest. */
	if (!err && fcntl(c.in, F_SETFL, O_NONBLOCK))
		err = guest_fail(-errno, "fcntl");
	*ret = c;
	return err;
}

static int window_size(struct guest_command *c, const struct frame *f)
{
	struct winsize w = {0};

	if (f->len != 8)
		return -EPROTO;
	w.ws_row = (unsigned short)frame_get32(f->data);
	w.ws_col = (unsigned short)frame_get32(f->data + 4);
	if (c->terminal && c->out >= 0)
		(void)ioctl(c->out, TIOCSWINSZ, &w);
	return 0;
}

static int input(struct guest_command *c, const struct frame *f)
{
	if (!f->len) {
		c->in_ended = true;
		return 0;
	}
	if (c->in_ended || f->len > FRAME_WINDOW - c->waiting_len)
		return -EPROTO;
	memcpy(c->waiting + c->waiting_len, f->data, f->len);
	c->waiting_len += f->len;
	return 0;
}

int guest_command_frame(struct guest_command *c, const struct frame *f)
{
	switch (f->type) {
	case FRAME_IN:
		return input(c, f);
	case FRAME_SIGNAL:
		if (f->len != 4)
			return -EPROTO;
		/* It leads a session, so its group is named as it is. */
		(void)kill(-c->pid, (int)frame_get32(f->data));
		return 0;
	case FRAME_SIZE:
		return window_size(c, f);
	default:
		return -EPROTO;
	}
}

static void close_in(struct guest_command *c)
{
	if (c->in < 0)
		return;
	/* A terminal's end of input is a character. */
	if (c->terminal && write(c->in, "\004", 1) < 0)
		(void)kill(-c->pid, SIGHUP);
	(void)close(c->in);
	c->in = -1;
}

size_t guest_command_feed(struct guest_command *c)
{
	size_t taken = 0;

	while (c->in >= 0 && taken < c->waiting_len) {
		ssize_t n = write(c->in, c->waiting + taken,
				  c->waiting_len - taken);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			/* Nobody reads it any more: the rest is for nobody. */
			(void)close(c->in);
			c->in = -1;
			break;
		}
		taken += (size_t)n;
	}
	if (c->in < 0)
		taken = c->waiting_len;
	c->waiting_len -= taken;
	memmove(c->waiting, c->waiting + taken, c->waiting_len);
	if (c->in_ended && !c->waiting_len)
		close_in(c);
	return taken;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The harness' half of a session with the guest; see talk.h. */
#include "harness/vm/talk.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/run/no-memory.h"
#include "harness/vm/start.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* A guest that is alive says so every FRAME_ALIVE_MS; emulation may be slow. */
#define HANG_NS (60 * MS_NS_PER_S)
/* For mounting the root and starting the command. */
#define START_NS (120 * MS_NS_PER_S)
/* For the command, to end when a signal asks it to. */
#define GRACE_NS (15 * MS_NS_PER_S)
/* This many Ctrl-C without an answer end a guest that has the terminal. */
#define INTERRUPTS 3
#define CTRL_C	   3

int talk_init(struct talk *t, const struct vm_config *config,
	      const struct machine *machine, struct console *console)
{
	*t = (struct talk){.config = config,
			   .machine = machine,
			   .console = console,
			   .window = FRAME_WINDOW,
			   .alive_ns = ms_now_ns(),
			   .out_room =
				   FRAME_HEAD + FRAME_MAX + 2 * FRAME_WINDOW};
	t->out = malloc(t->out_room);
	if (!t->out || frame_decoder_init(&t->in))
		return no_memory("vm");
	return 0;
}

void talk_release(struct talk *t)
{
	terminal_restore(&t->terminal, t->config->in);
	frame_decoder_release(&t->in);
	free(t->out);
	t->out = NULL;
}

/*
 * There is room: START is the first, input is bounded by the window, and the
 * rest is a few bytes for each signal. False if the guest takes nothing.
 */
static bool queue(struct talk *t, unsigned type, const void *data, size_t len)
{
	if (t->out_len + FRAME_HEAD + len > t->out_room)
		return false;
	frame_head(t->out + t->out_len, type, len);
	memcpy(t->out + t->out_len + FRAME_HEAD, data, len);
	t->out_len += FRAME_HEAD + len;
	return true;
}

static int gone(struct talk *t)
{
	char last[200];

	(void)console_read(t->console, t->machine->console);
	return ms_err_plain(-EIO, "the guest ended by itself%s%s",
			    t->console->len ? "; its last words: " : "",
			    console_last_line(t->console, last, sizeof(last)));
}

static int flush(struct talk *t)
{
	while (t->out_len) {
		ssize_t n = write(t->machine->agent, t->out, t->out_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return gone(t);
		t->out_len -= (size_t)n;
		memmove(t->out, t->out + n, t->out_len);
	}
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			(void)poll(&p, 1, -1);
			continue;
		}
		if (n <= 0)
			return ms_err(n ? -errno : -EIO,
				      "the output of the guest's command");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int bad_frame(const struct frame *f)
{
	return ms_err_plain(
		-EIO,
		"the guest sent a frame of type %u with %zu bytes, which "
		"makes no sense",
		f->type, f->len);
}

/* The command runs from now on. */
static void note_running(struct talk *t)
{
	if (t->running)
		return;
	t->running = true;
	t->started_ns = ms_now_ns();
	if (t->config->terminal)
		terminal_raw(&t->terminal, t->config->in);
}

static int handle(struct talk *t, const struct frame *f)
{
	if (!t->hello && f->type != FRAME_HELLO)
		return bad_frame(f);
	switch (f->type) {
	case FRAME_HELLO:
		(void)snprintf(t->release, sizeof(t->release), "%.*s",
			       (int)(f->len < 60 ? f->len : 60), f->data);
		t->hello = true;
		return 0;
	case FRAME_ALIVE:
		note_running(t);
		return 0;
	case FRAME_OUT:
		t->interrupts = 0;
		return write_all(t->config->out, f->data, f->len);
	case FRAME_ERR:
		return write_all(t->config->err, f->data, f->len);
	case FRAME_TAKEN:
		if (f->len != 4 ||
		    frame_get32(f->data) > FRAME_WINDOW - t->window)
			return bad_frame(f);
		t->window += frame_get32(f->data);
		return 0;
	case FRAME_EXIT:
		if (f->len != 4)
			return bad_frame(f);
		t->status = (int)frame_get32(f->data);
		t->done = true;
		return 0;
	case FRAME_FAILED:
		return ms_err_plain(
			-EIO, "the guest could not run the command: %.*s",
			(int)(f->len < 400 ? f->len : 400), f->data);
	default:
		return bad_frame(f);
	}
}

static int read_agent(struct talk *t)
{
	size_t room;
	uint8_t *to = frame_space(&t->in, &room);
	ssize_t n = read(t->machine->agent, to, room);
	struct frame f;
	int more;
	int err = 0;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return gone(t);
	frame_added(&t->in, (size_t)n);
	while (!err && (more = frame_next(&t->in, &f)) != 0)
		err = more < 0 ? ms_err_plain(-EIO,
					      "what the guest sent is no frame")
			       : handle(t, &f);
	/* After the output was written, which may have taken long. */
	t->alive_ns = ms_now_ns();
	return err;
}

/* What is typed goes to a guest that may not answer any more. */
static int count_interrupts(struct talk *t, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len && t->config->terminal; i++)
		t->interrupts = data[i] == CTRL_C ? t->interrupts + 1 : 0;
	if (t->interrupts < INTERRUPTS)
		return 0;
	t->signal = SIGINT;
	return ms_err_plain(-EINTR, "ended by Ctrl-C");
}

static int read_input(struct talk *t)
{
	uint8_t buf[FRAME_DATA_MAX];
	size_t room = t->window < sizeof(buf) ? t->window : sizeof(buf);
	ssize_t n = read(t->config->in, buf, room);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		t->in_ended = true;
		(void)queue(t, FRAME_IN, "", 0);
		return 0;
	}
	t->window -= (size_t)n;
	(void)queue(t, FRAME_IN, buf, (size_t)n);
	return count_interrupts(t, buf, (size_t)n);
}

static void send_size(struct talk *t)
{
	uint8_t size[8];
	uint32_t rows;
	uint32_t columns;

	terminal_size(t->config->in, &rows, &columns);
	frame_put32(size, rows);
	frame_put32(size + 4, columns);
	(void)queue(t, FRAME_SIZE, size, sizeof(size));
}

static int read_signal(struct talk *t)
{
	struct signalfd_siginfo info;
	uint8_t number[4];

	if (read(t->config->stop_fd, &info, sizeof(info)) !=
	    (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo == SIGWINCH) {
		if (t->running && t->config->terminal)
			send_size(t);
		return 0;
	}
	if (!t->running || t->signal) {
		t->signal = (int)info.ssi_signo;
		return ms_err_plain(-EINTR, "ended by signal %d", t->signal);
	}
	t->signal = (int)info.ssi_signo;
	t->kill_ns = ms_now_ns() + GRACE_NS;
	frame_put32(number, info.ssi_signo);
	(void)queue(t, FRAME_SIGNAL, number, sizeof(number));
	return 0;
}

/* The next time at which something is overdue. */
static uint64_t deadline(const struct talk *t, uint64_t phase_end)
{
	uint64_t end = phase_end;
	uint64_t hang = t->alive_ns + HANG_NS;

	if (t->running && hang < end)
		end = hang;
	if (t->running && t->config->limit_ns &&
	    t->started_ns + t->config->limit_ns < end)
		end = t->started_ns + t->config->limit_ns;
	if (t->kill_ns && t->kill_ns < end)
		end = t->kill_ns;
	return end;
}

static int overdue(struct talk *t, uint64_t now)
{
	if (t->kill_ns && now >= t->kill_ns)
		return ms_err_plain(
			-EINTR,
			"ended by signal %d; the command did not end by "
			"itself",
			t->signal);
	if (!t->hello)
		return ms_err_plain(-ETIMEDOUT,
				    "the guest did not boot and was killed");
	if (!t->running)
		return ms_err_plain(-ETIMEDOUT,
				    "the guest did not start the command "
				    "and was killed");
	if (t->config->limit_ns && now >= t->started_ns + t->config->limit_ns)
		return ms_err_plain(-ETIMEDOUT,
				    "the command ran longer than %" PRIu64
				    " s and "
				    "its guest was killed",
				    t->config->limit_ns / MS_NS_PER_S);
	return ms_err_plain(-ETIMEDOUT,
			    "the guest gave no sign of life for %" PRIu64
			    " s and "
			    "was killed",
			    HANG_NS / MS_NS_PER_S);
}

enum {
	P_AGENT,
	P_CONSOLE,
	P_INPUT,
	P_SIGNAL,
	P_COUNT
};

static int handle_events(struct talk *t, const struct pollfd p[P_COUNT])
{
	int err = 0;

	if (p[P_CONSOLE].revents)
		(void)console_read(t->console, t->machine->console);
	if (p[P_AGENT].revents & (POLLIN | POLLHUP | POLLERR))
		err = read_agent(t);
	if (!err && p[P_SIGNAL].revents)
		err = read_signal(t);
	if (!err && p[P_INPUT].revents)
		err = read_input(t);
	return err;
}

/* Wait once, at most until `end`, and do what there is to do. */
static int step(struct talk *t, uint64_t end)
{
	bool input = t->running && !t->in_ended && t->window;
	struct pollfd p[P_COUNT] = {
		{.fd = t->machine->agent,
		 .events = (short)(POLLIN | (t->out_len ? POLLOUT : 0))},
		{.fd = t->machine->console, .events = POLLIN},
		{.fd = input ? t->config->in : -1, .events = POLLIN},
		{.fd = t->config->stop_fd, .events = POLLIN}};
	uint64_t now = ms_now_ns();
	struct timespec wait;
	int err = flush(t);
	int n;

	end = deadline(t, end);
	if (err)
		return err;
	if (now >= end)
		return overdue(t, now);
	wait = ms_timespec(end - now);
	n = ppoll(p, P_COUNT, &wait, NULL);
	if (n < 0 && errno != EINTR)
		return ms_err(-errno, "poll");
	return n > 0 ? handle_events(t, p) : 0;
}

int talk_boot(struct talk *t, uint64_t limit_ns)
{
	uint64_t end = ms_now_ns() + limit_ns;
	int err = 0;

	while (!err && !t->hello)
		err = step(t, end);
	return err;
}

/* The caller's environment and what is added to it. */
static const char **environment(const struct vm_config *c)
{
	size_t n = 0;
	size_t more = 0;
	const char **list;

	while (environ[n])
		n++;
	while (c->env && c->env[more])
		more++;
	list = calloc(n + more + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		list[i] = environ[i];
	for (size_t i = 0; list && i < more; i++)
		list[n + i] = c->env[i];
	return list;
}

static const char **shares(const struct vm_config *c)
{
	size_t n = 0;
	const char **list;

	while (c->shares && c->shares[n])
		n++;
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++) {
		char tag[16];
		char *text = NULL;

		machine_share_tag((unsigned)i, tag);
		if (asprintf(&text, "%s=%s", tag, c->shares[i]) < 0)
			text = NULL;
		list[i] = text;
	}
	return list;
}

static int send_start(struct talk *t, const char *modules)
{
	char cwd[PATH_MAX] = "/";
	const struct vm_config *c = t->config;
	struct vm_start start = {.dir = c->dir ? c->dir
					       : getcwd(cwd, sizeof(cwd)),
				 .modules = modules,
				 .terminal = c->terminal,
				 .argv = (const char **)c->argv,
				 .env = environment(c),
				 .shares = shares(c)};
	uint8_t *data = NULL;
	size_t len = 0;
	int err = start.env && start.shares && start.dir
			  ? vm_start_pack(&start, &data, &len)
			  : -ENOMEM;

	if (!err)
		(void)queue(t, FRAME_START, data, len);
	else
		err = ms_err(err, "what to run in the guest");
	for (size_t i = 0; start.shares && start.shares[i]; i++)
		free((void *)start.shares[i]);
	free((void *)start.shares);
	free((void *)start.env);
	free(data);
	if (!err && c->terminal)
		send_size(t);
	if (c->in < 0) {
		t->in_ended = true;
		(void)queue(t, FRAME_IN, "", 0);
	}
	return err;
}

int talk_command(struct talk *t, const char *modules)
{
	int err = send_start(t, modules);
	uint64_t end = ms_now_ns() + START_NS;

	while (!err && !t->done)
		err = step(t, t->running ? UINT64_MAX : end);
	terminal_restore(&t->terminal, t->config->in);
	return err;
}

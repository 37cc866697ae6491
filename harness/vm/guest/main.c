/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of the guest; see guest.h. */
#include "harness/vm/guest/guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char failure[512];

int guest_fail(int err, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(failure, sizeof(failure), fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof(failure))
		(void)snprintf(failure + n, sizeof(failure) - (size_t)n, ": %s",
			       strerror(-err));
	return err;
}

static void __attribute__((noreturn)) power_off(void)
{
	sync();
	(void)reboot(RB_POWER_OFF);
	for (;;)
		(void)pause();
}

static void write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			power_off();
		p += n;
		len -= (size_t)n;
	}
}

void guest_send(int port, unsigned type, const void *data, size_t len)
{
	static uint8_t buf[FRAME_HEAD + FRAME_DATA_MAX];

	frame_head(buf, type, len);
	memcpy(buf + FRAME_HEAD, data, len);
	/* In one write, which is one request to the device. */
	write_all(port, buf, FRAME_HEAD + len);
}

/* The virtio port with our name, -1 if there is none (yet). */
static int find_port(void)
{
	static const char dir[] = "/sys/class/virtio-ports";
	char path[600];
	char name[64];
	int port = -1;
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && port < 0 && (e = readdir(d))) {
		FILE *f;
		bool ours;

		(void)snprintf(path, sizeof(path), "%s/%s/name", dir,
			       e->d_name);
		f = fopen(path, "re");
		ours = f && fgets(name, sizeof(name), f) &&
		       !strncmp(name, FRAME_PORT, strlen(FRAME_PORT));
		if (f)
			(void)fclose(f);
		if (!ours)
			continue;
		(void)snprintf(path, sizeof(path), "/dev/%s", e->d_name);
		port = open(path, O_RDWR | O_CLOEXEC);
	}
	if (d)
		(void)closedir(d);
	return port;
}

static int open_port(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		const struct timespec t = {.tv_nsec = 10000000};
		int port = find_port();

		if (port >= 0)
			return port;
		(void)nanosleep(&t, NULL);
	}
	return -1;
}

/* Read once; frames that are whole are in the decoder afterwards. */
static void read_port(int port, struct frame_decoder *d)
{
	size_t room;
	uint8_t *to = frame_space(d, &room);
	ssize_t n;

	do
		n = read(port, to, room);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		power_off(); /* the harness is gone */
	frame_added(d, (size_t)n);
}

static int wait_start(int port, struct frame_decoder *d, struct vm_start *ret)
{
	struct frame f;
	int n;

	while ((n = frame_next(d, &f)) == 0)
		read_port(port, d);
	if (n < 0 || f.type != FRAME_START)
		return guest_fail(-EPROTO, "the harness did not say what to "
					   "run");
	n = vm_start_unpack(f.data, f.len, ret);
	return n ? guest_fail(n, "what to run") : 0;
}

/* Pass on what is there. Returns false at the end. */
static bool pass_on(int port, int from, unsigned type)
{
	uint8_t buf[FRAME_DATA_MAX];
	ssize_t n;

	do
		n = read(from, buf, sizeof(buf));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false; /* EIO: nobody has the terminal open */
	guest_send(port, type, buf, (size_t)n);
	return true;
}

/* What the command has written before it ended. */
static void drain(int port, int from, unsigned type)
{
	if (from < 0)
		return;
	(void)fcntl(from, F_SETFL, O_NONBLOCK);
	while (pass_on(port, from, type))
		;
}

/* Reap everything that has ended; true if the command has. */
static bool reap(pid_t command, int *ret_status)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		*ret_status = status;
		ended = true;
	}
	return ended;
}

static void close_end(int *fd)
{
	(void)close(*fd);
	*fd = -1;
}

static void feed(int port, struct guest_command *c)
{
	uint8_t taken[4];
	size_t n = guest_command_feed(c);

	if (!n)
		return;
	frame_put32(taken, (uint32_t)n);
	guest_send(port, FRAME_TAKEN, taken, sizeof(taken));
}

/* Everything that has come, and input that the command may take. */
static int take_frames(int port, struct frame_decoder *d,
		       struct guest_command *c)
{
	struct frame f;
	int n;

	while ((n = frame_next(d, &f)) > 0) {
		n = guest_command_frame(c, &f);
		if (n)
			return n;
	}
	feed(port, c);
	return n;
}

enum {
	P_PORT,
	P_OUT,
	P_ERR,
	P_IN,
	P_CHILD,
	P_COUNT
};

/* Until the command has ended; returns its status. */
static int attend(int port, struct frame_decoder *d, struct guest_command *c,
		  int children)
{
	struct signalfd_siginfo info;
	int status = 0;

	guest_send(port, FRAME_ALIVE, "", 0);
	while (take_frames(port, d, c) == 0) {
		struct pollfd p[P_COUNT] = {
			{.fd = port, .events = POLLIN},
			{.fd = c->out, .events = POLLIN},
			{.fd = c->err, .events = POLLIN},
			{.fd = c->waiting_len ? c->in : -1, .events = POLLOUT},
			{.fd = children, .events = POLLIN}};
		int n = poll(p, P_COUNT, FRAME_ALIVE_MS);

		if (n == 0)
			guest_send(port, FRAME_ALIVE, "", 0);
		if (n <= 0)
			continue;
		if (p[P_OUT].revents && !pass_on(port, c->out, FRAME_OUT))
			close_end(&c->out);
		if (p[P_ERR].revents && !pass_on(port, c->err, FRAME_ERR))
			close_end(&c->err);
		if (p[P_PORT].revents)
			read_port(port, d);
		if (p[P_CHILD].revents &&
		    read(children, &info, sizeof(info)) > 0 &&
		    reap(c->pid, &status))
			return status;
	}
	power_off(); /* what the harness says makes no sense */
}

static int run(int port, struct frame_decoder *d, int *ret_status)
{
	struct vm_start start = {0};
	struct guest_command c = {.in = -1, .out = -1, .err = -1};
	sigset_t set;
	int children;
	int err = wait_start(port, d, &start);

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	if (!err)
		err = guest_enter_root(&start);
	if (!err)
		err = guest_finish_host();
	if (!err && sigprocmask(SIG_BLOCK, &set, NULL))
		err = guest_fail(-errno, "sigprocmask");
	children = signalfd(-1, &set, SFD_CLOEXEC);
	if (!err && children < 0)
		err = guest_fail(-errno, "signalfd");
	if (!err)
		err = guest_command_start(&start, &c);
	if (err)
		return err;
	*ret_status = attend(port, d, &c, children);
	drain(port, c.out, FRAME_OUT);
	drain(port, c.err, FRAME_ERR);
	return 0;
}

int main(void)
{
	struct frame_decoder d = {0};
	struct utsname u = {0};
	uint8_t status[4];
	int result = 0;
	int port = -1;
	int err = guest_early_mounts();

	(void)signal(SIGPIPE, SIG_IGN);
	if (!err)
		err = guest_boot_modules();
	port = open_port();
	if (port < 0) {
		(void)fprintf(stderr, "memsync: no port to the harness%s%s\n",
			      err ? "; " : "", err ? failure : "");
		power_off();
	}
	if (!err && (uname(&u) || frame_decoder_init(&d)))
		err = guest_fail(-ENOMEM, "start");
	guest_send(port, FRAME_HELLO, u.release, strlen(u.release));
	if (!err)
		err = run(port, &d, &result);
	/* Before the harness hears that it is over. */
	sync();
	frame_put32(status, (uint32_t)result);
	if (err)
		guest_send(port, FRAME_FAILED, failure, strlen(failure));
	else
		guest_send(port, FRAME_EXIT, status, sizeof(status));
	power_off();
}

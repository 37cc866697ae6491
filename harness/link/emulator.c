/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's side of the emulator process: devices, start, questions, end.
 */
#include "harness/link/emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "approaches/common/util/err.h"

/* Descriptors of the child, moved to where nothing else is. */
#define CHILD_FD_FIRST 3
#define REPLY_SECONDS  5

int tun_open(const char *name, int *ret_fd)
{
	struct ifreq ifr = {
		.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR,
	};
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0)
		return ms_err(-errno, "link: open /dev/net/tun");
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		r = ms_err(-errno, "link: make TUN device %s", name);
	} else if (ioctl(fd, TUNSETOFFLOAD, offloads) < 0) {
		r = ms_err(-errno, "link: offloads of TUN device %s", name);
	} else {
		*ret_fd = fd;
		return 0;
	}
	(void)close(fd);
	return r;
}

static void child_signals(void)
{
	static const int ignored[] = {SIGINT, SIGHUP, SIGQUIT, SIGPIPE,
				      SIGTSTP};
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	/* Ctrl-C ends the owner, which closes the link when it is ready */
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Keep what the loop needs and close all else: a namespace, a pipe or a lock
 * of the owner must not live on because the emulator has a copy.
 */
static int child_descriptors(struct emulate_config *c, int *control, int *owner)
{
	int *wanted[EMULATE_HOSTS_MAX + 2];
	unsigned n = 0;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (unsigned i = 0; i < c->hosts; i++)
		wanted[n++] = &c->tun_fds[i];
	wanted[n++] = control;
	wanted[n++] = owner;
	/* first out of the way of the targets, then down to them */
	for (unsigned i = 0; i < n; i++) {
		*wanted[i] = fcntl(*wanted[i], F_DUPFD_CLOEXEC, 64);
		if (*wanted[i] < 0)
			return -errno;
	}
	for (unsigned i = 0; i < n; i++) {
		if (dup3(*wanted[i], CHILD_FD_FIRST + (int)i, O_CLOEXEC) < 0)
			return -errno;
		*wanted[i] = CHILD_FD_FIRST + (int)i;
	}
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	if (syscall(SYS_close_range, CHILD_FD_FIRST + n, ~0U, 0U) < 0)
		return -errno;
	return 0;
}

static int child_main(const struct emulate_config *config, int control,
		      int owner)
{
	struct emulate_config c = *config;
	int r;

	child_signals();
	(void)prctl(PR_SET_NAME, "memsync-link", 0, 0, 0);
	r = child_descriptors(&c, &control, &owner);
	return r ? r : emulate_main(&c, control, owner);
}

static int ask(struct emulator *e, const struct emulate_request *q,
	       struct emulate_stats *ret_stats)
{
	struct emulate_reply a;
	ssize_t n;

	if (e->control < 0)
		return ms_err(-EPIPE, "link: no emulator");
	n = send(e->control, q, sizeof(*q), MSG_NOSIGNAL);
	if (n == (ssize_t)sizeof(*q)) {
		do {
			n = recv(e->control, &a, sizeof(a), 0);
		} while (n < 0 && errno == EINTR);
		if (n == (ssize_t)sizeof(a)) {
			if (ret_stats)
				*ret_stats = a.stats;
			return a.error ? ms_err(a.error, "link: the emulator "
							 "refused")
				       : 0;
		}
	}
	if (n < 0 && errno == EAGAIN)
		return ms_err(-ETIMEDOUT, "link: the emulator does not answer");
	return ms_err(-EPIPE, "link: the emulator has ended");
}

static int make_sockets(int ret[2])
{
	struct timeval limit = {.tv_sec = REPLY_SECONDS};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
		return ms_err(-errno, "link: socketpair");
	for (int i = 0; i < 2; i++)
		(void)setsockopt(ret[i], SOL_SOCKET, SO_RCVTIMEO, &limit,
				 sizeof(limit));
	return 0;
}

int emulator_start(const struct emulate_config *config, struct emulator *ret)
{
	struct emulate_request q = {.what = EMULATE_STATS};
	struct emulator e = {.pid = -1, .control = -1};
	int sockets[2];
	int owner;
	int r = make_sockets(sockets);

	if (r)
		return r;
	/* the process, not the thread that PR_SET_PDEATHSIG would watch */
	owner = (int)syscall(SYS_pidfd_open, getpid(), 0U);
	if (owner < 0) {
		r = ms_err(-errno, "link: pidfd of the own process");
		goto out;
	}
	e.pid = fork();
	if (e.pid == 0)
		_exit(child_main(config, sockets[1], owner) == -EPIPE ? 0 : 1);
	if (e.pid < 0)
		r = ms_err(-errno, "link: fork the emulator");
	(void)close(owner);
out:
	(void)close(sockets[1]);
	e.control = sockets[0];
	if (!r)
		r = ask(&e, &q, NULL);
	if (r) {
		emulator_stop(&e);
		return r;
	}
	*ret = e;
	return 0;
}

int emulator_set(struct emulator *e, const struct shaper_params *params,
		 size_t memory_bytes)
{
	struct emulate_request q = {.what = EMULATE_SET,
				    .params = *params,
				    .memory_bytes = memory_bytes};

	return ask(e, &q, NULL);
}

int emulator_cut(struct emulator *e, bool cut)
{
	struct emulate_request q = {.what = EMULATE_CUT, .cut = cut};

	return ask(e, &q, NULL);
}

int emulator_stats(struct emulator *e, struct emulate_stats *ret)
{
	struct emulate_request q = {.what = EMULATE_STATS};

	return ask(e, &q, ret);
}

void emulator_stop(struct emulator *e)
{
	if (e->control >= 0)
		(void)close(e->control);
	e->control = -1;
	if (e->pid > 0) {
		/* it holds nothing that an orderly end would save */
		(void)kill(e->pid, SIGKILL);
		while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	e->pid = -1;
}

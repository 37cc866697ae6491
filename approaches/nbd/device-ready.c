/* SPDX-License-Identifier: Apache-2.0 */
/* Is the device there, is it free: sysfs and the kernel's announcements. */
#include "approaches/nbd/device-int.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POLL_NS	     MS_NS_PER_MS
#define READY_NS     (10 * MS_NS_PER_S)
#define FREE_NS	     (5 * MS_NS_PER_S)
#define SECTOR	     512
#define KERNEL_GROUP 1 /* what the kernel says; udev says it again in 2 */
#define EVENT_MAX    8192

static uint64_t sysfs_size(int index)
{
	char path[64];
	char text[32] = "";
	int fd;
	ssize_t n = 0;

	(void)snprintf(path, sizeof(path), NBD_SYSFS "size", index);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		(void)close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return strtoull(text, NULL, 10) * SECTOR;
}

/* The file is there while somebody is attached. */
static bool has_pid(int index)
{
	char path[64];

	(void)snprintf(path, sizeof(path), NBD_SYSFS "pid", index);
	return access(path, F_OK) == 0;
}

bool nbd_in_use(int index)
{
	return has_pid(index) || sysfs_size(index) > 0;
}

int nbd_waiter_open(enum nbd_ready how, struct nbd_waiter *ret)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK,
				.nl_groups = KERNEL_GROUP};

	*ret = (struct nbd_waiter){.how = how, .fd = -1};
	if (how == NBD_READY_SYSFS)
		return 0;
	ret->fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			 NETLINK_KOBJECT_UEVENT);
	if (ret->fd < 0 || bind(ret->fd, (struct sockaddr *)&a, sizeof(a))) {
		int err = -errno;

		nbd_waiter_close(ret);
		return ms_err(err, "nbd: listen to the kernel's announcements");
	}
	return 0;
}

void nbd_waiter_close(struct nbd_waiter *w)
{
	if (w->fd >= 0)
		(void)close(w->fd);
	w->fd = -1;
}

static void pause_ns(uint64_t ns)
{
	struct timespec t = ms_timespec(ns);

	(void)nanosleep(&t, NULL);
}

/* "change@/devices/virtual/block/nbd3" and NUL, then its variables. */
static bool is_announcement(const char *event, int index)
{
	char want[48];

	(void)snprintf(want, sizeof(want),
		       "change@/devices/virtual/block/nbd%d", index);
	return strcmp(event, want) == 0;
}

/*
 * Messages of the kernel only: anybody may send to the socket. A full queue
 * (ENOBUFS) may have lost ours, so it counts as one; the size is looked at
 * anyway.
 */
static bool announced(struct nbd_waiter *w, int index, uint64_t end)
{
	char event[EVENT_MAX + 1];
	struct sockaddr_nl from = {.nl_pid = 1};
	socklen_t from_len = sizeof(from);
	uint64_t now = ms_now_ns();
	struct timespec t = ms_timespec(end > now ? end - now : 0);
	struct pollfd p = {.fd = w->fd, .events = POLLIN};
	ssize_t n;

	if (ppoll(&p, 1, &t, NULL) <= 0)
		return false;
	n = recvfrom(w->fd, event, EVENT_MAX, 0, (struct sockaddr *)&from,
		     &from_len);
	if (n < 0)
		return errno == ENOBUFS;
	event[n] = '\0';
	return from.nl_pid == 0 && is_announcement(event, index);
}

int nbd_waiter_wait(struct nbd_waiter *w, int index, uint64_t size)
{
	uint64_t end = ms_now_ns() + READY_NS;
	bool look = w->how == NBD_READY_SYSFS;

	for (;;) {
		if (look && sysfs_size(index) == size)
			return 0;
		if (ms_now_ns() >= end)
			break;
		if (w->how == NBD_READY_UEVENT)
			look = announced(w, index, end);
		else
			pause_ns(POLL_NS);
	}
	return ms_err_plain(-ETIMEDOUT,
			    "nbd: /dev/nbd%d did not become ready in %" PRIu64
			    " s (it shows %" PRIu64 " of %" PRIu64 " bytes)",
			    index, READY_NS / MS_NS_PER_S, sysfs_size(index),
			    size);
}

int nbd_wait_free(int index)
{
	uint64_t end = ms_now_ns() + FREE_NS;

	while (has_pid(index)) {
		if (ms_now_ns() >= end)
			return ms_err_plain(-ETIMEDOUT,
					    "nbd: /dev/nbd%d is still attached "
					    "(somebody has it open)",
					    index);
		pause_ns(POLL_NS);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching by ioctl; see device.h. A thread stays in NBD_DO_IT, which ends
 * when the device is detached or its connection dies.
 */
#include "approaches/nbd/device-int.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* More than any kernel has devices by default. */
#define DEVICES_MAX 4096

static void *do_it(void *arg)
{
	struct nbd_device *d = arg;
	sigset_t all;

	/* A signal would detach the device. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, NULL);
	(void)ioctl(d->fd, NBD_DO_IT);
	(void)ioctl(d->fd, NBD_CLEAR_QUE);
	(void)ioctl(d->fd, NBD_CLEAR_SOCK);
	return NULL;
}

/*
 * NBD_SET_SOCK is the claim: the kernel gives a device that is not set up to
 * the first task that makes it, and refuses all others.
 */
static int claim(int index, int socket, int *ret_fd)
{
	char path[32];
	int fd;
	int err;

	(void)snprintf(path, sizeof(path), "/dev/nbd%d", index);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (nbd_in_use(index)) {
		(void)close(fd);
		return -EBUSY;
	}
	if (ioctl(fd, NBD_SET_SOCK, (unsigned long)socket)) {
		err = -errno;
		(void)close(fd);
		return err == -EINVAL ? -EBUSY : err;
	}
	*ret_fd = fd;
	return 0;
}

static int find(const struct nbd_device_config *c, struct nbd_device *d)
{
	int first = c->index >= 0 ? c->index : 0;
	int last = c->index >= 0 ? c->index : DEVICES_MAX;
	int err = -ENOENT;

	for (int i = first; i <= last; i++) {
		err = claim(i, c->sockets[0], &d->fd);
		if (!err) {
			d->index = i;
			return 0;
		}
		if (err != -EBUSY)
			break;
	}
	if (err == -ENOENT && first == 0 && nbd_netlink_supported())
		return -EOPNOTSUPP;
	if (err == -ENOENT || err == -ENXIO)
		return ms_err_plain(-EBUSY, "nbd: no device is free");
	if (err == -EBUSY)
		return ms_err_plain(err, "nbd: the device is in use");
	return ms_err(err, "nbd: claim a device");
}

static int configure(const struct nbd_device_config *c, int fd)
{
	if (ioctl(fd, NBD_SET_BLKSIZE, (unsigned long)c->block) ||
	    ioctl(fd, NBD_SET_SIZE_BLOCKS,
		  (unsigned long)(c->size / c->block)) ||
	    ioctl(fd, NBD_SET_FLAGS, (unsigned long)c->flags) ||
	    (c->timeout_s &&
	     ioctl(fd, NBD_SET_TIMEOUT, (unsigned long)c->timeout_s)))
		return ms_err(-errno, "nbd: configure a device");
	return 0;
}

int nbd_ioctl_connect(const struct nbd_device_config *config,
		      struct nbd_device *d)
{
	int err;

	if (config->socket_count != 1)
		return ms_err(-EINVAL, "nbd: by ioctl a device has one "
				       "connection");
	err = find(config, d);
	if (err)
		return err;
	err = configure(config, d->fd);
	if (!err) {
		err = -pthread_create(&d->thread, NULL, do_it, d);
		if (err)
			(void)ms_err(err, "nbd: thread of a device");
	}
	if (err) {
		(void)ioctl(d->fd, NBD_CLEAR_SOCK);
		(void)close(d->fd);
		d->fd = -1;
		return err;
	}
	d->thread_runs = true;
	return 0;
}

void nbd_ioctl_disconnect(struct nbd_device *d)
{
	if (d->fd < 0)
		return;
	(void)ioctl(d->fd, NBD_DISCONNECT);
	/* Wakes those that wait for an answer of a peer that is dead. */
	(void)ioctl(d->fd, NBD_CLEAR_SOCK);
	if (d->thread_runs)
		(void)pthread_join(d->thread, NULL);
	d->thread_runs = false;
	(void)close(d->fd);
	d->fd = -1;
}

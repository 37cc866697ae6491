/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the device share: device.c, -netlink.c, -ioctl.c, -ready.c
 */
#ifndef MS_NBD_DEVICE_INT_H
#define MS_NBD_DEVICE_INT_H

#include "approaches/nbd/device.h"

#include <pthread.h>

#define NBD_SYSFS "/sys/block/nbd%d/"

struct nbd_device {
	int index;
	char path[32];
	enum nbd_attach attach;
	uint64_t setup_ns;
	/* by ioctl */
	int fd;		  /* of the device; -1 by netlink */
	pthread_t thread; /* in NBD_DO_IT */
	bool thread_runs;
};

/* --- netlink ---------------------------------------------------------------
 */

/* Attach; the device's number. -ENOENT: this kernel has no nbd family. */
int nbd_netlink_connect(const struct nbd_device_config *config, int *ret_index)
	__attribute__((warn_unused_result));
/* New sockets for device `config->index`. */
int nbd_netlink_reconfigure(const struct nbd_device_config *config)
	__attribute__((warn_unused_result));
int nbd_netlink_disconnect(int index) __attribute__((warn_unused_result));
/* Is the family there? */
int nbd_netlink_supported(void) __attribute__((warn_unused_result));

/* --- ioctl -----------------------------------------------------------------
 */

/* Claim a device and start its thread; fills in what d has of it. */
int nbd_ioctl_connect(const struct nbd_device_config *config,
		      struct nbd_device *d) __attribute__((warn_unused_result));
void nbd_ioctl_disconnect(struct nbd_device *d);

/* --- is it there? ----------------------------------------------------------
 */

/* An announcement is not repeated, so listening begins before attaching. */
struct nbd_waiter {
	enum nbd_ready how;
	int fd; /* of the kernel's announcements; -1: none */
};
int nbd_waiter_open(enum nbd_ready how, struct nbd_waiter *ret)
	__attribute__((warn_unused_result));
void nbd_waiter_close(struct nbd_waiter *w);
/* Until the device shows `size`. -ETIMEDOUT after some seconds. */
int nbd_waiter_wait(struct nbd_waiter *w, int index, uint64_t size)
	__attribute__((warn_unused_result));

/* Until nobody has the device attached. -ETIMEDOUT. */
int nbd_wait_free(int index) __attribute__((warn_unused_result));
/* Is somebody attached to it or setting it up? */
bool nbd_in_use(int index);

#endif

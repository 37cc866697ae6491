/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's nbd client as a device: /dev/nbdN, whose requests come out of
 * sockets that we answer. Two ways to attach one:
 *
 *	netlink  several sockets, dead-connection handling, nobody has to stay
 *		 in a system call; the kernel itself chooses a free device
 *	ioctl    one socket, a thread stays in NBD_DO_IT; what the thesis used
 *
 * A device in use, or that somebody else is setting up, is never taken: by
 * netlink the kernel chooses under its own lock, by ioctl NBD_SET_SOCK is the
 * claim, which only one task gets.
 *
 * Source: linux/nbd.h, linux/nbd-netlink.h and drivers/block/nbd.c (6.12).
 */
#ifndef MS_NBD_DEVICE_H
#define MS_NBD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_DEVICE_SOCKETS_MAX 64
#define NBD_DEVICE_ANY	       (-1)

enum nbd_attach {
	NBD_ATTACH_NETLINK,
	NBD_ATTACH_IOCTL,
};
/* How to find out that the device is there with its size. */
enum nbd_ready {
	NBD_READY_SYSFS,  /* look at /sys/block/nbdN/size, every millisecond */
	NBD_READY_UEVENT, /* wait for the kernel to announce it */
};
/* Names for options; NULL-terminated. */
extern const char *const nbd_attach_names[];
extern const char *const nbd_ready_names[];

struct nbd_device_config {
	enum nbd_attach attach;
	enum nbd_ready ready;
	int index;	    /* of /dev/nbdN, or NBD_DEVICE_ANY */
	uint64_t size;	    /* bytes, a multiple of `block`, not 0 */
	uint32_t block;	    /* logical block: 512 to 4096, a power of two */
	uint16_t flags;	    /* transmission flags of the NBD protocol */
	const int *sockets; /* the kernel's ends; it takes references */
	unsigned socket_count;
	unsigned timeout_s; /* for a request, then it fails; 0: none */
	/*
	 * netlink: how long requests wait for a new connection when all are
	 * dead (nbd_device_reattach); 0: they fail at once.
	 */
	unsigned dead_s;
	const char *identifier; /* netlink: who may reattach; NULL: anybody */
};

struct nbd_device;

/*
 * Attach and wait until the device is there. The sockets must be answered
 * while this runs: partitions are looked for. 0, or a negative errno with a
 * sentence: -EOPNOTSUPP (no nbd in this kernel), -EBUSY (no free device, or
 * the one that was named is in use), -EPERM, -EINVAL, -ETIMEDOUT.
 */
int nbd_device_attach(const struct nbd_device_config *config,
		      struct nbd_device **ret)
	__attribute__((nonnull, warn_unused_result));

/* "/dev/nbd3", as long as the device lives; its number; its set-up time. */
const char *nbd_device_path(const struct nbd_device *d)
	__attribute__((nonnull));
int nbd_device_index(const struct nbd_device *d) __attribute__((nonnull));
uint64_t nbd_device_setup_ns(const struct nbd_device *d)
	__attribute__((nonnull));

/*
 * Give a live device new connections in place of its dead ones; it was attached
 * by netlink, perhaps by a process that is gone, with dead_s not 0. `config` is
 * as for attaching, with the index. The device is the caller's from then on.
 */
int nbd_device_reattach(const struct nbd_device_config *config,
			struct nbd_device **ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Detach: pending requests fail, nobody has to answer. Waits until the device
 * is free, 5 s at most. NULL is legal. 0 or a negative errno with a sentence;
 * the handle is freed in any case.
 */
int nbd_device_detach(struct nbd_device *d);

/* Free the handle and leave the device attached, for a later reattach. */
void nbd_device_abandon(struct nbd_device *d);

/* Detach /dev/nbdN by its number, whoever attached it. */
int nbd_device_detach_index(int index) __attribute__((warn_unused_result));

/* 0 if this kernel has nbd and we may use it, else a sentence. */
int nbd_device_supported(void) __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A device of the kernel's nbd client; see device.h. */
#include "approaches/nbd/device.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/nbd/device-int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *const nbd_attach_names[] = {"netlink", "ioctl", NULL};
const char *const nbd_ready_names[] = {"sysfs", "uevent", NULL};

static int check(const struct nbd_device_config *c)
{
	if (c->block < 512 || c->block > 4096 || (c->block & (c->block - 1)))
		return ms_err(-EINVAL,
			      "nbd: a block of %u bytes is not 512, "
			      "1K, 2K or 4K",
			      c->block);
	if (!c->size || c->size % c->block || c->size > INT64_MAX)
		return ms_err(-EINVAL, "nbd: the size is not a number of "
				       "blocks");
	if (!c->socket_count || c->socket_count > NBD_DEVICE_SOCKETS_MAX)
		return ms_err(-EINVAL, "nbd: %u connections (1 to %d)",
			      c->socket_count, NBD_DEVICE_SOCKETS_MAX);
	return 0;
}

int nbd_device_supported(void)
{
	int rc = nbd_netlink_supported();

	if (!rc && geteuid() != 0)
		return ms_err_plain(-EPERM, "nbd: devices need root");
	return rc;
}

static struct nbd_device *new_device(const struct nbd_device_config *c)
{
	struct nbd_device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->fd = -1;
	d->index = c->index;
	d->attach = c->attach;
	return d;
}

static void name_device(struct nbd_device *d)
{
	(void)snprintf(d->path, sizeof(d->path), "/dev/nbd%d", d->index);
}

int nbd_device_attach(const struct nbd_device_config *config,
		      struct nbd_device **ret)
{
	uint64_t before = ms_now_ns();
	struct nbd_waiter waiter = {.fd = -1};
	struct nbd_device *d;
	int rc = check(config);

	if (rc)
		return rc;
	d = new_device(config);
	if (!d)
		return ms_err(-ENOMEM, "nbd: device");
	rc = nbd_waiter_open(config->ready, &waiter);
	if (!rc)
		rc = config->attach == NBD_ATTACH_IOCTL
			     ? nbd_ioctl_connect(config, d)
			     : nbd_netlink_connect(config, &d->index);
	if (rc) {
		nbd_waiter_close(&waiter);
		free(d);
		return rc;
	}
	name_device(d);
	rc = nbd_waiter_wait(&waiter, d->index, config->size);
	nbd_waiter_close(&waiter);
	if (rc) {
		(void)nbd_device_detach(d);
		return rc;
	}
	d->setup_ns = ms_now_ns() - before;
	*ret = d;
	return 0;
}

int nbd_device_reattach(const struct nbd_device_config *config,
			struct nbd_device **ret)
{
	struct nbd_device *d;
	int rc = check(config);

	if (!rc && config->index < 0)
		rc = ms_err(-EINVAL, "nbd: which device?");
	if (!rc && !nbd_in_use(config->index))
		rc = ms_err_plain(-ENOENT, "nbd: /dev/nbd%d is not attached",
				  config->index);
	if (rc)
		return rc;
	d = new_device(config);
	if (!d)
		return ms_err(-ENOMEM, "nbd: device");
	d->attach = NBD_ATTACH_NETLINK;
	name_device(d);
	rc = nbd_netlink_reconfigure(config);
	if (rc) {
		free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

const char *nbd_device_path(const struct nbd_device *d)
{
	return d->path;
}

int nbd_device_index(const struct nbd_device *d)
{
	return d->index;
}

uint64_t nbd_device_setup_ns(const struct nbd_device *d)
{
	return d->setup_ns;
}

int nbd_device_detach(struct nbd_device *d)
{
	int rc = 0;

	if (!d)
		return 0;
	if (d->attach == NBD_ATTACH_IOCTL)
		nbd_ioctl_disconnect(d);
	else
		rc = nbd_netlink_disconnect(d->index);
	if (!rc)
		rc = nbd_wait_free(d->index);
	free(d);
	return rc;
}

void nbd_device_abandon(struct nbd_device *d)
{
	free(d);
}

int nbd_device_detach_index(int index)
{
	int rc = nbd_netlink_disconnect(index);

	return rc ? rc : nbd_wait_free(index);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching by generic netlink; see device.h. */
#include "approaches/nbd/device-int.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <string.h>

/* Not in the headers of 6.1 as an errno: the library's codes are its own. */
static int errno_of(int nl)
{
	switch (-nl) {
	case NLE_BUSY:
		return -EBUSY;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_OBJ_NOTFOUND:
	case NLE_NODEV:
		return -ENOENT;
	case NLE_INVAL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

/* A socket to the kernel and the number that its nbd family has today. */
static int open_family(struct nl_sock **ret, int *ret_family)
{
	struct nl_sock *s = nl_socket_alloc();
	int family;
	int rc;

	if (!s)
		return ms_err(-ENOMEM, "nbd: netlink");
	rc = genl_connect(s);
	if (rc < 0) {
		nl_socket_free(s);
		return ms_err(errno_of(rc), "nbd: generic netlink");
	}
	family = genl_ctrl_resolve(s, NBD_GENL_FAMILY_NAME);
	if (family < 0) {
		nl_socket_free(s);
		return ms_err_plain(-EOPNOTSUPP,
				    "nbd: this kernel has no nbd (modprobe "
				    "nbd)");
	}
	*ret = s;
	*ret_family = family;
	return 0;
}

int nbd_netlink_supported(void)
{
	struct nl_sock *s = NULL;
	int family = 0;
	int rc = open_family(&s, &family);

	if (!rc)
		nl_socket_free(s);
	return rc;
}

static int put_sockets(struct nl_msg *m, const struct nbd_device_config *c)
{
	struct nlattr *list = nla_nest_start(m, NBD_ATTR_SOCKETS);

	if (!list)
		return -1;
	for (unsigned i = 0; i < c->socket_count; i++) {
		struct nlattr *item = nla_nest_start(m, NBD_SOCK_ITEM);

		if (!item ||
		    nla_put_u32(m, NBD_SOCK_FD, (uint32_t)c->sockets[i]))
			return -1;
		(void)nla_nest_end(m, item);
	}
	(void)nla_nest_end(m, list);
	return 0;
}

static int put_config(struct nl_msg *m, const struct nbd_device_config *c,
		      bool connect)
{
	int bad = 0;

	if (c->index >= 0)
		bad |= nla_put_u32(m, NBD_ATTR_INDEX, (uint32_t)c->index);
	if (connect) {
		bad |= nla_put_u64(m, NBD_ATTR_SIZE_BYTES, c->size);
		bad |= nla_put_u64(m, NBD_ATTR_BLOCK_SIZE_BYTES, c->block);
		bad |= nla_put_u64(m, NBD_ATTR_SERVER_FLAGS, c->flags);
	}
	/* 0 would be the kernel's default on some kernels, not "none". */
	if (c->timeout_s)
		bad |= nla_put_u64(m, NBD_ATTR_TIMEOUT, c->timeout_s);
	if (c->dead_s)
		bad |= nla_put_u64(m, NBD_ATTR_DEAD_CONN_TIMEOUT, c->dead_s);
	if (c->identifier)
		bad |= nla_put_string(m, NBD_ATTR_BACKEND_IDENTIFIER,
				      c->identifier);
	return bad ? -1 : put_sockets(m, c);
}

/* The answer to CONNECT names the device. */
static int take_index(struct nl_msg *m, void *arg)
{
	struct nlattr *attrs[NBD_ATTR_MAX + 1];
	int *index = arg;

	if (genlmsg_parse(nlmsg_hdr(m), 0, attrs, NBD_ATTR_MAX, NULL) == 0 &&
	    attrs[NBD_ATTR_INDEX])
		*index = (int)nla_get_u32(attrs[NBD_ATTR_INDEX]);
	return NL_OK;
}

/* Send `m`, which is freed, and take the answers up to the acknowledgement. */
static int talk(struct nl_sock *s, struct nl_msg *m, int *ret_index)
{
	int rc;

	(void)nl_socket_modify_cb(s, NL_CB_VALID, NL_CB_CUSTOM, take_index,
				  ret_index);
	rc = nl_send_auto(s, m);
	nlmsg_free(m);
	if (rc >= 0)
		rc = nl_wait_for_ack(s);
	return rc < 0 ? errno_of(rc) : 0;
}

static struct nl_msg *new_message(int family, int command)
{
	struct nl_msg *m = nlmsg_alloc();

	if (m && !genlmsg_put(m, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0,
			      (uint8_t)command, 0)) {
		nlmsg_free(m);
		return NULL;
	}
	return m;
}

static int send_config(const struct nbd_device_config *c, int command,
		       int *ret_index)
{
	struct nl_sock *s = NULL;
	struct nl_msg *m;
	int family = 0;
	int rc = open_family(&s, &family);

	if (rc)
		return rc;
	m = new_message(family, command);
	if (!m || put_config(m, c, command == NBD_CMD_CONNECT)) {
		nlmsg_free(m);
		nl_socket_free(s);
		return ms_err(-ENOMEM, "nbd: netlink message");
	}
	rc = talk(s, m, ret_index);
	nl_socket_free(s);
	return rc;
}

int nbd_netlink_connect(const struct nbd_device_config *config, int *ret_index)
{
	int index = -1;
	int rc = send_config(config, NBD_CMD_CONNECT, &index);

	if (rc == -EBUSY)
		return ms_err_plain(rc, config->index >= 0
						? "nbd: the device is in use"
						: "nbd: no device is free");
	if (rc == -EOPNOTSUPP)
		return rc;
	if (rc)
		return ms_err(rc, "nbd: attach a device by netlink");
	if (index < 0)
		return ms_err_plain(-EIO, "nbd: the kernel attached a device "
					  "and did not say which");
	*ret_index = index;
	return 0;
}

int nbd_netlink_reconfigure(const struct nbd_device_config *config)
{
	int index = -1;
	int rc = send_config(config, NBD_CMD_RECONFIGURE, &index);

	if (rc && rc != -EOPNOTSUPP)
		return ms_err(rc, "nbd: give /dev/nbd%d new connections",
			      config->index);
	return rc;
}

int nbd_netlink_disconnect(int index)
{
	struct nl_sock *s = NULL;
	struct nl_msg *m;
	int family = 0;
	int unused = -1;
	int rc = open_family(&s, &family);

	if (rc)
		return rc;
	m = new_message(family, NBD_CMD_DISCONNECT);
	if (!m || nla_put_u32(m, NBD_ATTR_INDEX, (uint32_t)index)) {
		nlmsg_free(m);
		nl_socket_free(s);
		return ms_err(-ENOMEM, "nbd: netlink message");
	}
	rc = talk(s, m, &unused);
	nl_socket_free(s);
	return rc ? ms_err(rc, "nbd: detach /dev/nbd%d", index) : 0;
}

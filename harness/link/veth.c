/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts connected to a routing namespace by virtual Ethernet pairs, for the
 * drivers that shape in the kernel or not at all.
 */
#include <stdio.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/netns.h"

struct port {
	struct link *l;
	unsigned end;
	bool offloads;
};

void link_router_device(unsigned end, char buf[16])
{
	(void)snprintf(buf, 16, "to-host%u", end);
}

static int router_side(void *arg)
{
	const struct port *p = arg;
	char peer_ns[64];
	char name[16];
	const char *const argv[] = {"ip",	    "link",  "add",   name,
				    "type",	    "veth",  "peer",  "name",
				    LINK_INTERFACE, "netns", peer_ns, NULL};
	struct netif_config config = {.name = name,
				      .address = link_router_address(p->end),
				      .mtu = p->l->profile.mtu};
	int r;

	link_router_device(p->end, name);
	(void)snprintf(peer_ns, sizeof(peer_ns), "/proc/%d/fd/%d",
		       (int)getpid(), p->l->ns[p->end]);
	r = netns_spawn(argv);
	if (!r && !p->offloads)
		r = netif_offloads_off(name);
	return r ? r : netif_up(&config);
}

static int host_side(void *arg)
{
	const struct port *p = arg;
	struct netif_config config = {.name = LINK_INTERFACE,
				      .address = link_host_address(p->end),
				      .mtu = p->l->profile.mtu};
	int r = 0;

	if (!p->offloads)
		r = netif_offloads_off(LINK_INTERFACE);
	if (!r)
		r = netif_up(&config);
	if (!r)
		r = netif_default_route(LINK_INTERFACE,
					link_router_address(p->end),
					p->l->congestion);
	return r;
}

static int forward_on(void *arg)
{
	(void)arg;
	return netns_sysctl_write("ipv4/ip_forward", "1");
}

int link_veth_open(struct link *l, bool offloads)
{
	int r = netns_new(&l->router_ns);

	if (!r)
		r = netns_run(l->router_ns, forward_on, NULL);
	for (unsigned i = 0; i < l->hosts && !r; i++) {
		struct port p = {.l = l, .end = i, .offloads = offloads};

		r = netns_run(l->router_ns, router_side, &p);
		if (!r)
			r = netns_run(l->ns[i], host_side, &p);
	}
	return r;
}

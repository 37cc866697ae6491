/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel counted at an interface, by rtnetlink. Not from
 * /proc/net/dev: behind a path that names the thread it may show the namespace
 * that the thread was in before (seen with 6.12), and then lacks the interface.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/netns.h"

/* An answer is one message: an interface with all that is said about it. */
#define ANSWER_MAX 16384

struct question {
	struct nlmsghdr head;
	struct ifinfomsg link;
};

static int ask(unsigned index, char *answer, size_t size, size_t *ret_len)
{
	struct question q = {
		.head = {.nlmsg_len = sizeof(q),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		.link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index},
	};
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t n;
	int r = 0;

	if (s < 0)
		return -errno;
	if (send(s, &q, sizeof(q), 0) < 0) {
		r = -errno;
	} else {
		do
			n = recv(s, answer, size, 0);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			r = -errno;
		else
			*ret_len = (size_t)n;
	}
	(void)close(s);
	return r;
}

/* The attribute with 64-bit counters, NULL if there is none. */
static const struct rtattr *find_stats(const struct nlmsghdr *m)
{
	const struct ifinfomsg *link = NLMSG_DATA(m);
	const struct rtattr *a = IFLA_RTA(link);
	int left = (int)IFLA_PAYLOAD(m);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_STATS64 &&
		    RTA_PAYLOAD(a) >=
			    offsetof(struct rtnl_link_stats64, multicast))
			return a;
	return NULL;
}

int netif_read_counters(const char *name, struct netif_counters *ret)
{
	static _Thread_local union {
		struct nlmsghdr head;
		char bytes[ANSWER_MAX];
	} answer;
	struct rtnl_link_stats64 stats;
	const struct rtattr *a = NULL;
	unsigned index = if_nametoindex(name);
	size_t len = 0;
	int r;

	if (!index)
		return ms_err(-errno, "link: interface %s", name);
	r = ask(index, answer.bytes, sizeof(answer.bytes), &len);
	if (!r && NLMSG_OK(&answer.head, len) &&
	    answer.head.nlmsg_type == RTM_NEWLINK)
		a = find_stats(&answer.head);
	if (!r && !a)
		r = -EBADMSG;
	if (r)
		return ms_err(r, "link: counters of %s", name);
	/* The attribute is aligned to four bytes only. */
	memcpy(&stats, RTA_DATA(a),
	       offsetof(struct rtnl_link_stats64, multicast));
	*ret = (struct netif_counters){
		.rx_bytes = stats.rx_bytes,
		.rx_packets = stats.rx_packets,
		.rx_dropped = stats.rx_dropped,
		.tx_bytes = stats.tx_bytes,
		.tx_packets = stats.tx_packets,
		.tx_dropped = stats.tx_dropped,
	};
	return 0;
}

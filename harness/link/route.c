/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one route of a host, by rtnetlink because it carries the congestion
 * control. The sysctl would be the usual place, but outside of the first
 * namespace the kernel takes only algorithms from the machine's allowed list
 * there (often just the default one), and that list is not ours to change.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/netns.h"

struct route_message {
	struct nlmsghdr head;
	struct rtmsg route;
	char attributes[256];
};

static struct rtattr *add(struct route_message *m, unsigned short type,
			  const void *data, size_t bytes)
{
	struct rtattr *a = (void *)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(bytes);
	if (bytes)
		memcpy(RTA_DATA(a), data, bytes);
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) +
			    (unsigned)RTA_ALIGN(a->rta_len);
	return a;
}

/* Send and take the acknowledgement, which carries the errno. */
static int talk(const struct route_message *m)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t n;
	int r = 0;

	if (s < 0)
		return -errno;
	if (send(s, m, m->head.nlmsg_len, 0) < 0) {
		r = -errno;
	} else {
		do {
			n = recv(s, &answer, sizeof(answer), 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			r = -errno;
		else if ((size_t)n < sizeof(answer.head) + sizeof(int) ||
			 answer.head.nlmsg_type != NLMSG_ERROR)
			r = -EPROTO;
		else
			r = answer.error.error;
	}
	(void)close(s);
	return r;
}

int netif_default_route(const char *name, uint32_t gateway,
			const char *congestion)
{
	struct route_message m = {
		.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(m.route)),
			 .nlmsg_type = RTM_NEWROUTE,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK |
					NLM_F_CREATE | NLM_F_EXCL},
		.route = {.rtm_family = AF_INET,
			  .rtm_table = RT_TABLE_MAIN,
			  .rtm_protocol = RTPROT_STATIC,
			  .rtm_scope =
				  gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
			  .rtm_type = RTN_UNICAST},
	};
	unsigned index = if_nametoindex(name);
	uint32_t via = htonl(gateway);
	struct rtattr *metrics;
	int r;

	if (!index)
		return ms_err(-errno, "link: interface %s", name);
	(void)add(&m, RTA_OIF, &index, sizeof(index));
	if (gateway)
		(void)add(&m, RTA_GATEWAY, &via, sizeof(via));
	metrics = add(&m, RTA_METRICS, NULL, 0);
	(void)add(&m, RTAX_CC_ALGO, congestion, strlen(congestion) + 1);
	metrics->rta_len = (unsigned short)((char *)&m + m.head.nlmsg_len -
					    (char *)metrics);
	r = talk(&m);
	if (r == -EINVAL)
		return ms_err(r,
			      "link: this kernel has no congestion control "
			      "\"%s\"",
			      congestion);
	return r ? ms_err(r, "link: default route by %s", name) : 0;
}

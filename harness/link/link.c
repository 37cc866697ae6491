/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: what all drivers have in common. Namespaces, sysctls, the choice of
 * the driver, counters, and the way down.
 */
#include "harness/link/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"
#include "harness/link/netns.h"

#define BUFFER_MIN (UINT64_C(32) << 20)
#define BUFFER_MAX (UINT64_C(1) << 30)

static const char *const driver_names[] = {"auto", "emulated", "netem",
					   "sleep"};

int link_driver_parse(const char *text, enum link_driver *ret)
{
	for (unsigned i = 0; i < 4; i++) {
		if (!strcmp(text, driver_names[i])) {
			*ret = (enum link_driver)i;
			return 0;
		}
	}
	return ms_err(-EINVAL,
		      "link: no driver is called \"%s\" (auto, "
		      "emulated, netem, sleep)",
		      text);
}

const char *link_driver_name(enum link_driver driver)
{
	return driver_names[driver];
}

uint32_t link_host_address(unsigned end)
{
	return 0x0a4d0001 + ((end + 1) << 8); /* 10.77.(end+1).1 */
}

uint32_t link_router_address(unsigned end)
{
	return 0x0a4d00fe + ((end + 1) << 8); /* 10.77.(end+1).254 */
}

static int emulated_supported(void)
{
	int r = access("/dev/net/tun", R_OK | W_OK);

	return r ? ms_err(-EOPNOTSUPP, "link: no /dev/net/tun") : 0;
}

int link_driver_supported(enum link_driver driver)
{
	int fd = -1;
	int r = netns_new(&fd);

	if (r)
		return r;
	(void)close(fd);
	if (driver == LINK_EMULATED)
		return emulated_supported();
	if (driver == LINK_NETEM)
		return link_netem_supported();
	if (driver == LINK_AUTO && link_netem_supported() < 0)
		return emulated_supported();
	return 0;
}

/*
 * Largest TCP buffers: four times what the path holds, because the kernel
 * counts its own overhead of a packet in them. Start values stay.
 */
static uint64_t buffer_max(const struct link_profile *p)
{
	uint64_t holds = link_bdp_bytes(p) + link_queue_bytes(p);

	if (p->rate_mbit <= 0)
		holds = (uint64_t)(p->rtt_ms * 1e-3 * 5e9 / 8);
	holds *= 4;
	if (holds < BUFFER_MIN)
		return BUFFER_MIN;
	return holds > BUFFER_MAX ? BUFFER_MAX : holds;
}

/* The numbers of a sysctl: `count` of them must be there, at most three. */
static int read_numbers(const char *name, int count, uint64_t ret[3])
{
	char text[96];
	int r = netns_sysctl_read(name, text, sizeof(text));

	if (r)
		return r;
	if (netns_parse_numbers(text, 3, ret) != count)
		return ms_err(-EBADMSG, "link: %s does not hold %d numbers",
			      name, count);
	return 0;
}

static int raise_limit(const char *name, uint64_t max)
{
	uint64_t v[3];
	char text[96];
	int r = read_numbers(name, 3, v);

	if (r || v[2] >= max)
		return r;
	(void)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %" PRIu64,
		       v[0], v[1], max);
	return netns_sysctl_write(name, text);
}

static int set_buffers(void *arg)
{
	const struct link *l = arg;
	uint64_t max = buffer_max(&l->profile);
	int r = raise_limit("ipv4/tcp_rmem", max);

	return r ? r : raise_limit("ipv4/tcp_wmem", max);
}

static int set_sysctls(void *arg)
{
	int r = netns_sysctl_write("ipv4/tcp_no_metrics_save", "1");

	if (!r)
		r = netns_sysctl_write("ipv4/tcp_slow_start_after_idle", "0");
	return r ? r : set_buffers(arg);
}

static int make_hosts(struct link *l)
{
	for (unsigned i = 0; i < l->hosts; i++) {
		int r = netns_new(&l->ns[i]);

		if (!r)
			r = netns_run(l->ns[i], set_sysctls, l);
		if (r)
			return r;
	}
	return 0;
}

static int open_driver(struct link *l, const struct link_options *options)
{
	int r;

	if (l->driver == LINK_AUTO)
		l->driver = link_netem_supported() == 0 ? LINK_NETEM
							: LINK_EMULATED;
	if (l->driver == LINK_EMULATED)
		return link_emulated_open(l, options);
	if (l->driver == LINK_SLEEP)
		return link_veth_open(l, true);
	r = link_netem_supported();
	if (!r)
		r = link_veth_open(l, false);
	return r ? r : link_netem_open(l, options);
}

int link_open(const struct link_profile *profile,
	      const struct link_options *options, struct link **ret)
{
	static const struct link_options defaults = {.driver = LINK_AUTO};
	struct link *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return ms_err(-ENOMEM, "link");
	if (!options)
		options = &defaults;
	l->driver = options->driver;
	l->profile = *profile;
	l->hosts = options->hosts ? options->hosts : 2;
	l->seed = options->seed;
	l->router_ns = -1;
	l->emulator = (struct emulator){.pid = -1, .control = -1};
	memset(l->ns, -1, sizeof(l->ns));
	(void)snprintf(l->congestion, sizeof(l->congestion), "%s",
		       options->congestion ? options->congestion : "cubic");
	for (unsigned i = 0; i < LINK_HOSTS_MAX; i++)
		netns_format_address(link_host_address(i), l->addresses[i]);
	if (l->hosts < 2 || l->hosts > LINK_HOSTS_MAX)
		r = ms_err(-EINVAL, "link: %u hosts (2 to %d)", l->hosts,
			   LINK_HOSTS_MAX);
	else
		r = make_hosts(l);
	if (!r)
		r = open_driver(l, options);
	if (r) {
		link_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void link_close(struct link *l)
{
	if (!l)
		return;
	emulator_stop(&l->emulator);
	for (unsigned i = 0; i < LINK_HOSTS_MAX; i++)
		if (l->ns[i] >= 0)
			(void)close(l->ns[i]);
	if (l->router_ns >= 0)
		(void)close(l->router_ns);
	free(l);
}

enum link_driver link_driver(const struct link *l)
{
	return l->driver;
}

const struct link_profile *link_profile(const struct link *l)
{
	return &l->profile;
}

unsigned link_hosts(const struct link *l)
{
	return l->hosts;
}

const char *link_address(const struct link *l, unsigned end)
{
	return end < l->hosts ? l->addresses[end] : NULL;
}

int link_namespace(const struct link *l, unsigned end)
{
	return end < l->hosts ? l->ns[end] : -1;
}

int link_enter(const struct link *l, unsigned end)
{
	if (end >= l->hosts)
		return ms_err(-EINVAL, "link: no host %u", end);
	if (setns(l->ns[end], CLONE_NEWNET) < 0)
		return ms_err(-errno, "link: enter namespace of host %u", end);
	return 0;
}

int link_set(struct link *l, const struct link_profile *profile)
{
	struct link_profile old = l->profile;
	int r = 0;

	if (profile->mtu != old.mtu)
		return ms_err(-EINVAL, "link: the MTU of a live link stays %u",
			      old.mtu);
	l->profile = *profile;
	for (unsigned i = 0; i < l->hosts && !r; i++)
		r = netns_run(l->ns[i], set_buffers, l);
	if (!r && l->driver == LINK_EMULATED)
		r = link_emulated_set(l, profile);
	if (!r && l->driver == LINK_NETEM)
		r = link_netem_set(l, profile, l->cut);
	if (r)
		l->profile = old;
	return r;
}

int link_cut(struct link *l, bool cut)
{
	int r = -EOPNOTSUPP;

	if (l->driver == LINK_EMULATED)
		r = emulator_cut(&l->emulator, cut);
	else if (l->driver == LINK_NETEM)
		r = link_netem_set(l, &l->profile, cut);
	else
		return ms_err(r, "link: the sleep driver cannot cut");
	if (!r)
		l->cut = cut;
	return r;
}

static int read_settings(void *arg)
{
	struct link_settings *s = arg;
	uint64_t v[3] = {0};
	int r = read_numbers("ipv4/tcp_rmem", 3, v);

	s->rmem_max = v[2];
	if (!r)
		r = read_numbers("ipv4/tcp_wmem", 3, v);
	s->wmem_max = v[2];
	if (!r)
		r = read_numbers("ipv4/tcp_no_metrics_save", 1, v);
	s->no_metrics_save = (int)v[0];
	if (!r)
		r = read_numbers("ipv4/tcp_slow_start_after_idle", 1, v);
	s->slow_start_after_idle = (int)v[0];
	return r;
}

/* What a connection to another host really gets: chosen when it starts. */
static int read_congestion(struct link *l, unsigned end, char *buf)
{
	uint32_t to = link_host_address(end == LINK_SOURCE ? LINK_TARGET
							   : LINK_SOURCE);
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(9),
				.sin_addr = {htonl(to)}};
	socklen_t len = LINK_CONGESTION_MAX;
	int fd = -1;
	int r = link_socket(l, end, SOCK_STREAM, &fd);

	if (r)
		return r;
	if ((connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 &&
	     errno != EINPROGRESS) ||
	    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, buf, &len) < 0)
		r = ms_err(-errno, "link: read the congestion control");
	(void)close(fd);
	return r;
}

int link_read_settings(struct link *l, unsigned end, struct link_settings *ret)
{
	struct link_settings s = {.base_rtt_ms = (double)l->base_rtt_ns / 1e6};
	struct emulate_stats stats;
	int r;

	if (end >= l->hosts)
		return ms_err(-EINVAL, "link: no host %u", end);
	r = netns_run(l->ns[end], read_settings, &s);
	if (!r)
		r = read_congestion(l, end, s.congestion);
	s.base_compensated = l->compensate_ns > 0;
	if (!r && l->driver == LINK_EMULATED) {
		r = emulator_stats(&l->emulator, &stats);
		s.realtime = stats.realtime;
	}
	if (!r)
		*ret = s;
	return r;
}

static int read_counters(void *arg)
{
	return netif_read_counters(LINK_INTERFACE, arg);
}

int link_counters(struct link *l, unsigned end, struct link_counters *ret)
{
	struct netif_counters n;
	struct emulate_stats s;
	struct link_counters c;
	int r;

	if (end >= l->hosts)
		return ms_err(-EINVAL, "link: no host %u", end);
	r = netns_run(l->ns[end], read_counters, &n);
	if (r)
		return r;
	c = (struct link_counters){
		.tx_bytes = n.tx_bytes,
		.tx_packets = n.tx_packets,
		.rx_bytes = n.rx_bytes,
		.rx_packets = n.rx_packets,
		.if_tx_bytes = n.tx_bytes,
		.if_tx_packets = n.tx_packets,
		.if_tx_dropped = n.tx_dropped,
		.if_rx_bytes = n.rx_bytes,
		.if_rx_packets = n.rx_packets,
		.if_rx_dropped = n.rx_dropped,
	};
	if (l->driver == LINK_EMULATED) {
		r = emulator_stats(&l->emulator, &s);
		if (r)
			return r;
		c.tx_bytes = s.from_bytes[end];
		c.tx_packets = s.from_segments[end];
		c.rx_bytes = s.lines[end].out_bytes;
		c.rx_packets = s.lines[end].out_segments;
	}
	*ret = c;
	return 0;
}

pid_t link_emulator_pid(const struct link *l)
{
	return l->emulator.pid;
}

int link_emulator_stats(struct link *l, struct emulate_stats *ret)
{
	if (l->driver != LINK_EMULATED)
		return ms_err(-EOPNOTSUPP,
			      "link: the %s driver has no "
			      "emulator",
			      link_driver_name(l->driver));
	return emulator_stats(&l->emulator, ret);
}

int link_healthy(struct link *l)
{
	struct link_counters c;
	struct emulate_stats s;
	int r;

	if (l->driver != LINK_EMULATED)
		return 0;
	r = emulator_stats(&l->emulator, &s);
	for (unsigned i = 0; i < l->hosts && !r; i++) {
		r = link_counters(l, i, &c);
		if (!r && c.if_tx_dropped)
			r = ms_err(-EIO,
				   "link: host %u lost %" PRIu64
				   " packets before the emulator read "
				   "them: beyond its packet rate",
				   i, c.if_tx_dropped);
		if (!r && s.lines[i].memory_drops)
			r = ms_err(-EIO,
				   "link: %" PRIu64 " segments to host "
				   "%u did not fit in the emulator's "
				   "memory",
				   s.lines[i].memory_drops, i);
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces without names: a namespace lives as long as a descriptor
 * of it is open or a process is in it, so nothing is left when the owner ends,
 * however it ends. Plus the few things to be done inside one: interfaces,
 * routes, sysctls, counters. The network in them is IPv4 only.
 *
 * Functions called "in the namespace" act on the calling thread's namespace:
 * call them from netns_run.
 */
#ifndef MS_HARNESS_LINK_NETNS_H
#define MS_HARNESS_LINK_NETNS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A new namespace with its loopback up and IPv6 off. The calling thread is
 * outside of it again on return. Returns 0 or a negative errno with its
 * sentence; the caller closes the descriptor.
 */
int netns_new(int *ret_fd) __attribute__((warn_unused_result));

/*
 * Call fn(arg) with the calling thread inside the namespace, and come back.
 * Returns what `fn` returns, or a negative errno. Ends the process if the way
 * back fails: everything after it would run in the wrong network.
 */
int netns_run(int fd, int (*fn)(void *arg), void *arg)
	__attribute__((warn_unused_result));

/* In the namespace: address/24, MTU and queue length of an interface, up. */
struct netif_config {
	const char *name;
	uint32_t address; /* host order */
	unsigned mtu;
	unsigned queue_packets; /* 0: leave */
};
int netif_up(const struct netif_config *config)
	__attribute__((warn_unused_result));

/*
 * In the namespace: all that is not local goes there (gateway 0: without
 * one), and TCP connections over it use the congestion control `congestion`
 * unless a program chooses its own.
 */
int netif_default_route(const char *name, uint32_t gateway,
			const char *congestion)
	__attribute__((warn_unused_result));

/* In the namespace: what the kernel counted at an interface. */
struct netif_counters {
	uint64_t rx_bytes;
	uint64_t rx_packets;
	uint64_t rx_dropped;
	uint64_t tx_bytes;
	uint64_t tx_packets;
	uint64_t tx_dropped;
};
int netif_read_counters(const char *name, struct netif_counters *ret)
	__attribute__((warn_unused_result));

/*
 * In the namespace: no segmentation or receive offload and no checksum
 * offload at the interface, so that a qdisc sees what a wire would.
 */
int netif_offloads_off(const char *name) __attribute__((warn_unused_result));

/* In the namespace: /proc/sys/net/`name`; reading strips the line end. */
int netns_sysctl_write(const char *name, const char *value)
	__attribute__((warn_unused_result));
int netns_sysctl_read(const char *name, char *buf, size_t size)
	__attribute__((warn_unused_result));

/*
 * Split `text` (which is written to) into numbers, at most `max`. Returns how
 * many there are, or -EBADMSG if one of the words is none.
 */
int netns_parse_numbers(char *text, int max, uint64_t ret[]);

/*
 * Run a program (in the calling thread's namespace) and wait. Returns 0, or a
 * negative errno with the program's own last line of stderr.
 */
int netns_spawn(const char *const argv[]) __attribute__((warn_unused_result));

/* An IPv4 address in host order as text. */
void netns_format_address(uint32_t address, char buf[16]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a link share; not for others. */
#ifndef MS_HARNESS_LINK_LINK_INTERNAL_H
#define MS_HARNESS_LINK_LINK_INTERNAL_H

#include "approaches/common/util/clock.h"
#include "harness/link/link.h"

struct link {
	enum link_driver driver;
	struct link_profile profile;
	char congestion[LINK_CONGESTION_MAX];
	unsigned hosts;
	uint64_t seed;
	bool cut;
	int ns[LINK_HOSTS_MAX]; /* -1: not made */
	int router_ns;		/* netem and sleep; -1: the emulator routes */
	struct emulator emulator;
	uint64_t base_rtt_ns;	/* of the driver with no delay asked for */
	uint64_t compensate_ns; /* taken off each direction's delay */
	char addresses[LINK_HOSTS_MAX][16];
};

/* Address of a host and of the router's end towards it, host order. */
uint32_t link_host_address(unsigned end);
uint32_t link_router_address(unsigned end);

/*
 * measure.c: what the path costs besides the delay asked for, at an RTT of
 * LINK_CALIBRATE_RTT_NS without a rate: wake-ups and the kernel's work up to
 * the arrival. Half of it is to be taken off each direction's delay.
 */
#define LINK_CALIBRATE_RTT_NS (2 * MS_NS_PER_MS)
int link_calibrate(struct link *l) __attribute__((warn_unused_result));

/* emulated.c: devices and process; calibration and ceiling once it is up. */
int link_emulated_open(struct link *l, const struct link_options *options)
	__attribute__((warn_unused_result));
int link_emulated_set(struct link *l, const struct link_profile *profile)
	__attribute__((warn_unused_result));

/* veth.c: router namespace and one veth pair a host; offloads as asked. */
int link_veth_open(struct link *l, bool offloads)
	__attribute__((warn_unused_result));

/* netem.c: one qdisc on each of the router's devices; calibrated first. */
int link_netem_supported(void) __attribute__((warn_unused_result));
int link_netem_open(struct link *l, const struct link_options *options)
	__attribute__((warn_unused_result));
int link_netem_set(struct link *l, const struct link_profile *profile, bool cut)
	__attribute__((warn_unused_result));

/* The tc arguments behind "netem" for a profile, for link_netem_set. */
#define LINK_NETEM_ARGS 16
struct link_netem_args {
	const char *argv[LINK_NETEM_ARGS]; /* NULL-terminated */
	char text[6][48];
};
void link_netem_format(const struct link_profile *profile, bool cut,
		       struct link_netem_args *ret);

/* Name of the router's device towards host `end`. */
void link_router_device(unsigned end, char buf[16]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated link's engine room: TUN devices, and the process that forwards
 * between them. The process is a star: each host has one device, and what
 * goes to a host passes the line (shaper) of that host.
 *
 *	source ns            emulator process             target ns
 *	 link0 (TUN) ──read──▶ line of target ──write──▶ link0 (TUN)
 *	 link0 (TUN) ◀─write── line of source ◀──read─── link0 (TUN)
 *
 * One thread, ppoll and a short final spin. It ends when its control socket
 * is closed or its owner's process is gone, however that ended.
 */
#ifndef MS_HARNESS_LINK_EMULATE_H
#define MS_HARNESS_LINK_EMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness/link/line.h"
#include "harness/link/shaper.h"

#define EMULATE_HOSTS_MAX 16

/* What the process says about itself. */
struct emulate_stats {
	uint64_t cpu_ns;  /* CPU time it has used so far */
	uint64_t spin_ns; /* of that, waiting for a due time */
	uint64_t wakes;	  /* returns from ppoll */
	uint64_t
		spin_margin_ns; /* measured at start: how late timers wake it */
	uint64_t unroutable;	/* packets to no host of this link, not IPv4 */
	uint64_t write_errors;	/* a device refused a packet */
	int realtime; /* 0: SCHED_FIFO; else why not, negative errno */
	uint64_t from_segments[EMULATE_HOSTS_MAX];  /* sent by each host */
	uint64_t from_bytes[EMULATE_HOSTS_MAX];	    /* frame headers included */
	struct line_stats lines[EMULATE_HOSTS_MAX]; /* towards each host */
};

struct emulate_config {
	unsigned hosts;
	int tun_fds[EMULATE_HOSTS_MAX];
	uint32_t addresses[EMULATE_HOSTS_MAX]; /* host order */
	uint64_t seed;
	size_t memory_bytes;	     /* packets in flight, each direction */
	struct shaper_params params; /* each direction */
};

struct emulator {
	pid_t pid;
	int control;
};

/*
 * In a namespace: make the TUN device `name` with offloads on. The device
 * lives as long as the descriptor.
 */
int tun_open(const char *name, int *ret_fd) __attribute__((warn_unused_result));

/*
 * Fork the emulator. The caller keeps its copies of the TUN descriptors or
 * closes them. It is a child of the caller: keep its pid from any wait for
 * other children. Returns 0 once it forwards.
 */
int emulator_start(const struct emulate_config *config, struct emulator *ret)
	__attribute__((warn_unused_result));

/* New parameters for all lines, for packets that arrive from now on. */
int emulator_set(struct emulator *e, const struct shaper_params *params,
		 size_t memory_bytes) __attribute__((warn_unused_result));

/* Drop everything, in flight and arriving, until restored. */
int emulator_cut(struct emulator *e, bool cut)
	__attribute__((warn_unused_result));

int emulator_stats(struct emulator *e, struct emulate_stats *ret)
	__attribute__((warn_unused_result));

/* End it and wait for it. */
void emulator_stop(struct emulator *e);

/* The child's side: forward until told to end. Used by emulator_start. */
struct emulate_request {
	enum {
		EMULATE_SET = 1,
		EMULATE_CUT,
		EMULATE_STATS,
	} what;
	bool cut;
	struct shaper_params params;
	size_t memory_bytes;
};
struct emulate_reply {
	int error;
	struct emulate_stats stats;
};
int emulate_main(const struct emulate_config *config, int control, int owner)
	__attribute__((warn_unused_result));

#endif

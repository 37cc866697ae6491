/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated network links. A link is a set of network namespaces (the hosts)
 * and a router between them that delays, limits, loses and queues packets as
 * its profile says, half of the round-trip time in each direction, always on
 * the router's egress.
 *
 *	 source ns                router                  target ns
 *	+----------+   +---------------------------+   +----------+
 *	|   link0  |──▶|──── egress to target ────▶|──▶|  link0   |
 *	| 10.77.1.1|◀──|◀─── egress to source ─────|◀──| 10.77.2.1|
 *	+----------+   +---------------------------+   +----------+
 *
 * The namespaces have no names; they go when the last descriptor and process
 * in them is gone, so a link vanishes with its owner even on SIGKILL.
 *
 * A link belongs to one thread at a time. All functions return 0 or a negative
 * errno with a sentence (ms_err_text). Needs root (CAP_NET_ADMIN and
 * CAP_SYS_ADMIN); the emulated driver needs /dev/net/tun, the others iproute2.
 */
#ifndef MS_HARNESS_LINK_LINK_H
#define MS_HARNESS_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness/link/emulate.h"
#include "harness/link/profile.h"

struct link;

enum link_driver {
	LINK_AUTO,     /* netem if this kernel has it, else emulated */
	LINK_EMULATED, /* a process of ours forwards between TUN devices */
	LINK_NETEM,    /* the kernel's sch_netem on the router's veth devices */
	/*
	 * Nothing is shaped here: a plain path. The caller injects the RTT
	 * elsewhere (a delay stage), as the thesis did; for reproduction only.
	 */
	LINK_SLEEP,
};

/* Ends are hosts 0, 1, 2 …; these are the first two. */
enum link_end {
	LINK_SOURCE = 0,
	LINK_TARGET = 1,
};

#define LINK_HOSTS_MAX	    EMULATE_HOSTS_MAX
#define LINK_CONGESTION_MAX 16

/* Zeroed options are the defaults. */
struct link_options {
	enum link_driver driver;
	const char *congestion; /* NULL: cubic */
	unsigned hosts;		/* 0: 2 */
	uint64_t seed;		/* of loss and jitter (emulated driver) */
	/*
	 * Highest rate in Mbit/s that is accepted unseen by the emulated
	 * driver; 0: LINK_RATE_TRUSTED_MBIT. A faster one is accepted only if
	 * a short unshaped transfer, made at once, carries twice as much.
	 */
	double rate_trusted_mbit;
	bool skip_calibration; /* do not compensate the driver's own latency */
};

#define LINK_RATE_TRUSTED_MBIT 1000.0

/* "auto", "emulated", "netem", "sleep". -EINVAL with a sentence otherwise. */
int link_driver_parse(const char *text, enum link_driver *ret)
	__attribute__((warn_unused_result, nonnull));
const char *link_driver_name(enum link_driver driver);

/*
 * Whether `driver` works here, tried and not guessed. 0, or a negative errno
 * whose sentence is the reason.
 */
int link_driver_supported(enum link_driver driver)
	__attribute__((warn_unused_result));

/*
 * Make a link. Takes some hundred milliseconds: the emulated driver measures
 * its own latency and takes it off the delay. It forks (without exec) in the
 * emulated driver: call it before large memory is mapped, or mark that memory
 * MADV_DONTFORK; and do not wait for any child of the process (waitpid -1).
 * -EOPNOTSUPP: the driver cannot run here; -EINVAL: the link asked for is
 * beyond what the driver carries here; the sentence says why.
 */
int link_open(const struct link_profile *profile,
	      const struct link_options *options, struct link **ret)
	__attribute__((warn_unused_result, nonnull(1, 3)));

/* Everything down, waited for. NULL is legal. */
void link_close(struct link *l);

/* The driver in use, never LINK_AUTO. */
enum link_driver link_driver(const struct link *l);
const struct link_profile *link_profile(const struct link *l);
unsigned link_hosts(const struct link *l);

/*
 * The address of an end: the same in every link and driver, 10.77.(end+1).1,
 * on the interface LINK_INTERFACE. The string lives as long as the link.
 */
#define LINK_INTERFACE "link0"
const char *link_address(const struct link *l, unsigned end);

/*
 * Move the calling thread into the end's network namespace: for a child
 * between fork and exec. Async-signal-safe on success. /sys still shows the
 * devices of the old namespace.
 */
int link_enter(const struct link *l, unsigned end)
	__attribute__((warn_unused_result));

/* Descriptor of the end's namespace, owned by the link. */
int link_namespace(const struct link *l, unsigned end);

/*
 * Other parameters from now on (packets on their way keep their times). The
 * MTU cannot change (-EINVAL). TCP buffer limits are raised when needed.
 */
int link_set(struct link *l, const struct link_profile *profile)
	__attribute__((warn_unused_result));

/*
 * Cut: all packets are lost, those on their way too (netem: those that
 * arrive from now on), until link_cut(l, false).
 */
int link_cut(struct link *l, bool cut) __attribute__((warn_unused_result));

/* What the namespaces were set to, read back from them. */
struct link_settings {
	char congestion[LINK_CONGESTION_MAX];
	uint64_t rmem_max;
	uint64_t wmem_max;
	int no_metrics_save;	   /* 1 */
	int slow_start_after_idle; /* 0 */
	int base_compensated;
	double base_rtt_ms; /* the driver's own RTT, compensated above it */
	int realtime;	    /* emulated: 0, or why SCHED_FIFO was refused */
};
int link_read_settings(struct link *l, unsigned end, struct link_settings *ret)
	__attribute__((warn_unused_result));

/*
 * What one end put on and took from the wire: MTU-sized segments with
 * LINK_FRAME_BYTES each, since link_open. Interface counters (`if_`) are the
 * kernel's at LINK_INTERFACE: with the emulated and the sleep driver they
 * count super-packets as one and so miss the headers of their segments.
 * tx of one end minus rx of the others is what was lost or is on its way.
 */
struct link_counters {
	uint64_t tx_bytes;
	uint64_t tx_packets;
	uint64_t rx_bytes;
	uint64_t rx_packets;
	uint64_t if_tx_bytes;
	uint64_t if_tx_packets;
	uint64_t if_tx_dropped;
	uint64_t if_rx_bytes;
	uint64_t if_rx_packets;
	uint64_t if_rx_dropped;
};
int link_counters(struct link *l, unsigned end, struct link_counters *ret)
	__attribute__((warn_unused_result));

/*
 * The emulator process, to account its CPU time as a row of its own (TCP
 * receive processing of both ends runs in it, as softirq work does on a real
 * machine); -1 with the other drivers.
 */
pid_t link_emulator_pid(const struct link *l);

/* -EOPNOTSUPP with the other drivers. */
int link_emulator_stats(struct link *l, struct emulate_stats *ret)
	__attribute__((warn_unused_result));

/*
 * 0 if the emulated driver kept its promise since link_open: no packet was
 * dropped for want of memory or in a device's queue. Else -EIO with a
 * sentence: what was measured meanwhile must not be recorded.
 */
int link_healthy(struct link *l) __attribute__((warn_unused_result));

#endif

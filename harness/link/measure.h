/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a link back: what it does, measured through its namespaces by UDP
 * probes and bulk transfers, and the comparison with what was asked. Works
 * with every driver.
 */
#ifndef MS_HARNESS_LINK_MEASURE_H
#define MS_HARNESS_LINK_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#include "harness/link/link.h"

/* IPv4 packet size of an RTT or loss probe. */
#define LINK_PROBE_BYTES 52

/* What was measured; what was not is 0 (a count of 0 says so). */
struct link_reading {
	unsigned rtt_n; /* answered probes */
	unsigned rtt_lost;
	double rtt_span_s; /* from the first probe to the last */
	double rtt_ms_min;
	double rtt_ms_p05;
	double rtt_ms_p50;
	double rtt_ms_p95;
	double rtt_ms_p99;
	double rtt_ms_max;
	double base_rtt_ms; /* below this no RTT can be had of the driver */
	/* by the end that sends; line rate, frame headers included */
	double rate_mbit[2];
	double goodput_mbit[2]; /* payload, as measured */
	int rate_by_udp;	/* a lossy link: TCP would not fill it */
	uint64_t loss_sent[2];
	uint64_t loss_lost[2];
};

/* What to measure; 0 leaves it out. */
struct link_measurement {
	unsigned rtt_probes;	  /* 100 take some 0.2 s + RTT */
	unsigned rate_directions; /* 1: from the source; 2: back as well */
	unsigned loss_packets;	  /* each direction */
};

int link_measure(struct link *l, const struct link_measurement *what,
		 struct link_reading *ret) __attribute__((warn_unused_result));

/* How far a reading may be off. Zero means the default in the comment. */
struct link_tolerance {
	double rtt_ms;		/* 0.1, of the median */
	double rate_pct;	/* 1 */
	double loss_confidence; /* 0.999: binomial interval of the losses */
};

/*
 * Compare. Returns 0, or -ERANGE with a sentence that names what is off. The
 * median RTT is compared with what was asked plus the time the probe occupies
 * the wire; a driver's own RTT (base_rtt_ms) cannot be gone below.
 */
int link_check(const struct link_profile *profile,
	       const struct link_reading *reading,
	       const struct link_tolerance *tolerance)
	__attribute__((warn_unused_result, nonnull(1, 2)));

/* The RTT that a probe should see at the median. */
double link_expected_rtt_ms(const struct link_profile *profile,
			    const struct link_reading *reading);

/*
 * Two-sided binomial test: the smaller tail probability of `lost` or a more
 * extreme count among `sent` with probability `p`, doubled, at most 1.
 */
double link_binomial_p(uint64_t sent, uint64_t lost, double p);

/*
 * The round-trip times of up to `probes` probes in milliseconds, in the order
 * in which they came back, into `rtt_ms` (room for `probes`).
 */
struct link_probes {
	unsigned sent;
	unsigned back;
	double span_s; /* from the first to the last */
};
int link_probe_times(struct link *l, unsigned probes, double *rtt_ms,
		     struct link_probes *ret)
	__attribute__((warn_unused_result));

/* The parts of link_measure. */
int link_probe_rtt(struct link *l, unsigned probes, struct link_reading *ret)
	__attribute__((warn_unused_result));
int link_probe_loss(struct link *l, unsigned from, unsigned packets,
		    struct link_reading *ret)
	__attribute__((warn_unused_result));

/* A bulk TCP transfer from one end to the other of the first two. */
struct link_bulk {
	unsigned from; /* LINK_SOURCE or LINK_TARGET */
	unsigned connections;
	double warm_s;	 /* not counted */
	double window_s; /* counted, in five parts */
};
struct link_bulk_result {
	double goodput_mbit; /* median of the five parts */
	double full_s;	     /* until 50 ms carried 95 % of that */
	double mean_mbit;    /* of the window */
	uint64_t bytes;	     /* in all */
};
int link_bulk(struct link *l, const struct link_bulk *how,
	      struct link_bulk_result *ret) __attribute__((warn_unused_result));

/* Line rate by a flood of full UDP packets somewhat above the rate. */
int link_flood(struct link *l, unsigned from, double *ret_rate_mbit)
	__attribute__((warn_unused_result));

/* Two UDP sockets, of the end that sends and of the other, connected. */
int link_udp_pair(struct link *l, unsigned from, int *ret_near, int *ret_far)
	__attribute__((warn_unused_result));

/* A socket made in an end's namespace; usable from everywhere. */
int link_socket(struct link *l, unsigned end, int type, int *ret_fd)
	__attribute__((warn_unused_result));

#endif

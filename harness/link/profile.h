/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a link is asked to be: round-trip time, rate, jitter, loss, queue.
 * Pure values and text; nothing here touches the system.
 *
 * Text:  NAME[,KEY=VALUE…]  or  KEY=VALUE[,KEY=VALUE…]
 *	wan-20
 *	wan-20,loss=0.1%
 *	rtt=20ms,rate=100M,jitter=2ms,loss=0.1%,queue=1M,mtu=1500
 * Bits a second take decimal k M G (100M is 10^8 bit/s); queue bytes take
 * K M G as powers of 1024; a time without a unit is milliseconds.
 */
#ifndef MS_HARNESS_LINK_PROFILE_H
#define MS_HARNESS_LINK_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#define LINK_NAME_MAX 64

/*
 * Bytes that a packet takes on the wire besides the IP packet itself: the
 * 14-byte Ethernet header. netem, tbf and the interface counters of Ethernet
 * devices count so too; preamble, checksum and gap (24 bytes more on a real
 * wire) are not counted by any driver.
 */
#define LINK_FRAME_BYTES 14

/* IPv4 header, TCP header, TCP timestamps: what a full segment carries. */
#define LINK_TCP_HEADERS 52

struct link_profile {
	char name[LINK_NAME_MAX]; /* canonical text; "custom" without a name */
	double rtt_ms;		  /* half in each direction */
	double rate_mbit;	  /* each direction; 0: unlimited */
	/*
	 * The round-trip time varies by at most this, up or down; each
	 * direction by half of it, uniformly. Order is kept.
	 */
	double jitter_ms;
	double loss_pct;      /* of the MTU segments, each direction */
	uint64_t queue_bytes; /* in front of the wire; 0: link_queue_bytes() */
	unsigned mtu;
};

/*
 * Parse `text` into `ret`. Returns 0, or -EINVAL with a sentence that names
 * the part that is wrong; `ret` is then untouched.
 */
int link_profile_parse(const char *text, struct link_profile *ret)
	__attribute__((warn_unused_result, nonnull));

/* The profile in full as text that link_profile_parse accepts. */
void link_profile_format(const struct link_profile *profile, char *buf,
			 size_t size) __attribute__((nonnull));

/*
 * The named profiles in the order of their table; NULL behind the last.
 * `ret_summary` may be NULL.
 */
const struct link_profile *link_profile_list(size_t i,
					     const char **ret_summary);

/*
 * TCP payload at full segments, in Mbit/s: rate * (mtu - 52) / (mtu + 14).
 * 0 if the rate is unlimited.
 */
double link_goodput_mbit(const struct link_profile *profile)
	__attribute__((nonnull));

/*
 * Bytes the queue in front of the wire holds: as asked, or one bandwidth-delay
 * product, but not less than 5 ms at the rate (a switch has that much) and
 * 128 KiB (two super-packets). 0 if the rate is unlimited: no queue then.
 */
uint64_t link_queue_bytes(const struct link_profile *profile)
	__attribute__((nonnull));

/* Bytes of one bandwidth-delay product; 0 if the rate is unlimited. */
uint64_t link_bdp_bytes(const struct link_profile *profile)
	__attribute__((nonnull));

/* Milliseconds that `ip_bytes` and the frame header take at the rate. */
double link_serialize_ms(const struct link_profile *profile, unsigned ip_bytes)
	__attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Super-packets and their segments. A TUN device with offloads hands over up
 * to 64 KiB of TCP payload in one packet; on a wire that would be segments of
 * one MTU. This module knows the segments without cutting them, and rebuilds
 * the headers for any contiguous run of them, so that a run is delivered as
 * one packet again and the payload is never copied. Pure: bytes in, bytes out.
 *
 * A packet is what a TUN device with IFF_VNET_HDR reads and writes: a
 * virtio_net_hdr of 10 bytes, then an IPv4 packet.
 */
#ifndef MS_HARNESS_LINK_SEGMENT_H
#define MS_HARNESS_LINK_SEGMENT_H

#include <stdint.h>
#include <sys/uio.h>

#define SEGMENT_VNET_BYTES 10
/* virtio_net_hdr, the longest IPv4 header, the longest TCP header */
#define SEGMENT_HEADER_MAX (SEGMENT_VNET_BYTES + 60 + 60)
#define SEGMENT_PACKET_MAX (SEGMENT_VNET_BYTES + 65536)

/* What is known about a packet; offsets count from the IPv4 header. */
struct segment_packet {
	uint32_t ip_bytes;     /* the whole packet without virtio_net_hdr */
	uint32_t destination;  /* IPv4, host order */
	uint16_t header_bytes; /* IPv4 and TCP header; what each segment has */
	uint16_t gso_bytes;    /* payload of a segment; 0: not a super-packet */
	uint16_t segments;     /* at least 1 */
};

/* A run of segments, ready for writev: headers here, payload in place. */
struct segment_run {
	uint8_t header[SEGMENT_HEADER_MAX];
	struct iovec iov[2];
	int iov_count;
};

/*
 * Look at the `bytes` at `packet`. Returns 0; -EPROTONOSUPPORT for what is not
 * IPv4; -EBADMSG if lengths contradict each other.
 */
int segment_parse(const uint8_t *packet, uint32_t bytes,
		  struct segment_packet *ret);

/* Bytes of segment `i` as an IPv4 packet of its own. */
uint32_t segment_ip_bytes(const struct segment_packet *p, unsigned i);

/*
 * Make the packet of the segments [first, first + count). `packet` is what
 * `p` was parsed from and must stay while `ret` is used.
 */
void segment_run(const uint8_t *packet, const struct segment_packet *p,
		 unsigned first, unsigned count, struct segment_run *ret);

/* One's complement sum of `bytes` at `data`, added to `sum`; not inverted. */
uint32_t segment_sum(const uint8_t *data, uint32_t bytes, uint32_t sum);

/* The 16-bit fold of such a sum. */
uint16_t segment_fold(uint32_t sum);

#endif

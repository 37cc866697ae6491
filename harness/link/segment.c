/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments of super-packets, as the kernel would cut them: the identification
 * counts up, the sequence number goes on, FIN and PSH belong to the last
 * segment and CWR to the first. The TCP checksum stays partial (only the
 * pseudo header is summed), which is what the receiving TUN device expects
 * with VIRTIO_NET_HDR_F_NEEDS_CSUM.
 */
#include "harness/link/segment.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

#define IPV4_MIN      20
#define IPV4_LENGTH   2
#define IPV4_ID	      4
#define IPV4_PROTOCOL 9
#define IPV4_CHECKSUM 10
#define IPV4_SOURCE   12
#define IPV4_DEST     16
#define TCP_MIN	      20
#define TCP_SEQ	      4
#define TCP_OFFSET    12
#define TCP_FLAGS     13
#define TCP_CHECKSUM  16
#define TCP_FLAG_FIN  0x01
#define TCP_FLAG_PSH  0x08
#define TCP_FLAG_CWR  0x80

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

uint32_t segment_sum(const uint8_t *data, uint32_t bytes, uint32_t sum)
{
	uint64_t wide = sum;

	for (; bytes > 1; bytes -= 2, data += 2)
		wide += get16(data);
	if (bytes)
		wide += (uint32_t)data[0] << 8;
	while (wide >> 32)
		wide = (wide & UINT32_MAX) + (wide >> 32);
	return (uint32_t)wide;
}

uint16_t segment_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static int parse_gso(const struct virtio_net_hdr *v, const uint8_t *ip,
		     uint32_t ip_header, struct segment_packet *p)
{
	uint32_t gso = le16toh(v->gso_size);
	uint32_t tcp_header;
	uint32_t payload;

	if ((v->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_TCPV4)
		return -EPROTONOSUPPORT;
	if (ip[IPV4_PROTOCOL] != IPPROTO_TCP || !gso ||
	    p->ip_bytes < ip_header + TCP_MIN)
		return -EBADMSG;
	tcp_header = (uint32_t)(ip[ip_header + TCP_OFFSET] >> 4) * 4;
	if (tcp_header < TCP_MIN || p->ip_bytes <= ip_header + tcp_header)
		return -EBADMSG;
	p->header_bytes = (uint16_t)(ip_header + tcp_header);
	payload = p->ip_bytes - p->header_bytes;
	p->segments = (uint16_t)((payload + gso - 1) / gso);
	p->gso_bytes = p->segments > 1 ? (uint16_t)gso : 0;
	return 0;
}

int segment_parse(const uint8_t *packet, uint32_t bytes,
		  struct segment_packet *ret)
{
	const uint8_t *ip = packet + SEGMENT_VNET_BYTES;
	struct segment_packet p = {.segments = 1};
	struct virtio_net_hdr v;
	uint32_t header;
	int r;

	if (bytes < SEGMENT_VNET_BYTES + IPV4_MIN)
		return -EBADMSG;
	memcpy(&v, packet, SEGMENT_VNET_BYTES);
	if (ip[0] >> 4 != 4)
		return -EPROTONOSUPPORT;
	header = (uint32_t)(ip[0] & 15) * 4;
	p.ip_bytes = bytes - SEGMENT_VNET_BYTES;
	if (header < IPV4_MIN || header > p.ip_bytes ||
	    get16(ip + IPV4_LENGTH) != p.ip_bytes)
		return -EBADMSG;
	p.destination = get32(ip + IPV4_DEST);
	p.header_bytes = (uint16_t)header;
	if (v.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		r = parse_gso(&v, ip, header, &p);
		if (r)
			return r;
	}
	*ret = p;
	return 0;
}

uint32_t segment_ip_bytes(const struct segment_packet *p, unsigned i)
{
	uint32_t before;

	if (p->segments == 1)
		return p->ip_bytes;
	if (i + 1 < p->segments)
		return (uint32_t)p->header_bytes + p->gso_bytes;
	before = i * (uint32_t)p->gso_bytes;
	return p->ip_bytes - before;
}

static void fix_vnet(uint8_t *packet, const struct segment_packet *p,
		     unsigned first, unsigned count)
{
	struct virtio_net_hdr v;

	memcpy(&v, packet, SEGMENT_VNET_BYTES);
	v.hdr_len = htole16(p->header_bytes);
	if (first > 0)
		v.gso_type &= (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	if (count == 1) {
		v.gso_type = VIRTIO_NET_HDR_GSO_NONE;
		v.gso_size = 0;
	}
	memcpy(packet, &v, SEGMENT_VNET_BYTES);
}

static void fix_ip(uint8_t *ip, uint32_t header, uint32_t ip_bytes,
		   unsigned first)
{
	put16(ip + IPV4_LENGTH, (uint16_t)ip_bytes);
	put16(ip + IPV4_ID, (uint16_t)(get16(ip + IPV4_ID) + first));
	put16(ip + IPV4_CHECKSUM, 0);
	put16(ip + IPV4_CHECKSUM,
	      (uint16_t)~segment_fold(segment_sum(ip, header, 0)));
}

static void fix_tcp(const uint8_t *ip, uint8_t *tcp, uint32_t tcp_bytes,
		    uint32_t skipped, int is_last)
{
	uint32_t sum = IPPROTO_TCP + tcp_bytes;

	put32(tcp + TCP_SEQ, get32(tcp + TCP_SEQ) + skipped);
	if (!is_last)
		tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
	if (skipped)
		tcp[TCP_FLAGS] &= (uint8_t)~TCP_FLAG_CWR;
	sum = segment_sum(ip + IPV4_SOURCE, 8, sum);
	put16(tcp + TCP_CHECKSUM, segment_fold(sum));
}

void segment_run(const uint8_t *packet, const struct segment_packet *p,
		 unsigned first, unsigned count, struct segment_run *ret)
{
	uint32_t skipped = first * (uint32_t)p->gso_bytes;
	uint32_t payload = 0;
	uint32_t ip_header;
	uint8_t *ip = ret->header + SEGMENT_VNET_BYTES;
	size_t headers = SEGMENT_VNET_BYTES + (size_t)p->header_bytes;

	if (count == p->segments) {
		ret->iov[0].iov_base = (void *)packet;
		ret->iov[0].iov_len = SEGMENT_VNET_BYTES + (size_t)p->ip_bytes;
		ret->iov_count = 1;
		return;
	}
	for (unsigned i = first; i < first + count; i++)
		payload += segment_ip_bytes(p, i) - p->header_bytes;
	memcpy(ret->header, packet, headers);
	ip_header = (uint32_t)(ip[0] & 15) * 4;
	fix_vnet(ret->header, p, first, count);
	fix_ip(ip, ip_header, p->header_bytes + payload, first);
	fix_tcp(ip, ip + ip_header, p->header_bytes - ip_header + payload,
		skipped, first + count == p->segments);
	ret->iov[0].iov_base = ret->header;
	ret->iov[0].iov_len = headers;
	ret->iov[1].iov_base = (void *)(packet + headers + skipped);
	ret->iov[1].iov_len = payload;
	ret->iov_count = 2;
}

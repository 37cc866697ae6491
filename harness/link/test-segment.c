/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of segments against a cutter of our own: for every split of a
 * super-packet, cutting the run must give the bytes that cutting the whole
 * gives, with checksums computed over everything.
 */
#include "harness/link/segment.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>

#include "tests/check.h"

#define FIN	     0x01
#define PSH	     0x08
#define ACK	     0x10
#define CWR	     0x80
#define SEGMENTS_MAX 64

struct sample {
	uint32_t payload;
	uint16_t gso;
	unsigned ip_options; /* bytes */
	unsigned tcp_options;
	uint8_t flags;
	uint32_t seq;
	uint16_t id;
};

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* A plain checksum, written on its own: byte pairs into 64 bits. */
static unsigned checksum(const uint8_t *p, size_t n, uint64_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint64_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~(unsigned)sum & 0xffff;
}

static unsigned tcp_checksum(const uint8_t *ip, unsigned header, size_t bytes)
{
	uint64_t sum = 6 + bytes;

	for (int i = 12; i < 20; i += 2)
		sum += get16(ip + i);
	return checksum(ip + header, bytes, sum);
}

static uint32_t build(const struct sample *s, uint8_t *packet)
{
	struct virtio_net_hdr v = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 |
			    (s->flags & CWR ? VIRTIO_NET_HDR_GSO_ECN : 0),
		.gso_size = htole16(s->gso),
		.csum_start = htole16((uint16_t)(20 + s->ip_options)),
		.csum_offset = htole16(16),
	};
	uint8_t *ip = packet + SEGMENT_VNET_BYTES;
	uint8_t *tcp = ip + 20 + s->ip_options;
	unsigned headers = 40 + s->ip_options + s->tcp_options;
	uint32_t bytes = headers + s->payload;

	memset(packet, 0, SEGMENT_VNET_BYTES + headers);
	v.hdr_len = htole16((uint16_t)headers);
	memcpy(packet, &v, SEGMENT_VNET_BYTES);
	ip[0] = (uint8_t)(0x40 | (5 + s->ip_options / 4));
	put16(ip + 2, bytes);
	put16(ip + 4, s->id);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, 0x0a4d0101);
	put32(ip + 16, 0x0a4d0201);
	memset(ip + 20, 1, s->ip_options);
	put16(ip + 10, checksum(ip, 20 + s->ip_options, 0));
	put16(tcp, 1234);
	put16(tcp + 2, 80);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, 77);
	tcp[12] = (uint8_t)((5 + s->tcp_options / 4) << 4);
	tcp[13] = s->flags;
	put16(tcp + 14, 500);
	memset(tcp + 20, 1, s->tcp_options);
	for (uint32_t i = 0; i < s->payload; i++)
		packet[SEGMENT_VNET_BYTES + headers + i] =
			(uint8_t)(i * 7 + i / 251);
	return SEGMENT_VNET_BYTES + bytes;
}

struct cut {
	unsigned count;
	uint32_t bytes[SEGMENTS_MAX];
	uint8_t data[SEGMENTS_MAX][1600];
};

/* Cut as a network card would, with full checksums. */
static void cut(const uint8_t *packet, size_t bytes, struct cut *ret)
{
	const uint8_t *ip = packet + SEGMENT_VNET_BYTES;
	unsigned ip_header = (ip[0] & 15U) * 4;
	unsigned headers = ip_header + (ip[ip_header + 12] >> 4) * 4U;
	size_t payload = bytes - SEGMENT_VNET_BYTES - headers;
	struct virtio_net_hdr v;
	size_t step;
	size_t at = 0;

	memcpy(&v, packet, SEGMENT_VNET_BYTES);
	step = v.gso_type == VIRTIO_NET_HDR_GSO_NONE ? payload
						     : le16toh(v.gso_size);
	CHECK_EQ(get16(ip + 2), bytes - SEGMENT_VNET_BYTES);
	CHECK_EQ(checksum(ip, ip_header, 0), 0);
	CHECK(v.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ret->count = 0;
	while (at < payload) {
		size_t n = payload - at < step ? payload - at : step;
		uint8_t *out = ret->data[ret->count];
		uint8_t *tcp = out + ip_header;

		CHECK(ret->count < SEGMENTS_MAX && headers + n <= 1600);
		memcpy(out, ip, headers);
		memcpy(out + headers, ip + headers + at, n);
		put16(out + 2, (unsigned)(headers + n));
		put16(out + 4, (get16(ip + 4) + ret->count) & 0xffff);
		put16(out + 10, 0);
		put16(out + 10, checksum(out, ip_header, 0));
		put32(tcp + 4, get32(ip + ip_header + 4) + (uint32_t)at);
		if (at + n < payload)
			tcp[13] &= (uint8_t) ~(FIN | PSH);
		if (at > 0)
			tcp[13] &= (uint8_t)~CWR;
		put16(tcp + 16, 0);
		put16(tcp + 16,
		      tcp_checksum(out, ip_header, headers - ip_header + n));
		ret->bytes[ret->count++] = (uint32_t)(headers + n);
		at += n;
	}
}

static size_t flatten(const struct segment_run *run, uint8_t *buf)
{
	size_t n = 0;

	for (int i = 0; i < run->iov_count; i++) {
		memcpy(buf + n, run->iov[i].iov_base, run->iov[i].iov_len);
		n += run->iov[i].iov_len;
	}
	return n;
}

/* The partial checksum is the pseudo header's, over the run's own length. */
static void check_partial(const uint8_t *packet, size_t bytes)
{
	const uint8_t *ip = packet + SEGMENT_VNET_BYTES;
	unsigned header = (ip[0] & 15U) * 4;
	uint64_t sum = 6 + bytes - SEGMENT_VNET_BYTES - header;

	for (int i = 12; i < 20; i += 2)
		sum += get16(ip + i);
	CHECK_EQ(get16(ip + header + 16), ~checksum(NULL, 0, sum) & 0xffff);
}

static void check_vnet(const uint8_t *packet, const struct sample *s,
		       unsigned first, unsigned count)
{
	struct virtio_net_hdr v;
	unsigned ecn =
		first == 0 && (s->flags & CWR) ? VIRTIO_NET_HDR_GSO_ECN : 0;

	memcpy(&v, packet, SEGMENT_VNET_BYTES);
	CHECK_EQ(le16toh(v.csum_start), 20 + s->ip_options);
	CHECK_EQ(le16toh(v.csum_offset), 16);
	if (count == 1) {
		CHECK_EQ(v.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		return;
	}
	CHECK_EQ(v.gso_type, VIRTIO_NET_HDR_GSO_TCPV4 | ecn);
	CHECK_EQ(le16toh(v.gso_size), s->gso);
}

static void every_split(const struct sample *s)
{
	static uint8_t packet[SEGMENT_PACKET_MAX];
	static uint8_t buf[SEGMENT_PACKET_MAX];
	static struct cut whole;
	static struct cut part;
	struct segment_packet p;
	struct segment_run run = {.iov_count = 0};
	uint32_t bytes = build(s, packet);

	CHECK_EQ(segment_parse(packet, bytes, &p), 0);
	CHECK_EQ(p.destination, 0x0a4d0201);
	cut(packet, bytes, &whole);
	CHECK_EQ(p.segments, whole.count);
	for (unsigned i = 0; i < whole.count; i++)
		CHECK_EQ(segment_ip_bytes(&p, i), whole.bytes[i]);
	for (unsigned first = 0; first < whole.count; first++) {
		for (unsigned n = 1; first + n <= whole.count; n++) {
			size_t len;

			segment_run(packet, &p, first, n, &run);
			len = flatten(&run, buf);
			if (n < whole.count) {
				check_vnet(buf, s, first, n);
				check_partial(buf, len);
			}
			cut(buf, len, &part);
			CHECK_EQ(part.count, n);
			for (unsigned i = 0; i < n; i++) {
				CHECK_EQ(part.bytes[i], whole.bytes[first + i]);
				CHECK(memcmp(part.data[i],
					     whole.data[first + i],
					     part.bytes[i]) == 0);
			}
		}
	}
}

static void splits(void)
{
	static const struct sample samples[] = {
		{.payload = 1448 * 45 - 5,
		 .gso = 1448,
		 .tcp_options = 12,
		 .flags = ACK | PSH,
		 .seq = 1000,
		 .id = 7},
		{.payload = 1448 * 3,
		 .gso = 1448,
		 .tcp_options = 12,
		 .flags = ACK | PSH | FIN,
		 .seq = 0xfffffff0,
		 .id = 0xfffe},
		{.payload = 1449, .gso = 1448, .tcp_options = 12, .flags = ACK},
		{.payload = 1460 * 4 + 1,
		 .gso = 1460,
		 .flags = ACK | CWR | PSH,
		 .seq = 5,
		 .id = 1},
		{.payload = 3001,
		 .gso = 500,
		 .ip_options = 8,
		 .tcp_options = 40,
		 .flags = ACK | CWR | FIN,
		 .seq = 9},
		{.payload = 60, .gso = 1, .flags = ACK},
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		every_split(&samples[i]);
}

static void refusals(void)
{
	static uint8_t packet[SEGMENT_PACKET_MAX];
	struct sample s = {.payload = 5000, .gso = 1448, .flags = ACK};
	uint32_t bytes = build(&s, packet);
	struct segment_packet p;

	CHECK_EQ(segment_parse(packet, bytes - 1, &p), -EBADMSG);
	CHECK_EQ(segment_parse(packet, 12, &p), -EBADMSG);
	packet[SEGMENT_VNET_BYTES] = 0x60;
	CHECK_EQ(segment_parse(packet, bytes, &p), -EPROTONOSUPPORT);
	packet[SEGMENT_VNET_BYTES] = 0x44;
	CHECK_EQ(segment_parse(packet, bytes, &p), -EBADMSG);
	(void)build(&s, packet);
	packet[SEGMENT_VNET_BYTES + 9] = 17;
	CHECK_EQ(segment_parse(packet, bytes, &p), -EBADMSG);
	(void)build(&s, packet);
	packet[SEGMENT_VNET_BYTES + 20 + 12] = 0x40;
	CHECK_EQ(segment_parse(packet, bytes, &p), -EBADMSG);
	s.gso = 0;
	(void)build(&s, packet);
	CHECK_EQ(segment_parse(packet, bytes, &p), -EBADMSG);
	s.gso = 1448;
	(void)build(&s, packet);
	packet[1] = VIRTIO_NET_HDR_GSO_UDP;
	CHECK_EQ(segment_parse(packet, bytes, &p), -EPROTONOSUPPORT);
}

static void plain_packets(void)
{
	static uint8_t packet[2000];
	struct sample s = {.payload = 100, .gso = 1448, .flags = ACK};
	uint32_t bytes = build(&s, packet);
	struct segment_packet p;
	struct segment_run run = {.iov_count = 0};

	CHECK_EQ(segment_parse(packet, bytes, &p), 0);
	CHECK_EQ(p.segments, 1);
	CHECK_EQ(segment_ip_bytes(&p, 0), bytes - SEGMENT_VNET_BYTES);
	segment_run(packet, &p, 0, 1, &run);
	CHECK_EQ(run.iov_count, 1);
	CHECK(run.iov[0].iov_base == packet);
	CHECK_EQ(run.iov[0].iov_len, bytes);
}

int main(void)
{
	splits();
	refusals();
	plain_packets();
	return 0;
}

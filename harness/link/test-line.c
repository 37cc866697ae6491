/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in flight: what comes out is what went in, in order, over many
 * wraps of the ring, while it grows, when it is full, and after a cut.
 */
#include "harness/link/line.h"

#include <linux/virtio_net.h>

#include "approaches/common/util/clock.h"
#include "harness/link/profile.h"
#include "tests/check.h"

#define START MS_NS_PER_S

struct world {
	struct line line;
	uint64_t now;
	uint64_t random;
	uint32_t in;  /* number of the next packet */
	uint32_t out; /* number of the next packet expected */
	unsigned at;  /* segment of it */
};

static uint32_t draw(struct world *w, uint32_t below)
{
	w->random = w->random * UINT64_C(6364136223846793005) + 1442695040;
	return (uint32_t)(w->random >> 33) % below;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* A TCP packet whose sequence number is its place, payload its number. */
static uint32_t make(uint8_t *packet, uint32_t number, uint32_t payload)
{
	struct virtio_net_hdr v = {.gso_size = 1460};
	uint8_t *ip = packet + SEGMENT_VNET_BYTES;

	if (payload > 1460)
		v.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	memset(packet, 0, SEGMENT_VNET_BYTES + 40);
	memcpy(packet, &v, SEGMENT_VNET_BYTES);
	ip[0] = 0x45;
	put16(ip + 2, 40 + payload);
	ip[9] = 6;
	ip[16] = 10;
	ip[32] = 0x50;
	for (uint32_t i = 0; i < payload; i++)
		ip[40 + i] = (uint8_t)(number * 31 + i / 1460);
	return SEGMENT_VNET_BYTES + 40 + payload;
}

static int send_one(struct world *w, uint32_t payload)
{
	uint8_t *place = line_reserve(&w->line);
	struct segment_packet p;
	uint32_t bytes;

	if (!place)
		return 0;
	CHECK(place >= w->line.mem &&
	      place + SEGMENT_PACKET_MAX <= w->line.mem + w->line.mem_bytes);
	bytes = make(place, w->in++, payload);
	CHECK_EQ(segment_parse(place, bytes, &p), 0);
	line_commit(&w->line, &p, bytes, w->now);
	return 1;
}

/* Take the next run and see that it continues where the last one ended. */
static void take_one(struct world *w, uint32_t payload_of(uint32_t))
{
	static uint8_t buf[SEGMENT_PACKET_MAX];
	struct segment_run run = {.iov_count = 0};
	uint32_t payload = payload_of(w->out);
	uint32_t skipped = w->at * 1460;
	size_t n = 0;

	line_peek(&w->line, &run);
	for (int i = 0; i < run.iov_count; i++) {
		memcpy(buf + n, run.iov[i].iov_base, run.iov[i].iov_len);
		n += run.iov[i].iov_len;
	}
	n -= SEGMENT_VNET_BYTES + 40;
	CHECK(n > 0 && skipped + n <= payload);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(buf[SEGMENT_VNET_BYTES + 40 + i],
			 (uint8_t)((size_t)w->out * 31 + (skipped + i) / 1460));
	line_pop(&w->line, w->now);
	w->at += (unsigned)((n + 1459) / 1460);
	if (skipped + n == payload) {
		w->out++;
		w->at = 0;
	}
}

static uint32_t mixed_payload(uint32_t number)
{
	return number % 5 == 0 ? 60000 - number % 997 : 1 + number * 7 % 1460;
}

static void init(struct world *w, struct shaper_params params, size_t memory)
{
	*w = (struct world){.now = START, .random = 1};
	CHECK_EQ(line_init(&w->line, 1, memory), 0);
	shaper_set(&w->line.shaper, &params);
}

static void content_and_order(void)
{
	struct world w;

	init(&w,
	     (struct shaper_params){.rate_bps = 1000000000,
				    .delay_ns = MS_NS_PER_MS,
				    .queue_bytes = 1 << 24},
	     2 << 20);
	while (w.out < 20000) {
		w.now += draw(&w, 400000);
		while (line_due(&w.line) <= w.now)
			take_one(&w, mixed_payload);
		if (w.in < 20000)
			(void)send_one(&w, mixed_payload(w.in));
		if (w.in == 10000)
			CHECK_EQ(line_resize(&w.line, 8 << 20), 0);
	}
	CHECK_EQ(line_due(&w.line), LINE_NEVER);
	CHECK_EQ(w.line.stats.in_segments, w.line.stats.out_segments);
	CHECK_EQ(w.line.stats.in_bytes, w.line.stats.out_bytes);
	line_release(&w.line);
}

/* Full memory refuses, and gives everything back when it is delivered. */
static void full_memory(void)
{
	struct world w;
	uint32_t fitted = 0;

	init(&w, (struct shaper_params){.delay_ns = MS_NS_PER_S}, 2 << 20);
	for (int round = 0; round < 5; round++) {
		uint32_t n = 0;

		while (send_one(&w, mixed_payload(w.in)))
			n++;
		CHECK(n > 100);
		CHECK(round == 0 || n + 20 >= fitted);
		fitted = n;
		w.now += MS_NS_PER_S;
		while (line_due(&w.line) <= w.now)
			take_one(&w, mixed_payload);
		CHECK_EQ(w.out, w.in);
	}
	line_release(&w.line);
}

static uint32_t big_payload(uint32_t number)
{
	(void)number;
	return 1460 * 44;
}

/* Segments that arrive within the window go together, the rest does not. */
static void coalescing(void)
{
	struct segment_run run = {.iov_count = 0};
	unsigned runs = 0;
	struct world w;

	/* 1514 bytes take 12.1 us: nine starts within 100 us of the first */
	init(&w,
	     (struct shaper_params){.rate_bps = 1000000000,
				    .queue_bytes = 1 << 20},
	     2 << 20);
	CHECK_EQ(send_one(&w, big_payload(0)), 1);
	while (line_due(&w.line) != LINE_NEVER) {
		w.now = line_due(&w.line);
		line_peek(&w.line, &run);
		CHECK(run.iov[1].iov_len <= (size_t)9 * 1460);
		take_one(&w, big_payload);
		runs++;
	}
	CHECK_EQ(runs, 5);
	CHECK_EQ(w.now, START + UINT64_C(44) * 1514 * 8);
	line_release(&w.line);
	/* without a rate all arrives at once: one packet, untouched */
	init(&w, (struct shaper_params){.delay_ns = 5}, 2 << 20);
	CHECK_EQ(send_one(&w, big_payload(0)), 1);
	line_peek(&w.line, &run);
	CHECK_EQ(run.iov_count, 1);
	w.now += 5;
	take_one(&w, big_payload);
	CHECK_EQ(line_due(&w.line), LINE_NEVER);
	line_release(&w.line);
}

/* The queue cuts super-packets, and only segments are dropped. */
static void queue_limit(void)
{
	struct world w;

	init(&w,
	     (struct shaper_params){.rate_bps = 1000000000,
				    .queue_bytes = UINT64_C(1500) * 10},
	     2 << 20);
	CHECK_EQ(send_one(&w, big_payload(0)), 1);
	CHECK_EQ(w.line.stats.in_segments, 44);
	CHECK_EQ(w.line.stats.queue_drops, 44 - 9 - 1 + 1);
	line_flush(&w.line);
	CHECK_EQ(w.line.stats.cut_drops, 9);
	CHECK_EQ(line_due(&w.line), LINE_NEVER);
	line_release(&w.line);
}

static void losses_are_of_segments(void)
{
	struct world w;
	struct line_stats *s = &w.line.stats;

	init(&w, (struct shaper_params){.loss = 0.02}, 2 << 20);
	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(send_one(&w, big_payload(0)), 1);
		while (line_due(&w.line) != LINE_NEVER)
			line_pop(&w.line, w.now);
	}
	CHECK_EQ(s->in_segments, 44000);
	CHECK_EQ(s->out_segments + s->lost, 44000);
	CHECK(s->lost > 880 - 97 && s->lost < 880 + 97);
	line_release(&w.line);
}

static void lateness(void)
{
	struct line_stats s = {.late_max_ns = 1000000};

	CHECK_EQ(line_late_ns(&s, 0.5), 0);
	s.late[9 * 4 + 0] = 98; /* 512 to 639 */
	s.late[19 * 4 + 3] = 2; /* 917504 to 1048575 */
	CHECK_EQ(line_late_ns(&s, 0.5), 639);
	CHECK_EQ(line_late_ns(&s, 0.98), 639);
	CHECK_EQ(line_late_ns(&s, 0.99), 1000000);
}

int main(void)
{
	content_and_order();
	full_memory();
	coalescing();
	queue_limit();
	losses_are_of_segments();
	lateness();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual clock of a link with a clock of our own: rate, queue, order. */
#include "harness/link/shaper.h"

#include "approaches/common/util/clock.h"
#include "tests/check.h"

#define START (5 * MS_NS_PER_S)

static void make(struct shaper *s, struct shaper_params params)
{
	shaper_init(s, 42);
	shaper_set(s, &params);
}

/* A backlog leaves at exactly the rate, also when a byte takes no whole ns. */
static void rate_is_exact(void)
{
	static const uint64_t rates[] = {1000000,   3000000,   7777777,
					 100000000, 333333333, 1000000000,
					 999999937};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct shaper s;
		uint64_t due = 0;
		uint64_t bits = 0;
		uint64_t want;

		make(&s, (struct shaper_params){.rate_bps = rates[i],
						.queue_bytes = 1 << 30});
		for (int n = 0; n < 10000; n++) {
			uint32_t bytes = 60 + (uint32_t)n % 1455;

			bits += bytes * UINT64_C(8);
			CHECK_EQ(shaper_offer(&s, START, bytes, &due),
				 SHAPER_PASS);
		}
		want = START +
		       (uint64_t)((__uint128_t)bits * MS_NS_PER_S / rates[i]);
		CHECK_EQ(due, want);
	}
}

static void idle_wire_starts_at_once(void)
{
	struct shaper s;
	uint64_t due = 0;

	make(&s, (struct shaper_params){.rate_bps = 100000000,
					.delay_ns = 1000,
					.queue_bytes = 1 << 20});
	CHECK_EQ(shaper_offer(&s, START, 1250, &due), SHAPER_PASS);
	CHECK_EQ(due, START + 100000 + 1000);
	CHECK_EQ(shaper_offer(&s, START + 50000, 1250, &due), SHAPER_PASS);
	CHECK_EQ(due, START + 200000 + 1000);
	CHECK_EQ(shaper_offer(&s, START + 900000, 1250, &due), SHAPER_PASS);
	CHECK_EQ(due, START + 1000000 + 1000);
}

static void unlimited_is_only_delay(void)
{
	struct shaper s;
	uint64_t due = 0;

	make(&s, (struct shaper_params){.delay_ns = 5000000});
	for (int n = 0; n < 1000; n++) {
		CHECK_EQ(shaper_offer(&s, START, 1514, &due), SHAPER_PASS);
		CHECK_EQ(due, START + 5000000);
	}
	CHECK_EQ(shaper_backlog(&s, START), 0);
}

/* The queue takes its bytes and not one packet more; it drains at the rate. */
static void queue_drops_its_tail(void)
{
	struct shaper s;
	uint64_t due = 0;
	unsigned passed = 0;

	make(&s, (struct shaper_params){.rate_bps = 80000000,
					.queue_bytes = 10000});
	while (shaper_offer(&s, START, 1000, &due) == SHAPER_PASS)
		passed++;
	CHECK_EQ(passed, 10);
	CHECK_EQ(shaper_backlog(&s, START), 10000);
	CHECK_EQ(shaper_offer(&s, START, 1000, &due), SHAPER_QUEUE);
	/* 1000 bytes take 100 us */
	CHECK_EQ(shaper_offer(&s, START + 99999, 1000, &due), SHAPER_QUEUE);
	CHECK_EQ(shaper_offer(&s, START + 100000, 1000, &due), SHAPER_PASS);
	CHECK_EQ(due, START + 1100000);
	CHECK_EQ(shaper_backlog(&s, START + 2000000), 0);
	/* one packet always fits on an idle wire, however small the queue */
	make(&s,
	     (struct shaper_params){.rate_bps = 80000000, .queue_bytes = 10});
	CHECK_EQ(shaper_offer(&s, START, 1000, &due), SHAPER_PASS);
	CHECK_EQ(shaper_offer(&s, START, 1000, &due), SHAPER_QUEUE);
}

static unsigned count_losses(double loss, uint64_t seed, unsigned n)
{
	struct shaper_params params = {.loss = loss};
	struct shaper s;
	uint64_t due = 0;
	unsigned lost = 0;

	shaper_init(&s, seed);
	shaper_set(&s, &params);
	for (unsigned i = 0; i < n; i++)
		lost += shaper_offer(&s, START + i, 100, &due) == SHAPER_LOSS;
	return lost;
}

/* 99.9 % binomial intervals; the seeds are fixed, so this never flickers. */
static void loss_follows_its_odds(void)
{
	CHECK_EQ(count_losses(0, 1, 100000), 0);
	CHECK_EQ(count_losses(1, 1, 100000), 100000);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		unsigned one = count_losses(0.01, seed, 100000);
		unsigned tenth = count_losses(0.001, seed, 1000000);
		unsigned half = count_losses(0.5, seed, 100000);

		CHECK(one > 1000 - 104 && one < 1000 + 104);
		CHECK(tenth > 1000 - 105 && tenth < 1000 + 105);
		CHECK(half > 50000 - 521 && half < 50000 + 521);
	}
	CHECK_EQ(count_losses(0.01, 7, 1000), count_losses(0.01, 7, 1000));
	CHECK(count_losses(0.01, 7, 100000) != count_losses(0.01, 8, 100000));
}

/* Losses come one by one: no more pairs than chance makes. */
static void losses_are_independent(void)
{
	struct shaper_params params = {.loss = 0.1};
	struct shaper s;
	uint64_t due = 0;
	unsigned pairs = 0;
	int last = 0;

	shaper_init(&s, 3);
	shaper_set(&s, &params);
	for (unsigned i = 0; i < 100000; i++) {
		int lost = shaper_offer(&s, START, 100, &due) == SHAPER_LOSS;

		pairs += lost && last;
		last = lost;
	}
	CHECK(pairs > 1000 - 110 && pairs < 1000 + 110);
}

/* Order is kept whatever the jitter; delays stay within what was asked. */
static void jitter_keeps_order(void)
{
	struct shaper s;
	uint64_t last = 0;
	uint64_t low = UINT64_MAX;
	uint64_t high = 0;
	double sum = 0;

	make(&s, (struct shaper_params){.delay_ns = 10 * MS_NS_PER_MS,
					.jitter_ns = 3 * MS_NS_PER_MS});
	for (uint64_t i = 0; i < 1000000; i++) {
		uint64_t now = START + i * 20000;
		uint64_t due = 0;

		CHECK_EQ(shaper_offer(&s, now, 100, &due), SHAPER_PASS);
		CHECK(due >= last);
		last = due;
		low = due - now < low ? due - now : low;
		high = due - now > high ? due - now : high;
		sum += (double)(due - now);
	}
	CHECK(low >= 7 * MS_NS_PER_MS && low < 7.1 * MS_NS_PER_MS);
	CHECK(high <= 13 * MS_NS_PER_MS && high > 12.9 * MS_NS_PER_MS);
	/* a dense stream is late by a twenty-fourth of the size at most */
	sum /= 1000000;
	CHECK(sum > 9.9e6 && sum < 10.3e6);
}

static void sparse_jitter_is_uniform(void)
{
	struct shaper s;
	unsigned tenths[10] = {0};

	make(&s, (struct shaper_params){.delay_ns = 10 * MS_NS_PER_MS,
					.jitter_ns = 5 * MS_NS_PER_MS});
	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t now = START + i * 50 * MS_NS_PER_MS;
		uint64_t due = 0;

		CHECK_EQ(shaper_offer(&s, now, 100, &due), SHAPER_PASS);
		tenths[(due - now - 5 * MS_NS_PER_MS - 1) / MS_NS_PER_MS %
		       10]++;
	}
	for (int i = 0; i < 10; i++)
		CHECK(tenths[i] > 10000 - 330 && tenths[i] < 10000 + 330);
}

static void change_keeps_order(void)
{
	struct shaper_params near = {.delay_ns = MS_NS_PER_MS};
	struct shaper s;
	uint64_t first = 0;
	uint64_t second = 0;

	make(&s, (struct shaper_params){.delay_ns = 50 * MS_NS_PER_MS});
	CHECK_EQ(shaper_offer(&s, START, 100, &first), SHAPER_PASS);
	shaper_set(&s, &near);
	CHECK_EQ(shaper_offer(&s, START + 1, 100, &second), SHAPER_PASS);
	CHECK_EQ(second, first);
	shaper_flush(&s);
	CHECK_EQ(shaper_offer(&s, START + 2, 100, &second), SHAPER_PASS);
	CHECK_EQ(second, START + 2 + MS_NS_PER_MS);
}

int main(void)
{
	rate_is_exact();
	idle_wire_starts_at_once();
	unlimited_is_only_delay();
	queue_drops_its_tail();
	loss_follows_its_odds();
	losses_are_independent();
	jitter_keeps_order();
	sparse_jitter_is_uniform();
	change_keeps_order();
	return 0;
}

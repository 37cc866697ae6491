/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pattern: every range equals what computing byte by byte gives, wrong
 * bytes are found where they are, and the bytes never change silently.
 */
#include "tests/check.h"

#include "approaches/common/backend/pattern.h"
#include "memsync/backend.h"

#include <errno.h>
#include <xxhash.h>

enum {
	SIZE = 3 * 4096 + 100
};

/* Written down once more, byte by byte, from the text of pattern.h. */
static uint64_t output(uint64_t z)
{
	z *= UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned char reference(uint64_t seed, uint64_t offset)
{
	uint64_t base = output(UINT64_C(0x6d656d73796e63) + seed + 1);
	uint64_t word = output(base + offset / 8 + 1);

	return (unsigned char)(word >> (offset % 8 * 8));
}

static void check_range(uint64_t seed, uint64_t offset, size_t n, size_t shift)
{
	static unsigned char room[SIZE + 64];
	unsigned char *buf = room + 16 + shift;

	memset(room, 0xee, sizeof(room));
	ms_pattern_fill(seed, offset, buf, n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(buf[i], reference(seed, offset + i));
	/* Nothing outside was touched. */
	CHECK_EQ(buf[-1], 0xee);
	CHECK_EQ(buf[n], 0xee);
	CHECK(ms_pattern_check(seed, offset, buf, n, NULL));
}

static void test_any_range(void)
{
	static const uint64_t places[] = {0, 4096, UINT64_C(1) << 40,
					  UINT64_C(0x7ffffffffffff000)};
	static const size_t lengths[] = {0,    1,    7,	   8,	 9,
					 15,   16,   4095, 4096, 4097,
					 4104, 8191, 8192, 8200, SIZE};

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (uint64_t odd = 0; odd < 9; odd++)
			for (size_t l = 0;
			     l < sizeof(lengths) / sizeof(*lengths); l++)
				check_range(11, places[p] + odd, lengths[l],
					    (size_t)(odd * 5) % 8);
}

static void test_check_finds_the_first(void)
{
	static unsigned char buf[SIZE];
	static const size_t places[] = {0, 1, 4095, 4096, 5000, SIZE - 1};

	ms_pattern_fill(5, 77, buf, SIZE);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t bad = 0;
		size_t at = places[i];
		buf[at] ^= 0x10;
		buf[SIZE - 1] ^= 1; /* a later one does not matter */
		CHECK(!ms_pattern_check(5, 77, buf, SIZE, &bad));
		CHECK_EQ(bad, 77 + at);
		CHECK(!ms_pattern_check(5, 77, buf, SIZE, NULL));
		buf[SIZE - 1] ^= 1;
		buf[at] ^= 0x10;
		CHECK(ms_pattern_check(5, 77, buf, SIZE, &bad));
	}
}

/* Neither seeds nor offsets may give each other's bytes. */
static void test_seeds_differ(void)
{
	static unsigned char a[SIZE];

	ms_pattern_fill(1, 0, a, SIZE);
	for (uint64_t seed = 0; seed < 200; seed++) {
		uint64_t bad = 0;
		if (seed == 1)
			continue;
		CHECK(!ms_pattern_check(seed, 0, a, SIZE, &bad));
		CHECK(bad < 8);
	}
	for (uint64_t offset = 1; offset < 64; offset++)
		CHECK(!ms_pattern_check(1, offset, a, SIZE, NULL));
	CHECK(!ms_pattern_check(1, UINT64_C(1) << 32, a, SIZE, NULL));
}

/* Kept runs were verified against these bytes: they are part of the format. */
static void test_known_bytes(void)
{
	static unsigned char buf[1 << 20];

	ms_pattern_fill(1, 0, buf, 16);
	static const unsigned char first[16] = {
		0x9d, 0x6e, 0x37, 0xfe, 0x2c, 0xff, 0xb3, 0x31,
		0xc3, 0xdb, 0x25, 0x48, 0x2a, 0xf2, 0x14, 0x2a};
	CHECK(memcmp(buf, first, sizeof(first)) == 0);
	ms_pattern_fill(42, 123456789, buf, sizeof(buf));
	CHECK_EQ((int64_t)XXH3_64bits(buf, sizeof(buf)),
		 (int64_t)UINT64_C(0x0616c2438fc9efb0));
}

static void test_backend(void)
{
	struct ms_backend *b = NULL;
	char buf[100];

	CHECK_EQ(ms_open("pattern:seed=9,size=1T", &b), 0);
	CHECK_EQ(ms_size(b), INT64_C(1) << 40);
	CHECK_EQ(ms_read_at(b, buf, 100, (UINT64_C(1) << 40) - 100), 0);
	CHECK(ms_pattern_check(9, (UINT64_C(1) << 40) - 100, buf, 100, NULL));
	CHECK_EQ(ms_read_at(b, buf, 100, (UINT64_C(1) << 40) - 99), -ERANGE);
	CHECK_EQ(ms_write_at(b, buf, 1, 0), -EROFS);
	ms_close(b);
}

int main(void)
{
	test_any_range();
	test_check_finds_the_first();
	test_seeds_differ();
	test_known_bytes();
	test_backend();
	return 0;
}

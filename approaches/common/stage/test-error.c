/* SPDX-License-Identifier: Apache-2.0 */
/* Stage error: which requests fail, how, and how often. */
#include "approaches/common/stage/error.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>

static int read_one(struct ms_backend *b, uint64_t offset)
{
	char byte = 0;

	return ms_read_at(b, &byte, 1, offset);
}

static void test_which(void)
{
	struct ms_backend *b = open_spec("error:every=3,next=memory:size=4K");
	for (int i = 1; i <= 12; i++)
		CHECK_EQ(read_one(b, 0), i % 3 ? 0 : -EIO);
	CHECK_EQ(ms_error_count(b), 4);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);

	b = open_spec("error:after=2,errno=ENOSPC,ops=write,next=memory:size="
		      "4K");
	char byte = 1;
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(read_one(b, 0), 0);
		CHECK_EQ(ms_write_at(b, &byte, 1, 0), i < 2 ? 0 : -ENOSPC);
	}
	CHECK_HAS(memsync_error(), "error");
	CHECK_EQ(ms_resize(b, 5), -ENOSPC);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);

	b = open_spec("error:after=0,ops=sync,next=memory:size=4K");
	CHECK_EQ(ms_sync(b), -EIO);
	CHECK_EQ(read_one(b, 0), 0);
	ms_close(b);

	b = open_spec("error:at=1K,next=memory:size=4K");
	char buf[8];
	CHECK_EQ(read_one(b, 1023), 0);
	CHECK_EQ(read_one(b, 1024), -EIO);
	CHECK_EQ(read_one(b, 1025), 0);
	CHECK_EQ(ms_read_at(b, buf, 8, 1017), -EIO); /* its last byte */
	CHECK_EQ(ms_read_at(b, buf, 8, 1016), 0);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
}

static void test_rate(void)
{
	unsigned char first[1000];
	int failed = 0;

	for (int run = 0; run < 2; run++) {
		struct ms_backend *b =
			open_spec("error:rate=0.1,seed=5,next=memory:size=4K");
		for (int i = 0; i < 1000; i++) {
			unsigned char bad = read_one(b, 0) != 0;
			if (run)
				CHECK_EQ(bad, first[i]); /* repeatable */
			first[i] = bad;
			failed += bad;
		}
		ms_close(b);
	}
	/* 6 sigma around 200. */
	CHECK(failed > 200 - 114 && failed < 200 + 114);
	struct ms_backend *b = open_spec("error:rate=1,next=memory:size=4K");
	for (int i = 0; i < 100; i++)
		CHECK_EQ(read_one(b, 0), -EIO);
	ms_close(b);
}

static void test_how(void)
{
	struct ms_backend *b =
		open_spec("error:after=0,mode=torn,next=memory:size=4K");
	char buf[8] = "abcdefg";
	char back[8] = "";

	CHECK_EQ(ms_write_at(b, buf, 8, 0), -EIO);
	CHECK_EQ(ms_read_at(b, back, 8, 0), 0);
	CHECK(memcmp(back, "abcd\0\0\0\0", 8) == 0);
	CHECK_EQ(ms_write_at(b, buf, 1, 0), -EIO); /* half of 1 is none */
	CHECK_EQ(ms_error_count(b), 2);
	ms_close(b);

	b = open_spec("error:after=0,mode=short,next=memory:size=4K,seed=3");
	ms_close(b);
	b = open_spec("error:after=0,mode=short,next=(memory:size=4K,seed=3)");
	memset(back, 0x55, sizeof(back));
	CHECK_EQ(ms_write_at(b, buf, 8, 8), 0);
	CHECK_EQ(ms_read_at(b, back, 8, 8), -EIO);
	CHECK(memcmp(back, "abcd\x55\x55\x55\x55", 8) == 0);
	ms_close(b);
}

static void test_refused(void)
{
	refuse_spec("error:next=memory:size=4K", -EINVAL, "every");
	refuse_spec("error:every=1,errno=EWHAT,next=memory:size=4K", -EINVAL,
		    "EWHAT");
	refuse_spec("error:after=x,next=memory:size=4K", -EINVAL, "after=x");
	refuse_spec("error:at=-1,next=memory:size=4K", -EINVAL, "at=-1");
	refuse_spec("error:rate=1.5,next=memory:size=4K", -EINVAL, "rate");
}

int main(void)
{
	test_which();
	test_rate();
	test_how();
	test_refused();
	return 0;
}

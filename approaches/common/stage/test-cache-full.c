/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache that is full: when the remote refuses what has to leave, requests
 * fail instead of waiting for ever; what a front-end finds changed while it
 * gives a range up is kept.
 */
#include "approaches/common/stage/test-flight.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache.h"

#include <errno.h>
#include <unistd.h>

#define CHUNK UINT64_C(4096)

enum {
	LIMIT = 16, /* chunks */
	HANG_S = 60,
};

static char chunk[4096];

static void test_remote_refuses_writes(const char *retries)
{
	char spec[200];

	(void)snprintf(
		spec, sizeof(spec),
		"cache:local=memory,remote=(error:ops=write,after=0,next="
		"(memory:size=1M)),chunk=4K,limit=64K,retry=1ms,%s",
		retries);
	struct ms_backend *b = open_spec(spec);
	int rc = 0;
	uint64_t i = 0;
	for (; rc == 0 && i < UINT64_C(2) * LIMIT; i++)
		rc = ms_write_at(b, chunk, CHUNK, i * CHUNK);
	CHECK_EQ(rc, -EIO);
	CHECK_HAS(memsync_error(), "error: write");
	CHECK_EQ(i, LIMIT + 1); /* the first one without room */
	CHECK_EQ(ms_cache_dirty_chunks(b), LIMIT);
	/* A read needs room too; what is here is still readable. */
	CHECK_EQ(ms_read_at(b, chunk, CHUNK, 40 * CHUNK), -EIO);
	CHECK_EQ(ms_read_at(b, chunk, CHUNK, 3 * CHUNK), 0);
	CHECK_EQ(ms_sync(b), -EIO);
	ms_close(b);
}

struct front_end {
	struct ms_backend *b;
	bool wrote;
	uint64_t offset;
};

/* The front-end's page was written just before it is taken away. */
static void found_changed(void *user, uint64_t offset, uint64_t length)
{
	struct front_end *f = user;
	struct ms_mapping m;

	if (f->wrote)
		return;
	f->wrote = true;
	f->offset = offset;
	CHECK_EQ(ms_map(f->b, offset, length, &m), 0);
	memset(m.addr, 0x77, length);
	ms_cache_mark_dirty(f->b, offset, length);
}

static void test_changed_while_given_up(void)
{
	struct ms_backend *b =
		open_spec("cache:local=memory,remote=(memory:size=1M),chunk=4K,"
			  "limit=64K,request=4K");
	struct front_end f = {.b = b};
	char byte = 0;

	ms_cache_on_evict(b, found_changed, &f);
	for (uint64_t i = 0; i < UINT64_C(4) * LIMIT; i++)
		CHECK_EQ(ms_read_at(b, chunk, CHUNK, i * CHUNK), 0);
	CHECK(f.wrote);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_read_at(ms_cache_remote(b), &byte, 1, f.offset), 0);
	CHECK_EQ(byte, 0x77);
	CHECK_EQ(ms_read_at(b, &byte, 1, f.offset), 0);
	CHECK_EQ(byte, 0x77);
	ms_close(b);
}

int main(void)
{
	(void)alarm(HANG_S); /* what waits for ever fails */
	test_remote_refuses_writes("retries=0");
	test_remote_refuses_writes("retries=2");
	test_changed_while_given_up();
	return 0;
}

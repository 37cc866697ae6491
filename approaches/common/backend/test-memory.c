/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `memory` in huge and in small pages: which of them it is, and that
 * resizing keeps the address and the bytes either way.
 */
#include "approaches/common/backend/memory.h"

#include "approaches/common/backend/pattern.h"
#include "tests/check.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static bool stats_say(struct ms_backend *b, const char *line)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	CHECK(out);
	ms_stats(b, out);
	CHECK_EQ(fclose(out), 0);
	bool same = strcmp(text, line) == 0;
	free(text);
	return same;
}

/* Bytes of the process' shared memory that are mapped by huge pages. */
static bool has_huge_mapping(void)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "ShmemPmdMapped:", 15) == 0)
			found = strtoul(line + 15, NULL, 10) > 0;
	CHECK_EQ(fclose(f), 0);
	return found;
}

static void check_resizing(struct ms_backend *b)
{
	struct ms_mapping before;
	struct ms_mapping after;
	char *page = calloc(1, 4096);

	CHECK(page);
	CHECK_EQ(ms_map(b, 0, 4 * MIB + 100, &before), 0);
	ms_pattern_fill(1, 0, before.addr, 4 * MIB + 100);
	CHECK_EQ(ms_resize(b, 9 * MIB), 0);
	CHECK_EQ(ms_map(b, 0, 9 * MIB, &after), 0);
	CHECK(before.addr == after.addr);
	CHECK(ms_pattern_check(1, 0, after.addr, 4 * MIB + 100, NULL));
	/* What has been grown reads zero, also what is shrunk and grown. */
	char *bytes = after.addr;
	for (uint64_t i = 4 * MIB + 100; i < 9 * MIB; i++)
		CHECK_EQ(bytes[i], 0);
	CHECK_EQ(ms_resize(b, 3 * MIB + 5), 0);
	CHECK_EQ(ms_resize(b, 4 * MIB), 0);
	CHECK(ms_pattern_check(1, 0, bytes, 3 * MIB + 5, NULL));
	for (uint64_t i = 3 * MIB + 5; i < 4 * MIB; i++)
		CHECK_EQ(bytes[i], 0);
	/* A hole in the middle of a huge page. */
	CHECK_EQ(ms_zero_at(b, UINT64_C(64) << 10, 2 * MIB), 0);
	CHECK_EQ(ms_read_at(b, page, 4096, 2 * MIB + 4096), 0);
	for (int i = 0; i < 4096; i++)
		CHECK_EQ(page[i], 0);
	CHECK(ms_pattern_check(1, 0, bytes, 2 * MIB, NULL));
	free(page);
}

int main(void)
{
	struct ms_backend *b = NULL;

	for (int huge = 0; huge < 2; huge++) {
		CHECK_EQ(ms_open(huge ? "memory:size=4194404,huge=yes"
				      : "memory:size=4194404",
				 &b),
			 0);
		bool got = ms_memory_is_huge(b);
		CHECK(huge || !got);
		CHECK(stats_say(b, got ? "pages huge\n" : "pages small\n"));
		check_resizing(b);
		if (got)
			CHECK(has_huge_mapping());
		ms_close(b);
	}
	/* A huge page for a few bytes would be a waste. */
	CHECK_EQ(ms_memory_open_with(2 * MIB - 1, true, &b), 0);
	CHECK(!ms_memory_is_huge(b));
	ms_close(b);
	CHECK_EQ(ms_open("pattern:size=4M", &b), 0);
	CHECK(!ms_memory_is_huge(b));
	ms_close(b);
	CHECK_EQ(ms_open("memory:size=4M,huge=maybe", &b), -EINVAL);
	CHECK_HAS(memsync_error(), "huge");
	return 0;
}

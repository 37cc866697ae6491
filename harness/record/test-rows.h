/* SPDX-License-Identifier: Apache-2.0 */
/* A good row for tests to change, and files in the test's own folder. */
#ifndef MS_HARNESS_RECORD_TEST_ROWS_H
#define MS_HARNESS_RECORD_TEST_ROWS_H

#include "harness/record/row.h"
#include "tests/check.h"

#include <limits.h>
#include <unistd.h>

static inline struct row good_row(void)
{
	struct row row;

	row_init(&row);
	row.run_id = "20260101-000000";
	row.experiment = "read-rtt";
	row.approach = "uffd";
	row.variant = "tuned";
	row.pipeline = "cache:local=memory,remote=tcp://source:7000,chunk=4k";
	row.workload = "seq-read";
	row.dataset = "random:seed=1";
	row.place = ROW_NATIVE;
	row.link_driver = ROW_LINK_EMULATED;
	row.rtt_ms = 20;
	row.rate_mbit = 1000;
	row.rtt_ms_measured = 20.0625;
	row.rate_mbit_measured = 990.5;
	row.chunk_bytes = 4096;
	row.size_bytes = 1 << 20;
	row.repetition = 0;
	row.metric = "read_mib_s";
	row.value = 101.25;
	row.unit = "MiB/s";
	row.verified = 1;
	row.status = ROW_OK;
	row.bytes_done = 1 << 20;
	row.congestion = "cubic";
	row.params = "access_bytes=4096;seed=1;time_limit_ms=3000";
	return row;
}

/* A path in a folder that only this process uses; static, one at a time. */
static inline const char *test_dir(void)
{
	static char dir[PATH_MAX / 2];
	const char *base = getenv("TMP");

	if (!*dir) {
		(void)snprintf(dir, sizeof(dir), "%s/ms-test-XXXXXX",
			       base ? base : "/tmp");
		CHECK(mkdtemp(dir));
	}
	return dir;
}

static inline const char *test_path(const char *name)
{
	static char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", test_dir(), name);
	return path;
}

static inline void write_file(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(test_path(name), "we");

	CHECK(f);
	CHECK(fwrite(text, 1, len, f) == len);
	CHECK(!fclose(f));
}

/* The whole file as a string; the caller frees. */
static inline char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 1 << 20);

	CHECK(f && text);
	CHECK(fread(text, 1, (1 << 20) - 1, f) < (1 << 20) - 1);
	CHECK(!fclose(f));
	return text;
}

static inline void test_dir_remove(void)
{
	char command[PATH_MAX];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", test_dir());
	CHECK(!system(command));
}

#endif

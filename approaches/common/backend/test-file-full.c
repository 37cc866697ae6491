/* SPDX-License-Identifier: Apache-2.0 */
/* Backend file on a disk that is full: ENOSPC gets through, nothing is lost. */
#include "approaches/common/stage/test-flight.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	DISK = 256 << 10,
	STEP = 16 << 10,
	STEPS = 64, /* four times the disk */
};

/* Writes until the disk is full; how many steps were written. */
static uint64_t fill(struct ms_backend *b)
{
	static char buf[STEP];

	memset(buf, 0x41, sizeof(buf));
	for (uint64_t i = 0; i < STEPS; i++) {
		int rc = ms_write_at(b, buf, STEP, i * STEP);
		if (rc == 0)
			continue;
		CHECK_EQ(rc, -ENOSPC);
		CHECK_HAS(memsync_error(), "file");
		CHECK_HAS(memsync_error(), "No space left");
		return i;
	}
	return STEPS;
}

static void test_full(const char *dir)
{
	char spec[512];
	char big[512];
	static char buf[STEP];

	(void)snprintf(spec, sizeof(spec), "file:path=%s/x,size=1M", dir);
	(void)snprintf(big, sizeof(big),
		       "file:path=%s/y,size=1M,preallocate=yes", dir);
	struct ms_backend *b = open_spec(spec);
	uint64_t steps = fill(b);
	CHECK(steps > 0 && steps <= DISK / STEP);
	/* What was written before is there, and stays writable. */
	for (uint64_t i = 0; i < steps; i++) {
		CHECK_EQ(ms_read_at(b, buf, STEP, i * STEP), 0);
		for (int j = 0; j < STEP; j++)
			CHECK_EQ(buf[j], 0x41);
	}
	CHECK_EQ(ms_write_at(b, buf, STEP, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_write_at(b, buf, STEP, (STEPS - 1) * STEP), -ENOSPC);
	/* Holes behind it read zero; trimming makes room. */
	CHECK_EQ(ms_read_at(b, buf, STEP, (STEPS - 2) * STEP), 0);
	CHECK_EQ(buf[0], 0);
	struct ms_io trim = {.op = MS_OP_TRIM, .length = (uint64_t)2 * STEP};
	CHECK_EQ(ms_wait(b, &trim), 0);
	CHECK_EQ(ms_write_at(b, buf, STEP, (STEPS - 1) * STEP), 0);
	ms_close(b);
	refuse_spec(big, -ENOSPC, "disk space");
}

int main(void)
{
	const char *tmp = getenv("TMP");
	char dir[256];

	/* In a mount namespace of our own, nothing can be left behind. */
	if (geteuid() != 0)
		SKIP("needs root, to mount a small file system");
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("no mount namespace: %s", strerror(errno));
	(void)snprintf(dir, sizeof(dir), "%s/ms-full-%d", tmp ? tmp : "/tmp",
		       (int)getpid());
	CHECK_EQ(mkdir(dir, 0700), 0);
	if (mount("none", dir, "tmpfs", 0, "size=256K")) {
		int error = errno;
		(void)rmdir(dir);
		SKIP("cannot mount a tmpfs: %s", strerror(error));
	}
	test_full(dir);
	CHECK_EQ(umount(dir), 0);
	CHECK_EQ(rmdir(dir), 0);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Backend file on a block device, made of a file by the loop driver. */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES (1 << 20)

static char device[64];

/* A loop device over a new file; it goes away with the descriptor. */
static int make_device(const char *path)
{
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, BYTES), 0);
	CHECK_EQ(unlink(path), 0);
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		SKIP("no loop devices: %s", strerror(errno));
	struct loop_config config = {.fd = (uint32_t)file,
				     .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
	/* Somebody else may take the free one before us. */
	for (int attempt = 0; attempt < 10; attempt++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			SKIP("no free loop device: %s", strerror(errno));
		(void)snprintf(device, sizeof(device), "/dev/loop%d", number);
		int fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			SKIP("open %s: %s", device, strerror(errno));
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			(void)close(control);
			(void)close(file);
			return fd;
		}
		CHECK_EQ(errno, EBUSY);
		(void)close(fd);
	}
	SKIP("every loop device is taken");
}

static void test_contents(const char *more)
{
	char spec[128];
	static char model[BYTES];
	static char back[BYTES];

	(void)snprintf(spec, sizeof(spec), "file:path=%s%s", device, more);
	struct ms_backend *b = open_spec(spec);
	uint64_t block = b->block > 1 ? b->block : 1000;
	CHECK_EQ(ms_size(b), BYTES);
	ms_pattern_fill(4, 0, model, BYTES);
	CHECK_EQ(ms_write_at(b, model, BYTES, 0), 0);
	CHECK_EQ(ms_sync(b), 0);
	/* Zero: within a page, over its edges, many pages. */
	static const uint64_t ranges[][2] = {
		{1, 2}, {3, 9}, {20, 1}, {100, 300}};
	for (int i = 0; i < 4; i++) {
		uint64_t at = ranges[i][0] * block;
		uint64_t n = ranges[i][1] * block;
		CHECK_EQ(ms_zero_at(b, n, at), 0);
		memset(model + at, 0, n);
		CHECK_EQ(ms_read_at(b, back, BYTES, 0), 0);
		CHECK(memcmp(back, model, BYTES) == 0);
	}
	struct ms_io trim = {
		.op = MS_OP_TRIM, .offset = 500 * block, .length = 100 * block};
	CHECK_EQ(ms_wait(b, &trim), 0);
	CHECK_EQ(ms_read_at(b, back, 500 * block, 0), 0);
	CHECK(memcmp(back, model, 500 * block) == 0);
	uint64_t behind = 600 * block;
	CHECK_EQ(ms_read_at(b, back, BYTES - behind, behind), 0);
	CHECK(memcmp(back, model + behind, BYTES - behind) == 0);
	/* A device has its size, and nobody else may write to it. */
	CHECK_EQ(ms_resize(b, BYTES + 512), -EOPNOTSUPP);
	CHECK_EQ(ms_write_at(b, model, block, BYTES), -ERANGE);
	(void)snprintf(spec, sizeof(spec), "file:path=%s", device);
	refuse_spec(spec, -EBUSY, device);
	ms_close(b);
}

int main(void)
{
	const char *tmp = getenv("TMP");
	char path[256];
	char spec[128];

	if (geteuid() != 0)
		SKIP("needs root, to make a block device of a file");
	(void)snprintf(path, sizeof(path), "%s/ms-device-%d",
		       tmp ? tmp : "/tmp", (int)getpid());
	int fd = make_device(path);
	test_contents("");
	test_contents(",direct=yes");
	test_contents(",size=1M,sync=always");
	(void)snprintf(spec, sizeof(spec), "file:path=%s,size=2M", device);
	refuse_spec(spec, -EINVAL, "is a device of 1048576 bytes");
	(void)close(fd);
	return 0;
}

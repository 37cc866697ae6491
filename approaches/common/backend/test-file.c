/* SPDX-License-Identifier: Apache-2.0 */
/* Backend file on regular files. (Contents at random: the contract test.) */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/test-flight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];

/* "file:path=DIR/name" and `rest`; the text is the caller's. */
static char *spec_of(const char *name, const char *rest)
{
	char *spec = NULL;

	CHECK(asprintf(&spec, "file:path=%s/%s%s", dir, name, rest) > 0);
	return spec;
}

static char *path_of(const char *name)
{
	char *path = NULL;

	CHECK(asprintf(&path, "%s/%s", dir, name) > 0);
	return path;
}

static struct ms_backend *open_file(const char *name, const char *rest)
{
	char *spec = spec_of(name, rest);
	struct ms_backend *b = open_spec(spec);

	free(spec);
	return b;
}

static void refuse_file(const char *name, const char *rest, int code,
			const char *part)
{
	char *spec = spec_of(name, rest);

	refuse_spec(spec, code, part);
	free(spec);
}

static void remove_file(const char *name)
{
	char *path = path_of(name);

	CHECK_EQ(unlink(path), 0);
	free(path);
}

static void test_refused(void)
{
	char *fifo = path_of("fifo");
	char *folder = path_of("folder");

	CHECK_EQ(mkfifo(fifo, 0600), 0);
	CHECK_EQ(mkdir(folder, 0700), 0);
	refuse_file("missing", "", -ENOENT, "missing");
	refuse_file("missing", ",size=4K,read-only=yes", -ENOENT, "missing");
	refuse_file("none/x", ",size=4K", -ENOENT, "none/x");
	refuse_file("fifo", "", -EINVAL, "neither a regular file nor");
	refuse_file("folder", "", -EISDIR, "is a folder");
	refuse_spec("file:path=/dev/null", -EINVAL, "neither a regular file");
	refuse_spec("file:size=4K", -EINVAL, "path");
	CHECK_EQ(unlink(fifo), 0);
	CHECK_EQ(rmdir(folder), 0);
	free(fifo);
	free(folder);
}

/* A new file, opened again as it is, extended, never cut by opening. */
static void test_sizes(void)
{
	struct ms_backend *b = open_file("sizes", ",size=4097");
	char buf[10] = "123456789";

	CHECK_EQ(ms_size(b), 4097);
	CHECK_EQ(ms_write_at(b, buf, 9, 4088), 0);
	CHECK_EQ(ms_write_at(b, buf, 10, 4088), -ERANGE);
	ms_close(b);
	b = open_file("sizes", "");
	CHECK_EQ(ms_size(b), 4097);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(ms_read_at(b, buf, 9, 4088), 0);
	CHECK_STR(buf, "123456789");
	ms_close(b);
	refuse_file("sizes", ",size=4096", -EINVAL, "more than size=4096");
	b = open_file("sizes", ",size=5000,preallocate=yes");
	CHECK_EQ(ms_size(b), 5000);
	CHECK_EQ(ms_read_at(b, buf, 9, 4097), 0);
	CHECK_EQ(buf[0], 0);
	ms_close(b);
	refuse_file("sizes", ",size=5001,read-only=yes", -EROFS, "fewer than");
	remove_file("sizes");
}

static void test_one_writer(void)
{
	struct ms_backend *b = open_file("locked", ",size=4K");
	char byte = 3;

	refuse_file("locked", "", -EBUSY, "another writer");
	/* Readers are welcome, and see what is written. */
	struct ms_backend *reader = open_file("locked", ",read-only=yes");
	CHECK_EQ(ms_write_at(b, &byte, 1, 7), 0);
	byte = 0;
	CHECK_EQ(ms_read_at(reader, &byte, 1, 7), 0);
	CHECK_EQ(byte, 3);
	CHECK_EQ(ms_write_at(reader, &byte, 1, 7), -EROFS);
	CHECK_EQ(ms_resize(reader, 1) < 0, 1);
	CHECK_EQ(ms_sync(reader), 0);
	ms_close(b);
	b = open_file("locked", "");
	ms_close(b);
	ms_close(reader);
	remove_file("locked");
}

/* Cut behind our back: an error, never zeros. */
static void test_cut(void)
{
	struct ms_backend *b = open_file("cut", ",size=64K");
	char *path = path_of("cut");
	static char buf[65536];

	CHECK_EQ(truncate(path, 30000), 0);
	CHECK_EQ(ms_read_at(b, buf, 30000, 0), 0);
	CHECK_EQ(ms_read_at(b, buf, 1, 30000), -EIO);
	CHECK_EQ(ms_read_at(b, buf, 65536, 0), -EIO);
	CHECK_HAS(memsync_error(), "file");
	ms_close(b);
	remove_file("cut");
	free(path);
}

static void test_holes(void)
{
	struct ms_backend *b = open_file("holes", ",size=4M");
	struct ms_extent list[8];
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = 4 << 20,
			   .buf = list,
			   .extents_max = 8};
	static char data[65536];

	memset(data, 1, sizeof(data));
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 1);
	CHECK_EQ(list[0].type, MS_EXTENT_HOLE);
	CHECK_EQ(list[0].length, 4 << 20);
	CHECK_EQ(ms_write_at(b, data, sizeof(data), 1 << 20), 0);
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 3);
	CHECK_EQ(list[1].type, MS_EXTENT_DATA);
	CHECK_EQ(list[1].offset, 1 << 20);
	CHECK_EQ(list[1].length, 65536);
	io.extents_max = 2; /* no room: the first two */
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 2);
	CHECK_EQ(list[1].offset, 1 << 20);
	struct ms_io trim = {
		.op = MS_OP_TRIM, .offset = 1 << 20, .length = 65536};
	CHECK_EQ(ms_wait(b, &trim), 0);
	io.extents_max = 8;
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 1);
	ms_close(b);
	remove_file("holes");
}

/* A mapping stays where it is while the file grows. */
static void test_map(void)
{
	struct ms_backend *b = open_file("map", ",size=10000");
	struct ms_mapping first;
	struct ms_mapping again;
	char buf[4] = "abc";

	CHECK_EQ(ms_map(b, 5000, 5000, &first), 0);
	CHECK_EQ(ms_write_at(b, buf, 4, 5000), 0);
	CHECK_STR((char *)first.addr, "abc");
	memcpy(first.addr, "xyz", 4);
	CHECK_EQ(ms_read_at(b, buf, 4, 5000), 0);
	CHECK_STR(buf, "xyz");
	CHECK_EQ(ms_resize(b, 1 << 20), 0);
	CHECK_EQ(ms_map(b, 900000, 10, &again), 0);
	memcpy(again.addr, "far", 4);
	CHECK_EQ(ms_read_at(b, buf, 4, 900000), 0);
	CHECK_STR(buf, "far");
	CHECK_EQ(ms_map(b, 5000, 5000, &again), 0);
	CHECK(again.addr == first.addr);
	CHECK_STR((char *)first.addr, "xyz");
	ms_close(b);
	remove_file("map");
}

/* SYNC, FUA and the three meanings of sync=. */
static void test_sync(void)
{
	static const char *const how[] = {"yes", "no", "always"};
	char rest[64];
	char buf[3] = "hi";

	for (int i = 0; i < 3; i++) {
		(void)snprintf(rest, sizeof(rest), ",size=64K,sync=%s", how[i]);
		struct ms_backend *b = open_file("sync", rest);
		struct ms_io io = {.op = MS_OP_WRITE,
				   .flags = MS_FUA,
				   .length = 3,
				   .buf = buf};
		CHECK_EQ(ms_wait(b, &io), 0);
		CHECK_EQ(ms_zero_at(b, 1, 5), 0);
		CHECK_EQ(ms_sync(b), 0);
		CHECK_EQ(ms_read_at(b, buf, 3, 0), 0);
		CHECK_STR(buf, "hi");
		ms_close(b);
	}
	remove_file("sync");
}

/* O_DIRECT with buffers at any address, and a tail that is no block. */
static void test_direct(void)
{
	struct ms_backend *b = NULL;
	char *spec = spec_of("direct", ",size=100001,direct=yes");
	static char buf[100001 + 1];
	static char back[100001 + 1];

	if (ms_open(spec, &b)) {
		CHECK_HAS(memsync_error(), "O_DIRECT");
		(void)printf("no O_DIRECT here: %s\n", memsync_error());
		free(spec);
		remove_file("direct");
		return;
	}
	free(spec);
	uint64_t block = b->block;
	CHECK(block >= 512 && block <= 65536);
	CHECK(!(b->caps & MS_CAN_MAP));
	ms_pattern_fill(3, 0, buf + 1, 100001);
	CHECK_EQ(ms_write_at(b, buf + 1, 100001, 0), 0);
	CHECK_EQ(ms_read_at(b, back + 1, 100001, 0), 0);
	CHECK(memcmp(buf + 1, back + 1, 100001) == 0);
	CHECK_EQ(ms_read_at(b, back, block, 1), -EINVAL);
	CHECK_EQ(ms_read_at(b, back, 1, 0), -EINVAL);
	uint64_t tail = 100001 & ~(block - 1);
	CHECK_EQ(ms_zero_at(b, block, block), 0);
	CHECK_EQ(ms_read_at(b, back, block, block), 0);
	for (uint64_t i = 0; i < block; i++)
		CHECK_EQ(back[i], 0);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	/* Seen through the page cache, it is the same. */
	b = open_file("direct", "");
	CHECK_EQ(ms_read_at(b, back, 100001 - 2 * block, 2 * block), 0);
	CHECK(memcmp(back, buf + 1 + 2 * block, tail - 2 * block) == 0);
	ms_close(b);
	remove_file("direct");
}

int main(void)
{
	const char *tmp = getenv("TMP");

	(void)snprintf(dir, sizeof(dir), "%s/ms-file-%d", tmp ? tmp : "/tmp",
		       (int)getpid());
	CHECK_EQ(mkdir(dir, 0700), 0);
	test_refused();
	test_sizes();
	test_one_writer();
	test_cut();
	test_holes();
	test_map();
	test_sync();
	test_direct();
	CHECK_EQ(rmdir(dir), 0);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store against qemu-nbd, another implementation of the protocol: a
 * raw image, a qcow2 image, read-only, and fewer places than connections.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/backend/test-nbd.h"

enum {
	MIB = 1 << 20,
	SIZE = 8 * MIB,
};

static void make_image(const struct nbd_server *s, const char *format)
{
	char command[400];

	(void)snprintf(command, sizeof(command),
		       "qemu-img create -q -f %s '%s/disk' %d", format, s->dir,
		       SIZE);
	CHECK_EQ(system(command), 0);
}

static void start(struct nbd_server *s, const char *format, const char *shared,
		  bool read_only)
{
	char pidfile[260];
	char disk[240];

	(void)snprintf(pidfile, sizeof(pidfile), "--pid-file=%s", s->pidfile);
	(void)snprintf(disk, sizeof(disk), "%s/disk", s->dir);
	const char *argv[] = {"qemu-nbd", "--persistent",
			      "--shared", shared,
			      "--format", format,
			      "--socket", s->socket,
			      pidfile,	  "--discard=unmap",
			      disk,	  read_only ? "--read-only" : NULL,
			      NULL};
	nbd_server_exec(s, argv);
}

static void fill(struct ms_backend *b, uint64_t seed)
{
	char *bytes = malloc(SIZE);

	CHECK(bytes);
	ms_pattern_fill(seed, 0, bytes, SIZE);
	CHECK_EQ(ms_write_at(b, bytes, SIZE, 0), 0);
	free(bytes);
}

static void check(struct ms_backend *b, uint64_t seed)
{
	char *bytes = malloc(SIZE);

	CHECK(bytes);
	CHECK_EQ(ms_read_at(b, bytes, SIZE, 0), 0);
	CHECK(ms_pattern_check(seed, 0, bytes, SIZE, NULL));
	free(bytes);
}

static void test_format(const char *format)
{
	struct nbd_server s;
	struct ms_extent list[4];
	char byte = 0;

	nbd_server_init(&s);
	make_image(&s, format);
	start(&s, format, "16", false);
	struct ms_backend *b = nbd_open_with(&s, "");
	CHECK_EQ(ms_size(b), SIZE);
	(void)printf("qemu-nbd, %s: caps %x, block %u, %" PRIu64
		     " connections\n",
		     format, b->caps, b->block, nbd_stat(b, "connections"));
	CHECK(b->caps & MS_CAN_WRITE && b->caps & MS_CAN_EXTENTS);
	fill(b, 5);
	CHECK_EQ(ms_sync(b), 0);
	check(b, 5);
	CHECK_EQ(ms_zero_at(b, MIB, MIB), 0);
	CHECK_EQ(ms_read_at(b, &byte, 1, MIB + 4096), 0);
	CHECK_EQ(byte, 0);
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = SIZE,
			   .buf = list,
			   .extents_max = 4};
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 3);
	CHECK(list[1].offset == MIB && list[1].length == MIB &&
	      list[1].type != MS_EXTENT_DATA);
	fill(b, 6);
	/* Killed after a sync: it is all there, seen by another run of it. */
	CHECK_EQ(ms_sync(b), 0);
	nbd_server_kill(&s, SIGKILL);
	start(&s, format, "16", false);
	check(b, 6);
	CHECK(nbd_stat(b, "losses") > 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	/* Read only. */
	start(&s, format, "16", true);
	b = nbd_open_with(&s, "");
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), -EROFS);
	CHECK_EQ(ms_sync(b), 0);
	check(b, 6);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* It lets fewer in than we would like: slower, but not wrong, and not late. */
static void test_places(const char *shared)
{
	struct nbd_server s;

	nbd_server_init(&s);
	make_image(&s, "raw");
	start(&s, "raw", shared, false);
	uint64_t begin = ms_now_ns();
	struct ms_backend *b = nbd_open_with(&s, "connections=4");
	CHECK(ms_now_ns() - begin < 5 * MS_NS_PER_S);
	(void)printf("qemu-nbd, %s places: %" PRIu64 " of %" PRIu64
		     " connections\n",
		     shared, nbd_stat(b, "connections"),
		     nbd_stat(b, "connections_wanted"));
	CHECK(nbd_stat(b, "connections") <= strtoull(shared, NULL, 10));
	fill(b, 9);
	CHECK_EQ(ms_sync(b), 0);
	check(b, 9);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

int main(void)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (!nbd_have("qemu-nbd") || !nbd_have("qemu-img"))
		SKIP("qemu-nbd is not installed");
	test_format("raw");
	test_format("qcow2");
	test_places("1");
	test_places("2");
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store against nbdkit: what the server can do is what the store can
 * do, requests are cut and spread, errors stay what they are.
 */
#include "approaches/common/backend/test-nbd.h"
#include "approaches/common/backend/pattern.h"

#include <fcntl.h>

enum {
	MIB = 1 << 20,
	SEED = 11,
};

/* A file of this size with the pattern in it, beside the server's socket. */
static char *pattern_file(const struct nbd_server *s, size_t size)
{
	char *path = NULL;
	char *bytes = malloc(size);

	CHECK(bytes && asprintf(&path, "%s/disk", s->dir) > 0);
	ms_pattern_fill(SEED, 0, bytes, size);
	FILE *out = fopen(path, "we");
	CHECK(out && fwrite(bytes, 1, size, out) == size);
	CHECK_EQ(fclose(out), 0);
	free(bytes);
	return path;
}

static void check_pattern(struct ms_backend *b, uint64_t seed, uint64_t offset,
			  size_t n)
{
	char *buf = malloc(n);

	CHECK(buf);
	CHECK_EQ(ms_read_at(b, buf, n, offset), 0);
	CHECK(ms_pattern_check(seed, offset, buf, n, NULL));
	free(buf);
}

/* --- what the server says ------------------------------------------------- */

static void test_file(void)
{
	struct nbd_server s;
	size_t size = 9 * MIB + 4097;
	char *bytes = malloc(size);

	nbd_server_init(&s);
	char *path = pattern_file(&s, size);
	NBD_START(&s, "file", path);
	/* The URI alone is a pipeline. */
	struct ms_backend *b = nbd_must_open(s.uri);
	CHECK_EQ(ms_size(b), size);
	CHECK_EQ(b->block, 1);
	unsigned want = MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO | MS_CAN_TRIM |
			MS_CAN_EXTENTS | MS_CAN_POPULATE;
	CHECK_EQ(b->caps, want);
	CHECK_EQ(nbd_stat(b, "connections_wanted"), 5);
	check_pattern(b, SEED, 0, size);
	/* No number of pieces fits. */
	check_pattern(b, SEED, 777777, 3 * MIB + 1);
	CHECK_EQ(ms_resize(b, size + 1), -EOPNOTSUPP);
	CHECK(bytes);
	ms_pattern_fill(5, 0, bytes, size);
	CHECK_EQ(ms_write_at(b, bytes + 1, size - 1, 1), 0);
	CHECK(nbd_stat(b, "unflushed") > 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(nbd_stat(b, "unflushed"), 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	/* What the server's file holds, without anything of ours between. */
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, size), size);
	CHECK(ms_pattern_check(5, 1, bytes + 1, size - 1, NULL));
	CHECK_EQ(close(fd), 0);
	free(bytes);
	free(path);
}

static void test_read_only(void)
{
	struct nbd_server s;
	char byte = 0;

	nbd_server_init(&s);
	NBD_START(&s, "--readonly", "pattern", "1M");
	struct ms_backend *b = nbd_open_with(&s, "");
	CHECK_EQ(b->caps & MS_CAN_WRITE, 0);
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), -EROFS);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	/* One that may be written to, but not by us. */
	nbd_server_init(&s);
	NBD_START(&s, "memory", "1M");
	b = nbd_open_with(&s, "read-only=yes");
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), -EROFS);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* Without the server's word that a flush covers all, there is one connection.
 */
static void test_no_multi(void)
{
	struct nbd_server s;

	nbd_server_init(&s);
	NBD_START(&s, "--filter=multi-conn", "memory", "8M",
		  "multi-conn-mode=disable");
	struct ms_backend *b = nbd_open_with(&s, "connections=8");
	CHECK_EQ(nbd_stat(b, "connections_wanted"), 1);
	char *bytes = calloc(1, 8 * MIB);
	CHECK(bytes);
	ms_pattern_fill(3, 0, bytes, 8 * MIB);
	CHECK_EQ(ms_write_at(b, bytes, 8 * MIB, 0), 0);
	check_pattern(b, 3, 0, 8 * MIB);
	free(bytes);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* A server that only takes whole blocks: the door refuses others. */
static void test_block_size(void)
{
	struct nbd_server s;
	char *bytes = calloc(1, MIB);

	nbd_server_init(&s);
	NBD_START(&s, "--filter=blocksize-policy", "memory", "1M",
		  "blocksize-minimum=4096", "blocksize-preferred=4096",
		  "blocksize-maximum=65536", "blocksize-error-policy=error");
	struct ms_backend *b = nbd_open_with(&s, "");
	CHECK(bytes);
	CHECK_EQ(b->block, 4096);
	CHECK_EQ(ms_read_at(b, bytes, 512, 0), -EINVAL);
	/* Longer than the server's maximum. */
	ms_pattern_fill(3, 0, bytes, MIB);
	CHECK_EQ(ms_write_at(b, bytes, MIB, 0), 0);
	check_pattern(b, 3, 0, MIB);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	/* The end of such an export could not be read: said, not cut off. */
	nbd_server_init(&s);
	NBD_START(&s, "--filter=blocksize-policy", "memory", "100000",
		  "blocksize-minimum=4096", "blocksize-preferred=4096",
		  "blocksize-maximum=65536");
	CHECK(ms_open(s.uri, &b) < 0);
	CHECK_HAS(memsync_error(), "no multiple of its block");
	nbd_server_kill(&s, SIGTERM);
	free(bytes);
}

static void test_extents(void)
{
	struct nbd_server s;
	struct ms_extent list[8];
	char *bytes = calloc(1, 64 << 10);

	nbd_server_init(&s);
	NBD_START(&s, "memory", "4M");
	struct ms_backend *b = nbd_open_with(&s, "");
	CHECK(bytes);
	memset(bytes, 1, 64 << 10);
	CHECK_EQ(ms_write_at(b, bytes, 64 << 10, MIB), 0);
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = 4 * MIB,
			   .buf = list,
			   .extents_max = 8};
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 3);
	CHECK(list[0].type == MS_EXTENT_HOLE && list[0].length == MIB);
	CHECK(list[1].type == MS_EXTENT_DATA && list[1].length == 64 << 10);
	CHECK(list[2].type == MS_EXTENT_HOLE);
	CHECK_EQ(list[2].offset + list[2].length, 4 * MIB);
	/* Room for fewer than there are. */
	io = (struct ms_io){.op = MS_OP_EXTENTS,
			    .offset = 1000,
			    .length = 2 * MIB,
			    .buf = list,
			    .extents_max = 1};
	CHECK_EQ(ms_wait(b, &io), 0);
	CHECK_EQ(io.extents_used, 1);
	CHECK(list[0].offset == 1000 && list[0].length == MIB - 1000);
	free(bytes);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* --- errors -----------------------------------------------------------------
 */

static void test_errors(void)
{
	struct nbd_server s;
	char trigger[300];
	char fail_file[320];
	char spec[700];
	char buf[4096];

	nbd_server_init(&s);
	(void)snprintf(trigger, sizeof(trigger), "%s/trigger", s.dir);
	(void)snprintf(fail_file, sizeof(fail_file), "error-file=%s", trigger);
	NBD_START(&s, "--filter=error", "memory", "8M", "error=ENOSPC",
		  "error-rate=100%", fail_file);
	struct ms_backend *b = nbd_open_with(&s, "");
	memset(buf, 1, sizeof(buf));
	CHECK_EQ(ms_write_at(b, buf, sizeof(buf), 0), 0);
	int fd = open(trigger, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(ms_write_at(b, buf, sizeof(buf), 0), -ENOSPC);
	CHECK_HAS(memsync_error(), "nbd: write");
	CHECK_EQ(ms_read_at(b, buf, sizeof(buf), 0), -ENOSPC);
	CHECK_EQ(unlink(trigger), 0);
	CHECK_EQ(ms_read_at(b, buf, sizeof(buf), 0), 0);
	CHECK_EQ(buf[7], 1);
	CHECK_EQ(nbd_stat(b, "losses"), 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	/* A tenth of the reads fails, so about a third of the fetches, which
	   are several reads; a cache above tries again. */
	nbd_server_init(&s);
	NBD_START(&s, "--filter=error", "pattern", "8M", "error-pread=EIO",
		  "error-pread-rate=10%");
	(void)snprintf(spec, sizeof(spec),
		       "cache:local=memory,remote=(%s),retries=30,retry=1ms",
		       s.uri);
	b = nbd_must_open(spec);
	char *all = malloc(8 * MIB);
	CHECK(all);
	CHECK_EQ(ms_read_at(b, all, 8 * MIB, 0), 0);
	for (uint64_t i = 0; i < 8 * MIB; i += 8) {
		uint64_t word = 0;
		memcpy(&word, all + i, 8);
		CHECK_EQ(be64toh(word), i);
	}
	free(all);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* A server that cannot flush: nothing may be claimed to be durable. */
static void test_no_flush(void)
{
	struct nbd_server s;
	char byte = 1;

	nbd_server_init(&s);
	NBD_START(&s, "eval", "get_size=echo 65536",
		  "pread=dd if=/dev/zero bs=$3 count=1 2>/dev/null",
		  "pwrite=cat >/dev/null", "can_write=exit 0",
		  "can_flush=exit 3");
	struct ms_backend *b = nbd_open_with(&s, "");
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_write_at(b, &byte, 1, 0), 0);
	CHECK_EQ(ms_sync(b), -EOPNOTSUPP);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* --- settings
 * ----------------------------------------------------------------- */

static void test_settings(void)
{
	static const char *const wrong[][2] = {
		{"nbd:uri=tcp://host:1", "not an NBD URI"},
		{"nbd:uri=nbds://localhost:1,tls=off", "contradicts"},
		{"nbd:uri=nbd://localhost:1,psk=/tmp/x", "need TLS"},
		{"nbd:uri=nbds://localhost:1,psk=/x,certificates=/y",
		 "exclude"},
		{"nbd:connections=3", "needs uri"},
		{"nbd:uri=nbd://localhost:1,connections=0", "connections"},
		{"nbd:uri=nbd:nonsense", "nbd:"},
		{"nbdx://host:1", "nbdx"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ms_backend *b = NULL;
		CHECK_EQ(ms_open(wrong[i][0], &b), -EINVAL);
		CHECK_HAS(memsync_error(), wrong[i][1]);
	}
	struct ms_backend *b = NULL;
	CHECK_EQ(ms_open("nbd+unix:///?socket=/nowhere/at/all", &b), -ENOENT);
	CHECK_EQ(ms_open("nbd://127.0.0.1:1/export", &b), -ECONNREFUSED);
	CHECK_HAS(memsync_error(), "nbd://127.0.0.1:1");
}

int main(void)
{
	test_settings();
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed");
	test_file();
	test_read_only();
	test_no_multi();
	test_block_size();
	test_extents();
	test_errors();
	test_no_flush();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store and time, against nbdkit: deadlines and cancels are kept
 * although a command cannot be taken back, urgent requests overtake bulk.
 */
#include "approaches/common/backend/test-nbd.h"

enum {
	MIB = 1 << 20,
	BULK = 200,
};

static uint64_t elapsed_ms(uint64_t start)
{
	return (ms_now_ns() - start) / MS_NS_PER_MS;
}

/* --- time ----------------------------------------------------------------- */

/* The command cannot be taken back: it is left behind, the buffer is ours. */
static void test_deadline(void)
{
	struct nbd_server s;
	char buf[4096];
	struct nbd_task t;
	uint64_t start = 0;

	nbd_server_init(&s);
	NBD_START(&s, "--filter=delay", "pattern", "1M", "rdelay=900ms");
	struct ms_backend *b = nbd_open_with(&s, "");
	memset(buf, 0x5a, sizeof(buf));
	start = ms_now_ns();
	nbd_task_start(
		b, &t,
		(struct ms_io){.op = MS_OP_READ,
			       .priority = MS_URGENT,
			       .length = sizeof(buf),
			       .buf = buf,
			       .deadline_ns = start + 150 * MS_NS_PER_MS});
	CHECK_EQ(nbd_task_wait(&t), -ETIMEDOUT);
	CHECK_STR(t.io.origin, "nbd");
	CHECK(elapsed_ms(start) >= 150 && elapsed_ms(start) < 800);
	CHECK_EQ(nbd_stat(b, "left_behind"), 1);
	nbd_pause_ms(1200);
	for (size_t i = 0; i < sizeof(buf); i++)
		CHECK_EQ(buf[i], 0x5a);
	/* The answer has come meanwhile, and the connection is as it was. */
	CHECK_EQ(nbd_stat(b, "losses"), 0);
	CHECK_EQ(nbd_stat(b, "outstanding_bytes"), 0);
	/* In time, with a buffer of the store's: the bytes arrive. */
	nbd_task_start(
		b, &t,
		(struct ms_io){.op = MS_OP_READ,
			       .priority = MS_URGENT,
			       .length = sizeof(buf),
			       .buf = buf,
			       .deadline_ns = ms_now_ns() + 20 * MS_NS_PER_S});
	CHECK_EQ(nbd_task_wait(&t), 0);
	CHECK(buf[8] == 0 && buf[15] == 8);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/*
 * A write whose time is over is still the server's, and here it is slow: what
 * is written to the same place afterwards must not be overwritten by it.
 */
static void test_stale_write(void)
{
	struct nbd_server s;
	struct nbd_task t[2];
	char disk[260];
	char read_script[400];
	char write_script[700];
	char old = 'o';
	char new = 'n';

	nbd_server_init(&s);
	(void)snprintf(disk, sizeof(disk), "%s/disk", s.dir);
	int fd = open(disk, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0 && close(fd) == 0);
	(void)snprintf(read_script, sizeof(read_script),
		       "pread=dd if=%s bs=1 count=$3 skip=$4 status=none",
		       disk);
	(void)snprintf(write_script, sizeof(write_script),
		       "pwrite=if mkdir %s/first 2>/dev/null; then sleep 1; "
		       "fi; dd of=%s bs=1 seek=$4 conv=notrunc status=none",
		       s.dir, disk);
	NBD_START(&s, "eval", "get_size=echo 4096", "can_write=exit 0",
		  "thread_model=echo parallel", read_script, write_script);
	struct ms_backend *b = nbd_open_with(&s, "");
	uint64_t soon = ms_now_ns() + 150 * MS_NS_PER_MS;
	nbd_task_start(b, &t[0],
		       (struct ms_io){.op = MS_OP_WRITE,
				      .length = 1,
				      .offset = 7,
				      .buf = &old,
				      .deadline_ns = soon});
	CHECK_EQ(nbd_task_wait(&t[0]), -ETIMEDOUT);
	uint64_t start = ms_now_ns();
	nbd_task_start(b, &t[0],
		       (struct ms_io){.op = MS_OP_WRITE,
				      .length = 1,
				      .offset = 7,
				      .buf = &new});
	/* Another place need not wait. */
	nbd_task_start(b, &t[1],
		       (struct ms_io){.op = MS_OP_WRITE,
				      .length = 1,
				      .offset = 8,
				      .buf = &new});
	CHECK_EQ(nbd_task_wait(&t[1]), 0);
	CHECK(elapsed_ms(start) < 600);
	CHECK_EQ(nbd_task_wait(&t[0]), 0);
	nbd_pause_ms(1100);
	char now[2] = "";
	CHECK_EQ(ms_read_at(b, now, 2, 7), 0);
	CHECK(now[0] == 'n' && now[1] == 'n');
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* A bulk read that makes progress outlives its deadline many times over. */
static void test_progress(void)
{
	struct nbd_server s;
	struct nbd_task t;
	char *buf = malloc(2 * MIB);

	nbd_server_init(&s);
	NBD_START(&s, "--filter=rate", "pattern", "8M", "rate=16M",
		  "burstiness=0.1");
	struct ms_backend *b =
		nbd_open_with(&s, "connections=1,max-request=64K");
	uint64_t start = ms_now_ns();
	nbd_task_start(
		b, &t,
		(struct ms_io){.op = MS_OP_READ,
			       .length = 2 * MIB,
			       .buf = buf,
			       .deadline_ns = start + 400 * MS_NS_PER_MS});
	CHECK_EQ(nbd_task_wait(&t), 0);
	/* 16 Mbit/s: a second. */
	CHECK(elapsed_ms(start) > 600);
	CHECK(buf[2 * MIB - 3] != 0);
	free(buf);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/*
 * A cancelled read whose answer does not come: its connection is closed before
 * it ends, and other requests of that connection are asked for again.
 */
static void test_cancel(void)
{
	struct nbd_server s;
	struct nbd_task slow;
	struct nbd_task other;
	char buf[2][4096];

	nbd_server_init(&s);
	NBD_START(&s, "--filter=delay", "pattern", "1M", "rdelay=3");
	struct ms_backend *b = nbd_open_with(&s, "connections=1");
	uint64_t start = ms_now_ns();
	nbd_task_start(b, &slow,
		       (struct ms_io){.op = MS_OP_READ,
				      .length = sizeof(buf[0]),
				      .buf = buf[0]});
	nbd_task_start(b, &other,
		       (struct ms_io){.op = MS_OP_READ,
				      .length = sizeof(buf[1]),
				      .offset = 4096,
				      .buf = buf[1]});
	nbd_pause_ms(100);
	ms_cancel(b, &slow.io);
	CHECK_EQ(nbd_task_wait(&slow), -ECANCELED);
	CHECK(elapsed_ms(start) < 2500);
	CHECK_EQ(nbd_stat(b, "losses"), 1);
	CHECK_EQ(nbd_task_wait(&other), 0);
	CHECK(buf[1][6] == 0x10 && buf[1][7] == 0);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

/* --- who goes first ---------------------------------------------------------
 */

static void test_urgent(const char *options, bool hurry)
{
	struct nbd_server s;
	static struct nbd_task bulk[BULK];
	struct nbd_task urgent;
	size_t part = 128 << 10;
	char *bytes = malloc(BULK * part);
	char buf[4096];
	unsigned before = 0;

	nbd_server_init(&s);
	/* 25 MiB at 400 Mbit/s, and five of them under way at most. */
	NBD_START(&s, "--filter=rate", "memory", "64M", "rate=400M",
		  "burstiness=0.1");
	struct ms_backend *b = nbd_open_with(&s, options);
	CHECK(bytes);
	for (size_t i = 0; i < BULK; i++)
		nbd_task_start(b, &bulk[i],
			       (struct ms_io){.op = MS_OP_READ,
					      .offset = i * part,
					      .length = part,
					      .buf = bytes + i * part});
	nbd_task_start(b, &urgent,
		       (struct ms_io){.op = MS_OP_READ,
				      .priority = hurry ? MS_BULK : MS_URGENT,
				      .length = sizeof(buf),
				      .buf = buf});
	if (hurry)
		ms_hurry(b, &urgent.io);
	CHECK_EQ(nbd_task_wait(&urgent), 0);
	for (size_t i = 0; i < BULK; i++) {
		CHECK_EQ(nbd_task_wait(&bulk[i]), 0);
		before += bulk[i].order < urgent.order;
	}
	(void)printf("urgent (%s): %u of %d bulk reads were before it\n",
		     options, before, BULK);
	CHECK(before < BULK / 4);
	/* A request that ended long ago is not looked at. */
	ms_hurry(b, &urgent.io);
	free(bytes);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
}

int main(void)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed");
	test_deadline();
	test_stale_write();
	test_progress();
	test_cancel();
	test_urgent("connections=4,window=512K", false);
	test_urgent("connections=1,window=512K", false);
	test_urgent("connections=1,window=512K", true);
	return 0;
}

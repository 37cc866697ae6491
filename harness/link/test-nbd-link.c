/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store over an emulated link: its throughput is the link's and not
 * one request a round trip, somebody who waits does not wait for bulk, and a
 * host that vanishes is noticed although nothing says so.
 */
#include "approaches/common/backend/test-nbd.h"
#include "harness/link/test-live.h"

enum {
	MIB = 1 << 20,
};

static void start_server(struct nbd_server *s, const struct link *l)
{
	char address[64];

	LIVE_OK(link_enter(l, 0));
	(void)snprintf(address, sizeof(address), "--ipaddr=%s",
		       link_address(l, 0));
	const char *argv[] = {"nbdkit",	  "--foreground", address, "--pidfile",
			      s->pidfile, "memory",	  "128M",  NULL};
	nbd_server_exec(s, argv);
	LIVE_OK(link_enter(l, 1));
	(void)snprintf(s->uri, sizeof(s->uri), "nbd://%s/", link_address(l, 0));
}

static double seconds(uint64_t since)
{
	return (double)(ms_now_ns() - since) / 1e9;
}

/* Megabytes a second of one transfer. */
static double transfer(struct ms_backend *b, bool write, char *bytes,
		       uint64_t n)
{
	uint64_t start = ms_now_ns();

	if (write)
		CHECK_EQ(ms_write_at(b, bytes, n, 0), 0);
	else
		CHECK_EQ(ms_read_at(b, bytes, n, 0), 0);
	return (double)n / 1e6 / seconds(start);
}

/*
 * 240 Mbit/s are 28.7 MB/s of TCP's payload. One request of 256 KiB after
 * another would bring 8 MB/s at most. `least` leaves room for slow start.
 */
static void test_rate(const struct link *l, double least)
{
	struct nbd_server s;
	uint64_t n = 48 * MIB;
	char *bytes = calloc(1, n);

	CHECK(bytes);
	nbd_server_init(&s);
	start_server(&s, l);
	struct ms_backend *b = nbd_open_with(&s, "");
	double write = transfer(b, true, bytes, n);
	double read = transfer(b, false, bytes, n);
	(void)printf("%s: write %.1f MB/s, read %.1f MB/s\n",
		     link_profile(l)->name, write, read);
	CHECK(write > least && read > least);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	free(bytes);
}

/* Small reads beside bulk that fills the link. */
static void test_urgent(const struct link *l)
{
	struct nbd_server s;
	struct nbd_task bulk;
	uint64_t n = 48 * MIB;
	char *bytes = calloc(1, n);
	char small[4096];
	double worst = 0;
	int count = 0;

	CHECK(bytes);
	nbd_server_init(&s);
	start_server(&s, l);
	struct ms_backend *b = nbd_open_with(&s, "");
	nbd_task_start(
		b, &bulk,
		(struct ms_io){.op = MS_OP_READ, .length = n, .buf = bytes});
	while (bulk.io.state != 0 && count < 20) {
		uint64_t start = ms_now_ns();
		CHECK_EQ(ms_read_at(b, small, sizeof(small), 64 * MIB), 0);
		double t = seconds(start);
		worst = t > worst ? t : worst;
		count++;
		nbd_pause_ms(20);
	}
	CHECK_EQ(nbd_task_wait(&bulk), 0);
	(void)printf("%d urgent reads beside bulk: %.0f ms at worst\n", count,
		     worst * 1e3);
	CHECK(count >= 5);
	/* The window alone, 16 MiB, would be 560 ms. */
	CHECK(worst < 0.45);
	ms_close(b);
	nbd_server_kill(&s, SIGTERM);
	free(bytes);
}

/* Nothing arrives any more, not even an end: found by dead-after. */
static void test_cut(struct link *l)
{
	struct nbd_server s;
	char small[4096];

	nbd_server_init(&s);
	start_server(&s, l);
	struct ms_backend *b =
		nbd_open_with(&s, "dead-after=2s,connect-timeout=1s");
	CHECK_EQ(ms_read_at(b, small, sizeof(small), 0), 0);
	LIVE_OK(link_cut(l, true));
	struct nbd_task t;
	uint64_t start = ms_now_ns();
	nbd_task_start(b, &t,
		       (struct ms_io){.op = MS_OP_READ,
				      .priority = MS_URGENT,
				      .length = sizeof(small),
				      .buf = small});
	while (nbd_stat(b, "losses") == 0) {
		CHECK(seconds(start) < 10);
		nbd_pause_ms(50);
	}
	(void)printf("cut: noticed after %.1f s\n", seconds(start));
	LIVE_OK(link_cut(l, false));
	CHECK_EQ(nbd_task_wait(&t), 0);
	(void)printf("cut: answered after %.1f s\n", seconds(start));
	ms_close(b);
	/* It still waits for the connections that it thinks it has. */
	nbd_server_kill(&s, SIGKILL);
}

int main(void)
{
	live_need(true);
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	struct link *l = live_open("rtt=30ms,rate=240M");
	test_rate(l, 16);
	test_urgent(l);
	test_cut(l);
	link_close(l);
	return 0;
}

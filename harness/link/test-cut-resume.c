/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region that is read over a link of 20 ms which is cut again and again: the
 * bytes are right, nothing that had arrived crosses the wire twice, and a cut
 * that TCP survives by itself costs no connection.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/server.h"
#include "harness/link/test-live.h"
#include "memsync/backend.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum {
	SIZE = (24 << 20) + 77,
	CUTS = 3,
};

struct end {
	struct link *l;
	unsigned which;
	struct ms_backend *region; /* of the source */
	struct ms_server *server;
	char spec[256]; /* of the target */
	struct ms_backend *remote;
};

/* Sockets and the threads that make more of them belong to the namespace. */
static void *open_end(void *arg)
{
	struct end *e = arg;
	struct ms_server_export export = {.name = "e", .backend = e->region};
	struct ms_server_config config = {.exports = &export,
					  .export_count = 1,
					  .listen = "tcp://0.0.0.0:7001"};

	LIVE_OK(link_enter(e->l, e->which));
	if (e->which == LINK_SOURCE)
		LIVE_OK(ms_server_open(&config, &e->server));
	else
		LIVE_OK(ms_open(e->spec, &e->remote));
	return NULL;
}

static void run_in(struct end *e)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, open_end, e), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static uint64_t stat_of(struct ms_backend *b, const char *name)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	ms_stats(b, f);
	CHECK_EQ(fclose(f), 0);
	char *at = strstr(text, name);
	CHECK(at && (at == text || at[-1] == '\n'));
	uint64_t value = strtoull(at + strlen(name), NULL, 10);
	free(text);
	return value;
}

static void nap(unsigned ms)
{
	struct timespec t = ms_timespec(ms * MS_NS_PER_MS);

	(void)nanosleep(&t, NULL);
}

struct reader {
	struct ms_backend *b;
	char *buf;
	int rc;
	bool done; /* atomic */
};

static void *read_all(void *arg)
{
	struct reader *r = arg;

	r->rc = ms_read_at(r->b, r->buf, SIZE, 0);
	__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void test_cuts(struct link *l, struct ms_backend *b)
{
	struct reader r = {.b = b, .buf = malloc(SIZE)};
	struct link_counters before;
	struct link_counters after;
	pthread_t thread;
	unsigned cuts = 0;

	CHECK(r.buf);
	LIVE_OK(link_counters(l, LINK_SOURCE, &before));
	uint64_t rx = stat_of(b, "stream_rx_bytes");
	uint64_t start = ms_now_ns();
	CHECK_EQ(pthread_create(&thread, NULL, read_all, &r), 0);
	for (; cuts < CUTS; cuts++) {
		uint64_t have = stat_of(b, "stream_rx_bytes");
		while (stat_of(b, "stream_rx_bytes") < have + SIZE / 8)
			nap(5);
		CHECK(!__atomic_load_n(&r.done, __ATOMIC_ACQUIRE));
		LIVE_OK(link_cut(l, true));
		nap(LIVE_SANITIZED ? 2500 : 1800);
		CHECK_EQ(stat_of(b, "connections"), 0);
		LIVE_OK(link_cut(l, false));
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(r.rc, 0);
	CHECK(ms_pattern_check(1, 0, r.buf, SIZE, NULL));
	CHECK(stat_of(b, "reconnects") >= CUTS);
	LIVE_OK(link_counters(l, LINK_SOURCE, &after));
	uint64_t twice = stat_of(b, "stream_rx_bytes") - rx - SIZE;
	uint64_t wire = after.tx_bytes - before.tx_bytes;
	(void)printf("%d bytes, %u cuts: %.1f s, %" PRIu64
		     " bytes of the streams more than the region, %.1f %% on "
		     "the wire\n",
		     SIZE, cuts, (double)(ms_now_ns() - start) / 1e9, twice,
		     100.0 * ((double)wire - SIZE) / SIZE);
	/* Headers and pings only: what had come of an answer is kept. */
	CHECK(twice < SIZE / 100);
	/* What was on its way is lost: some round trips' worth. */
	CHECK(wire < SIZE + SIZE / 10 + CUTS * (UINT64_C(2) << 20));
	free(r.buf);
}

/* Too short for anybody to be dead. */
static void test_short_cut(struct link *l, struct ms_backend *b)
{
	uint64_t reconnects = stat_of(b, "reconnects");
	char c = 0;

	LIVE_OK(link_cut(l, true));
	nap(250);
	LIVE_OK(link_cut(l, false));
	CHECK_EQ(ms_read_at(b, &c, 1, SIZE - 1), 0);
	CHECK_EQ(stat_of(b, "reconnects"), reconnects);
}

int main(void)
{
	live_need(false);
	struct link *l = live_open("rtt=20ms,rate=100M");
	struct end source = {.l = l, .which = LINK_SOURCE};
	struct end target = {.l = l, .which = LINK_TARGET};

	LIVE_OK(ms_open("pattern:size=25165901,seed=1", &source.region));
	CHECK_EQ(ms_size(source.region), SIZE);
	run_in(&source);
	(void)snprintf(target.spec, sizeof(target.spec),
		       "remote:uri=tcp://%s:7001,dead-after=1s",
		       link_address(l, LINK_SOURCE));
	run_in(&target);
	test_cuts(l, target.remote);
	test_short_cut(l, target.remote);
	ms_close(target.remote);
	ms_server_stop(source.server);
	ms_close(source.region);
	link_close(l);
	return 0;
}

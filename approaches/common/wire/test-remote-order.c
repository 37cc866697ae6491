/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many requests at once: answers out of order, urgent before bulk, several
 * connections and threads, more requests than anybody should have.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/wire/loopback.h"
#include "approaches/common/wire/test-wire.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* The last request is answered first. */
static void test_out_of_order(const char *options)
{
	enum {
		N = 32
	};
	struct hold *h = hold_open(MIB, 9);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, options);
	static struct task tasks[N];
	static char buf[N][5000];

	hold_set(h, true);
	for (size_t i = 0; i < N; i++)
		task_start(
			b, &tasks[i],
			task_read(buf[i], sizeof(buf[i]), i * 5000, MS_URGENT));
	hold_await(h, N);
	for (size_t i = N; i-- > 0;) {
		struct task *t = NULL;
		uint64_t offset = h->list[i]->offset;
		hold_release(h, i, 0);
		t = &tasks[offset / 5000];
		CHECK_EQ(task_wait(t), 0);
		CHECK(ms_pattern_check(9, offset, buf[offset / 5000], 5000,
				       NULL));
	}
	ms_close(b);
	ms_server_stop(server);
	hold_off(h);
	ms_close(&h->base);
}

/*
 * Bulk requests fill the window; the store answers none. An urgent one still
 * reaches the store at once, and its answer comes while bulk is waiting.
 */
static void test_urgent_first(const char *options)
{
	enum {
		N = 64
	};
	struct hold *h = hold_open(64 * MIB, 4);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, options);
	static struct task bulk[N];
	struct task urgent;
	char *buf = malloc(N * MIB);
	char byte[16];

	CHECK(buf);
	hold_set(h, true);
	for (size_t i = 0; i < N; i++)
		task_start(b, &bulk[i],
			   task_read(buf + i * MIB, MIB, i * MIB, MS_BULK));
	hold_await(h, 1);
	task_start(b, &urgent, task_read(byte, 16, 12345, MS_URGENT));
	/* It is in the store before the last bulk requests are. */
	size_t at = 0;
	for (size_t n = 1;; n++) {
		hold_await(h, n);
		if (h->list[n - 1]->priority != MS_URGENT)
			continue;
		at = n - 1;
		break;
	}
	CHECK_EQ(h->list[at]->offset, 12345);
	uint64_t outstanding = stat_of(b, "outstanding_bytes");
	CHECK(outstanding < N * MIB);
	hold_release(h, at, 0);
	CHECK_EQ(task_wait(&urgent), 0);
	CHECK(ms_pattern_check(4, 12345, byte, 16, NULL));
	for (size_t i = 0; i < N; i++)
		CHECK(!task_is_done(&bulk[i]));
	hold_off(h);
	for (size_t i = 0; i < N; i++) {
		CHECK_EQ(task_wait(&bulk[i]), 0);
		CHECK(bulk[i].order > urgent.order);
	}
	CHECK(ms_pattern_check(4, 0, buf, N * MIB, NULL));
	free(buf);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

static void test_ten_thousand(void)
{
	enum {
		N = 10000
	};
	struct hold *h = hold_open(64 * MIB, 2);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, "");
	struct task *tasks = calloc(N, sizeof(*tasks));
	char *buf = malloc(N * 512);

	CHECK(tasks && buf);
	hold_set(h, true);
	for (size_t i = 0; i < N; i++)
		task_start(b, &tasks[i],
			   task_read(buf + i * 512, 512, i * 4096, MS_URGENT));
	hold_await(h, N);
	hold_off(h);
	for (size_t i = 0; i < N; i++) {
		CHECK_EQ(task_wait(&tasks[i]), 0);
		CHECK(ms_pattern_check(2, i * 4096, buf + i * 512, 512, NULL));
	}
	free(buf);
	free(tasks);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- threads -------------------------------------------------------------- */

struct worker {
	struct ms_backend *b;
	unsigned number;
};

/* Each has its own stretch; reads what it wrote and what others never touch. */
static void *work(void *arg)
{
	const struct worker *w = arg;
	uint64_t base = w->number * MIB;
	uint64_t state = w->number + 1;
	char *out = malloc(300 * KIB);
	char *in = malloc(300 * KIB);

	CHECK(in && out);
	for (unsigned i = 0; i < 150; i++) {
		state = state * UINT64_C(6364136223846793005) + 99;
		uint64_t n = 1 + (state >> 33) % (i % 4 ? 9000 : 300 * KIB);
		uint64_t offset = base + (state >> 40) % (MIB - n);
		ms_pattern_fill(state, 0, out, n);
		CHECK_EQ(ms_write_at(w->b, out, n, offset), 0);
		if (i % 16 == 0)
			CHECK_EQ(ms_sync(w->b), 0);
		memset(in, 0, n);
		CHECK_EQ(ms_read_at(w->b, in, n, offset), 0);
		CHECK(memcmp(in, out, n) == 0);
	}
	free(in);
	free(out);
	return NULL;
}

static void test_threads(const char *transport)
{
	enum {
		THREADS = 8
	};
	struct ms_backend *child = NULL;
	struct ms_backend *b = NULL;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	CHECK_EQ(ms_open("memory:size=8M", &child), 0);
	CHECK_EQ(ms_wire_loopback(child, transport, &b), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.b = b, .number = i};
		CHECK_EQ(pthread_create(&threads[i], NULL, work, &workers[i]),
			 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(stat_of(b, "outstanding_bytes"), 0);
	ms_close(b);
}

/* --- requests from completions -------------------------------------------- */

struct chain {
	struct ms_io io;
	struct ms_backend *b;
	unsigned left;
	char buf[4096];
	sem_t end;
};

static void chain_next(struct ms_io *io)
{
	struct chain *c = io->user;

	CHECK_EQ(io->result, 0);
	CHECK(ms_pattern_check(6, io->offset, c->buf, 4096, NULL));
	if (--c->left == 0) {
		(void)sem_post(&c->end);
		return;
	}
	io->offset += 4096;
	ms_submit(c->b, io);
}

static void test_chains(void)
{
	enum {
		CHAINS = 32,
		LINKS = 100
	};
	struct ms_backend *child = NULL;
	struct ms_backend *b = NULL;
	static struct chain chains[CHAINS];

	CHECK_EQ(ms_open("memory:size=16M,seed=6", &child), 0);
	CHECK_EQ(ms_wire_loopback(child, "unix", &b), 0);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct chain *c = &chains[i];
		c->b = b;
		c->left = LINKS;
		(void)sem_init(&c->end, 0, 0);
		c->io = task_read(c->buf, 4096, i * LINKS * 4096,
				  i % 2 ? MS_URGENT : MS_BULK);
		c->io.done = chain_next;
		c->io.user = c;
		ms_submit(b, &c->io);
	}
	for (unsigned i = 0; i < CHAINS; i++)
		CHECK(sem_wait_s(&chains[i].end, WAIT_S));
	ms_close(b);
}

/* A window of 4 KiB asks for one page at a time, as the option says. */
static void test_fixed_window(void)
{
	struct hold *h = hold_open(MIB, 8);
	struct ms_server *server = serve(&h->base, "pair://", false);
	struct ms_backend *b = client(server, ",connections=1,window=4K");
	struct task t;
	char *buf = malloc(64 * KIB);

	CHECK(buf);
	hold_set(h, true);
	task_start(b, &t, task_read(buf, 64 * KIB, 0, MS_BULK));
	for (unsigned i = 0; i < 16; i++) {
		hold_await(h, 1);
		CHECK_EQ(stat_of(b, "outstanding_bytes"), 4096);
		CHECK_EQ(h->list[0]->length, 4096);
		hold_release(h, 0, 0);
	}
	CHECK_EQ(task_wait(&t), 0);
	CHECK_EQ(h->peak, 1);
	CHECK(ms_pattern_check(8, 0, buf, 64 * KIB, NULL));
	CHECK_EQ(stat_of(b, "connections"), 1);
	hold_off(h);
	free(buf);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

int main(void)
{
	test_out_of_order("");
	test_out_of_order(",connections=1");
	test_out_of_order(",connections=7");
	test_urgent_first("");
	test_urgent_first(",connections=1");
	test_ten_thousand();
	test_threads("pair");
	test_threads("tcp");
	test_chains();
	test_fixed_window();
	return 0;
}

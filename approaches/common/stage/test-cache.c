/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: a crowd of clients, and options that make no sense. */
#include "approaches/common/stage/pusher.h"
#include "approaches/common/stage/test-probe.h"

struct client {
	pthread_t thread;
	struct ms_backend *b;
	uint64_t index;
	char model[SIZE];
};

/* Four threads, each with its own stripes of 1000 bytes, and syncs. */
static void *client_run(void *arg)
{
	struct client *c = arg;
	uint64_t seed = c->index + 1;
	char buf[1000];

	for (int i = 0; i < 1500; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		uint64_t stripe = (seed >> 40) % (SIZE / 4000) * 4 + c->index;
		uint64_t at = stripe * 1000;
		CHECK_EQ(ms_read_at(c->b, buf, sizeof(buf), at), 0);
		CHECK(memcmp(buf, c->model + at, sizeof(buf)) == 0);
		if (i % 3 == 0) {
			ms_pattern_fill(seed, 0, buf, sizeof(buf));
			CHECK_EQ(ms_write_at(c->b, buf, sizeof(buf), at), 0);
			memcpy(c->model + at, buf, sizeof(buf));
		}
		if (i % 100 == 0)
			CHECK_EQ(ms_sync(c->b), 0);
	}
	return NULL;
}

static void test_crowd(uint64_t limit)
{
	struct probe *p = probe_new();
	struct ms_backend *b =
		cache_over(p, (struct ms_cache_options){.limit = limit});
	struct client *c = calloc(4, sizeof(*c));
	struct ms_pusher *pusher = NULL;
	struct ms_pusher_options o = {.interval_ns = MS_NS_PER_MS};

	CHECK(c);
	CHECK_EQ(ms_pusher_start(b, &o, &pusher), 0);
	for (uint64_t i = 0; i < 4; i++) {
		c[i].b = b;
		c[i].index = i;
		memcpy(c[i].model, p->bytes, SIZE);
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&c[i].thread, NULL, client_run, &c[i]),
			 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(c[i].thread, NULL), 0);
	ms_pusher_stop(pusher);
	CHECK_EQ(ms_sync(b), 0);
	for (uint64_t at = 0; at + 1000 <= SIZE / 4000 * 4000; at += 1000)
		CHECK(memcmp(p->bytes + at, c[at / 1000 % 4].model + at,
			     1000) == 0);
	free(c);
	ms_close(b);
}

static void test_bad_options(void)
{
	static const struct {
		struct ms_cache_options o;
		const char *text;
	} bad[] = {
		{{.chunk = 5000, .request = 1 << 20}, "power of two"},
		{{.chunk = 2048, .request = 1 << 20}, "power of two"},
		{{.chunk = 4096, .request = 5000}, "multiple"},
		{{.chunk = 4096, .request = 4096, .limit = 4096}, "limit"},
	};
	struct probe *p = probe_new();
	struct ms_backend *local = NULL;
	struct ms_backend *b = NULL;

	CHECK_EQ(ms_memory_open(1, &local), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(ms_cache_open(local, &p->base, &bad[i].o, &b),
			 -EINVAL);
		CHECK_HAS(memsync_error(), bad[i].text);
	}
	CHECK(b == NULL);
	ms_close(local);
	ms_close(&p->base);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_crowd(0);
		test_crowd(16 * CHUNK);
	}
	test_bad_options();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that go away: restarted with what they had, with less, with another
 * region, or not at all; and what that does to syncs, deadlines and closing.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/wire/test-resume.h"

#define MIB (UINT64_C(1) << 20)

static struct ms_backend *memory(uint64_t size)
{
	struct ms_backend *m = NULL;
	char spec[64];

	(void)snprintf(spec, sizeof(spec), "memory:size=%" PRIu64 ",seed=1",
		       size);
	CHECK_EQ(ms_open(spec, &m), 0);
	return m;
}

/* --- durability ----------------------------------------------------------- */

/* Only what was acknowledged and not synced is in doubt, and only once. */
static void test_doubt(void)
{
	struct ms_backend *m = memory(MIB);
	struct ms_server *server = serve(m, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	struct ms_io fua = task_write("f", 1, 9, MS_URGENT);
	char c = 0;

	CHECK_EQ(ms_write_at(b, "a", 1, 5), 0);
	CHECK_EQ(ms_sync(b), 0);
	fua.flags = MS_FUA;
	CHECK_EQ(ms_wait(b, &fua), 0);
	ms_server_stop(server);
	server = serve(m, unix_uri(), false);
	/* Synced, durable by itself, or not yet sent: nothing is in doubt. */
	CHECK_EQ(ms_write_at(b, "b", 1, 6), 0);
	CHECK_EQ(stat_of(b, "restarts"), 1);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_write_at(b, "c", 1, 7), 0);
	ms_server_stop(server);
	server = serve(m, unix_uri(), false);
	CHECK_EQ(ms_read_at(b, &c, 1, 7), 0);
	CHECK_EQ(ms_write_at(b, "d", 1, 8), 0);
	CHECK_EQ(ms_sync(b), -ESTALE);
	CHECK_HAS(memsync_error(), "the server was restarted");
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(stat_of(b, "restarts"), 2);
	ms_close(b);
	ms_server_stop(server);
	ms_close(m);
}

/* The sync is on its way when the server is restarted. */
static void test_doubt_during_sync(void)
{
	struct hold *h = hold_open(MIB, 1);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	struct task t;

	CHECK_EQ(ms_write_at(b, "a", 1, 5), 0);
	hold_set(h, true);
	task_start(b, &t, (struct ms_io){.op = MS_OP_SYNC});
	hold_await(h, 1);
	cut_client(b);
	hold_off(h);
	ms_server_stop(server);
	server = serve(&h->base, unix_uri(), false);
	int rc = task_wait(&t);
	/* It may have been repeated before the server was stopped. */
	CHECK(rc == -ESTALE || rc == 0);
	if (rc)
		CHECK_HAS(t.io.origin, "the server was restarted");
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* One write, a part of which was acknowledged before the restart. */
static void test_doubt_in_parts(void)
{
	struct hold *h = hold_open(MIB, 1);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *b =
		client(server, ",connections=1,window=64K,max-request=64K");
	struct remote *r = ms_container_of(b, struct remote, base);
	struct task t;
	static char out[256 << 10];

	hold_set(h, true);
	task_start(b, &t, task_write(out, sizeof(out), 0, MS_BULK));
	hold_await(h, 1);
	hold_release(h, 0, 0);
	hold_await(h, 1);
	CHECK_EQ(stat_of(b, "write_bytes"), 64 << 10);
	cut_client(b);
	pthread_mutex_lock(&r->lock);
	r->conns[0].failures = 4; /* it stays away for some 200 ms */
	pthread_mutex_unlock(&r->lock);
	hold_off(h);
	ms_server_stop(server);
	server = serve(&h->base, unix_uri(), false);
	CHECK_EQ(task_wait(&t), 0);
	CHECK_EQ(ms_sync(b), -ESTALE);
	CHECK_EQ(ms_sync(b), 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/*
 * The server comes back without what it had not synced. Whoever syncs through
 * a cache hears nothing of it, and loses nothing.
 */
static void test_cache(void)
{
	struct ms_backend *before = memory(MIB);
	struct ms_backend *after = memory(MIB);
	struct ms_server *server = serve(before, unix_uri(), false);
	struct ms_backend *cache = NULL;
	char spec[256];
	static char out[MIB];
	static char in[MIB];

	(void)snprintf(spec, sizeof(spec),
		       "cache:local=memory,remote=(remote:uri=%s),chunk=4K,"
		       "request=64K",
		       unix_uri());
	CHECK_EQ(ms_open(spec, &cache), 0);
	ms_pattern_fill(77, 0, out, sizeof(out));
	CHECK_EQ(ms_write_at(cache, out, MIB / 2, 0), 0);
	ms_cache_push(cache);
	while (ms_cache_dirty_chunks(cache))
		nap(2);
	ms_server_stop(server);
	server = serve(after, unix_uri(), false);
	CHECK_EQ(ms_write_at(cache, out + MIB / 2, MIB / 2, MIB / 2), 0);
	CHECK_EQ(ms_sync(cache), 0);
	CHECK_EQ(ms_read_at(after, in, MIB, 0), 0);
	CHECK(memcmp(in, out, MIB) == 0);
	CHECK_EQ(ms_cache_dirty_chunks(cache), 0);
	ms_close(cache);
	ms_server_stop(server);
	ms_close(before);
	ms_close(after);
}

/* --- another server ------------------------------------------------------- */

static void test_other_size(void)
{
	struct ms_backend *m = memory(MIB);
	struct ms_backend *more = memory(MIB + 1);
	struct ms_server *server = serve(m, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	struct task t;
	char c = 0;

	CHECK_EQ(ms_read_at(b, &c, 1, 0), 0);
	ms_server_stop(server);
	task_start(b, &t, task_read(&c, 1, 0, MS_URGENT));
	server = serve(more, unix_uri(), false);
	CHECK_EQ(task_wait(&t), -ESTALE);
	CHECK_HAS(t.io.origin, "another size");
	CHECK_EQ(ms_write_at(b, &c, 1, 0), -ESTALE);
	CHECK_HAS(memsync_error(), "another size");
	CHECK_EQ(ms_sync(b), -ESTALE);
	ms_close(b);
	ms_server_stop(server);
	ms_close(m);
	ms_close(more);
}

/* The same name and size, but it can be written no more; no such name. */
static void test_other_export(void)
{
	struct ms_backend *m = memory(MIB);
	struct ms_server *server = serve(m, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	char uri[256];
	char c = 0;

	(void)snprintf(uri, sizeof(uri), "%s?e", unix_uri());
	struct ms_backend *named = open_remote(uri, "");
	ms_server_stop(server);
	struct ms_server_export export = {
		.name = "f", .backend = m, .read_only = true};
	struct ms_server_config config = {
		.exports = &export, .export_count = 1, .listen = unix_uri()};
	CHECK_EQ(ms_server_open(&config, &server), 0);
	CHECK_EQ(ms_read_at(b, &c, 1, 0), -EPROTO);
	CHECK_HAS(memsync_error(), "can do less than before");
	CHECK_EQ(ms_read_at(named, &c, 1, 0), -ENOENT);
	CHECK_HAS(memsync_error(), "refuses");
	ms_close(b);
	ms_close(named);
	ms_server_stop(server);
	ms_close(m);
}

/* A resize that the server did, but whose answer was lost. */
static void test_resize(void)
{
	struct hold *h = hold_open(MIB, 1);
	struct ms_server *server = serve(&h->base, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	struct task t;
	char c = 1;

	hold_set(h, true);
	task_start(b, &t,
		   (struct ms_io){.op = MS_OP_RESIZE, .offset = 2 * MIB});
	hold_await(h, 1);
	cut_client(b);
	nap(50);
	ms_size_set(&h->base, 2 * MIB);
	hold_off(h);
	ms_server_stop(server);
	server = serve(&h->base, unix_uri(), false);
	CHECK_EQ(task_wait(&t), 0);
	CHECK_EQ(ms_size(b), 2 * MIB);
	CHECK_EQ(ms_read_at(b, &c, 1, 2 * MIB - 1), 0);
	CHECK_EQ(c, 0);
	ms_close(b);
	ms_server_stop(server);
	ms_close(&h->base);
}

/* --- no server ------------------------------------------------------------ */

static void test_patience(void)
{
	struct ms_backend *m = memory(MIB);
	struct ms_server *server = serve(m, unix_uri(), false);
	struct ms_backend *b = client(server, ",reconnect=400ms");
	char c = 0;

	CHECK_EQ(ms_read_at(b, &c, 1, 0), 0);
	uint64_t start = ms_now_ns();
	ms_server_stop(server);
	CHECK_EQ(ms_read_at(b, &c, 1, 0), -ENOTCONN);
	CHECK_HAS(memsync_error(), "longer than reconnect");
	CHECK(ms_now_ns() - start >= 350 * MS);
	CHECK(ms_now_ns() - start < 5000 * MS);
	/* From now on at once, also when a server comes after all. */
	server = serve(m, unix_uri(), false);
	CHECK_EQ(ms_write_at(b, &c, 1, 0), -ENOTCONN);
	CHECK_EQ(ms_sync(b), -ENOTCONN);
	ms_close(b);
	ms_server_stop(server);
	ms_close(m);
}

/* Requests end at their deadlines, cancels at once; the rest goes on. */
static void test_deadline(void)
{
	struct ms_backend *m = memory(MIB);
	struct ms_server *server = serve(m, unix_uri(), false);
	struct ms_backend *b = client(server, "");
	struct task patient;
	struct task urgent;
	struct task cancelled;
	char buf[3] = {0};

	CHECK_EQ(ms_read_at(b, buf, 1, 0), 0);
	ms_server_stop(server);
	nap(100);
	uint64_t start = ms_now_ns();
	struct ms_io io = task_read(buf, 1, 0, MS_URGENT);
	io.deadline_ns = start + 150 * MS;
	task_start(b, &patient, task_read(buf + 1, 1, 1, MS_URGENT));
	task_start(b, &cancelled, task_write(buf + 2, 1, 2, MS_BULK));
	task_start(b, &urgent, io);
	ms_cancel(b, &cancelled.io);
	CHECK_EQ(task_wait(&cancelled), -ECANCELED);
	CHECK(ms_now_ns() - start < 140 * MS || task_is_done(&urgent));
	CHECK_EQ(task_wait(&urgent), -ETIMEDOUT);
	CHECK(ms_now_ns() - start >= 150 * MS);
	CHECK(!task_is_done(&patient));
	server = serve(m, unix_uri(), false);
	CHECK_EQ(task_wait(&patient), 0);
	CHECK(ms_pattern_check(1, 1, buf + 1, 1, NULL));
	ms_close(b);
	ms_server_stop(server);
	ms_close(m);
}

/* Whatever state the attempts are in, closing does not wait for them. */
static void test_close(void)
{
	for (unsigned i = 0; i < 12; i++) {
		struct ms_backend *m = memory(MIB);
		struct ms_server *server = serve(
			m, i % 2 ? unix_uri() : "tcp://127.0.0.1:0", false);
		struct ms_backend *b = client(server, "");
		ms_server_stop(server);
		nap(i * 15);
		uint64_t start = ms_now_ns();
		ms_close(b);
		CHECK(ms_now_ns() - start < 1000 * MS);
		ms_close(m);
	}
}

int main(void)
{
	test_doubt();
	test_doubt_during_sync();
	test_doubt_in_parts();
	test_cache();
	test_other_size();
	test_other_export();
	test_resize();
	test_patience();
	test_deadline();
	test_close();
	return 0;
}

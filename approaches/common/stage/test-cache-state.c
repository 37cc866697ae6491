/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache's state file: what the next cache takes over. Crashes under load
 * are in test-cache-crash.c, damaged files in test-cache-damage.c.
 */
#include "approaches/common/stage/test-kept.h"

#include "approaches/common/stage/puller.h"

/* --- resuming ----------------------------------------------------------- */

static void pull_rest(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});
	struct ms_puller_options o;
	struct ms_puller *puller = NULL;

	CHECK_EQ(ms_cache_local_chunks(b), HALF);
	CHECK_EQ(ms_cache_state(b, HALF - 1), MS_CHUNK_LOCAL);
	CHECK_EQ(ms_cache_state(b, HALF), MS_CHUNK_ABSENT);
	CHECK_EQ(stat_of(b, "resumed_clean_chunks"), HALF);
	ms_puller_defaults(&o);
	CHECK_EQ(ms_puller_start(b, &o, &puller), 0);
	CHECK_EQ(ms_puller_wait(puller), 0);
	ms_puller_stop(puller);
	read_all(b);
	CHECK(memcmp(buf, outside->remote, SIZE) == 0);
	CHECK_EQ(outside->read_bytes, SIZE); /* nothing twice */
	ms_close(b);
}

static void test_pulls_only_what_is_absent(void)
{
	start_anew();
	in_child(pull_half);
	in_child(pull_rest);
}

static void resume_changes(void)
{
	uint64_t before = outside->read_bytes;
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_cache_local_chunks(b), 15);
	CHECK_EQ(ms_cache_dirty_chunks(b), 5);
	CHECK_EQ(ms_cache_state(b, 9), MS_CHUNK_LOCAL);
	CHECK_EQ(ms_cache_state(b, 20), MS_CHUNK_DIRTY);
	CHECK_EQ(ms_read_at(b, buf, 4 * CHUNK, 20 * CHUNK), 0);
	CHECK(memcmp(buf, expected + 20 * CHUNK, 4 * CHUNK) == 0);
	CHECK_EQ(outside->read_bytes, before);
	CHECK(memcmp(outside->remote, expected, SIZE) != 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(outside->remote, expected, SIZE) == 0);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	read_all(b);
	CHECK(memcmp(buf, expected, SIZE) == 0);
}

static void all_clean(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){.verify = true});

	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	CHECK_EQ(stat_of(b, "resumed_clean_chunks"), CHUNKS);
	CHECK_EQ(stat_of(b, "resumed_dirty_chunks"), 0);
	uint64_t before = outside->reads;
	read_all(b);
	CHECK(memcmp(buf, expected, SIZE) == 0);
	CHECK_EQ(outside->reads, before);
	CHECK_EQ(stat_of(b, "verified_chunks"), CHUNKS);
	CHECK_EQ(stat_of(b, "torn_chunks"), 0);
	ms_close(b);
}

static void test_changes_survive(void)
{
	start_anew();
	in_child(change_and_crash);
	expect_changes();
	in_child(resume_changes);
	in_child(all_clean);
}

/* Closed in order, with changes that were not synced. */
static void change_and_close(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_read_at(b, buf, 10 * CHUNK, 0), 0);
	ms_pattern_fill(50, 0, buf, 4 * CHUNK);
	CHECK_EQ(ms_write_at(b, buf, 4 * CHUNK - 100, 20 * CHUNK + 100), 0);
	CHECK_EQ(ms_write_at(b, buf, 300, SIZE - 300), 0);
	ms_close(b);
}

static void test_closing_keeps_changes(void)
{
	start_anew();
	in_child(change_and_close);
	expect_changes();
	in_child(resume_changes);
}

/* --- torn chunks -------------------------------------------------------- */

static void flip_local(uint64_t at)
{
	int fd = open(local_path, O_RDWR | O_CLOEXEC);
	char byte = 0;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	CHECK_EQ(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
}

static void find_torn(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){.verify = true});
	uint64_t before = outside->read_bytes;

	CHECK_EQ(ms_cache_next_absent(b, 0, false), 0);
	read_all(b);
	CHECK(memcmp(buf, outside->remote, SIZE) == 0);
	CHECK_EQ(stat_of(b, "torn_chunks"), 2);
	CHECK_EQ(stat_of(b, "verified_chunks"), HALF - 2);
	CHECK_EQ(outside->read_bytes - before, SIZE - (HALF - 2) * CHUNK);
	ms_close(b);
}

/* A suspect chunk is written over before anybody looks at it. */
static void write_over_suspects(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){.verify = true});

	memcpy(expected, outside->remote, SIZE);
	memset(buf, 5, 2 * CHUNK);
	memset(expected + CHUNK, 5, 2 * CHUNK);	    /* covered */
	memset(expected + 7 * CHUNK + 9, 5, CHUNK); /* parts of two */
	CHECK_EQ(ms_write_at(b, buf, 2 * CHUNK, CHUNK), 0);
	CHECK_EQ(ms_write_at(b, buf, CHUNK, 7 * CHUNK + 9), 0);
	CHECK_EQ(ms_cache_dirty_chunks(b), 4);
	CHECK_EQ(stat_of(b, "verified_chunks"), 2);
	read_all(b);
	CHECK(memcmp(buf, expected, SIZE) == 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(outside->remote, expected, SIZE) == 0);
	ms_close(b);
}

static void test_torn(void)
{
	start_anew();
	in_child(pull_half);
	/* Not one of those that every opening compares. */
	flip_local(2 * CHUNK + 77);
	flip_local(5 * CHUNK);
	in_child(find_torn);
	start_anew();
	in_child(pull_half);
	in_child(write_over_suspects);
}

/* --- a write that is on its way ----------------------------------------- */

/* In front of a local store: writes that never end, once `stuck` is set. */
struct sticky {
	struct ms_backend base;
	struct ms_backend *next;
	bool stuck;
};

static void sticky_submit(struct ms_backend *b, struct ms_io *io)
{
	struct sticky *s = ms_container_of(b, struct sticky, base);

	if (!s->stuck || io->op != MS_OP_WRITE)
		ms_forward(s->next, io);
}

static const struct ms_backend_ops sticky_ops = {
	.name = "sticky",
	.submit = sticky_submit,
};

static void no_done(struct ms_io *io)
{
	(void)io;
}

/* Half of the bytes of the second write arrive, after a SYNC of the first. */
static void sync_during_write(void)
{
	static struct ms_io io = {.op = MS_OP_WRITE,
				  .length = CHUNK,
				  .buf = buf,
				  .done = no_done};
	struct sticky s = {0};
	struct ms_backend *b = NULL;
	char spec[200];
	struct ms_cache_options o = {.chunk = CHUNK,
				     .request = CHUNK,
				     .state = state_path,
				     .id = "region"};

	(void)snprintf(spec, sizeof(spec), "file:path=%s,size=%llu", local_path,
		       (unsigned long long)SIZE);
	CHECK_EQ(ms_open(spec, &s.next), 0);
	ms_backend_init(&s.base, &sticky_ops, SIZE, MS_CAN_WRITE);
	CHECK_EQ(ms_cache_open(&s.base, far_new(), &o, &b), 0);
	memset(buf, 1, CHUNK);
	CHECK_EQ(ms_write_at(b, buf, CHUNK, 0), 0);
	s.stuck = true;
	memset(buf, 2, CHUNK);
	ms_submit(b, &io);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(outside->writes > 0);
	CHECK_EQ(outside->remote[0], 1);
	CHECK_EQ(ms_write_at(s.next, buf, CHUNK / 2, 0), 0);
}

static void still_dirty(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_cache_state(b, 0), MS_CHUNK_DIRTY);
	CHECK_EQ(ms_sync(b), 0);
	read_all(b);
	CHECK(memcmp(buf, outside->remote, SIZE) == 0);
	CHECK_EQ(buf[0], 2);
	CHECK_EQ(buf[CHUNK - 1], 1);
	ms_close(b);
}

static void test_sync_during_write(void)
{
	start_anew();
	in_child(sync_during_write);
	in_child(still_dirty);
}

/* --- sizes -------------------------------------------------------------- */

static void after_resize(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_size(b), outside->size);
	read_all(b);
	CHECK(memcmp(buf, expected, ms_size(b)) == 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(outside->remote, expected, ms_size(b)) == 0);
	read_all(b);
	CHECK(memcmp(buf, expected, ms_size(b)) == 0);
	ms_close(b);
}

static void test_resized(void)
{
	static const uint64_t sizes[] = {SIZE - 150,	  SIZE + 50,
					 SIZE + 100,	  SIZE + 101,
					 SIZE_MAX_ - 333, SIZE_MAX_};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		start_anew();
		in_child(change_and_crash);
		expect_changes();
		/* What is cut off is gone. */
		memcpy(expected + sizes[i], outside->remote + sizes[i],
		       SIZE_MAX_ - sizes[i]);
		outside->size = sizes[i];
		in_child(after_resize);
		/* And back, with everything clean. */
		outside->size = SIZE - 2 * CHUNK;
		in_child(after_resize);
		outside->size = SIZE;
		in_child(after_resize);
	}
	start_anew();
	outside->size = 0;
	in_child(after_resize);
}

/* --- limits ------------------------------------------------------------- */

static void below_limit(void)
{
	struct ms_backend *b =
		kept((struct ms_cache_options){.limit = 20 * CHUNK});

	CHECK_EQ(ms_cache_local_chunks(b), 20);
	CHECK_EQ(stat_of(b, "resumed_clean_chunks"), 20);
	for (int i = 0; i < 3; i++) {
		read_all(b);
		CHECK(memcmp(buf, outside->remote, SIZE) == 0);
		CHECK(ms_cache_local_chunks(b) <= 20);
	}
	_exit(0);
}

static void below_limit_again(void)
{
	struct ms_backend *b = kept(
		(struct ms_cache_options){.limit = 40 * CHUNK, .verify = true});

	CHECK(ms_cache_local_chunks(b) <= 20);
	CHECK(ms_cache_local_chunks(b) > 0);
	CHECK_EQ(stat_of(b, "torn_chunks"), 0);
	read_all(b);
	CHECK(memcmp(buf, outside->remote, SIZE) == 0);
	ms_close(b);
}

static void test_limit(void)
{
	start_anew();
	in_child(pull_half);
	in_child(below_limit);
	in_child(below_limit_again);
}

/* --- options ------------------------------------------------------------ */

static void bad_options(void)
{
	struct ms_backend *b = NULL;
	char id[CACHE_STATE_ID_MAX + 2];

	CHECK_EQ(kept_open((struct ms_cache_options){.watch = true}, &b),
		 -EINVAL);
	CHECK_HAS(memsync_error(), "watch");
	memset(id, 'i', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	CHECK_EQ(kept_open((struct ms_cache_options){.id = id}, &b), -EINVAL);
	CHECK_EQ(ms_open("cache:local=memory,remote=memory,state=/tmp/x", &b),
		 -EINVAL);
	CHECK_HAS(memsync_error(), "outlasts");
	CHECK(access(state_path, F_OK) != 0);
	/* A folder and a device are no state files. */
	CHECK_EQ(mkdir(state_path, 0700), 0);
	CHECK(kept_open((struct ms_cache_options){0}, &b) < 0);
	CHECK_EQ(rmdir(state_path), 0);
	CHECK_EQ(symlink("/dev/null", state_path), 0);
	CHECK_EQ(kept_open((struct ms_cache_options){0}, &b), -EINVAL);
	CHECK_EQ(unlink(state_path), 0);
}

/* The whole text, as a user writes it; the id is the remote's spec. */
static void by_spec(void)
{
	char spec[500];
	struct ms_backend *b = NULL;

	(void)snprintf(spec, sizeof(spec),
		       "cache:local=(file:path=%s,create=yes),remote=(memory:"
		       "size=1M,seed=9),chunk=4K,state=%s,verify=yes",
		       local_path, state_path);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(ms_open(spec, &b), 0);
		CHECK_EQ(stat_of(b, "resumed_clean_chunks"), i ? 3 : 0);
		CHECK_EQ(ms_read_at(b, buf, 3 * CHUNK, 50 * CHUNK), 0);
		CHECK(ms_pattern_check(9, 50 * CHUNK, buf, 3 * CHUNK, NULL));
		ms_close(b);
	}
}

/* --- two ---------------------------------------------------------------- */

static void open_twice(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});
	struct ms_backend *other = NULL;
	struct ms_backend *local = NULL;
	struct ms_backend *remote = far_new();
	struct ms_cache_options o = {
		.chunk = CHUNK, .request = CHUNK, .state = state_path};

	CHECK_EQ(ms_open("memory:size=1M", &local), 0);
	CHECK_EQ(ms_cache_open(local, remote, &o, &other), -EBUSY);
	CHECK_HAS(memsync_error(), "in use");
	ms_close(b);
	CHECK_EQ(ms_cache_open(local, remote, &o, &other), 0);
	ms_close(other);
}

int main(void)
{
	set_up();
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_pulls_only_what_is_absent();
		test_changes_survive();
		test_closing_keeps_changes();
		test_torn();
		test_resized();
		test_limit();
	}
	test_sync_during_write();
	start_anew();
	in_child(open_twice);
	start_anew();
	in_child(bad_options);
	start_anew();
	in_child(by_spec);
	tear_down();
	return 0;
}

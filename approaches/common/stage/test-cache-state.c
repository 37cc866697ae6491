/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache's state file: what the next cache takes over, and what it makes of
 * files that are damaged, cut short, in use, or another region's. Crashes under
 * load are in test-cache-crash.c.
 */
#include "approaches/common/stage/test-kept.h"

#include "approaches/common/stage/puller.h"

static char expected[SIZE_MAX_];
static char buf[SIZE_MAX_];

#define HALF (CHUNKS / 2)

/* --- resuming ----------------------------------------------------------- */

static void read_all(struct ms_backend *b)
{
	CHECK_EQ(ms_read_at(b, buf, ms_size(b), 0), 0);
}

static void pull_half(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_STR(ms_cache_note(b), "");
	CHECK_EQ(ms_read_at(b, buf, HALF * CHUNK, 0), 0);
	CHECK_EQ(outside->read_bytes, HALF * CHUNK);
	ms_close(b);
}

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

/* Chunks 0 to 9 clean, 20 to 23 changed (a part, and three whole), a short
 * changed one at the end; the process ends without closing anything. */
static void change_and_crash(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_read_at(b, buf, 10 * CHUNK, 0), 0);
	ms_pattern_fill(50, 0, buf, 4 * CHUNK);
	CHECK_EQ(ms_write_at(b, buf, 4 * CHUNK - 100, 20 * CHUNK + 100), 0);
	CHECK_EQ(ms_write_at(b, buf, 300, SIZE - 300), 0);
}

static void expect_changes(void)
{
	memcpy(expected, outside->remote, sizeof(expected));
	ms_pattern_fill(50, 0, expected + 20 * CHUNK + 100, 4 * CHUNK - 100);
	ms_pattern_fill(50, 0, expected + SIZE - 300, 300);
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

/* --- somebody else's ---------------------------------------------------- */

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

/* Refused, and left as it is; with discard=yes all is absent. */
static void refuse_then_discard(struct ms_cache_options o, const char *why)
{
	struct ms_backend *b = NULL;
	uint64_t length = 0;
	uint64_t length_after = 0;
	char *before = slurp(state_path, &length);

	CHECK_EQ(kept_open(o, &b), -EUCLEAN);
	CHECK_HAS(memsync_error(), why);
	CHECK_HAS(memsync_error(), "discard=yes");
	char *after = slurp(state_path, &length_after);
	CHECK_EQ(length, length_after);
	CHECK(memcmp(before, after, length) == 0);
	free(before);
	free(after);
	o.discard = true;
	b = kept(o);
	CHECK_HAS(ms_cache_note(b), why);
	/* Of a file without a header nobody knows how many there were. */
	CHECK(stat_of(b, "dropped_chunks") > 0 || strcmp(why, "damaged") == 0);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	read_all(b);
	CHECK(memcmp(buf, outside->remote, ms_size(b)) == 0);
	ms_close(b);
}

static void other_id(void)
{
	refuse_then_discard((struct ms_cache_options){.id = "another"},
			    "another region");
}

static void other_chunk(void)
{
	refuse_then_discard((struct ms_cache_options){.chunk = 2 * CHUNK},
			    "another chunk size");
}

static void other_store(void)
{
	CHECK_EQ(truncate(local_path, 0), 0);
	refuse_then_discard((struct ms_cache_options){0}, "local store");
}

/* As long as ours, and without its bytes. */
static void store_like_it(void)
{
	CHECK_EQ(truncate(local_path, 0), 0);
	CHECK_EQ(truncate(local_path, SIZE), 0);
	refuse_then_discard((struct ms_cache_options){0}, "does not hold");
}

static void not_a_state(void)
{
	memset(buf, 'x', sizeof(buf));
	spill(state_path, buf, 20000);
	refuse_then_discard((struct ms_cache_options){0}, "damaged");
}

static void test_foreign(void)
{
	static void (*const others[])(void) = {other_id, other_chunk,
					       other_store, store_like_it};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		start_anew();
		in_child(change_and_crash);
		in_child(others[i]);
	}
	start_anew();
	spill(state_path, "", 0); /* an empty file is a new one */
	in_child(pull_half);
	start_anew();
	in_child(not_a_state);
}

/* Without changes nothing is lost: no refusal, but a note. */
static void foreign_and_clean(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){.id = "another"});

	CHECK_HAS(ms_cache_note(b), "another region");
	CHECK_EQ(ms_cache_local_chunks(b), 0);
	CHECK_EQ(stat_of(b, "dropped_chunks"), HALF);
	ms_close(b);
}

static void store_like_it_and_clean(void)
{
	CHECK_EQ(truncate(local_path, 0), 0);
	CHECK_EQ(truncate(local_path, SIZE), 0);
	struct ms_backend *b = kept((struct ms_cache_options){0});
	CHECK_HAS(ms_cache_note(b), "does not hold");
	read_all(b);
	CHECK(memcmp(buf, outside->remote, SIZE) == 0);
	ms_close(b);
}

static void test_foreign_and_clean(void)
{
	start_anew();
	in_child(pull_half);
	in_child(foreign_and_clean);
	start_anew();
	in_child(pull_half);
	in_child(store_like_it_and_clean);
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

static void beyond_the_end(void)
{
	refuse_then_discard((struct ms_cache_options){0}, "beyond the end");
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
	in_child(change_and_crash);
	outside->size = 20 * CHUNK - 50;
	in_child(beyond_the_end);
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

int main(void)
{
	set_up();
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_pulls_only_what_is_absent();
		test_changes_survive();
		test_closing_keeps_changes();
		test_foreign();
		test_foreign_and_clean();
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

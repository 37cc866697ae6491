/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State files that are damaged, cut short, or another region's: never a crash,
 * never a wrong byte, and no change lost without discard=yes.
 */
#include "approaches/common/stage/test-kept.h"

/* --- somebody else's ---------------------------------------------------- */

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

static void beyond_the_end(void)
{
	refuse_then_discard((struct ms_cache_options){0}, "beyond the end");
}

static void test_shrunk(void)
{
	start_anew();
	in_child(change_and_crash);
	outside->size = 20 * CHUNK - 50;
	in_child(beyond_the_end);
}

/* --- damage ------------------------------------------------------------- */

static char *state_bytes, *local_bytes;
static uint64_t state_length, local_length;
static uint64_t taken, refused;

/* Five chunks and a bit: 0 and 1 clean, 3 changed; then a crash. */
static void small_crash(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_EQ(ms_read_at(b, buf, 2 * CHUNK, 0), 0);
	memset(buf, 7, CHUNK);
	CHECK_EQ(ms_write_at(b, buf, CHUNK, 3 * CHUNK), 0);
}

/* All bytes as they should be; or, after a discard, the remote's. */
static void check_bytes(struct ms_backend *b, bool discarded)
{
	read_all(b);
	if (memcmp(buf, expected, ms_size(b)) == 0)
		return;
	CHECK(discarded);
	CHECK(memcmp(buf, outside->remote, ms_size(b)) == 0);
}

/* Open what is there, whichever way it lets us. */
static void open_damaged(void)
{
	struct ms_cache_options o = {0};
	struct ms_backend *b = NULL;
	int rc = kept_open(o, &b);

	CHECK(rc == 0 || rc == -EUCLEAN);
	if (rc == 0) {
		taken++;
		check_bytes(b, false);
		ms_close(b);
		return;
	}
	refused++;
	CHECK_HAS(memsync_error(), "discard=yes");
	o.discard = true;
	b = kept(o);
	CHECK(*ms_cache_note(b));
	check_bytes(b, true);
	ms_close(b);
	/* And everything is in order again. */
	b = kept((struct ms_cache_options){0});
	CHECK_STR(ms_cache_note(b), "");
	ms_close(b);
}

static void restore(void)
{
	spill(state_path, state_bytes, state_length);
	spill(local_path, local_bytes, local_length);
}

static void flip_each_byte(void)
{
	for (uint64_t at = 0; at < state_length; at++) {
		state_bytes[at] =
			(char)((unsigned char)state_bytes[at] ^ (1U << at % 8));
		restore();
		open_damaged();
		state_bytes[at] =
			(char)((unsigned char)state_bytes[at] ^ (1U << at % 8));
	}
	/* Damage of what is not used changes nothing; of a header, a lot. */
	CHECK(taken > 0 && refused > 2 * 8);
	CHECK(taken + refused == state_length);
}

static void cut_everywhere(void)
{
	uint64_t full = state_length;

	refused = 0;
	/* An empty file is a new one: cutting to that leaves no trace. */
	for (uint64_t at = 1; at < full; at += 61) {
		state_length = at;
		restore();
		open_damaged();
	}
	CHECK_EQ(refused, (full - 1 + 60) / 61);
}

static void random_damage(void)
{
	char *good = malloc(state_length);
	uint64_t n = 0;

	CHECK(good);
	memcpy(good, state_bytes, state_length);
	for (int i = 0; i < (getenv("MS_SOAK") ? 5000 : 300); i++) {
		uint64_t count = 1 + ms_random(4, n++) % 64;
		for (uint64_t j = 0; j < count; j++) {
			uint64_t at = ms_random(4, n++) % state_length;
			state_bytes[at] = (char)ms_random(4, n++);
		}
		restore();
		open_damaged();
		memcpy(state_bytes, good, state_length);
	}
	free(good);
}

static void test_damage(void (*how)(void))
{
	start_anew();
	outside->size = 5 * CHUNK + 100;
	in_child(small_crash);
	memcpy(expected, outside->remote, sizeof(expected));
	memset(expected + 3 * CHUNK, 7, CHUNK);
	state_bytes = slurp(state_path, &state_length);
	local_bytes = slurp(local_path, &local_length);
	in_child(how);
	free(state_bytes);
	free(local_bytes);
}

int main(void)
{
	set_up();
	for (int i = 0; i < 2; i++) {
		with_map = i == 1;
		test_foreign();
		test_foreign_and_clean();
		test_shrunk();
	}
	test_damage(flip_each_byte);
	test_damage(cut_everywhere);
	test_damage(random_damage);
	tear_down();
	return 0;
}

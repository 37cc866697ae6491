/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache with a state file is killed (SIGKILL) at random moments under load,
 * hundreds of times in a row over the same files; after each, every byte is
 * compared with what had been acknowledged. Then the same with the host going
 * down: the files are made of what was on the disk at the last flush and, page
 * by page at random, of what was written since. MS_SOAK=1: many more rounds.
 */
#include "approaches/common/stage/test-kept.h"

#include "approaches/common/stage/pusher.h"

#include <xxhash.h>

#define UNIT	  UINT64_C(512) /* one writer, one version */
#define UNITS	  (SIZE / UNIT)
#define DISK_MAX  (64 << 10)
#define KILL_US	  6000 /* a process lives at most that long */
#define SYNC_EACH 40   /* requests of a client */

enum {
	CLIENTS = 3,
	ROUNDS = 300,
	ROUNDS_SOAK = 5000,
	RUN_MAX = 24, /* units of one write: three chunks */
};

/*
 * What is known of each unit. A write that was cut off may show in any part of
 * the unit; a unit's first eight bytes are its version.
 */
struct ledger {
	char model[SIZE];   /* acknowledged */
	char attempt[SIZE]; /* being written, where busy */
	uint8_t busy[UNITS];
	uint64_t synced[UNITS]; /* version that a SYNC has covered */
	uint64_t versions;
	uint64_t writes, syncs;
	int running; /* the clients are */
	/* The state file as its last flush left it on the disk. */
	char disk[DISK_MAX];
	uint64_t disk_bytes;
};

static struct ledger *ledger;
static struct ms_cache_options options;
static uint64_t round_seed;

/* --- the disk ----------------------------------------------------------- */

/*
 * In the place of the C library's: what the file holds when this is called is
 * on the disk when it returns. The local store's calls do not matter here.
 */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int fdatasync(int fildes)
{
	static char bytes[DISK_MAX];
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	struct stat st;
	struct stat state;

	if (fstat(fildes, &st) || stat(state_path, &state) ||
	    st.st_ino != state.st_ino)
		return 0;
	pthread_mutex_lock(&one);
	ssize_t n = pread(fildes, bytes, sizeof(bytes), 0);
	CHECK(n >= 0 && n < (ssize_t)sizeof(bytes));
	/* A kill in here would leave a mixture, which is what a disk has. */
	memcpy(ledger->disk, bytes, (size_t)n);
	ledger->disk_bytes = (uint64_t)n;
	pthread_mutex_unlock(&one);
	return 0;
}

/* --- clients ------------------------------------------------------------ */

/* In the first half blocks of 4 units have one owner, then of 24. */
static uint64_t block_of(uint64_t unit)
{
	return unit < UNITS / 2 ? unit / 4 : UNITS + unit / RUN_MAX;
}

static uint64_t owner(uint64_t unit)
{
	return block_of(unit) % CLIENTS;
}

static void fill_unit(uint64_t unit, char *to)
{
	uint64_t version =
		__atomic_add_fetch(&ledger->versions, 1, __ATOMIC_RELAXED);

	ms_pattern_fill(version, unit * UNIT, to, UNIT);
	memcpy(to, &version, sizeof(version));
}

static uint64_t version_of(const char *bytes)
{
	uint64_t v = 0;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

static void set_busy(uint64_t first, uint64_t count, uint8_t busy)
{
	for (uint64_t u = first; u < first + count; u++)
		__atomic_store_n(&ledger->busy[u], busy, __ATOMIC_SEQ_CST);
}

static void write_units(struct ms_backend *b, uint64_t first, uint64_t count)
{
	char *to = ledger->attempt + first * UNIT;

	for (uint64_t i = 0; i < count; i++)
		fill_unit(first + i, to + i * UNIT);
	set_busy(first, count, 1);
	CHECK_EQ(ms_write_at(b, to, count * UNIT, first * UNIT), 0);
	memcpy(ledger->model + first * UNIT, to, count * UNIT);
	set_busy(first, count, 0);
	__atomic_fetch_add(&ledger->writes, 1, __ATOMIC_RELAXED);
}

static void sync_mine(struct ms_backend *b, uint64_t me)
{
	static __thread uint64_t seen[UNITS];

	for (uint64_t u = 0; u < UNITS; u++)
		seen[u] = owner(u) == me ? version_of(ledger->model + u * UNIT)
					 : 0;
	CHECK_EQ(ms_sync(b), 0);
	for (uint64_t u = 0; u < UNITS; u++)
		if (owner(u) == me)
			ledger->synced[u] = seen[u];
	__atomic_fetch_add(&ledger->syncs, 1, __ATOMIC_RELAXED);
}

struct client {
	struct ms_backend *b;
	uint64_t me;
};

static void *client_run(void *arg)
{
	const struct client *c = arg;
	char got[UNIT];

	for (uint64_t n = 0;; n += 3) {
		uint64_t unit = ms_random(round_seed + c->me, n) % UNITS;
		uint64_t r = ms_random(round_seed + c->me, n + 1);
		if (n % (3 * SYNC_EACH) == 3 * SYNC_EACH - 3)
			sync_mine(c->b, c->me);
		if (owner(unit) != c->me)
			continue;
		if (r % 3 == 0) {
			CHECK_EQ(ms_read_at(c->b, got, UNIT, unit * UNIT), 0);
			CHECK(memcmp(got, ledger->model + unit * UNIT, UNIT) ==
			      0);
			continue;
		}
		uint64_t count = 1;
		uint64_t most = 1 + ms_random(round_seed, n + 2) % RUN_MAX;
		/* Often from its block's beginning, to cover whole chunks. */
		while (r % 3 == 1 && unit &&
		       block_of(unit - 1) == block_of(unit))
			unit--;
		if (r % 3 == 1)
			most = RUN_MAX;
		while (count < most && unit + count < UNITS &&
		       block_of(unit + count) == block_of(unit))
			count++;
		write_units(c->b, unit, count);
	}
	return NULL;
}

/* Never returns: it is killed. */
static void load(void)
{
	struct ms_backend *b = kept(options);
	struct client clients[CLIENTS];
	struct ms_pusher *pusher = NULL;
	struct ms_pusher_options o = {.interval_ns = MS_NS_PER_MS / 4};
	pthread_t thread;

	CHECK_EQ(ms_pusher_start(b, &o, &pusher), 0);
	for (uint64_t i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.b = b, .me = i};
		CHECK_EQ(pthread_create(&thread, NULL, client_run, &clients[i]),
			 0);
	}
	__atomic_store_n(&ledger->running, 1, __ATOMIC_RELEASE);
	for (;;)
		(void)pause();
}

static void kill_under_load(uint64_t seed)
{
	pid_t pid = 0;

	round_seed = seed;
	ledger->running = 0;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		(void)alarm(HANG_S);
		load();
	}
	/* One in four while it is still opening. */
	while (seed % 4 && !__atomic_load_n(&ledger->running, __ATOMIC_ACQUIRE))
		(void)usleep(100);
	(void)usleep((useconds_t)(ms_random(seed, 0) % KILL_US));
	CHECK_EQ(kill(pid, SIGKILL), 0);
	int status = 0;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* --- what has to hold --------------------------------------------------- */

static char got[SIZE];

static void wrong(const char *what, uint64_t at)
{
	(void)fprintf(stderr,
		      "seed %" PRIu64 ": %s at %" PRIu64 " (chunk %" PRIu64
		      ", unit %" PRIu64 ")\n",
		      round_seed, what, at, at / CHUNK, at / UNIT);
	exit(1);
}

/* Everything acknowledged is there; what was under way may be, in parts. */
static void check_after_kill(void)
{
	struct ms_backend *b = kept(options);

	CHECK_STR(ms_cache_note(b), "");
	CHECK_EQ(ms_read_at(b, got, SIZE, 0), 0);
	for (uint64_t i = 0; i < SIZE; i++) {
		bool busy = i / UNIT < UNITS && ledger->busy[i / UNIT];
		if (got[i] != ledger->model[i] &&
		    !(busy && got[i] == ledger->attempt[i]))
			wrong("neither the old nor the new byte", i);
	}
	CHECK_EQ(stat_of(b, "torn_chunks"), 0);
	/* Both sides agree when it says so. */
	if (ms_random(round_seed, 1) % 4 == 0) {
		CHECK_EQ(ms_sync(b), 0);
		for (uint64_t i = 0; i < SIZE; i++)
			if (outside->remote[i] != got[i])
				wrong("the remote has another byte", i);
	}
	memcpy(ledger->model, got, SIZE);
	memset(ledger->busy, 0, sizeof(ledger->busy));
	if (ms_random(round_seed, 2) % 3 == 0)
		ms_close(b);
}

/* --- the host goes down ------------------------------------------------- */

static void other_boot(char *header)
{
	uint64_t hash = 0;

	if (memcmp(header, "mscacheS", 8) != 0)
		return;
	header[64] ^= 0x55;
	hash = XXH3_64bits(header, CACHE_STATE_HEADER - 8);
	memcpy(header + CACHE_STATE_HEADER - 8, &hash, sizeof(hash));
}

/* Pages of `bytes` become those of `disk`, some of them, by chance. */
static void lose_pages(char *bytes, const char *disk, uint64_t length,
		       uint64_t disk_length, uint64_t n)
{
	for (uint64_t at = 0; at < length; at += CACHE_STATE_PAGE, n++) {
		uint64_t count = length - at < CACHE_STATE_PAGE
					 ? length - at
					 : CACHE_STATE_PAGE;
		if (at + count <= disk_length && ms_random(round_seed, n) % 2)
			memcpy(bytes + at, disk + at, count);
	}
}

/* `local_before`: the local file as it was some time ago. */
static void lose_power(const char *local_before, uint64_t local_length)
{
	uint64_t length = 0;
	char *bytes = slurp(state_path, &length);

	lose_pages(bytes, ledger->disk, length, ledger->disk_bytes, 1000);
	other_boot(bytes);
	other_boot(bytes + CACHE_STATE_HEADER);
	spill(state_path, bytes, length);
	free(bytes);
	bytes = slurp(local_path, &length);
	if (length)
		lose_pages(bytes, local_before, length, local_length, 2000);
	spill(local_path, bytes, length);
	free(bytes);
}

/*
 * Cache and remote show the same bytes, all of what was synced is there, and
 * nothing that nobody wrote.
 */
static void check_after_power_loss(void)
{
	struct ms_cache_options o = options;

	o.discard = true;
	struct ms_backend *b = kept(o);
	CHECK_EQ(ms_cache_dirty_chunks(b), 0);
	CHECK_EQ(ms_read_at(b, got, SIZE, 0), 0);
	for (uint64_t i = 0; i < SIZE; i++)
		if (outside->remote[i] != got[i])
			wrong("cache and remote differ", i);
	for (uint64_t u = 0; u < UNITS; u++)
		if (version_of(got + u * UNIT) < ledger->synced[u])
			wrong("what was synced is lost", u * UNIT);
	memcpy(ledger->model, got, SIZE);
	memset(ledger->busy, 0, sizeof(ledger->busy));
	if (ms_random(round_seed, 2) % 2)
		ms_close(b);
}

static void begin(void)
{
	start_anew();
	for (uint64_t u = 0; u < UNITS; u++) {
		uint64_t zero = 0;
		memcpy(outside->remote + u * UNIT, &zero, sizeof(zero));
	}
	memset(ledger, 0, sizeof(*ledger));
	memcpy(ledger->model, outside->remote, SIZE);
}

/* At rest after a SYNC: nothing is lost, so nothing has to be discarded. */
static void write_and_sync(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	for (uint64_t u = 0; u < UNITS; u += 7)
		write_units(b, u, 1);
	CHECK_EQ(ms_sync(b), 0);
}

static void nothing_to_discard(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	CHECK_STR(ms_cache_note(b), "");
	CHECK_EQ(stat_of(b, "resumed_dirty_chunks"), 0);
	CHECK_EQ(ms_read_at(b, got, SIZE, 0), 0);
	CHECK(memcmp(got, ledger->model, SIZE) == 0);
	CHECK(stat_of(b, "verified_chunks") > 0);
	CHECK_EQ(stat_of(b, "torn_chunks"), 0);
}

/* What a crash leaves after changes that no SYNC covered is refused. */
static void changed_again(void)
{
	struct ms_backend *b = kept((struct ms_cache_options){0});

	write_units(b, 3, 1);
}

static void refused(void)
{
	struct ms_backend *b = NULL;

	CHECK_EQ(kept_open((struct ms_cache_options){0}, &b), -EUCLEAN);
	CHECK_HAS(memsync_error(), "not synced");
	/* The operator knows better: it was an orderly restart. */
	b = kept((struct ms_cache_options){.trust = true});
	CHECK_EQ(ms_cache_dirty_chunks(b), 1);
	CHECK_EQ(ms_sync(b), 0);
	CHECK(memcmp(outside->remote, ledger->model, SIZE) == 0);
}

/* The host restarts; of the state file `all`, or what was flushed, is left. */
static void restart(bool all)
{
	uint64_t length = 0;
	char *bytes = slurp(state_path, &length);

	if (!all)
		memcpy(bytes, ledger->disk, length);
	other_boot(bytes);
	other_boot(bytes + CACHE_STATE_HEADER);
	spill(state_path, bytes, length);
	free(bytes);
}

static void test_at_rest(void)
{
	begin();
	in_child(write_and_sync);
	restart(false);
	in_child(nothing_to_discard);
	/* Once more, now that it has been opened by a careful one. */
	restart(false);
	in_child(nothing_to_discard);
	in_child(changed_again);
	restart(true);
	in_child(refused);
}

/* --- rounds ------------------------------------------------------------- */

static void choose(uint64_t seed)
{
	options = (struct ms_cache_options){0};
	if (ms_random(seed, 3) % 3 == 0)
		options.limit = (16 + ms_random(seed, 4) % 48) * CHUNK;
	options.verify = ms_random(seed, 5) % 3 == 0;
	with_map = ms_random(seed, 6) % 2;
}

int main(void)
{
	int rounds = getenv("MS_SOAK") ? ROUNDS_SOAK : ROUNDS;
	uint64_t before = 0;

	(void)setvbuf(stdout, NULL, _IONBF, 0); /* children end by exit too */
	set_up();
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(ledger != MAP_FAILED);
	begin();
	for (int i = 0; i < rounds; i++) {
		choose((uint64_t)i);
		kill_under_load((uint64_t)i);
		in_child(check_after_kill);
	}
	(void)printf("killed %d times: %" PRIu64 " writes, %" PRIu64 " syncs\n",
		     rounds, ledger->writes, ledger->syncs);
	CHECK(ledger->writes > (uint64_t)rounds && ledger->syncs > 0);
	begin();
	for (int i = 0; i < rounds; i++) {
		choose((uint64_t)i);
		char *local = NULL;
		before = 0;
		if (access(local_path, F_OK) == 0)
			local = slurp(local_path, &before);
		kill_under_load((uint64_t)i);
		if (access(state_path, F_OK) == 0 &&
		    access(local_path, F_OK) == 0)
			lose_power(local, before);
		free(local);
		in_child(check_after_power_loss);
	}
	(void)printf("host went down %d times: %" PRIu64 " writes, %" PRIu64
		     " syncs\n",
		     rounds, ledger->writes, ledger->syncs);
	CHECK(ledger->writes > (uint64_t)rounds && ledger->syncs > 0);
	test_at_rest();
	tear_down();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache under everything at once: several clients, a remote that answers
 * late, out of order and with errors, and forgets what was not synced when a
 * sync fails; a limit, changes elsewhere, cancels, deadlines, background
 * pushes. Every byte read is compared with a model, every SYNC that succeeds
 * with what the remote holds durably, and a front-end's view must alternate
 * between "local" and "given up" for each chunk. About 5 s; MS_SOAK=1: longer.
 */
#include "tests/check.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/memory.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/stage/puller.h"
#include "approaches/common/stage/pusher.h"
#include "approaches/common/stage/random.h"
#include "approaches/common/util/clock.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define CHUNK	 UINT64_C(4096)
#define CHUNKS	 UINT64_C(256)
#define SIZE	 (CHUNK * CHUNKS - 1000) /* a short last chunk */
#define QUARTER	 (CHUNK / 4)
#define RUN_NS	 (500 * MS_NS_PER_MS)
#define SOAK_NS	 (60 * MS_NS_PER_S)
#define RUN_MAX	 UINT64_C(5) /* chunks of one request */
#define HANG_S	 120	     /* then something is lost for good */
#define PATIENCE 100	     /* failures of one write in a row */

enum {
	CLIENTS = 4,
	SERVERS = 2,
	QUEUE_MAX = 4096,
	SEED = 5,
	/* Where what is; the first part is divided among the clients. */
	OWNED = 128,   /* a run of chunks for each client */
	SHARED = 192,  /* a quarter of each chunk for each client */
	FOREIGN = 224, /* changed at the remote only; the rest never */
};

struct setup {
	bool map;
	bool errors;
	bool watch;
	uint64_t limit;
};

/* A sequence of random numbers; one a thread. */
struct dice {
	uint64_t seed;
	uint64_t n;
};

static uint64_t roll(struct dice *d, uint64_t sides)
{
	return ms_random(d->seed, d->n++) % sides;
}

/* --- the remote -------------------------------------------------------------
 */

struct remote {
	struct ms_backend base;
	pthread_mutex_t lock;
	pthread_cond_t queued;
	char bytes[SIZE];
	char durable[SIZE];
	bool errors;
	bool hang;
	bool stopping;
	struct ms_io *queue[QUEUE_MAX];
	unsigned count;
	struct dice dice;
	pthread_t servers[SERVERS];
	ms_changed_fn *changed;
	void *changed_user;
	pthread_mutex_t watch_lock; /* over calls of `changed` */
};

static struct remote *remote_of(struct ms_backend *b)
{
	return ms_container_of(b, struct remote, base);
}

/* Some of what was not synced is lost, in whole chunks. */
static void forget(struct remote *r)
{
	for (uint64_t at = 0; at < SIZE; at += CHUNK) {
		uint64_t n = SIZE - at < CHUNK ? SIZE - at : CHUNK;
		if (roll(&r->dice, 2))
			memcpy(r->bytes + at, r->durable + at, n);
	}
}

/*
 * A push may carry a chunk that is being written (tests/tsan.supp says why that
 * is right); the sanitizer cannot always name the writer, so it does not look.
 */
__attribute__((no_sanitize("thread"))) static void
copy_pushed(char *to, const volatile char *from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		to[i] = from[i];
}

static int serve(struct remote *r, const struct ms_io *io)
{
	bool fail = r->errors && roll(&r->dice, 12) == 0;

	CHECK(io->op == MS_OP_SYNC || io->offset + io->length <= SIZE);
	if (io->op == MS_OP_READ && !fail)
		memcpy(io->buf, r->bytes + io->offset, io->length);
	if (io->op == MS_OP_READ && fail) /* half of it, and garbage */
		memset(io->buf, 0xdb, io->length / 2);
	if (io->op == MS_OP_WRITE)
		copy_pushed(r->bytes + io->offset, io->buf,
			    fail ? io->length / 2 : io->length);
	if (io->op == MS_OP_SYNC && !fail)
		memcpy(r->durable, r->bytes, SIZE);
	if (io->op == MS_OP_SYNC && fail)
		forget(r);
	return fail ? -EIO : 0;
}

static void *serve_all(void *arg)
{
	struct remote *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->stopping) {
		if (r->count == 0 || r->hang) {
			(void)pthread_cond_wait(&r->queued, &r->lock);
			continue;
		}
		uint64_t pick = roll(&r->dice, r->count);
		bool late = roll(&r->dice, 4) == 0;
		struct ms_io *io = r->queue[pick];
		r->queue[pick] = r->queue[--r->count];
		if (late) {
			pthread_mutex_unlock(&r->lock);
			(void)usleep(100);
			pthread_mutex_lock(&r->lock);
		}
		int rc = serve(r, io);
		pthread_mutex_unlock(&r->lock);
		ms_done(io, rc, "remote");
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void remote_submit(struct ms_backend *b, struct ms_io *io)
{
	struct remote *r = remote_of(b);
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	bool inside = !r->hang && roll(&r->dice, 4) == 0;
	if (inside) {
		rc = serve(r, io);
	} else {
		CHECK(r->count < QUEUE_MAX);
		r->queue[r->count++] = io;
		(void)pthread_cond_signal(&r->queued);
	}
	pthread_mutex_unlock(&r->lock);
	if (inside)
		ms_done(io, rc, "remote");
}

static void remote_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct remote *r = remote_of(b);
	bool found = false;

	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->count && !found; i++) {
		found = r->queue[i] == io;
		if (found)
			r->queue[i] = r->queue[--r->count];
	}
	pthread_mutex_unlock(&r->lock);
	if (found)
		ms_done(io, -ECANCELED, "remote");
}

static int remote_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	struct remote *r = remote_of(b);

	pthread_mutex_lock(&r->watch_lock);
	r->changed = fn;
	r->changed_user = user;
	pthread_mutex_unlock(&r->watch_lock);
	return 0;
}

static void remote_close(struct ms_backend *b)
{
	struct remote *r = remote_of(b);

	pthread_mutex_lock(&r->lock);
	CHECK_EQ(r->count, 0);
	r->stopping = true;
	(void)pthread_cond_broadcast(&r->queued);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < SERVERS; i++)
		CHECK_EQ(pthread_join(r->servers[i], NULL), 0);
	free(r);
}

static const struct ms_backend_ops remote_ops = {
	.name = "remote",
	.submit = remote_submit,
	.cancel = remote_cancel,
	.watch = remote_watch,
	.close = remote_close,
};

static struct remote *remote_new(bool errors, uint64_t seed)
{
	struct remote *r = calloc(1, sizeof(*r));

	CHECK(r);
	ms_backend_init(&r->base, &remote_ops, SIZE,
			MS_CAN_WRITE | MS_CAN_WATCH);
	CHECK_EQ(pthread_mutex_init(&r->lock, NULL), 0);
	CHECK_EQ(pthread_mutex_init(&r->watch_lock, NULL), 0);
	CHECK_EQ(pthread_cond_init(&r->queued, NULL), 0);
	r->errors = errors;
	r->dice.seed = seed;
	ms_pattern_fill(SEED, 0, r->bytes, SIZE);
	memset(r->bytes + SHARED * CHUNK, 0, (FOREIGN - SHARED) * CHUNK);
	memcpy(r->durable, r->bytes, SIZE);
	for (int i = 0; i < SERVERS; i++)
		CHECK_EQ(pthread_create(&r->servers[i], NULL, serve_all, r), 0);
	return r;
}

/* --- everything together ---------------------------------------------------
 */

struct stress {
	struct setup setup;
	struct remote *remote;
	struct ms_backend *cache;
	uint64_t end_ns;
	bool shown[CHUNKS];	  /* to the front-end; atomic */
	uint64_t version[CHUNKS]; /* of foreign chunks, published; atomic */
	uint64_t given_up;
};

struct client {
	pthread_t thread;
	struct stress *s;
	uint64_t index;
	struct dice dice;
	char *model;
	char buf[RUN_MAX * CHUNK];
	uint64_t reads, writes, syncs, failures;
};

static void on_local(void *user, uint64_t offset, uint64_t length)
{
	struct stress *s = user;

	for (uint64_t i = offset / CHUNK; i * CHUNK < offset + length; i++)
		CHECK(!__atomic_exchange_n(&s->shown[i], true,
					   __ATOMIC_ACQ_REL));
}

static void on_evict(void *user, uint64_t offset, uint64_t length)
{
	struct stress *s = user;

	__atomic_fetch_add(&s->given_up, 1, __ATOMIC_RELAXED);
	for (uint64_t i = offset / CHUNK; i * CHUNK < offset + length; i++)
		CHECK(__atomic_exchange_n(&s->shown[i], false,
					  __ATOMIC_ACQ_REL));
}

/* A request that its owner may cancel or hurry. */
struct flight {
	struct ms_io io;
	pthread_mutex_t lock;
	pthread_cond_t landed;
	int calls;
};

static void landed(struct ms_io *io)
{
	struct flight *f = io->user;

	pthread_mutex_lock(&f->lock);
	f->calls++;
	(void)pthread_cond_signal(&f->landed);
	pthread_mutex_unlock(&f->lock);
}

static int fly(struct client *c, struct ms_io io)
{
	struct flight f = {.io = io,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .landed = PTHREAD_COND_INITIALIZER};
	uint64_t way = roll(&c->dice, 16);

	f.io.done = landed;
	f.io.user = &f;
	f.io.priority = way & 1 ? MS_URGENT : MS_BULK;
	if (way < 3)
		f.io.deadline_ns = ms_now_ns() + 20 * MS_NS_PER_US +
				   roll(&c->dice, MS_NS_PER_MS);
	ms_submit(c->s->cache, &f.io);
	pthread_mutex_lock(&f.lock);
	if (way >= 3 && way < 6 && !f.calls) {
		/* It may land while we call; `f` stays, the address is ours. */
		pthread_mutex_unlock(&f.lock);
		if (way == 3)
			ms_hurry(c->s->cache, &f.io);
		else
			ms_cancel(c->s->cache, &f.io);
		pthread_mutex_lock(&f.lock);
	}
	while (!f.calls)
		(void)pthread_cond_wait(&f.landed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	CHECK_EQ(f.calls, 1);
	int rc = f.io.result;
	bool asked = (rc == -ETIMEDOUT && way < 3) ||
		     (rc == -ECANCELED && way >= 4 && way < 6);
	bool full = rc == -ENOSPC && io.op == MS_OP_POPULATE;
	if (rc && !asked && !full && !(rc == -EIO && c->s->setup.errors)) {
		(void)fprintf(stderr, "%s of %s: %d\n", ms_op_name(io.op),
			      f.io.origin, rc);
		exit(1);
	}
	c->failures += rc != 0;
	return rc;
}

/* Compare what the client may know of [offset, offset + n). */
static void verify(struct client *c, const char *bytes, uint64_t offset,
		   uint64_t n)
{
	for (uint64_t at = offset; at < offset + n; at++) {
		uint64_t chunk = at / CHUNK;
		uint64_t owner = chunk < OWNED ? chunk / (OWNED / CLIENTS)
					       : at % CHUNK / QUARTER;
		if (chunk < SHARED && owner != c->index)
			continue;
		if (chunk >= SHARED && chunk < FOREIGN)
			continue;
		if (bytes[at - offset] == c->model[at])
			continue;
		(void)fprintf(stderr,
			      "client %" PRIu64 ": byte %" PRIu64
			      " of chunk %" PRIu64 " is wrong (state %d)\n",
			      c->index, at % CHUNK, chunk,
			      ms_cache_state(c->s->cache, chunk));
		exit(1);
	}
}

static void do_read(struct client *c)
{
	uint64_t n = 1 + roll(&c->dice, sizeof(c->buf));
	uint64_t offset = roll(&c->dice, SIZE - n);

	c->reads++;
	if (fly(c, (struct ms_io){.op = MS_OP_READ,
				  .offset = offset,
				  .length = n,
				  .buf = c->buf}) == 0)
		verify(c, c->buf, offset, n);
}

/* A chunk that others change: whole, and at least as new as announced. */
static void do_read_foreign(struct client *c)
{
	uint64_t chunk = SHARED + roll(&c->dice, FOREIGN - SHARED);
	uint64_t least =
		__atomic_load_n(&c->s->version[chunk], __ATOMIC_ACQUIRE);
	uint64_t words[CHUNK / 8] = {0};

	if (fly(c, (struct ms_io){.op = MS_OP_READ,
				  .offset = chunk * CHUNK,
				  .length = CHUNK,
				  .buf = words}))
		return;
	for (uint64_t i = 0; i < CHUNK / 8; i++) {
		CHECK_EQ(words[i], words[0]);
		CHECK(words[i] >= least);
	}
}

/* A range that belongs to the client alone. */
static void own_range(struct client *c, uint64_t *ret_offset, uint64_t *ret_n)
{
	uint64_t chunks = OWNED / CLIENTS;
	uint64_t first = c->index * chunks;

	switch (roll(&c->dice, 3)) {
	case 0: { /* whole chunks: a first write need not fetch */
		uint64_t n = 1 + roll(&c->dice, RUN_MAX);
		*ret_offset = (first + roll(&c->dice, chunks - n)) * CHUNK;
		*ret_n = n * CHUNK;
		break;
	}
	case 1:
		*ret_n = 1 + roll(&c->dice, sizeof(c->buf));
		*ret_offset =
			first * CHUNK + roll(&c->dice, chunks * CHUNK - *ret_n);
		break;
	default:
		*ret_n = QUARTER;
		*ret_offset = (OWNED + roll(&c->dice, SHARED - OWNED)) * CHUNK +
			      c->index * QUARTER;
		break;
	}
}

static void do_write(struct client *c)
{
	bool zero = roll(&c->dice, 5) == 0;
	uint64_t offset = 0;
	uint64_t n = 0;

	own_range(c, &offset, &n);
	ms_pattern_fill(roll(&c->dice, 1000), offset, c->buf, n);
	if (zero)
		memset(c->buf, 0, n);
	/* What a failed write left is unknown: write until it succeeds. */
	for (int tries = 0;; tries++) {
		CHECK(tries < PATIENCE);
		c->writes++;
		if (fly(c, (struct ms_io){.op = zero ? MS_OP_ZERO : MS_OP_WRITE,
					  .offset = offset,
					  .length = n,
					  .buf = zero ? NULL : c->buf}) == 0)
			break;
	}
	memcpy(c->model + offset, c->buf, n);
}

static void do_sync(struct client *c)
{
	c->syncs++;
	if (fly(c, (struct ms_io){.op = MS_OP_SYNC}))
		return;
	/* Nobody else writes our bytes, and we do not just now. */
	struct remote *r = c->s->remote;
	char *durable = malloc(SIZE);
	CHECK(durable);
	pthread_mutex_lock(&r->lock);
	memcpy(durable, r->durable, SIZE);
	pthread_mutex_unlock(&r->lock);
	verify(c, durable, 0, SIZE);
	free(durable);
}

static void do_populate(struct client *c)
{
	uint64_t n = 1 + roll(&c->dice, 4 * RUN_MAX * CHUNK);

	(void)fly(c, (struct ms_io){.op = MS_OP_POPULATE,
				    .offset = roll(&c->dice, SIZE - n),
				    .length = n});
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	const struct setup *setup = &c->s->setup;
	uint64_t limit = setup->limit / CHUNK;

	while (ms_now_ns() < c->s->end_ns) {
		uint64_t what = roll(&c->dice, 100);
		if (what < 40)
			do_read(c);
		else if (what < 50 && setup->watch)
			do_read_foreign(c);
		else if (what < 90)
			do_write(c);
		else if (what < 95)
			do_populate(c);
		else if (what < 97)
			ms_cache_push(c->s->cache);
		else
			do_sync(c);
		if (limit)
			CHECK(ms_cache_local_chunks(c->s->cache) <= limit);
	}
	return NULL;
}

/* Changes at the remote, and announcements of changes that were none. */
static void *foreign_run(void *arg)
{
	struct stress *s = arg;
	struct remote *r = s->remote;
	struct dice dice = {.seed = r->dice.seed + 1};
	uint64_t words[CHUNK / 8] = {0};

	for (uint64_t v = 1; ms_now_ns() < s->end_ns; v++) {
		uint64_t chunk = SHARED + roll(&dice, FOREIGN - SHARED);
		for (uint64_t i = 0; i < CHUNK / 8; i++)
			words[i] = v;
		pthread_mutex_lock(&r->lock);
		memcpy(r->bytes + chunk * CHUNK, words, CHUNK);
		memcpy(r->durable + chunk * CHUNK, words, CHUNK);
		pthread_mutex_unlock(&r->lock);
		pthread_mutex_lock(&r->watch_lock);
		if (r->changed) {
			r->changed(r->changed_user, chunk * CHUNK, CHUNK);
			r->changed(r->changed_user, roll(&dice, SIZE),
				   1 + roll(&dice, 3 * CHUNK));
		}
		pthread_mutex_unlock(&r->watch_lock);
		__atomic_store_n(&s->version[chunk], v, __ATOMIC_RELEASE);
		(void)usleep(50);
	}
	return NULL;
}

static struct ms_backend *open_cache(struct stress *s)
{
	struct ms_cache_options o = {.chunk = CHUNK,
				     .request = 8 * CHUNK,
				     .limit = s->setup.limit,
				     .retries = s->setup.errors ? 2 : 0,
				     .retry_ns = 50 * MS_NS_PER_US,
				     .watch = s->setup.watch};
	struct ms_backend *local = NULL;
	struct ms_backend *cache = NULL;

	CHECK_EQ(ms_memory_open(1, &local), 0);
	if (!s->setup.map)
		local->caps &= ~(unsigned)MS_CAN_MAP;
	CHECK_EQ(ms_cache_open(local, &s->remote->base, &o, &cache), 0);
	ms_cache_on_local(cache, on_local, s);
	ms_cache_on_evict(cache, on_evict, s);
	return cache;
}

static void run_clients(struct stress *s, struct client *c)
{
	struct ms_pusher_options o = {.interval_ns = MS_NS_PER_MS};
	struct ms_puller_options pull;
	struct ms_pusher *pusher = NULL;
	struct ms_puller *puller = NULL;
	pthread_t foreign;

	ms_puller_defaults(&pull);
	pull.request = 4 * CHUNK;
	CHECK_EQ(ms_pusher_start(s->cache, &o, &pusher), 0);
	CHECK_EQ(ms_puller_start(s->cache, &pull, &puller), 0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(pthread_create(&c[i].thread, NULL, client_run, &c[i]),
			 0);
	CHECK_EQ(pthread_create(&foreign, NULL, foreign_run, s), 0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(pthread_join(c[i].thread, NULL), 0);
	CHECK_EQ(pthread_join(foreign, NULL), 0);
	ms_puller_stop(puller);
	ms_pusher_stop(pusher);
}

static void run(struct setup setup, uint64_t seed, uint64_t run_ns)
{
	struct stress *s = calloc(1, sizeof(*s));
	struct client *c = calloc(CLIENTS, sizeof(*c));

	CHECK(s && c);
	(void)alarm((unsigned)(run_ns / MS_NS_PER_S) + HANG_S);
	s->setup = setup;
	s->remote = remote_new(setup.errors, seed);
	s->cache = open_cache(s);
	s->end_ns = ms_now_ns() + run_ns;
	for (uint64_t i = 0; i < CLIENTS; i++) {
		c[i].s = s;
		c[i].index = i;
		c[i].dice.seed = seed + 10 + i;
		c[i].model = malloc(SIZE);
		CHECK(c[i].model);
		memcpy(c[i].model, s->remote->bytes, SIZE);
	}
	run_clients(s, c);
	/* All is well again: nothing may have been lost. */
	pthread_mutex_lock(&s->remote->lock);
	s->remote->errors = false;
	pthread_mutex_unlock(&s->remote->lock);
	CHECK_EQ(ms_sync(s->cache), 0);
	CHECK_EQ(ms_cache_dirty_chunks(s->cache), 0);
	uint64_t sums[4] = {0};
	for (int i = 0; i < CLIENTS; i++) {
		verify(&c[i], s->remote->durable, 0, SIZE);
		sums[0] += c[i].reads;
		sums[1] += c[i].writes;
		sums[2] += c[i].syncs;
		sums[3] += c[i].failures;
		free(c[i].model);
	}
	(void)printf("map %d errors %d watch %d limit %" PRIu64 " seed %" PRIu64
		     ": %" PRIu64 " reads %" PRIu64 " writes %" PRIu64
		     " syncs %" PRIu64 " failed %" PRIu64 " given up\n",
		     setup.map, setup.errors, setup.watch, setup.limit / CHUNK,
		     seed, sums[0], sums[1], sums[2], sums[3], s->given_up);
	(void)fflush(stdout);
	if (setup.limit || setup.watch)
		CHECK(s->given_up > 0);
	ms_close(s->cache);
	free(c);
	free(s);
}

/* Close while fetches, pushes and a sync are with a remote that is dead. */
static void test_close_of_the_dead(bool map)
{
	struct stress *s = calloc(1, sizeof(*s));
	struct client *c = calloc(1, sizeof(*c));
	struct flight f[3] = {0};
	static const enum ms_op ops[3] = {MS_OP_SYNC, MS_OP_SYNC, MS_OP_READ};

	CHECK(s && c);
	(void)alarm(HANG_S);
	s->setup = (struct setup){.map = map};
	s->remote = remote_new(false, 1);
	s->cache = open_cache(s);
	CHECK_EQ(ms_write_at(s->cache, c->buf, sizeof(c->buf), 0), 0);
	pthread_mutex_lock(&s->remote->lock);
	s->remote->hang = true;
	pthread_mutex_unlock(&s->remote->lock);
	for (int i = 0; i < 3; i++) {
		f[i] = (struct flight){.lock = PTHREAD_MUTEX_INITIALIZER,
				       .landed = PTHREAD_COND_INITIALIZER};
		f[i].io = (struct ms_io){.op = ops[i],
					 .offset = i == 2 ? 99 * CHUNK : 0,
					 .length = i == 2 ? 10 : 0,
					 .buf = i == 2 ? c->buf : NULL,
					 .done = landed,
					 .user = &f[i]};
		ms_submit(s->cache, &f[i].io);
		ms_cancel(s->cache, &f[i].io);
		CHECK_EQ(f[i].calls, 1);
		CHECK_EQ(f[i].io.result, -ECANCELED);
	}
	ms_close(s->cache);
	free(c);
	free(s);
}

int main(void)
{
	static const struct setup setups[] = {
		{.map = true},
		{.map = true, .limit = 32 * CHUNK},
		{.map = true, .errors = true, .watch = true},
		{.map = true,
		 .errors = true,
		 .watch = true,
		 .limit = 32 * CHUNK},
		{.map = false, .errors = true},
		{.map = false, .watch = true, .limit = 24 * CHUNK},
		{.map = false,
		 .errors = true,
		 .watch = true,
		 .limit = 64 * CHUNK},
	};
	bool soak = getenv("MS_SOAK") != NULL;
	uint64_t seed = soak ? ms_now_ns() : 1;
	const char *given = getenv("MS_SEED");

	if (given)
		seed = strtoull(given, NULL, 10);
	for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++)
		run(setups[i], seed + 100 * i, soak ? SOAK_NS : RUN_NS);
	test_close_of_the_dead(true);
	test_close_of_the_dead(false);
	return 0;
}

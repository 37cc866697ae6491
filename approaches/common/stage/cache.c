/* SPDX-License-Identifier: Apache-2.0 */
/* The cache as a backend: requests that hit, and what surrounds the rest. */
#include "approaches/common/stage/cache.h"

#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/cache-impl.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	LIMIT_CHUNKS_MIN = 16, /* below that pieces of a request starve */
};

/* --- hits --------------------------------------------------------------------
 */

static bool all_present(const struct cache *c, const struct ms_io *io)
{
	uint64_t last = (io->offset + io->length - 1) >> c->shift;

	for (uint64_t i = io->offset >> c->shift; i <= last; i++)
		if (!chunk_present(chunk_state(c, i)))
			return false;
	return true;
}

/* Without pins a chunk that is present stays present: no lock is needed. */
static bool pin_present(struct cache *c, const struct ms_io *io)
{
	if (!c->pins)
		return all_present(c, io);
	pthread_mutex_lock(&c->lock);
	bool present = all_present(c, io);
	if (present)
		pin_range(c, io->offset, io->length);
	pthread_mutex_unlock(&c->lock);
	return present;
}

static void unpin(struct cache *c, const struct ms_io *io)
{
	struct ms_tasks tasks = {0};

	if (!c->pins)
		return;
	pthread_mutex_lock(&c->lock);
	unpin_range(c, io->offset, io->length, &tasks);
	cache_unlock(c, &tasks);
}

static void hit_write(struct cache *c, const struct ms_io *io)
{
	struct ms_tasks tasks = {0};
	uint64_t first = io->offset >> c->shift;
	uint64_t last = (io->offset + io->length - 1) >> c->shift;

	if (c->keep) {
		pthread_mutex_lock(&c->lock);
		keep_write_begin(c, first, last - first + 1);
		pthread_mutex_unlock(&c->lock);
	}
	if (io->op == MS_OP_WRITE)
		memcpy(c->map + io->offset, io->buf, io->length);
	else
		memset(c->map + io->offset, 0, io->length);
	pthread_mutex_lock(&c->lock);
	mark_dirty(c, first, last - first + 1);
	keep_write_end(c, first, last - first + 1);
	unpin_range(c, io->offset, io->length, &tasks);
	cache_unlock(c, &tasks);
}

/* Answer from the local store if that takes no more than a copy. */
static bool hit(struct cache *c, struct ms_io *io)
{
	bool copies = io->op == MS_OP_READ || io->op == MS_OP_WRITE ||
		      io->op == MS_OP_ZERO;

	if (io->op == MS_OP_SYNC)
		return false;
	if (copies && !c->map) {
		if (io->op != MS_OP_READ || c->pins || !all_present(c, io))
			return false;
		ms_forward(c->local, io);
		return true;
	}
	if (!pin_present(c, io))
		return false;
	__atomic_fetch_add(&c->hits, 1, __ATOMIC_RELAXED);
	if (io->op == MS_OP_WRITE || io->op == MS_OP_ZERO) {
		hit_write(c, io);
	} else {
		if (io->op == MS_OP_READ)
			memcpy(io->buf, c->map + io->offset, io->length);
		unpin(c, io);
	}
	ms_done(io, 0, NULL);
	return true;
}

static void cache_submit(struct ms_backend *b, struct ms_io *io)
{
	struct cache *c = cache_of(b);

	if (!hit(c, io))
		job_start(c, io);
}

static struct job *find_job(const struct cache *c, const struct ms_io *io)
{
	struct job *job = c->jobs;

	while (job && job->io != io)
		job = job->next;
	return job;
}

static void cache_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct cache *c = cache_of(b);
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	struct job *job = find_job(c, io);
	if (job && job->phase == JOB_WAITING)
		job_finish(job, -ECANCELED, "cache", &tasks);
	cache_unlock(c, &tasks);
	if (!job && !c->map)
		ms_cancel(c->local, io);
}

static void cache_hurry(struct ms_backend *b, struct ms_io *io)
{
	struct cache *c = cache_of(b);

	pthread_mutex_lock(&c->lock);
	struct job *job = find_job(c, io);
	if (job && io->length) {
		uint64_t last = (io->offset + io->length - 1) >> c->shift;
		job->urgent = true;
		for (uint64_t i = io->offset >> c->shift; i <= last; i++) {
			struct fetch *f = fetch_find(c, i);
			if (f)
				fetch_hurry(f);
		}
	}
	pthread_mutex_unlock(&c->lock);
}

static int cache_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		     struct ms_mapping *ret)
{
	return ms_map(cache_of(b)->local, offset, length, ret);
}

static int cache_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	struct cache *c = cache_of(b);

	if (fn && c->on_change.fn)
		return -EBUSY;
	c->on_change = (struct cache_hook){.fn = fn, .user = user};
	return 0;
}

static void cache_stats(struct ms_backend *b, FILE *out)
{
	struct cache *c = cache_of(b);

	pthread_mutex_lock(&c->lock);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"hits", __atomic_load_n(&c->hits, __ATOMIC_RELAXED)},
		{"misses", c->misses},
		{"fetches", c->fetches},
		{"fetch_failures", c->fetch_failures},
		{"fetched_bytes", c->fetched_bytes},
		{"pushes", c->pushes},
		{"push_errors", c->push_errors},
		{"pushed_bytes", c->pushed_bytes},
		{"local_chunks", c->local_chunks},
		{"dirty_chunks", c->dirty_chunks},
		{"evicted_chunks", c->evicted},
	};
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		(void)fprintf(out, "%s %" PRIu64 "\n", rows[i].name,
			      rows[i].value);
	if (c->keep)
		keep_stats(c, out);
}

/* What is with a backend is cancelled and waited for; nothing is retried. */
static void quiesce(struct cache *c)
{
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&c->lock);
	c->closing = true;
	fetch_quiesce(c);
	push_quiesce(c);
	while (c->busy)
		(void)pthread_cond_wait(&c->quiet, &c->lock);
	/* What is left on the lists has ended, by deadline or cancel. */
	evict_feed(c, &tasks);
	pass_drop(c);
	cache_unlock(c, &tasks);
}

static void cache_free(struct cache *c)
{
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->quiet);
	free(c->state);
	free(c->active);
	free(c->pins);
	free(c);
}

static void cache_close(struct ms_backend *b)
{
	struct cache *c = cache_of(b);
	struct ms_backend *local = c->local;
	struct ms_backend *remote = c->remote;

	/* Ending a watch cannot fail; its result is for starting one. */
	if (c->options.watch && ms_watch(remote, NULL, NULL))
		ms_err_clear();
	quiesce(c);
	keep_close(c, true);
	cache_free(c);
	ms_close(remote);
	ms_close(local);
}

static const struct ms_backend_ops cache_ops = {
	.name = "cache",
	.submit = cache_submit,
	.cancel = cache_cancel,
	.hurry = cache_hurry,
	.map = cache_map,
	.watch = cache_watch,
	.stats = cache_stats,
	.close = cache_close,
};

/* --- opening
 * ------------------------------------------------------------------- */

static int check_options(const struct ms_cache_options *o)
{
	if (o->chunk < 4096 || (o->chunk & (o->chunk - 1)))
		return ms_err(-EINVAL,
			      "cache: chunk=%" PRIu64
			      " is not a power of two of at least 4K",
			      o->chunk);
	if (o->request < o->chunk || o->request % o->chunk ||
	    o->request > MS_IO_MAX)
		return ms_err(-EINVAL,
			      "cache: request=%" PRIu64
			      " is not a multiple of the chunk up to 256M",
			      o->request);
	if (o->limit && o->limit < LIMIT_CHUNKS_MIN * o->chunk)
		return ms_err(-EINVAL, "cache: limit is below %d chunks",
			      LIMIT_CHUNKS_MIN);
	if (o->state && o->watch)
		return ms_err(-EINVAL, "cache: state and watch exclude each "
				       "other: what changed while nobody "
				       "watched would not be seen");
	return 0;
}

/* The local store gets the remote's size; what it holds does not count. */
static int fit_local(struct ms_backend *local, uint64_t size)
{
	if (!(local->caps & MS_CAN_WRITE))
		return ms_err(-EROFS, "cache: the local store %s is read-only",
			      local->ops->name);
	/* Without MAP parts of chunks are read and written as they come. */
	if (local->block > 1 && !(local->caps & MS_CAN_MAP))
		return ms_err(-EINVAL,
			      "cache: the local store %s has blocks of %u "
			      "bytes and cannot be mapped",
			      local->ops->name, local->block);
	if (ms_size(local) == size)
		return 0;
	if (local->caps & MS_CAN_RESIZE) {
		int rc = ms_resize(local, size);
		return rc ? ms_err_add(rc, "cache: local store") : 0;
	}
	if (ms_size(local) > size)
		return 0;
	return ms_err(-ENOSPC,
		      "cache: the local store has %" PRIu64 " of %" PRIu64
		      " bytes",
		      ms_size(local), size);
}

static unsigned caps_of(const struct cache *c)
{
	unsigned caps = MS_CAN_POPULATE | MS_CAN_WATCH;

	if (c->remote->caps & MS_CAN_WRITE)
		caps |= MS_CAN_WRITE | MS_CAN_ZERO;
	if (c->local->caps & MS_CAN_MAP)
		caps |= MS_CAN_MAP;
	return caps;
}

static int allocate(struct cache *c)
{
	const struct ms_cache_options *o = &c->options;

	/* Whole groups of 64, and bits for them: see cache-active.c. */
	c->state = calloc((c->chunks | 63) + 1, sizeof(*c->state));
	c->active = calloc((c->chunks >> 12) + 1, sizeof(*c->active));
	if (!c->state || !c->active)
		return -ENOMEM;
	if (o->limit || o->watch) {
		c->pins = calloc(c->chunks + 1, sizeof(*c->pins));
		if (!c->pins)
			return -ENOMEM;
	}
	return 0;
}

static int start(struct cache *c)
{
	struct ms_mapping mapping;
	uint64_t size = c->base.size;
	int rc = 0;

	if (c->options.state)
		rc = keep_open(c, ms_size(c->local));
	if (rc == 0)
		rc = fit_local(c->local, size);
	if (rc)
		return rc;
	if (allocate(c))
		return ms_err(-ENOMEM, "cache: states of %" PRIu64 " chunks",
			      c->chunks);
	if (size && (c->local->caps & MS_CAN_MAP)) {
		rc = ms_map(c->local, 0, size, &mapping);
		if (rc)
			return rc;
		c->map = mapping.addr;
	}
	if (c->keep) {
		rc = keep_resume(c);
		if (rc)
			return rc;
	}
	return c->options.watch ? ms_watch(c->remote, evict_changed, c) : 0;
}

int ms_cache_open(struct ms_backend *local, struct ms_backend *remote,
		  const struct ms_cache_options *options,
		  struct ms_backend **ret)
{
	int rc = check_options(options);

	if (rc)
		return rc;
	if (remote->block > options->chunk)
		return ms_err(-EINVAL, "cache: the remote's block is %u bytes",
			      remote->block);
	struct cache *c = calloc(1, sizeof(*c));
	if (!c)
		return ms_err(-ENOMEM, "cache");
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->quiet, NULL);
	c->local = local;
	c->remote = remote;
	c->options = *options;
	c->shift = (unsigned)__builtin_ctzll(options->chunk);
	ms_backend_init(&c->base, &cache_ops, ms_size(remote), 0);
	c->base.caps = caps_of(c);
	c->chunks = (c->base.size + options->chunk - 1) >> c->shift;
	c->limit_chunks = options->limit >> c->shift;
	/* A fetch must leave room for others: see piece_max. */
	while (c->limit_chunks && c->options.request > options->limit / 4 &&
	       c->options.request > options->chunk)
		c->options.request = options->chunk;
	rc = start(c);
	if (rc) {
		keep_close(c, false);
		cache_free(c);
		return rc;
	}
	*ret = &c->base;
	return 0;
}

/* --- for workers and front-ends
 * ----------------------------------------------------- */

bool ms_cache_is(const struct ms_backend *b)
{
	return b->ops == &cache_ops;
}

/* --- in the registry
 * ------------------------------------------------------------------ */

struct cache_config {
	struct ms_backend *local;
	struct ms_backend *remote;
	char *state;
	char *id;
	struct ms_cache_options o;
};

static const struct ms_opt cache_type_options[] = {
	MS_OPT_BACKEND(struct cache_config, local, "local",
		       "the store that holds what is local"),
	MS_OPT_BACKEND(struct cache_config, remote, "remote",
		       "the backend that holds the region"),
	MS_OPT_SIZE(struct cache_config, o.chunk, "chunk", 0, "64K", 4096,
		    64 << 20, "unit of transfer and tracking"),
	MS_OPT_SIZE(struct cache_config, o.limit, "limit", 0, "0", 0, INT64_MAX,
		    "bytes held locally at most; 0: no limit"),
	MS_OPT_SIZE(struct cache_config, o.request, "request", 0, "1M", 4096,
		    256 << 20, "longest merged fetch or push"),
	MS_OPT_UINT(struct cache_config, o.retries, "retries", 0, "2", 0, 1000,
		    "attempts after a failed fetch or push"),
	MS_OPT_DURATION(struct cache_config, o.retry_ns, "retry", 0, "50ms",
			"wait before the first retry; doubles"),
	MS_OPT_FLAG(struct cache_config, o.watch, "watch", 0,
		    "drop clean chunks that others change"),
	MS_OPT_STRING(struct cache_config, state, "state", 0, NULL, "PATH",
		      "file that keeps the chunk states for the next time"),
	MS_OPT_STRING(struct cache_config, id, "id", 0, NULL, "TEXT",
		      "name of the region in the state file; the remote's spec "
		      "if not given"),
	MS_OPT_FLAG(struct cache_config, o.verify, "verify", 0,
		    "compare resumed chunks with their hashes"),
	MS_OPT_FLAG(struct cache_config, o.discard, "discard", 0,
		    "go on if that loses changes in the state file"),
	MS_OPT_FLAG(struct cache_config, o.trust, "trust", 0,
		    "believe the state file after an orderly restart"),
	MS_OPT_END,
};

static int cache_type_open(const void *config, struct ms_backend **ret)
{
	const struct cache_config *c = config;
	struct ms_cache_options o = c->o;

	o.state = c->state;
	o.id = c->id ? c->id : c->remote->spec;
	/* By what it is called, of course; a stage may hide one. */
	if (o.state && strcmp(c->local->ops->name, "memory") == 0)
		return ms_err(-EINVAL, "cache: state needs a local store that "
				       "outlasts the process, such as a file");
	return ms_cache_open(c->local, c->remote, &o, ret);
}

const struct ms_backend_type ms_cache_type = {
	.name = "cache",
	.summary = "joins a local store and a remote backend",
	.kind = MS_STAGE,
	.options = cache_type_options,
	.config_size = sizeof(struct cache_config),
	.open = cache_type_open,
	.example = "cache:local=memory,remote=({child}),chunk=4K,request=64K,"
		   "retry=1ms",
};

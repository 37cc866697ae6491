/* SPDX-License-Identifier: Apache-2.0 */
/* The puller; see puller.h. */
#include "approaches/common/stage/puller.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT64_MAX

/* A request in flight, or idle. */
struct pull {
	struct ms_puller *puller;
	struct ms_task task;
	struct ms_io io;
	struct pull *next; /* on the idle list */
};

struct ms_puller {
	struct ms_backend *cache;
	struct ms_puller_options options;
	uint64_t *list; /* our copy */
	uint64_t chunk_bytes;
	uint64_t chunks;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pull *pulls;
	struct pull *idle;
	uint64_t in_flight;
	uint64_t cursor;  /* next chunk, linear */
	uint64_t behind;  /* all before it was asked for in this round */
	uint64_t ordered; /* positions of the order that are used up */
	bool stopping;
	bool exhausted;
	int error;
	const char *origin;
};

static void pull_done(struct ms_io *io);
static void pull_submit(struct ms_task *task);

void ms_puller_defaults(struct ms_puller_options *options)
{
	*options = (struct ms_puller_options){
		.workers = 16, .request = 1 << 20, .follow = true};
}

static uint64_t from_order(struct ms_puller *p)
{
	const struct ms_puller_options *o = &p->options;

	for (;;) {
		uint64_t chunk = NONE;
		if (o->order)
			chunk = o->order(o->order_user, p->ordered);
		else if (p->ordered < o->list_count)
			chunk = p->list[p->ordered];
		if (chunk == NONE)
			return NONE;
		p->ordered++;
		if (chunk < p->chunks &&
		    ms_cache_state(p->cache, chunk) == MS_CHUNK_ABSENT)
			return chunk;
	}
}

/* From the cursor to the end, then what was passed over, then nothing. */
static uint64_t from_line(struct ms_puller *p)
{
	uint64_t chunk = ms_cache_next_absent(p->cache, p->cursor, false);

	if (chunk == NONE && p->cursor > p->behind)
		chunk = ms_cache_next_absent(p->cache, p->behind, false);
	return chunk;
}

/* The next range to ask for: a run of absent chunks within one request. */
static bool next_range(struct ms_puller *p, uint64_t *ret_offset,
		       uint64_t *ret_length)
{
	uint64_t per_request = p->options.request / p->chunk_bytes;
	uint64_t count = 1;
	uint64_t chunk = from_order(p);

	if (chunk == NONE) {
		chunk = from_line(p);
		if (chunk == NONE)
			return false;
		/* Requests end at multiples of their length. */
		uint64_t end = (chunk / per_request + 1) * per_request;
		while (chunk + count < end && chunk + count < p->chunks &&
		       ms_cache_state(p->cache, chunk + count) ==
			       MS_CHUNK_ABSENT)
			count++;
		/* Only a linear run from `behind` on leaves nothing behind. */
		if (p->cursor == p->behind)
			p->behind = chunk + count;
		p->cursor = chunk + count;
	}
	*ret_offset = chunk * p->chunk_bytes;
	*ret_length = count * p->chunk_bytes;
	if (*ret_length > ms_size(p->cache) - *ret_offset)
		*ret_length = ms_size(p->cache) - *ret_offset;
	return true;
}

/* Fill idle requests; the lock is held. */
static void pump(struct ms_puller *p, struct ms_tasks *tasks)
{
	uint64_t offset = 0;
	uint64_t length = 0;

	while (p->idle && !p->stopping && !p->exhausted) {
		if (!next_range(p, &offset, &length)) {
			p->exhausted = true;
			break;
		}
		struct pull *pull = p->idle;
		p->idle = pull->next;
		p->in_flight++;
		pull->io = (struct ms_io){.op = MS_OP_POPULATE,
					  .priority = MS_BULK,
					  .offset = offset,
					  .length = length,
					  .done = pull_done,
					  .user = pull};
		ms_tasks_add(tasks, &pull->task, pull_submit);
	}
	if (p->in_flight == 0)
		pthread_cond_broadcast(&p->changed);
}

static void pull_submit(struct ms_task *task)
{
	struct pull *pull = ms_container_of(task, struct pull, task);

	ms_submit(pull->puller->cache, &pull->io);
}

static void pull_done(struct ms_io *io)
{
	struct pull *pull = io->user;
	struct ms_puller *p = pull->puller;
	struct ms_tasks tasks = {0};

	pthread_mutex_lock(&p->lock);
	pull->next = p->idle;
	p->idle = pull;
	p->in_flight--;
	if (io->result < 0 && !p->error) {
		p->error = io->result;
		p->origin = io->origin;
	}
	if (io->result == -ENOSPC)
		p->exhausted = true;
	pump(p, &tasks);
	pthread_mutex_unlock(&p->lock);
	/* After the last one `p` may be gone; the tasks are not empty then. */
	ms_tasks_run(&tasks);
}

static int check_options(const struct ms_backend *cache,
			 const struct ms_puller_options *o)
{
	if (!ms_cache_is(cache))
		return ms_err(-EINVAL, "puller: %s is not a cache",
			      cache->ops->name);
	if (o->workers == 0)
		return ms_err(-EINVAL, "puller: workers=0");
	if (o->request == 0 || o->request % ms_cache_chunk_bytes(cache))
		return ms_err(-EINVAL,
			      "puller: the request is not a multiple of the "
			      "chunk");
	return 0;
}

static void puller_free(struct ms_puller *p)
{
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p->pulls);
	free(p->list);
	free(p);
}

static int allocate(struct ms_puller *p)
{
	const struct ms_puller_options *o = &p->options;
	uint64_t workers = o->workers;

	/* More than there are chunks would only idle. */
	if (workers > p->chunks + 1)
		workers = p->chunks + 1;
	p->pulls = calloc(workers, sizeof(*p->pulls));
	if (!p->pulls)
		return -ENOMEM;
	for (uint64_t i = 0; i < workers; i++) {
		p->pulls[i].puller = p;
		p->pulls[i].next = p->idle;
		p->idle = &p->pulls[i];
	}
	if (!o->list_count)
		return 0;
	p->list = calloc(o->list_count, sizeof(*p->list));
	if (!p->list)
		return -ENOMEM;
	memcpy(p->list, o->list, o->list_count * sizeof(*p->list));
	return 0;
}

int ms_puller_start(struct ms_backend *cache,
		    const struct ms_puller_options *options,
		    struct ms_puller **ret)
{
	struct ms_tasks tasks = {0};
	int rc = check_options(cache, options);

	if (rc)
		return rc;
	struct ms_puller *p = calloc(1, sizeof(*p));
	if (!p)
		return ms_err(-ENOMEM, "puller");
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	p->cache = cache;
	p->options = *options;
	p->chunk_bytes = ms_cache_chunk_bytes(cache);
	p->chunks = ms_cache_chunks(cache);
	if (allocate(p)) {
		puller_free(p);
		return ms_err(-ENOMEM, "puller");
	}
	*ret = p;
	pthread_mutex_lock(&p->lock);
	pump(p, &tasks);
	pthread_mutex_unlock(&p->lock);
	ms_tasks_run(&tasks);
	return 0;
}

int ms_puller_wait(struct ms_puller *puller)
{
	pthread_mutex_lock(&puller->lock);
	while (puller->in_flight || !(puller->exhausted || puller->stopping))
		(void)pthread_cond_wait(&puller->changed, &puller->lock);
	int rc = puller->error;
	const char *origin = puller->origin;
	pthread_mutex_unlock(&puller->lock);
	return rc ? ms_err(rc, "%s: background pull", origin) : 0;
}

bool ms_puller_is_done(struct ms_puller *puller)
{
	pthread_mutex_lock(&puller->lock);
	bool done = puller->exhausted && puller->in_flight == 0;
	pthread_mutex_unlock(&puller->lock);
	return done;
}

void ms_puller_demand(struct ms_puller *puller, uint64_t offset,
		      uint64_t length)
{
	pthread_mutex_lock(&puller->lock);
	if (puller->options.follow && length && puller->chunk_bytes) {
		uint64_t next = (offset + length - 1) / puller->chunk_bytes + 1;
		/* The linear pull is about to get there by itself. */
		uint64_t near =
			puller->cursor + puller->options.workers *
						 puller->options.request /
						 puller->chunk_bytes;
		if (next < puller->chunks &&
		    (next < puller->cursor || next > near))
			puller->cursor = next;
	}
	pthread_mutex_unlock(&puller->lock);
}

void ms_puller_stop(struct ms_puller *puller)
{
	if (!puller)
		return;
	pthread_mutex_lock(&puller->lock);
	puller->stopping = true;
	while (puller->in_flight)
		(void)pthread_cond_wait(&puller->changed, &puller->lock);
	pthread_mutex_unlock(&puller->lock);
	puller_free(puller);
}

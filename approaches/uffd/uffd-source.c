/* SPDX-License-Identifier: Apache-2.0 */
/* The cache and the puller under the engines; see uffd-source.h. */
#include "approaches/uffd/uffd-source.h"

#include "approaches/common/backend/memory.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PULLS_MAX = 256,   /* requests in flight; the window is what counts */
	PULL_RETRIES = 6,  /* 100 ms, 200 ms, ..., 3.2 s */
	FETCH_RETRIES = 2, /* of the cache, at once: a lost connection */
};
/*
 * The first accesses of a program shall not wait for huge pages to be cleared;
 * bulk shall have them.
 */
#define SMALL_PAGES_BYTES (UINT64_C(2) << 20)
#define PULL_RETRY_NS	  (100 * MS_NS_PER_MS)
#define FETCH_RETRY_NS	  (50 * MS_NS_PER_MS)

/* True if `b` is a cache whose pages can be shown as they are. */
static bool maps_itself(const struct ms_backend *b)
{
	return ms_cache_is(b) && (b->caps & MS_CAN_MAP);
}

/*
 * A page is the unit of the cache, not the chunk that is fetched for a fault:
 * the first page of a region is there after one round trip, and what is
 * written later is tracked as finely as the processor does.
 */
static int wrap(struct ms_uffd_source *s,
		const struct memsync_uffd_options *options)
{
	struct ms_cache_options o = {
		.chunk = MS_UFFD_PAGE,
		.request = options->span_bytes,
		.retries = FETCH_RETRIES,
		.retry_ns = FETCH_RETRY_NS,
	};
	struct ms_backend *local = NULL;
	struct ms_backend *cache = NULL;

	while (o.chunk < s->backend->block && o.chunk < o.request)
		o.chunk *= 2;
	int rc = ms_memory_open_with(ms_size(s->backend), !options->no_huge,
				     &local);
	if (rc)
		return rc;
	s->huge = ms_memory_is_huge(local);
	s->local = local;
	rc = ms_cache_open(local, s->backend, &o, &cache);
	if (rc) {
		ms_close(local);
		return rc;
	}
	s->backend = cache;
	return 0;
}

static void on_local(void *source, uint64_t offset, uint64_t length)
{
	struct ms_uffd_source *s = source;
	uint64_t before = atomic_fetch_add(&s->arrived, length);

	if (s->huge && before < SMALL_PAGES_BYTES &&
	    before + length >= SMALL_PAGES_BYTES)
		ms_memory_want_huge(s->local, 0);
	pthread_rwlock_rdlock(&s->lock);
	for (struct ms_uffd_engine *e = s->engines; e; e = e->next)
		uffd_on_local(e, offset, length);
	pthread_rwlock_unlock(&s->lock);
}

static int start_puller(struct ms_uffd_source *s,
			const struct memsync_uffd_options *options)
{
	struct ms_puller_options o;
	pthread_attr_t attr;
	uint64_t chunk = ms_cache_chunk_bytes(s->backend);

	if (pthread_attr_init(&attr))
		return ms_err(-ENOMEM, "uffd: start to pull");
	uffd_thread_attr(options->placement, true, s->home_cpu, &attr);
	ms_puller_defaults(&o);
	o.workers = PULLS_MAX;
	o.request = options->span_bytes > chunk ? options->span_bytes : chunk;
	o.window = options->window_bytes;
	o.first = MS_UFFD_PAGE;
	o.retry_ns = PULL_RETRY_NS;
	o.retries = PULL_RETRIES;
	o.threads = options->workers;
	o.attr = &attr;
	int rc = ms_puller_start(s->backend, &o, &s->puller);
	(void)pthread_attr_destroy(&attr);
	return rc;
}

static int set_up(struct ms_uffd_source *s,
		  const struct memsync_uffd_options *options)
{
	uint64_t size = ms_size(s->backend);
	int rc = 0;

	if (size == 0)
		return ms_err(-EINVAL, "uffd: the region is empty");
	if (options->variant == MEMSYNC_UFFD_THESIS)
		return 0;
	if (!maps_itself(s->backend))
		rc = wrap(s, options);
	else if (ms_cache_gives_up(s->backend))
		rc = ms_err(-EOPNOTSUPP,
			    "uffd: a cache with limit or watch gives up "
			    "chunks whose pages are mapped: not supported "
			    "yet");
	if (rc == 0)
		rc = ms_map(s->backend, 0, size, &s->memory);
	if (rc)
		return rc;
	/* The rest of the last page reads zero, whatever the store holds. */
	if (size % MS_UFFD_PAGE)
		memset((char *)s->memory.addr + size, 0,
		       MS_UFFD_PAGE - size % MS_UFFD_PAGE);
	ms_cache_on_local(s->backend, on_local, s);
	/* Before memory is mapped for the application: it saves time. */
	return options->no_pull ? 0 : start_puller(s, options);
}

int ms_uffd_source_open(struct ms_backend *backend,
			const struct memsync_uffd_options *options,
			struct ms_uffd_source **ret)
{
	struct ms_uffd_source *s = calloc(1, sizeof(*s));

	if (!s) {
		ms_close(backend);
		return ms_err(-ENOMEM, "uffd");
	}
	s->backend = backend;
	s->memory.fd = -1;
	s->home_cpu = sched_getcpu();
	(void)pthread_rwlock_init(&s->lock, NULL);
	int rc = set_up(s, options);
	if (rc) {
		ms_uffd_source_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void ms_uffd_source_close(struct ms_uffd_source *source)
{
	if (!source)
		return;
	ms_puller_stop(source->puller);
	ms_close(source->backend);
	(void)pthread_rwlock_destroy(&source->lock);
	free(source);
}

void ms_uffd_source_attach(struct ms_uffd_source *source,
			   struct ms_uffd_engine *engine)
{
	pthread_rwlock_wrlock(&source->lock);
	engine->next = source->engines;
	source->engines = engine;
	pthread_rwlock_unlock(&source->lock);
}

void ms_uffd_source_detach(struct ms_uffd_source *source,
			   struct ms_uffd_engine *engine)
{
	pthread_rwlock_wrlock(&source->lock);
	for (struct ms_uffd_engine **at = &source->engines; *at;
	     at = &(*at)->next)
		if (*at == engine) {
			*at = engine->next;
			break;
		}
	pthread_rwlock_unlock(&source->lock);
}

void ms_uffd_source_stats(struct ms_uffd_source *source,
			  struct memsync_uffd_stats *stats)
{
	struct ms_puller_stats pull;

	if (!source->puller)
		return;
	ms_puller_get_stats(source->puller, &pull);
	stats->pull_requests += pull.requests;
	stats->pull_bytes += pull.bytes;
	stats->errors += pull.errors;
	if (!stats->error)
		stats->error = pull.error;
}

char *ms_uffd_source_spec(const char *spec,
			  const struct memsync_uffd_options *options)
{
	char *text = NULL;
	int n = 0;

	if (options->variant == MEMSYNC_UFFD_THESIS ||
	    strncmp(spec, "cache:", 6) == 0)
		return strdup(spec);
	n = asprintf(&text,
		     "cache:local=(memory:huge=%s),remote=(%s),chunk=4K,"
		     "request=%" PRIu64 "K,retries=%d,retry=50ms",
		     options->no_huge ? "no" : "yes", spec,
		     options->span_bytes >> 10, FETCH_RETRIES);
	return n < 0 ? NULL : text;
}

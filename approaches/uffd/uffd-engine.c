/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's life and its handler thread; see uffd-engine.h. */
#include "approaches/uffd/uffd-engine.h"

#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-compat.h"
#include "approaches/uffd/uffd-internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	BATCH = 64,	  /* events read at once */
	WORKERS_MAX = 16, /* as many as a puller has */
};

/* --- faults ----------------------------------------------------------------
 */

/* How much to fetch for a fault: more and more while the program goes on
 * where the last fetch ended. */
static uint64_t span_for(struct ms_uffd_engine *e, uint64_t page)
{
	uint64_t least = e->config.options.chunk_bytes / MS_UFFD_PAGE;
	uint64_t most = e->config.options.span_bytes / MS_UFFD_PAGE;

	e->span = page == e->expected ? e->span * 4 : least;
	if (e->span > most)
		e->span = most;
	return e->span;
}

/* Pages from `first` to before `end` that are as `local` and not mapped. */
static uint64_t run_of(const struct ms_uffd_engine *e, uint64_t first,
		       uint64_t end, bool local)
{
	uint64_t p = first;

	while (p < end && atomic_load(&e->state[p]) == PG_NONE &&
	       uffd_is_local(e, p) == local)
		p++;
	return p - first;
}

static bool is_absent(const struct ms_uffd_engine *e, uint64_t page)
{
	enum ms_chunk_state state =
		ms_cache_state(e->backend, page >> e->chunk_shift);

	return state == MS_CHUNK_ABSENT || state == MS_CHUNK_FAILED;
}

/* Ask for a page that is marked as wanted, and for its neighbours. */
static void fetch(struct ms_uffd_engine *e, uint64_t page)
{
	uint64_t least = e->config.options.chunk_bytes / MS_UFFD_PAGE;
	uint64_t first = page;
	uint64_t end = page + 1;

	/* On its way already: the cache hurries it. */
	if (!is_absent(e, page)) {
		uffd_fill(e, page, page, 1);
		return;
	}
	uint64_t span = span_for(e, page);
	/* Without locality the neighbours on both sides are as likely. */
	uint64_t low = span == least ? page - page % least : page;
	uint64_t high = low + span < e->pages ? low + span : e->pages;
	while (end < high && is_absent(e, end))
		end++;
	while (first > low && is_absent(e, first - 1))
		first--;
	e->expected = end;
	/* Going on in order: the pull shall be ahead of the program. */
	if (e->span > least && e->config.source->puller)
		ms_puller_demand(e->config.source->puller, first * MS_UFFD_PAGE,
				 (end - first) * MS_UFFD_PAGE);
	uffd_fill(e, page, first, end - first);
}

void uffd_tuned_fault(struct ms_uffd_engine *e, uint64_t page)
{
	uint64_t most = e->config.options.span_bytes / MS_UFFD_PAGE;
	uint64_t end = page + most < e->pages ? page + most : e->pages;

	for (;;) {
		uint8_t state = atomic_load(&e->state[page]);
		if (state == PG_FAILED) {
			uffd_fail_page(e, page);
			return;
		}
		/* Its bytes are there: it was never mapped here, or the
		 * program has dropped it, or the report is old news. */
		if (uffd_is_local(e, page)) {
			uint64_t count = run_of(e, page, end, true);
			uffd_install(e, page, count ? count : 1);
			return;
		}
		if (state == PG_WANTED)
			return; /* its completion wakes */
		if (page_swap(e, page, state, PG_WANTED)) {
			fetch(e, page);
			return;
		}
	}
}

static void one_event(struct ms_uffd_engine *e, const struct uffd_msg *msg)
{
	uint64_t at = msg->arg.pagefault.address;

	/* Other events are not asked for; a foreign descriptor may have them.
	 */
	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	/* Nor are other ranges, which a foreign descriptor may have too. */
	if (at < e->config.start ||
	    (at - e->config.start) / MS_UFFD_PAGE >= e->pages)
		return;
	count_add(&e->count.faults, 1);
	uint64_t page = (at - e->config.start) / MS_UFFD_PAGE;
	if (e->config.options.variant == MEMSYNC_UFFD_THESIS)
		uffd_thesis_fault(e, page);
	else
		uffd_tuned_fault(e, page);
}

/* Read what there is. False when the descriptor is of no use any more. */
static bool read_events(struct ms_uffd_engine *e)
{
	struct uffd_msg msgs[BATCH];
	size_t most =
		e->config.options.variant == MEMSYNC_UFFD_THESIS ? 1 : BATCH;
	ssize_t n = read(e->config.fd, msgs, most * sizeof(msgs[0]));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	for (size_t i = 0; i < (size_t)n / sizeof(msgs[0]); i++)
		one_event(e, &msgs[i]);
	return n > 0;
}

static void *handle(void *arg)
{
	struct ms_uffd_engine *e = arg;
	struct pollfd fds[] = {{.fd = e->config.fd, .events = POLLIN},
			       {.fd = e->stop_fd, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents)
			return NULL;
		/* POLLERR: the process that registered it has ended. */
		if (fds[0].revents & POLLIN) {
			if (!read_events(e))
				return NULL;
		} else if (fds[0].revents) {
			atomic_store(&e->gone, true);
			return NULL;
		}
	}
}

/* --- life ------------------------------------------------------------------
 */

static void choose_cpus(cpu_set_t *set, bool same, int home)
{
	if (home < 0 || sched_getaffinity(0, sizeof(*set), set))
		return;
	if (same) {
		CPU_ZERO(set);
		CPU_SET(home, set);
	} else if (CPU_COUNT(set) > 1) {
		CPU_CLR(home, set);
	}
}

void uffd_thread_attr(enum memsync_uffd_placement where, bool helper, int home,
		      pthread_attr_t *attr)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (where != MEMSYNC_UFFD_FLOAT)
		choose_cpus(&set, where == MEMSYNC_UFFD_SAME && !helper, home);
	if (CPU_COUNT(&set))
		(void)pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

static int start_handler(struct ms_uffd_engine *e)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	uffd_thread_attr(e->config.options.placement, false,
			 e->config.source->home_cpu, &attr);
	int rc = pthread_create(&e->handler, &attr, handle, e);
	(void)pthread_attr_destroy(&attr);
	e->handler_runs = rc == 0;
	return -rc;
}

int ms_uffd_options_complete(const struct memsync_uffd_options *from,
			     struct memsync_uffd_options *ret)
{
	struct memsync_uffd_options o = {0};

	if (from)
		o = *from;
	if (!o.chunk_bytes)
		o.chunk_bytes = UINT64_C(32) << 10;
	if (!o.span_bytes)
		o.span_bytes = UINT64_C(1) << 20;
	if (!o.window_bytes)
		o.window_bytes = UINT64_C(32) << 20;
	if (!o.deadline_ns)
		o.deadline_ns = 120 * MS_NS_PER_S;
	if (!o.workers)
		o.workers = 1;
	if ((unsigned)o.variant > MEMSYNC_UFFD_THESIS ||
	    (unsigned)o.placement > MEMSYNC_UFFD_FLOAT)
		return ms_err(-EINVAL, "uffd: unknown variant or placement");
	if (o.chunk_bytes < MS_UFFD_PAGE ||
	    (o.chunk_bytes & (o.chunk_bytes - 1)))
		return ms_err(-EINVAL, "uffd: the chunk is a power of two of "
				       "at least 4096 bytes");
	if (o.span_bytes < o.chunk_bytes ||
	    (o.span_bytes & (o.span_bytes - 1)) || o.span_bytes > MS_IO_MAX)
		return ms_err(-EINVAL, "uffd: the span is a power of two from "
				       "the chunk to 256M");
	if (o.workers > WORKERS_MAX)
		return ms_err(-EINVAL, "uffd: %d workers at most", WORKERS_MAX);
	*ret = o;
	return 0;
}

static void free_engine(struct ms_uffd_engine *e)
{
	if (e->stop_fd >= 0)
		(void)close(e->stop_fd);
	(void)pthread_mutex_destroy(&e->lock);
	(void)pthread_cond_destroy(&e->changed);
	free((void *)e->state);
	free(e);
}

/*
 * Map what became local before the engine was attached: the pull begins before
 * the range is mapped. It is found at the front, or when it is accessed.
 */
static void catch_up(struct ms_uffd_engine *e)
{
	uint64_t left = ms_cache_local_chunks(e->backend) << e->chunk_shift;

	for (uint64_t p = 0; p < e->pages && left; p++) {
		left -= !is_absent(e, p);
		uint64_t count = run_of(e, p, e->pages, true);
		if (count) {
			uffd_install(e, p, count);
			left -= count - 1 < left ? count - 1 : left;
			p += count - 1;
		}
	}
}

static int allocate(struct ms_uffd_engine *e)
{
	e->pages = (e->config.size + MS_UFFD_PAGE - 1) / MS_UFFD_PAGE;
	e->expected = UINT64_MAX;
	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->changed, NULL);
	e->stop_fd = eventfd(0, EFD_CLOEXEC);
	e->state = calloc(e->pages, sizeof(*e->state));
	if (e->stop_fd < 0 || !e->state)
		return ms_err(-ENOMEM, "uffd: the state of %llu pages",
			      (unsigned long long)e->pages);
	return 0;
}

int ms_uffd_engine_start(const struct ms_uffd_engine_config *config,
			 struct ms_uffd_engine **ret)
{
	struct ms_uffd_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return ms_err(-ENOMEM, "uffd");
	e->config = *config;
	e->backend = config->source->backend;
	e->bytes = config->source->memory.addr;
	if (e->bytes)
		e->chunk_shift = (unsigned)__builtin_ctzll(
			ms_cache_chunk_bytes(e->backend) / MS_UFFD_PAGE);
	int rc = allocate(e);
	if (rc == 0) {
		rc = start_handler(e);
		if (rc)
			(void)ms_err(rc, "uffd: start the handler");
	}
	if (rc) {
		free_engine(e);
		return rc;
	}
	if (e->bytes)
		ms_uffd_source_attach(config->source, e);
	if (e->bytes && config->shared)
		catch_up(e);
	*ret = e;
	return 0;
}

void ms_uffd_engine_stop(struct ms_uffd_engine *engine)
{
	if (!engine)
		return;
	if (engine->bytes)
		ms_uffd_source_detach(engine->config.source, engine);
	(void)eventfd_write(engine->stop_fd, 1);
	if (engine->handler_runs)
		(void)pthread_join(engine->handler, NULL);
	engine->handler_runs = false;
	uffd_fills_end(engine);
}

void ms_uffd_engine_free(struct ms_uffd_engine *engine)
{
	if (!engine)
		return;
	(void)close(engine->config.fd);
	free_engine(engine);
}

void ms_uffd_engine_stats(const struct ms_uffd_engine *e,
			  struct memsync_uffd_stats *ret)
{
	*ret = (struct memsync_uffd_stats){
		.faults = atomic_load(&e->count.faults),
		.urgent_requests = atomic_load(&e->count.urgent_requests),
		.urgent_bytes = atomic_load(&e->count.urgent_bytes),
		.pages_installed = atomic_load(&e->count.installed),
		.pages_present = atomic_load(&e->count.present),
		.kernel_again = atomic_load(&e->count.again),
		.retries = atomic_load(&e->count.retries),
		.errors = atomic_load(&e->count.errors),
		.pages_failed = atomic_load(&e->count.failed),
		.error = atomic_load(&e->error),
		.complete = atomic_load(&e->resolved) == e->pages,
	};
}

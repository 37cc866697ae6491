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
	BATCH = 64 /* events read at once */
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

static void fetch(struct ms_uffd_engine *e, uint64_t page)
{
	uint64_t least = e->config.options.chunk_bytes / MS_UFFD_PAGE;
	uint64_t span = span_for(e, page);
	/* Without locality the neighbours on both sides are as likely. */
	uint64_t first = span == least ? page - page % least : page;
	uint64_t count = 0;

	count = uffd_claim(e, page, span - (page - first), PG_WANTED);
	if (count == 0)
		return; /* the pull was faster: the fault is looked at again */
	/* Backwards, as far as it is absent. */
	while (first < page && page_swap(e, page - 1, PG_ABSENT, PG_FLIGHT)) {
		page--;
		count++;
	}
	e->expected = page + count;
	/* Going on in order: the pull shall be ahead of the program. */
	if (e->span > least)
		atomic_store(&e->demand, e->expected);
	uffd_fill(e, page, count, false);
}

void uffd_tuned_fault(struct ms_uffd_engine *e, uint64_t page)
{
	for (;;) {
		uint8_t state = atomic_load(&e->state[page]);
		switch (state) {
		case PG_ABSENT:
			fetch(e, page);
			if (atomic_load(&e->state[page]) != PG_ABSENT)
				return;
			break;
		case PG_FLIGHT:
			if (!page_swap(e, page, PG_FLIGHT, PG_WANTED))
				break;
			uffd_hurry(e, page);
			return;
		case PG_LOCAL:
		case PG_STALE:
			/* STALE: reported again, so the program has dropped
			 * the page. A file still has it. */
			if (e->config.alias)
				uffd_install(e, page, 1);
			else if (state == PG_STALE &&
				 page_swap(e, page, PG_STALE, PG_ABSENT))
				break;
			return;
		case PG_INSTALLED:
			if (!page_swap(e, page, PG_INSTALLED, PG_STALE))
				break;
			if (e->config.alias)
				break;
			(void)ms_uffd_wake(e->config.fd, page_address(e, page),
					   MS_UFFD_PAGE);
			return;
		case PG_FAILED:
			uffd_fail_pages(e, page, 1);
			return;
		default: /* PG_WANTED: its completion wakes */
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

static void choose_cpus(cpu_set_t *set, bool same)
{
	int here = sched_getcpu();

	if (here < 0 || sched_getaffinity(0, sizeof(*set), set))
		return;
	if (same) {
		CPU_ZERO(set);
		CPU_SET(here, set);
	} else if (CPU_COUNT(set) > 1) {
		CPU_CLR(here, set);
	}
}

int uffd_thread(const struct ms_uffd_engine *e, bool helper, pthread_t *ret,
		void *(*fn)(void *), void *arg)
{
	enum memsync_uffd_placement where = e->config.options.placement;
	pthread_attr_t attr;
	cpu_set_t set;

	CPU_ZERO(&set);
	if (pthread_attr_init(&attr))
		return -ENOMEM;
	if (where != MEMSYNC_UFFD_FLOAT)
		choose_cpus(&set, where == MEMSYNC_UFFD_SAME && !helper);
	if (CPU_COUNT(&set))
		(void)pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	int rc = pthread_create(ret, &attr, fn, arg);
	(void)pthread_attr_destroy(&attr);
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
	(void)pthread_mutex_destroy(&e->pull_lock);
	(void)pthread_mutex_destroy(&e->lock);
	(void)pthread_cond_destroy(&e->changed);
	free((void *)e->state);
	free(e);
}

/* End the threads and wait until no request is in flight. */
static void end_threads(struct ms_uffd_engine *e)
{
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	if (e->handler_runs) {
		(void)eventfd_write(e->stop_fd, 1);
		(void)pthread_join(e->handler, NULL);
	}
	uffd_pull_stop(e);
	pthread_mutex_lock(&e->lock);
	for (struct fill *f = e->fills; f; f = f->next)
		ms_cancel(e->config.backend, &f->io);
	while (e->fills)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

int ms_uffd_engine_start(const struct ms_uffd_engine_config *config,
			 struct ms_uffd_engine **ret)
{
	struct ms_uffd_engine *e = calloc(1, sizeof(*e));
	int rc = 0;

	if (!e)
		return ms_err(-ENOMEM, "uffd");
	e->config = *config;
	e->pages = (config->size + MS_UFFD_PAGE - 1) / MS_UFFD_PAGE;
	e->expected = UINT64_MAX;
	(void)pthread_mutex_init(&e->pull_lock, NULL);
	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->changed, NULL);
	e->stop_fd = eventfd(0, EFD_CLOEXEC);
	e->state = calloc(e->pages, sizeof(*e->state));
	if (e->stop_fd < 0 || !e->state) {
		rc = ms_err(-ENOMEM, "uffd: the state of %llu pages",
			    (unsigned long long)e->pages);
		free_engine(e);
		return rc;
	}
	if (config->populate)
		ms_cache_on_local(config->backend, uffd_on_local, e);
	rc = uffd_thread(e, false, &e->handler, handle, e);
	if (rc) {
		rc = ms_err(rc, "uffd: start the handler");
	} else {
		e->handler_runs = true;
		if (config->options.variant == MEMSYNC_UFFD_TUNED &&
		    !config->options.no_pull)
			rc = uffd_pull_start(e);
	}
	if (rc) {
		end_threads(e);
		if (config->populate)
			ms_cache_on_local(config->backend, NULL, NULL);
		free_engine(e);
		return rc;
	}
	*ret = e;
	return 0;
}

void ms_uffd_engine_stop(struct ms_uffd_engine *engine)
{
	if (engine)
		end_threads(engine);
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
		.pull_requests = atomic_load(&e->count.pull_requests),
		.pull_bytes = atomic_load(&e->count.pull_bytes),
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of variant `tuned`: claim, fetch, install, fail; see uffd-engine.h.
 */
#include "approaches/common/backend/base.h"
#include "approaches/common/util/clock.h"
#include "approaches/uffd/uffd-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void uffd_count(struct ms_uffd_engine *e, const struct ms_uffd_done *done)
{
	count_add(&e->count.installed, done->installed);
	count_add(&e->count.present, done->present);
	if (done->again)
		count_add(&e->count.again, done->again);
}

uint64_t uffd_claim(struct ms_uffd_engine *e, uint64_t first, uint64_t max,
		    uint8_t state)
{
	uint64_t n = 0;

	if (max > e->pages - first)
		max = e->pages - first;
	for (; n < max; n++) {
		if (!page_swap(e, first + n, PG_ABSENT, state))
			break;
		state = PG_FLIGHT;
	}
	return n;
}

static void list_add(struct ms_uffd_engine *e, struct fill *f)
{
	pthread_mutex_lock(&e->lock);
	f->next = e->fills;
	if (f->next)
		f->next->prev = f;
	e->fills = f;
	pthread_mutex_unlock(&e->lock);
}

static void list_remove(struct ms_uffd_engine *e, struct fill *f)
{
	pthread_mutex_lock(&e->lock);
	if (f->next)
		f->next->prev = f->prev;
	if (f->prev)
		f->prev->next = f->next;
	else
		e->fills = f->next;
	if (!e->fills)
		pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

void uffd_hurry(struct ms_uffd_engine *e, uint64_t page)
{
	pthread_mutex_lock(&e->lock);
	for (struct fill *f = e->fills; f; f = f->next)
		if (f->pull && page - f->first < f->count)
			ms_hurry(e->config.backend, &f->io);
	pthread_mutex_unlock(&e->lock);
}

/* Bytes of the region in a run of pages; the last page may be partial. */
static uint64_t run_bytes(const struct ms_uffd_engine *e, uint64_t first,
			  uint64_t count)
{
	uint64_t left = e->config.size - first * MS_UFFD_PAGE;
	uint64_t bytes = count * MS_UFFD_PAGE;

	return left < bytes ? left : bytes;
}

/* Mark pages that an install has mapped; a failed page stays failed. */
static void mark_installed(struct ms_uffd_engine *e, uint64_t first,
			   uint64_t count)
{
	uint64_t fresh = 0;

	for (uint64_t p = first; p < first + count; p++) {
		uint8_t was = atomic_exchange(&e->state[p], PG_INSTALLED);
		fresh += was < PG_INSTALLED;
	}
	atomic_fetch_add(&e->resolved, fresh);
}

/* A hole in the memory file: reading it through the alias makes a page. */
static void fill_holes(const struct ms_uffd_engine *e, uint64_t first,
		       uint64_t count)
{
	for (uint64_t p = first; p < first + count; p++)
		(void)*(volatile const char *)(e->config.alias +
					       p * MS_UFFD_PAGE);
}

void uffd_install(struct ms_uffd_engine *e, uint64_t first, uint64_t count)
{
	struct ms_uffd_done done = {0};
	uint64_t start = page_address(e, first);
	uint64_t length = count * MS_UFFD_PAGE;
	int rc = ms_uffd_continue(e->config.fd, start, length, &done);

	if (rc == -EFAULT) {
		fill_holes(e, first, count);
		rc = ms_uffd_continue(e->config.fd, start, length, &done);
	}
	uffd_count(e, &done);
	if (rc == 0) {
		mark_installed(e, first, count);
		return;
	}
	if (rc == -ENOENT || rc == -ESRCH)
		atomic_store(&e->gone, true);
	atomic_store(&e->error, rc);
	uffd_fail_pages(e, first, count);
}

static void install_copy(struct ms_uffd_engine *e, const struct fill *f)
{
	struct ms_uffd_done done = {0};
	int rc = ms_uffd_copy(e->config.fd, page_address(e, f->first),
			      f->bounce, f->count * MS_UFFD_PAGE, &done);

	uffd_count(e, &done);
	if (rc == 0) {
		mark_installed(e, f->first, f->count);
		return;
	}
	if (rc == -ENOENT || rc == -ESRCH)
		atomic_store(&e->gone, true);
	atomic_store(&e->error, rc);
	uffd_fail_pages(e, f->first, f->count);
}

void uffd_fail_pages(struct ms_uffd_engine *e, uint64_t first, uint64_t count)
{
	struct ms_uffd_done done = {0};
	uint64_t start = page_address(e, first);
	uint64_t length = count * MS_UFFD_PAGE;

	for (uint64_t p = first; p < first + count; p++)
		atomic_store(&e->state[p], PG_FAILED);
	count_add(&e->count.failed, count);
	if (atomic_load(&e->gone))
		return;
	int rc = ms_uffd_poison(e->config.fd, start, length, &done);
	if (rc == 0)
		return;
	/* A kernel before 6.6: only within this process is there another way.
	 */
	if (rc == -EINVAL && !e->config.foreign)
		rc = ms_uffd_cover(e->config.fd, start, length);
	if (rc)
		atomic_store(&e->error, rc);
}

/* Everything that arrived and is not mapped yet, in runs. */
static void arrived(struct ms_uffd_engine *e, uint64_t first, uint64_t count)
{
	uint64_t run = first;
	uint64_t end = first + count;

	for (uint64_t p = first; p < end; p++)
		if (atomic_load(&e->state[p]) < PG_LOCAL)
			atomic_store(&e->state[p], PG_LOCAL);
	for (uint64_t p = first; p <= end; p++) {
		if (p < end && atomic_load(&e->state[p]) == PG_LOCAL)
			continue;
		if (p > run)
			uffd_install(e, run, p - run);
		run = p + 1;
	}
}

void uffd_on_local(void *engine, uint64_t offset, uint64_t length)
{
	struct ms_uffd_engine *e = engine;
	uint64_t first = offset / MS_UFFD_PAGE;
	uint64_t end = (offset + length + MS_UFFD_PAGE - 1) / MS_UFFD_PAGE;

	if (end > e->pages)
		end = e->pages;
	if (first < end)
		arrived(e, first, end - first);
}

static bool is_stopping(struct ms_uffd_engine *e)
{
	pthread_mutex_lock(&e->lock);
	bool stopping = e->stopping;
	pthread_mutex_unlock(&e->lock);
	return stopping;
}

/*
 * The request failed. Pages that nobody waits for become absent again. Those
 * that are waited for are asked for once more by themselves, urgently, as the
 * error may belong to their neighbours; if that was done, they have failed.
 */
static void not_arrived(struct ms_uffd_engine *e, const struct fill *f)
{
	uint64_t wanted = 0;

	if (is_stopping(e))
		return; /* nobody accesses the range any more */
	for (uint64_t p = f->first; p < f->first + f->count; p++)
		if (!page_swap(e, p, PG_FLIGHT, PG_ABSENT))
			wanted++;
	if (wanted == f->count && !f->pull) {
		uffd_fail_pages(e, f->first, f->count);
		return;
	}
	for (uint64_t p = f->first; wanted && p < f->first + f->count; p++) {
		if (atomic_load(&e->state[p]) != PG_WANTED)
			continue;
		count_add(&e->count.retries, 1);
		uffd_fill(e, p, 1, false);
		wanted--;
	}
}

static void fill_done(struct ms_io *io)
{
	struct fill *f = ms_container_of(io, struct fill, io);
	struct ms_uffd_engine *e = f->engine;
	uint64_t bytes = run_bytes(e, f->first, f->count);
	int result = io->result;

	if (result == 0) {
		count_add(f->pull ? &e->count.pull_bytes
				  : &e->count.urgent_bytes,
			  bytes);
		if (f->bounce)
			install_copy(e, f);
		else
			arrived(e, f->first, f->count);
	} else {
		if (result != -ECANCELED) {
			count_add(&e->count.errors, 1);
			atomic_store(&e->error, result);
		}
		not_arrived(e, f);
	}
	if (f->pull)
		uffd_pull_ended(e, bytes, result);
	free(f->bounce);
	/* After this the engine may be freed: nothing of it is touched. */
	list_remove(e, f);
	free(f);
}

/* The bytes' place: the shared memory, or a buffer with a zeroed tail. */
static int fill_place(struct ms_uffd_engine *e, struct fill *f)
{
	uint64_t length = f->count * MS_UFFD_PAGE;

	if (e->config.populate)
		return 0;
	if (e->config.alias) {
		f->io.buf = e->config.alias + f->first * MS_UFFD_PAGE;
		return 0;
	}
	f->bounce = aligned_alloc(MS_UFFD_PAGE, length);
	if (!f->bounce)
		return -ENOMEM;
	if (f->io.length < length)
		memset(f->bounce + f->io.length, 0, length - f->io.length);
	f->io.buf = f->bounce;
	return 0;
}

void uffd_fill(struct ms_uffd_engine *e, uint64_t first, uint64_t count,
	       bool pull)
{
	struct fill *f = calloc(1, sizeof(*f));

	if (f) {
		f->engine = e;
		f->first = first;
		f->count = count;
		f->pull = pull;
		f->io = (struct ms_io){
			.op = e->config.populate ? MS_OP_POPULATE : MS_OP_READ,
			.priority = pull ? MS_BULK : MS_URGENT,
			.offset = first * MS_UFFD_PAGE,
			.length = run_bytes(e, first, count),
			.deadline_ns =
				ms_now_ns() + e->config.options.deadline_ns,
			.done = fill_done,
		};
	}
	if (!f || fill_place(e, f)) {
		/* No memory: the pages stay as if the backend had failed. */
		free(f);
		atomic_store(&e->error, -ENOMEM);
		if (pull)
			uffd_pull_ended(e, run_bytes(e, first, count), -ENOMEM);
		uffd_fail_pages(e, first, count);
		return;
	}
	count_add(pull ? &e->count.pull_requests : &e->count.urgent_requests,
		  1);
	list_add(e, f);
	ms_submit(e->config.backend, &f->io);
}

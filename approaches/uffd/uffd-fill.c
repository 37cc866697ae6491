/* SPDX-License-Identifier: Apache-2.0 */
/* Variant `tuned`: ask the cache, install, fail; see uffd-engine.h. */
#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/uffd/uffd-internal.h"

#include <errno.h>
#include <stdlib.h>

void uffd_count(struct ms_uffd_engine *e, const struct ms_uffd_done *done)
{
	count_add(&e->count.installed, done->installed);
	count_add(&e->count.present, done->present);
	if (done->again)
		count_add(&e->count.again, done->again);
}

bool uffd_is_local(const struct ms_uffd_engine *e, uint64_t page)
{
	enum ms_chunk_state state =
		ms_cache_state(e->backend, page >> e->chunk_shift);

	return state == MS_CHUNK_LOCAL || state == MS_CHUNK_DIRTY ||
	       state == MS_CHUNK_PUSHING;
}

/* Bytes of the region in a run of pages; the last page may be partial. */
static uint64_t run_bytes(const struct ms_uffd_engine *e, uint64_t first,
			  uint64_t count)
{
	uint64_t left = e->config.size - first * MS_UFFD_PAGE;
	uint64_t bytes = count * MS_UFFD_PAGE;

	return left < bytes ? left : bytes;
}

/* --- install ------------------------------------------------------------- */

/*
 * A hole in the memory file: the region has zeros there, or the bytes are not
 * what they should be. Only what the cache says is local becomes a page.
 */
static int install_holes(struct ms_uffd_engine *e, uint64_t first,
			 uint64_t count, struct ms_uffd_done *done)
{
	for (uint64_t p = first; p < first + count; p++) {
		if (!uffd_is_local(e, p))
			return -EFAULT;
		(void)*(volatile const char *)(e->bytes + p * MS_UFFD_PAGE);
	}
	return ms_uffd_continue(e->config.fd, page_address(e, first),
				count * MS_UFFD_PAGE, done);
}

void uffd_install(struct ms_uffd_engine *e, uint64_t first, uint64_t count)
{
	struct ms_uffd_done done = {0};
	uint64_t start = page_address(e, first);
	uint64_t length = count * MS_UFFD_PAGE;
	uint64_t fresh = 0;
	int rc = 0;

	/*
	 * Marked before it is done: a fault that is reported meanwhile (the
	 * program dropped the page) is then not taken for one that waits.
	 */
	for (uint64_t p = first; p < first + count; p++)
		fresh += atomic_exchange(&e->state[p], PG_INSTALLED) <
			 PG_INSTALLED;
	if (e->config.shared) {
		rc = ms_uffd_continue(e->config.fd, start, length, &done);
		if (rc == -EFAULT)
			rc = install_holes(e, first, count, &done);
	} else {
		rc = ms_uffd_copy(e->config.fd, start,
				  e->bytes + first * MS_UFFD_PAGE, length,
				  &done);
	}
	uffd_count(e, &done);
	if (rc == 0) {
		atomic_fetch_add(&e->resolved, fresh);
		return;
	}
	if (rc == -ENOENT || rc == -ESRCH)
		atomic_store(&e->gone, true);
	atomic_store(&e->error, rc);
	for (uint64_t p = first; p < first + count; p++)
		uffd_fail_page(e, p);
}

void uffd_fail_page(struct ms_uffd_engine *e, uint64_t page)
{
	struct ms_uffd_done done = {0};
	uint64_t start = page_address(e, page);

	if (atomic_exchange(&e->state[page], PG_FAILED) != PG_FAILED)
		count_add(&e->count.failed, 1);
	if (atomic_load(&e->gone))
		return;
	int rc = ms_uffd_poison(e->config.fd, start, MS_UFFD_PAGE, &done);
	if (rc == 0)
		return;
	/* A kernel before 6.6: only within this process is there another way.
	 */
	if (rc == -EINVAL && !e->config.foreign)
		rc = ms_uffd_cover(e->config.fd, start, MS_UFFD_PAGE);
	if (rc)
		atomic_store(&e->error, rc);
}

/* What is not mapped yet, in runs; a failed page stays failed. */
void uffd_on_local(struct ms_uffd_engine *e, uint64_t offset, uint64_t length)
{
	uint64_t run = offset / MS_UFFD_PAGE;
	uint64_t end = (offset + length + MS_UFFD_PAGE - 1) / MS_UFFD_PAGE;

	for (uint64_t p = run; p <= end; p++) {
		if (p < end && atomic_load(&e->state[p]) < PG_INSTALLED)
			continue;
		if (p > run)
			uffd_install(e, run, p - run);
		run = p + 1;
	}
}

/* --- requests ------------------------------------------------------------ */

static void list_add(struct ms_uffd_engine *e, struct fill *f)
{
	pthread_mutex_lock(&e->lock);
	f->next = e->fills;
	if (f->next)
		f->next->prev = f;
	e->fills = f;
	pthread_mutex_unlock(&e->lock);
}

/* The lock is held. */
static void list_remove(struct ms_uffd_engine *e, struct fill *f)
{
	if (f->next)
		f->next->prev = f->prev;
	if (f->prev)
		f->prev->next = f->next;
	else
		e->fills = f->next;
	free(f);
	pthread_cond_broadcast(&e->changed);
}

void uffd_fills_end(struct ms_uffd_engine *e)
{
	struct fill *f = NULL;

	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	for (;;) {
		for (f = e->fills; f && f->cancelled; f = f->next)
			continue;
		if (!f)
			break;
		/* Completing takes the lock, so it is let go. */
		f->cancelled = f->held = true;
		pthread_mutex_unlock(&e->lock);
		ms_cancel(e->backend, &f->io);
		pthread_mutex_lock(&e->lock);
		f->held = false;
		if (f->ended)
			list_remove(e, f);
	}
	while (e->fills)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

static bool is_stopping(struct ms_uffd_engine *e)
{
	pthread_mutex_lock(&e->lock);
	bool stopping = e->stopping;
	pthread_mutex_unlock(&e->lock);
	return stopping;
}

/*
 * The request failed. The page that is waited for is asked for once more by
 * itself, as the error may belong to its neighbours, if there is time; then it
 * has failed.
 */
static void not_arrived(struct ms_uffd_engine *e, const struct fill *f,
			int result)
{
	count_add(&e->count.errors, 1);
	atomic_store(&e->error, result);
	if (is_stopping(e))
		return; /* nobody accesses the range any more */
	if (f->alone || result == -ETIMEDOUT) {
		uffd_fail_page(e, f->page);
		return;
	}
	count_add(&e->count.retries, 1);
	uffd_fill(e, f->page, f->page, 1);
}

static void fill_done(struct ms_io *io)
{
	struct fill *f = ms_container_of(io, struct fill, io);
	struct ms_uffd_engine *e = f->engine;

	if (io->result == 0)
		count_add(&e->count.urgent_bytes, io->length);
	/* Mostly on_local has been here already. */
	if (atomic_load(&e->state[f->page]) == PG_WANTED) {
		if (io->result == 0)
			uffd_install(e, f->page, 1);
		else if (io->result != -ECANCELED)
			not_arrived(e, f, io->result);
	}
	/* After this the engine may be freed: nothing of it is touched. */
	pthread_mutex_lock(&e->lock);
	if (f->held)
		f->ended = true;
	else
		list_remove(e, f);
	pthread_mutex_unlock(&e->lock);
}

void uffd_fill(struct ms_uffd_engine *e, uint64_t page, uint64_t first,
	       uint64_t count)
{
	struct fill *f = calloc(1, sizeof(*f));

	if (!f) {
		atomic_store(&e->error, -ENOMEM);
		uffd_fail_page(e, page);
		return;
	}
	f->engine = e;
	f->page = page;
	f->alone = count == 1;
	f->io = (struct ms_io){
		.op = MS_OP_POPULATE,
		.priority = MS_URGENT,
		.offset = first * MS_UFFD_PAGE,
		.length = run_bytes(e, first, count),
		.deadline_ns = ms_now_ns() + e->config.options.deadline_ns,
		.done = fill_done,
	};
	count_add(&e->count.urgent_requests, 1);
	list_add(e, f);
	ms_submit(e->backend, &f->io);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The accesses of one thread of a workload: the code inside the timers. */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

enum {
	CHECK_EVERY = 64, /* accesses between two looks at the clock, at most */
};
/* A look at the clock must not be further away than this in slow regions. */
#define CHECK_NS (200 * MS_NS_PER_US)
/* Written bytes are prepared in batches of this many. */
#define PREPARE_BYTES (UINT64_C(1) << 20)

void wl_fail(struct wl_thread *t, const char *fmt, ...)
{
	va_list ap;

	if (t->failed)
		return;
	t->failed = 1;
	va_start(ap, fmt);
	(void)vsnprintf(t->reason, sizeof(t->reason), fmt, ap);
	va_end(ap);
	__atomic_store_n(&t->run->stop, 1, __ATOMIC_RELAXED);
}

int wl_read(const struct wl_run *run, void *buf, uint64_t offset, uint64_t n)
{
	uint64_t got = 0;

	if (run->config->access == MS_WL_MMAP) {
		memcpy(buf, (const char *)run->target->addr + offset, n);
		return 0;
	}
	while (got < n) {
		ssize_t part = pread(run->target->fd, (char *)buf + got,
				     n - got, (off_t)(offset + got));
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return part < 0 ? -errno : -ENODATA;
		got += (uint64_t)part;
	}
	return 0;
}

static int wl_write(const struct wl_run *run, const void *buf, uint64_t offset,
		    uint64_t n)
{
	uint64_t put = 0;

	if (run->config->access == MS_WL_MMAP) {
		memcpy((char *)run->target->addr + offset, buf, n);
		return 0;
	}
	while (put < n) {
		ssize_t part = pwrite(run->target->fd, (const char *)buf + put,
				      n - put, (off_t)(offset + put));
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return part < 0 ? -errno : -ENOSPC;
		put += (uint64_t)part;
	}
	return 0;
}

/* The block of this thread's step. Two threads never share a block of a pass,
 * but in zipf, which only reads. */
static uint64_t block_of(const struct wl_thread *t, uint64_t step)
{
	const struct wl_run *run = t->run;
	uint64_t threads = run->config->threads;

	if (run->config->kind == MS_WL_FIRST_ACCESS)
		return run->blocks > 1 ? 1 : 0;
	if (run->order.kind == MS_ORDER_SEQUENTIAL) {
		/* Each thread has its own contiguous part. */
		uint64_t part = (run->blocks + threads - 1) / threads;
		uint64_t first = t->number * part;
		uint64_t left = run->blocks - first;
		return first + step % (left < part ? left : part);
	}
	return ms_order_at(&run->order, step * threads + t->number);
}

static bool is_write(const struct wl_thread *t, uint64_t step)
{
	const struct ms_workload_config *c = t->run->config;

	if (c->kind == MS_WL_SEQ_WRITE || c->kind == MS_WL_RAND_WRITE)
		return true;
	if (c->kind != MS_WL_MIXED)
		return false;
	uint64_t draw =
		ms_mix64(c->seed ^ ms_mix64(step * c->threads + t->number + 1));
	return (double)(draw >> 11) * 0x1p-53 * 100 >= c->read_share;
}

/* Keep one word of each page that was just read. */
static void witness(struct wl_thread *t, uint64_t offset, uint64_t n,
		    uint8_t state)
{
	uint64_t flag = state & WL_WRITTEN ? UINT64_C(1) << 63 : 0;

	for (uint64_t at = 0; at < n; at += WL_PAGE) {
		uint64_t room = n - at < WL_PAGE ? n - at : WL_PAGE;
		uint64_t place = 0;
		if (room < 8 || t->witnesses == t->witness_max)
			return;
		/* Another place each time, so that all of a page counts. */
		place = (t->witnesses * UINT64_C(0x9e3779b97f4a7c15) >> 40) %
			(room - 7);
		struct wl_witness *w = &t->witness[t->witnesses++];
		w->offset = (offset + at + place) | flag;
		memcpy(&w->word, t->buf + at + place, 8);
	}
}

static bool check_now(struct wl_thread *t, uint64_t offset, uint64_t n,
		      uint8_t state)
{
	const struct wl_run *run = t->run;
	uint64_t bad = 0;

	if (ms_verifier_check(state & WL_WRITTEN ? &run->written
						 : &run->verifier,
			      offset, t->buf, n, &bad))
		return true;
	wl_fail(t, "wrong byte at offset %" PRIu64, bad);
	return false;
}

static bool one_read(struct wl_thread *t, uint64_t block)
{
	struct wl_run *run = t->run;
	uint64_t offset = wl_offset(run, block);
	uint64_t n = wl_length(run, block);
	uint8_t state = __atomic_load_n(&run->block[block], __ATOMIC_RELAXED);
	int rc = wl_read(run, t->buf, offset, n);

	/* The copy is what is measured: it must really be made. */
	__asm__ volatile("" : : "r"(t->buf) : "memory");
	if (rc) {
		wl_fail(t, "read at offset %" PRIu64 ": %s", offset,
			ms_errno_text(rc));
		return false;
	}
	witness(t, offset, n, state);
	if (run->config->verify == MS_WL_VERIFY_EACH &&
	    !check_now(t, offset, n, state))
		return false;
	if (!(state & WL_TOUCHED))
		__atomic_store_n(&run->block[block],
				 (uint8_t)(state | WL_TOUCHED),
				 __ATOMIC_RELAXED);
	t->bytes_read += n;
	return true;
}

static bool one_write(struct wl_thread *t, uint64_t block, const char *bytes)
{
	struct wl_run *run = t->run;
	uint64_t offset = wl_offset(run, block);
	uint64_t n = wl_length(run, block);
	int rc = wl_write(run, bytes, offset, n);

	__asm__ volatile("" : : : "memory");
	if (rc) {
		wl_fail(t, "write at offset %" PRIu64 ": %s", offset,
			ms_errno_text(rc));
		return false;
	}
	__atomic_store_n(&run->block[block], WL_TOUCHED | WL_WRITTEN,
			 __ATOMIC_RELAXED);
	t->bytes_written += n;
	return true;
}

/* Produce what the next steps write; the time for it is taken out. */
static void prepare(struct wl_thread *t, uint64_t step, uint64_t batch)
{
	const struct wl_run *run = t->run;
	uint64_t before = ms_now_ns();

	for (uint64_t i = 0; i < batch && step + i < t->steps; i++) {
		if (!is_write(t, step + i))
			continue;
		uint64_t block = block_of(t, step + i);
		ms_pattern_fill(run->written.seed, wl_offset(run, block),
				t->source + i * run->config->access_bytes,
				wl_length(run, block));
	}
	t->prep_ns += ms_now_ns() - before;
}

static void sleep_until(uint64_t when_ns)
{
	struct timespec at = ms_timespec(when_ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) ==
	       EINTR)
		continue;
}

/* When the next look at the clock is due, in accesses. */
struct pace {
	uint64_t last_ns;
	unsigned every;
	unsigned left;
};

/* True if the run's time is over. Looks at the clock as rarely as it may. */
static bool time_is_over(const struct wl_thread *t, struct pace *p)
{
	const struct wl_run *run = t->run;

	if (!run->config->time_limit_ns || --p->left)
		return false;
	uint64_t now = ms_now_ns();
	if (now - p->last_ns > CHECK_NS)
		p->every = 1;
	else if (p->every < CHECK_EVERY)
		p->every *= 2;
	p->last_ns = now;
	p->left = p->every;
	return now - run->start_ns - t->prep_ns >= run->config->time_limit_ns;
}

/* One access, timed if asked for. */
static bool step_once(struct wl_thread *t, uint64_t step, const char *bytes)
{
	const struct wl_run *run = t->run;
	uint64_t block = block_of(t, step);
	bool timed = run->latency || step == 0;
	uint64_t from = 0;

	if (run->config->rate) {
		/* Latency counts from when the access should have begun. */
		from = run->start_ns +
		       (step * run->config->threads + t->number) * MS_NS_PER_S /
			       run->config->rate;
		if (ms_now_ns() < from)
			sleep_until(from);
	} else if (timed) {
		from = ms_now_ns();
	}
	bool ok = bytes ? one_write(t, block, bytes) : one_read(t, block);
	if (!ok || !timed)
		return ok;
	uint64_t took = ms_now_ns() - from;
	if (step == 0)
		t->first_ns = took;
	if (run->latency)
		ms_hist_record(t->hist, took);
	return true;
}

static void loop(struct wl_thread *t)
{
	struct wl_run *run = t->run;
	struct pace pace = {.last_ns = run->start_ns, .every = 1, .left = 1};
	uint64_t bytes = run->config->access_bytes;
	uint64_t batch = bytes < PREPARE_BYTES ? PREPARE_BYTES / bytes : 1;
	uint64_t step = 0;

	while (step < t->steps) {
		const char *source = NULL;
		if (t->source && step % batch == 0)
			prepare(t, step, batch);
		if (t->source && is_write(t, step))
			source = t->source + step % batch * bytes;
		if (!step_once(t, step, source))
			break;
		t->done = ++step;
		if (time_is_over(t, &pace) ||
		    __atomic_load_n(&run->stop, __ATOMIC_RELAXED))
			break;
	}
}

void wl_thread_run(struct wl_thread *t)
{
	struct wl_run *run = t->run;
	const void *addr = run->target->addr ? run->target->addr : "";
	size_t size = run->target->addr ? run->target->size : 0;

	if (!wl_wait_for_start(run))
		return;
	if (sigsetjmp(t->guard.env, 1) == 0) {
		ms_guard_enter(&t->guard, addr, size);
		loop(t);
		ms_guard_leave();
	} else {
		wl_fail(t, "SIGBUS at offset %" PRIu64, t->guard.fault_offset);
	}
	t->elapsed_ns = ms_now_ns() - run->start_ns - t->prep_ns;
}

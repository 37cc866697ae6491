/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `rate`; see rate.h. */
#include "approaches/common/stage/rate.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/ioq.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Bounds that keep every product of a time and a rate in 128 bits. */
#define RATE_MAX (UINT64_C(1) << 50)

struct rate {
	struct ms_backend base;
	struct ms_backend *next;
	uint64_t bytes_per_s;
	uint64_t burst;
	struct ms_timer timer; /* the next departure or deadline */
	pthread_mutex_t lock;  /* everything below */
	struct ms_ioq queue;
	/* When the bucket is (or was) full again; in the past: it is full. */
	uint64_t full_ns;
	uint64_t waited; /* requests that did not leave at once */
};

static struct rate *self(struct ms_backend *b)
{
	return ms_container_of(b, struct rate, base);
}

static uint64_t fill_ns(const struct rate *r, uint64_t bytes)
{
	return (uint64_t)((unsigned __int128)bytes * MS_NS_PER_S /
			  r->bytes_per_s);
}

/* When `io` may leave, if nothing else leaves before it. */
static uint64_t departure_ns(const struct rate *r, const struct ms_io *io)
{
	uint64_t need = io->length < r->burst ? io->length : r->burst;
	uint64_t before = fill_ns(r, r->burst - need);

	return r->full_ns > before ? r->full_ns - before : 0;
}

static void take_out(struct rate *r, const struct ms_io *io, uint64_t now)
{
	if (r->full_ns < now)
		r->full_ns = now;
	r->full_ns += fill_ns(r, io->length);
}

/* Takes those whose time has come, as a chain. */
static struct ms_io *departures(struct rate *r, uint64_t now)
{
	struct ms_io *chain = NULL;
	struct ms_io **tail = &chain;
	struct ms_io *io = ms_ioq_peek(&r->queue);

	while (io && departure_ns(r, io) <= now) {
		*tail = ms_ioq_pop(&r->queue);
		tail = &io->link;
		take_out(r, io, now);
		io = ms_ioq_peek(&r->queue);
	}
	return chain;
}

static void pump(struct rate *r);

static void timer_rang(struct ms_timer *timer)
{
	pump(ms_container_of(timer, struct rate, timer));
}

/* For the next departure or deadline, if anything waits. */
static int arm(struct rate *r)
{
	const struct ms_io *head = ms_ioq_peek(&r->queue);

	if (!head)
		return 0;
	uint64_t at = departure_ns(r, head);
	if (r->queue.deadline_ns < at)
		at = r->queue.deadline_ns;
	return ms_timer_arm(&r->timer, at, timer_rang);
}

static void send(struct ms_backend *next, struct ms_io *chain)
{
	while (chain) {
		struct ms_io *io = chain;
		chain = io->link;
		io->link = NULL;
		ms_forward(next, io);
	}
}

static void pump(struct rate *r)
{
	struct ms_io *late = NULL;
	struct ms_backend *next = r->next;

	pthread_mutex_lock(&r->lock);
	uint64_t now = ms_now_ns();
	if (r->queue.deadline_ns <= now)
		late = ms_ioq_expire(&r->queue, now);
	struct ms_io *chain = departures(r, now);
	struct ms_io *stuck = NULL;
	/* Without a timer nothing would ever let the others go. */
	int rc = arm(r);
	if (rc)
		stuck = ms_ioq_take_all(&r->queue);
	pthread_mutex_unlock(&r->lock);
	/* Once the last of these is completed the stage may be closed. */
	ms_ioq_end(late, -ETIMEDOUT, "rate");
	ms_ioq_end(stuck, rc, "rate");
	send(next, chain);
}

/* Whether `io` leaves at once; if not it is queued, or `*ret_rc` says why. */
static bool leaves_now(struct rate *r, struct ms_io *io, int *ret_rc)
{
	pthread_mutex_lock(&r->lock);
	uint64_t now = ms_now_ns();
	bool now_free = !ms_ioq_peek(&r->queue) && departure_ns(r, io) <= now;
	if (now_free) {
		take_out(r, io, now);
	} else {
		(void)ms_ioq_push(&r->queue, io);
		*ret_rc = arm(r);
		if (*ret_rc)
			(void)ms_ioq_remove(&r->queue, io);
		else
			r->waited++;
	}
	pthread_mutex_unlock(&r->lock);
	return now_free;
}

static void rate_submit(struct ms_backend *b, struct ms_io *io)
{
	struct rate *r = self(b);
	int rc = 0;

	if (io->op == MS_OP_RESIZE)
		ms_wrap_resize(b, r->next, io);
	else if ((io->op != MS_OP_READ && io->op != MS_OP_WRITE) ||
		 leaves_now(r, io, &rc))
		ms_forward(r->next, io);
	else if (rc)
		ms_done(io, rc, "rate");
}

static void rate_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct rate *r = self(b);

	pthread_mutex_lock(&r->lock);
	bool waited = ms_ioq_remove(&r->queue, io);
	pthread_mutex_unlock(&r->lock);
	if (waited)
		ms_done(io, -ECANCELED, "rate");
	else if (!ms_wrap_cancel(b, r->next, io))
		ms_cancel(r->next, io);
}

/* --- the type -------------------------------------------------------------
 */

static int rate_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		    struct ms_mapping *ret)
{
	return ms_map(self(b)->next, offset, length, ret);
}

static int rate_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void rate_close(struct ms_backend *b)
{
	struct rate *r = self(b);

	(void)ms_timer_cancel(&r->timer);
	ms_close(r->next);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

static void rate_stats(struct ms_backend *b, FILE *out)
{
	struct rate *r = self(b);

	pthread_mutex_lock(&r->lock);
	(void)fprintf(out, "waiting %zu\n", r->queue.count);
	(void)fprintf(out, "waited %llu\n", (unsigned long long)r->waited);
	pthread_mutex_unlock(&r->lock);
}

static const struct ms_backend_ops rate_ops = {
	.name = "rate",
	.submit = rate_submit,
	.cancel = rate_cancel,
	.map = rate_map,
	.watch = rate_watch,
	.close = rate_close,
	.stats = rate_stats,
};

int ms_rate_over(struct ms_backend *next, uint64_t bytes_per_s,
		 uint64_t burst_bytes, struct ms_backend **ret)
{
	if (!bytes_per_s || bytes_per_s > RATE_MAX || !burst_bytes ||
	    burst_bytes > RATE_MAX)
		return ms_err(-EINVAL, "rate: rate and burst are 1 ... %llu",
			      (unsigned long long)RATE_MAX);
	struct rate *r = calloc(1, sizeof(*r));
	if (!r)
		return ms_err(-ENOMEM, "rate");
	ms_backend_init(&r->base, &rate_ops, ms_size(next), next->caps);
	r->base.block = next->block;
	r->next = next;
	r->bytes_per_s = bytes_per_s;
	r->burst = burst_bytes;
	ms_ioq_init(&r->queue);
	(void)pthread_mutex_init(&r->lock, NULL);
	*ret = &r->base;
	return 0;
}

struct rate_config {
	struct ms_backend *next;
	uint64_t rate;
	uint64_t burst;
};

static const struct ms_opt rate_options[] = {
	MS_OPT_BACKEND(struct rate_config, next, "next",
		       "where requests go afterwards"),
	MS_OPT_SIZE(struct rate_config, rate, "rate", 0, "100M", 1, RATE_MAX,
		    "bytes (not bits) a second, reads and writes together"),
	MS_OPT_SIZE(struct rate_config, burst, "burst", 0, "64K", 1, RATE_MAX,
		    "bytes that may leave at once after a pause"),
	MS_OPT_END,
};

static int rate_type_open(const void *config, struct ms_backend **ret)
{
	const struct rate_config *c = config;

	return ms_rate_over(c->next, c->rate, c->burst, ret);
}

const struct ms_backend_type ms_rate_type = {
	.name = "rate",
	.summary = "lets so many bytes a second through",
	.kind = MS_TEST,
	.options = rate_options,
	.config_size = sizeof(struct rate_config),
	.open = rate_type_open,
	.example = "rate:rate=1G,burst=1M,next={child}",
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `limit`; see limit.h. */
#include "approaches/common/stage/limit.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/ioq.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct limit {
	struct ms_backend base;
	struct ms_backend *next;
	unsigned max;
	struct ms_timer timer; /* the next deadline of what waits */
	pthread_mutex_t lock;  /* everything below */
	struct ms_ioq queue;
	unsigned in_flight;
	uint64_t waited; /* requests that did not leave at once */
};

/*
 * A store may complete a request before ms_submit returns, which lets the next
 * one go, which completes as well: without this a long queue would be a deep
 * stack. The outermost completion of a thread works off those within it.
 */
struct round {
	struct limit *stage;
	struct ms_io *ended; /* children, through link */
	struct round *outer;
};
static _Thread_local struct round *rounds;

static struct limit *self(struct ms_backend *b)
{
	return ms_container_of(b, struct limit, base);
}

/* A request has left: the one that takes its place, or NULL. */
static struct ms_io *take_turn(struct limit *l)
{
	struct ms_io *io;

	pthread_mutex_lock(&l->lock);
	io = ms_ioq_pop(&l->queue);
	if (!io)
		l->in_flight--;
	pthread_mutex_unlock(&l->lock);
	return io;
}

static void child_done(struct ms_io *child);

static void launch(struct limit *l, struct ms_io *io)
{
	while (io) {
		struct ms_wrap *w = ms_wrap_new(&l->base, io, child_done);
		struct ms_io *other;

		if (w) {
			ms_submit(l->next, &w->io);
			return;
		}
		other = take_turn(l);
		ms_done(io, -ENOMEM, "limit");
		io = other;
	}
}

static struct round *round_of(const struct limit *l)
{
	struct round *r = rounds;

	while (r && r->stage != l)
		r = r->outer;
	return r;
}

static void child_done(struct ms_io *child)
{
	struct limit *l = self(ms_wrap_stage(child));
	struct round *within = round_of(l);
	struct round r = {.stage = l, .ended = child, .outer = rounds};

	if (within) {
		child->link = within->ended;
		within->ended = child;
		return;
	}
	child->link = NULL;
	rounds = &r;
	while (r.ended) {
		struct ms_io *one = r.ended;
		struct ms_io *next = take_turn(l);

		r.ended = one->link;
		/* If nothing is left, the stage may be closed within this. */
		ms_wrap_end(one);
		launch(l, next);
	}
	rounds = r.outer;
}

static void timer_rang(struct ms_timer *timer)
{
	struct limit *l = ms_container_of(timer, struct limit, timer);
	struct ms_io *late;

	pthread_mutex_lock(&l->lock);
	late = ms_ioq_expire(&l->queue, ms_now_ns());
	ms_ioq_rearm(&l->queue, &l->timer, timer_rang);
	pthread_mutex_unlock(&l->lock);
	ms_ioq_end(late, -ETIMEDOUT, "limit");
}

/* Whether `io` leaves at once; else it is queued, or *ret_rc says why not. */
static bool leaves_now(struct limit *l, struct ms_io *io, int *ret_rc)
{
	bool now;

	pthread_mutex_lock(&l->lock);
	now = l->in_flight < l->max;
	if (now) {
		l->in_flight++;
	} else {
		l->waited++;
		if (ms_ioq_push(&l->queue, io))
			*ret_rc = ms_timer_arm(&l->timer, l->queue.deadline_ns,
					       timer_rang);
		if (*ret_rc)
			(void)ms_ioq_remove(&l->queue, io);
	}
	pthread_mutex_unlock(&l->lock);
	return now;
}

static void limit_submit(struct ms_backend *b, struct ms_io *io)
{
	struct limit *l = self(b);
	int rc = 0;

	if (io->op == MS_OP_RESIZE)
		ms_wrap_resize(b, l->next, io);
	else if (leaves_now(l, io, &rc))
		launch(l, io);
	else if (rc)
		ms_done(io, rc, "limit");
}

static void limit_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct limit *l = self(b);
	bool waited;

	pthread_mutex_lock(&l->lock);
	waited = ms_ioq_remove(&l->queue, io);
	pthread_mutex_unlock(&l->lock);
	if (waited)
		ms_done(io, -ECANCELED, "limit");
	else
		(void)ms_wrap_cancel(b, l->next, io);
}

/* Ahead of what waits; what is below already goes as it is. */
static void limit_hurry(struct ms_backend *b, struct ms_io *io)
{
	struct limit *l = self(b);

	pthread_mutex_lock(&l->lock);
	if (ms_ioq_remove(&l->queue, io)) {
		io->priority = MS_URGENT;
		/* Its deadline was armed for when it came. */
		(void)ms_ioq_push(&l->queue, io);
	}
	pthread_mutex_unlock(&l->lock);
}

static int limit_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		     struct ms_mapping *ret)
{
	return ms_map(self(b)->next, offset, length, ret);
}

static int limit_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void limit_close(struct ms_backend *b)
{
	struct limit *l = self(b);

	(void)ms_timer_cancel(&l->timer);
	ms_close(l->next);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

static void limit_stats(struct ms_backend *b, FILE *out)
{
	struct limit *l = self(b);

	pthread_mutex_lock(&l->lock);
	(void)fprintf(out, "in_flight %u\n", l->in_flight);
	(void)fprintf(out, "waiting %zu\n", l->queue.count);
	(void)fprintf(out, "waited %llu\n", (unsigned long long)l->waited);
	pthread_mutex_unlock(&l->lock);
}

static const struct ms_backend_ops limit_ops = {
	.name = "limit",
	.submit = limit_submit,
	.cancel = limit_cancel,
	.hurry = limit_hurry,
	.map = limit_map,
	.watch = limit_watch,
	.close = limit_close,
	.stats = limit_stats,
};

int ms_limit_over(struct ms_backend *next, unsigned requests,
		  struct ms_backend **ret)
{
	struct limit *l;

	if (!requests || requests > MS_LIMIT_MAX)
		return ms_err(-EINVAL, "limit: %u requests (1 to %d)", requests,
			      MS_LIMIT_MAX);
	l = calloc(1, sizeof(*l));
	if (!l)
		return ms_err(-ENOMEM, "limit");
	ms_backend_init(&l->base, &limit_ops, ms_size(next), next->caps);
	l->base.block = next->block;
	l->next = next;
	l->max = requests;
	ms_ioq_init(&l->queue);
	(void)pthread_mutex_init(&l->lock, NULL);
	*ret = &l->base;
	return 0;
}

struct limit_config {
	struct ms_backend *next;
	uint64_t requests;
};

static const struct ms_opt limit_options[] = {
	MS_OPT_BACKEND(struct limit_config, next, "next", "where requests go"),
	MS_OPT_UINT(struct limit_config, requests, "requests", 0, "1", 1,
		    MS_LIMIT_MAX, "at once at most"),
	MS_OPT_END,
};

static int limit_type_open(const void *config, struct ms_backend **ret)
{
	const struct limit_config *c = config;

	return ms_limit_over(c->next, (unsigned)c->requests, ret);
}

const struct ms_backend_type ms_limit_type = {
	.name = "limit",
	.summary = "lets so many requests at once through",
	.kind = MS_STAGE,
	.options = limit_options,
	.config_size = sizeof(struct limit_config),
	.open = limit_type_open,
	.example = "limit:requests=2,next={child}",
};

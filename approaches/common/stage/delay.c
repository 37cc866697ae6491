/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `delay`; see delay.h. */
#include "approaches/common/stage/delay.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/random.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/timer.h"

#include <errno.h>
#include <stdlib.h>

struct delay {
	struct ms_backend base;
	struct ms_delay_config config;
	uint64_t drawn;	  /* jitter values so far; atomic */
	uint64_t delayed; /* requests; atomic */
};

/* A request that waits. Whoever takes `claimed` ends the waiting. */
struct wait {
	struct ms_timer timer;
	struct ms_held held;
	bool claimed; /* atomic */
};

static struct delay *self(struct ms_backend *b)
{
	return ms_container_of(b, struct delay, base);
}

static void wait_free(struct ms_held *held)
{
	free(ms_container_of(held, struct wait, held));
}

static bool claim(struct wait *w)
{
	return !__atomic_exchange_n(&w->claimed, true, __ATOMIC_ACQ_REL);
}

static void due(struct ms_timer *timer)
{
	struct wait *w = ms_container_of(timer, struct wait, timer);

	if (!claim(w))
		return; /* the canceller waits for us and frees it */
	struct delay *d = self(w->held.stage);
	struct ms_io *io = w->held.parent;
	struct ms_backend *next = d->config.next;
	ms_held_remove(&w->held);
	ms_held_put(&w->held);
	if (io->deadline_ns && io->deadline_ns <= ms_now_ns())
		ms_done(io, -ETIMEDOUT, "delay");
	else if (io->op == MS_OP_RESIZE)
		ms_wrap_resize(&d->base, next, io);
	else
		ms_forward(next, io);
}

static uint64_t due_ns(struct delay *d, const struct ms_io *io)
{
	const struct ms_delay_config *c = &d->config;
	uint64_t wait_ns = c->time_ns;

	if (c->jitter_ns) {
		uint64_t n = __atomic_fetch_add(&d->drawn, 1, __ATOMIC_RELAXED);
		uint64_t plus = ms_random(c->seed, n) % (2 * c->jitter_ns + 1);
		wait_ns += plus;
		wait_ns -= wait_ns < c->jitter_ns ? wait_ns : c->jitter_ns;
	}
	uint64_t at = ms_now_ns() + wait_ns;
	return io->deadline_ns && io->deadline_ns < at ? io->deadline_ns : at;
}

static void delay_submit(struct ms_backend *b, struct ms_io *io)
{
	struct delay *d = self(b);

	if (d->config.ops == MS_DELAY_READ && io->op != MS_OP_READ) {
		if (io->op == MS_OP_RESIZE)
			ms_wrap_resize(b, d->config.next, io);
		else
			ms_forward(d->config.next, io);
		return;
	}
	struct wait *w = calloc(1, sizeof(*w));
	if (!w) {
		ms_done(io, -ENOMEM, "delay");
		return;
	}
	(void)__atomic_fetch_add(&d->delayed, 1, __ATOMIC_RELAXED);
	ms_held_add(&w->held, b, io, wait_free);
	int rc = ms_timer_arm(&w->timer, due_ns(d, io), due);
	/* Armed, it may be over already; a canceller may have claimed it. */
	if (rc && claim(w)) {
		ms_held_remove(&w->held);
		ms_held_put(&w->held);
		ms_done(io, rc, "delay");
	}
}

static void delay_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct ms_held *held = ms_held_find(b, io);

	if (held && held->free == wait_free) {
		struct wait *w = ms_container_of(held, struct wait, held);
		bool ours = claim(w);
		if (ours) {
			(void)ms_timer_cancel(&w->timer);
			ms_held_remove(held);
			ms_held_put(held);
		}
		ms_held_put(held);
		if (ours)
			ms_done(io, -ECANCELED, "delay");
		return;
	}
	if (held)
		ms_held_put(held);
	if (!ms_wrap_cancel(b, self(b)->config.next, io))
		ms_cancel(self(b)->config.next, io);
}

/* --- the type -------------------------------------------------------------
 */

static int delay_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		     struct ms_mapping *ret)
{
	return ms_map(self(b)->config.next, offset, length, ret);
}

static int delay_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->config.next, fn, user);
}

static void delay_close(struct ms_backend *b)
{
	ms_close(self(b)->config.next);
	free(self(b));
}

static void delay_stats(struct ms_backend *b, FILE *out)
{
	(void)fprintf(out, "delayed %llu\n",
		      (unsigned long long)__atomic_load_n(&self(b)->delayed,
							  __ATOMIC_RELAXED));
}

static const struct ms_backend_ops delay_ops = {
	.name = "delay",
	.submit = delay_submit,
	.cancel = delay_cancel,
	.map = delay_map,
	.watch = delay_watch,
	.close = delay_close,
	.stats = delay_stats,
};

int ms_delay_over(const struct ms_delay_config *config, struct ms_backend **ret)
{
	struct delay *d = calloc(1, sizeof(*d));

	if (!d)
		return ms_err(-ENOMEM, "delay");
	ms_backend_init(&d->base, &delay_ops, ms_size(config->next),
			config->next->caps);
	d->base.block = config->next->block;
	d->config = *config;
	*ret = &d->base;
	return 0;
}

static const char *const ops_names[] = {"all", "read", NULL};

static const struct ms_opt delay_options[] = {
	MS_OPT_BACKEND(struct ms_delay_config, next, "next",
		       "where requests go afterwards"),
	MS_OPT_ENTRY(struct ms_delay_config, time_ns, "time", 0,
		     MS_OPT_T_DURATION, 0, MS_NS_PER_S * 3600, "20ms", "TIME",
		     "how long each request waits", .required = false),
	MS_OPT_ENTRY(struct ms_delay_config, jitter_ns, "jitter", 0,
		     MS_OPT_T_DURATION, 0, MS_NS_PER_S * 3600, "0ns", "TIME",
		     "vary the time by at most this, up and down",
		     .required = false),
	MS_OPT_UINT(struct ms_delay_config, seed, "seed", 0, "1", 0, 0,
		    "seed of the jitter"),
	MS_OPT_CHOICE(struct ms_delay_config, ops, "ops", 0, "all", ops_names,
		      "which requests wait"),
	MS_OPT_END,
};

static int delay_type_open(const void *config, struct ms_backend **ret)
{
	return ms_delay_over(config, ret);
}

const struct ms_backend_type ms_delay_type = {
	.name = "delay",
	.summary = "lets each request wait, without a network (the sleep link)",
	.kind = MS_TEST,
	.options = delay_options,
	.config_size = sizeof(struct ms_delay_config),
	.open = delay_type_open,
	.example = "delay:time=100us,jitter=50us,next={child}",
};

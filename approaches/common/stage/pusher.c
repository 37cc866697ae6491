/* SPDX-License-Identifier: Apache-2.0 */
/* The pusher; see pusher.h. */
#include "approaches/common/stage/pusher.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/timer.h"

#include <errno.h>
#include <stdlib.h>

struct ms_pusher {
	struct ms_backend *cache;
	struct ms_pusher_options options;
	struct ms_timer timer;
	uint64_t due_ns;
	uint64_t rounds;
};

void ms_pusher_push(struct ms_pusher *pusher)
{
	if (pusher->options.before)
		pusher->options.before(pusher->options.user);
	__atomic_fetch_add(&pusher->rounds, 1, __ATOMIC_RELAXED);
	ms_cache_push(pusher->cache);
}

static void tick(struct ms_timer *timer)
{
	struct ms_pusher *p = ms_container_of(timer, struct ms_pusher, timer);
	uint64_t now = ms_now_ns();

	ms_pusher_push(p);
	/* From the intended time, so that rounds do not drift. */
	p->due_ns += p->options.interval_ns;
	if (p->due_ns < now)
		p->due_ns = now + p->options.interval_ns;
	/* It was armed before, so there is room in the timers' heap. */
	if (ms_timer_arm(&p->timer, p->due_ns, tick))
		abort();
}

int ms_pusher_start(struct ms_backend *cache,
		    const struct ms_pusher_options *options,
		    struct ms_pusher **ret)
{
	if (!ms_cache_is(cache))
		return ms_err(-EINVAL, "pusher: %s is not a cache",
			      cache->ops->name);
	struct ms_pusher *p = calloc(1, sizeof(*p));
	if (!p)
		return ms_err(-ENOMEM, "pusher");
	p->cache = cache;
	p->options = *options;
	if (options->interval_ns) {
		p->due_ns = ms_now_ns() + options->interval_ns;
		int rc = ms_timer_arm(&p->timer, p->due_ns, tick);
		if (rc) {
			free(p);
			return ms_err(rc, "pusher: timer");
		}
	}
	*ret = p;
	return 0;
}

uint64_t ms_pusher_rounds(struct ms_pusher *pusher)
{
	return __atomic_load_n(&pusher->rounds, __ATOMIC_RELAXED);
}

void ms_pusher_stop(struct ms_pusher *pusher)
{
	if (!pusher)
		return;
	(void)ms_timer_cancel(&pusher->timer);
	free(pusher);
}

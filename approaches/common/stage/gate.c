/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `gate`; see gate.h. */
#include "approaches/common/stage/gate.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/ioq.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum gate_state {
	GATE_OPEN,
	GATE_SHUT,
	GATE_FAILED,
};

struct gate {
	struct ms_backend base;
	struct ms_backend *next;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t moved; /* in_flight became 0, or the state changed */
	enum gate_state state;
	int error; /* of GATE_FAILED */
	struct ms_ioq held;
	struct ms_timer expiry;
	uint64_t in_flight; /* below */
	uint64_t held_total;
};

static struct gate *self(struct ms_backend *b)
{
	return ms_container_of(b, struct gate, base);
}

/* --- through the gate -----------------------------------------------------
 */

static void leave(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	if (--g->in_flight == 0)
		(void)pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->lock);
}

static void passed(struct ms_io *child)
{
	struct gate *g = self(ms_wrap_stage(child));

	if (child->op == MS_OP_RESIZE && child->result == 0)
		ms_size_set(&g->base, child->offset);
	leave(g);
	ms_wrap_end(child);
}

/* `io` has been counted in in_flight. */
static void pass(struct gate *g, struct ms_io *io)
{
	struct ms_wrap *w = ms_wrap_new(&g->base, io, passed);

	if (!w) {
		leave(g);
		ms_done(io, -ENOMEM, "gate");
		return;
	}
	ms_submit(g->next, &w->io);
}

static void expire(struct ms_timer *timer)
{
	struct gate *g = ms_container_of(timer, struct gate, expiry);

	pthread_mutex_lock(&g->lock);
	struct ms_io *chain = ms_ioq_expire(&g->held, ms_now_ns());
	ms_ioq_rearm(&g->held, timer, expire);
	pthread_mutex_unlock(&g->lock);
	ms_ioq_end(chain, -ETIMEDOUT, "gate");
}

static int hold(struct gate *g, struct ms_io *io)
{
	int rc = 0;

	if (ms_ioq_push(&g->held, io))
		rc = ms_timer_arm(&g->expiry, g->held.deadline_ns, expire);
	if (rc)
		(void)ms_ioq_remove(&g->held, io);
	else
		g->held_total++;
	return rc;
}

static void gate_submit(struct ms_backend *b, struct ms_io *io)
{
	struct gate *g = self(b);
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	enum gate_state state = g->state;
	if (state == GATE_OPEN)
		g->in_flight++;
	else if (state == GATE_SHUT)
		rc = hold(g, io);
	else
		rc = g->error;
	pthread_mutex_unlock(&g->lock);
	/* A held request may be gone already. */
	if (state == GATE_OPEN)
		pass(g, io);
	else if (rc)
		ms_done(io, rc, "gate");
}

static void gate_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct gate *g = self(b);

	pthread_mutex_lock(&g->lock);
	bool waited = ms_ioq_remove(&g->held, io);
	pthread_mutex_unlock(&g->lock);
	if (waited)
		ms_done(io, -ECANCELED, "gate");
	else
		(void)ms_wrap_cancel(b, g->next, io);
}

/* --- control --------------------------------------------------------------
 */

int ms_gate_shut(struct ms_backend *gate, bool drain)
{
	struct gate *g = self(gate);
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	if (g->state != GATE_SHUT) {
		g->state = GATE_SHUT;
		(void)pthread_cond_broadcast(&g->moved);
	}
	while (drain && g->in_flight && g->state == GATE_SHUT)
		(void)pthread_cond_wait(&g->moved, &g->lock);
	if (g->state != GATE_SHUT)
		rc = ms_err(-ECANCELED, "gate: no longer shut");
	pthread_mutex_unlock(&g->lock);
	return rc;
}

/* Leave the shut state: the held requests, which the caller takes care of. */
static struct ms_io *unshut(struct gate *g, enum gate_state state, int error)
{
	pthread_mutex_lock(&g->lock);
	if (state == GATE_OPEN)
		g->in_flight += g->held.count;
	struct ms_io *chain = ms_ioq_take_all(&g->held);
	g->state = state;
	g->error = error;
	(void)pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->lock);
	return chain;
}

void ms_gate_open(struct ms_backend *gate)
{
	struct gate *g = self(gate);
	struct ms_io *io = unshut(g, GATE_OPEN, 0);

	while (io) {
		struct ms_io *next = io->link;
		io->link = NULL;
		pass(g, io);
		io = next;
	}
}

void ms_gate_fail(struct ms_backend *gate, int err)
{
	ms_ioq_end(unshut(self(gate), GATE_FAILED, err), err, "gate");
}

/* --- the type -------------------------------------------------------------
 */

static int gate_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void gate_close(struct ms_backend *b)
{
	struct gate *g = self(b);

	(void)ms_timer_cancel(&g->expiry);
	ms_close(g->next);
	(void)pthread_cond_destroy(&g->moved);
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

static void gate_stats(struct ms_backend *b, FILE *out)
{
	static const char *const states[] = {"open", "shut", "failed"};
	struct gate *g = self(b);

	pthread_mutex_lock(&g->lock);
	(void)fprintf(out, "state %s\n", states[g->state]);
	(void)fprintf(out, "in_flight %llu\n",
		      (unsigned long long)g->in_flight);
	(void)fprintf(out, "held %zu\n", g->held.count);
	(void)fprintf(out, "held_total %llu\n",
		      (unsigned long long)g->held_total);
	pthread_mutex_unlock(&g->lock);
}

static const struct ms_backend_ops gate_ops = {
	.name = "gate",
	.submit = gate_submit,
	.cancel = gate_cancel,
	.watch = gate_watch,
	.close = gate_close,
	.stats = gate_stats,
};

int ms_gate_over(struct ms_backend *next, struct ms_backend **ret)
{
	struct gate *g = calloc(1, sizeof(*g));

	if (!g)
		return ms_err(-ENOMEM, "gate");
	ms_backend_init(&g->base, &gate_ops, ms_size(next),
			next->caps & ~(unsigned)MS_CAN_MAP);
	g->base.block = next->block;
	g->next = next;
	ms_ioq_init(&g->held);
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->moved, NULL);
	*ret = &g->base;
	return 0;
}

struct gate_config {
	struct ms_backend *next;
	bool shut;
};

static const struct ms_opt gate_options[] = {
	MS_OPT_BACKEND(struct gate_config, next, "next", "what is behind it"),
	MS_OPT_FLAG(struct gate_config, shut, "shut", 0,
		    "hold requests from the beginning"),
	MS_OPT_END,
};

static int gate_type_open(const void *config, struct ms_backend **ret)
{
	const struct gate_config *c = config;
	int rc = ms_gate_over(c->next, ret);

	return rc == 0 && c->shut ? ms_gate_shut(*ret, false) : rc;
}

const struct ms_backend_type ms_gate_type = {
	.name = "gate",
	.summary = "holds requests up while it is shut",
	.kind = MS_STAGE,
	.options = gate_options,
	.config_size = sizeof(struct gate_config),
	.open = gate_type_open,
	.example = "gate:next={child}",
};

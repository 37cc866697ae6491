/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `error`; see error.h. */
#include "approaches/common/stage/error.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/random.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum error_mode {
	MODE_FAIL,
	MODE_SHORT,
	MODE_TORN,
};

enum error_ops {
	OPS_ALL,
	OPS_READ,
	OPS_WRITE, /* everything that changes bytes or size */
	OPS_SYNC,
};

struct error {
	struct ms_backend base;
	struct ms_backend *next;
	enum error_mode mode;
	enum error_ops ops;
	int code; /* negative errno */
	double rate;
	uint64_t seed;
	uint64_t every;
	uint64_t after;
	uint64_t at;
	bool has_after;
	bool has_at;
	uint64_t seen;	 /* requests of the chosen kind; atomic */
	uint64_t failed; /* atomic */
};

static struct error *self(struct ms_backend *b)
{
	return ms_container_of(b, struct error, base);
}

/* --- which ----------------------------------------------------------------
 */

static bool changes(enum ms_op op)
{
	return op == MS_OP_WRITE || op == MS_OP_ZERO || op == MS_OP_TRIM ||
	       op == MS_OP_RESIZE;
}

static bool chosen_kind(const struct error *e, enum ms_op op)
{
	if (e->mode == MODE_SHORT && op != MS_OP_READ)
		return false;
	if (e->mode == MODE_TORN && op != MS_OP_WRITE)
		return false;
	switch (e->ops) {
	case OPS_READ:
		return op == MS_OP_READ;
	case OPS_WRITE:
		return changes(op);
	case OPS_SYNC:
		return op == MS_OP_SYNC;
	case OPS_ALL:
		break;
	}
	return true;
}

static bool touches(const struct error *e, const struct ms_io *io)
{
	return io->op != MS_OP_SYNC && io->op != MS_OP_RESIZE &&
	       io->offset <= e->at && e->at - io->offset < io->length;
}

static bool shall_fail(struct error *e, const struct ms_io *io)
{
	if (!chosen_kind(e, io->op))
		return false;
	uint64_t n = __atomic_fetch_add(&e->seen, 1, __ATOMIC_RELAXED);
	return (e->every && (n + 1) % e->every == 0) ||
	       (e->has_after && n >= e->after) ||
	       (e->has_at && touches(e, io)) ||
	       (e->rate > 0 && ms_random_fraction(e->seed, n) < e->rate);
}

/* --- how ------------------------------------------------------------------
 */

static void half_done(struct ms_io *child)
{
	const struct error *e = self(ms_wrap_stage(child));

	if (child->result < 0)
		ms_wrap_end(child);
	else
		ms_wrap_end_as(child, e->code, "error");
}

static void fail(struct error *e, struct ms_io *io)
{
	uint64_t half = io->length / 2 & ~(uint64_t)(e->next->block - 1);

	(void)__atomic_fetch_add(&e->failed, 1, __ATOMIC_RELAXED);
	if (e->mode == MODE_FAIL || half == 0) {
		ms_done(io, e->code, "error");
		return;
	}
	struct ms_wrap *w = ms_wrap_new(&e->base, io, half_done);
	if (!w) {
		ms_done(io, -ENOMEM, "error");
		return;
	}
	w->io.length = half;
	ms_submit(e->next, &w->io);
}

static void error_submit(struct ms_backend *b, struct ms_io *io)
{
	struct error *e = self(b);

	if (shall_fail(e, io))
		fail(e, io);
	else if (io->op == MS_OP_RESIZE)
		ms_wrap_resize(b, e->next, io);
	else
		ms_forward(e->next, io);
}

static void error_cancel(struct ms_backend *b, struct ms_io *io)
{
	if (!ms_wrap_cancel(b, self(b)->next, io))
		ms_cancel(self(b)->next, io);
}

uint64_t ms_error_count(const struct ms_backend *error)
{
	const struct error *e =
		ms_container_of(error, const struct error, base);

	return __atomic_load_n(&e->failed, __ATOMIC_RELAXED);
}

/* --- the type -------------------------------------------------------------
 */

static int error_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		     struct ms_mapping *ret)
{
	return ms_map(self(b)->next, offset, length, ret);
}

static int error_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void error_close(struct ms_backend *b)
{
	ms_close(self(b)->next);
	free(self(b));
}

static void error_stats(struct ms_backend *b, FILE *out)
{
	(void)fprintf(out, "seen %llu\n",
		      (unsigned long long)__atomic_load_n(&self(b)->seen,
							  __ATOMIC_RELAXED));
	(void)fprintf(out, "failed %llu\n",
		      (unsigned long long)ms_error_count(b));
}

static const struct ms_backend_ops error_ops = {
	.name = "error",
	.submit = error_submit,
	.cancel = error_cancel,
	.map = error_map,
	.watch = error_watch,
	.close = error_close,
	.stats = error_stats,
};

struct error_config {
	struct ms_backend *next;
	double rate;
	uint64_t every;
	char *after; /* text: 0 is a value, so it cannot mean "not given" */
	char *at;
	uint64_t seed;
	char *code;
	int mode;
	int ops;
};

static const char *const mode_names[] = {"fail", "short", "torn", NULL};
static const char *const ops_names[] = {"all", "read", "write", "sync", NULL};

static const struct ms_opt error_options[] = {
	MS_OPT_BACKEND(struct error_config, next, "next",
		       "where the other requests go"),
	MS_OPT_REAL(struct error_config, rate, "rate", 0, "0", 0, 1, "FRACTION",
		    "fail this fraction of the requests, at random"),
	MS_OPT_UINT(struct error_config, every, "every", 0, "0", 0, 0,
		    "fail each N-th request; 0: do not"),
	MS_OPT_STRING(struct error_config, after, "after", 0, NULL, "N",
		      "fail all requests after the first N"),
	MS_OPT_STRING(struct error_config, at, "at", 0, NULL, "OFFSET",
		      "fail requests that touch this byte"),
	MS_OPT_UINT(struct error_config, seed, "seed", 0, "1", 0, 0,
		    "seed of the random choice"),
	MS_OPT_STRING(struct error_config, code, "errno", 0, "EIO", "NAME",
		      "the error, as in errno(3)"),
	MS_OPT_CHOICE(struct error_config, mode, "mode", 0, "fail", mode_names,
		      "do nothing, or half a read, or half a write"),
	MS_OPT_CHOICE(struct error_config, ops, "ops", 0, "all", ops_names,
		      "which requests can fail"),
	MS_OPT_END,
};

/* The number of "EIO", 0 if there is no such error. */
static int code_of(const char *name)
{
	enum {
		ERRNO_MAX = 4095
	}; /* the kernel's bound */

	for (int i = 1; i <= ERRNO_MAX; i++) {
		const char *known = strerrorname_np(i);
		if (known && strcmp(known, name) == 0)
			return i;
	}
	return 0;
}

static int set_choices(struct error *e, const struct error_config *c)
{
	if (c->after && ms_parse_uint(c->after, &e->after))
		return ms_err(-EINVAL, "error: after=%s is not a number",
			      c->after);
	if (c->at && ms_parse_size(c->at, &e->at))
		return ms_err(-EINVAL, "error: at=%s is not an offset", c->at);
	e->code = -code_of(c->code ? c->code : "");
	if (e->code == 0)
		return ms_err(-EINVAL, "error: errno=%s is not an error's name",
			      c->code ? c->code : "");
	e->has_after = c->after != NULL;
	e->has_at = c->at != NULL;
	e->rate = c->rate;
	e->every = c->every;
	if (!(c->rate > 0) && !c->every && !c->after && !c->at)
		return ms_err(-EINVAL, "error: which requests? One of rate, "
				       "every, after, at is needed");
	return 0;
}

static int error_type_open(const void *config, struct ms_backend **ret)
{
	const struct error_config *c = config;
	struct error *e = calloc(1, sizeof(*e));

	if (!e)
		return ms_err(-ENOMEM, "error");
	int rc = set_choices(e, c);
	if (rc) {
		free(e);
		return rc;
	}
	ms_backend_init(&e->base, &error_ops, ms_size(c->next), c->next->caps);
	e->base.block = c->next->block;
	e->next = c->next;
	e->mode = (enum error_mode)c->mode;
	e->ops = (enum error_ops)c->ops;
	e->seed = c->seed;
	*ret = &e->base;
	return 0;
}

const struct ms_backend_type ms_error_type = {
	.name = "error",
	.summary = "fails some requests on purpose",
	.kind = MS_TEST,
	.options = error_options,
	.config_size = sizeof(struct error_config),
	.open = error_type_open,
	.example = "error:after=1000000000,next={child}",
};

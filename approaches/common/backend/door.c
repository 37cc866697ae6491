/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: the one way into every backend. It checks requests, supplies what
 * a backend cannot do by itself (FUA, zero, trim, extents), and catches the
 * bug of a request that is completed twice.
 */
#include "approaches/common/backend/base.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "memsync/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum io_state {
	IO_IDLE,
	IO_IN_FLIGHT,
};

/* --- completion ----------------------------------------------------------- */

void ms_done(struct ms_io *io, int result, const char *origin)
{
	/* A second completion would free or reuse the caller's memory. */
	if (__atomic_exchange_n(&io->state, IO_IDLE, __ATOMIC_ACQ_REL) !=
	    IO_IN_FLIGHT) {
		(void)fprintf(stderr,
			      "memsync: bug: a %s was completed twice (%s)\n",
			      ms_op_name(io->op), origin ? origin : "?");
		abort();
	}
	/* A positive result would pass for success: a bug of the backend. */
	if (result > 0)
		abort();
	io->result = result;
	if (result < 0)
		io->origin = origin ? origin : "?";
	io->done(io);
}

/* --- checks --------------------------------------------------------------- */

static bool takes_range(enum ms_op op)
{
	return op != MS_OP_SYNC && op != MS_OP_RESIZE;
}

static bool modifies(enum ms_op op)
{
	return op == MS_OP_WRITE || op == MS_OP_ZERO || op == MS_OP_TRIM ||
	       op == MS_OP_RESIZE;
}

static int check_range(const struct ms_backend *b, const struct ms_io *io)
{
	uint64_t size = ms_size(b);
	uint64_t mask = b->block - 1;

	if (io->offset > size || io->length > size - io->offset)
		return -ERANGE;
	if ((io->op == MS_OP_READ || io->op == MS_OP_WRITE) &&
	    io->length > MS_IO_MAX)
		return -EINVAL;
	if (io->offset & mask)
		return -EINVAL;
	if ((io->length & mask) && io->offset + io->length != size)
		return -EINVAL;
	return 0;
}

static int check(const struct ms_backend *b, const struct ms_io *io)
{
	if ((unsigned)io->op >= MS_OP_COUNT)
		return -EINVAL;
	if ((io->flags & ~(unsigned)MS_FUA) ||
	    (io->flags && io->op != MS_OP_WRITE))
		return -EINVAL;
	if (modifies(io->op) && !(b->caps & MS_CAN_WRITE))
		return -EROFS;
	if (takes_range(io->op)) {
		int rc = check_range(b, io);
		if (rc)
			return rc;
	}
	bool wants_buf = io->op == MS_OP_READ || io->op == MS_OP_WRITE ||
			 io->op == MS_OP_HASH || io->op == MS_OP_EXTENTS;
	if (wants_buf && io->length && !io->buf)
		return -EINVAL;
	if (io->op == MS_OP_EXTENTS && io->length && !io->extents_max)
		return -EINVAL;
	if (io->deadline_ns && ms_now_ns() >= io->deadline_ns)
		return -ETIMEDOUT;
	return 0;
}

/* --- what the door supplies ----------------------------------------------- */

/*
 * A request that the door makes of several smaller ones, one after another.
 * A step may complete inside ms_submit; `posts` counts submissions and
 * completions of a step, and whoever makes it even runs the next one. So a
 * chain of any length needs no recursion.
 */
struct chain {
	struct ms_io step;
	struct ms_io *outer;
	struct ms_backend *b;
	/* Fills in the next step; false when there is none left. */
	bool (*prepare)(struct chain *chain);
	uint64_t progress;
	int posts;
};

static const char zeros[1 << 16];

static void chain_stepped(struct ms_io *step);

static void chain_end(struct chain *chain)
{
	struct ms_io *outer = chain->outer;
	int result = chain->step.result;
	const char *origin = chain->step.origin;

	free(chain);
	ms_done(outer, result, origin);
}

/* One of the two events of a step (submitted, completed) has happened. */
static bool chain_second_event(struct chain *chain)
{
	return __atomic_add_fetch(&chain->posts, 1, __ATOMIC_ACQ_REL) == 2;
}

static void chain_run(struct chain *chain)
{
	do {
		if (chain->step.result < 0 || !chain->prepare(chain)) {
			chain_end(chain);
			return;
		}
		chain->step.priority = chain->outer->priority;
		chain->step.deadline_ns = chain->outer->deadline_ns;
		chain->step.done = chain_stepped;
		chain->step.user = chain;
		__atomic_store_n(&chain->posts, 0, __ATOMIC_RELEASE);
		ms_submit(chain->b, &chain->step);
	} while (chain_second_event(chain));
}

static void chain_stepped(struct ms_io *step)
{
	struct chain *chain = step->user;

	if (chain_second_event(chain))
		chain_run(chain);
}

static void chain_start(struct ms_backend *b, struct ms_io *io,
			bool (*prepare)(struct chain *))
{
	struct chain *chain = calloc(1, sizeof(*chain));

	if (!chain) {
		ms_done(io, -ENOMEM, "door");
		return;
	}
	chain->outer = io;
	chain->b = b;
	chain->prepare = prepare;
	chain_run(chain);
}

/* FUA for backends without it: the write, then a sync. */
static bool prepare_fua(struct chain *chain)
{
	const struct ms_io *outer = chain->outer;

	chain->progress++;
	if (chain->progress == 1)
		chain->step = (struct ms_io){.op = MS_OP_WRITE,
					     .offset = outer->offset,
					     .length = outer->length,
					     .buf = outer->buf};
	else
		chain->step = (struct ms_io){.op = MS_OP_SYNC};
	return chain->progress <= 2;
}

/* ZERO for backends without it: writes of zeros. */
static bool prepare_zero(struct chain *chain)
{
	const struct ms_io *outer = chain->outer;
	uint64_t left = outer->length - chain->progress;
	uint64_t n = left < sizeof(zeros) ? left : sizeof(zeros);

	if (left == 0)
		return false;
	chain->step = (struct ms_io){.op = MS_OP_WRITE,
				     .offset = outer->offset + chain->progress,
				     .length = n,
				     .buf = (void *)zeros};
	chain->progress += n;
	return true;
}

static void supply_extents(struct ms_io *io)
{
	struct ms_extent *extent = io->buf;

	*extent = (struct ms_extent){.offset = io->offset,
				     .length = io->length,
				     .type = MS_EXTENT_DATA};
	io->extents_used = 1;
	ms_done(io, 0, NULL);
}

/* True if the door itself answers; the request is taken care of then. */
static bool supplied(struct ms_backend *b, struct ms_io *io)
{
	switch (io->op) {
	case MS_OP_WRITE:
		if (!(io->flags & MS_FUA) || (b->caps & MS_CAN_FUA))
			return false;
		chain_start(b, io, prepare_fua);
		return true;
	case MS_OP_ZERO:
		if (b->caps & MS_CAN_ZERO)
			return false;
		chain_start(b, io, prepare_zero);
		return true;
	case MS_OP_TRIM:
		if (b->caps & MS_CAN_TRIM)
			return false;
		ms_done(io, 0, NULL);
		return true;
	case MS_OP_EXTENTS:
		if (b->caps & MS_CAN_EXTENTS)
			return false;
		supply_extents(io);
		return true;
	case MS_OP_POPULATE:
		if (b->caps & MS_CAN_POPULATE)
			return false;
		ms_done(io, 0, NULL);
		return true;
	case MS_OP_HASH:
		if (b->caps & MS_CAN_HASH)
			return false;
		ms_done(io, -EOPNOTSUPP, "door");
		return true;
	case MS_OP_RESIZE:
		if (b->caps & MS_CAN_RESIZE)
			return false;
		ms_done(io, -EOPNOTSUPP, "door");
		return true;
	case MS_OP_READ:
	case MS_OP_SYNC:
	case MS_OP_COUNT:
		break;
	}
	return false;
}

/* --- the calls -------------------------------------------------------------
 */

void ms_forward(struct ms_backend *next, struct ms_io *io)
{
	int rc = check(next, io);

	if (rc) {
		ms_done(io, rc, "door");
		return;
	}
	if (takes_range(io->op) && io->length == 0) {
		io->extents_used = 0;
		if (io->op == MS_OP_HASH)
			ms_done(io, -EINVAL, "door");
		else
			ms_done(io, 0, NULL);
		return;
	}
	if (!supplied(next, io))
		next->ops->submit(next, io);
}

void ms_submit(struct ms_backend *b, struct ms_io *io)
{
	int idle = IO_IDLE;

	/* Submitting a request that is in flight is a bug of the caller. */
	if (!io->done ||
	    !__atomic_compare_exchange_n(&io->state, &idle, IO_IN_FLIGHT, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		(void)fprintf(stderr, "memsync: bug: a %s was submitted %s\n",
			      ms_op_name(io->op),
			      io->done ? "twice" : "without done");
		abort();
	}
	io->result = 0;
	io->origin = NULL;
	io->extents_used = 0;
	ms_forward(b, io);
}

void ms_cancel(struct ms_backend *b, struct ms_io *io)
{
	if (b->ops->cancel)
		b->ops->cancel(b, io);
}

void ms_hurry(struct ms_backend *b, struct ms_io *io)
{
	if (b->ops->hurry)
		b->ops->hurry(b, io);
}

uint64_t ms_size(const struct ms_backend *b)
{
	return __atomic_load_n(&b->size, __ATOMIC_ACQUIRE);
}

void ms_size_set(struct ms_backend *b, uint64_t size)
{
	__atomic_store_n(&b->size, size, __ATOMIC_RELEASE);
}

int ms_map(struct ms_backend *b, uint64_t offset, uint64_t length,
	   struct ms_mapping *ret)
{
	uint64_t size = ms_size(b);

	if (offset > size || length > size - offset || length == 0)
		return ms_err(-ERANGE,
			      "%s: map %" PRIu64 " bytes at %" PRIu64
			      " of %" PRIu64,
			      b->ops->name, length, offset, size);
	if (!(b->caps & MS_CAN_MAP))
		return ms_err(-EOPNOTSUPP, "%s: map", b->ops->name);
	return b->ops->map(b, offset, length, ret);
}

int ms_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	if (!(b->caps & MS_CAN_WATCH))
		return ms_err(-EOPNOTSUPP, "%s: watch", b->ops->name);
	return b->ops->watch(b, fn, user);
}

void ms_close(struct ms_backend *b)
{
	if (!b)
		return;
	/* `close` frees the backend itself, so take the text first. */
	char *spec = b->spec;
	b->ops->close(b);
	free(spec);
}

void ms_stats(struct ms_backend *b, FILE *out)
{
	if (b->ops->stats)
		b->ops->stats(b, out);
}

const char *ms_op_name(enum ms_op op)
{
	static const char *const names[MS_OP_COUNT] = {
		[MS_OP_READ] = "read",	       [MS_OP_WRITE] = "write",
		[MS_OP_SYNC] = "sync",	       [MS_OP_ZERO] = "zero",
		[MS_OP_TRIM] = "trim",	       [MS_OP_EXTENTS] = "extents",
		[MS_OP_HASH] = "hash",	       [MS_OP_RESIZE] = "resize",
		[MS_OP_POPULATE] = "populate",
	};

	return (unsigned)op < MS_OP_COUNT ? names[op] : "unknown operation";
}

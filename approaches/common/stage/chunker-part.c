/* SPDX-License-Identifier: Apache-2.0 */
/* One piece of a cut request, from its lock to its end; see chunker-impl.h. */
#include "approaches/common/stage/chunker-impl.h"

#include "approaches/common/backend/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct part *part_of_io(struct ms_io *io)
{
	return (struct part *)(void *)io; /* its first member */
}

static void keep_error(struct split *s, int result, const char *origin)
{
	int none = 0;

	if (result == 0)
		return;
	/* Only the winner writes the origin; it is read after all ended. */
	if (__atomic_compare_exchange_n(&s->result, &none, result, false,
					__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		s->origin = origin;
}

static void end(struct part *part, int result, const char *origin)
{
	struct split *s = part->split;

	keep_error(s, result, origin);
	free(part->bounce);
	part->bounce = NULL;
	__atomic_store_n(&part->ended, true, __ATOMIC_RELEASE);
	if (part->has_lock)
		ms_rangelock_release(&s->c->locks, &part->lock);
	ms_split_put(s);
}

/* --- below ----------------------------------------------------------------
 */

static void below(struct part *part, enum ms_op op, uint64_t offset,
		  uint64_t length, void *buf)
{
	struct split *s = part->split;
	const struct ms_io *parent = s->held.parent;

	/* Not the whole struct: a cancel may look at the rest of it. */
	part->io.op = op;
	part->io.priority = parent->priority;
	part->io.flags = op == MS_OP_WRITE ? parent->flags : 0;
	part->io.offset = offset;
	part->io.length = length;
	part->io.buf = buf;
	part->io.deadline_ns = parent->deadline_ns;
	ms_submit(s->c->next, &part->io);
}

/* The chunk of the wanted range, as the store below has it. */
static void whole_chunk(const struct part *part, uint64_t *ret_start,
			uint64_t *ret_length)
{
	const struct chunker *c = part->split->c;

	*ret_start = part->offset & ~(uint64_t)(c->chunk - 1);
	*ret_length = ms_chunk_end(c, part->offset) - *ret_start;
}

static void patch_and_write(struct part *part)
{
	uint64_t start = 0;
	uint64_t length = 0;

	whole_chunk(part, &start, &length);
	char *at = part->bounce + (part->offset - start);
	if (part->buf)
		memcpy(at, part->buf, part->length);
	else
		memset(at, 0, part->length);
	part->write_back = true;
	below(part, MS_OP_WRITE, start, length, part->bounce);
}

static void came_back(struct ms_io *io)
{
	struct part *part = part_of_io(io);
	struct chunker *c = part->split->c;

	if (io->result < 0 || part->write_back || !part->bounce) {
		if (io->op == MS_OP_RESIZE && io->result == 0)
			ms_size_set(&c->base, io->offset);
		end(part, io->result, io->origin);
	} else if (part->op == MS_OP_READ) {
		memcpy(part->buf,
		       part->bounce + (part->offset & (c->chunk - 1)),
		       part->length);
		end(part, 0, NULL);
	} else {
		patch_and_write(part);
	}
}

/* The lock is held, if one is needed. */
static void proceed(struct part *part)
{
	struct chunker *c = part->split->c;
	bool bytes = part->op == MS_OP_READ || part->op == MS_OP_WRITE;
	uint64_t start = 0;
	uint64_t length = 0;

	part->io.done = came_back;
	if (!bytes || !c->align) {
		below(part, part->op, part->offset, part->length, part->buf);
		return;
	}
	whole_chunk(part, &start, &length);
	/* The region may have shrunk since the door let the request in. */
	if (part->offset + part->length > start + length) {
		end(part, -ERANGE, "chunker");
		return;
	}
	if (part->offset == start && part->length == length && part->buf) {
		below(part, part->op, start, length, part->buf);
		return;
	}
	part->bounce = malloc(c->chunk);
	if (!part->bounce) {
		end(part, -ENOMEM, "chunker");
		return;
	}
	(void)__atomic_fetch_add(&c->copied, 1, __ATOMIC_RELAXED);
	below(part, MS_OP_READ, start, length, part->bounce);
}

/* --- the lock -------------------------------------------------------------
 */

static void granted(struct ms_rangelock_node *node)
{
	struct part *part = ms_container_of(node, struct part, lock);

	/* Its callback may be running: it finds the lock granted. */
	if (part->split->held.parent->deadline_ns)
		(void)ms_timer_cancel(&part->expiry);
	part->has_lock = true;
	proceed(part);
}

static void expired(struct ms_timer *timer)
{
	struct part *part = ms_container_of(timer, struct part, expiry);

	if (ms_rangelock_withdraw(&part->split->c->locks, &part->lock))
		end(part, -ETIMEDOUT, "chunker");
}

void ms_part_start(struct part *part)
{
	struct chunker *c = part->split->c;
	const struct ms_io *parent = part->split->held.parent;

	part->lock.granted = granted;
	if (!part->locks) {
		proceed(part);
		return;
	}
	if (ms_rangelock_ask(&c->locks, &part->lock)) {
		part->has_lock = true;
		proceed(part);
		return;
	}
	/* The split is kept by the loop that starts its pieces. */
	int rc = 0;
	if (parent->deadline_ns)
		rc = ms_timer_arm(&part->expiry, parent->deadline_ns, expired);
	if (rc && ms_rangelock_withdraw(&c->locks, &part->lock))
		end(part, rc, "chunker");
	else
		ms_rangelock_wait(&c->locks, &part->lock);
}

void ms_part_cancel(struct part *part)
{
	struct chunker *c = part->split->c;

	if (__atomic_load_n(&part->ended, __ATOMIC_ACQUIRE))
		return;
	if (part->locks && ms_rangelock_withdraw(&c->locks, &part->lock)) {
		(void)ms_timer_cancel(&part->expiry);
		end(part, -ECANCELED, "chunker");
		return;
	}
	ms_cancel(c->next, &part->io);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `chunker`: what is cut and how; see chunker.h. */
#include "approaches/common/stage/chunker.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/chunker-impl.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_MIN 512
#define CHUNK_MAX MS_IO_MAX

static struct chunker *self(struct ms_backend *b)
{
	return ms_container_of(b, struct chunker, base);
}

uint64_t ms_chunk_end(const struct chunker *c, uint64_t offset)
{
	uint64_t size = ms_size(&c->base);
	uint64_t start = offset & ~(uint64_t)(c->chunk - 1);

	/* Without adding first: the last chunk may end at 2^64. */
	return size - start < c->chunk ? size : start + c->chunk;
}

static uint64_t chunk_of(const struct chunker *c, uint64_t offset)
{
	return offset / c->chunk;
}

/* --- splits ---------------------------------------------------------------
 */

static void split_free(struct ms_held *held)
{
	free(ms_container_of(held, struct split, held));
}

void ms_split_put(struct split *split)
{
	if (__atomic_sub_fetch(&split->pending, 1, __ATOMIC_ACQ_REL))
		return;
	struct ms_io *parent = split->held.parent;
	int result = split->result;
	const char *origin = split->origin;

	ms_held_remove(&split->held);
	ms_held_put(&split->held);
	ms_done(parent, result, origin);
}

static struct split *split_new(struct chunker *c, struct ms_io *io,
			       size_t count)
{
	struct split *s = calloc(1, sizeof(*s) + count * sizeof(s->parts[0]));

	if (!s) {
		ms_done(io, -ENOMEM, "chunker");
		return NULL;
	}
	(void)__atomic_fetch_add(&c->cut, 1, __ATOMIC_RELAXED);
	s->c = c;
	s->count = count;
	s->pending = count + 1;
	for (size_t i = 0; i < count; i++)
		s->parts[i].split = s;
	s->held.parent = io;
	return s;
}

/* The pieces are filled in: now a cancel may find them. */
static void split_start(struct split *s)
{
	ms_held_add(&s->held, &s->c->base, s->held.parent, split_free);
	for (size_t i = 0; i < s->count; i++)
		ms_part_start(&s->parts[i]);
	ms_split_put(s);
}

static void forward(struct chunker *c, struct ms_io *io)
{
	(void)__atomic_fetch_add(&c->forwarded, 1, __ATOMIC_RELAXED);
	ms_forward(c->next, io);
}

/* --- operations -----------------------------------------------------------
 */

static void want(struct part *part, enum ms_op op, uint64_t offset,
		 uint64_t length)
{
	part->op = op;
	part->offset = offset;
	part->length = length;
}

static void lock_chunks(struct part *part, uint64_t first, uint64_t last)
{
	part->lock.shared = part->op == MS_OP_READ;
	part->locks = true;
	part->lock.first = first;
	part->lock.last = last;
}

static bool is_whole(const struct chunker *c, uint64_t start, uint64_t end)
{
	return start % c->chunk == 0 && ms_chunk_end(c, start) == end;
}

/* Reads and writes: one piece a chunk. */
static void cut(struct chunker *c, struct ms_io *io)
{
	uint64_t end = io->offset + io->length;
	uint64_t first = chunk_of(c, io->offset);
	uint64_t last = chunk_of(c, end - 1);
	bool write = io->op == MS_OP_WRITE;
	uint64_t at = io->offset;

	if (first == last &&
	    (!c->align || (!write && is_whole(c, io->offset, end)))) {
		forward(c, io);
		return;
	}
	struct split *s = split_new(c, io, (size_t)(last - first + 1));
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++) {
		struct part *part = &s->parts[i];
		uint64_t chunk_end = (first + i + 1) * c->chunk;
		uint64_t stop = i + 1 < s->count ? chunk_end : end;
		want(part, io->op, at, stop - at);
		part->buf = (char *)io->buf + (at - io->offset);
		/* Also a read of a part: it reads the whole chunk, and some
		 * of that somebody else may be writing, who is in the right. */
		if (c->align && (write || !is_whole(c, at, stop)))
			lock_chunks(part, first + i, first + i);
		at = stop;
	}
	split_start(s);
}

/* The whole chunks in a range, the tail counting as one; maybe none. */
static void whole_chunks(const struct chunker *c, const struct ms_io *io,
			 uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t mask = c->chunk - 1;
	uint64_t end = io->offset + io->length;
	uint64_t start = (io->offset + mask) & ~mask;

	if (end != ms_size(&c->base))
		end &= ~mask;
	/* Rounding up may pass the end, at the top even wrap around. */
	if (start < io->offset || start > end)
		start = end;
	*ret_start = start;
	*ret_end = end;
}

/*
 * ZERO and TRIM when aligned: the whole chunks in one piece, and for ZERO the
 * parts of chunks before and behind as writes.
 */
static void clear(struct chunker *c, struct ms_io *io)
{
	uint64_t start = 0;
	uint64_t stop = 0;
	uint64_t end = io->offset + io->length;
	bool edges = io->op == MS_OP_ZERO;

	whole_chunks(c, io, &start, &stop);
	bool middle = start < stop;
	/* Without a whole chunk there are parts of one or two. */
	if (!middle) {
		stop = ms_chunk_end(c, io->offset);
		start = stop = stop < end ? stop : end;
	}
	bool head = edges && io->offset < start;
	bool tail = edges && stop < end;
	size_t count = (size_t)head + middle + tail;
	if (count == 0) {
		ms_done(io, 0, NULL);
		return;
	}
	struct split *s = split_new(c, io, count);
	if (!s)
		return;
	struct part *part = s->parts;
	if (head) {
		want(part, MS_OP_WRITE, io->offset, start - io->offset);
		lock_chunks(part, chunk_of(c, io->offset),
			    chunk_of(c, io->offset));
		part++;
	}
	if (middle) {
		want(part, io->op, start, stop - start);
		lock_chunks(part, chunk_of(c, start), chunk_of(c, stop - 1));
		part++;
	}
	if (tail) {
		want(part, MS_OP_WRITE, stop, end - stop);
		lock_chunks(part, chunk_of(c, stop), chunk_of(c, stop));
	}
	split_start(s);
}

/* One piece over a changed range: what the store below wants aligned. */
static void populate(struct chunker *c, struct ms_io *io)
{
	uint64_t start = io->offset & ~(uint64_t)(c->chunk - 1);
	uint64_t end = ms_chunk_end(c, io->offset + io->length - 1);
	struct split *s = split_new(c, io, 1);

	if (!s)
		return;
	want(s->parts, MS_OP_POPULATE, start, end - start);
	split_start(s);
}

/* Nobody may be changing the last chunk while its length changes. */
static void resize(struct chunker *c, struct ms_io *io)
{
	struct split *s = split_new(c, io, 1);

	if (!s)
		return;
	want(s->parts, MS_OP_RESIZE, io->offset, 0);
	lock_chunks(s->parts, 0, UINT64_MAX);
	split_start(s);
}

static void chunker_submit(struct ms_backend *b, struct ms_io *io)
{
	struct chunker *c = self(b);

	switch (io->op) {
	case MS_OP_READ:
	case MS_OP_WRITE:
		cut(c, io);
		return;
	case MS_OP_RESIZE:
		resize(c, io);
		return;
	case MS_OP_ZERO:
	case MS_OP_TRIM:
		if (c->align)
			clear(c, io);
		else
			forward(c, io);
		return;
	case MS_OP_POPULATE:
		if (c->align)
			populate(c, io);
		else
			forward(c, io);
		return;
	case MS_OP_SYNC:
	case MS_OP_EXTENTS:
	case MS_OP_HASH:
	case MS_OP_COUNT:
		break;
	}
	forward(c, io);
}

static void chunker_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct ms_held *held = ms_held_find(b, io);

	if (!held) {
		ms_cancel(self(b)->next, io);
		return;
	}
	struct split *s = ms_container_of(held, struct split, held);
	/* Its parent may complete meanwhile; our reference keeps the rest. */
	for (size_t i = 0; i < s->count; i++)
		ms_part_cancel(&s->parts[i]);
	ms_held_put(held);
}

/* --- the type -------------------------------------------------------------
 */

static int chunker_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		       struct ms_mapping *ret)
{
	return ms_map(self(b)->next, offset, length, ret);
}

static int chunker_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void chunker_close(struct ms_backend *b)
{
	struct chunker *c = self(b);

	ms_close(c->next);
	ms_rangelock_destroy(&c->locks);
	free(c);
}

static void print(FILE *out, const char *key, const uint64_t *value)
{
	(void)fprintf(
		out, "%s %llu\n", key,
		(unsigned long long)__atomic_load_n(value, __ATOMIC_RELAXED));
}

static void chunker_stats(struct ms_backend *b, FILE *out)
{
	print(out, "forwarded", &self(b)->forwarded);
	print(out, "cut", &self(b)->cut);
	print(out, "copied", &self(b)->copied);
}

static const struct ms_backend_ops chunker_ops = {
	.name = "chunker",
	.submit = chunker_submit,
	.cancel = chunker_cancel,
	.map = chunker_map,
	.watch = chunker_watch,
	.close = chunker_close,
	.stats = chunker_stats,
};

int ms_chunker_over(struct ms_backend *next, uint32_t chunk, bool align,
		    struct ms_backend **ret)
{
	if (chunk < CHUNK_MIN || chunk > CHUNK_MAX || (chunk & (chunk - 1)) ||
	    chunk < next->block)
		return ms_err(-EINVAL,
			      "chunker: size %u is not a power of two from %u "
			      "to %llu",
			      chunk,
			      next->block > CHUNK_MIN ? next->block : CHUNK_MIN,
			      (unsigned long long)CHUNK_MAX);
	struct chunker *c = calloc(1, sizeof(*c));
	if (!c)
		return ms_err(-ENOMEM, "chunker");
	ms_backend_init(&c->base, &chunker_ops, ms_size(next), next->caps);
	c->next = next;
	c->chunk = chunk;
	c->align = align;
	if (!align)
		c->base.block = next->block;
	/* Answers about parts of a block, which the store cannot give. */
	if (align && next->block > 1)
		c->base.caps &= ~(unsigned)(MS_CAN_EXTENTS | MS_CAN_HASH);
	ms_rangelock_init(&c->locks);
	*ret = &c->base;
	return 0;
}

struct chunker_config {
	struct ms_backend *next;
	uint64_t size;
	bool align;
};

static const struct ms_opt chunker_options[] = {
	MS_OPT_BACKEND(struct chunker_config, next, "next",
		       "where the chunks go"),
	MS_OPT_SIZE(struct chunker_config, size, "size", 0, "64K", CHUNK_MIN,
		    CHUNK_MAX, "of a chunk, a power of two"),
	MS_OPT_ENTRY(struct chunker_config, align, "align", 0, MS_OPT_T_FLAG, 0,
		     1, "yes", NULL,
		     "hand on only whole chunks; no: parts of one as well",
		     .required = false),
	MS_OPT_END,
};

static int chunker_type_open(const void *config, struct ms_backend **ret)
{
	const struct chunker_config *c = config;

	return ms_chunker_over(c->next, (uint32_t)c->size, c->align, ret);
}

const struct ms_backend_type ms_chunker_type = {
	.name = "chunker",
	.summary = "cuts requests into chunks",
	.kind = MS_STAGE,
	.options = chunker_options,
	.config_size = sizeof(struct chunker_config),
	.open = chunker_type_open,
	.example = "chunker:size=4K,next={child}",
};

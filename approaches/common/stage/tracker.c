/* SPDX-License-Identifier: Apache-2.0 */
/* Stage `tracker`; see tracker.h. */
#include "approaches/common/stage/tracker.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/stage/wrap.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_MIN 512
#define CHUNK_MAX (1U << 30)
#define WORD_BITS 64
/* The bitmap never moves, so that marking needs no lock: a region that can
 * grow gets address space for growing to this, which costs nothing unused. */
#define GROWTH_MAX (UINT64_C(16) << 40)

struct tracker {
	struct ms_backend base;
	struct ms_backend *next;
	uint64_t *bits;	    /* words are accessed atomically */
	uint64_t words_max; /* the room in `bits` */
	unsigned shift;	    /* chunk is 1 << shift */
	bool on;	    /* atomic */
};

static struct tracker *self(struct ms_backend *b)
{
	return ms_container_of(b, struct tracker, base);
}

static const struct tracker *self_const(const struct ms_backend *b)
{
	return ms_container_of(b, const struct tracker, base);
}

static uint64_t words_for(uint64_t size, unsigned shift)
{
	uint64_t chunks =
		(size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);

	return chunks / WORD_BITS + (chunks % WORD_BITS != 0);
}

/* --- marking --------------------------------------------------------------
 */

/* Sequentially consistent: whoever takes the mark afterwards reads the bytes
 * that were written before it. */
static void mark(struct tracker *t, uint64_t offset, uint64_t length)
{
	if (length == 0 || !__atomic_load_n(&t->on, __ATOMIC_SEQ_CST))
		return;
	uint64_t first = offset >> t->shift;
	uint64_t last = (offset + length - 1) >> t->shift;

	for (uint64_t w = first / WORD_BITS; w <= last / WORD_BITS; w++) {
		uint64_t mask = UINT64_MAX;
		if (w == first / WORD_BITS)
			mask &= UINT64_MAX << (first % WORD_BITS);
		if (w == last / WORD_BITS)
			mask &= UINT64_MAX >>
				(WORD_BITS - 1 - last % WORD_BITS);
		if (w < t->words_max)
			(void)__atomic_fetch_or(&t->bits[w], mask,
						__ATOMIC_SEQ_CST);
	}
}

static void changed(struct ms_io *child)
{
	/* Also after an error: some of it may have been written. */
	mark(self(ms_wrap_stage(child)), child->offset, child->length);
	ms_wrap_end(child);
}

static void resized(struct ms_io *child)
{
	struct tracker *t = self(ms_wrap_stage(child));
	uint64_t before = ms_size(&t->base);
	uint64_t after = child->offset;

	if (child->result == 0) {
		uint64_t low = before < after ? before : after;
		ms_size_set(&t->base, after);
		/* Bytes that went and may come back as zeros, or came. */
		mark(t, low, (before < after ? after : before) - low);
	}
	ms_wrap_end(child);
}

static void change(struct tracker *t, struct ms_io *io)
{
	bool resize = io->op == MS_OP_RESIZE;

	if (resize && words_for(io->offset, t->shift) > t->words_max) {
		ms_done(io, -EFBIG, "tracker");
		return;
	}
	struct ms_wrap *w =
		ms_wrap_new(&t->base, io, resize ? resized : changed);
	if (!w) {
		ms_done(io, -ENOMEM, "tracker");
		return;
	}
	if (!resize)
		mark(t, io->offset, io->length);
	ms_submit(t->next, &w->io);
}

static void tracker_submit(struct ms_backend *b, struct ms_io *io)
{
	struct tracker *t = self(b);

	if (io->op == MS_OP_WRITE || io->op == MS_OP_ZERO ||
	    io->op == MS_OP_TRIM || io->op == MS_OP_RESIZE)
		change(t, io);
	else
		ms_forward(t->next, io);
}

static void tracker_cancel(struct ms_backend *b, struct ms_io *io)
{
	if (!ms_wrap_cancel(b, self(b)->next, io))
		ms_cancel(self(b)->next, io);
}

/* --- control --------------------------------------------------------------
 */

void ms_tracker_start(struct ms_backend *tracker)
{
	struct tracker *t = self(tracker);
	size_t words = ms_tracker_words(tracker);

	/* Anything marked meanwhile was complete, or is marked again. */
	for (size_t i = 0; i < words; i++)
		if (__atomic_load_n(&t->bits[i], __ATOMIC_RELAXED))
			__atomic_store_n(&t->bits[i], 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&t->on, true, __ATOMIC_SEQ_CST);
}

void ms_tracker_stop(struct ms_backend *tracker)
{
	__atomic_store_n(&self(tracker)->on, false, __ATOMIC_SEQ_CST);
}

uint32_t ms_tracker_chunk(const struct ms_backend *tracker)
{
	return UINT32_C(1) << self_const(tracker)->shift;
}

size_t ms_tracker_words(const struct ms_backend *tracker)
{
	return words_for(ms_size(tracker), self_const(tracker)->shift);
}

uint64_t ms_tracker_take(struct ms_backend *tracker, uint64_t *bitmap,
			 size_t words)
{
	struct tracker *t = self(tracker);
	size_t there = ms_tracker_words(tracker);
	uint64_t count = 0;

	for (size_t i = 0; i < words; i++) {
		bitmap[i] = 0;
		/* Looking first keeps pages untouched that hold no mark. */
		if (i >= there ||
		    !__atomic_load_n(&t->bits[i], __ATOMIC_RELAXED))
			continue;
		bitmap[i] =
			__atomic_exchange_n(&t->bits[i], 0, __ATOMIC_SEQ_CST);
		count += (uint64_t)__builtin_popcountll(bitmap[i]);
	}
	return count;
}

uint64_t ms_tracker_count(const struct ms_backend *tracker)
{
	const struct tracker *t = self_const(tracker);
	size_t words = ms_tracker_words(tracker);
	uint64_t count = 0;

	for (size_t i = 0; i < words; i++)
		count += (uint64_t)__builtin_popcountll(
			__atomic_load_n(&t->bits[i], __ATOMIC_RELAXED));
	return count;
}

/* The first bit at or after `at` that is `set`; the end if there is none. */
static uint64_t find_bit(const uint64_t *bitmap, uint64_t bits, uint64_t at,
			 bool set)
{
	while (at < bits) {
		uint64_t word = bitmap[at / WORD_BITS];
		if (!set)
			word = ~word;
		word &= UINT64_MAX << (at % WORD_BITS);
		if (word)
			return at - at % WORD_BITS +
			       (uint64_t)__builtin_ctzll(word);
		at += WORD_BITS - at % WORD_BITS;
	}
	return bits;
}

bool ms_chunk_range_next(const uint64_t *bitmap, size_t words,
			 struct ms_chunk_range *range)
{
	uint64_t bits = (uint64_t)words * WORD_BITS;
	uint64_t first =
		find_bit(bitmap, bits, range->first + range->count, true);

	if (first == bits)
		return false;
	range->first = first;
	range->count = find_bit(bitmap, bits, first, false) - first;
	return true;
}

/* --- the type -------------------------------------------------------------
 */

static int tracker_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
{
	return ms_watch(self(b)->next, fn, user);
}

static void tracker_close(struct ms_backend *b)
{
	struct tracker *t = self(b);

	ms_close(t->next);
	(void)munmap(t->bits, t->words_max * sizeof(t->bits[0]));
	free(t);
}

static void tracker_stats(struct ms_backend *b, FILE *out)
{
	(void)fprintf(out, "tracking %s\n",
		      __atomic_load_n(&self(b)->on, __ATOMIC_RELAXED) ? "yes"
								      : "no");
	(void)fprintf(out, "marked_chunks %llu\n",
		      (unsigned long long)ms_tracker_count(b));
}

static const struct ms_backend_ops tracker_ops = {
	.name = "tracker",
	.submit = tracker_submit,
	.cancel = tracker_cancel,
	.watch = tracker_watch,
	.close = tracker_close,
	.stats = tracker_stats,
};

static uint64_t room_for(const struct ms_backend *next, unsigned shift)
{
	uint64_t size = ms_size(next);

	if ((next->caps & MS_CAN_RESIZE) && size < GROWTH_MAX)
		size = GROWTH_MAX;
	uint64_t words = words_for(size, shift);
	return words ? words : 1;
}

int ms_tracker_over(struct ms_backend *next, uint32_t chunk,
		    struct ms_backend **ret)
{
	if (chunk < CHUNK_MIN || chunk > CHUNK_MAX || (chunk & (chunk - 1)))
		return ms_err(-EINVAL,
			      "tracker: chunk %u is not a power of two from %d "
			      "to %u",
			      chunk, CHUNK_MIN, CHUNK_MAX);
	struct tracker *t = calloc(1, sizeof(*t));
	if (!t)
		return ms_err(-ENOMEM, "tracker");
	t->shift = (unsigned)__builtin_ctz(chunk);
	t->words_max = room_for(next, t->shift);
	t->bits = mmap(NULL, t->words_max * sizeof(t->bits[0]),
		       PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->bits == MAP_FAILED) {
		int rc = ms_err(-errno, "tracker: room for %llu words",
				(unsigned long long)t->words_max);
		free(t);
		return rc;
	}
	ms_backend_init(&t->base, &tracker_ops, ms_size(next),
			next->caps & ~(unsigned)MS_CAN_MAP);
	t->base.block = next->block;
	t->next = next;
	*ret = &t->base;
	return 0;
}

struct tracker_config {
	struct ms_backend *next;
	uint64_t chunk;
	bool start;
};

static const struct ms_opt tracker_options[] = {
	MS_OPT_BACKEND(struct tracker_config, next, "next",
		       "what is written to"),
	MS_OPT_SIZE(struct tracker_config, chunk, "chunk", 0, "4K", CHUNK_MIN,
		    CHUNK_MAX, "unit of tracking, a power of two"),
	MS_OPT_FLAG(struct tracker_config, start, "start", 0,
		    "track from the beginning"),
	MS_OPT_END,
};

static int tracker_type_open(const void *config, struct ms_backend **ret)
{
	const struct tracker_config *c = config;
	int rc = ms_tracker_over(c->next, (uint32_t)c->chunk, ret);

	if (rc == 0 && c->start)
		ms_tracker_start(*ret);
	return rc;
}

const struct ms_backend_type ms_tracker_type = {
	.name = "tracker",
	.summary = "remembers which chunks were changed",
	.kind = MS_STAGE,
	.options = tracker_options,
	.config_size = sizeof(struct tracker_config),
	.open = tracker_type_open,
	.example = "tracker:start=yes,next={child}",
};

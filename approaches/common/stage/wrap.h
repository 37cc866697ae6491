/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For stages that must see a completion: a request of the stage's own (the
 * child) in place of the caller's (the parent), or several.
 *
 * The hard part is ms_cancel: it names the parent, may come at any moment, and
 * the parent's memory is the caller's again once it has completed. So parents
 * are found in a table by their address alone, and what is found is kept
 * alive by a reference while its children are being cancelled.
 *
 *	ms_held_add    the stage took the parent
 *	ms_held_find   a cancel came: a reference, or NULL
 *	ms_held_remove the parent is about to be completed
 *	ms_held_put    a reference less; the last one frees
 */
#ifndef MS_COMMON_STAGE_WRAP_H
#define MS_COMMON_STAGE_WRAP_H

#include "memsync/backend.h"

/* What a stage holds of a parent; embedded in the stage's own struct. */
struct ms_held {
	struct ms_backend *stage;
	struct ms_io *parent;
	void (*free)(struct ms_held *held);
	struct ms_held *next; /* in the table; wrap.c's */
	struct ms_held **place;
	unsigned refs; /* atomic */
};

/* Start with one reference, the stage's own. `free` runs with the last. */
void ms_held_add(struct ms_held *held, struct ms_backend *stage,
		 struct ms_io *parent, void (*free)(struct ms_held *))
	__attribute__((nonnull));
void ms_held_remove(struct ms_held *held) __attribute__((nonnull));
struct ms_held *ms_held_find(const struct ms_backend *stage,
			     const struct ms_io *parent)
	__attribute__((nonnull));
void ms_held_put(struct ms_held *held) __attribute__((nonnull));

/* --- the common case: one child that is the same request ------------------ */

struct ms_wrap {
	struct ms_io io; /* the child, a copy of the parent's request */
	struct ms_held held;
};

/*
 * A child of `parent`, to be submitted by the stage. `done` gets it when it
 * has completed and ends in ms_wrap_end. NULL: no memory; the stage completes
 * the parent with -ENOMEM.
 */
struct ms_wrap *ms_wrap_new(struct ms_backend *stage, struct ms_io *parent,
			    void (*done)(struct ms_io *child))
	__attribute__((nonnull, warn_unused_result));

static inline struct ms_wrap *ms_wrap_of(struct ms_io *child)
{
	return (struct ms_wrap *)(void *)child; /* its first member */
}

static inline struct ms_backend *ms_wrap_stage(struct ms_io *child)
{
	return ms_wrap_of(child)->held.stage;
}

/*
 * Complete the parent with the child's answer. The child, and perhaps the
 * stage, are gone when it returns.
 */
void ms_wrap_end(struct ms_io *child) __attribute__((nonnull));

/* The same with another result than the child's. */
void ms_wrap_end_as(struct ms_io *child, int result, const char *origin)
	__attribute__((nonnull(1)));

/*
 * Hand a RESIZE of `stage` to `next`, and follow its new size. For stages that
 * otherwise forward: this completion they must see.
 */
void ms_wrap_resize(struct ms_backend *stage, struct ms_backend *next,
		    struct ms_io *parent) __attribute__((nonnull));

/* For ops->cancel: cancel the child of `parent`. False if there is none. */
bool ms_wrap_cancel(struct ms_backend *stage, struct ms_backend *next,
		    struct ms_io *parent) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a backend: where bytes live, and everything made from
 * others. A *store* keeps bytes (memory, a file, a remote), a *stage* is a
 * backend over other backends (chunker, cache, ...). A tree of them, built from
 * a spec string such as
 *
 *	cache:local=memory,remote=tcp://source:7000,chunk=64k
 *
 * is called a pipeline. Callers never call an implementation: they go through
 * the door (ms_submit and the helpers over it), which checks everything that
 * can be checked, so that implementations may assume valid input.
 *
 *	caller --ms_submit--> door --ops->submit--> stage --ms_forward--> door
 *	   ^                                                               |
 *	   +---- io->done, exactly once, from any thread <--ms_done-- store <-+
 *
 * Backends are asynchronous: a request in flight is a struct, never a thread.
 */
#ifndef MEMSYNC_BACKEND_H
#define MEMSYNC_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden but this. */
#pragma GCC visibility push(default)

struct ms_backend;
struct ms_io;

/* The longest read or write that the door lets through, in bytes. */
#define MS_IO_MAX (UINT64_C(256) << 20)

/* What can be asked of a backend. */
enum ms_op {
	MS_OP_READ,  /* length bytes at offset into buf, all or nothing */
	MS_OP_WRITE, /* length bytes at offset from buf, all or nothing */
	MS_OP_SYNC,  /* everything written and completed before is durable */
	MS_OP_ZERO,  /* the range reads zero afterwards (may free its space) */
	MS_OP_TRIM,  /* the bytes are not needed: they may read old or zero */
	MS_OP_EXTENTS, /* what lies in the range; buf is struct ms_extent[] */
	MS_OP_HASH,   /* XXH3-128 (canonical, 16 bytes) of the range into buf */
	MS_OP_RESIZE, /* the new size is io->offset; grown bytes read zero */
	MS_OP_POPULATE, /* make the range local; no buffer, no bytes returned */
	MS_OP_COUNT
};

/* Which of two requests goes first where they compete. */
enum ms_priority {
	MS_BULK,   /* background work */
	MS_URGENT, /* somebody is waiting: a fault, a read */
};

enum {
	MS_FUA = 1 << 0, /* write: durable when it completes */
};

enum ms_extent_type {
	MS_EXTENT_DATA,
	MS_EXTENT_HOLE, /* no space allocated; reads zero */
	MS_EXTENT_ZERO, /* allocated; reads zero */
};

/* A run of bytes of one kind. MS_OP_EXTENTS reports them in order, gapless. */
struct ms_extent {
	uint64_t offset;
	uint64_t length;
	enum ms_extent_type type;
};

/*
 * A request. The caller provides the memory, zeroes it, fills in the request,
 * and keeps it and the buffer alive and unchanged until `done` is called.
 *
 * `done` is called exactly once, from any thread, also before ms_submit
 * returns, and only when nothing can touch the buffer any more. It must not
 * block. The struct is the caller's again from the moment `done` is entered.
 */
struct ms_io {
	/* The request. */
	enum ms_op op;
	enum ms_priority priority;
	unsigned flags;	      /* MS_FUA */
	uint64_t offset;      /* bytes */
	uint64_t length;      /* bytes; 0 is legal and completes at once */
	void *buf;	      /* READ, WRITE, HASH; EXTENTS: the array */
	size_t extents_max;   /* EXTENTS: room in the array */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none. For READ with
				 MS_BULK and for SYNC a remote counts the time
				 without progress, not the total. */
	void (*done)(struct ms_io *io);
	void *user; /* the caller's */

	/* The answer, valid in `done`. */
	int result;	     /* 0 or a negative errno */
	const char *origin;  /* on failure: which backend failed; static text */
	size_t extents_used; /* EXTENTS: entries filled */

	/* The holder's while in flight; callers leave it alone. */
	struct ms_io *link;
	void *hold[2];
	uint64_t hold_u64[2];
	int state; /* the door's, accessed atomically */
};

/* What a backend can do by itself; the door supplies what is said below. */
enum {
	MS_CAN_WRITE = 1 << 0,	  /* else WRITE, ZERO, TRIM give -EROFS */
	MS_CAN_FUA = 1 << 1,	  /* else the door adds a SYNC */
	MS_CAN_ZERO = 1 << 2,	  /* else the door writes zeros */
	MS_CAN_TRIM = 1 << 3,	  /* else TRIM does nothing and succeeds */
	MS_CAN_EXTENTS = 1 << 4,  /* else the range is one DATA extent */
	MS_CAN_HASH = 1 << 5,	  /* else -EOPNOTSUPP: it would not be cheap */
	MS_CAN_RESIZE = 1 << 6,	  /* else -EOPNOTSUPP */
	MS_CAN_MAP = 1 << 7,	  /* else ms_map gives -EOPNOTSUPP */
	MS_CAN_POPULATE = 1 << 8, /* else POPULATE does nothing: all is local */
	MS_CAN_WATCH = 1 << 9,	  /* else ms_watch gives -EOPNOTSUPP */
};

/* The stable place in memory of a range, for stores that can MAP. */
struct ms_mapping {
	void *addr;	    /* of the range's first byte */
	uint64_t length;    /* as asked for */
	int fd;		    /* the memory's file, or -1 */
	uint64_t fd_offset; /* of the range in it */
};

/* Called when a range was changed by somebody else; must not block. */
typedef void ms_changed_fn(void *user, uint64_t offset, uint64_t length);

/*
 * What an implementation provides. `submit` is required. It gets only valid
 * requests: operation within the capabilities, range within the size, aligned
 * to `block`, length > 0 (SYNC and RESIZE excepted), READ/WRITE length at
 * most MS_IO_MAX. It calls ms_done for each, exactly once. It is called from
 * any thread, concurrently, and must not block for longer than a copy takes
 * (a store that blocks uses the pool adaptor).
 */
struct ms_backend_ops {
	const char *name; /* as in the registry */
	void (*submit)(struct ms_backend *b, struct ms_io *io);
	/* Try to end `io` early with -ECANCELED; it may complete normally. */
	void (*cancel)(struct ms_backend *b, struct ms_io *io);
	/* `io` became urgent: let it overtake what has not been sent yet. */
	void (*hurry)(struct ms_backend *b, struct ms_io *io);
	int (*map)(struct ms_backend *b, uint64_t offset, uint64_t length,
		   struct ms_mapping *ret);
	int (*watch)(struct ms_backend *b, ms_changed_fn *fn, void *user);
	/* Free everything, children included. Nothing is in flight. */
	void (*close)(struct ms_backend *b);
	/* Print "key value" statistics lines, one a line; optional. */
	void (*stats)(struct ms_backend *b, FILE *out);
};

/* The part that all backends share; implementations embed it first. */
struct ms_backend {
	const struct ms_backend_ops *ops;
	unsigned caps;
	uint32_t block; /* alignment of offset and length, a power of two; the
			   end of the region need not be aligned */
	uint64_t size;	/* bytes; read with ms_size, set with ms_size_set */
	char *spec;	/* the text it was built from, "" if built by calls */
};

/* --- the door ------------------------------------------------------------ */

/*
 * Start `io` on `b`. An invalid request completes with -EINVAL (malformed),
 * -ERANGE (outside the region), -EROFS, -EOPNOTSUPP, or -ETIMEDOUT (its
 * deadline has passed already), origin "door". Never blocks for long.
 */
void ms_submit(struct ms_backend *b, struct ms_io *io) __attribute__((nonnull));

/*
 * For stages: hand a request in flight, which the stage holds, unchanged to
 * another backend. Its completion goes straight to the original caller.
 */
void ms_forward(struct ms_backend *next, struct ms_io *io)
	__attribute__((nonnull));

/*
 * For implementations: complete `io`. `result` is 0 or a negative errno,
 * `origin` static text naming who failed (kept as it is on success). Aborts
 * if the request is not in flight: a second completion is a bug.
 */
void ms_done(struct ms_io *io, int result, const char *origin)
	__attribute__((nonnull(1)));

/*
 * Ask for an early end of `io`, which was submitted to `b` and whose memory is
 * still valid. Best effort; `done` is still called exactly once, possibly from
 * inside this call, so no lock may be held that `done` takes.
 */
void ms_cancel(struct ms_backend *b, struct ms_io *io) __attribute__((nonnull));

/*
 * Tell `b` that somebody now waits for `io`, which was submitted to it as
 * MS_BULK. A hint; never fails. It may be called with a caller's lock held and
 * may name a request that `b` does not hold (any more): implementations compare
 * addresses, complete nothing, and call nobody back.
 */
void ms_hurry(struct ms_backend *b, struct ms_io *io) __attribute__((nonnull));

/* Current size in bytes. */
uint64_t ms_size(const struct ms_backend *b) __attribute__((nonnull));

/* For implementations that resize. */
void ms_size_set(struct ms_backend *b, uint64_t size) __attribute__((nonnull));

/*
 * The stable address of a range, valid until close or a resize that shrinks
 * it. 0, -ERANGE, -EOPNOTSUPP. The store owns the memory.
 */
int ms_map(struct ms_backend *b, uint64_t offset, uint64_t length,
	   struct ms_mapping *ret) __attribute__((nonnull, warn_unused_result));

/*
 * Have `fn` called for changes made by others from now on; one watcher a
 * backend. NULL ends it: when that returns, `fn` is not running and will not
 * run. 0, -EOPNOTSUPP, -EBUSY.
 */
int ms_watch(struct ms_backend *b, ms_changed_fn *fn, void *user)
	__attribute__((nonnull(1), warn_unused_result));

/* Close a pipeline: `b` and all below it. NULL is legal. Nothing may be in
 * flight. Blocks until background workers of the pipeline have ended. */
void ms_close(struct ms_backend *b);

/* Print the statistics of `b` as "key value" lines (its own only). */
void ms_stats(struct ms_backend *b, FILE *out) __attribute__((nonnull));

/* --- blocking helpers, all over ms_submit --------------------------------- */

/*
 * Do one request and wait. 0 or negative errno; on failure the thread's error
 * sentence (memsync_error) says which backend failed, and at what.
 */
int ms_read_at(struct ms_backend *b, void *buf, uint64_t length,
	       uint64_t offset) __attribute__((nonnull(1), warn_unused_result));
int ms_write_at(struct ms_backend *b, const void *buf, uint64_t length,
		uint64_t offset)
	__attribute__((nonnull(1), warn_unused_result));
int ms_sync(struct ms_backend *b) __attribute__((nonnull, warn_unused_result));
int ms_zero_at(struct ms_backend *b, uint64_t length, uint64_t offset)
	__attribute__((nonnull, warn_unused_result));
int ms_resize(struct ms_backend *b, uint64_t size)
	__attribute__((nonnull, warn_unused_result));

/*
 * Submit `io` (all fields but done and user set) and wait for it. Returns
 * io->result and keeps the sentence as the helpers above do.
 */
int ms_wait(struct ms_backend *b, struct ms_io *io)
	__attribute__((nonnull, warn_unused_result));

/* The name of an operation, as messages and statistics write it. */
const char *ms_op_name(enum ms_op op);

/* --- pipelines ------------------------------------------------------------ */

/*
 * Build a pipeline from a spec string:
 *
 *	SPEC  = NAME [":" KEY "=" VALUE {"," KEY "=" VALUE}]  |  URI
 *	VALUE = text without , ( )  |  "(" SPEC ")"  |  SPEC for the last
 *		of nested values that contain no comma themselves
 *	URI   = tcp://HOST:PORT[/EXPORT] | unix:///PATH[?EXPORT]
 *		| nbd://HOST[:PORT][/EXPORT] | nbd+unix:///[EXPORT]?socket=PATH
 *		| the same with nbds (TLS)
 *
 * Names and keys are those of `memsync-bench list backends`. Returns 0 and
 * the pipeline, to be ended with ms_close; or a negative errno with a
 * sentence that names the part of the spec which is wrong.
 */
int ms_open(const char *spec, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

/* The text of the last error of this thread. Never NULL. */
const char *memsync_error(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

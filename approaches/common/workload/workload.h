/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload engine: accesses a region as an application would, measures
 * it, and afterwards, outside of the timers, compares every byte range that
 * was accessed with what it should hold. Every program that measures uses it,
 * so that all approaches are accessed in exactly the same way.
 *
 * A read copies access_bytes out of the region into a small private buffer.
 * While it is in that buffer one word of each page is kept as a witness of
 * what the application saw at that moment; after the run the witnesses and
 * then all accessed blocks are verified.
 */
#ifndef MS_COMMON_WORKLOAD_WORKLOAD_H
#define MS_COMMON_WORKLOAD_WORKLOAD_H

#include "approaches/common/cli/result.h"
#include "approaches/common/util/hist.h"
#include "approaches/common/util/opt.h"

enum ms_workload_kind {
	MS_WL_FIRST_ACCESS, /* one access to the second block */
	MS_WL_SEQ_READ,
	MS_WL_RAND_READ, /* every block once, in random order */
	MS_WL_SEQ_WRITE,
	MS_WL_RAND_WRITE,
	MS_WL_MIXED, /* random order, reads and writes by share */
	MS_WL_ZIPF,  /* reads, few blocks very often */
};

enum ms_workload_access {
	MS_WL_MMAP,  /* memcpy from or to the mapped region */
	MS_WL_PREAD, /* pread and pwrite on a descriptor */
};

enum ms_workload_verify {
	MS_WL_VERIFY_AFTER, /* witnesses and accessed blocks, after the run */
	MS_WL_VERIFY_EACH,  /* also every access in full at once; the time of
			       checking is then part of the run */
	MS_WL_VERIFY_NONE,  /* the result is marked as not verified */
};

struct ms_workload_config {
	int kind;   /* enum ms_workload_kind */
	int access; /* enum ms_workload_access */
	int verify; /* enum ms_workload_verify */
	uint64_t access_bytes;
	uint64_t threads;
	uint64_t time_limit_ns;	 /* of the accesses; 0: none */
	uint64_t byte_limit;	 /* 0: one pass over the region */
	uint64_t seed;		 /* of the order, and of what is written */
	double read_share;	 /* of MIXED, percent */
	double theta;		 /* of ZIPF */
	uint64_t rate;		 /* accesses a second of all threads; 0: free */
	bool latency;		 /* time every access */
	bool sync;		 /* end writes with a sync, timed */
	uint64_t pretouch_bytes; /* for ms_workload_pretouch */
	uint64_t pattern_seed;	 /* of the bytes that are there before */
	char *reference;	 /* or the file that holds them */
};

/* The options of a workload, for the table of a program's configuration. */
extern const char *const ms_workload_kinds[];
extern const char *const ms_workload_accesses[];
extern const char *const ms_workload_verifies[];

/* NOLINTBEGIN(bugprone-macro-parentheses): fld is a member's name */
#define MS_WORKLOAD_OPTIONS(st, fld)                                           \
	MS_OPT_CHOICE(st, fld.kind, "workload", 'w', "seq-read",               \
		      ms_workload_kinds, "what to do with the region"),        \
		MS_OPT_CHOICE(st, fld.access, "access", 0, "mmap",             \
			      ms_workload_accesses, "how to reach the bytes"), \
		MS_OPT_SIZE(st, fld.access_bytes, "access-bytes", 0, "4K", 1,  \
			    UINT64_C(1) << 26, "bytes of one access"),         \
		MS_OPT_UINT(st, fld.threads, "threads", 't', "1", 1, 256,      \
			    "accessing threads"),                              \
		MS_OPT_DURATION(st, fld.time_limit_ns, "time-limit", 0, "0",   \
				"end after this time; 0: no limit"),           \
		MS_OPT_SIZE(st, fld.byte_limit, "byte-limit", 0, "0", 0,       \
			    INT64_MAX,                                         \
			    "end after this many bytes; 0: the region once"),  \
		MS_OPT_UINT(st, fld.seed, "workload-seed", 0, "1", 0, 0,       \
			    "seed of the order and of written bytes"),         \
		MS_OPT_REAL(st, fld.read_share, "read-share", 0, "70", 0, 100, \
			    "PERCENT", "reads among the accesses of mixed"),   \
		MS_OPT_REAL(st, fld.theta, "theta", 0, "0.99", 0, 0.9999,      \
			    "NUMBER", "skew of zipf"),                         \
		MS_OPT_UINT(                                                   \
			st, fld.rate, "rate", 0, "0", 0, 100000000,            \
			"accesses a second, latency from the intended start; " \
			"0: as fast as possible"),                             \
		MS_OPT_FLAG(st, fld.latency, "latency", 0,                     \
			    "time every access also of sequential workloads"), \
		MS_OPT_FLAG(                                                   \
			st, fld.sync, "sync", 0,                               \
			"end writes with a sync and report the durable rate"), \
		MS_OPT_CHOICE(st, fld.verify, "verify", 0, "after",            \
			      ms_workload_verifies,                            \
			      "when to compare the bytes"),                    \
		MS_OPT_SIZE(st, fld.pretouch_bytes, "pretouch", 0, "0", 0,     \
			    INT64_MAX,                                         \
			    "touch and free this much memory before opening"), \
		MS_OPT_UINT(st, fld.pattern_seed, "pattern-seed", 0, "1", 0,   \
			    0, "the region holds the pattern of this seed"),   \
		MS_OPT_STRING(                                                 \
			st, fld.reference, "reference", 0, NULL, "FILE",       \
			"the region holds the bytes of this file instead")
/* NOLINTEND(bugprone-macro-parentheses) */

/* What is accessed. */
struct ms_workload_target {
	void *addr; /* the mapped region, or NULL */
	int fd;	    /* a descriptor of it, or -1 */
	uint64_t size;
	bool writable;
	int (*sync)(void *user); /* durable at the store; 0 or -errno; NULL:
				    fdatasync of fd, or nothing to sync */
	void *user;
	uint64_t open_ns; /* what opening the region took, for the result */
};

/* What came out. Zeroed by the run; ms_workload_release frees. */
struct ms_workload_result {
	enum ms_status status;
	char reason[256];
	bool verified;
	uint64_t accesses;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t elapsed_ns; /* of the longest thread */
	uint64_t sync_ns;
	uint64_t first_ns;	 /* first access of the first thread */
	uint64_t witnesses;	 /* words that were compared */
	uint64_t verified_bytes; /* accessed blocks that were compared */
	uint64_t blocks_written; /* different ones */
	struct ms_hist *hist;	 /* NULL if accesses were not timed */
};

/*
 * Run it. Returns 0 if there is a result (also one that says failed), or
 * -EINVAL when configuration and target do not fit, or another negative
 * errno when it could not be started; with a sentence.
 */
int ms_workload_run(const struct ms_workload_config *config,
		    const struct ms_workload_target *target,
		    struct ms_workload_result *ret)
	__attribute__((nonnull, warn_unused_result));

void ms_workload_release(struct ms_workload_result *result)
	__attribute__((nonnull));

/*
 * Touch and free config->pretouch_bytes of memory: memory that a virtual
 * machine has not used for a while costs its host a page fault at the first
 * touch, which can be ten times as much as everything that is measured.
 * Programs call it before they open the region. 0 or -ENOMEM.
 */
int ms_workload_pretouch(const struct ms_workload_config *config)
	__attribute__((nonnull, warn_unused_result));

/* The seed of the pattern that writes of this configuration leave behind. */
uint64_t ms_workload_write_seed(const struct ms_workload_config *config)
	__attribute__((nonnull));

/*
 * For the other end of a written region: every block of access_bytes must hold
 * either what was there before or what the workload writes. Reads by `read_at`
 * (0 or -errno). Returns 0 and the number of written blocks, -EBADMSG with the
 * offset in the sentence if a block is neither, or the read's error.
 */
int ms_workload_check_written(const struct ms_workload_config *config,
			      int (*read_at)(void *user, void *buf, uint64_t n,
					     uint64_t offset),
			      void *user, uint64_t size,
			      uint64_t *ret_blocks_written)
	__attribute__((nonnull(1, 2, 5), warn_unused_result));

/*
 * Enter status, metrics and parameters of a run into a program's result;
 * also rss_max_bytes of the process and open_ms.
 */
void ms_workload_report(const struct ms_workload_config *config,
			const struct ms_workload_target *target,
			const struct ms_workload_result *from,
			struct ms_result *to) __attribute__((nonnull));

#endif

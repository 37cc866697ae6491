/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the workload engine share; nobody else includes it. */
#ifndef MS_COMMON_WORKLOAD_INTERNAL_H
#define MS_COMMON_WORKLOAD_INTERNAL_H

#include "approaches/common/workload/guard.h"
#include "approaches/common/workload/order.h"
#include "approaches/common/workload/verify.h"
#include "approaches/common/workload/workload.h"

#include <pthread.h>

#define WL_PAGE UINT64_C(4096)

/* State of a block; written by the one thread that it belongs to. */
enum {
	WL_TOUCHED = 1,
	WL_WRITTEN = 2,
};

/* One word that the application saw. */
struct wl_witness {
	uint64_t offset; /* bit 63: from a written block */
	uint64_t word;
};

/* A run; read-only for the threads, but for `block`, `stop` and the start. */
struct wl_run {
	const struct ms_workload_config *config;
	const struct ms_workload_target *target;
	struct ms_order order;
	struct ms_verifier verifier; /* what was there before */
	struct ms_verifier written;  /* what the workload writes */
	uint64_t blocks;
	uint64_t steps; /* of all threads */
	bool latency;
	uint8_t *block; /* WL_* of each block, accessed with relaxed atomics */
	int stop;	/* a thread failed: end early; atomic */
	/* The start: everybody waits until `go`; -1 calls it off. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ready;
	int go;
	uint64_t start_ns; /* written before `go` */
};

struct wl_thread {
	struct wl_run *run;
	unsigned number;
	pthread_t id;
	struct ms_guard guard;
	char *buf;	  /* what is read, access_bytes */
	char *source;	  /* what is written, prepared in advance */
	uint64_t steps;	  /* of this thread */
	uint64_t done;	  /* steps completed */
	uint64_t prep_ns; /* producing what is written: not part of the run */
	uint64_t elapsed_ns;
	uint64_t first_ns;
	uint64_t bytes_read;
	uint64_t bytes_written;
	struct wl_witness *witness;
	uint64_t witnesses;
	uint64_t witness_max;
	struct ms_hist *hist;
	int failed; /* 1: `reason` says why */
	char reason[256];
};

/* Range of a block. */
static inline uint64_t wl_offset(const struct wl_run *run, uint64_t block)
{
	return block * run->config->access_bytes;
}

static inline uint64_t wl_length(const struct wl_run *run, uint64_t block)
{
	uint64_t offset = wl_offset(run, block);
	uint64_t left = run->target->size - offset;

	return left < run->config->access_bytes ? left
						: run->config->access_bytes;
}

/* Say why the thread ends, unless it has said so already. */
void wl_fail(struct wl_thread *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Wait for the common start; false if it was called off. */
bool wl_wait_for_start(struct wl_run *run);

/* The accesses of one thread, SIGBUS guarded; fills in the thread. */
void wl_thread_run(struct wl_thread *t);

/* Compare everything that was accessed; fills in the result. */
void wl_verify(struct wl_run *run, struct wl_thread *threads,
	       struct ms_workload_result *ret);

/* Bytes of the region into `buf` by the configured access: 0 or -errno. */
int wl_read(const struct wl_run *run, void *buf, uint64_t offset, uint64_t n);

#endif

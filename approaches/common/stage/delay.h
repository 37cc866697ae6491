/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `delay`: each request waits before it is handed on, any number of them
 * at once, without a thread for any. It is the `sleep` link of the harness: a
 * round trip without a network. What a network does besides (rate, queues,
 * order) it does not do.
 */
#ifndef MS_COMMON_STAGE_DELAY_H
#define MS_COMMON_STAGE_DELAY_H

#include "memsync/backend.h"

struct ms_delay_config {
	struct ms_backend *next;
	uint64_t time_ns;
	uint64_t jitter_ns; /* the delay is time_ns +- at most this */
	uint64_t seed;	    /* of the jitter */
	int ops;	    /* enum ms_delay_ops */
};

enum ms_delay_ops {
	MS_DELAY_ALL,
	MS_DELAY_READ, /* only reads: what the thesis measured */
};

/* `config->next` belongs to the delay on success. 0, -ENOMEM. */
int ms_delay_over(const struct ms_delay_config *config, struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

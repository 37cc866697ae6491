/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of a side; internal to side.c. */
#ifndef MS_HARNESS_RUN_SIDE_INIT_H
#define MS_HARNESS_RUN_SIDE_INIT_H

#include "harness/run/side.h"

struct side_init {
	const struct side_config *config;
	int out;    /* stdout of the program */
	int status; /* gets the status of wait as an int */
	int log;    /* stderr of the program */
	int null;
	int owner; /* pidfd of the harness */
};

/* Start it. Returns its pid as the caller sees it, or a negative errno. */
pid_t side_init_clone(const struct side_init *i) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine can run: features of the kernel, found by trying them
 * (harness/record/env.h), and programs. One table says what each is for and
 * how to get it; `doctor` prints it and the runner asks it.
 */
#ifndef MS_HARNESS_RUN_FEATURES_H
#define MS_HARNESS_RUN_FEATURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct feature {
	const char *name;
	const char *program; /* found in PATH; NULL: a feature of the kernel */
	const char *use;     /* what it is for */
	const char *get;     /* how to get it where it is missing */
};

/* The last entry has a NULL name. */
extern const struct feature features[];

/* Is it of the kernel? False for programs and for what is in no table. */
bool feature_of_kernel(const char *name) __attribute__((nonnull));

/* What is there, probed once by features_probe. NULL: no memory. */
json_t *features_probe(void);

/*
 * Is the feature there, per features_probe? Else `why` has the reason and the
 * way to get it. A name that is in no table is missing.
 */
bool feature_there(const json_t *probed, const char *name, char *why,
		   size_t size) __attribute__((nonnull));

#endif

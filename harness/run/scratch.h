/* SPDX-License-Identifier: Apache-2.0 */
/* Folder for what a run's programs write, and small file helpers. */
#ifndef MS_HARNESS_RUN_SCRATCH_H
#define MS_HARNESS_RUN_SCRATCH_H

#include <stddef.h>

/*
 * Make RESULT/scratch afresh (what a killed run left there goes) and give its
 * absolute path.
 */
int scratch_make(const char *result, char *buf, size_t size)
	__attribute__((nonnull, warn_unused_result));

/* Remove a folder with everything in it; never follows links. */
void scratch_remove(const char *dir) __attribute__((nonnull));

/* Write DIR/NAME. */
int scratch_write(const char *dir, const char *name, const char *text)
	__attribute__((nonnull, warn_unused_result));

/* The last line of a file that is not empty, shortened; "" if there is none. */
void scratch_last_line(const char *path, char *buf, size_t size)
	__attribute__((nonnull));

/* 0 if two files hold the same bytes; -EBADMSG says where they differ. */
int scratch_same(const char *path, const char *reference)
	__attribute__((nonnull, warn_unused_result));

#endif

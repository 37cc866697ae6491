/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict reading of JSON files that people write: each function either gives
 * the value or -EINVAL with one sentence that names the file and the key.
 * Texts are borrowed from the document.
 */
#ifndef MS_HARNESS_RUN_JSON_H
#define MS_HARNESS_RUN_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An object of a document, and how messages call it. */
struct js {
	const char *file;
	const char *where; /* "link." or "" */
	const json_t *object;
};

/* Read a file; the top level must be an object. The caller owns *ret. */
int js_load(const char *path, json_t **ret)
	__attribute__((nonnull, warn_unused_result));

/* -EINVAL if the object has a key that `known` (NULL-terminated) has not. */
int js_known(const struct js *at, const char *const *known)
	__attribute__((nonnull, warn_unused_result));

/* Is the key there? */
bool js_has(const struct js *at, const char *key) __attribute__((nonnull));

/* For a wrong value: "FILE: KEY: takes WHAT". Returns -EINVAL. */
int js_wrong(const struct js *at, const char *key, const char *takes)
	__attribute__((nonnull));

/* The functions below leave *ret alone when the key is not there. */
int js_text(const struct js *at, const char *key, const char **ret)
	__attribute__((nonnull, warn_unused_result));
int js_flag(const struct js *at, const char *key, bool *ret)
	__attribute__((nonnull, warn_unused_result));
int js_real(const struct js *at, const char *key, double min, double max,
	    double *ret) __attribute__((nonnull, warn_unused_result));
int js_count(const struct js *at, const char *key, uint64_t min, uint64_t max,
	     uint64_t *ret) __attribute__((nonnull, warn_unused_result));
int js_object(const struct js *at, const char *key, const char *where,
	      struct js *ret) __attribute__((nonnull, warn_unused_result));

/* A number or an array of them, at least one; the caller frees. */
int js_reals(const struct js *at, const char *key, double min, double max,
	     double **ret, size_t *ret_n)
	__attribute__((nonnull, warn_unused_result));

/* A size ("256M" or a whole number) or an array of them; the caller frees. */
int js_sizes(const struct js *at, const char *key, uint64_t **ret,
	     size_t *ret_n) __attribute__((nonnull, warn_unused_result));

/* An array of texts, NULL-terminated; the caller frees the array only. */
int js_texts(const struct js *at, const char *key, const char ***ret,
	     size_t *ret_n) __attribute__((nonnull, warn_unused_result));

/* The same of a text or an array of texts. */
int js_text_or_texts(const struct js *at, const char *key, const char ***ret,
		     size_t *ret_n)
	__attribute__((nonnull, warn_unused_result));

#endif

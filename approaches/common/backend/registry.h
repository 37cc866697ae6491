/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explicit list of every backend and stage. A new one is one source file
 * with a `const struct ms_backend_type`, and one line in registry.c. The spec
 * parser, `--help`, the documentation check and the contract test read it.
 */
#ifndef MS_COMMON_BACKEND_REGISTRY_H
#define MS_COMMON_BACKEND_REGISTRY_H

#include "approaches/common/util/opt.h"
#include "memsync/backend.h"

enum ms_backend_kind {
	MS_STORE, /* keeps bytes */
	MS_STAGE, /* over other backends */
	MS_TEST,  /* a stage or store that exists to test and to measure */
};

struct ms_backend_type {
	const char *name;
	const char *summary; /* one line, no full stop */
	enum ms_backend_kind kind;
	const struct ms_opt *options; /* of the configuration */
	size_t config_size;	      /* its size in bytes */
	/*
	 * Build one from a filled configuration. Fields of type BACKEND hold
	 * the opened children, which belong to the new backend on success and
	 * to the caller on failure. Strings belong to the caller: copy them.
	 * 0, or negative errno with a sentence. May block (connect, open).
	 */
	int (*open)(const void *config, struct ms_backend **ret);
	/*
	 * A spec that behaves like a plain store, for the contract test:
	 * {size} stands for a size in bytes, {dir} for an empty folder,
	 * {child} for the spec of a backend of that size. NULL: not built from
	 * a spec alone (a remote needs a server; the test brings one).
	 */
	const char *example;
};

/* NULL-terminated, in the order of the documentation. */
extern const struct ms_backend_type *const ms_backend_types[];

const struct ms_backend_type *ms_backend_type_find(const char *name);

#endif

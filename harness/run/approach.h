/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an approach is started, as data: one file in harness/approaches is one
 * approach or outside program. Commands are lists of arguments (there is no
 * shell) in which {names} are replaced; README.md lists the names.
 */
#ifndef MS_HARNESS_RUN_APPROACH_H
#define MS_HARNESS_RUN_APPROACH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One program of a run. */
struct command {
	const char **argv; /* NULL: there is none */
	const char *ready; /* source: start of the line that says it serves */
	uint64_t port;	   /* source: or the TCP port that accepts then */
};

struct approach {
	json_t *json; /* owns the texts */
	char *file;
	const char *name;
	const char *title;
	const char **variants;	/* NULL-terminated, may be empty */
	const char **needs;	/* features of `memsync-bench doctor` */
	const char **workloads; /* that it knows; empty: all */
	bool timed;	       /* a whole program: hyperfine times the target */
	struct command source; /* on the other host */
	struct command target; /* accesses the region over the link */
	struct command local;  /* the same without a link and a source */
	const char **files;    /* NAME, TEXT, …: written into {dir} before */
	const char *output;    /* timed: what must hold the data afterwards */
};

int approach_parse(const char *file, json_t *json, struct approach *ret)
	__attribute__((nonnull, warn_unused_result));
void approach_release(struct approach *a) __attribute__((nonnull));

struct approaches {
	struct approach *list; /* by name */
	size_t n;
};

/* Load all DIR/?*.json. */
int approaches_load(const char *dir, struct approaches *ret)
	__attribute__((nonnull, warn_unused_result));
void approaches_release(struct approaches *list) __attribute__((nonnull));
const struct approach *approach_find(const struct approaches *list,
				     const char *name) __attribute__((nonnull));
bool approach_has_variant(const struct approach *a, const char *variant)
	__attribute__((nonnull(1)));

/* What the {names} stand for. NULL values are an error where they are used. */
struct place_holder {
	const char *name;
	const char *value;
};

/*
 * The arguments with everything replaced, NULL-terminated, for
 * approach_argv_free. An argument that is exactly {options} becomes the whole
 * list `options`; one that is {?name}TEXT becomes TEXT if `name` has a value
 * and nothing if it has none. -EINVAL names an unknown {name}.
 */
int approach_argv(const char *const *argv, const struct place_holder *values,
		  char *const *options, char ***ret)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
void approach_argv_free(char **argv);

/* One text with everything replaced; the caller frees. */
int approach_text(const char *text, const struct place_holder *values,
		  char **ret) __attribute__((nonnull, warn_unused_result));

/*
 * The program of a command: beside this program if it is one of ours, else
 * from PATH. -ENOENT with a sentence that fits into a row.
 */
int approach_program(const char *name, char *buf, size_t size)
	__attribute__((nonnull, warn_unused_result));

#endif

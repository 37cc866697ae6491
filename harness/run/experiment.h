/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experiments: one file in harness/experiments is one figure. A file says what
 * is measured, for which series, over which links, and what a set changes
 * (README.md describes the keys). Parsing is strict: what is wrong is one
 * sentence with file and key.
 */
#ifndef MS_HARNESS_RUN_EXPERIMENT_H
#define MS_HARNESS_RUN_EXPERIMENT_H

#include "harness/link/link.h"
#include "harness/record/row.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One curve of the figure. */
struct series {
	const char *approach;
	const char *variant; /* NULL: the approach has only one way */
};

struct experiment {
	json_t *json; /* in effect, the set's changes applied; owns the texts */
	char *file;
	const char *name;
	const char *title;
	const char *thesis;   /* what of the thesis it answers, or NULL */
	const char *workload; /* "seq-read" … or a name that a series knows */
	char **options;	   /* "--workload", "seq-read", …; NULL-terminated */
	char *params;	   /* "access=mmap;…" sorted, of the row */
	const char *store; /* spec of the region, with {size} and {seed} */
	const char *dataset; /* the same as the row calls it */
	const char *data;    /* a file that holds the region's bytes, or NULL */
	const char *congestion;
	struct series *series;
	size_t n_series;
	bool local; /* without a link: in one process or by a local socket */
	struct link_profile *links; /* none if local */
	enum link_driver *drivers;  /* of each link */
	size_t n_links;
	uint64_t *sizes;
	size_t n_sizes;
	uint64_t seed;
	uint64_t chunk_bytes; /* 0: what the variant chooses */
	uint64_t repetitions;
	uint64_t warmup;	/* runs of a series that are not recorded */
	uint64_t time_limit_ms; /* of the accesses; 0: none */
	uint64_t timeout_ms;	/* after it a run is killed */
	const char *where;	/* "native", "vm": the figure's wish; or NULL */
	/*
	 * Why it says nothing under software emulation, NULL: it does. Without
	 * a link it measures the speed of memory, which is never emulated well.
	 */
	const char *no_emulation;
	/* Chosen by places_choose (place.h). */
	enum row_place place;
	char accel[8]; /* in the VM: "kvm" or "tcg", "" if there can be none */
	char place_why[300];
};

/* The sets of a file are these; NULL-terminated. */
extern const char *const experiment_sets[];

/*
 * Make an experiment of a JSON object, with the changes of `set` ("" or NULL:
 * the file as it stands). `json` is borrowed. -ENOENT without a sentence if
 * the experiment is not part of the set. Release in all cases.
 */
int experiment_parse(const char *file, const json_t *json, const char *set,
		     struct experiment *ret)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
/*
 * Once place and accel are chosen: the changes of "emulation" if it will be
 * emulated, and the acceleration in the parameters of its rows.
 */
int experiment_settle(struct experiment *e)
	__attribute__((nonnull, warn_unused_result));
void experiment_release(struct experiment *e) __attribute__((nonnull));

struct experiments {
	struct experiment *list; /* by "order", then by name */
	size_t n;
};

/*
 * Load all DIR/?*.json of a set, checking every set of each file. `only`
 * (NULL-terminated, may be NULL) picks names: one that is not there is
 * -ENOENT, and one that is not in the set is taken as the file stands.
 */
int experiments_load(const char *dir, const char *set, const char *const *only,
		     struct experiments *ret)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
void experiments_release(struct experiments *list) __attribute__((nonnull));

/*
 * The folder `name` ("experiments", "approaches") of the harness: $MEMSYNC_
 * HARNESS, beside the sources, or installed. -ENOENT with a sentence.
 */
int harness_folder(const char *name, char *buf, size_t size)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row of runs.csv: one number that was measured, or the reason why it was
 * not. The table of columns below is the only place where the layout of the
 * file is written down; the writer, the reader, the checker, the grouping of
 * rows and the test of SCHEMA.md all read it.
 */
#ifndef MS_HARNESS_RECORD_ROW_H
#define MS_HARNESS_RECORD_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Goes up when a column is added, removed or changes its meaning. */
#define ROW_SCHEMA_VERSION 1

/* "Not applicable" of a count; that of a real is NAN, of a string NULL. */
#define ROW_NO_COUNT UINT64_MAX

enum row_place {
	ROW_PLACE_UNSET,
	ROW_NATIVE,
	ROW_VM
};
enum row_link {
	ROW_LINK_UNSET,
	ROW_LINK_NONE,
	ROW_LINK_EMULATED,
	ROW_LINK_NETEM,
	ROW_LINK_SLEEP,
};
enum row_status {
	ROW_STATUS_UNSET,
	ROW_OK,
	ROW_FAILED,
	ROW_REFUSED,
	ROW_SKIPPED,
};

/*
 * The fields stand in the order of the columns. Strings are borrowed: they
 * belong to whoever filled the row (a struct table for loaded rows).
 */
struct row {
	uint64_t schema_version;
	const char *run_id;
	const char *experiment;
	const char *approach;
	const char *variant;
	const char *pipeline;
	const char *workload;
	const char *dataset;
	int place;	 /* enum row_place */
	int link_driver; /* enum row_link */
	double rtt_ms;
	double rate_mbit;
	double jitter_ms;
	double loss_pct;
	double rtt_ms_measured;
	double rate_mbit_measured;
	uint64_t chunk_bytes;
	uint64_t size_bytes;
	uint64_t workers;
	uint64_t repetition; /* from 0 */
	const char *metric;
	double value;
	const char *unit;
	int verified; /* 0 or 1 */
	int status;   /* enum row_status */
	const char *reason;
	uint64_t bytes_done;
	const char *placement;
	const char *congestion;
	const char *params; /* key=value;key=value, sorted by key */
};

enum row_col {
	COL_SCHEMA_VERSION,
	COL_RUN_ID,
	COL_EXPERIMENT,
	COL_APPROACH,
	COL_VARIANT,
	COL_PIPELINE,
	COL_WORKLOAD,
	COL_DATASET,
	COL_PLACE,
	COL_LINK_DRIVER,
	COL_RTT_MS,
	COL_RATE_MBIT,
	COL_JITTER_MS,
	COL_LOSS_PCT,
	COL_RTT_MS_MEASURED,
	COL_RATE_MBIT_MEASURED,
	COL_CHUNK_BYTES,
	COL_SIZE_BYTES,
	COL_WORKERS,
	COL_REPETITION,
	COL_METRIC,
	COL_VALUE,
	COL_UNIT,
	COL_VERIFIED,
	COL_STATUS,
	COL_REASON,
	COL_BYTES_DONE,
	COL_PLACEMENT,
	COL_CONGESTION,
	COL_PARAMS,
	ROW_COLUMNS
};

enum row_type {
	ROW_T_NAME,  /* letters, digits, . _ + - ; goes into file names */
	ROW_T_TEXT,  /* any text without control characters */
	ROW_T_COUNT, /* uint64_t */
	ROW_T_REAL,  /* double, finite, not negative */
	ROW_T_BOOL,  /* 0 or 1 */
	ROW_T_ENUM,  /* int, index into `choices` */
};

/* Flags of a column. */
#define ROW_REQUIRED	1u /* never empty */
#define ROW_REQUIRED_OK 2u /* not empty where status is ok */
#define ROW_CELL	4u /* says which cell the row belongs to */

struct row_column {
	const char *name;
	const char *unit;	    /* NULL: none */
	const char *const *choices; /* ENUM: [0] is "", NULL-terminated */
	size_t offset;		    /* in struct row */
	double max;		    /* of a REAL; 0: no bound */
	enum row_type type;
	unsigned flags;
};

extern const struct row_column row_columns[ROW_COLUMNS];

/* Sets of columns, for row_key. */
#define ROW_BIT(col) (UINT64_C(1) << (col))
uint64_t row_cell_columns(void); /* those with ROW_CELL */

/* Flags of a metric. */
#define METRIC_HARNESS                                                      \
	1u		 /* of link or harness: nothing to verify, no bound \
			  */
#define METRIC_HIGHER 2u /* more is better */

struct row_metric {
	const char *name;
	const char *unit;
	unsigned flags;
};

/* All metrics; the last entry has a NULL name. */
extern const struct row_metric row_metrics[];

/* Approaches and outside references; NULL-terminated. */
extern const char *const row_approaches[];

#define ROW_BOUND_PREFIX "bound_"

/*
 * The metric called `name`, where "bound_x" finds x; NULL if there is none.
 * `ret_bound` (may be NULL) says whether the prefix was there.
 */
const struct row_metric *row_metric_find(const char *name, bool *ret_bound)
	__attribute__((nonnull(1)));

/* May the row's value be plotted: ok, and verified where that is needed. */
bool row_usable(const struct row *row) __attribute__((nonnull));

/* Everything not applicable, schema_version set. */
void row_init(struct row *row) __attribute__((nonnull));

/* Longest text of a number with its NUL. */
#define ROW_NUMBER_MAX 32

/* The shortest decimal that reads back as exactly `value`. */
void row_format_real(double value, char buf[ROW_NUMBER_MAX]);

/* The text of one column ("" if empty): the row's own string, or `buf`. */
const char *row_text(const struct row *row, enum row_col col,
		     char buf[ROW_NUMBER_MAX]) __attribute__((nonnull));

/*
 * Set one column from its text, which the row borrows. Returns 0, or -EINVAL
 * with a sentence that starts with the column's name in `why`.
 */
int row_set(struct row *row, enum row_col col, const char *text, char *why,
	    size_t size) __attribute__((nonnull, warn_unused_result));

typedef void (*row_problem_fn)(void *arg, const char *text);

/*
 * Check what columns say about each other (required ones, units, reasons,
 * verification, the measured link). Calls `fn` for each problem; returns how
 * many there were.
 */
unsigned row_check(const struct row *row, row_problem_fn fn, void *arg)
	__attribute__((nonnull(1, 2)));

/*
 * How far the median of the measured RTT may be from the one asked for:
 * the larger of an absolute and a relative part, and the jitter on top.
 */
#define ROW_RTT_OFF_MS	  0.25
#define ROW_RTT_OFF_SHARE 0.05
/* The same for the rate, as a share of it (headers are part of it). */
#define ROW_RATE_OFF_SHARE 0.10

/* Is the measured link what was asked for? True where nothing was measured. */
bool row_rtt_fits(const struct row *row) __attribute__((nonnull));
bool row_rate_fits(const struct row *row) __attribute__((nonnull));

/*
 * The texts of the given columns, joined by a character that no text holds:
 * equal strings mean equal columns. NULL without memory; the caller frees.
 */
char *row_key(const struct row *row, uint64_t columns) __attribute__((nonnull));

/*
 * The value of `key` in a "k=v;k=v" text: pointer into it and length.
 * Returns false if the key is not there.
 */
bool row_param(const char *params, const char *key, const char **ret_value,
	       size_t *ret_len) __attribute__((nonnull(2, 3, 4)));

#endif

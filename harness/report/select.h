/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows that belong to a figure, ordered into curves. What is drawn and
 * what the tables of the report show is the same selection; whatever belongs
 * to the figure but could not be used stands in `gaps`, never nowhere.
 */
#ifndef MS_HARNESS_REPORT_SELECT_H
#define MS_HARNESS_REPORT_SELECT_H

#include "harness/record/csv.h"
#include "harness/report/figure.h"
#include "harness/stats/summary.h"

/* A point: the usable repetitions of one metric of one series at one RTT. */
struct cell {
	double x; /* rtt_ms, 0 where there is no link */
	const struct summary *sum;
};

/* One metric of one series. */
struct curve {
	const char *metric;
	const char *unit;
	const char *approach;
	const char *variant; /* "" if it has none */
	const char *extra;   /* other columns that tell series apart, or "" */
	const char *label;   /* all three, for people */
	const char *column;  /* the same without what is about the link */
	unsigned rank;	     /* order of series */
	struct cell *cells;  /* by x */
	size_t n;
};

/* A part of the figure that has no numbers, with the reason. */
struct gap {
	const char *what; /* "uffd tuned, 20 ms" */
	const char *why;  /* "skipped: no userfaultfd" */
	size_t rows;	  /* how many rows say so; 0: expected but absent */
	bool partly;	  /* other repetitions of the point have a number */
};

struct selection {
	const struct figure *figure;
	struct arena *arena;
	struct table *table; /* the figure's rows, values as they are drawn */
	struct summary *sums;
	size_t n_sums;
	struct curve *curves; /* by metric, then rank and label */
	size_t n;
	double *xs; /* all RTTs that occur, ascending */
	size_t n_xs;
	struct gap *gaps;
	size_t n_gaps;
	const char *conditions; /* link, size, chunk: one line */
	char **warnings;
	size_t n_warnings;
};

/*
 * Choose the figure's rows of `table`. A figure without usable rows is no
 * error: n is 0 and `gaps` says why. Returns 0 or -ENOMEM. The rest lives in
 * the arena; what does not is freed by selection_release.
 */
int selection_make(struct arena *a, const struct figure *figure,
		   const struct table *table, struct selection *ret)
	__attribute__((nonnull, warn_unused_result));

void selection_release(struct selection *s) __attribute__((nonnull));

/* Parts of selection_make, in files of their own. */
int selection_gaps(struct selection *s)
	__attribute__((nonnull, warn_unused_result));
int selection_warnings(struct selection *s)
	__attribute__((nonnull, warn_unused_result));
int selection_warn(struct selection *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull, warn_unused_result));
int selection_conditions(struct selection *s)
	__attribute__((nonnull, warn_unused_result));

/* "uffd tuned, 100 Mbit/s" from its three parts; NULL without memory. */
const char *series_label(struct arena *a, const char *approach,
			 const char *variant, const char *extra)
	__attribute__((nonnull));

/* A column as people read it: "100 Mbit/s", "chunk 64K"; "" if empty. */
const char *column_words(struct arena *a, const struct row *row,
			 enum row_col col) __attribute__((nonnull));

/* NULL as "". */
const char *text_or_empty(const char *text);

/* The RTT of a row, 0 where no link is involved. */
double row_rtt(const struct row *row) __attribute__((nonnull));

#endif

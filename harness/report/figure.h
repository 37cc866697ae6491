/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a figure is: the comment at the head of its gnuplot script. A figure is
 * one file in plots/; nothing else lists it.
 *
 *	# title: Read throughput by RTT
 *	# question: How much of the link does each approach use?
 *	# metric: read_open_mib_s
 *
 * A line that starts with "#" and two or more spaces goes on with the entry
 * above it. The head ends at the first line that is not a comment.
 */
#ifndef MS_HARNESS_REPORT_FIGURE_H
#define MS_HARNESS_REPORT_FIGURE_H

#include "harness/report/arena.h"

#include <stdbool.h>
#include <stddef.h>

/* Words of an entry such as "metric: read_mib_s read_open_mib_s". */
struct words {
	char **list;
	size_t n;
};

struct figure {
	const char *id; /* the script's name without .gp */
	const char *script;
	const char *title;
	const char *question;
	const char *measured; /* how the numbers come about */
	const char *excluded; /* what is not in the timer */
	const char *thesis;   /* figures of the thesis, may be NULL */
	const char *unit;     /* of the values as drawn; NULL: the metric's */
	const char *headline; /* heading in the first table, NULL: not there */
	struct words experiments; /* default: the figure's own id */
	struct words metrics;
	struct words series; /* expected: "uffd/tuned", "memory" */
	bool by_rtt;	     /* "x: rtt_ms"; otherwise a row for each series */
	bool per_gib;	     /* "per: GiB": values by GiB of bytes_done */
	unsigned order;
};

struct figures {
	struct figure *list; /* in the order of the report */
	size_t n;
	const char *dir;
};

/*
 * Read the heads of all DIR/?*.gp. A bad one ends it: -EBADMSG with
 * "file:line: what". Everything lives in the arena.
 */
int figures_load(struct arena *a, const char *dir, struct figures *ret)
	__attribute__((nonnull, warn_unused_result));

bool words_have(const struct words *words, const char *word)
	__attribute__((nonnull(1)));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The thesis' benchmark groups as a table; internal to the thesis' CSV. */
#ifndef MS_HARNESS_RECORD_THESIS_GROUPS_H
#define MS_HARNESS_RECORD_THESIS_GROUPS_H

#include <stdbool.h>

enum {
	THESIS_COLUMNS_MAX = 12
};

/* A value column: which rows go into it, and how the value is written. */
struct thesis_column {
	const char *header;
	const char *approach; /* NULL ends the columns */
	const char *param;    /* key=value that params must hold, or NULL */
};

enum thesis_label {
	LABEL_NONE,
	LABEL_WORKERS,
	LABEL_STORE
};

struct thesis_group {
	const char *name;	/* of its folder, as in the thesis */
	const char *experiment; /* our name of the figure; `name` counts too */
	const char *rtt_header; /* NULL: no RTT label */
	const char *label_header;
	const char *metric;
	double scale;		 /* value times this */
	enum thesis_label label; /* the second label */
	bool whole;		 /* written as an integer */
	struct thesis_column columns[THESIS_COLUMNS_MAX + 1];
};

extern const struct thesis_group thesis_groups[];
extern const unsigned thesis_groups_n;

/* The thesis' order of the stores in `params` (store=…); NULL-terminated. */
extern const char *const thesis_stores[];

#endif

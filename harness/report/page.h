/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of report.html, in the order of the page. All write to `out`,
 * whose errors are looked at once, at the end.
 */
#ifndef MS_HARNESS_REPORT_PAGE_H
#define MS_HARNESS_REPORT_PAGE_H

#include "harness/report/result.h"
#include "harness/report/select.h"

#include <jansson.h>
#include <stdio.h>

struct page {
	FILE *out;
	struct arena *arena;
	const struct result *result;
	const struct selection *figures; /* one for each figure, in order */
	const json_t *env;		 /* NULL: there is no env.json */
	const json_t *env_vm;		 /* of the VM; NULL: none was used */
	const char *name;		 /* of the run */
};

/* Everything up to the first heading: counts, contents. */
int page_head(const struct page *p) __attribute__((warn_unused_result));

/* "Which approach on which link", a table for each figure that has one. */
int page_headline(const struct page *p) __attribute__((warn_unused_result));

/* The figures with their captions and tables. */
int page_figures(const struct page *p) __attribute__((warn_unused_result));

/* Rows without a number, rows that no figure shows, warnings. */
int page_gaps(const struct page *p) __attribute__((warn_unused_result));
int page_warnings(const struct page *p) __attribute__((warn_unused_result));

/* Environment, how to reproduce, files. */
int page_env(const struct page *p) __attribute__((warn_unused_result));
int page_reproduce(const struct page *p) __attribute__((warn_unused_result));

/* A text of env.json, "" if it is not there; `group` may be NULL. */
const char *page_env_text(const struct page *p, const char *group,
			  const char *key);

/* How much of its bound a value reaches, 1 is all; NAN without a bound. */
double bound_share(const struct curve *c, const struct cell *cell);

/* "RTT 20 ms, 1000 Mbit/s", or "no link". */
const char *link_words(struct arena *a, const struct row *row);

#endif

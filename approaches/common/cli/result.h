/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The result of one run of a program, as JSON (schema memsync-result/1) for
 * the harness or as a few lines for people. Every program that measures ends
 * in ms_result_print, also when it failed or could not run.
 */
#ifndef MS_COMMON_CLI_RESULT_H
#define MS_COMMON_CLI_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ms_status {
	MS_STATUS_OK,
	MS_STATUS_FAILED,  /* it ran and went wrong: exit 1 */
	MS_STATUS_REFUSED, /* the conditions asked for are not met: exit 77 */
	MS_STATUS_SKIPPED, /* this machine cannot run it: exit 77 */
};

/* All texts are copied by the setters; zeroed memory is an empty result. */
struct ms_result {
	const char *program;  /* static text, "memsync-uffd map" */
	const char *approach; /* static text */
	const char *variant;  /* static text */
	char *pipeline;
	const char *workload; /* static text */
	char *placement;
	char *reason;
	enum ms_status status;
	bool verified;
	uint64_t chunk_bytes;
	uint64_t size_bytes;
	uint64_t workers;
	uint64_t bytes_done;
	/* Lists, kept as JSON values. */
	void *metrics;
	void *params;
	void *notes;
};

/* Replace a text: ms_result_text(&r.placement, "handler=same"). NULL clears. */
void ms_result_text(char **field, const char *text);

/* Add a number; the metric's name and unit are those of the row schema. */
void ms_result_metric(struct ms_result *r, const char *metric, double value,
		      const char *unit) __attribute__((nonnull));

void ms_result_param(struct ms_result *r, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), nonnull(1, 2, 3)));

void ms_result_note(struct ms_result *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(1, 2)));

/*
 * The run did not succeed, and why. The first cause stays: later calls are
 * ignored when the status is not OK any more.
 */
void ms_result_fail(struct ms_result *r, enum ms_status status, const char *fmt,
		    ...) __attribute__((format(printf, 3, 4), nonnull(1, 3)));

/*
 * Print as one JSON line, or as text; a reason goes to stderr as
 * "program: reason" as well. Returns the program's exit code: 0, 1 or 77; 1
 * too when the output could not be written.
 */
int ms_result_print(const struct ms_result *r, bool json, FILE *out)
	__attribute__((nonnull));

/* Free what it holds, not the struct. */
void ms_result_release(struct ms_result *r) __attribute__((nonnull));

/* "ok", "failed", "refused", "skipped". */
const char *ms_status_name(enum ms_status status);

#endif

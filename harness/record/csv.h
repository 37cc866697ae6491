/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing runs.csv (RFC 4180; lines end in LF, CRLF is read too).
 * The writer appends the rows of a run in one write and holds the file alone;
 * the reader streams or loads all rows. See SCHEMA.md for the columns.
 */
#ifndef MS_HARNESS_RECORD_CSV_H
#define MS_HARNESS_RECORD_CSV_H

#include "harness/record/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CSV_FILE "runs.csv"
/* A record longer than this is refused: a file is not trusted. */
#define CSV_RECORD_MAX ((size_t)1 << 20)
/* Fields kept of a record; more are counted only. */
#define CSV_FIELDS_MAX (ROW_COLUMNS + 2)

struct csv;

/* csv_open: also fsync after each csv_append. */
#define CSV_SYNC 1u

/*
 * Open DIR/runs.csv for appending; the folder must exist, the file is created
 * with its header. Takes a lock that lasts until csv_close (or the end of the
 * process): -EBUSY if another writer has it. A last line that a crash tore off
 * is cut away, with the other rows of the same run, so that the run is
 * repeated as a whole; csv_note says so. Returns -EBADMSG for a file with
 * another header. The caller closes `*ret` with csv_close.
 */
int csv_open(const char *dir, unsigned flags, struct csv **ret)
	__attribute__((nonnull, warn_unused_result));

/* What csv_open repaired, one sentence; NULL if the file was whole. */
const char *csv_note(const struct csv *csv) __attribute__((nonnull));

/*
 * Append rows: all or none (a short write is taken back). Rows that row_check
 * finds fault with are refused with -EINVAL and nothing is written, so a
 * runner cannot produce a file that the checker refuses for a single row.
 */
int csv_append(struct csv *csv, const struct row *rows, size_t n)
	__attribute__((nonnull, warn_unused_result));

/* Accepts NULL. Returns the first error of closing. */
int csv_close(struct csv *csv);

/* --- reading: records, without knowing about rows --- */

struct csv_reader {
	FILE *file; /* owned by the caller */
	char *buf;  /* the fields' bytes, each ends in NUL */
	size_t len;
	size_t size;
	size_t starts[CSV_FIELDS_MAX];
	unsigned fields;    /* how many the record has, may be more than kept */
	unsigned long line; /* of the record's first character, from 1 */
	unsigned long next_line;
	long long offset; /* of the record's first byte */
	long long end;	  /* behind the record's last byte */
	bool torn;	  /* the file ended within this record */
};

void csv_reader_init(struct csv_reader *r, FILE *file) __attribute__((nonnull));
void csv_reader_release(struct csv_reader *r) __attribute__((nonnull));

/*
 * Read the next record. Returns 1, 0 at the end of the file, or -EBADMSG (a
 * bad quote, a NUL, too long), -EIO, -ENOMEM with a sentence. After -EBADMSG
 * reading can go on behind the bad record's line.
 */
int csv_reader_next(struct csv_reader *r)
	__attribute__((nonnull, warn_unused_result));

/* Field i of the record, i < min(fields, CSV_FIELDS_MAX). */
const char *csv_field(const struct csv_reader *r, unsigned i)
	__attribute__((nonnull));

/*
 * Is the record the header of this schema? If not, `why` says what is wrong.
 */
bool csv_header_ok(const struct csv_reader *r, char *why, size_t size)
	__attribute__((nonnull));

/* --- reading: rows --- */

/*
 * Called with each row in turn; the strings are valid during the call only.
 * A value other than 0 ends the reading and is returned by csv_load.
 */
typedef int (*csv_row_fn)(void *arg, const struct row *row);

/*
 * Read `path` (a file, or a folder with runs.csv in it). The first thing wrong
 * with header or fields ends it: -EBADMSG with "path:line: what". What columns
 * say about each other is left to csv_check.
 */
int csv_load(const char *path, csv_row_fn fn, void *arg)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* All rows of one or several files. */
struct table {
	struct row *rows;
	size_t n;
	size_t size;
	char **texts; /* the rows' strings, one block a row */
};

struct table *table_new(void);
void table_free(struct table *t); /* accepts NULL */

/* Copy a row with its strings to the end. 0 or -ENOMEM. */
int table_add(struct table *t, const struct row *row)
	__attribute__((nonnull, warn_unused_result));

/* Add all rows of `path` as csv_load reads them. */
int table_load(struct table *t, const char *path)
	__attribute__((nonnull, warn_unused_result));

/* PATH itself, or PATH/runs.csv if PATH is a folder; the caller frees. */
char *csv_path(const char *path) __attribute__((nonnull));

/* One field, quoted if it must be; and the header line with its LF. */
void csv_put_field(FILE *out, const char *text) __attribute__((nonnull));
void csv_put_header(FILE *out) __attribute__((nonnull));
void csv_put_row(FILE *out, const struct row *row) __attribute__((nonnull));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as HTML. Everything that was not written by us goes through html_text,
 * which is safe in elements and in quoted attributes.
 */
#ifndef MS_HARNESS_REPORT_HTML_H
#define MS_HARNESS_REPORT_HTML_H

#include <stdio.h>

/* Write `text` with & < > " ' replaced and control characters as spaces. */
void html_text(FILE *out, const char *text) __attribute__((nonnull));

/* <TAG>text</TAG>, with `tag` such as "td" or "td class=n". */
void html_element(FILE *out, const char *tag, const char *text)
	__attribute__((nonnull));

/*
 * Write the SVG file at `path` as a part of the page: without its XML head and
 * name spaces, with `prefix` before every id so that two figures do not share
 * one. 0 or a negative errno with a sentence.
 */
int html_svg(FILE *out, const char *path, const char *prefix, const char *label)
	__attribute__((nonnull, warn_unused_result));

/* Write a file as it is. 0 or a negative errno with a sentence. */
int html_file(FILE *out, const char *path)
	__attribute__((nonnull, warn_unused_result));

#endif

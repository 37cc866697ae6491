/* SPDX-License-Identifier: Apache-2.0 */
/* Text, files and pictures as HTML; see html.h. */
#include "harness/report/html.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* More than any page of ours has; a file is not trusted. */
#define FILE_MAX ((size_t)64 * 1024 * 1024)

void html_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		switch (c) {
		case '&':
			(void)fputs("&amp;", out);
			break;
		case '<':
			(void)fputs("&lt;", out);
			break;
		case '>':
			(void)fputs("&gt;", out);
			break;
		case '"':
			(void)fputs("&quot;", out);
			break;
		case '\'':
			(void)fputs("&#39;", out);
			break;
		default:
			(void)fputc(c < ' ' || c == 127 ? ' ' : c, out);
		}
	}
}

void html_element(FILE *out, const char *tag, const char *text)
{
	(void)fprintf(out, "<%s>", tag);
	html_text(out, text);
	(void)fprintf(out, "</%.*s>", (int)strcspn(tag, " "), tag);
}

/* NULL with a sentence; the caller frees. */
static char *read_file(const char *path)
{
	FILE *in = fopen(path, "re");
	char *text = NULL;
	size_t n = 0;
	size_t size = 65536;

	if (!in) {
		(void)ms_err(-errno, "report: open %s", path);
		return NULL;
	}
	text = malloc(size);
	if (!text)
		goto fail;
	for (;;) {
		char *larger = NULL;

		if (n + 1 >= size) {
			size *= 2;
			larger = size > FILE_MAX ? NULL : realloc(text, size);
			if (!larger)
				goto fail;
			text = larger;
		}
		n += fread(text + n, 1, size - n - 1, in);
		if (ferror(in))
			goto fail;
		if (feof(in))
			break;
	}
	text[n] = '\0';
	(void)fclose(in);
	return text;
fail:
	(void)fclose(in);
	free(text);
	(void)ms_err(-EIO, "report: read %s", path);
	return NULL;
}

int html_file(FILE *out, const char *path)
{
	char *text = read_file(path);

	if (!text)
		return ms_err_code();
	(void)fputs(text, out);
	free(text);
	return 0;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* If an attribute that names an id starts here, the length up to the name. */
static size_t id_at(const char *text)
{
	static const char *const forms[] = {" id=\"",	" id='", "href='#",
					    "href=\"#", "url(#", "url('#"};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (starts(text, forms[i]))
			return strlen(forms[i]);
	return 0;
}

/* The xmlns attributes of the first tag, which HTML does not need. */
static size_t name_space_at(const char *text)
{
	static const char *const names[] = {"xmlns=\"", "xmlns:xlink=\""};

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(names[i]);
		const char *end = NULL;

		if (!starts(text, names[i]))
			continue;
		end = strchr(text + n, '"');
		return end ? (size_t)(end - text) + 1 : 0;
	}
	return 0;
}

int html_svg(FILE *out, const char *path, const char *prefix, const char *label)
{
	char *text = read_file(path);
	const char *at = NULL;

	if (!text)
		return ms_err_code();
	at = strstr(text, "<svg");
	if (!at) {
		free(text);
		return ms_err(-EBADMSG, "report: %s is not SVG", path);
	}
	(void)fputs("<svg role=\"img\" aria-label=\"", out);
	html_text(out, label);
	(void)fputc('"', out);
	for (at += strlen("<svg"); *at;) {
		size_t n = name_space_at(at);

		if (n) {
			at += n;
			continue;
		}
		n = id_at(at);
		if (!n) {
			(void)fputc(*at++, out);
			continue;
		}
		(void)fprintf(out, "%.*s%s-", (int)n, at, prefix);
		at += n;
	}
	free(text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The per-thread error sentence; see err.h. */
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	TEXT_MAX = 400
};

static _Thread_local struct {
	int code;
	bool plain; /* the sentence goes without the errno's text */
	char sentence[TEXT_MAX];
	char text[TEXT_MAX + 80];
} last;

const char *ms_errno_text(int code)
{
	const char *text = strerrordesc_np(code < 0 ? -code : code);

	return text ? text : "unknown error";
}

/* EINVAL's own text adds nothing to a sentence about a bad value. */
__attribute__((format(printf, 3, 0))) static void
keep(int code, bool plain, const char *fmt, va_list ap)
{
	last.code = code;
	last.plain = plain || code == -EINVAL;
	(void)vsnprintf(last.sentence, sizeof(last.sentence), fmt, ap);
}

int ms_err(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(code, false, fmt, ap);
	va_end(ap);
	return code;
}

int ms_err_plain(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(code, true, fmt, ap);
	va_end(ap);
	return code;
}

int ms_err_add(int code, const char *fmt, ...)
{
	char where[TEXT_MAX];
	char tail[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(where, sizeof(where), fmt, ap);
	va_end(ap);
	if (last.code == 0) {
		last.code = code;
		last.plain = code == -EINVAL;
		(void)snprintf(last.sentence, TEXT_MAX, "%s", where);
		return code;
	}
	(void)snprintf(tail, sizeof(tail), "%s", last.sentence);
	(void)snprintf(last.sentence, TEXT_MAX, "%.150s: %.240s", where, tail);
	return code;
}

const char *ms_err_text(void)
{
	if (last.code == 0)
		return "no error";
	if (last.plain)
		(void)snprintf(last.text, sizeof(last.text), "%s",
			       last.sentence);
	else
		(void)snprintf(last.text, sizeof(last.text), "%s: %s",
			       last.sentence, ms_errno_text(last.code));
	return last.text;
}

int ms_err_code(void)
{
	return last.code;
}

void ms_err_clear(void)
{
	last.code = 0;
	last.sentence[0] = '\0';
}

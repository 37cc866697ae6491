/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the page: environment from env.json, and how to reproduce. */
#include "harness/report/page.h"

#include "harness/record/env.h"
#include "harness/report/html.h"
#include "harness/report/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

const char *page_env_text(const struct page *p, const char *group,
			  const char *key)
{
	const json_t *j = p->env;

	if (group)
		j = json_object_get(j, group);
	return text_or_empty(json_string_value(json_object_get(j, key)));
}

static void put_scalar(FILE *out, const char *key, const json_t *j)
{
	size_t n = strlen(key);
	char size[64];

	switch (json_typeof(j)) {
	case JSON_STRING:
		html_text(out, json_string_value(j));
		break;
	case JSON_INTEGER:
		(void)fprintf(out, "%" JSON_INTEGER_FORMAT,
			      json_integer_value(j));
		if (n > 6 && !strcmp(key + n - 6, "_bytes") &&
		    json_integer_value(j) >= 1024) {
			size_words((uint64_t)json_integer_value(j), size,
				   sizeof(size));
			(void)fprintf(out, " (%s)", size);
		}
		break;
	case JSON_REAL:
		(void)fprintf(out, "%.6g", json_real_value(j));
		break;
	case JSON_TRUE:
		(void)fputs("yes", out);
		break;
	case JSON_FALSE:
		(void)fputs("no", out);
		break;
	case JSON_NULL:
	case JSON_OBJECT:
	case JSON_ARRAY:
		(void)fputs("unknown", out);
		break;
	}
}

static void put_value(FILE *out, const char *key, const json_t *j)
{
	const json_t *ok = json_object_get(j, "ok");
	const char *reason = json_string_value(json_object_get(j, "reason"));
	const json_t *item = NULL;
	size_t i = 0;

	if (ok) {
		put_scalar(out, key, ok);
		if (reason) {
			(void)fputs(": ", out);
			html_text(out, reason);
		}
		return;
	}
	if (!json_is_array(j)) {
		put_scalar(out, key, j);
		return;
	}
	json_array_foreach((json_t *)j, i, item)
	{
		(void)fputs(i ? " " : "", out);
		put_scalar(out, key, item);
	}
}

/* Rows "prefix.key: value"; objects in objects become longer keys. */
static int put_object(const struct page *p, const char *prefix, const json_t *j,
		      int depth)
{
	const char *key = NULL;
	json_t *value = NULL;

	json_object_foreach((json_t *)j, key, value)
	{
		char *name = arena_printf(p->arena, "%s%s%s", prefix,
					  *prefix ? "." : "", key);
		int r = 0;

		if (!name)
			return -ENOMEM;
		if (json_is_object(value) && depth < 8 &&
		    !json_object_get(value, "ok")) {
			r = put_object(p, name, value, depth + 1);
			if (r)
				return r;
			continue;
		}
		(void)fputs("<tr>", p->out);
		html_element(p->out, "th scope=\"row\"", name);
		(void)fputs("<td class=\"why\">", p->out);
		put_value(p->out, key, value);
		(void)fputs("</td></tr>\n", p->out);
	}
	return 0;
}

static int put_group(const struct page *p, const char *key, const json_t *value)
{
	int r;

	(void)fprintf(p->out, "<details%s><summary>",
		      !strcmp(key, "machine") ? " open" : "");
	html_text(p->out, key);
	(void)fputs("</summary><div class=\"scroll\"><table><tbody>\n", p->out);
	r = put_object(p, "", value, 0);
	(void)fputs("</tbody></table></div></details>\n", p->out);
	return r;
}

/* All of one file: its objects as groups, the rest as one more. */
static int put_env(const struct page *p, const json_t *env)
{
	const char *key = NULL;
	json_t *value = NULL;
	json_t *loose = json_object();
	int r = 0;

	if (!loose)
		return -ENOMEM;
	json_object_foreach((json_t *)env, key, value)
	{
		if (r)
			break;
		if (json_is_object(value))
			r = put_group(p, key, value);
		else if (json_object_set(loose, key, value))
			r = -ENOMEM;
	}
	if (!r && json_object_size(loose))
		r = put_group(p, "run", loose);
	json_decref(loose);
	return r;
}

int page_env(const struct page *p)
{
	int r = 0;

	(void)fputs("<section id=\"environment\"><h2>Environment</h2>\n",
		    p->out);
	if (!p->env)
		(void)fputs("<p class=\"none\">Not recorded.</p>\n", p->out);
	else
		r = put_env(p, p->env);
	if (!r && p->env_vm) {
		(void)fputs("<h3>Of the VM</h3>\n", p->out);
		r = put_env(p, p->env_vm);
	}
	(void)fputs("</section>\n", p->out);
	return r;
}

/* A word as a shell reads it back. */
static void put_word(FILE *out, const char *word)
{
	bool plain = *word != '\0';

	for (const char *c = word; *c; c++)
		plain = plain && (isalnum((unsigned char)*c) ||
				  strchr("-_./=:,+%@", *c));
	if (plain) {
		html_text(out, word);
		return;
	}
	(void)fputs("&#39;", out);
	for (; *word; word++) {
		char one[2] = {*word, '\0'};

		html_text(out, *word == '\'' ? "'\\''" : one);
	}
	(void)fputs("&#39;", out);
}

int page_reproduce(const struct page *p)
{
	const json_t *command = json_object_get(p->env, "command");
	FILE *out = p->out;
	size_t i = 0;
	const json_t *word = NULL;

	(void)fputs("<section id=\"reproduce\"><h2>How to reproduce</h2>\n",
		    out);
	if (json_is_array(command)) {
		(void)fputs("<p>This run was made by</p><pre>", out);
		json_array_foreach((json_t *)command, i, word)
		{
			(void)fputs(i ? " " : "", out);
			put_word(out, text_or_empty(json_string_value(word)));
		}
		(void)fputs("</pre>\n", out);
	} else {
		(void)fputs("<p>The command was not recorded in " ENV_FILE
			    ".</p>\n",
			    out);
	}
	(void)fputs("<p>From a checkout of memsync at ", out);
	html_element(out, "code", page_env_text(p, "build", "git"));
	(void)fputs(", <code>make bench</code> measures the quick set, "
		    "<code>make bench FIG=<i>name</i></code> one figure, and "
		    "<code>make report RESULT=<i>folder</i></code> makes this "
		    "page again. All numbers are in "
		    "<a href=\"runs.csv\">runs.csv</a>, the environment in "
		    "<a href=\"env.json\">env.json</a>, the pictures in "
		    "<a href=\"plots/\">plots/</a>.</p></section>\n"
		    "</main></body></html>\n",
		    out);
	return 0;
}

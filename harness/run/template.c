/* SPDX-License-Identifier: Apache-2.0 */
/* Replacing {names} in the commands of approaches; see approach.h. */
#include "harness/run/approach.h"

#include "approaches/common/util/err.h"
#include "harness/run/no-memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct place_holder *find(const struct place_holder *values,
				       const char *name, size_t len)
{
	for (; values->name; values++)
		if (strlen(values->name) == len &&
		    !strncmp(values->name, name, len))
			return values;
	return NULL;
}

/* The value of "{name}" at `text`; *ret_len is the length of the whole. */
static int value_at(const char *text, const struct place_holder *values,
		    const char **ret, size_t *ret_len)
{
	size_t len = strcspn(text + 1, "}");
	const struct place_holder *v = find(values, text + 1, len);

	if (!text[1 + len] || !v)
		return ms_err(-EINVAL, "there is no {%.*s}", (int)len,
			      text + 1);
	if (!v->value)
		return ms_err(-EINVAL, "{%s} has no value here", v->name);
	*ret = v->value;
	*ret_len = len + 2;
	return 0;
}

int approach_text(const char *text, const struct place_holder *values,
		  char **ret)
{
	char *buf = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&buf, &size);
	int err = 0;

	if (!out)
		return no_memory("template");
	while (*text && !err) {
		size_t plain = strcspn(text, "{");
		const char *value = "";
		size_t skip = 0;

		(void)fwrite(text, 1, plain, out);
		text += plain;
		if (!*text)
			break;
		err = value_at(text, values, &value, &skip);
		(void)fputs(value, out);
		text += skip;
	}
	if (fclose(out) && !err)
		err = no_memory("template");
	if (err) {
		free(buf);
		return err;
	}
	*ret = buf;
	return 0;
}

/* "{?name}TEXT": does `name` have a value, and where is TEXT. */
static int conditional(const char *arg, const struct place_holder *values,
		       const char **ret_text)
{
	size_t len = strcspn(arg + 2, "}");
	const struct place_holder *v = find(values, arg + 2, len);

	if (!arg[2 + len] || !v)
		return ms_err(-EINVAL, "there is no {%.*s}", (int)len, arg + 2);
	*ret_text = v->value ? arg + 2 + len + 1 : NULL;
	return 0;
}

static int add(const char *arg, const struct place_holder *values,
	       char *const *options, char **list, size_t *n)
{
	const char *text = arg;
	int err = 0;

	if (!strcmp(arg, "{options}")) {
		for (; options && *options && !err; options++) {
			list[*n] = strdup(*options);
			err = list[*n] ? 0 : no_memory("template");
			*n += !err;
		}
		return err;
	}
	if (!strncmp(arg, "{?", 2)) {
		const char *rest = NULL;
		err = conditional(arg, values, &rest);
		if (err || !rest)
			return err;
		text = rest;
	}
	err = approach_text(text, values, &list[*n]);
	*n += !err;
	return err;
}

int approach_argv(const char *const *argv, const struct place_holder *values,
		  char *const *options, char ***ret)
{
	size_t count = 0;
	size_t extra = 0;
	size_t n = 0;
	char **list;
	int err = 0;

	while (argv[count])
		count++;
	while (options && options[extra])
		extra++;
	list = calloc(count * (extra + 1) + 1, sizeof(*list));
	if (!list)
		return no_memory("template");
	for (size_t i = 0; i < count && !err; i++)
		err = add(argv[i], values, options, list, &n);
	if (err) {
		approach_argv_free(list);
		return err;
	}
	*ret = list;
	return 0;
}

void approach_argv_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

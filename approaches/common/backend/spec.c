/* SPDX-License-Identifier: Apache-2.0 */
/* The spec string: parses it and builds the pipeline; grammar in backend.h. */
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"
#include "memsync/backend.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEPTH_MAX = 16 /* nested specs; deeper is a mistake or an attack */
};

static int open_depth(const char *spec, int depth, struct ms_backend **ret);

/* A URI is short for the backend that it names, with that URI. */
static bool is_uri(const char *spec)
{
	return strstr(spec, "://") != NULL &&
	       strcspn(spec, ":") == (size_t)(strstr(spec, "://") - spec);
}

/* A configuration under construction: its memory and its type. */
struct build {
	const struct ms_backend_type *type;
	void *config;
	const char *spec; /* the whole text, for messages */
	int depth;
};

static struct ms_backend **child_slot(const struct build *build,
				      const struct ms_opt *opt)
{
	return (struct ms_backend **)(void *)((char *)build->config +
					      opt->offset);
}

static void close_children(const struct build *build)
{
	for (const struct ms_opt *o = build->type->options;
	     o && o->type != MS_OPT_T_END; o++)
		if (o->type == MS_OPT_T_BACKEND)
			ms_close(*child_slot(build, o));
}

static int set_pair(const struct build *build, const char *key,
		    const char *value)
{
	const struct ms_opt *opt = ms_opt_find(build->type->options, key);

	if (!opt)
		return ms_err(-EINVAL, "%s has no option \"%.80s\"",
			      build->type->name, key);
	if (opt->type != MS_OPT_T_BACKEND) {
		int rc = ms_opt_set(build->type->options, build->config, key,
				    value);
		return rc ? ms_err_add(rc, "%s", build->type->name) : 0;
	}
	struct ms_backend **slot = child_slot(build, opt);
	if (*slot)
		return ms_err(-EINVAL, "%s: %s is given twice",
			      build->type->name, key);
	return open_depth(value, build->depth + 1, slot);
}

/* The end of a value: a comma or the end, outside of parentheses. */
static size_t value_length(const char *text)
{
	int open = 0;
	size_t n = 0;

	for (; text[n]; n++) {
		open += text[n] == '(';
		if (text[n] == ')' && --open < 0)
			break;
		if (text[n] == ',' && open == 0)
			break;
	}
	return open > 0 ? (size_t)-1 : n;
}

/* The length of the group that begins at text[0] == '('. */
static size_t group_length(const char *text)
{
	int open = 0;
	size_t n = 0;

	do {
		open += text[n] == '(';
		open -= text[n] == ')';
		n++;
	} while (open > 0 && text[n]);
	return n;
}

/* Take parentheses off that enclose the whole value. */
static void strip_parens(char *value)
{
	size_t n = strlen(value);

	while (n >= 2 && value[0] == '(' && group_length(value) == n) {
		n -= 2;
		memmove(value, value + 1, n);
		value[n] = '\0';
	}
}

/* A key without a value: only flags may come so. */
static int set_bare(const struct build *build, const char *key)
{
	const struct ms_opt *opt = ms_opt_find(build->type->options, key);

	if (opt && opt->type != MS_OPT_T_FLAG)
		return ms_err(-EINVAL, "%s: %s needs a value",
			      build->type->name, key);
	return set_pair(build, key, "yes");
}

static int set_from_text(const struct build *build, const char *pair, size_t n)
{
	char *text = strndup(pair, n);
	int rc = 0;

	if (!text)
		return ms_err(-ENOMEM, "spec");
	char *value = strchr(text, '=');
	if (value == text)
		rc = ms_err(-EINVAL, "%s: \"%.80s\" has no key",
			    build->type->name, text);
	else if (!value)
		rc = set_bare(build, text);
	if (!value || value == text)
		goto out;
	*value++ = '\0';
	strip_parens(value);
	rc = set_pair(build, text, value);
out:
	free(text);
	return rc;
}

static int set_all(const struct build *build, const char *text)
{
	while (*text) {
		size_t n = value_length(text);
		if (n == (size_t)-1)
			return ms_err(
				-EINVAL,
				"a parenthesis is not closed in \"%.80s\"",
				text);
		if (n == 0 || text[n] == ')')
			return ms_err(-EINVAL, "\"%.80s\" is not key=value",
				      text);
		int rc = set_from_text(build, text, n);
		if (rc)
			return rc;
		text += n;
		if (*text == ',' && !*++text)
			return ms_err(-EINVAL, "\"%.200s\" ends in a comma",
				      build->spec);
	}
	return 0;
}

static int check_required(const struct build *build)
{
	for (const struct ms_opt *o = build->type->options;
	     o && o->type != MS_OPT_T_END; o++) {
		const void *const *field =
			(const void *const *)(const void *)((const char *)build
								    ->config +
							    o->offset);
		bool pointer = o->type == MS_OPT_T_BACKEND ||
			       o->type == MS_OPT_T_STRING;
		if (o->required && pointer && !*field)
			return ms_err(-EINVAL, "%s needs %s=%s",
				      build->type->name, o->name, o->meta);
	}
	return 0;
}

static int build_and_open(struct build *build, const char *options,
			  struct ms_backend **ret)
{
	build->config = calloc(1, build->type->config_size + 1);
	if (!build->config)
		return ms_err(-ENOMEM, "spec");
	int rc = ms_opt_defaults(build->type->options, build->config);
	if (rc == 0)
		rc = set_all(build, options);
	if (rc == 0)
		rc = check_required(build);
	if (rc == 0)
		rc = build->type->open(build->config, ret);
	if (rc)
		close_children(build);
	ms_opt_release(build->type->options, build->config);
	free(build->config);
	return rc;
}

static int open_named(const char *spec, int depth, struct ms_backend **ret)
{
	size_t n = strcspn(spec, ":");
	char name[32];

	if (n == 0 || n >= sizeof(name))
		return ms_err(-EINVAL, "\"%.80s\" is not a backend", spec);
	memcpy(name, spec, n);
	name[n] = '\0';
	struct build build = {.type = ms_backend_type_find(name),
			      .spec = spec,
			      .depth = depth};
	if (!build.type)
		return ms_err(-EINVAL, "there is no backend \"%s\"", name);
	return build_and_open(&build, spec[n] ? spec + n + 1 : "", ret);
}

/* What a URI is short for: "nbd", "nbds", with "+unix" or "+vsock", or ours. */
static const char *backend_of_uri(const char *uri)
{
	size_t n = strcspn(uri, "+:");

	if ((n == 3 || n == 4) && strncmp(uri, "nbds", n) == 0)
		return "nbd";
	return "remote";
}

static int open_uri(const char *uri, int depth, struct ms_backend **ret)
{
	char spec[1024];
	/* In parentheses: a comma in a URI does not begin another option. */
	int n = snprintf(spec, sizeof(spec), "%s:uri=(%s)", backend_of_uri(uri),
			 uri);

	if (n < 0 || (size_t)n >= sizeof(spec))
		return ms_err(-EINVAL, "the URI is too long");
	return open_named(spec, depth, ret);
}

static int open_depth(const char *spec, int depth, struct ms_backend **ret)
{
	if (depth > DEPTH_MAX)
		return ms_err(-EINVAL, "the spec is nested deeper than %d",
			      DEPTH_MAX);
	for (const char *p = spec; *p; p++)
		if (iscntrl((unsigned char)*p))
			return ms_err(-EINVAL,
				      "the spec contains a control character");
	*ret = NULL;
	int rc = is_uri(spec) ? open_uri(spec, depth, ret)
			      : open_named(spec, depth, ret);
	if (rc || !*ret)
		return rc;
	(*ret)->spec = strdup(spec);
	if ((*ret)->spec)
		return 0;
	ms_close(*ret);
	*ret = NULL;
	return ms_err(-ENOMEM, "spec");
}

int ms_open(const char *spec, struct ms_backend **ret)
{
	struct ms_backend *b = NULL;
	int rc = open_depth(spec, 0, &b);

	if (rc == 0)
		*ret = b;
	return rc;
}

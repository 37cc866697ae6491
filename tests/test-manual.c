/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memsync-pipelines(7) against the registry, in both directions: every backend
 * and every option of it is described, with its default and choices, in the
 * registry's order, and nothing is described that does not exist.
 */
#include "tests/check.h"

#include "approaches/common/backend/registry.h"

enum {
	LINES_MAX = 2000,
};

static char *lines[LINES_MAX];
static int count;

static void load(void)
{
	const char *top = getenv("TOP");
	char path[500];
	char *line = NULL;
	size_t room = 0;

	(void)snprintf(path, sizeof(path),
		       "%s/approaches/common/memsync-pipelines.7",
		       top ? top : ".");
	FILE *in = fopen(path, "re");
	if (!in) {
		(void)fprintf(stderr, "%s cannot be read\n", path);
		exit(1);
	}
	while (getline(&line, &room, in) > 0) {
		CHECK(count < LINES_MAX);
		line[strcspn(line, "\n")] = '\0';
		lines[count] = strdup(line);
		CHECK(lines[count++]);
	}
	free(line);
	CHECK_EQ(fclose(in), 0);
}

/* The next line from `at` on that begins so, before a line of `stop`. */
static int find(int at, const char *begin, const char *stop)
{
	for (; at < count; at++) {
		if (strncmp(lines[at], begin, strlen(begin)) == 0)
			return at;
		if (stop && strncmp(lines[at], stop, strlen(stop)) == 0)
			return -1;
	}
	return -1;
}

static void missing(const char *type, const char *option, const char *what)
{
	(void)fprintf(stderr, "memsync-pipelines(7): %s: %s: %s\n", type,
		      option, what);
	exit(1);
}

/* The lines from `from` to before `to` must have `text` in one of them. */
static void expect(int from, int to, const char *text, const char *type,
		   const char *option)
{
	for (int i = from; i < to; i++)
		if (strstr(lines[i], text))
			return;
	missing(type, option, text);
}

static void check_option(const char *type, const struct ms_opt *o, int from,
			 int to)
{
	char text[300] = "";

	if (o->type == MS_OPT_T_BACKEND || o->required) {
		expect(from, to, "Required.", type, o->name);
	} else if (o->def && *o->def) {
		(void)snprintf(text, sizeof(text), "Default: %s.", o->def);
		expect(from, to, text, type, o->name);
	} else if (o->type == MS_OPT_T_FLAG) {
		expect(from, to, "Default: no.", type, o->name);
	}
	for (int i = 0; o->choices && o->choices[i]; i++)
		expect(from, to, o->choices[i], type, o->name);
}

/* Returns the line behind the type's section. */
static int check_type(const struct ms_backend_type *t, int at)
{
	char text[100];

	at = find(at, ".Ss ", NULL);
	if (at < 0 || strcmp(lines[at] + 4, t->name) != 0)
		missing(t->name, "section", "not here, or out of order");
	at++;
	for (const struct ms_opt *o = t->options; o->type != MS_OPT_T_END;
	     o++) {
		int item = find(at, ".It Cm ", ".El");
		(void)snprintf(text, sizeof(text), ".It Cm %s Ns", o->name);
		if (item < 0 || strncmp(lines[item], text, strlen(text)) != 0)
			missing(t->name, o->name, "not here, or out of order");
		at = item + 1;
		int end = find(at, ".It ", ".El");
		if (end < 0)
			end = find(at, ".El", NULL);
		CHECK(end > 0);
		check_option(t->name, o, at, end);
	}
	if (find(at, ".It Cm ", ".El") >= 0)
		missing(t->name, lines[find(at, ".It Cm ", ".El")],
			"there is no such option");
	return at;
}

int main(void)
{
	int at = 0;

	load();
	for (size_t i = 0; ms_backend_types[i]; i++)
		at = check_type(ms_backend_types[i], at);
	if (find(at, ".Ss ", NULL) >= 0)
		missing(lines[find(at, ".Ss ", NULL)] + 4, "section",
			"there is no such backend");
	for (int i = 0; i < count; i++)
		free(lines[i]);
	return 0;
}

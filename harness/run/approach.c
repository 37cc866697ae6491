/* SPDX-License-Identifier: Apache-2.0 */
/* Approaches as data; see approach.h. Replacing {names} is in template.c. */
#include "harness/run/approach.h"

#include "approaches/common/util/err.h"
#include "harness/run/json.h"
#include "harness/run/no-memory.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse_command(const struct js *root, const char *key,
			 struct command *ret)
{
	static const char *const known[] = {"command", "ready", "port", NULL};
	char where[32];
	struct js at;
	size_t n = 0;
	int err;

	if (!js_has(root, key))
		return 0;
	(void)snprintf(where, sizeof(where), "%s.", key);
	err = js_object(root, key, where, &at);
	if (!err)
		err = js_known(&at, known);
	if (!err)
		err = js_texts(&at, "command", &ret->argv, &n);
	if (!err && !n)
		err = js_wrong(&at, "command", "a program and its arguments");
	if (!err)
		err = js_text(&at, "ready", &ret->ready);
	if (!err)
		err = js_count(&at, "port", 1, 65535, &ret->port);
	if (!err && !strcmp(key, "source") && !ret->ready == !ret->port)
		err = js_wrong(&at, "ready", "a text, or port a number");
	return err;
}

static int parse_files(const struct js *root, struct approach *a)
{
	json_t *files = json_object_get(root->object, "files");
	const char *key;
	json_t *value;
	size_t n = 0;

	if (!files)
		return 0;
	if (!json_is_object(files))
		return js_wrong(root, "files", "an object of texts");
	a->files = calloc(2 * json_object_size(files) + 1, sizeof(*a->files));
	if (!a->files)
		return no_memory(root->file);
	json_object_foreach(files, key, value)
	{
		if (!json_is_string(value) || strchr(key, '/'))
			return js_wrong(root, "files", "an object of texts");
		a->files[n++] = key;
		a->files[n++] = json_string_value(value);
	}
	return 0;
}

static int check_whole(const struct js *at, const struct approach *a)
{
	if (!a->name)
		return js_wrong(at, "name", "a name");
	if (!a->target.argv && !a->local.argv)
		return js_wrong(at, "target", "an object, or local does");
	if (a->source.argv && !a->target.argv)
		return js_wrong(at, "target", "an object, as there is source");
	if (a->timed && !a->output)
		return js_wrong(at, "output", "a text, as timed is true");
	return 0;
}

int approach_parse(const char *file, json_t *json, struct approach *ret)
{
	static const char *const known[] = {
		"name",	     "title",  "about",	 "variants", "needs",
		"workloads", "timed",  "source", "target",   "local",
		"files",     "output", NULL};
	struct js at = {.file = file, .where = "", .object = json};
	size_t n = 0;
	int err;

	*ret = (struct approach){.json = json_incref(json),
				 .file = strdup(file)};
	err = ret->file ? js_known(&at, known) : no_memory(file);
	if (!err)
		err = js_text(&at, "name", &ret->name);
	if (!err)
		err = js_text(&at, "title", &ret->title);
	if (!err)
		err = js_texts(&at, "variants", &ret->variants, &n);
	if (!err)
		err = js_texts(&at, "needs", &ret->needs, &n);
	if (!err)
		err = js_texts(&at, "workloads", &ret->workloads, &n);
	if (!err)
		err = js_flag(&at, "timed", &ret->timed);
	if (!err)
		err = js_text(&at, "output", &ret->output);
	if (!err)
		err = parse_command(&at, "source", &ret->source);
	if (!err)
		err = parse_command(&at, "target", &ret->target);
	if (!err)
		err = parse_command(&at, "local", &ret->local);
	if (!err)
		err = parse_files(&at, ret);
	return err ? err : check_whole(&at, ret);
}

void approach_release(struct approach *a)
{
	free(a->variants);
	free(a->needs);
	free(a->workloads);
	free(a->files);
	free(a->source.argv);
	free(a->target.argv);
	free(a->local.argv);
	free(a->file);
	json_decref(a->json);
	*a = (struct approach){0};
}

static int is_json(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');

	return e->d_name[0] != '.' && dot && !strcmp(dot, ".json");
}

static int load_one(const char *dir, const char *name, struct approaches *list)
{
	struct approach *a = &list->list[list->n];
	char path[PATH_MAX];
	json_t *json = NULL;
	int err;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	err = js_load(path, &json);
	if (err)
		return err;
	list->n++;
	err = json ? approach_parse(path, json, a) : -EINVAL;
	json_decref(json);
	for (size_t i = 0; !err && i + 1 < list->n; i++)
		if (!strcmp(list->list[i].name, a->name))
			err = ms_err(-EINVAL, "%s: name: %s has it too", path,
				     list->list[i].file);
	return err;
}

int approaches_load(const char *dir, struct approaches *ret)
{
	struct approaches list = {0};
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_json, alphasort);
	int err = n < 0 ? ms_err(-errno, "%s", dir) : 0;

	if (n > 0) {
		list.list = calloc((size_t)n, sizeof(*list.list));
		if (!list.list)
			err = no_memory(dir);
	}
	for (int i = 0; i < n; i++) {
		if (!err)
			err = load_one(dir, names[i]->d_name, &list);
		free(names[i]);
	}
	free(names);
	if (err)
		approaches_release(&list);
	else
		*ret = list;
	return err;
}

void approaches_release(struct approaches *list)
{
	for (size_t i = 0; i < list->n; i++)
		approach_release(&list->list[i]);
	free(list->list);
	*list = (struct approaches){0};
}

const struct approach *approach_find(const struct approaches *list,
				     const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcmp(list->list[i].name, name))
			return &list->list[i];
	return NULL;
}

bool approach_has_variant(const struct approach *a, const char *variant)
{
	if (!variant)
		return true;
	for (size_t i = 0; a->variants && a->variants[i]; i++)
		if (!strcmp(a->variants[i], variant))
			return true;
	return false;
}

/* Programs of ours are never taken from PATH: they could be older ones. */
int approach_program(const char *name, char *buf, size_t size)
{
	char path[4096];
	char *save = NULL;
	const char *env = getenv("PATH");

	if (strchr(name, '/')) {
		(void)snprintf(buf, size, "%s", name);
		return access(buf, X_OK)
			       ? ms_err(-ENOENT, "no program %s", name)
			       : 0;
	}
	if (!strncmp(name, "memsync-", 8)) {
		ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
		char *slash;

		path[n > 0 ? n : 0] = '\0';
		slash = strrchr(path, '/');
		if (!slash)
			return ms_err(-ENOENT, "/proc is not mounted");
		*slash = '\0';
		if (snprintf(buf, size, "%s/%s", path, name) >= (int)size ||
		    access(buf, X_OK))
			return ms_err(-ENOENT,
				      "not built yet: no %s beside "
				      "memsync-bench",
				      name);
		return 0;
	}
	(void)snprintf(path, sizeof(path), "%s",
		       env ? env : "/usr/local/bin:/usr/bin:/bin");
	for (char *dir = strtok_r(path, ":", &save); dir;
	     dir = strtok_r(NULL, ":", &save))
		if (snprintf(buf, size, "%s/%s", dir, name) < (int)size &&
		    !access(buf, X_OK))
			return 0;
	return ms_err(-ENOENT, "%s is not installed", name);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the data files of the harness, and loading all experiments. */
#include "harness/run/experiment.h"

#include "approaches/common/util/err.h"
#include "harness/run/json.h"
#include "harness/run/no-memory.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_folder(char *buf, size_t size, const char *dir, const char *name)
{
	int n = snprintf(buf, size, "%s/%s", dir, name);

	return n > 0 && (size_t)n < size && access(buf, R_OK | X_OK) == 0;
}

int harness_folder(const char *name, char *buf, size_t size)
{
	static const char *const places[] = {"harness", "share/memsync"};
	const char *env = getenv("MEMSYNC_HARNESS");
	char at[PATH_MAX] = "";
	char dir[PATH_MAX + 16];
	ssize_t n;

	if (env && *env)
		return is_folder(buf, size, env, name)
			       ? 0
			       : ms_err(-ENOENT, "MEMSYNC_HARNESS: %s/%s", env,
					name);
	n = readlink("/proc/self/exe", at, sizeof(at) - 1);
	at[n > 0 ? n : 0] = '\0';
	while (strrchr(at, '/')) {
		*strrchr(at, '/') = '\0';
		for (size_t i = 0; i < 2; i++) {
			(void)snprintf(dir, sizeof(dir), "%s/%s", at,
				       places[i]);
			if (is_folder(buf, size, dir, name))
				return 0;
		}
	}
	if (is_folder(buf, size, "harness", name))
		return 0;
	return ms_err(-ENOENT,
		      "the folder %s of the harness is neither beside the "
		      "program nor installed; MEMSYNC_HARNESS can name it",
		      name);
}

static int is_json(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');

	return e->d_name[0] != '.' && dot && !strcmp(dot, ".json");
}

static bool wanted(const char *const *only, const char *name)
{
	for (size_t i = 0; only && only[i]; i++)
		if (!strcmp(only[i], name))
			return true;
	return !only || !only[0];
}

/* Every set of the file must parse, whichever is asked for. */
static int check_sets(const char *path, const json_t *json)
{
	const json_t *sets = json_object_get(json, "sets");
	struct js at = {.file = path, .where = "sets.", .object = sets};
	int err = 0;

	if (sets && !json_is_object(sets))
		return ms_err(-EINVAL, "%s: sets: takes an object", path);
	if (sets)
		err = js_known(&at, experiment_sets);
	for (size_t i = 0; experiment_sets[i] && !err; i++) {
		struct experiment e = {0};

		err = experiment_parse(path, json, experiment_sets[i], &e);
		if (err == -ENOENT)
			err = 0;
		else if (err)
			err = ms_err_add(err, "set %s", experiment_sets[i]);
		experiment_release(&e);
	}
	return err;
}

static int load_one(const char *path, const char *set, const char *const *only,
		    struct experiments *list)
{
	struct experiment *e = &list->list[list->n];
	json_t *json = NULL;
	int err = js_load(path, &json);

	if (err || !json)
		return err;
	err = check_sets(path, json);
	if (!err)
		err = experiment_parse(path, json, set, e);
	/* Named by hand, it need not be part of the set. */
	if (err == -ENOENT && only && only[0]) {
		experiment_release(e);
		err = experiment_parse(path, json, NULL, e);
	}
	json_decref(json);
	if (!err && wanted(only, e->name)) {
		list->n++;
		return 0;
	}
	experiment_release(e);
	return err == -ENOENT ? 0 : err;
}

static int order_of(const struct experiment *e)
{
	return (int)json_integer_value(json_object_get(e->json, "order"));
}

static int by_order(const void *a, const void *b)
{
	int x = order_of(a);
	int y = order_of(b);

	if (x != y)
		return x < y ? -1 : 1;
	return strcmp(((const struct experiment *)a)->name,
		      ((const struct experiment *)b)->name);
}

static int all_found(const struct experiments *list, const char *const *only)
{
	for (size_t i = 0; only && only[i]; i++) {
		size_t k = 0;

		while (k < list->n && strcmp(list->list[k].name, only[i]) != 0)
			k++;
		if (k == list->n)
			return ms_err(-EINVAL,
				      "there is no figure \"%.60s\" "
				      "(memsync-bench list shows them)",
				      only[i]);
	}
	for (size_t i = 1; i < list->n; i++)
		if (!strcmp(list->list[i - 1].name, list->list[i].name))
			return ms_err(-EINVAL, "%s: name: %s has it too",
				      list->list[i].file,
				      list->list[i - 1].file);
	return 0;
}

int experiments_load(const char *dir, const char *set, const char *const *only,
		     struct experiments *ret)
{
	struct experiments list = {0};
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_json, alphasort);
	int err = n < 0 ? ms_err(-errno, "%s", dir) : 0;

	if (n > 0) {
		list.list = calloc((size_t)n, sizeof(*list.list));
		if (!list.list)
			err = no_memory(dir);
	}
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/%s", dir,
			       names[i]->d_name);
		if (!err)
			err = load_one(path, set, only, &list);
		free(names[i]);
	}
	free(names);
	if (!err && list.n)
		qsort(list.list, list.n, sizeof(*list.list), by_order);
	if (!err)
		err = all_found(&list, only);
	if (err) {
		experiments_release(&list);
		return err;
	}
	*ret = list;
	return 0;
}

void experiments_release(struct experiments *list)
{
	for (size_t i = 0; i < list->n; i++)
		experiment_release(&list->list[i]);
	free(list->list);
	*list = (struct experiments){0};
}

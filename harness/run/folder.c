/* SPDX-License-Identifier: Apache-2.0 */
/* Result folders; see folder.h. */
#include "harness/run/folder.h"

#include "approaches/common/util/err.h"
#include "harness/run/json.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"
#include "harness/run/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define PLAN_VERSION 1

static json_t *hash_of(const json_t *j)
{
	char *text = json_dumps(j, JSON_SORT_KEYS | JSON_COMPACT);
	char hex[24];

	if (!text)
		return NULL;
	(void)snprintf(hex, sizeof(hex), "%016" PRIx64,
		       (uint64_t)XXH3_64bits(text, strlen(text)));
	free(text);
	return json_string(hex);
}

json_t *folder_plan(const struct experiments *e, const struct approaches *a,
		    const char *placement, uint64_t seed)
{
	json_t *experiments = json_array();
	json_t *approaches = json_array();
	json_t *places = places_json(e);
	json_t *j;

	for (size_t i = 0; i < e->n; i++)
		(void)json_array_append(experiments, e->list[i].json);
	for (size_t i = 0; i < a->n; i++)
		(void)json_array_append(approaches, a->list[i].json);
	j = json_pack("{s:i,s:s,s:s,s:I,s:o,s:o}", "plan_version", PLAN_VERSION,
		      "version", MS_VERSION, "placement", placement,
		      "order_seed", (json_int_t)seed, "experiments",
		      experiments, "approaches", approaches);
	/* Only where there are some, so that other plans keep their ids. */
	if (j && json_object_size(places))
		(void)json_object_set(j, "places", places);
	json_decref(places);
	if (j && json_object_set_new(j, "id", hash_of(j))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static const char *id_of(const json_t *plan)
{
	const char *id = json_string_value(json_object_get(plan, "id"));

	return id ? id : "";
}

/* Whether DIR has this plan: 1, 0 another one, -ENOENT none. */
static int same_plan(const char *dir, const json_t *plan)
{
	char path[PATH_MAX];
	json_t *there = NULL;
	int same;

	(void)snprintf(path, sizeof(path), "%s/" PLAN_FILE, dir);
	if (access(path, F_OK))
		return -ENOENT;
	same = js_load(path, &there);
	if (same)
		return same;
	same = !strcmp(id_of(there), id_of(plan));
	json_decref(there);
	return same;
}

/* How many runs of the plan have no rows in DIR. */
static long left_in(const char *dir, struct plan *plan)
{
	struct table *t = table_new();
	char path[PATH_MAX];
	long left;
	int err = 0;

	if (!t)
		return no_memory(dir);
	(void)snprintf(path, sizeof(path), "%s/" CSV_FILE, dir);
	if (!access(path, F_OK))
		err = table_load(t, dir);
	left = err ? err : plan_mark_done(plan, t);
	table_free(t);
	return left;
}

static int newest_first(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*b)->d_name, (*a)->d_name);
}

static int starts_with_digit(const struct dirent *e)
{
	return e->d_name[0] >= '0' && e->d_name[0] <= '9';
}

/* The newest unfinished folder of the same plan, NULL if there is none. */
static char *find_unfinished(const char *results, const json_t *plan_json,
			     struct plan *plan)
{
	struct dirent **names = NULL;
	char *found = NULL;
	int n = scandir(results, &names, starts_with_digit, newest_first);

	for (int i = 0; i < n; i++) {
		char *dir = NULL;

		if (!found &&
		    asprintf(&dir, "%s/%s", results, names[i]->d_name) >= 0) {
			if (same_plan(dir, plan_json) == 1 &&
			    left_in(dir, plan) > 0)
				found = dir;
			else
				free(dir);
		}
		free(names[i]);
	}
	free(names);
	return found;
}

static int write_plan(const char *dir, const json_t *plan)
{
	char *text = json_dumps(plan, JSON_INDENT(2));
	int err = text ? scratch_write(dir, PLAN_FILE, text) : no_memory(dir);

	free(text);
	return err;
}

static int make_folders(const char *path)
{
	char *copy = strdup(path);
	int err = copy ? 0 : -ENOMEM;

	for (char *c = copy ? copy + 1 : NULL; c && *c && !err; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			err = -errno;
		*c = '/';
	}
	if (!err && mkdir(path, 0755))
		err = -errno;
	free(copy);
	return err;
}

/* A new folder called by this second; -EEXIST if there is one. */
static int make_now(const char *results, const char *set, char **ret)
{
	time_t now = time(NULL);
	char *dir = NULL;
	char when[32];
	struct tm tm;
	int err;

	if (!localtime_r(&now, &tm) ||
	    !strftime(when, sizeof(when), "%Y%m%d-%H%M%S", &tm))
		return ms_err(-EOVERFLOW, "the clock");
	if (asprintf(&dir, "%s/%s-%s", results, when, set) < 0)
		return no_memory(results);
	err = make_folders(dir);
	if (err) {
		(void)ms_err(err, "%s", dir);
		free(dir);
		return err;
	}
	*ret = dir;
	return 0;
}

static int make_new(const char *results, const char *set, char **ret)
{
	static const struct timespec second = {.tv_sec = 1};
	int err = make_now(results, set, ret);

	for (int i = 0; i < 5 && err == -EEXIST; i++) {
		(void)nanosleep(&second, NULL);
		err = make_now(results, set, ret);
	}
	return err;
}

/* Take a folder that was named: new, or with the same plan. */
static int take_named(const char *dir, const json_t *plan_json,
		      struct folder *f)
{
	int same = same_plan(dir, plan_json);
	int err = 0;

	if (same == 0)
		return ms_err(-EINVAL,
			      "%s: was measured by another plan (other "
			      "figures, options or version): name a new folder",
			      dir);
	if (same < 0 && same != -ENOENT)
		return same;
	f->dir = strdup(dir);
	f->resumed = same == 1;
	if (!f->dir)
		return no_memory(dir);
	if (f->resumed)
		return 0;
	err = make_folders(dir);
	if (err == -EEXIST) {
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/" CSV_FILE, dir);
		err = access(path, F_OK) ? 0 : -EEXIST;
	}
	return err ? ms_err(err, "%s", dir) : 0;
}

static int find_dir(const char *results, const char *dir, const char *set,
		    const json_t *plan_json, struct plan *plan,
		    struct folder *f)
{
	if (dir)
		return take_named(dir, plan_json, f);
	f->dir = find_unfinished(results, plan_json, plan);
	f->resumed = f->dir != NULL;
	return f->dir ? 0 : make_new(results, set, &f->dir);
}

int folder_open(const char *results, const char *dir, const char *set,
		const json_t *plan_json, struct plan *plan, struct folder *ret)
{
	long left = 0;
	int err;

	*ret = (struct folder){.dir = NULL};
	err = find_dir(results, dir, set, plan_json, plan, ret);
	if (!err)
		err = csv_open(ret->dir, CSV_SYNC, &ret->csv);
	if (!err && !ret->resumed)
		err = write_plan(ret->dir, plan_json);
	if (!err)
		left = left_in(ret->dir, plan);
	if (err || left < 0) {
		(void)csv_close(ret->csv);
		free(ret->dir);
		*ret = (struct folder){.dir = NULL};
		return err ? err : (int)left;
	}
	for (size_t n = strlen(ret->dir); n > 1 && ret->dir[n - 1] == '/';)
		ret->dir[--n] = '\0';
	ret->name = strrchr(ret->dir, '/');
	ret->name = ret->name ? ret->name + 1 : ret->dir;
	return 0;
}

int folder_absolute(const struct folder *f, char *buf, size_t size)
{
	char path[PATH_MAX];

	if (!realpath(f->dir, path) || strlen(path) >= size)
		return ms_err(-errno, "%s", f->dir);
	(void)snprintf(buf, size, "%s", path);
	return 0;
}

int folder_close(struct folder *f, bool keep)
{
	int err = csv_close(f->csv);

	if (!keep && !f->resumed && f->dir)
		scratch_remove(f->dir);
	free(f->dir);
	*f = (struct folder){0};
	return err;
}

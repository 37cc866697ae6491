/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and reads a result folder, and draws its figures; see result.h. */
#include "harness/report/result.h"

#include "approaches/common/util/err.h"
#include "harness/report/draw.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STYLE "common/style.gp"

static bool is_plots_dir(struct arena *a, const char *dir)
{
	char *path = arena_printf(a, "%s/" STYLE, dir);

	return path && access(path, R_OK) == 0;
}

/*
 * The scripts are beside the sources (plots/ in one of the folders above the
 * program), installed (share/memsync/plots), or here.
 */
static char *find_plots(struct arena *a)
{
	static const char *const places[] = {"plots", "share/memsync/plots"};
	const char *env = getenv("MEMSYNC_PLOTS");
	char at[PATH_MAX] = "";
	ssize_t n;

	if (env && *env)
		return arena_copy(a, env, strlen(env));
	if (is_plots_dir(a, "plots"))
		return arena_copy(a, "plots", strlen("plots"));
	n = readlink("/proc/self/exe", at, sizeof(at) - 1);
	at[n > 0 ? n : 0] = '\0';
	while (strrchr(at, '/')) {
		*strrchr(at, '/') = '\0';
		for (size_t i = 0; i < 2; i++) {
			char *dir = arena_printf(a, "%s/%s", at, places[i]);

			if (dir && is_plots_dir(a, dir))
				return dir;
		}
	}
	return NULL;
}

static bool newer(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec
				      : a->tv_nsec > b->tv_nsec;
}

/* The folder in `results` whose runs.csv was written last; NULL: none. */
static char *newest(struct arena *a, const char *results)
{
	struct timespec best = {0};
	struct dirent *e = NULL;
	char *found = NULL;
	DIR *d = opendir(results);

	while (d && (e = readdir(d))) {
		char *path = NULL;
		struct stat st;

		if (e->d_name[0] == '.' || !strcmp(e->d_name, "reference"))
			continue;
		path = arena_printf(a, "%s/%s/" CSV_FILE, results, e->d_name);
		if (!path || stat(path, &st) || !S_ISREG(st.st_mode))
			continue;
		if (found && !newer(&st.st_mtim, &best))
			continue;
		best = st.st_mtim;
		*strrchr(path, '/') = '\0';
		found = path;
	}
	if (d)
		(void)closedir(d);
	return found;
}

static int find_result(struct result *r, const char *dir)
{
	struct stat st;
	char *beside = NULL;

	if (dir) {
		if (stat(dir, &st))
			return ms_err(-errno, "%s", dir);
		if (!S_ISDIR(st.st_mode))
			return ms_err(-ENOTDIR, "%s", dir);
		r->dir = arena_copy(&r->arena, dir, strlen(dir));
		if (!r->dir)
			return -ENOMEM;
		/* "x/" and "x" are the same folder, and "" is none. */
		for (size_t n = strlen(dir); n > 1 && r->dir[n - 1] == '/';)
			r->dir[--n] = '\0';
		return 0;
	}
	r->dir = newest(&r->arena, "results");
	if (!r->dir) {
		beside = arena_printf(&r->arena, "%s/../results", r->plots_dir);
		r->dir = beside ? newest(&r->arena, beside) : NULL;
	}
	if (!r->dir)
		return ms_err(-ENOENT, "no run in results/; name a folder, or "
				       "run `make bench` first");
	return 0;
}

int result_open(struct result *r, const char *dir, const char *plots_dir)
{
	int err;

	*r = (struct result){0};
	r->plots_dir =
		plots_dir ? arena_copy(&r->arena, plots_dir, strlen(plots_dir))
			  : find_plots(&r->arena);
	if (!r->plots_dir)
		return ms_err(-ENOENT, "the folder plots/ of memsync is "
				       "neither here nor beside the program; "
				       "name it with --plots");
	if (!is_plots_dir(&r->arena, r->plots_dir))
		return ms_err(-ENOENT, "%s: no %s in it", r->plots_dir, STYLE);
	err = find_result(r, dir);
	if (err)
		return err;
	err = figures_load(&r->arena, r->plots_dir, &r->figures);
	if (err)
		return err;
	r->table = table_new();
	if (!r->table)
		return ms_err(-ENOMEM, "%s", r->dir);
	return table_load(r->table, r->dir);
}

void result_release(struct result *r)
{
	table_free(r->table);
	arena_free(&r->arena);
	*r = (struct result){0};
}

int result_draw(struct result *r)
{
	char *out = arena_printf(&r->arena, "%s/plots", r->dir);

	if (!out)
		return -ENOMEM;
	draw_catch_signals();
	for (size_t i = 0; i < r->figures.n; i++) {
		struct selection s = {0};
		const struct figure *f = &r->figures.list[i];
		int err = selection_make(&r->arena, f, r->table, &s);

		if (err)
			return ms_err(err, "plots: %s", f->id);
		err = draw_figure(&s, r->plots_dir, out);
		selection_release(&s);
		if (err)
			return err;
	}
	return 0;
}

int result_command(const struct ms_opt_command *command, int argc, char **argv,
		   int (*work)(struct result *r))
{
	struct result_options o = {0};
	struct ms_opt_result parsed = {0};
	struct result r = {0};
	int err = ms_opt_parse(command, &o, argc, argv, &parsed);

	if (err)
		return err > 0 ? 0 : 2;
	if (parsed.dump_config) {
		ms_opt_dump(command->table, &o, stdout);
		ms_opt_release(command->table, &o);
		return 0;
	}
	err = result_open(&r, argv[parsed.first_operand], o.plots);
	if (!err)
		err = result_draw(&r);
	if (!err)
		err = work(&r);
	if (err)
		(void)fprintf(stderr, "%s: %s\n", command->program,
			      ms_err_text());
	result_release(&r);
	ms_opt_release(command->table, &o);
	return err ? 1 : 0;
}

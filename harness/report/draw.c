/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the files of a figure and runs gnuplot; see draw.h. */
#include "harness/report/draw.h"

#include "approaches/common/util/err.h"
#include "harness/util/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* gnuplot needs a fraction of a second; a hanging one is an error. */
#define GNUPLOT_SECONDS 60

/* The picture being written; "" if there is none. Read by the handler. */
static char pending[PATH_MAX];

static void on_signal(int number)
{
	if (pending[0])
		(void)unlink(pending);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

void draw_catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction old;
	struct sigaction act = {.sa_handler = on_signal,
				.sa_flags = SA_NODEFER};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!sigaction(numbers[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &act, NULL);
}

static int make_dir(const char *path)
{
	if (mkdir(path, 0777) && errno != EEXIST)
		return ms_err(-errno, "plots: create %s", path);
	return 0;
}

/* Open, let one of draw_data and draw_vars write, close, report. */
static int write_file(const struct selection *s, const char *path,
		      const char *data_path)
{
	FILE *out = fopen(path, "we");
	int r;

	if (!out)
		return ms_err(-errno, "plots: open %s", path);
	r = data_path ? draw_vars(s, data_path, out) : draw_data(s, out);
	if (ferror(out) && !r)
		r = -EIO;
	if (fclose(out) && !r)
		r = -errno;
	return r ? ms_err(r, "plots: write %s", path) : 0;
}

/* A text as gnuplot reads it within single quotes. */
static char *quoted(struct arena *a, const char *text)
{
	char *copy = arena_alloc(a, 2 * strlen(text) + 3, 1);
	char *at = copy;

	if (!copy)
		return NULL;
	*at++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			*at++ = '\'';
		*at++ = *text;
	}
	*at = '\'';
	return copy;
}

static int run_gnuplot(const char *script, const char *set)
{
	char said[512];
	const char *argv[] = {"gnuplot", "-d", "-e", set, script, NULL};
	int r = spawn_wait(argv, SPAWN_STDERR, GNUPLOT_SECONDS, said,
			   sizeof(said));

	if (r == -ENOENT)
		return ms_err(r, "plots: gnuplot is not installed "
				 "(apt-get install gnuplot-nox)");
	if (r < 0)
		return ms_err_add(r, "plots");
	/* Warnings mean a figure that is not what it should be. */
	if (r == 0 && !said[0])
		return 0;
	for (char *c = said; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	return ms_err(-EIO, "plots: gnuplot %s (exit %d): %s", script, r, said);
}

/* plots_dir/ID.gp as DIR/ID.TYPE */
static int draw_one(const struct selection *s, const char *plots_dir,
		    const char *dir, const char *type)
{
	const char *id = s->figure->id;
	struct arena *a = s->arena;
	char *path = arena_printf(a, "%s/%s.%s", dir, id, type);
	char *tmp = arena_printf(a, "%s/.%s.%s.new", dir, id, type);
	char *vars = arena_printf(a, "%s/data/%s.vars.gp", dir, id);
	char *set = NULL;
	int r;

	if (!path || !tmp || !vars)
		return -ENOMEM;
	if (strlen(tmp) >= sizeof(pending))
		return ms_err(-ENAMETOOLONG, "plots: %s", tmp);
	plots_dir = quoted(a, plots_dir);
	vars = quoted(a, vars);
	set = quoted(a, tmp);
	if (!plots_dir || !vars || !set)
		return -ENOMEM;
	set = arena_printf(a, "terminal='%s'; plots=%s; output=%s; load %s",
			   type, plots_dir, set, vars);
	if (!set)
		return -ENOMEM;
	memcpy(pending, tmp, strlen(tmp) + 1);
	r = run_gnuplot(s->figure->script, set);
	if (!r && rename(tmp, path))
		r = ms_err(-errno, "plots: write %s", path);
	if (r)
		(void)unlink(tmp);
	pending[0] = '\0';
	return r;
}

static int remove_old(const struct selection *s, const char *dir)
{
	static const char *const parts[][2] = {{"", ".svg"},
					       {"", ".png"},
					       {"data/", ".dat"},
					       {"data/", ".vars.gp"}};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s%s%s", dir,
			       parts[i][0], s->figure->id, parts[i][1]);
		if (unlink(path) && errno != ENOENT)
			return ms_err(-errno, "plots: remove %s", path);
	}
	return 0;
}

int draw_figure(const struct selection *s, const char *plots_dir,
		const char *dir)
{
	const char *id = s->figure->id;
	char *sub = arena_printf(s->arena, "%s/data", dir);
	char *data = arena_printf(s->arena, "%s/data/%s.dat", dir, id);
	char *vars = arena_printf(s->arena, "%s/data/%s.vars.gp", dir, id);
	int r;

	if (!sub || !data || !vars)
		return -ENOMEM;
	r = make_dir(dir);
	r = r ? r : make_dir(sub);
	if (r || !s->n)
		return r ? r : remove_old(s, dir);
	r = write_file(s, data, NULL);
	r = r ? r : write_file(s, vars, data);
	r = r ? r : draw_one(s, plots_dir, dir, "svg");
	return r ? r : draw_one(s, plots_dir, dir, "png");
}

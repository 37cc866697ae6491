/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench report`: draw the figures of a result folder and write one
 * page, report.html, that needs nothing else to be read.
 */
#include "harness/cmd.h"
#include "harness/report/page.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/record/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_FILE "report.html"

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct result_options, plots, "plots", 'p', NULL, "DIR",
		      "folder with the figures' scripts"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = "memsync-bench report",
	.synopsis = "[OPTIONS] [RESULT-DIR]",
	.summary = "Write report.html of a run, with its figures drawn anew.",
	.epilogue = "Without RESULT-DIR the newest run in results/ is taken.",
	.table = options,
	.operands_max = 1,
};

typedef int (*part_fn)(const struct page *p);

static int write_parts(const struct page *p)
{
	static const part_fn parts[] = {
		page_head,     page_headline, page_figures,  page_gaps,
		page_warnings, page_env,      page_reproduce};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int r = parts[i](p);

		if (r == -ENOMEM)
			return ms_err(r, "report");
		if (r)
			return r;
	}
	return ferror(p->out) ? ms_err(-EIO, "report: write") : 0;
}

/* Write beside the page and rename, so that a reader never sees a half. */
static int write_page(struct page *p)
{
	const char *dir = p->result->dir;
	char *path = arena_printf(p->arena, "%s/" PAGE_FILE, dir);
	char *tmp = arena_printf(p->arena, "%s/." PAGE_FILE ".new", dir);
	int r;

	if (!path || !tmp)
		return ms_err(-ENOMEM, "report");
	p->out = fopen(tmp, "we");
	if (!p->out)
		return ms_err(-errno, "report: open %s", tmp);
	r = write_parts(p);
	if (fclose(p->out) && !r)
		r = ms_err(-errno, "report: write %s", tmp);
	if (!r && rename(tmp, path))
		r = ms_err(-errno, "report: write %s", path);
	if (r)
		(void)unlink(tmp);
	else
		(void)printf("%s\n", path);
	return r;
}

/* NULL if there is none or it is not JSON; the page says so. */
static json_t *load_env(struct result *r, const char *name)
{
	char *path = arena_printf(&r->arena, "%s/%s", r->dir, name);
	json_error_t error;

	return path ? json_load_file(path, JSON_REJECT_DUPLICATES, &error)
		    : NULL;
}

static const char *run_name(struct result *r)
{
	char *real = realpath(r->dir, NULL);
	const char *slash = real ? strrchr(real, '/') : NULL;
	const char *name = slash && slash[1] ? slash + 1 : "this run";

	name = arena_copy(&r->arena, name, strlen(name));
	free(real);
	return name;
}

static int make_report(struct result *r)
{
	size_t n = r->figures.n;
	struct selection *s = arena_alloc(&r->arena, n, sizeof(*s));
	struct page p = {.arena = &r->arena, .result = r, .figures = s};
	json_t *env = NULL;
	json_t *env_vm = NULL;
	int err = 0;

	if (!s)
		return ms_err(-ENOMEM, "report");
	env = load_env(r, ENV_FILE);
	env_vm = load_env(r, ENV_VM_FILE);
	p.env = json_is_object(env) ? env : NULL;
	p.env_vm = json_is_object(env_vm) ? env_vm : NULL;
	p.name = run_name(r);
	for (size_t i = 0; !err && i < n; i++) {
		err = selection_make(&r->arena, &r->figures.list[i], r->table,
				     &s[i]);
		if (err)
			err = ms_err(err, "report: %s", r->figures.list[i].id);
	}
	if (!err)
		err = p.name ? write_page(&p) : ms_err(-ENOMEM, "report");
	for (size_t i = 0; i < n; i++)
		selection_release(&s[i]);
	json_decref(env);
	json_decref(env_vm);
	return err;
}

int cmd_report(int argc, char **argv)
{
	return result_command(&command, argc, argv, make_report);
}

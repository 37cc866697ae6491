/* SPDX-License-Identifier: Apache-2.0 */
/* Programs timed by hyperfine; see timed.h. */
#include "harness/run/timed.h"

#include "approaches/common/util/err.h"
#include "harness/record/hyperfine.h"
#include "harness/run/scratch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS "hyperfine.json"

/* Quote one argument for hyperfine's own word splitting (as in a shell). */
static void quote(FILE *out, const char *text)
{
	(void)fputc('\'', out);
	for (; *text; text++) {
		if (*text == '\'')
			(void)fputs("'\\''", out);
		else
			(void)fputc(*text, out);
	}
	(void)fputc('\'', out);
}

static char *one_line(const char *program, char *const *argv)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	quote(out, program);
	for (size_t i = 1; argv[i]; i++) {
		(void)fputc(' ', out);
		quote(out, argv[i]);
	}
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

int timed_wrap(const char *dir, char program[EXECUTE_PATH_MAX], char ***argv)
{
	const char *fixed[] = {"hyperfine",    "--shell=none",
			       "--runs=1",     "--ignore-failure",
			       "--style=none", "--export-json"};
	size_t n = sizeof(fixed) / sizeof(*fixed);
	char **list = calloc(n + 3, sizeof(*list));
	int err = list ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !err; i++) {
		list[i] = strdup(fixed[i]);
		err = list[i] ? 0 : -ENOMEM;
	}
	if (!err && asprintf(&list[n], "%s/" NUMBERS, dir) < 0)
		err = -ENOMEM;
	if (!err) {
		list[n + 1] = one_line(program, *argv);
		err = list[n + 1] ? 0 : -ENOMEM;
	}
	if (!err)
		err = approach_program("hyperfine", program, EXECUTE_PATH_MAX);
	else
		err = ms_err(err, "hyperfine");
	if (err) {
		approach_argv_free(list);
		return err;
	}
	approach_argv_free(*argv);
	*argv = list;
	return 0;
}

struct taken {
	double total_ms;
	char reason[200];
};

static int take(void *arg, const struct row *row)
{
	struct taken *t = arg;

	if (row->status == ROW_OK)
		t->total_ms = row->value;
	else
		(void)snprintf(t->reason, sizeof(t->reason), "%s", row->reason);
	return 0;
}

void timed_result(struct execution *x)
{
	struct run_rows *r = x->rows;
	struct taken t = {.total_ms = -1};
	char path[EXECUTE_PATH_MAX];
	char *output = NULL;
	struct row base = r->base;
	int err;

	base.repetition = 0;
	base.verified = 1;
	base.bytes_done = x->run->cell->size;
	(void)snprintf(path, sizeof(path), "%s/" NUMBERS, x->dir);
	err = hyperfine_rows(path, &base, take, &t);
	if (err) {
		rows_status(r, ROW_FAILED, "%s", ms_err_text());
		return;
	}
	if (t.total_ms < 0) {
		rows_status(r, ROW_FAILED, "%s", t.reason);
		return;
	}
	err = approach_text(x->approach->output, x->values, &output);
	if (!err)
		err = scratch_same(output, x->run->cell->e->data);
	free(output);
	if (err) {
		rows_status(r, ROW_FAILED, "%s", ms_err_text());
		return;
	}
	r->base.status = ROW_OK;
	r->base.verified = 1;
	r->base.bytes_done = x->run->cell->size;
	rows_add(r, "total_ms", t.total_ms);
	/* Before the copy is whole, nothing of it can be relied on. */
	if (!strcmp(x->run->cell->e->workload, "first-access"))
		rows_add(r, "first_access_us", t.total_ms * 1e3);
	rows_add(r, "read_open_mib_s",
		 (double)x->run->cell->size / 0x1p20 / (t.total_ms / 1e3));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring in the VM; see vm-part.h. */
#include "harness/run/vm-part.h"

#include "approaches/common/util/err.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"
#include "harness/vm/vm.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_CANNOT 77
/* A guest that dies again and again is no place to measure. */
#define GUESTS_MAX 4

struct part {
	const struct session *s;
	const char *dir;
	const json_t *plan_json;
	struct plan *plan;
	int stop_fd;
	struct vm_result vm;
	char why[256]; /* of the last guest that failed */
};

/* The arguments once more, and where to go on. The caller frees the list. */
static const char **inner_command(const struct part *p, char *self,
				  char *result, char *where)
{
	const char **argv = calloc((size_t)p->s->argc + 4, sizeof(*argv));
	size_t n = 0;

	if (!argv)
		return NULL;
	argv[n++] = self;
	for (int i = 0; i < p->s->argc; i++)
		argv[n++] = p->s->argv[i];
	argv[n++] = result;
	argv[n++] = where;
	return argv;
}

static int run_guest(struct part *p)
{
	bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	const char *const shares[] = {p->dir, NULL};
	char console[PATH_MAX + 32];
	char self[PATH_MAX] = "";
	char result[PATH_MAX + 16];
	char *places = places_text(p->s->experiments);
	char *where = NULL;
	const char **argv = NULL;
	struct vm_config config = {.shares = shares,
				   .in = terminal ? STDIN_FILENO : -1,
				   .out = STDOUT_FILENO,
				   .err = STDERR_FILENO,
				   .terminal = terminal,
				   .console = console,
				   .stop_fd = p->stop_fd};
	int err = 0;

	(void)snprintf(console, sizeof(console), "%s/log", p->dir);
	(void)mkdir(console, 0755); /* open says what is wrong with it */
	(void)snprintf(console, sizeof(console), "%s/log/vm-console.log",
		       p->dir);
	(void)snprintf(result, sizeof(result), "--result=%s", p->dir);
	if (!places || asprintf(&where, "--where=%s", places) < 0) {
		where = NULL;
		err = no_memory("vm");
	}
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		err = ms_err(-errno, "/proc/self/exe");
	if (!err) {
		argv = inner_command(p, self, result, where);
		err = argv ? 0 : no_memory("vm");
	}
	config.argv = argv;
	if (!err)
		err = vm_run(&config, &p->vm);
	free(argv);
	free(where);
	free(places);
	return err;
}

/* One row that stands for a run that the VM did not make. */
static int note_run(struct csv *csv, const struct plan_run *run,
		    const char *run_id, enum row_status status,
		    const char *reason)
{
	struct row row;

	plan_row(run, &row);
	row.run_id = run_id;
	row.status = (int)status;
	row.reason = reason;
	return csv_append(csv, &row, 1);
}

/*
 * Note the run in which the guest died (the first one without rows) as failed,
 * or, without a VM, all of them as skipped. Returns how many are left.
 */
static long note(struct part *p, bool all)
{
	struct folder f = {0};
	long left = 0;
	int err = folder_open(p->s->results, p->dir, p->s->set, p->plan_json,
			      p->plan, &f);

	for (size_t i = 0; i < p->plan->n && !err; i++) {
		struct plan_run *run = &p->plan->runs[i];

		if (run->done || run->warmup || !run->elsewhere)
			continue;
		err = note_run(f.csv, run, f.name,
			       all ? ROW_SKIPPED : ROW_FAILED, p->why);
		run->done = true;
		if (!all)
			break;
	}
	left = (long)plan_left_elsewhere(p->plan);
	if (f.csv && folder_close(&f, true) && !err)
		err = -EIO;
	return err ? err : left;
}

static void say_guest_failed(const struct part *p, int err)
{
	bool console = (err == -EIO || err == -ETIMEDOUT) && p->vm.console[0];

	(void)fprintf(stderr, "memsync-bench: %s\n", p->why);
	if (console)
		(void)fprintf(stderr,
			      "--- the end of the guest's console (all of it: "
			      "%s/log/vm-console.log)\n%s\n---\n",
			      p->dir, p->vm.console);
}

static int exit_code(const struct part *p)
{
	if (WIFSIGNALED(p->vm.status))
		return 128 + WTERMSIG(p->vm.status);
	return WEXITSTATUS(p->vm.status);
}

/* One guest; true if another one should go on. */
static bool one_guest(struct part *p, int *ret_code)
{
	int err = run_guest(p);
	long left;

	if (!err) {
		*ret_code = exit_code(p);
		return false;
	}
	(void)snprintf(p->why, sizeof(p->why), "%s", ms_err_text());
	*ret_code = err == -EOPNOTSUPP ? EXIT_CANNOT : 1;
	if (err == -EINTR) {
		*ret_code = p->vm.signal ? 128 + p->vm.signal : 1;
		return false;
	}
	say_guest_failed(p, err);
	if (err != -EOPNOTSUPP && err != -EIO && err != -ETIMEDOUT)
		return false;
	left = note(p, err == -EOPNOTSUPP);
	if (left < 0)
		(void)fprintf(stderr, "memsync-bench: %s\n", ms_err_text());
	return left > 0;
}

int vm_part_run(const struct session *s, const char *dir,
		const json_t *plan_json, struct plan *plan, int stop_fd)
{
	struct part *p = calloc(1, sizeof(*p));
	int code = 1;

	if (!p) {
		(void)fprintf(stderr, "memsync-bench: out of memory\n");
		return 1;
	}
	*p = (struct part){.s = s,
			   .dir = dir,
			   .plan_json = plan_json,
			   .plan = plan,
			   .stop_fd = stop_fd};
	(void)printf("%zu runs in the VM\n", plan_left_elsewhere(plan));
	(void)fflush(stdout);
	for (int i = 0; i < GUESTS_MAX && one_guest(p, &code); i++)
		;
	free(p);
	return code;
}

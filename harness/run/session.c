/* SPDX-License-Identifier: Apache-2.0 */
/* A whole measurement; see session.h. */
#include "harness/run/session.h"

#include "approaches/common/util/err.h"
#include "harness/record/env.h"
#include "harness/run/features.h"
#include "harness/run/folder.h"
#include "harness/run/no-memory.h"
#include "harness/run/place.h"
#include "harness/run/vm-part.h"
#include "harness/vm/vm.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXIT_CANNOT 77

static json_t *make_env(const struct session *s, const struct placement *p)
{
	return json_pack("{s:o,s:{s:s,s:s,s:s,s:s,s:I},s:[]}", "command",
			 env_command(s->argc, s->argv), "run", "set", s->set,
			 "placement", p->remote_text, "place",
			 vm_inside() ? "vm" : "native", "isolation",
			 geteuid() == 0 ? "PID and network namespaces"
					: "none: not root",
			 "order_seed", (json_int_t)s->order_seed, "link");
}

static void say_plan(const struct plan *plan, const struct folder *f)
{
	size_t left = plan_left(plan, false);
	size_t all = 0;

	for (size_t i = 0; i < plan->n; i++)
		all += !plan->runs[i].warmup;
	/* The VM's part is announced outside. */
	if (vm_inside())
		return;
	left += plan_left_elsewhere(plan);
	if (f->resumed)
		(void)printf("going on in %s: %zu of %zu runs are there\n",
			     f->dir, all - left, all);
	else
		(void)printf("measuring %zu runs of %zu cells into %s\n", all,
			     plan->n_cells, f->dir);
	if (csv_note(f->csv))
		(void)printf("%s\n", csv_note(f->csv));
	(void)fflush(stdout);
}

static void say_totals(const struct runner_totals *t)
{
	(void)printf("%zu runs ok", t->ok);
	if (t->failed)
		(void)printf(", %zu failed", t->failed);
	if (t->refused)
		(void)printf(", %zu refused", t->refused);
	if (t->skipped)
		(void)printf(", %zu skipped", t->skipped);
	if (t->before)
		(void)printf(", %zu were there before", t->before);
	(void)printf("\n");
}

static int exit_code(int err, const struct runner_totals *t, int stop_fd)
{
	int sig = 0;

	if (err == -EINTR)
		sig = signal_stop_signal(stop_fd);
	if (sig)
		return 128 + sig;
	if (err)
		return 1;
	if (t->ok || t->before)
		return 0;
	return t->failed || t->refused ? 1 : EXIT_CANNOT;
}

static int measure(const struct session *s, struct plan *plan, struct folder *f,
		   int stop_fd, int *ret_code)
{
	struct placement placement;
	struct runner_totals totals = {0};
	struct runner r = {.approaches = s->approaches,
			   .placement = &placement,
			   .plan = plan,
			   .dir = f->dir,
			   .run_id = f->name,
			   .csv = f->csv,
			   .env_file = vm_inside() ? ENV_VM_FILE : ENV_FILE,
			   .stop_fd = stop_fd,
			   .features = s->features};
	int err;

	placement_make(s->placement, &placement);
	r.links.cpus = placement.pinned ? &placement.link : NULL;
	r.env = make_env(s, &placement);
	err = r.env ? env_write(f->dir, r.env_file, r.env)
		    : no_memory(r.env_file);
	if (!err) {
		say_plan(plan, f);
		err = runner_run(&r, &totals);
		if (totals.ok || totals.failed || totals.refused ||
		    totals.skipped || totals.before)
			say_totals(&totals);
	}
	*ret_code = exit_code(err, &totals, stop_fd);
	json_decref(r.env);
	json_decref(r.links.settings);
	return err;
}

/* Of the part measured here, which may be empty, and of the VM's. */
static int both_codes(int here, bool any_here, int vm)
{
	if (!any_here || vm > 128)
		return vm;
	if (here == 1 || vm == 1)
		return 1;
	return here == 0 || vm == 0 ? 0 : EXIT_CANNOT;
}

static bool any_here(const struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++)
		if (!plan->runs[i].elsewhere)
			return true;
	return false;
}

static int open_and_measure(const struct session *s, struct plan *plan,
			    const json_t *plan_json, int stop_fd,
			    char **ret_dir, int *ret_code)
{
	struct folder f = {0};
	char absolute[PATH_MAX];
	int err = folder_open(s->results, s->dir, s->set, plan_json, plan, &f);

	if (err)
		return err;
	*ret_dir = strdup(f.dir);
	err = folder_absolute(&f, absolute, sizeof(absolute));
	if (!err)
		err = measure(s, plan, &f, stop_fd, ret_code);
	if (folder_close(&f, true) && !err) {
		*ret_code = 1;
		err = -EIO;
	}
	if (!err && !vm_inside() && plan_left_elsewhere(plan))
		*ret_code = both_codes(
			*ret_code, any_here(plan),
			vm_part_run(s, absolute, plan_json, plan, stop_fd));
	return err;
}

static int plan_and_measure(struct session *s, int stop_fd, char **ret_dir,
			    int *ret_code)
{
	struct plan plan = {0};
	json_t *json = NULL;
	char mode[16];
	int err = places_choose(s->where, s->approaches, s->features, stop_fd,
				s->experiments);

	if (err == -EOPNOTSUPP)
		*ret_code = EXIT_CANNOT;
	if (!err)
		err = plan_make(s->experiments, s->order_seed, &plan);
	if (err)
		return err;
	(void)snprintf(mode, sizeof(mode), "%s", placement_modes[s->placement]);
	json = folder_plan(s->experiments, s->approaches, mode, s->order_seed);
	err = json ? open_and_measure(s, &plan, json, stop_fd, ret_dir,
				      ret_code)
		   : no_memory("plan");
	json_decref(json);
	plan_release(&plan);
	return err;
}

int session_run(struct session *s, char **ret_dir)
{
	json_t *probed = NULL;
	int stop_fd = -1;
	int code = 1;
	int err;

	*ret_dir = NULL;
	if (!s->experiments->n) {
		(void)fprintf(stderr, "%s: the set %s has no figure\n",
			      "memsync-bench", s->set);
		return 2;
	}
	err = signal_stop_open(&stop_fd);
	if (!err) {
		probed = features_probe();
		err = probed ? 0 : no_memory("features");
	}
	s->features = probed;
	if (!err)
		err = plan_and_measure(s, stop_fd, ret_dir, &code);
	if (err == -EINVAL)
		code = 2;
	if (err && code < 128)
		(void)fprintf(stderr, "memsync-bench: %s\n", ms_err_text());
	else if (code > 128)
		(void)fprintf(stderr, "memsync-bench: stopped; the same "
				      "command goes on from here\n");
	s->features = NULL;
	json_decref(probed);
	if (stop_fd >= 0)
		(void)close(stop_fd);
	return code;
}

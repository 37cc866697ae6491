/* SPDX-License-Identifier: Apache-2.0 */
/* A whole measurement; see session.h. */
#include "harness/run/session.h"

#include "approaches/common/util/err.h"
#include "harness/record/env.h"
#include "harness/run/features.h"
#include "harness/run/folder.h"
#include "harness/run/no-memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXIT_CANNOT 77

static json_t *make_env(const struct session *s, const struct placement *p)
{
	return json_pack("{s:o,s:{s:s,s:s,s:s,s:s,s:I},s:[]}", "command",
			 env_command(s->argc, s->argv), "run", "set", s->set,
			 "placement", p->remote_text, "place", "native",
			 "isolation",
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
			   .stop_fd = stop_fd};
	json_t *probed = features_probe();
	int err;

	placement_make(s->placement, &placement);
	r.features = probed;
	r.links.cpus = placement.pinned ? &placement.link : NULL;
	r.env = make_env(s, &placement);
	if (!probed || !r.env)
		err = no_memory("env.json");
	else
		err = env_write(f->dir, r.env);
	if (!err) {
		say_plan(plan, f);
		err = runner_run(&r, &totals);
		say_totals(&totals);
	}
	*ret_code = exit_code(err, &totals, stop_fd);
	json_decref(r.env);
	json_decref(r.links.settings);
	json_decref(probed);
	return err;
}

static int open_and_measure(const struct session *s, struct plan *plan,
			    int stop_fd, char **ret_dir, int *ret_code)
{
	char mode[16];
	struct folder f = {0};
	json_t *json;
	int err;

	(void)snprintf(mode, sizeof(mode), "%s", placement_modes[s->placement]);
	json = folder_plan(s->experiments, s->approaches, mode, s->order_seed);
	err = json ? folder_open(s->results, s->dir, s->set, json, plan, &f)
		   : no_memory("plan");
	json_decref(json);
	if (err)
		return err;
	*ret_dir = strdup(f.dir);
	err = measure(s, plan, &f, stop_fd, ret_code);
	if (folder_close(&f, true) && !err) {
		*ret_code = 1;
		err = -EIO;
	}
	return err;
}

int session_run(const struct session *s, char **ret_dir)
{
	struct plan plan = {0};
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
	if (!err)
		err = plan_make(s->experiments, s->order_seed, &plan);
	if (!err)
		err = open_and_measure(s, &plan, stop_fd, ret_dir, &code);
	if (err == -EINVAL)
		code = 2;
	if (err && code < 128)
		(void)fprintf(stderr, "memsync-bench: %s\n", ms_err_text());
	else if (code > 128)
		(void)fprintf(stderr, "memsync-bench: stopped; the same "
				      "command goes on from here\n");
	plan_release(&plan);
	if (stop_fd >= 0)
		(void)close(stop_fd);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The loop over the runs of a plan; see runner.h. */
#include "harness/run/runner.h"

#include "approaches/common/util/err.h"
#include "harness/record/env.h"
#include "harness/run/no-memory.h"
#include "harness/run/progress.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

int signal_stop_open(int *ret_fd)
{
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return ms_err(-errno, "sigprocmask");
	/* Output that nobody reads is an error of write, not the end. */
	(void)signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return ms_err(-errno, "signalfd");
	*ret_fd = fd;
	return 0;
}

/* The signal stays pending in the descriptor until it is read here. */
int signal_stop_signal(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)
		       ? (int)info.ssi_signo
		       : 0;
}

static bool stop_asked(const struct runner *r)
{
	struct pollfd p = {.fd = r->stop_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* env.json again, now that something about the link is known. */
static int note_link(struct runner *r)
{
	if (!r->links.changed)
		return 0;
	r->links.changed = false;
	(void)json_object_set(r->env, "link", r->links.settings);
	return env_write(r->dir, r->env_file, r->env);
}

static void count(struct runner_totals *t, const struct run_rows *rows)
{
	size_t *by_status[] = {[ROW_OK] = &t->ok,
			       [ROW_FAILED] = &t->failed,
			       [ROW_REFUSED] = &t->refused,
			       [ROW_SKIPPED] = &t->skipped};

	(*by_status[rows->base.status])++;
}

static int do_run(struct runner *r, size_t i, struct runner_totals *totals)
{
	struct plan_run *run = &r->plan->runs[i];
	static struct run_rows rows; /* 30 KiB */
	int err;

	progress_start(r->progress, run);
	err = execute(r, run, i, &rows);
	if (!err)
		err = note_link(r);
	if (!err && !run->warmup)
		err = csv_append(r->csv, rows.list, rows.n);
	progress_end(r->progress, run, err ? NULL : &rows);
	if (!err) {
		run->done = true;
		if (!run->warmup)
			count(totals, &rows);
	}
	rows_release(&rows);
	return err;
}

int runner_run(struct runner *r, struct runner_totals *ret)
{
	struct runner_totals totals = {0};
	int err = 0;

	for (size_t i = 0; i < r->plan->n; i++)
		totals.before += r->plan->runs[i].done &&
				 !r->plan->runs[i].elsewhere &&
				 !r->plan->runs[i].warmup;
	r->progress = progress_new(r->plan, stdout, false);
	if (!r->progress)
		return no_memory("runner");
	for (size_t i = 0; i < r->plan->n && !err; i++) {
		if (r->plan->runs[i].done || r->plan->runs[i].elsewhere)
			continue;
		err = stop_asked(r) ? -EINTR : do_run(r, i, &totals);
	}
	links_close(&r->links);
	progress_free(r->progress);
	r->progress = NULL;
	*ret = totals;
	return err;
}

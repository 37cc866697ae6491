/* SPDX-License-Identifier: Apache-2.0 */
/* Progress with the time left; see progress.h. */
#include "harness/run/progress.h"

#include "approaches/common/util/clock.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct progress {
	const struct plan *plan;
	FILE *out;
	bool terminal;
	bool quiet;
	bool drawn; /* there is a line to be rewritten */
	size_t total;
	size_t ended;
	uint64_t started_ns; /* the run that is going on */
	/* Seconds spent and runs ended, of each cell; cells take as long. */
	double *spent;
	unsigned *times;
};

struct progress *progress_new(const struct plan *plan, FILE *out, bool quiet)
{
	struct progress *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->plan = plan;
	p->out = out;
	p->quiet = quiet;
	p->terminal = isatty(fileno(out)) == 1;
	p->total = plan_left(plan, true);
	p->spent = calloc(plan->n_cells + 1, sizeof(*p->spent));
	p->times = calloc(plan->n_cells + 1, sizeof(*p->times));
	if (p->spent && p->times)
		return p;
	progress_free(p);
	return NULL;
}

static void erase(struct progress *p)
{
	if (p->drawn)
		(void)fprintf(p->out, "\r\033[K");
	p->drawn = false;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	erase(p);
	free(p->spent);
	free(p->times);
	free(p);
}

/* What a run of the cell will take: as before, as others, or its limit. */
static double expected_s(const struct progress *p, const struct cell *c,
			 double mean)
{
	size_t i = (size_t)(c - p->plan->cells);

	if (p->times[i])
		return p->spent[i] / p->times[i];
	if (mean > 0)
		return mean;
	return 0.5 + (double)c->e->time_limit_ms / 1e3;
}

/* Seconds that are left, from what ended runs took. */
static double left_s(const struct progress *p)
{
	double spent = 0;
	unsigned times = 0;
	double left = 0;

	for (size_t i = 0; i < p->plan->n_cells; i++) {
		spent += p->spent[i];
		times += p->times[i];
	}
	for (size_t i = 0; i < p->plan->n; i++)
		if (!p->plan->runs[i].done && !p->plan->runs[i].elsewhere)
			left += expected_s(p, p->plan->runs[i].cell,
					   times ? spent / times : 0);
	return left;
}

static void describe(const struct plan_run *run, char *buf, size_t size)
{
	const struct cell *c = run->cell;
	int n = snprintf(buf, size, "%s %s%s%s", c->e->name, c->s->approach,
			 c->s->variant ? "/" : "",
			 c->s->variant ? c->s->variant : "");

	if (c->link && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, " rtt %g ms",
			      c->link->rtt_ms);
	if (n > 0 && (size_t)n < size)
		(void)snprintf(buf + n, size - (size_t)n,
			       run->warmup ? " warm-up" : " #%u",
			       (unsigned)run->repetition + 1);
}

static int columns(const struct progress *p)
{
	struct winsize w = {0};

	if (ioctl(fileno(p->out), TIOCGWINSZ, &w) || w.ws_col < 20)
		return 79;
	return w.ws_col - 1;
}

void progress_start(struct progress *p, const struct plan_run *run)
{
	char what[160];
	char line[240];
	double left = left_s(p);

	p->started_ns = ms_now_ns();
	if (!p->terminal || p->quiet)
		return;
	describe(run, what, sizeof(what));
	(void)snprintf(line, sizeof(line), "[%zu/%zu, %d:%02d left] %s",
		       p->ended + 1, p->total, (int)left / 60, (int)left % 60,
		       what);
	(void)fprintf(p->out, "\r\033[K%.*s", columns(p), line);
	(void)fflush(p->out);
	p->drawn = true;
}

/* The number that says most. */
static void summarise(const struct run_rows *rows, char *buf, size_t size)
{
	static const char *const best[] = {"first_access_us", "read_open_mib_s",
					   "access_us_p50",   "write_mib_s",
					   "total_ms",	      "op_us"};
	static const char *const names[] = {[ROW_FAILED] = "failed",
					    [ROW_REFUSED] = "refused",
					    [ROW_SKIPPED] = "skipped"};

	buf[0] = '\0';
	if (rows->base.status != ROW_OK) {
		(void)snprintf(buf, size, "%s: %s", names[rows->base.status],
			       rows->base.reason);
		return;
	}
	for (size_t i = 0; i < sizeof(best) / sizeof(*best); i++) {
		double value = rows_value(rows, best[i]);

		if (isnan(value))
			continue;
		(void)snprintf(buf, size, "%s %.4g", best[i], value);
		return;
	}
}

void progress_end(struct progress *p, const struct plan_run *run,
		  const struct run_rows *rows)
{
	size_t cell = (size_t)(run->cell - p->plan->cells);
	char what[160];
	char result[440];

	erase(p);
	if (!rows)
		return;
	p->ended++;
	p->spent[cell] += (double)(ms_now_ns() - p->started_ns) / 1e9;
	p->times[cell]++;
	describe(run, what, sizeof(what));
	summarise(rows, result, sizeof(result));
	if (p->terminal || p->quiet ? rows->base.status == ROW_OK : false)
		return;
	(void)fprintf(p->out, "[%zu/%zu] %s: %s\n", p->ended, p->total, what,
		      result);
	(void)fflush(p->out);
}

void progress_say(struct progress *p, const char *fmt, ...)
{
	va_list ap;

	erase(p);
	va_start(ap, fmt);
	(void)vfprintf(p->out, fmt, ap);
	va_end(ap);
	(void)fputc('\n', p->out);
	(void)fflush(p->out);
}

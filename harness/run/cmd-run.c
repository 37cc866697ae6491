/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench run`: measure a set, figures, or a cell of one's own. */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/cmd.h"
#include "harness/run/custom.h"
#include "harness/run/place.h"
#include "harness/run/session.h"
#include "harness/vm/vm.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM	    "memsync-bench run"
#define FIGURES_MAX 64

struct config {
	int set;
	char *figure;
	struct custom custom;
	char *result;
	char *results;
	int placement;
	char *where;
	uint64_t order_seed;
	char *note;
	bool plan;
};

static const struct ms_opt options[] = {
	MS_OPT_CHOICE(struct config, set, "set", 's', "quick", experiment_sets,
		      "figures and sizes"),
	MS_OPT_STRING(struct config, figure, "figure", 'f', NULL, "NAME",
		      "this figure only; can be given several times"),
	MS_OPT_STRING(struct config, custom.approach, "approach", 'a', NULL,
		      "NAME",
		      "measure this instead of figures: "
		      "APPROACH[/VARIANT],..."),
	MS_OPT_STRING(struct config, custom.variant, "variant", 'v', NULL,
		      "NAME", "of an approach without /VARIANT"),
	MS_OPT_STRING(struct config, custom.workload, "workload", 'w',
		      "seq-read", "NAME", "workload"),
	MS_OPT_STRING(struct config, custom.access, "access", 0, "mmap", "NAME",
		      "how the bytes are reached: mmap, pread"),
	MS_OPT_SIZE(struct config, custom.access_bytes, "access-bytes", 0, "4K",
		    1, 1U << 26, "bytes of one access"),
	MS_OPT_UINT(struct config, custom.threads, "threads", 't', "1", 1, 256,
		    "accessing threads"),
	MS_OPT_SIZE(struct config, custom.size, "size", 0, "64M", 1, INT64_MAX,
		    "bytes of the region"),
	MS_OPT_SIZE(struct config, custom.chunk, "chunk", 'c', "0", 0, 1U << 28,
		    "unit of transfer; 0: what the variant has"),
	MS_OPT_STRING(struct config, custom.link, "link", 'l', NULL, "PROFILE",
		      "link: a name, rtt=..,rate=.., or local"),
	MS_OPT_STRING(struct config, custom.rtt, "rtt", 0, NULL, "MS,...",
		      "link: round-trip times in ms"),
	MS_OPT_STRING(struct config, custom.rate, "rate", 0, NULL, "MBIT,...",
		      "link: rates in Mbit/s"),
	MS_OPT_STRING(struct config, custom.driver, "driver", 0, "auto", "NAME",
		      "link: auto, emulated, netem, sleep"),
	MS_OPT_UINT(struct config, custom.repetitions, "repetitions", 'n', "5",
		    1, 10000, "runs of each cell"),
	MS_OPT_UINT(struct config, custom.warmup, "warmup", 0, "1", 0, 100,
		    "runs of each series that are not recorded"),
	MS_OPT_DURATION(struct config, custom.time_limit_ns, "time-limit", 0,
			"3s", "end the accesses after this; 0: no limit"),
	MS_OPT_DURATION(struct config, custom.timeout_ns, "timeout", 0, "60s",
			"kill a run after this"),
	MS_OPT_UINT(struct config, custom.seed, "seed", 0, "1", 0, INT64_MAX,
		    "seed of the region's bytes"),
	MS_OPT_STRING(struct config, result, "result", 0, NULL, "DIR",
		      "result folder, made or gone on in; default: the newest "
		      "unfinished one of the same plan, or a new one"),
	MS_OPT_STRING(struct config, results, "results", 0, "results", "DIR",
		      "where result folders are made"),
	MS_OPT_CHOICE(struct config, placement, "placement", 0, "split",
		      placement_modes, "processors of the sides"),
	MS_OPT_STRING(struct config, where, "where", 0, "auto", "PLACE",
		      PLACE_WHERE_HELP),
	MS_OPT_UINT(struct config, order_seed, "order-seed", 0, "1", 0, 0,
		    "seed of the order of the runs"),
	MS_OPT_STRING(struct config, note, "note", 0, NULL, "FILE",
		      "write the result folder's name into this file"),
	MS_OPT_FLAG(struct config, plan, "plan", 0,
		    "print the runs in their order and exit"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[--set NAME] [--figure NAME]... | --approach NAME "
		    "[OPTIONS]",
	.summary = "Measure, with every run verified, into a result folder",
	.epilogue =
		"With --approach the cell is described by the options; else "
		"the figures come from\nthe files that `memsync-bench list` "
		"shows. A run that was interrupted is gone on\nwith by the "
		"same command.",
	.table = options,
};

/*
 * Join repeated --figure into one with commas, as an option is stored once.
 * `joined` has room for all arguments and commas. Returns the new argc.
 */
static int join_figures(int argc, char **argv, char **out, char *joined,
			size_t room)
{
	int n = 0;
	size_t len = 0;
	bool literal = false;

	joined[0] = '\0';
	for (int i = 0; i < argc; i++) {
		const char *value = NULL;

		if (!strcmp(argv[i], "--"))
			literal = true;
		if (!literal && !strncmp(argv[i], "--figure=", 9))
			value = argv[i] + 9;
		else if (!literal && i + 1 < argc &&
			 (!strcmp(argv[i], "--figure") ||
			  !strcmp(argv[i], "-f")))
			value = argv[++i];
		if (!value) {
			out[n++] = argv[i];
			continue;
		}
		len += (size_t)snprintf(joined + len, room - len, "%s%s",
					len ? "," : "--figure=", value);
	}
	if (len) {
		memmove(out + 2, out + 1, (size_t)(n - 1) * sizeof(*out));
		out[1] = joined;
		n++;
	}
	out[n] = NULL;
	return n;
}

/* Split in place; the list is static and valid until the next call. */
static const char *const *split(char *text)
{
	static const char *list[FIGURES_MAX + 1];
	size_t n = 0;
	char *save = NULL;

	for (char *one = text ? strtok_r(text, ",", &save) : NULL;
	     one && n < FIGURES_MAX; one = strtok_r(NULL, ",", &save))
		list[n++] = one;
	list[n] = NULL;
	return list;
}

static void print_plan(const struct experiments *e, uint64_t seed)
{
	struct plan plan;

	if (plan_make(e, seed, &plan))
		return;
	for (size_t i = 0; i < plan.n; i++) {
		const struct plan_run *r = &plan.runs[i];
		const struct cell *c = r->cell;

		(void)printf("%s\t%s\t%s\t", c->e->name, c->s->approach,
			     c->s->variant ? c->s->variant : "-");
		if (c->link)
			(void)printf("%g ms\t", c->link->rtt_ms);
		else
			(void)printf("local\t");
		(void)printf("%s%u\n", r->warmup ? "warm-up " : "",
			     (unsigned)r->repetition);
	}
	plan_release(&plan);
}

static int load(struct config *c, struct experiments *e, struct approaches *a)
{
	char dir[PATH_MAX];
	int err = harness_folder("approaches", dir, sizeof(dir));

	if (!err)
		err = approaches_load(dir, a);
	if (err)
		return err;
	if (c->custom.approach) {
		if (c->figure)
			return ms_err(-EINVAL, "--figure and --approach are "
					       "two different ways to say what "
					       "is measured");
		return custom_make(&c->custom, e);
	}
	err = harness_folder("experiments", dir, sizeof(dir));
	return err ? err
		   : experiments_load(dir, experiment_sets[c->set],
				      split(c->figure), e);
}

/* Name the folder; the exit code changes only if that fails. */
static int say_result(const struct config *c, const char *dir, int code)
{
	FILE *f;
	bool bad;

	(void)printf("result: %s\n", dir);
	if (!c->note)
		return code;
	f = fopen(c->note, "we");
	bad = !f || fprintf(f, "%s\n", dir) < 0;
	if (f && fclose(f))
		bad = true;
	if (!bad)
		return code;
	(void)fprintf(stderr, PROGRAM ": cannot write %s\n", c->note);
	return code ? code : 1;
}

static int run(struct config *c, int argc, char **argv)
{
	struct experiments e = {0};
	struct approaches a = {0};
	char *dir = NULL;
	int code = 0;
	int err = load(c, &e, &a);
	struct session s = {.experiments = &e,
			    .approaches = &a,
			    .set = c->custom.approach ? "custom"
						      : experiment_sets[c->set],
			    .results = c->results,
			    .dir = c->result,
			    .where = c->where,
			    .placement = (enum placement_mode)c->placement,
			    .order_seed = c->order_seed,
			    .argc = argc,
			    .argv = argv};

	if (err) {
		(void)fprintf(stderr, PROGRAM ": %s\n", ms_err_text());
		code = err == -EINVAL ? 2 : 1;
	} else if (c->plan) {
		print_plan(&e, c->order_seed);
	} else {
		code = session_run(&s, &dir);
		/* The VM's part is named by who started it. */
		if (dir && !vm_inside())
			code = say_result(c, dir, code);
	}
	free(dir);
	experiments_release(&e);
	approaches_release(&a);
	return code;
}

int cmd_run(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed = {0};
	size_t room = 16;
	char *joined = NULL;
	char **list = calloc((size_t)argc + 3, sizeof(*list));
	int code = 0;
	int rc;

	for (int i = 0; i < argc; i++)
		room += strlen(argv[i]) + 1;
	joined = calloc(1, room);
	if (!list || !joined) {
		(void)fprintf(stderr, PROGRAM ": out of memory\n");
		free(list);
		free(joined);
		return 1;
	}
	rc = ms_opt_parse(&command, &c,
			  join_figures(argc, argv, list, joined, room), list,
			  &parsed);
	if (rc)
		code = rc > 0 ? 0 : 2;
	else if (parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else
		code = run(&c, argc, argv);
	ms_opt_release(options, &c);
	free(list);
	free(joined);
	return code;
}

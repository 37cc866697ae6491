/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench plots`: draw the figures of a result folder. */
#include "harness/cmd.h"
#include "harness/report/result.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/report/select.h"

#include <stdio.h>

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct result_options, plots, "plots", 'p', NULL, "DIR",
		      "folder with the figures' scripts"),
	MS_OPT_END};

static const struct ms_opt_command command = {
	.program = "memsync-bench plots",
	.synopsis = "[OPTIONS] [RESULT-DIR]",
	.summary = "Draw the figures of a run as SVG and PNG.",
	.epilogue = "Without RESULT-DIR the newest run in results/ is taken.",
	.table = options,
	.operands_max = 1,
};

/* One line a figure: drawn, or why not. */
static int say_figures(struct result *r)
{
	for (size_t i = 0; i < r->figures.n; i++) {
		const struct figure *f = &r->figures.list[i];
		struct selection s = {0};
		int err = selection_make(&r->arena, f, r->table, &s);

		if (err)
			return ms_err(err, "%s", f->id);
		if (s.n)
			(void)printf("%s/plots/%s.svg\n", r->dir, f->id);
		else
			(void)printf("%s: not drawn: %s%s%s\n", f->id,
				     s.n_gaps ? s.gaps[0].what : "",
				     s.n_gaps ? ": " : "",
				     s.n_gaps ? s.gaps[0].why
					      : "no rows in this run");
		selection_release(&s);
	}
	return 0;
}

int cmd_plots(int argc, char **argv)
{
	return result_command(&command, argc, argv, say_figures);
}

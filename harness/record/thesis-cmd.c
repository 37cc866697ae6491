/* SPDX-License-Identifier: Apache-2.0 */
/* The command `memsync-bench thesis-csv`; see thesis.h. */
#include "harness/record/thesis.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The newest results/NAME/runs.csv of the current folder, without the file. */
static char *newest_result(void)
{
	struct timespec best = {0};
	char *found = NULL;
	glob_t g;

	if (glob("results/*/" CSV_FILE, 0, NULL, &g))
		return NULL;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct stat st;

		if (stat(g.gl_pathv[i], &st))
			continue;
		if (found && (st.st_mtim.tv_sec < best.tv_sec ||
			      (st.st_mtim.tv_sec == best.tv_sec &&
			       st.st_mtim.tv_nsec <= best.tv_nsec)))
			continue;
		best = st.st_mtim;
		free(found);
		found = strdup(g.gl_pathv[i]);
	}
	globfree(&g);
	if (found) /* the pattern ends in the file's name */
		found[strlen(found) - strlen("/" CSV_FILE)] = '\0';
	return found;
}

static int convert(const char *result, const char *outdir)
{
	struct table *t = table_new();
	int err = 0;

	if (!t) {
		(void)fprintf(stderr, "memsync-bench: no memory\n");
		return 1;
	}
	err = table_load(t, result);
	if (!err)
		err = thesis_csv_write(t, outdir, stdout);
	table_free(t);
	if (err < 0)
		(void)fprintf(stderr, "memsync-bench: %s\n", ms_err_text());
	else if (err == 0)
		(void)fprintf(stderr,
			      "memsync-bench: %s has no row for the thesis' "
			      "files\n",
			      result);
	return err > 0 ? 0 : 1;
}

int cmd_thesis_csv(int argc, char **argv)
{
	static const struct ms_opt options[] = {MS_OPT_END};
	static const struct ms_opt_command command = {
		.program = "memsync-bench thesis-csv",
		.synopsis = "[RESULT [OUTDIR]]",
		.summary = "Write results in the thesis' own CSV layout",
		.table = options,
		.operands_max = 2,
	};
	struct ms_opt_result parsed = {0};
	char none = 0;
	char *result = NULL;
	char *outdir = NULL;
	int got = ms_opt_parse(&command, &none, argc, argv, &parsed);
	int first = parsed.first_operand;

	if (got)
		return got < 0 ? 2 : 0;
	if (parsed.dump_config)
		return 0;
	result = first < argc ? strdup(argv[first]) : newest_result();
	if (!result) {
		(void)fprintf(stderr, "memsync-bench: there is no result in "
				      "results/\n");
		return 1;
	}
	if (first + 1 < argc)
		outdir = strdup(argv[first + 1]);
	else if (asprintf(&outdir, "%s/thesis", result) < 0)
		outdir = NULL;
	got = outdir ? convert(result, outdir) : 1;
	free(outdir);
	free(result);
	return got;
}

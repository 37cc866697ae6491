/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-bench: the table of its subcommands. */
#include "harness/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{"list", cmd_list,
	 "figures, sets, workloads, links, backends and approaches"},
	{"run", cmd_run, "measure a set, figures, or a cell of your own"},
	{"compare", cmd_compare,
	 "which approach for my file, my link, my workload"},
	{"diff", cmd_diff,
	 "the same cells in other results, places, link drivers"},
	{"plots", cmd_plots, "draw the figures of a result"},
	{"report", cmd_report, "one page of a result"},
	{"check", cmd_check, "is a runs.csv whole, verified and fair"},
	{"thesis-csv", cmd_thesis_csv,
	 "write a result in the thesis' own CSV layout"},
	{"link", cmd_link, "look at, check and use emulated links"},
	{"vm", cmd_vm, "run a command in a VM with a stock kernel"},
	{"workload", cmd_workload,
	 "access memory, a disk, a file or a device, measured"},
	{"cost", cmd_cost, "what the harness' own stack costs an I/O"},
	{"doctor", cmd_doctor, "what this machine can run, and why not"},
};

static void usage(FILE *out)
{
	(void)fprintf(out, "Usage: memsync-bench COMMAND [OPTIONS]\n"
			   "Measure ways to share memory over a network.\n\n"
			   "Commands (each has --help):\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		(void)fprintf(out, "  %-12s %s\n", commands[i].name,
			      commands[i].summary);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		(void)fprintf(stderr, "memsync-bench: a command is missing "
				      "(see --help)\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return fflush(stdout) ? 1 : 0;
	}
	if (!strcmp(argv[1], "--version")) {
		(void)printf("memsync-bench (memsync) %s\n", MS_VERSION);
		return 0;
	}
	(void)fprintf(stderr,
		      "memsync-bench: there is no command \"%.40s\" (see "
		      "--help)\n",
		      argv[1]);
	return 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench link`: which of its commands, and `profiles` itself. */
#include "harness/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/link/cmd-internal.h"

const char *const link_driver_choices[] = {"auto", "emulated", "netem", "sleep",
					   NULL};

int link_cmd_fail(const char *program, int r)
{
	(void)fprintf(stderr, "%s: %s\n", program, ms_err_text());
	return r == -EOPNOTSUPP || r == -EPERM ? LINK_EXIT_CANNOT
					       : LINK_EXIT_FAILED;
}

static int cmd_profiles(int argc, char **argv)
{
	static const struct ms_opt table[] = {MS_OPT_END};
	static const struct ms_opt_command command = {
		.program = "memsync-bench link profiles",
		.synopsis = "[OPTIONS]",
		.summary = "List the named link profiles",
		.table = table,
	};
	const struct link_profile *p;
	struct ms_opt_result result;
	const char *summary = NULL;
	char unused = 0;
	int r = ms_opt_parse(&command, &unused, argc, argv, &result);

	if (r)
		return r < 0 ? LINK_EXIT_USAGE : 0;
	(void)printf("%-14s %8s %10s %10s %8s %10s  %s\n", "profile", "RTT ms",
		     "Mbit/s", "jitter ms", "loss %", "queue KiB", "");
	for (size_t i = 0; (p = link_profile_list(i, &summary)); i++) {
		char rate[16] = "unlimited";

		if (p->rate_mbit > 0)
			(void)snprintf(rate, sizeof(rate), "%g", p->rate_mbit);
		(void)printf("%-14s %8g %10s %10g %8g %10.0f  %s\n", p->name,
			     p->rtt_ms, rate, p->jitter_ms, p->loss_pct,
			     (double)link_queue_bytes(p) / 1024, summary);
	}
	(void)printf("\nRTT and jitter are of the round trip, half in each "
		     "direction; rate, loss and queue\nare of each direction. "
		     "Any of them can be set: wan-20,loss=0.1%% or "
		     "rtt=7ms,rate=300M.\n");
	return 0;
}

int cmd_link(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
		const char *help;
	} commands[] = {
		{"profiles", cmd_profiles, "list the named profiles"},
		{"check", link_cmd_check, "make a link, measure it, compare"},
		{"run", link_cmd_run, "run a command at one end of a link"},
		{"ceiling", link_cmd_ceiling, "what the driver carries here"},
	};
	const char *name = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	if (!strcmp(name, "--help")) {
		(void)printf("Usage: memsync-bench link COMMAND [OPTIONS]\n"
			     "Emulated network links between namespaces.\n\n"
			     "Commands (each has --help):\n");
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]);
		     i++)
			(void)printf("  %-10s %s\n", commands[i].name,
				     commands[i].help);
		return 0;
	}
	(void)fprintf(stderr,
		      "memsync-bench link: %s%s%s (profiles, check, run, "
		      "ceiling; see --help)\n",
		      argc > 1 ? "there is no command \""
			       : "a command is missing",
		      name, argc > 1 ? "\"" : "");
	return LINK_EXIT_USAGE;
}

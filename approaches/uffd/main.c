/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-uffd: regions as memory, by page faults handled in user space. */
#include "approaches/uffd/uffd-cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{"serve", uffd_cmd_serve, "give regions to targets"},
	{"map", uffd_cmd_map, "map a region and use it"},
	{"handle", uffd_cmd_handle, "answer the faults of other processes"},
};

enum {
	COMMANDS = sizeof(commands) / sizeof(commands[0])
};

static int help(void)
{
	(void)printf("Usage: memsync-uffd COMMAND [OPTIONS] ...\n"
		     "Regions as memory, by page faults handled in user "
		     "space.\n\nCommands:\n");
	for (size_t i = 0; i < COMMANDS; i++)
		(void)printf("  %-8s %s\n", commands[i].name,
			     commands[i].summary);
	(void)printf("\nmemsync-uffd COMMAND --help shows the options.\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0)
		return help();
	if (strcmp(name, "--version") == 0) {
		(void)printf("memsync-uffd (memsync) %s\n", MS_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argc < 2)
		(void)fprintf(stderr, "memsync-uffd: a command is missing (see "
				      "--help)\n");
	else
		(void)fprintf(stderr,
			      "memsync-uffd: there is no command %s (see "
			      "--help)\n",
			      name);
	return 2;
}

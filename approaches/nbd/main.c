/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-nbd: regions as network block devices. */
#include "approaches/nbd/nbd-cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{"mount", nbd_cmd_mount, "mount a region as a block device"},
	{"source", nbd_cmd_source, "give regions to mounts elsewhere"},
	{"serve", nbd_cmd_serve, "give regions to NBD clients"},
	{"detach", nbd_cmd_detach, "free devices that were left attached"},
};

enum {
	COMMANDS = sizeof(commands) / sizeof(commands[0])
};

static int help(void)
{
	(void)printf("Usage: memsync-nbd COMMAND [OPTIONS] ...\n"
		     "Regions as network block devices.\n\nCommands:\n");
	for (size_t i = 0; i < COMMANDS; i++)
		(void)printf("  %-8s %s\n", commands[i].name,
			     commands[i].summary);
	(void)printf("\nmemsync-nbd COMMAND --help shows the options.\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0)
		return help();
	if (strcmp(name, "--version") == 0) {
		(void)printf("memsync-nbd (memsync) %s\n", MS_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argc < 2)
		(void)fprintf(stderr, "memsync-nbd: a command is missing (see "
				      "--help)\n");
	else
		(void)fprintf(stderr,
			      "memsync-nbd: there is no command %s (see "
			      "--help)\n",
			      name);
	return 2;
}

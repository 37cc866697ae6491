/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables on the command line, over getopt_long; see opt.h. */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>

enum {
	OPTS_MAX = 64,
	OPT_BASE = 256, /* long option i is returned as OPT_BASE + i */
	OPT_HELP = 128,
	OPT_VERSION,
	OPT_DUMP,
};

struct parser {
	const struct ms_opt_command *command;
	struct option longs[OPTS_MAX + 4];
	char shorts[2 * OPTS_MAX + 8];
	const struct ms_opt *by_index[OPTS_MAX];
	int count;
};

static void print_help(const struct ms_opt_command *command)
{
	(void)printf("Usage: %s %s\n%s.\n\nOptions:\n", command->program,
		     command->synopsis, command->summary);
	ms_opt_help(command->table, stdout);
	(void)printf("  %-28s %s\n", "    --dump-config",
		     "print every effective option and exit");
	(void)printf("  %-28s %s\n", "    --help", "show this help and exit");
	(void)printf("  %-28s %s\n", "    --version",
		     "show the version and exit");
	if (command->epilogue)
		(void)printf("\n%s\n", command->epilogue);
}

static void build(struct parser *p)
{
	int shorts = 0;

	/* '+' stops at the first operand; ':' makes us word the errors. */
	if (p->command->stop_at_operand)
		p->shorts[shorts++] = '+';
	p->shorts[shorts++] = ':';
	for (const struct ms_opt *o = p->command->table;
	     o && o->type != MS_OPT_T_END; o++) {
		if (o->type == MS_OPT_T_BACKEND || p->count == OPTS_MAX)
			continue;
		int arg = o->type == MS_OPT_T_FLAG ? no_argument
						   : required_argument;
		p->by_index[p->count] = o;
		p->longs[p->count] = (struct option){
			.name = o->name,
			.has_arg = arg,
			.val = OPT_BASE + p->count,
		};
		p->count++;
		if (!o->letter)
			continue;
		p->shorts[shorts++] = o->letter;
		if (arg == required_argument)
			p->shorts[shorts++] = ':';
	}
	p->longs[p->count] = (struct option){.name = "help", .val = OPT_HELP};
	p->longs[p->count + 1] =
		(struct option){.name = "version", .val = OPT_VERSION};
	p->longs[p->count + 2] =
		(struct option){.name = "dump-config", .val = OPT_DUMP};
}

static const struct ms_opt *entry(const struct parser *p, int value)
{
	if (value >= OPT_BASE && value < OPT_BASE + p->count)
		return p->by_index[value - OPT_BASE];
	for (int i = 0; i < p->count; i++)
		if (p->by_index[i]->letter == value)
			return p->by_index[i];
	return NULL;
}

static int usage_error(const struct parser *p, const char *text)
{
	char line[600];

	/* One line, whatever was typed. */
	(void)snprintf(line, sizeof(line), "%s", text);
	for (char *c = line; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	(void)fprintf(stderr, "%s: %s (see --help)\n", p->command->program,
		      line);
	return -EINVAL;
}

static int check_operands(const struct parser *p, int argc)
{
	unsigned operands = (unsigned)(argc - optind);

	if (operands < p->command->operands_min)
		return usage_error(p, "an operand is missing");
	if (operands > p->command->operands_max)
		return usage_error(p, "there is one operand too many");
	return 0;
}

static int one_option(const struct parser *p, int value, void *config,
		      struct ms_opt_result *ret)
{
	char text[64];

	switch (value) {
	case OPT_HELP:
		print_help(p->command);
		return 1;
	case OPT_VERSION:
		(void)printf("%s (memsync) %s\n", p->command->program,
			     MS_VERSION);
		return 1;
	case OPT_DUMP:
		ret->dump_config = true;
		return 0;
	default:
		break;
	}
	const struct ms_opt *opt = entry(p, value);
	if (!opt) {
		(void)snprintf(text, sizeof(text), "option -%c", value);
		return usage_error(p, text);
	}
	if (ms_opt_set(opt, config, opt->name,
		       opt->type == MS_OPT_T_FLAG ? "yes" : optarg))
		return usage_error(p, ms_err_text());
	return 0;
}

static int bad_option(const struct parser *p, int kind, char **argv)
{
	char text[160];
	const char *what = argv[optind - 1];
	char letter[3] = {'-', (char)optopt, '\0'};

	if (optopt > 0 && optopt < OPT_HELP)
		what = letter;
	(void)snprintf(text, sizeof(text),
		       kind == ':' ? "option %s needs a value"
				   : "there is no option %s (or it takes no "
				     "value)",
		       what);
	return usage_error(p, text);
}

int ms_opt_parse(const struct ms_opt_command *command, void *config, int argc,
		 char **argv, struct ms_opt_result *ret)
{
	struct parser p = {.command = command};
	int value = 0;

	*ret = (struct ms_opt_result){0};
	if (ms_opt_defaults(command->table, config))
		return usage_error(&p, ms_err_text());
	build(&p);
	optind = 0; /* GNU: start afresh, also the permutation */
	opterr = 0;
	while ((value = getopt_long(argc, argv, p.shorts, p.longs, NULL)) !=
	       -1) {
		int rc = value == '?' || value == ':'
				 ? bad_option(&p, value, argv)
				 : one_option(&p, value, config, ret);
		if (rc)
			return rc;
	}
	ret->first_operand = optind;
	if (ret->dump_config)
		return 0;
	for (const struct ms_opt *o = command->table;
	     o && o->type != MS_OPT_T_END; o++) {
		char text[80];
		if (!o->required || o->type != MS_OPT_T_STRING ||
		    *(char **)((char *)config + o->offset))
			continue;
		(void)snprintf(text, sizeof(text), "--%s is required", o->name);
		return usage_error(&p, text);
	}
	return check_operands(&p, argc);
}

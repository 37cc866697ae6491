/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables: one table per module says what can be set. The command-line
 * parser (over getopt_long), the spec string parser, --help, --dump-config,
 * the shell completion and the check of the manual pages all read it.
 *
 *	struct config { uint64_t size; bool verbose; const char *listen; };
 *	static const struct ms_opt options[] = {
 *		MS_OPT_SIZE(struct config, size, "size", 's', "1M", 1,
 *			    UINT64_MAX, "size of the region"),
 *		MS_OPT_FLAG(struct config, verbose, "verbose", 'v', "say more"),
 *		MS_OPT_STRING(struct config, listen, "listen", 'l', NULL,
 *			      "URI", "where to listen"),
 *		MS_OPT_END
 *	};
 */
#ifndef MS_COMMON_UTIL_OPT_H
#define MS_COMMON_UTIL_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ms_opt_type {
	MS_OPT_T_END,
	MS_OPT_T_FLAG, /* bool; on the command line without a value */
	MS_OPT_T_UINT, /* uint64_t */
	MS_OPT_T_SIZE, /* uint64_t bytes; K M G T suffixes, powers of 1024 */
	MS_OPT_T_DURATION, /* uint64_t nanoseconds; ns us ms s m suffixes */
	MS_OPT_T_REAL,	   /* double; a trailing % is accepted and ignored */
	MS_OPT_T_STRING,   /* char *, owned by the configuration */
	MS_OPT_T_CHOICE,   /* int, index into `choices` */
	MS_OPT_T_BACKEND,  /* struct ms_backend *, a nested spec; not on argv */
};

struct ms_opt {
	const char *name; /* long option, and key in a spec string */
	char letter;	  /* short option or 0 */
	enum ms_opt_type type;
	size_t offset;		    /* of the field in the configuration */
	double min;		    /* bounds of numbers, inclusive */
	double max;		    /* 0 with min 0: no bounds */
	const char *def;	    /* default as text; NULL: none */
	const char *meta;	    /* name of the value in --help */
	const char *help;	    /* one line, no full stop */
	const char *const *choices; /* NULL-terminated, for CHOICE */
	bool required;
};

#define MS_OPT_ENTRY(st, fld, nm, let, ty, lo, hi, df, mt, hp, ...)           \
	{                                                                     \
		.name = (nm), .letter = (let), .type = (ty),                  \
		.offset = offsetof(st, fld), .min = (double)(lo),             \
		.max = (double)(hi), .def = (df), .meta = (mt), .help = (hp), \
		__VA_ARGS__                                                   \
	}
#define MS_OPT_FLAG(st, fld, nm, let, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_FLAG, 0, 1, NULL, NULL, hp)
#define MS_OPT_UINT(st, fld, nm, let, df, lo, hi, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_UINT, lo, hi, df, "N", hp)
#define MS_OPT_SIZE(st, fld, nm, let, df, lo, hi, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_SIZE, lo, hi, df, "SIZE", hp)
#define MS_OPT_DURATION(st, fld, nm, let, df, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_DURATION, 0, 0, df, "TIME", hp)
#define MS_OPT_REAL(st, fld, nm, let, df, lo, hi, mt, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_REAL, lo, hi, df, mt, hp)
#define MS_OPT_STRING(st, fld, nm, let, df, mt, hp) \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_STRING, 0, 0, df, mt, hp)
#define MS_OPT_CHOICE(st, fld, nm, let, df, ch, hp)                           \
	MS_OPT_ENTRY(st, fld, nm, let, MS_OPT_T_CHOICE, 0, 0, df, "NAME", hp, \
		     .choices = (ch))
#define MS_OPT_BACKEND(st, fld, nm, hp)                                        \
	MS_OPT_ENTRY(st, fld, nm, 0, MS_OPT_T_BACKEND, 0, 0, NULL, "SPEC", hp, \
		     .required = true)
#define MS_OPT_END                   \
	{                            \
		.type = MS_OPT_T_END \
	}

/*
 * Set every field of `config` to its default. `config` must be zeroed memory.
 * Returns 0 or -ENOMEM.
 */
int ms_opt_defaults(const struct ms_opt *table, void *config);

/*
 * Set the option called `name` from text. BACKEND entries are not set here
 * (-EINVAL). Returns 0, or -EINVAL with a sentence that names the option and
 * what it takes.
 */
int ms_opt_set(const struct ms_opt *table, void *config, const char *name,
	       const char *value);

/* The entry called `name`, NULL if there is none. */
const struct ms_opt *ms_opt_find(const struct ms_opt *table, const char *name);

/* Free the strings that ms_opt_defaults and ms_opt_set stored. */
void ms_opt_release(const struct ms_opt *table, void *config);

/* Write the value of one option of `config` as text that ms_opt_set accepts. */
void ms_opt_format(const struct ms_opt *opt, const void *config, char *buf,
		   size_t size);

/* Print "name=value" lines of the whole configuration (--dump-config). */
void ms_opt_dump(const struct ms_opt *table, const void *config, FILE *out);

/* Print the options as --help shows them, one or two lines each. */
void ms_opt_help(const struct ms_opt *table, FILE *out);

/* What a command line is parsed against. */
struct ms_opt_command {
	const char *program;  /* as in "memsync-uffd map" */
	const char *synopsis; /* what follows the program: "[OPTIONS] SPEC" */
	const char *summary;  /* one line */
	const char *epilogue; /* shown last in --help, or NULL */
	const struct ms_opt *table;
	unsigned operands_min;
	unsigned operands_max; /* UINT_MAX: any; options end at the first */
	bool stop_at_operand;  /* "-- COMMAND…" style: do not permute */
};

/* What ms_opt_parse found out, besides filling the configuration. */
struct ms_opt_result {
	int first_operand; /* index in argv, which is permuted */
	bool dump_config;  /* --dump-config was given: print and exit 0 */
};

/*
 * Parse argv (argv[0] is skipped) into `config`, which is given its defaults
 * first. --help, --version and --dump-config exist in every command.
 * Returns 0 to go on; 1 when --help or --version was printed (exit 0);
 * -EINVAL after ONE line was printed to stderr (exit 2).
 */
int ms_opt_parse(const struct ms_opt_command *command, void *config, int argc,
		 char **argv, struct ms_opt_result *ret);

/* Strict parsers of single values: 0 or -EINVAL, nothing is left over. */
int ms_parse_uint(const char *text, uint64_t *ret);
int ms_parse_size(const char *text, uint64_t *ret_bytes);
int ms_parse_duration(const char *text, uint64_t *ret_ns);
int ms_parse_real(const char *text, double *ret);

/* "256K", "1.5M" is not produced: the largest unit that divides exactly. */
void ms_format_size(uint64_t bytes, char *buf, size_t size);

#endif

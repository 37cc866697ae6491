/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: values, defaults, dump and help; argv is in opt-argv.c. */
#include "approaches/common/util/opt.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int ms_parse_uint(const char *text, uint64_t *ret)
{
	char *end = NULL;

	/* strtoull takes signs and blanks; a number here has neither. */
	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	/* Decimal, or hexadecimal with 0x; a leading 0 does not mean octal. */
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	uint64_t value = strtoull(text, &end, hex ? 16 : 10);
	if (errno || *end)
		return -EINVAL;
	*ret = value;
	return 0;
}

int ms_parse_real(const char *text, double *ret)
{
	char *end = NULL;

	if (!(text[0] >= '0' && text[0] <= '9') && text[0] != '.')
		return -EINVAL;
	errno = 0;
	double value = strtod(text, &end);
	if (errno || !isfinite(value) || (*end && strcmp(end, "%") != 0))
		return -EINVAL;
	*ret = value;
	return 0;
}

/* A decimal number with one of the suffixes; unit NULL ends the list. */
struct suffix {
	const char *text;
	double factor;
};

static int parse_scaled(const char *text, const struct suffix *list,
			uint64_t *ret)
{
	char *end = NULL;

	/* strtod would take an exponent. */
	if (text[0] < '0' || text[0] > '9' || strpbrk(text, "eE"))
		return -EINVAL;
	errno = 0;
	uint64_t whole = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	double value = (double)whole;
	bool fraction = *end == '.';
	if (fraction)
		value = strtod(text, &end);
	for (; list->text; list++) {
		if (strcasecmp(end, list->text) != 0)
			continue;
		if (list->factor == 1) {
			if (fraction)
				return -EINVAL;
			*ret = whole;
			return 0;
		}
		value *= list->factor;
		if (value >= 18446744073709551616.0)
			return -EINVAL;
		*ret = fraction ? (uint64_t)(value + 0.5)
				: whole * (uint64_t)list->factor;
		return 0;
	}
	return -EINVAL;
}

int ms_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const struct suffix units[] = {
		{"", 1},       {"B", 1},	{"K", 0x1p10}, {"KiB", 0x1p10},
		{"M", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30}, {"GiB", 0x1p30},
		{"T", 0x1p40}, {"TiB", 0x1p40}, {NULL, 0},
	};

	return parse_scaled(text, units, ret_bytes);
}

int ms_parse_duration(const char *text, uint64_t *ret_ns)
{
	static const struct suffix units[] = {
		{"ns", 1},   {"us", 1e3},   {"ms", 1e6},  {"s", 1e9},
		{"m", 60e9}, {"min", 60e9}, {"h", 36e11}, {NULL, 0},
	};

	/* Only zero may come without a unit. */
	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	return parse_scaled(text, units, ret_ns);
}

void ms_format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char unit[] = "\0KMGT";
	unsigned step = 0;

	while (step < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		step++;
	}
	if (step)
		(void)snprintf(buf, size, "%" PRIu64 "%c", bytes, unit[step]);
	else
		(void)snprintf(buf, size, "%" PRIu64, bytes);
}

static void format_duration(uint64_t ns, char *buf, size_t size)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} steps[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (ns && ns % steps[i].ns == 0) {
			(void)snprintf(buf, size, "%" PRIu64 "%s",
				       ns / steps[i].ns, steps[i].unit);
			return;
		}
	}
	(void)snprintf(buf, size, "%" PRIu64 "ns", ns);
}

/* As short as it can be and still give the same number back. */
static void format_real(double number, char *buf, size_t size)
{
	for (int digits = 6; digits <= 17; digits++) {
		(void)snprintf(buf, size, "%.*g", digits, number);
		double back = strtod(buf, NULL);
		if (!(back < number) && !(back > number))
			return;
	}
}

const struct ms_opt *ms_opt_find(const struct ms_opt *table, const char *name)
{
	for (; table && table->type != MS_OPT_T_END; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

static int out_of_range(const struct ms_opt *opt, const char *value)
{
	char low[32];
	char high[32];

	if (opt->type == MS_OPT_T_DURATION) {
		format_duration((uint64_t)opt->min, low, sizeof(low));
		format_duration((uint64_t)opt->max, high, sizeof(high));
	} else if (opt->type == MS_OPT_T_SIZE) {
		ms_format_size((uint64_t)opt->min, low, sizeof(low));
		if (opt->max >= 0x1p63)
			(void)snprintf(high, sizeof(high), "no limit");
		else
			ms_format_size((uint64_t)opt->max, high, sizeof(high));
	} else {
		(void)snprintf(low, sizeof(low), "%g", opt->min);
		(void)snprintf(high, sizeof(high), "%g", opt->max);
	}
	return ms_err(-EINVAL, "%s=%s is out of range (%s to %s)", opt->name,
		      value, low, high);
}

static int check_range(const struct ms_opt *opt, double number,
		       const char *value)
{
	bool bounded = opt->min != 0 || opt->max != 0;

	if (bounded && (number < opt->min || number > opt->max))
		return out_of_range(opt, value);
	return 0;
}

static int set_number(const struct ms_opt *opt, void *field, const char *value)
{
	static int (*const parsers[])(const char *, uint64_t *) = {
		[MS_OPT_T_UINT] = ms_parse_uint,
		[MS_OPT_T_SIZE] = ms_parse_size,
		[MS_OPT_T_DURATION] = ms_parse_duration,
	};
	static const char *const takes[] = {
		[MS_OPT_T_UINT] = "a whole number",
		[MS_OPT_T_SIZE] = "a size such as 4096, 64K or 1G",
		[MS_OPT_T_DURATION] = "a time such as 20ms or 5s",
	};
	uint64_t number = 0;

	if (parsers[opt->type](value, &number))
		return ms_err(-EINVAL, "%s takes %s, not \"%s\"", opt->name,
			      takes[opt->type], value);
	int rc = check_range(opt, (double)number, value);
	if (rc == 0)
		*(uint64_t *)field = number;
	return rc;
}

static int set_real(const struct ms_opt *opt, double *field, const char *value)
{
	double number = 0;

	if (ms_parse_real(value, &number))
		return ms_err(-EINVAL, "%s takes a number, not \"%s\"",
			      opt->name, value);
	int rc = check_range(opt, number, value);
	if (rc == 0)
		*field = number;
	return rc;
}

static int set_flag(const struct ms_opt *opt, bool *field, const char *value)
{
	static const char *const yes[] = {"yes", "true", "on", "1", NULL};
	static const char *const no[] = {"no", "false", "off", "0", NULL};

	for (int i = 0; yes[i]; i++) {
		if (strcmp(value, yes[i]) != 0 && strcmp(value, no[i]) != 0)
			continue;
		*field = strcmp(value, yes[i]) == 0;
		return 0;
	}
	return ms_err(-EINVAL, "%s takes yes or no, not \"%s\"", opt->name,
		      value);
}

static int set_choice(const struct ms_opt *opt, int *field, const char *value)
{
	char list[200] = "";

	for (int i = 0; opt->choices[i]; i++) {
		size_t used = strlen(list);
		if (strcmp(opt->choices[i], value) == 0) {
			*field = i;
			return 0;
		}
		(void)snprintf(list + used, sizeof(list) - used, "%s%s",
			       i ? ", " : "", opt->choices[i]);
	}
	return ms_err(-EINVAL, "%s is one of %s, not \"%s\"", opt->name, list,
		      value);
}

static int set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return ms_err(-ENOMEM, "option value");
	free(*field);
	*field = copy;
	return 0;
}

static int set_field(const struct ms_opt *opt, void *config, const char *value)
{
	void *field = (char *)config + opt->offset;

	switch (opt->type) {
	case MS_OPT_T_FLAG:
		return set_flag(opt, field, value);
	case MS_OPT_T_UINT:
	case MS_OPT_T_SIZE:
	case MS_OPT_T_DURATION:
		return set_number(opt, field, value);
	case MS_OPT_T_REAL:
		return set_real(opt, field, value);
	case MS_OPT_T_STRING:
		return set_string(field, value);
	case MS_OPT_T_CHOICE:
		return set_choice(opt, field, value);
	case MS_OPT_T_BACKEND:
	case MS_OPT_T_END:
		break;
	}
	return ms_err(-EINVAL, "%s takes a pipeline", opt->name);
}

int ms_opt_set(const struct ms_opt *table, void *config, const char *name,
	       const char *value)
{
	const struct ms_opt *opt = ms_opt_find(table, name);

	if (!opt)
		return ms_err(-EINVAL, "there is no option \"%s\"", name);
	return set_field(opt, config, value);
}

int ms_opt_defaults(const struct ms_opt *table, void *config)
{
	for (; table && table->type != MS_OPT_T_END; table++) {
		if (!table->def)
			continue;
		int rc = set_field(table, config, table->def);
		if (rc)
			return rc;
	}
	return 0;
}

void ms_opt_release(const struct ms_opt *table, void *config)
{
	for (; table && table->type != MS_OPT_T_END; table++) {
		if (table->type != MS_OPT_T_STRING)
			continue;
		char **field = (char **)((char *)config + table->offset);
		free(*field);
		*field = NULL;
	}
}

void ms_opt_format(const struct ms_opt *opt, const void *config, char *buf,
		   size_t size)
{
	const void *field = (const char *)config + opt->offset;
	const char *text = NULL;

	buf[0] = '\0';
	switch (opt->type) {
	case MS_OPT_T_FLAG:
		text = *(const bool *)field ? "yes" : "no";
		break;
	case MS_OPT_T_UINT:
		(void)snprintf(buf, size, "%" PRIu64, *(const uint64_t *)field);
		break;
	case MS_OPT_T_SIZE:
		ms_format_size(*(const uint64_t *)field, buf, size);
		break;
	case MS_OPT_T_DURATION:
		format_duration(*(const uint64_t *)field, buf, size);
		break;
	case MS_OPT_T_REAL:
		format_real(*(const double *)field, buf, size);
		break;
	case MS_OPT_T_STRING:
		text = *(char *const *)field;
		break;
	case MS_OPT_T_CHOICE:
		text = opt->choices[*(const int *)field];
		break;
	case MS_OPT_T_BACKEND:
	case MS_OPT_T_END:
		break;
	}
	if (text)
		(void)snprintf(buf, size, "%s", text);
}

void ms_opt_dump(const struct ms_opt *table, const void *config, FILE *out)
{
	char value[512];

	for (; table && table->type != MS_OPT_T_END; table++) {
		if (table->type == MS_OPT_T_BACKEND)
			continue;
		ms_opt_format(table, config, value, sizeof(value));
		const char *text = value;
		/* A string of any length, a spec for example, is not cut. */
		if (table->type == MS_OPT_T_STRING)
			text = *(char *const *)((const char *)config +
						table->offset);
		(void)fprintf(out, "%s=%s\n", table->name, text ? text : "");
	}
}

static void help_choices(const struct ms_opt *opt, FILE *out)
{
	(void)fprintf(out, ": ");
	for (int i = 0; opt->choices[i]; i++)
		(void)fprintf(out, "%s%s", i ? ", " : "", opt->choices[i]);
}

void ms_opt_help(const struct ms_opt *table, FILE *out)
{
	char left[64];

	for (; table && table->type != MS_OPT_T_END; table++) {
		char letter[8] = "    ";
		if (table->letter)
			(void)snprintf(letter, sizeof(letter), "-%c, ",
				       table->letter);
		(void)snprintf(left, sizeof(left), "%s--%s%s%s", letter,
			       table->name,
			       table->type == MS_OPT_T_FLAG ? "" : "=",
			       table->type == MS_OPT_T_FLAG ? "" : table->meta);
		(void)fprintf(out, "  %-28s %s", left, table->help);
		if (table->type == MS_OPT_T_CHOICE)
			help_choices(table, out);
		if (table->def && table->def[0])
			(void)fprintf(out, " [%s]", table->def);
		(void)fprintf(out, "\n");
	}
}

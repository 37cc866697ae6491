/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables: each type on both sides of its bounds, bad texts, defaults,
 * the dump that reads back as it was, and whole command lines with what they
 * print: one line on stderr for a mistake, never more.
 */
#include "tests/check.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

struct config {
	uint64_t count, size, time;
	double rate;
	bool verbose, quiet;
	char *name;
	char *must;
	int mode;
	void *next;
};

static const char *const modes[] = {"fast", "slow", NULL};

static const struct ms_opt table[] = {
	MS_OPT_UINT(struct config, count, "count", 'c', "7", 2, 1000, "number"),
	MS_OPT_SIZE(struct config, size, "size", 's', "64K", 4096, 1 << 20,
		    "bytes"),
	MS_OPT_ENTRY(struct config, time, "time", 't', MS_OPT_T_DURATION, 1000,
		     5e9, "20ms", "TIME", "wait"),
	MS_OPT_REAL(struct config, rate, "rate", 'r', "0.5", 0, 1, "FRACTION",
		    "share"),
	MS_OPT_FLAG(struct config, verbose, "verbose", 'v', "say more"),
	MS_OPT_FLAG(struct config, quiet, "quiet", 0, "say less"),
	MS_OPT_STRING(struct config, name, "name", 'n', "x", "NAME", "called"),
	MS_OPT_CHOICE(struct config, mode, "mode", 'm', "slow", modes, "how"),
	MS_OPT_BACKEND(struct config, next, "next", "what follows"),
	MS_OPT_END,
};

/* --- single values -------------------------------------------------------- */

static const struct {
	const char *text;
	uint64_t value;
} sizes[] = {
	{"0", 0},
	{"4096", 4096},
	{"4096B", 4096},
	{"64K", 65536},
	{"64k", 65536},
	{"1KiB", 1024},
	{"1.5M", 1572864},
	{"0.5K", 512},
	{"2MiB", 2 << 20},
	{"16G", UINT64_C(16) << 30},
	{"1GiB", 1 << 30},
	{"16777215T", UINT64_C(16777215) << 40},
	{"1TiB", UINT64_C(1) << 40},
	{"18446744073709551615", UINT64_MAX},
};
static const struct {
	const char *text;
	uint64_t ns;
} times[] = {
	{"0", 0},
	{"0s", 0},
	{"1ns", 1},
	{"20ms", 20000000},
	{"1.5us", 1500},
	{"2s", 2000000000},
	{"1m", 60000000000},
	{"2min", 120000000000},
	{"1h", 3600000000000},
};
static const char *const no_size[] = {"",
				      " 1",
				      "1 ",
				      "-1",
				      "+1",
				      "K",
				      "1KK",
				      "1Kb",
				      "1.5",
				      "1.5B",
				      "0x10",
				      "1e3",
				      "1.5e3K",
				      "1,5K",
				      "1P",
				      "nan",
				      "inf",
				      "16777216T",
				      "18446744073709551616"};
static const char *const no_time[] = {"",     "1",	     "1 s", "-1s",
				      "s",    "1d",	     "1.5", "1.5ns",
				      "1e3s", "99999999999h"};
static const char *const no_uint[] = {"",
				      " 1",
				      "-1",
				      "+1",
				      "1 ",
				      "1.0",
				      "0x",
				      "1a",
				      "0b1",
				      "1K",
				      "18446744073709551616"};
static const char *const no_real[] = {"",      "-1",  "+1",  "nan", "inf",
				      "1e999", "1%%", "1 %", "a"};
static void test_parsers(void)
{
	uint64_t v = 99;
	double d = 99;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK_EQ(ms_parse_size(sizes[i].text, &v), 0);
		CHECK_EQ(v, sizes[i].value);
	}
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		CHECK_EQ(ms_parse_duration(times[i].text, &v), 0);
		CHECK_EQ(v, times[i].ns);
	}
	v = 99;
	for (size_t i = 0; i < sizeof(no_size) / sizeof(no_size[0]); i++)
		if (ms_parse_size(no_size[i], &v) != -EINVAL)
			CHECK_STR(no_size[i], "refused");
	CHECK_EQ(v, 99); /* untouched on failure */
	for (size_t i = 0; i < sizeof(no_time) / sizeof(no_time[0]); i++)
		if (ms_parse_duration(no_time[i], &v) != -EINVAL)
			CHECK_STR(no_time[i], "refused");
	for (size_t i = 0; i < sizeof(no_uint) / sizeof(no_uint[0]); i++)
		if (ms_parse_uint(no_uint[i], &v) != -EINVAL)
			CHECK_STR(no_uint[i], "refused");
	for (size_t i = 0; i < sizeof(no_real) / sizeof(no_real[0]); i++)
		if (ms_parse_real(no_real[i], &d) != -EINVAL)
			CHECK_STR(no_real[i], "refused");
	CHECK_EQ(ms_parse_uint("010", &v), 0);
	CHECK_EQ(v, 10); /* not octal */
	CHECK_EQ(ms_parse_uint("0xfF", &v), 0);
	CHECK_EQ(v, 255);
	CHECK_EQ(ms_parse_real("12.5%", &d), 0);
	CHECK(d > 12.49 && d < 12.51);
}

static void test_format_size(void)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} list[] = {{0, "0"},	     {1023, "1023"},
		    {1024, "1K"},    {1536, "1536"},
		    {1 << 20, "1M"}, {3 << 19, "1536K"},
		    {1 << 30, "1G"}, {UINT64_C(5) << 40, "5T"}};
	char buf[32];

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		ms_format_size(list[i].bytes, buf, sizeof(buf));
		CHECK_STR(buf, list[i].text);
	}
}

/* --- the table ------------------------------------------------------------ */

struct value {
	const char *name;
	const char *text;
	const char *error; /* NULL: it is accepted */
};

static const struct value values[] = {
	{"count", "1", "count=1 is out of range (2 to 1000)"},
	{"count", "2", NULL},
	{"count", "1000", NULL},
	{"count", "1001", "count=1001 is out of range (2 to 1000)"},
	{"count", "ten", "count takes a whole number, not \"ten\""},
	{"size", "4095", "size=4095 is out of range (4K to 1M)"},
	{"size", "4K", NULL},
	{"size", "1M", NULL},
	{"size", "1048577", "size=1048577 is out of range (4K to 1M)"},
	{"size", "big", "size takes a size such as 4096, 64K or 1G, not"},
	{"time", "999ns", "time=999ns is out of range (1us to 5s)"},
	{"time", "1us", NULL},
	{"time", "5s", NULL},
	{"time", "5001ms", "time=5001ms is out of range (1us to 5s)"},
	{"time", "5", "time takes a time such as 20ms or 5s, not \"5\""},
	{"rate", "0", NULL},
	{"rate", "1", NULL},
	{"rate", "1.01", "rate=1.01 is out of range (0 to 1)"},
	{"rate", "-0.1", "rate takes a number, not \"-0.1\""},
	{"verbose", "yes", NULL},
	{"verbose", "0", NULL},
	{"verbose", "YES", "verbose takes yes or no, not \"YES\""},
	{"verbose", "", "verbose takes yes or no, not \"\""},
	{"mode", "fast", NULL},
	{"mode", "fas", "mode is one of fast, slow, not \"fas\""},
	{"name", "", NULL},
	{"next", "null", "next takes a pipeline"},
	{"colour", "1", "there is no option \"colour\""},
};

/* All but the strings. */
static bool same(const struct config *a, const struct config *b)
{
	return a->count == b->count && a->size == b->size &&
	       a->time == b->time && !(a->rate < b->rate) &&
	       !(a->rate > b->rate) && a->verbose == b->verbose &&
	       a->quiet == b->quiet && a->mode == b->mode;
}

static void test_values(void)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct value *v = &values[i];
		struct config c = {0};
		struct config before;
		CHECK_EQ(ms_opt_defaults(table, &c), 0);
		before = c;
		int rc = ms_opt_set(table, &c, v->name, v->text);
		if (rc != (v->error ? -EINVAL : 0))
			CHECK_STR(v->text, v->name);
		if (v->error) {
			CHECK_HAS(ms_err_text(), v->error);
			CHECK(same(&before, &c));
		}
		ms_opt_release(table, &c);
		CHECK(!c.name);
	}
}

static void test_defaults(void)
{
	struct config c = {0};

	CHECK_EQ(ms_opt_defaults(table, &c), 0);
	CHECK_EQ(c.count, 7);
	CHECK_EQ(c.size, 65536);
	CHECK_EQ(c.time, 20000000);
	CHECK(c.rate > 0.49 && c.rate < 0.51);
	CHECK(!c.verbose);
	CHECK_STR(c.name, "x");
	CHECK_EQ(c.mode, 1);
	ms_opt_release(table, &c);
	CHECK(ms_opt_find(table, "size") == &table[1]);
	CHECK(!ms_opt_find(table, "siz"));
	CHECK(!ms_opt_find(NULL, "size"));
}

/* What --dump-config prints gives the same configuration when it is set. */
static void test_dump_reads_back(void)
{
	static const char *const sets[][2] = {
		{"count", "999"},      {"size", "5000"},
		{"time", "1234567ns"}, {"rate", "0.1234567890123"},
		{"verbose", "yes"},    {"mode", "fast"},
	};
	struct config a = {0};
	struct config b = {0};
	char *text = NULL;
	size_t n = 0;
	char longest[3000];

	CHECK_EQ(ms_opt_defaults(table, &a), 0);
	CHECK_EQ(ms_opt_defaults(table, &b), 0);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		CHECK_EQ(ms_opt_set(table, &a, sets[i][0], sets[i][1]), 0);
	memset(longest, 'y', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	CHECK_EQ(ms_opt_set(table, &a, "name", longest), 0);
	FILE *out = open_memstream(&text, &n);
	CHECK(out);
	ms_opt_dump(table, &a, out);
	CHECK_EQ(fclose(out), 0);
	CHECK(!strstr(text, "next")); /* a pipeline stands elsewhere */
	char *rest = text;
	int lines = 0;
	for (char *line = NULL; (line = strsep(&rest, "\n")) && *line;
	     lines++) {
		char *value = strchr(line, '=');
		CHECK(value);
		*value++ = '\0';
		CHECK_EQ(ms_opt_set(table, &b, line, value), 0);
	}
	CHECK_EQ(lines, 8);
	CHECK_STR(b.name, a.name);
	CHECK(same(&a, &b));
	free(text);
	ms_opt_release(table, &a);
	ms_opt_release(table, &b);
}

/* --- command lines -------------------------------------------------------- */

static const struct ms_opt required[] = {
	MS_OPT_ENTRY(struct config, must, "must", 0, MS_OPT_T_STRING, 0, 0,
		     NULL, "TEXT", "needed", .required = true),
	MS_OPT_END,
};

struct line {
	const char *args[8];
	int rc;
	const char *out; /* part of stdout; NULL: nothing there */
	const char *err; /* part of stderr; NULL: nothing there */
	unsigned min, max;
	bool stop;
	bool needs;  /* uses the table `required` */
	int operand; /* expected index of the first; 0: not looked at */
};

static const struct line lines[] = {
	{.args = {NULL}, .operand = 1},
	{.args = {"--size=8K", "--mode", "fast", "-v"}, .operand = 5},
	{.args = {"-s8K", "-s", "16K", "-vc9"}, .operand = 5},
	{.args = {"a", "--verbose", "b"}, .max = 2, .operand = 2},
	{.args = {"a", "--verbose", "b"}, .max = 3, .stop = true, .operand = 1},
	{.args = {"--", "-v"}, .max = 1, .operand = 2},
	{.args = {"--size"}, .rc = -EINVAL, .err = "--size needs a value"},
	{.args = {"-s"}, .rc = -EINVAL, .err = "option -s needs a value"},
	{.args = {"--size="}, .rc = -EINVAL, .err = "size takes a size"},
	{.args = {"--size=1"}, .rc = -EINVAL, .err = "size=1 is out of range"},
	{.args = {"--colour"}, .rc = -EINVAL, .err = "no option --colour"},
	{.args = {"-x"}, .rc = -EINVAL, .err = "no option -x"},
	{.args = {"-vx"}, .rc = -EINVAL, .err = "no option -x"},
	{.args = {"--verbose=1"}, .rc = -EINVAL, .err = "--verbose=1"},
	{.args = {"--next=null"}, .rc = -EINVAL, .err = "no option --next"},
	{.args = {"--size=1\n2\x1b"}, .rc = -EINVAL, .err = "\"1?2?\""},
	{.args = {"a"}, .rc = -EINVAL, .err = "one operand too many"},
	{.args = {NULL},
	 .min = 1,
	 .max = 1,
	 .rc = -EINVAL,
	 .err = "an operand is missing"},
	{.args = {"a", "b"}, .min = 1, .max = UINT_MAX, .operand = 1},
	{.args = {NULL},
	 .needs = true,
	 .rc = -EINVAL,
	 .err = "--must is required"},
	{.args = {"--must=x"}, .needs = true, .operand = 2},
	{.args = {"--help"}, .rc = 1, .out = "Usage: memsync-x go [OPTIONS]\n"},
	{.args = {"--help"}, .rc = 1, .out = "-s, --size=SIZE"},
	{.args = {"--help"}, .rc = 1, .out = "bytes [64K]"},
	{.args = {"--help"}, .rc = 1, .out = "how: fast, slow [slow]"},
	{.args = {"--help"}, .rc = 1, .out = "\nThe end.\n"},
	{.args = {"--help", "--nonsense"}, .rc = 1, .out = "Usage"},
	{.args = {"--version"},
	 .rc = 1,
	 .out = "memsync-x go (memsync) " MS_VERSION "\n"},
	/* dumping needs no operands */
	{.args = {"--dump-config"}, .min = 1, .max = 1, .operand = 2},
};

/* Everything that is printed to `fd` while the parser runs. */
static int redirect(int fd, int *ret_saved)
{
	int pipes[2];

	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	*ret_saved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	CHECK(*ret_saved >= 0);
	CHECK_EQ(dup2(pipes[1], fd), fd);
	CHECK_EQ(close(pipes[1]), 0);
	return pipes[0];
}

static void restore(int fd, int saved, int from, char *text, size_t size)
{
	CHECK_EQ(fflush(NULL), 0);
	CHECK_EQ(dup2(saved, fd), fd);
	CHECK_EQ(close(saved), 0);
	ssize_t n = read(from, text, size - 1);
	CHECK(n >= 0);
	text[n] = '\0';
	CHECK_EQ(close(from), 0);
}

static void check_line(const struct line *l)
{
	struct ms_opt_command command = {.program = "memsync-x go",
					 .synopsis = "[OPTIONS]",
					 .summary = "Does it",
					 .epilogue = "The end.",
					 .table = l->needs ? required : table,
					 .operands_min = l->min,
					 .operands_max = l->max,
					 .stop_at_operand = l->stop};
	struct ms_opt_result result;
	struct config c = {0};
	char *argv[10] = {(char *)"x"};
	char out[4000];
	char err[4000];
	int saved[2];
	int argc = 1;

	for (; l->args[argc - 1]; argc++)
		argv[argc] = (char *)l->args[argc - 1];
	int from_out = redirect(STDOUT_FILENO, &saved[0]);
	int from_err = redirect(STDERR_FILENO, &saved[1]);
	int rc = ms_opt_parse(&command, &c, argc, argv, &result);
	restore(STDERR_FILENO, saved[1], from_err, err, sizeof(err));
	restore(STDOUT_FILENO, saved[0], from_out, out, sizeof(out));
	if (rc != l->rc)
		(void)fprintf(stderr, "%s: %s", l->args[0], err);
	CHECK_EQ(rc, l->rc);
	if (l->out)
		CHECK_HAS(out, l->out);
	else
		CHECK_STR(out, "");
	if (l->err) {
		CHECK_HAS(err, l->err);
		CHECK(strncmp(err, "memsync-x go: ", 14) == 0);
		CHECK(strchr(err, '\n') == err + strlen(err) - 1);
	} else {
		CHECK_STR(err, "");
	}
	if (l->operand)
		CHECK_EQ(result.first_operand, l->operand);
	ms_opt_release(command.table, &c);
}

static void test_values_from_argv(void)
{
	static char text[6][16] = {"x", "-s8K", "-vc9", "--mode", "fast", "-n"};
	char *argv[] = {text[0], text[1], text[2], text[3],
			text[4], text[5], text[0], NULL};
	const struct ms_opt_command command = {.program = "x", .table = table};
	struct ms_opt_result result;
	struct config c = {0};

	CHECK_EQ(ms_opt_parse(&command, &c, 7, argv, &result), 0);
	CHECK_EQ(c.size, 8192);
	CHECK_EQ(c.count, 9);
	CHECK(c.verbose && !c.quiet);
	CHECK_EQ(c.mode, 0);
	CHECK_EQ(c.time, 20000000);
	CHECK_STR(c.name, "x");
	CHECK(!result.dump_config);
	ms_opt_release(table, &c);
}

int main(void)
{
	test_parsers();
	test_format_size();
	test_values();
	test_defaults();
	test_dump_reads_back();
	test_values_from_argv();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		check_line(&lines[i]);
	return 0;
}

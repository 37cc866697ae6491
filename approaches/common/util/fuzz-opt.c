/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer of the value parsers: what is accepted must read back as the same
 * value from the text that it is printed as.
 */
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <stdlib.h>
#include <string.h>

struct config {
	uint64_t count, size, time;
	double rate;
	bool flag;
	char *name;
	int mode;
};

static const char *const modes[] = {"one", "two", "three", NULL};

static const struct ms_opt table[] = {
	MS_OPT_UINT(struct config, count, "count", 0, NULL, 0, 0, ""),
	MS_OPT_SIZE(struct config, size, "size", 0, NULL, 0, INT64_MAX, ""),
	MS_OPT_DURATION(struct config, time, "time", 0, NULL, ""),
	MS_OPT_REAL(struct config, rate, "rate", 0, NULL, 0, 0, "", ""),
	MS_OPT_FLAG(struct config, flag, "flag", 0, ""),
	MS_OPT_STRING(struct config, name, "name", 0, NULL, "", ""),
	MS_OPT_CHOICE(struct config, mode, "mode", 0, "two", modes, ""),
	MS_OPT_END,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct ms_opt *opt, const char *text)
{
	struct config a = {0};
	struct config b = {0};
	char first[600];
	char second[600];

	if (ms_opt_set(table, &a, opt->name, text)) {
		if (!*ms_err_text())
			abort();
		return;
	}
	ms_opt_format(opt, &a, first, sizeof(first));
	/* What was accepted is accepted again, and is the same. */
	if (ms_opt_set(table, &b, opt->name, first))
		abort();
	ms_opt_format(opt, &b, second, sizeof(second));
	if (strcmp(first, second) != 0)
		abort();
	if (a.count != b.count || a.size != b.size || a.time != b.time ||
	    memcmp(&a.rate, &b.rate, sizeof(a.rate)) != 0)
		abort();
	ms_opt_release(table, &a);
	ms_opt_release(table, &b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[512];

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (const struct ms_opt *o = table; o->type != MS_OPT_T_END; o++)
		check(o, text);
	return 0;
}

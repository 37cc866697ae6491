/* SPDX-License-Identifier: Apache-2.0 */
/* How metrics and units are called on axes and in tables. */
#include "harness/report/words.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *metric;
	const char *words;
} table[] = {
	{"first_access_us", "first access"},
	{"access_us_p50", "access, median"},
	{"access_us_p99", "access, 99 of 100"},
	{"access_us_p999", "access, 999 of 1000"},
	{"read_mib_s", "read"},
	{"read_open_mib_s", "read, opening included"},
	{"write_mib_s", "write until taken"},
	{"write_durable_mib_s", "write until durable"},
	{"cpu_source_s", "CPU time, source"},
	{"cpu_target_s", "CPU time, target"},
	{"op_us", "time of an I/O"},
};

const char *metric_words(const char *metric)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(table[i].metric, metric))
			return table[i].words;
	return metric;
}

const char *unit_words(const char *unit)
{
	return strcmp(unit, "us") != 0 ? unit : "\302\265s";
}

void number_words(double value, char *buf, size_t size)
{
	double size_of = fabs(value);
	int digits = 0;

	if (isnan(value)) {
		(void)snprintf(buf, size, "\342\200\223");
		return;
	}
	if (size_of > 0 && size_of < 0.1)
		(void)snprintf(buf, size, "%.3g", value);
	else {
		digits = size_of < 10 ? 2 : size_of < 100 ? 1 : 0;
		(void)snprintf(buf, size, "%.*f", digits, value);
	}
}

void size_words(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB",
					    "TiB"};
	size_t u = 0;

	while (u < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	(void)snprintf(buf, size, "%" PRIu64 " %s", bytes, units[u]);
}

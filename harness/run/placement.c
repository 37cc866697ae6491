/* SPDX-License-Identifier: Apache-2.0 */
/* Dividing the processors among the sides; see placement.h. */
#include "harness/run/placement.h"

#include <stdio.h>
#include <string.h>

const char *const placement_modes[] = {"split", "float", NULL};

/* Move the first `n` processors of `from` to `to` (all are left in if 0). */
static void take(cpu_set_t *from, int n, cpu_set_t *to)
{
	CPU_ZERO(to);
	for (int cpu = 0; cpu < CPU_SETSIZE && n > 0; cpu++) {
		if (!CPU_ISSET(cpu, from))
			continue;
		CPU_CLR(cpu, from);
		CPU_SET(cpu, to);
		n--;
	}
}

/* "0", "1-3,5" */
static void format(const cpu_set_t *set, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (int cpu = 0; cpu < CPU_SETSIZE && len < size; cpu++) {
		int last = cpu;

		if (!CPU_ISSET(cpu, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		len += (size_t)snprintf(buf + len, size - len,
					last > cpu ? "%s%d-%d" : "%s%d",
					len ? "," : "", cpu, last);
		cpu = last;
	}
}

void placement_make(enum placement_mode mode, struct placement *ret)
{
	struct placement p = {.pinned = false};
	cpu_set_t all;
	char source[24];
	char target[24];
	char link[24];
	int n = 0;

	CPU_ZERO(&all);
	if (sched_getaffinity(0, sizeof(all), &all) == 0)
		n = CPU_COUNT(&all);
	if (mode == PLACEMENT_FLOAT || n < 2) {
		(void)snprintf(p.remote_text, sizeof(p.remote_text),
			       "float of %d", n);
		(void)snprintf(p.local_text, sizeof(p.local_text),
			       "float of %d", n);
		*ret = p;
		return;
	}
	p.pinned = true;
	take(&all, 1, &p.source);
	p.link = p.source;
	if (n >= 4)
		take(&all, 1, &p.link);
	p.target = all;
	format(&p.source, source, sizeof(source));
	format(&p.target, target, sizeof(target));
	format(&p.link, link, sizeof(link));
	(void)snprintf(p.remote_text, sizeof(p.remote_text),
		       "source %s target %s link %s", source, target, link);
	(void)snprintf(p.local_text, sizeof(p.local_text), "float of %d", n);
	*ret = p;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a pull from a file; see pull-order.h. */
#include "approaches/nbd/pull-order.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int append(struct pull_order *o, uint64_t chunk)
{
	uint64_t *grown = o->chunks;

	/* Doubled when it is full, which is at powers of two. */
	if (!(o->count & (o->count - 1)))
		grown = realloc(o->chunks,
				(o->count ? 2 * o->count : 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	o->chunks = grown;
	o->chunks[o->count++] = chunk;
	return 0;
}

static int take_line(char *line, uint64_t chunk_bytes, struct pull_order *o)
{
	uint64_t offset;
	size_t len;

	line += strspn(line, " \t");
	len = strlen(line);
	while (len && strchr(" \t\r\n", line[len - 1]))
		line[--len] = '\0';
	if (!*line || *line == '#')
		return 0;
	if (ms_parse_size(line, &offset))
		return -EINVAL;
	return append(o, offset / chunk_bytes);
}

int pull_order_load(const char *path, uint64_t chunk_bytes,
		    struct pull_order *ret)
{
	struct pull_order o = {0};
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	unsigned long number = 0;
	int rc = 0;

	if (!f)
		return ms_err(-errno, "%s", path);
	while (!rc && getline(&line, &size, f) >= 0) {
		number++;
		rc = take_line(line, chunk_bytes, &o);
	}
	if (!rc && ferror(f))
		rc = -EIO;
	free(line);
	(void)fclose(f);
	if (rc) {
		pull_order_release(&o);
		return rc == -EINVAL ? ms_err(rc,
					      "%s:%lu: an offset in bytes "
					      "is expected",
					      path, number)
				     : ms_err(rc, "%s", path);
	}
	*ret = o;
	return 0;
}

void pull_order_release(struct pull_order *order)
{
	free(order->chunks);
	*order = (struct pull_order){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend `null`: reads zeros, forgets writes. It measures what stands above
 * it; it never stands in for data in a verified run.
 */
#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void null_submit(struct ms_backend *b, struct ms_io *io)
{
	struct ms_extent *extent = io->buf;

	(void)b;
	if (io->op == MS_OP_READ) {
		memset(io->buf, 0, io->length);
	} else if (io->op == MS_OP_EXTENTS) {
		*extent = (struct ms_extent){.offset = io->offset,
					     .length = io->length,
					     .type = MS_EXTENT_HOLE};
		io->extents_used = 1;
	} else if (io->op == MS_OP_RESIZE) {
		ms_size_set(b, io->offset);
	}
	ms_done(io, 0, NULL);
}

static void null_close(struct ms_backend *b)
{
	free(b);
}

static const struct ms_backend_ops null_ops = {
	.name = "null",
	.submit = null_submit,
	.close = null_close,
};

struct null_config {
	uint64_t size;
};

static const struct ms_opt null_options[] = {
	MS_OPT_SIZE(struct null_config, size, "size", 0, "64M", 0, INT64_MAX,
		    "size of the region"),
	MS_OPT_END,
};

static int null_open(const void *config, struct ms_backend **ret)
{
	const struct null_config *c = config;
	struct ms_backend *b = malloc(sizeof(*b));

	if (!b)
		return ms_err(-ENOMEM, "null");
	ms_backend_init(b, &null_ops, c->size,
			MS_CAN_WRITE | MS_CAN_FUA | MS_CAN_ZERO | MS_CAN_TRIM |
				MS_CAN_EXTENTS | MS_CAN_RESIZE);
	*ret = b;
	return 0;
}

const struct ms_backend_type ms_null_type = {
	.name = "null",
	.summary = "reads zeros, forgets writes (to measure what is above it)",
	.kind = MS_TEST,
	.options = null_options,
	.config_size = sizeof(struct null_config),
	.open = null_open,
	.example = "null:size={size}",
};

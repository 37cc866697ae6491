/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of memsync-uffd share; see uffd-cmd.h. */
#include "approaches/uffd/uffd-cmd.h"

#include <stddef.h>

const char *const uffd_cmd_variants[] = {"tuned", "thesis", NULL};
const char *const uffd_cmd_placements[] = {"same", "other", "float", NULL};

struct memsync_uffd_options
uffd_cmd_options(const struct uffd_cmd_engine *engine)
{
	return (struct memsync_uffd_options){
		.variant = (enum memsync_uffd_variant)engine->variant,
		.placement = (enum memsync_uffd_placement)engine->placement,
		.chunk_bytes = engine->chunk,
		.span_bytes = engine->span,
		.window_bytes = engine->window,
		.workers = (unsigned)engine->workers,
		.deadline_ns = engine->deadline,
		.no_pull = engine->no_pull,
		.no_huge = engine->no_huge,
	};
}

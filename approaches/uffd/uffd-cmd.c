/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of memsync-uffd share; see uffd-cmd.h. */
#include "approaches/uffd/uffd-cmd.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <pthread.h>
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

int uffd_cmd_error(const char *program, int rc)
{
	(void)fprintf(stderr, "%s: %s\n", program, ms_err_text());
	if (rc == -EPERM || rc == -ENOSYS)
		return 77;
	return rc == -EINVAL ? 2 : 1;
}

static void waited_for(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
}

void uffd_cmd_block_signals(sigset_t *ret_before)
{
	sigset_t set;

	waited_for(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

int uffd_cmd_wait_signal(void)
{
	sigset_t set;
	int got = 0;

	waited_for(&set);
	while (sigwait(&set, &got))
		continue;
	return got;
}

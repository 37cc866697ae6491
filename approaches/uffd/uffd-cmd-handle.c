/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-uffd handle: answers the faults of other processes. */
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-cmd.h"
#include "approaches/uffd/uffd-service.h"

#include <inttypes.h>

#define PROGRAM "memsync-uffd handle"

struct config {
	struct uffd_cmd_engine engine;
	char *listen;
};

static const struct ms_opt options[] = {
	MS_OPT_ENTRY(struct config, listen, "listen", 'l', MS_OPT_T_STRING, 0,
		     0, NULL, "PATH",
		     "Unix socket where regions are taken over",
		     .required = true),
	UFFD_CMD_ENGINE_OPTIONS(struct config, engine),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] --listen=PATH SPEC|URI",
	.summary = "Answer the page faults of processes that hand over their "
		   "memory",
	.table = options,
	.operands_min = 1,
	.operands_max = 1,
};

static int run(const struct config *c, const char *spec)
{
	struct memsync_uffd_options o = uffd_cmd_options(&c->engine);
	struct ms_uffd_service *service = NULL;
	struct ms_backend *backend = NULL;
	struct memsync_uffd_stats stats;
	sigset_t before;

	ms_program_block_signals(&before);
	int rc = ms_open(spec, &backend);
	if (rc)
		return ms_program_error(PROGRAM, rc);
	rc = ms_uffd_service_open(c->listen, backend, &o, &service);
	if (rc)
		return ms_program_error(PROGRAM, rc);
	(void)printf("listening on %s\n", c->listen);
	(void)fflush(stdout);
	(void)ms_program_wait_signal();
	ms_uffd_service_stats(service, &stats);
	if (stats.errors)
		(void)fprintf(stderr,
			      PROGRAM ": %" PRIu64 " requests failed, "
				      "last: %s\n",
			      stats.errors, ms_errno_text(stats.error));
	ms_uffd_service_close(service);
	return 0;
}

int uffd_cmd_handle(int argc, char **argv)
{
	struct config c = {0};
	struct ms_opt_result parsed;
	int rc = ms_opt_parse(&command, &c, argc, argv, &parsed);
	int code = 0;

	if (rc < 0)
		code = 2;
	else if (rc == 0 && parsed.dump_config)
		ms_opt_dump(options, &c, stdout);
	else if (rc == 0)
		code = run(&c, argv[parsed.first_operand]);
	ms_opt_release(options, &c);
	return code;
}

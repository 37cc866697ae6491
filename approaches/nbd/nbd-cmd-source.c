/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-nbd source: gives regions to mounts, over the memsync protocol. */
#include "approaches/common/cli/program.h"
#include "approaches/common/cli/regions.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "approaches/common/wire/server.h"
#include "approaches/nbd/nbd-cmd.h"

#include <stdio.h>

#define PROGRAM "memsync-nbd source"

struct config {
	char *listen;
	uint64_t chunk;
	bool read_only;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, listen, "listen", 'l',
		      "tcp://127.0.0.1:7000", "URI",
		      "where to listen: tcp://HOST:PORT or unix:///PATH; port "
		      "0: any free one"),
	MS_OPT_SIZE(struct config, chunk, "chunk", 'c', "64K", 4096, 1U << 28,
		    "unit of transfer that targets are told"),
	MS_OPT_FLAG(struct config, read_only, "read-only", 'r',
		    "refuse to be written"),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] [NAME=]SPEC...",
	.summary = "Give regions to mounts on other hosts, to read and write, "
		   "over the memsync protocol",
	.epilogue = "The first region is the one for targets that name none; "
		    "without NAME it is\ncalled \"default\".",
	.table = options,
	.operands_min = 1,
	.operands_max = MS_REGIONS_MAX,
};

static int serve(const struct config *c, const struct ms_regions *regions)
{
	struct ms_server_export exports[MS_REGIONS_MAX];
	const struct ms_server_config config = {.exports = exports,
						.export_count = regions->count,
						.listen = c->listen};
	struct ms_server *server = NULL;
	int rc;

	for (size_t i = 0; i < regions->count; i++)
		exports[i] = (struct ms_server_export){
			.name = regions->list[i].name,
			.backend = regions->list[i].backend,
			.read_only = c->read_only,
			.chunk_bytes = (uint32_t)c->chunk};
	rc = ms_server_open(&config, &server);
	if (rc)
		return rc;
	(void)printf("listening on %s\n", ms_server_uri(server));
	(void)fflush(stdout);
	(void)ms_program_wait_signal();
	ms_server_stop(server);
	return 0;
}

static int run(const struct config *c, int argc, char **argv)
{
	struct ms_regions regions = {0};
	sigset_t before;
	int rc = 0;
	int code;

	ms_program_block_signals(&before);
	for (int i = 0; i < argc && rc == 0; i++)
		rc = ms_regions_add(&regions, argv[i]);
	if (rc == 0)
		rc = serve(c, &regions);
	code = rc ? ms_program_error(PROGRAM, rc) : 0;
	ms_regions_close(&regions);
	return code;
}

int nbd_cmd_source(int argc, char **argv)
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
		code = run(&c, argc - parsed.first_operand,
			   argv + parsed.first_operand);
	ms_opt_release(options, &c);
	return code;
}

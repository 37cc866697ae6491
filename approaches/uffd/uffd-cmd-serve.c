/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-uffd serve: the source; gives regions to targets, read-only. */
#include "approaches/common/util/err.h"
#include "approaches/common/wire/server.h"
#include "approaches/uffd/uffd-cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "memsync-uffd serve"

enum {
	EXPORTS_MAX = 64
};

struct config {
	char *listen;
	uint64_t chunk;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, listen, "listen", 'l',
		      "tcp://127.0.0.1:7000", "URI",
		      "where to listen: tcp://HOST:PORT or unix:///PATH; port "
		      "0: any free one"),
	MS_OPT_SIZE(struct config, chunk, "chunk", 'c', "64K", 4096, 1U << 28,
		    "unit of transfer that targets are told"),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] [NAME=]SPEC...",
	.summary = "Give regions to targets, read-only",
	.epilogue = "The first region is the one for targets that name none; "
		    "without NAME it is\ncalled \"default\".",
	.table = options,
	.operands_min = 1,
	.operands_max = EXPORTS_MAX,
};

struct exports {
	struct ms_server_export list[EXPORTS_MAX];
	char *names[EXPORTS_MAX];
	size_t count;
};

static void close_all(struct exports *e)
{
	for (size_t i = 0; i < e->count; i++) {
		ms_close(e->list[i].backend);
		free(e->names[i]);
	}
	e->count = 0;
}

/* "NAME=SPEC", where a name has no colon: SPEC may have = too. */
static int add(struct exports *e, const char *operand, uint32_t chunk)
{
	const char *equals = strchr(operand, '=');
	const char *colon = strchr(operand, ':');
	const char *spec = operand;
	struct ms_backend *backend = NULL;
	char *name = NULL;

	if (equals && equals > operand && (!colon || equals < colon)) {
		name = strndup(operand, (size_t)(equals - operand));
		spec = equals + 1;
	} else {
		name = strdup("default");
	}
	if (!name)
		return ms_err(-ENOMEM, "export");
	int rc = 0;
	for (size_t i = 0; i < e->count && rc == 0; i++)
		if (strcmp(e->names[i], name) == 0)
			rc = ms_err(-EINVAL, "two regions are called %s", name);
	if (rc == 0)
		rc = ms_open(spec, &backend);
	if (rc) {
		free(name);
		return rc;
	}
	e->names[e->count] = name;
	e->list[e->count++] = (struct ms_server_export){.name = name,
							.backend = backend,
							.read_only = true,
							.chunk_bytes = chunk};
	return 0;
}

static int run(const struct config *c, int argc, char **argv)
{
	struct exports exports = {0};
	struct ms_server_config server_config = {.listen = c->listen};
	struct ms_server *server = NULL;
	sigset_t before;
	int rc = 0;

	uffd_cmd_block_signals(&before);
	for (int i = 0; i < argc && rc == 0; i++)
		rc = add(&exports, argv[i], (uint32_t)c->chunk);
	if (rc == 0) {
		server_config.exports = exports.list;
		server_config.export_count = exports.count;
		rc = ms_server_open(&server_config, &server);
	}
	if (rc == 0) {
		(void)printf("listening on %s\n", ms_server_uri(server));
		(void)fflush(stdout);
		(void)uffd_cmd_wait_signal();
		ms_server_stop(server);
	}
	int code = rc ? uffd_cmd_error(PROGRAM, rc) : 0;
	close_all(&exports);
	return code;
}

int uffd_cmd_serve(int argc, char **argv)
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

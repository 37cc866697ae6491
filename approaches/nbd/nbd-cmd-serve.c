/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-nbd serve: gives regions to NBD clients. */
#include "approaches/common/cli/program.h"
#include "approaches/common/cli/regions.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "approaches/common/wire/tls.h"
#include "approaches/nbd/nbd-cmd.h"
#include "approaches/nbd/nbd-server.h"

#include <errno.h>
#include <stdio.h>

#define PROGRAM "memsync-nbd serve"

enum {
	VARIANT_TUNED,
	VARIANT_THESIS
};

static const char *const variants[] = {"tuned", "thesis", NULL};
/* In the order of enum nbd_tls_mode. */
static const char *const tls_modes[] = {"off", "on", "require", NULL};

struct config {
	char *listen;
	char *description;
	bool read_only;
	uint64_t minimum;
	uint64_t preferred;
	uint64_t maximum;
	bool no_multi_conn;
	int variant;
	uint64_t connections;
	uint64_t handshake;
	uint64_t stall;
	int tls;
	char *tls_cert;
	char *tls_key;
	char *tls_ca;
};

static const struct ms_opt options[] = {
	MS_OPT_STRING(struct config, listen, "listen", 'l',
		      "nbd://127.0.0.1:10809/", "URI",
		      "where to listen: nbd://HOST:PORT/, "
		      "nbd+unix:///?socket=PATH, tcp://HOST:PORT or "
		      "unix:///PATH; port 0: any free one"),
	MS_OPT_FLAG(struct config, read_only, "read-only", 'r',
		    "refuse to change the regions"),
	MS_OPT_STRING(struct config, description, "description", 'd', NULL,
		      "TEXT", "what clients are told about the regions"),
	MS_OPT_SIZE(struct config, minimum, "minimum-block", 0, "0", 0, 65536,
		    "unit of offsets and lengths; 0: the region's own"),
	MS_OPT_SIZE(struct config, preferred, "preferred-block", 0, "0", 0,
		    NBD_BLOCK_MAX,
		    "unit that clients should use; 0: 4K or the minimum"),
	MS_OPT_SIZE(struct config, maximum, "maximum-block", 0, "0", 0,
		    NBD_BLOCK_MAX, "longest read or write; 0: 32M"),
	MS_OPT_FLAG(struct config, no_multi_conn, "no-multi-conn", 0,
		    "do not invite clients to use several connections"),
	MS_OPT_CHOICE(struct config, variant, "variant", 'v', "tuned", variants,
		      "thesis: one request at a time"),
	MS_OPT_UINT(struct config, connections, "connections", 'c', "1024", 1,
		    65536, "connections at most"),
	MS_OPT_DURATION(struct config, handshake, "handshake-timeout", 0, "10s",
			"time for a client's handshake"),
	MS_OPT_DURATION(struct config, stall, "stall-timeout", 0, "30s",
			"time for half a request or an unread answer"),
	MS_OPT_CHOICE(struct config, tls, "tls", 't', "off", tls_modes,
		      "whether clients may or must encrypt"),
	MS_OPT_STRING(struct config, tls_cert, "tls-cert", 0, NULL, "FILE",
		      "our certificate with its chain, PEM"),
	MS_OPT_STRING(struct config, tls_key, "tls-key", 0, NULL, "FILE",
		      "its key, PEM"),
	MS_OPT_STRING(struct config, tls_ca, "tls-ca", 0, NULL, "FILE",
		      "authorities one of which must have signed a client's "
		      "certificate, PEM; none: anybody may come"),
	MS_OPT_END,
};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "[OPTIONS] [NAME=]SPEC...",
	.summary = "Give regions to NBD clients",
	.epilogue = "The first region is the one for clients that name none; "
		    "without NAME it is\ncalled \"default\".",
	.table = options,
	.operands_min = 1,
	.operands_max = MS_REGIONS_MAX,
};

static int open_tls(const struct config *c, struct ms_tls **ret)
{
	const struct ms_tls_config config = {.server = true,
					     .allow_1_2 = true,
					     .certificate = c->tls_cert,
					     .key = c->tls_key,
					     .authorities = c->tls_ca};

	if (c->tls != NBD_TLS_OFF)
		return ms_tls_new(&config, ret);
	if (c->tls_cert || c->tls_key || c->tls_ca)
		return ms_err_plain(-EINVAL, "TLS files without --tls=on or "
					     "--tls=require");
	return 0;
}

static int open_server(const struct config *c, const struct ms_regions *regions,
		       struct ms_tls *tls, struct nbd_server **ret)
{
	struct nbd_server_export exports[MS_REGIONS_MAX];
	const struct nbd_server_config config = {
		.exports = exports,
		.export_count = regions->count,
		.listen = c->listen,
		.connections_max = (uint32_t)c->connections,
		.handshake_ns = c->handshake,
		.stall_ns = c->stall,
		.serial = c->variant == VARIANT_THESIS,
		.no_multi_conn = c->no_multi_conn,
		.tls_mode = (enum nbd_tls_mode)c->tls,
		.tls = tls,
	};

	for (size_t i = 0; i < regions->count; i++)
		exports[i] = (struct nbd_server_export){
			.name = regions->list[i].name,
			.description = c->description,
			.backend = regions->list[i].backend,
			.read_only = c->read_only,
			.block_minimum = (uint32_t)c->minimum,
			.block_preferred = (uint32_t)c->preferred,
			.block_maximum = (uint32_t)c->maximum,
		};
	return nbd_server_open(&config, ret);
}

/* 1 if the address could not be told. */
static int wait_for_end(struct nbd_server *server)
{
	if (printf("listening on %s\n", nbd_server_uri(server)) < 0 ||
	    fflush(stdout)) {
		(void)fprintf(stderr, PROGRAM ": cannot write\n");
		return 1;
	}
	(void)ms_program_wait_signal();
	return 0;
}

static int run(const struct config *c, int argc, char **argv)
{
	struct ms_regions regions = {0};
	struct nbd_server *server = NULL;
	struct ms_tls *tls = NULL;
	sigset_t before;
	int code = 0;

	ms_program_block_signals(&before);
	int rc = open_tls(c, &tls);
	for (int i = 0; i < argc && rc == 0; i++)
		rc = ms_regions_add(&regions, argv[i]);
	if (rc == 0)
		rc = open_server(c, &regions, tls, &server);
	if (rc)
		code = ms_program_error(PROGRAM, rc);
	else
		code = wait_for_end(server);
	nbd_server_stop(server);
	ms_regions_close(&regions);
	ms_tls_free(tls);
	return code;
}

int nbd_cmd_serve(int argc, char **argv)
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

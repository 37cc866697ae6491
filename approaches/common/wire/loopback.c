/* SPDX-License-Identifier: Apache-2.0 */
/* A backend behind a server and a client of its own; see loopback.h. */
#include "approaches/common/wire/loopback.h"

#include "approaches/common/util/err.h"
#include "approaches/common/wire/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "approaches/common/wire/remote.h"

struct loopback {
	struct ms_backend *child;
	struct ms_server *server;
	char folder[64]; /* of the socket, "" if there is none */
};

static void loopback_free(struct loopback *l)
{
	ms_server_stop(l->server);
	if (*l->folder)
		(void)rmdir(l->folder);
	free(l);
}

static void after_close(void *user)
{
	struct loopback *l = user;
	struct ms_backend *child = l->child;

	loopback_free(l);
	ms_close(child);
}

static int listen_uri(struct loopback *l, const char *transport, char *uri,
		      size_t size)
{
	int n = -1;

	if (strcmp(transport, "pair") == 0)
		n = snprintf(uri, size, "pair://");
	if (strcmp(transport, "tcp") == 0)
		n = snprintf(uri, size, "tcp://127.0.0.1:0");
	if (strcmp(transport, "unix") == 0) {
		memcpy(l->folder, "/tmp/ms-loop-XXXXXX", 20);
		if (!mkdtemp(l->folder)) {
			*l->folder = '\0';
			return ms_err(-errno, "loopback: a folder");
		}
		n = snprintf(uri, size, "unix://%s/s", l->folder);
	}
	if (n < 0 || (size_t)n >= size)
		return ms_err(-EINVAL, "there is no transport \"%s\"",
			      transport);
	return 0;
}

int ms_wire_loopback(struct ms_backend *child, const char *transport,
		     struct ms_backend **ret)
{
	struct loopback *l = calloc(1, sizeof(*l));
	struct ms_server_export export = {.name = "loopback", .backend = child};
	char uri[128];
	char spec[512];

	if (!l)
		return ms_err(-ENOMEM, "loopback");
	l->child = child;
	struct ms_server_config config = {
		.exports = &export, .export_count = 1, .listen = uri};
	int rc = listen_uri(l, transport, uri, sizeof(uri));
	if (rc == 0)
		rc = ms_server_open(&config, &l->server);
	if (rc == 0) {
		(void)snprintf(spec, sizeof(spec), "remote:uri=%s",
			       ms_server_uri(l->server));
		rc = ms_open(spec, ret);
	}
	if (rc)
		loopback_free(l);
	else
		remote_after_close(*ret, after_close, l);
	return rc;
}

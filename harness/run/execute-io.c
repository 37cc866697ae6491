/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of a run, and waiting for a port; see execute.h. */
#include "harness/run/execute.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/link/measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT_RETRY_NS (50 * MS_NS_PER_MS)

/* One attempt. */
static bool accepts(struct execution *x, uint16_t port)
{
	struct link *l = x->r->links.link;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct pollfd p = {.fd = -1, .events = POLLOUT};
	int error = 1;
	socklen_t len = sizeof(error);

	if (inet_pton(AF_INET, link_address(l, LINK_SOURCE), &a.sin_addr) !=
		    1 ||
	    link_socket(l, LINK_TARGET, SOCK_STREAM, &p.fd))
		return false;
	if (connect(p.fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		error = 0;
	else if (errno == EINPROGRESS && poll(&p, 1, 1000) == 1)
		(void)getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	(void)close(p.fd);
	return error == 0;
}

enum side_event execute_wait_port(struct execution *x, uint16_t port,
				  uint64_t deadline_ns)
{
	while (!accepts(x, port)) {
		uint64_t next = ms_now_ns() + PORT_RETRY_NS;
		enum side_event e =
			side_wait_end(&x->source, NULL, x->r->stop_fd, next);

		if (e == SIDE_DONE)
			return SIDE_LOST;
		if (e == SIDE_STOPPED)
			return e;
		if (ms_now_ns() >= deadline_ns)
			return SIDE_TIMEOUT;
	}
	return SIDE_DONE;
}

int execute_log_name(struct execution *x, size_t number)
{
	const struct cell *c = x->run->cell;
	char dir[sizeof(x->log) / 2];
	char absolute[PATH_MAX];
	char rtt[32] = "";

	(void)snprintf(dir, sizeof(dir), "%.1900s/log", x->r->dir);
	if (mkdir(dir, 0755) && errno != EEXIST)
		return ms_err(-errno, "%s", dir);
	/* The sides have another working directory. */
	if (!realpath(dir, absolute))
		return ms_err(-errno, "%s", dir);
	if (c->link)
		(void)snprintf(rtt, sizeof(rtt), "-%gms", c->link->rtt_ms);
	(void)snprintf(x->log, sizeof(x->log),
		       "%.3500s/%04zu-%.60s-%.30s-%.30s%s-%s%" PRIu64, absolute,
		       number, c->e->name, c->s->approach,
		       c->s->variant ? c->s->variant : "", rtt,
		       x->run->warmup ? "warmup" : "r", x->run->repetition);
	return 0;
}

static void remove_empty(const char *path)
{
	struct stat st;

	if (!stat(path, &st) && !st.st_size)
		(void)unlink(path);
}

void execute_keep_output(struct execution *x)
{
	static const char *const sides[] = {"source", "target"};
	char path[EXECUTE_PATH_MAX];
	FILE *f;

	if (!x->log[0])
		return;
	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s.%s.log", x->log,
			       sides[i]);
		remove_empty(path);
	}
	if (!x->target.len)
		return;
	(void)snprintf(path, sizeof(path), "%s.json", x->log);
	f = fopen(path, "we");
	if (!f)
		return;
	(void)fwrite(x->target.text, 1, x->target.len, f);
	(void)fclose(f);
}

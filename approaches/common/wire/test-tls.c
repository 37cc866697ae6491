/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams that encrypt: bytes both ways at once through full sockets, whose
 * certificates are believed, peers that say nothing or nonsense.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/tls.h"
#include "memsync/backend.h"
#include "tests/check.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_NS	  (20 * MS_NS_PER_S)
#define KEY_WORDS "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "

static char folder[256];

static const char *path(const char *name)
{
	static char text[4][300];
	static unsigned turn;
	char *out = text[turn++ % 4];

	(void)snprintf(out, sizeof(text[0]), "%s/%s", folder, name);
	return out;
}

/* Two authorities, each with a certificate for "localhost". */
static void make_certificates(void)
{
	static const char *const names[] = {"good", "other"};
	const char *tmp = getenv("TMP");
	char command[2048];

	(void)snprintf(folder, sizeof(folder), "%.200s/ms-tls-XXXXXX",
		       tmp ? tmp : "/tmp");
	CHECK(mkdtemp(folder));
	for (size_t i = 0; i < 2; i++) {
		const char *n = names[i];
		(void)snprintf(
			command, sizeof(command),
			"cd '%s' && { "
			"openssl req -x509 " KEY_WORDS "-days 2 -subj /CN=%s "
			"-keyout %s-ca-key.pem -out %s-ca.pem && "
			"openssl req " KEY_WORDS "-subj /CN=localhost "
			"-addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
			"-keyout %s-key.pem -out %s.csr && "
			"openssl x509 -req -in %s.csr -CA %s-ca.pem "
			"-CAkey %s-ca-key.pem -CAcreateserial -days 2 "
			"-copy_extensions copyall -out %s.pem; "
			"} >log 2>&1 || { cat log >&2; exit 1; }",
			folder, n, n, n, n, n, n, n, n, n);
		CHECK_EQ(system(command), 0); /* NOLINT: all of it is ours */
	}
}

static void remove_certificates(void)
{
	char command[512];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	CHECK_EQ(system(command), 0); /* NOLINT: all of it is ours */
}

static struct ms_tls *context(bool server, const char *certificate,
			      const char *key, const char *authorities)
{
	struct ms_tls_config config = {
		.server = server,
		.certificate = certificate ? path(certificate) : NULL,
		.key = key ? path(key) : NULL,
		.authorities = authorities ? path(authorities) : NULL};
	struct ms_tls *tls = NULL;

	if (ms_tls_new(&config, &tls)) {
		(void)fprintf(stderr, "%s\n", memsync_error());
		exit(1);
	}
	return tls;
}

/* --- two ends ------------------------------------------------------------- */

struct end {
	struct ms_tls *tls;
	struct ms_stream *inner;
	const char *host;
	struct ms_stream *stream;
	int rc;
	uint64_t seed;
};

static void *agree(void *arg)
{
	struct end *e = arg;

	e->rc = ms_tls_stream(e->tls, e->inner, e->host, ms_now_ns() + WAIT_NS,
			      -1, &e->stream);
	if (e->rc) {
		/* The other end must hear of it. */
		ms_stream_close(e->inner);
		e->inner = NULL;
	}
	return NULL;
}

static void make_ends(struct end *server, struct end *client)
{
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CHECK_EQ(ms_stream_new(fds[0], &server->inner), 0);
	CHECK_EQ(ms_stream_new(fds[1], &client->inner), 0);
}

/* Let both agree; the contexts are freed. */
static void meet(struct end *server, struct end *client)
{
	pthread_t thread;

	make_ends(server, client);
	CHECK_EQ(pthread_create(&thread, NULL, agree, server), 0);
	(void)agree(client);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	ms_tls_free(server->tls);
	ms_tls_free(client->tls);
}

/* --- bytes ---------------------------------------------------------------- */

enum {
	TOTAL = 5000011,
	ROOM = 70000
};

static void wait_stream(struct ms_stream *s, short events)
{
	struct pollfd p = {.fd = s->fd, .events = events};

	if (events == POLLIN && ms_stream_pending(s))
		return;
	CHECK_EQ(poll(&p, 1, 20000), 1);
}

static void *send_all(void *arg)
{
	struct end *e = arg;
	char *data = malloc(TOTAL);
	size_t at = 0;

	CHECK(data);
	ms_pattern_fill(e->seed, 0, data, TOTAL);
	while (at < TOTAL) {
		size_t left = TOTAL - at;
		size_t first = left < 17 ? left : 17;
		size_t next = left - first < 100000 ? left - first : 100000;
		struct iovec iov[2] = {{data + at, first},
				       {data + at + first, next}};
		ssize_t n = ms_stream_send(e->stream, iov, next ? 2 : 1);
		if (n == -EAGAIN) {
			wait_stream(e->stream, POLLOUT);
			continue;
		}
		CHECK(n > 0 && (size_t)n <= first + next);
		at += (size_t)n;
	}
	free(data);
	return NULL;
}

static void receive_all(struct end *e, uint64_t seed)
{
	char *data = malloc(ROOM);
	size_t at = 0;

	CHECK(data);
	while (at < TOTAL) {
		size_t left = TOTAL - at;
		size_t want = left < ROOM ? left : ROOM;
		struct iovec iov[2] = {{data, want / 3},
				       {data + want / 3, want - want / 3}};
		ssize_t n = ms_stream_recv(e->stream, iov, 2);
		if (n == -EAGAIN) {
			wait_stream(e->stream, POLLIN);
			continue;
		}
		CHECK(n > 0 && (size_t)n <= want);
		CHECK(ms_pattern_check(seed, at, data, (size_t)n, NULL));
		at += (size_t)n;
	}
	free(data);
}

/* One end: it sends on one thread while it receives on another one. */
static void *both_ways(void *arg)
{
	struct end *e = arg;
	pthread_t sender;

	CHECK_EQ(pthread_create(&sender, NULL, send_all, e), 0);
	receive_all(e, 3 - e->seed);
	CHECK_EQ(pthread_join(sender, NULL), 0);
	return NULL;
}

static void test_bytes(void)
{
	struct end server = {
		.tls = context(true, "good.pem", "good-key.pem", "good-ca.pem"),
		.seed = 1};
	struct end client = {.tls = context(false, "good.pem", "good-key.pem",
					    "good-ca.pem"),
			     .host = "localhost",
			     .seed = 2};
	pthread_t thread;
	char c = 0;
	struct iovec one = {&c, 1};

	meet(&server, &client);
	CHECK_EQ(server.rc, 0);
	CHECK_EQ(client.rc, 0);
	CHECK_EQ(ms_stream_recv(client.stream, &one, 1), -EAGAIN);
	CHECK_EQ(pthread_create(&thread, NULL, both_ways, &server), 0);
	(void)both_ways(&client);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	ms_stream_close(server.stream);
	wait_stream(client.stream, POLLIN);
	CHECK_EQ(ms_stream_recv(client.stream, &one, 1), 0);
	ms_stream_close(client.stream);
}

/* --- who is believed ------------------------------------------------------ */

static void test_certificates(void)
{
	static const struct {
		const char *server_ca; /* of clients */
		const char *client;    /* its certificate */
		const char *client_ca; /* of servers */
		const char *host;
		int server_rc; /* -1: some error */
		int client_rc;
	} cases[] = {
		{NULL, NULL, "good-ca.pem", "localhost", 0, 0},
		{NULL, NULL, "good-ca.pem", "127.0.0.1", 0, 0},
		{NULL, NULL, "good-ca.pem", "127.0.0.2", -1, -EACCES},
		{NULL, NULL, "good-ca.pem", "example.org", -1, -EACCES},
		{NULL, NULL, "other-ca.pem", "localhost", -1, -EACCES},
		{"good-ca.pem", "good", "good-ca.pem", "localhost", 0, 0},
		{"good-ca.pem", "other", "good-ca.pem", "localhost", -EACCES,
		 0},
		{"good-ca.pem", NULL, "good-ca.pem", "localhost", -EPROTO, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char pem[32];
		char key[32];
		bool own = cases[i].client;
		(void)snprintf(pem, sizeof(pem), "%s.pem",
			       own ? cases[i].client : "");
		(void)snprintf(key, sizeof(key), "%s-key.pem",
			       own ? cases[i].client : "");
		struct end server = {.tls = context(true, "good.pem",
						    "good-key.pem",
						    cases[i].server_ca)};
		struct end client = {.tls = context(false, own ? pem : NULL,
						    own ? key : NULL,
						    cases[i].client_ca),
				     .host = cases[i].host};
		meet(&server, &client);
		if (cases[i].server_rc == -1)
			CHECK(server.rc < 0);
		else
			CHECK_EQ(server.rc, cases[i].server_rc);
		CHECK_EQ(client.rc, cases[i].client_rc);
		/* A client that is refused hears of it when it reads. */
		if (server.rc && client.rc == 0) {
			char c = 0;
			struct iovec one = {&c, 1};
			wait_stream(client.stream, POLLIN);
			CHECK(ms_stream_recv(client.stream, &one, 1) < 0);
		}
		ms_stream_close(server.stream);
		ms_stream_close(client.stream);
	}
}

/* --- silence and nonsense ------------------------------------------------- */

static void test_no_peer(void)
{
	struct ms_tls *tls = context(true, "good.pem", "good-key.pem", NULL);
	struct end server = {0};
	struct end client = {0};
	struct ms_stream *stream = NULL;
	char nonsense[100] = "GET / HTTP/1.1\r\n\r\n";
	struct iovec iov = {nonsense, sizeof(nonsense)};
	int stop = eventfd(1, EFD_CLOEXEC);

	make_ends(&server, &client);
	uint64_t began = ms_now_ns();
	CHECK_EQ(ms_tls_stream(tls, server.inner, NULL,
			       began + 100 * MS_NS_PER_MS, -1, &stream),
		 -ETIMEDOUT);
	CHECK(ms_now_ns() - began < 10 * MS_NS_PER_S);
	CHECK_EQ(ms_tls_stream(tls, server.inner, NULL, ms_now_ns() + WAIT_NS,
			       stop, &stream),
		 -ECANCELED);
	CHECK_EQ(ms_stream_send(client.inner, &iov, 1), sizeof(nonsense));
	CHECK_EQ(ms_tls_stream(tls, server.inner, NULL, ms_now_ns() + WAIT_NS,
			       -1, &stream),
		 -EPROTO);
	ms_stream_close(client.inner);
	CHECK(ms_tls_stream(tls, server.inner, NULL, ms_now_ns() + WAIT_NS, -1,
			    &stream) < 0);
	ms_stream_close(server.inner);
	(void)close(stop);
	ms_tls_free(tls);
	ms_tls_free(NULL);
}

static void refuse(struct ms_tls_config config, const char *part)
{
	struct ms_tls *tls = NULL;

	CHECK_EQ(ms_tls_new(&config, &tls), -EINVAL);
	CHECK_HAS(memsync_error(), part);
}

static void test_configurations(void)
{
	struct ms_tls_config c = {.server = true};

	refuse(c, "needs a certificate");
	c.certificate = path("good.pem");
	refuse(c, "go together");
	c.key = path("other-key.pem");
	refuse(c, "other-key.pem");
	c.key = path("nothing");
	refuse(c, "nothing");
	c.key = path("good-key.pem");
	c.authorities = path("log");
	refuse(c, "log");
}

int main(void)
{
	make_certificates();
	test_configurations();
	test_bytes();
	test_certificates();
	test_no_peer();
	remove_certificates();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd store over TLS, with certificates and with pre-shared keys: what is
 * required is done or refused, never left out.
 */
#include "approaches/common/backend/test-nbd.h"

#include <netinet/in.h>
#include <sys/socket.h>

static void run(const char *dir, const char *script)
{
	char *command = NULL;

	CHECK(asprintf(&command, "cd '%s' && { %s; } >>log 2>&1", dir, script) >
	      0);
	if (system(command) != 0) {
		(void)fprintf(stderr, "failed: %s\n", command);
		exit(1);
	}
	free(command);
}

/* A CA, a server called localhost, and another CA that nobody signed with. */
static void make_certificates(const char *dir)
{
	run(dir,
	    "mkdir pki client other &&"
	    "printf 'cn=ca\\nca\\ncert_signing_key\\n' >ca.info &&"
	    "printf 'cn=localhost\\ndns_name=localhost\\ntls_www_server\\n"
	    "encryption_key\\nsigning_key\\n' >server.info &&"
	    "for d in pki other; do certtool --generate-privkey --ecc "
	    "--outfile $d/ca-key.pem && certtool --generate-self-signed "
	    "--load-privkey $d/ca-key.pem --template ca.info "
	    "--outfile $d/ca-cert.pem || exit 1; done &&"
	    "certtool --generate-privkey --ecc --outfile pki/server-key.pem &&"
	    "certtool --generate-certificate --load-ca-certificate "
	    "pki/ca-cert.pem --load-ca-privkey pki/ca-key.pem --load-privkey "
	    "pki/server-key.pem --template server.info "
	    "--outfile pki/server-cert.pem && cp pki/ca-cert.pem client/ &&"
	    "rm other/ca-key.pem && psktool -u alice -p keys.psk &&"
	    "psktool -u mallory -p wrong.psk");
}

static int attempt(struct ms_backend **ret, const char *uri,
		   const char *options)
{
	char *spec = NULL;

	CHECK(asprintf(&spec, "nbd:uri=(%s),connect-timeout=5s%s%s", uri,
		       *options ? "," : "", options) > 0);
	int rc = ms_open(spec, ret);
	(void)printf("%s: %s\n", spec, rc ? memsync_error() : "open");
	free(spec);
	return rc;
}

static bool is_encrypted(struct ms_backend *b)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	CHECK(out);
	ms_stats(b, out);
	CHECK_EQ(fclose(out), 0);
	bool yes = strstr(text, "\ntls yes\n") != NULL;
	CHECK(yes || strstr(text, "\ntls no\n"));
	free(text);
	return yes;
}

/* Bytes through it, more than one TLS record and than one request. */
static void use(struct ms_backend *b)
{
	size_t n = 3000001;
	char *bytes = malloc(n);
	char *again = malloc(n);

	CHECK(bytes && again);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 31 + i / 256);
	CHECK(is_encrypted(b));
	CHECK_EQ(ms_write_at(b, bytes, n, 77), 0);
	CHECK_EQ(ms_sync(b), 0);
	CHECK_EQ(ms_read_at(b, again, n, 77), 0);
	CHECK(memcmp(bytes, again, n) == 0);
	free(bytes);
	free(again);
	ms_close(b);
}

static unsigned free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, length) == 0 &&
	      getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	(void)close(fd);
	return ntohs(a.sin_port);
}

/* Names are checked over TCP: the certificate is that of "localhost". */
static void test_certificates(struct nbd_server *s)
{
	struct ms_backend *b = NULL;
	char good[300];
	char bad[300];
	char lax[320];
	char uri[200];
	char by_number[200];
	char port[16];
	char pki[300];
	unsigned number = free_port();

	(void)snprintf(port, sizeof(port), "%u", number);
	(void)snprintf(pki, sizeof(pki), "--tls-certificates=%s/pki", s->dir);
	(void)snprintf(good, sizeof(good), "certificates=%s/client", s->dir);
	(void)snprintf(bad, sizeof(bad), "certificates=%s/other", s->dir);
	(void)snprintf(lax, sizeof(lax), "%s,verify=no", bad);
	(void)snprintf(uri, sizeof(uri), "nbds://localhost:%u/", number);
	(void)snprintf(by_number, sizeof(by_number), "nbds://127.0.0.1:%u/",
		       number);
	const char *argv[] = {"nbdkit",
			      "--foreground",
			      "--ipaddr=127.0.0.1",
			      "--port",
			      port,
			      "--pidfile",
			      s->pidfile,
			      "--tls=require",
			      pki,
			      "memory",
			      "8M",
			      NULL};
	nbd_server_exec(s, argv);
	CHECK_EQ(attempt(&b, uri, good), 0);
	use(b);
	/* Signed by somebody else; or for another name. */
	CHECK(attempt(&b, uri, bad) < 0);
	CHECK(attempt(&b, by_number, good) < 0);
	CHECK_EQ(attempt(&b, uri, lax), 0);
	use(b);
	/* Without TLS the server does not talk to us. */
	(void)snprintf(uri, sizeof(uri), "nbd://localhost:%u/", number);
	CHECK(attempt(&b, uri, "tls=off") < 0);
	char require[340];
	(void)snprintf(require, sizeof(require), "tls=require,%s", good);
	CHECK_EQ(attempt(&b, uri, require), 0);
	use(b);
	nbd_server_kill(s, SIGTERM);
}

static void test_keys(struct nbd_server *s)
{
	struct ms_backend *b = NULL;
	char words[300];
	char uri[700];
	char psk[300];

	(void)snprintf(words, sizeof(words), "--tls-psk=%s/keys.psk", s->dir);
	NBD_START(s, "--tls=require", words, "memory", "8M");
	(void)snprintf(uri, sizeof(uri), "nbds+unix:///?socket=%s", s->socket);
	(void)snprintf(psk, sizeof(psk), "user=alice,psk=%s/keys.psk", s->dir);
	CHECK_EQ(attempt(&b, uri, psk), 0);
	use(b);
	(void)snprintf(psk, sizeof(psk), "user=mallory,psk=%s/wrong.psk",
		       s->dir);
	CHECK(attempt(&b, uri, psk) < 0);
	/* All of it in the URI. */
	(void)snprintf(uri, sizeof(uri),
		       "nbds+unix://alice@/?socket=%s&tls-psk-file=%s/keys.psk",
		       s->socket, s->dir);
	CHECK_EQ(ms_open(uri, &b), 0);
	use(b);
	nbd_server_kill(s, SIGTERM);
}

/* A server without TLS: required means required. */
static void test_plain(struct nbd_server *s)
{
	struct ms_backend *b = NULL;
	char uri[700];
	char certificates[300];

	NBD_START(s, "memory", "8M");
	(void)snprintf(certificates, sizeof(certificates),
		       "tls=require,certificates=%s/client", s->dir);
	CHECK(attempt(&b, s->uri, certificates) < 0);
	(void)snprintf(uri, sizeof(uri), "nbds+unix:///?socket=%s", s->socket);
	CHECK(attempt(&b, uri, "") < 0);
	(void)snprintf(certificates, sizeof(certificates),
		       "tls=allow,certificates=%s/client", s->dir);
	CHECK_EQ(attempt(&b, s->uri, certificates), 0);
	CHECK(!is_encrypted(b));
	ms_close(b);
	nbd_server_kill(s, SIGTERM);
}

int main(void)
{
	struct nbd_server s;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed");
	if (!nbd_have("certtool") || !nbd_have("psktool"))
		SKIP("certtool is not installed");
	nbd_server_init(&s);
	make_certificates(s.dir);
	test_certificates(&s);
	test_keys(&s);
	test_plain(&s);
	return 0;
}

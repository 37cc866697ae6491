/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that encrypt; see tls.h. */
#include "approaches/common/wire/tls.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORD_BYTES = 16 << 10, /* the most that a record holds */
};

struct ms_tls {
	SSL_CTX *context;
	bool server;
};

struct tls_stream {
	struct ms_stream base;
	struct ms_stream *inner;
	SSL *ssl;
	int inner_error; /* of the last call below; negative errno */
	/* OpenSSL's state is one, whichever direction the bytes go. */
	pthread_mutex_t lock;
	/* A record that was begun and must be given again as it was. */
	size_t stuck;
	char record[RECORD_BYTES];
};

/* --- below: OpenSSL's bytes go over the inner stream ---------------------- */

static int bio_result(struct tls_stream *s, BIO *bio, ssize_t n, int retry)
{
	BIO_clear_retry_flags(bio);
	s->inner_error = n < 0 ? (int)n : 0;
	if (n == -EAGAIN)
		BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
	return n < 0 ? -1 : (int)n;
}

static int bio_read(BIO *bio, char *out, int n)
{
	struct tls_stream *s = BIO_get_data(bio);
	struct iovec iov = {.iov_base = out, .iov_len = (size_t)n};

	return bio_result(s, bio, ms_stream_recv(s->inner, &iov, 1),
			  BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *in, int n)
{
	struct tls_stream *s = BIO_get_data(bio);
	struct iovec iov = {.iov_base = (char *)in, .iov_len = (size_t)n};

	return bio_result(s, bio, ms_stream_send(s->inner, &iov, 1),
			  BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int cmd, long larg, void *parg)
{
	(void)bio;
	(void)larg;
	(void)parg;
	/* Nothing is buffered here, so that a flush has succeeded. */
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void bio_make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				     "memsync stream");

	if (!m)
		return;
	(void)BIO_meth_set_read(m, bio_read);
	(void)BIO_meth_set_write(m, bio_write);
	(void)BIO_meth_set_ctrl(m, bio_ctrl);
	(void)BIO_meth_set_create(m, bio_create);
	bio_method = m;
}

/* --- errors --------------------------------------------------------------- */

/* What OpenSSL has to say about its last failure, and forget the rest. */
static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return text ? text : "no reason given";
}

/* The errno for the failure of an SSL_… call that returned `rc`. */
static int failure(struct tls_stream *s, int rc)
{
	int error = SSL_get_error(s->ssl, rc);

	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (error == SSL_ERROR_SYSCALL) {
		ERR_clear_error();
		return s->inner_error ? s->inner_error : -ECONNRESET;
	}
	ERR_clear_error();
	return -EPROTO;
}

/* --- the stream ----------------------------------------------------------- */

static struct tls_stream *of(struct ms_stream *stream)
{
	return (struct tls_stream *)(void *)stream;
}

static ssize_t tls_recv(struct ms_stream *stream, const struct iovec *iov,
			int count)
{
	struct tls_stream *s = of(stream);
	size_t total = 0;
	ssize_t rc = 0;

	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < count && rc == 0; i++) {
		size_t at = 0;
		while (at < iov[i].iov_len) {
			size_t n = 0;
			ERR_clear_error();
			int ok = SSL_read_ex(s->ssl,
					     (char *)iov[i].iov_base + at,
					     iov[i].iov_len - at, &n);
			if (ok != 1) {
				rc = failure(s, ok);
				/* The end is no error, but it is an end. */
				i = count;
				break;
			}
			at += n;
			total += n;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return total ? (ssize_t)total : rc;
}

/* Fill the record with the bytes of the vector from `skip` on. */
static size_t take(struct tls_stream *s, const struct iovec *iov, int count,
		   size_t skip)
{
	size_t n = 0;

	for (int i = 0; i < count && n < RECORD_BYTES; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		size_t part = iov[i].iov_len - skip;
		if (part > RECORD_BYTES - n)
			part = RECORD_BYTES - n;
		memcpy(s->record + n, (const char *)iov[i].iov_base + skip,
		       part);
		n += part;
		skip = 0;
	}
	return n;
}

static ssize_t tls_send(struct ms_stream *stream, const struct iovec *iov,
			int count)
{
	struct tls_stream *s = of(stream);
	size_t total = 0;
	ssize_t rc = 0;

	pthread_mutex_lock(&s->lock);
	while (rc == 0) {
		size_t sent = 0;
		/* What got stuck was the beginning of this vector, too. */
		if (!s->stuck)
			s->stuck = take(s, iov, count, total);
		if (!s->stuck)
			break;
		ERR_clear_error();
		int ok = SSL_write_ex(s->ssl, s->record, s->stuck, &sent);
		if (ok != 1) {
			rc = failure(s, ok);
			if (rc == 0)
				rc = -EPIPE;
			break;
		}
		total += s->stuck;
		s->stuck = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return total ? (ssize_t)total : rc;
}

static bool tls_pending(struct ms_stream *stream)
{
	struct tls_stream *s = of(stream);

	pthread_mutex_lock(&s->lock);
	bool pending = SSL_has_pending(s->ssl);
	pthread_mutex_unlock(&s->lock);
	return pending;
}

static void release(struct tls_stream *s)
{
	SSL_free(s->ssl);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void tls_close(struct ms_stream *stream)
{
	struct tls_stream *s = of(stream);
	struct ms_stream *inner = s->inner;

	/* Our farewell, if it fits; the peer's is not waited for. */
	if (!s->stuck)
		(void)SSL_shutdown(s->ssl);
	ERR_clear_error();
	release(s);
	ms_stream_close(inner);
}

static const struct ms_stream_ops tls_ops = {
	.recv = tls_recv,
	.send = tls_send,
	.pending = tls_pending,
	.close = tls_close,
};

/* --- agreeing ------------------------------------------------------------- */

static int wait_for(struct tls_stream *s, int rc, uint64_t deadline_ns,
		    int stop_fd)
{
	struct pollfd fds[2] = {{.fd = s->base.fd, .events = POLLIN},
				{.fd = stop_fd, .events = POLLIN}};
	uint64_t now = ms_now_ns();

	if (SSL_get_error(s->ssl, rc) == SSL_ERROR_WANT_WRITE)
		fds[0].events = POLLOUT;
	if (now >= deadline_ns)
		return ms_err_plain(-ETIMEDOUT, "tls: the peer is too slow");
	uint64_t ms = (deadline_ns - now) / MS_NS_PER_MS + 1;
	if (poll(fds, 2, ms > 60000 ? 60000 : (int)ms) < 0 && errno != EINTR)
		return ms_err(-errno, "tls: poll");
	return fds[1].revents ? ms_err_plain(-ECANCELED, "tls: ended") : 0;
}

static int handshake(struct tls_stream *s, uint64_t deadline_ns, int stop_fd)
{
	for (;;) {
		ERR_clear_error();
		int ok = SSL_do_handshake(s->ssl);
		if (ok == 1)
			return 0;
		int error = SSL_get_error(s->ssl, ok);
		int rc = 0;
		if (error == SSL_ERROR_WANT_READ ||
		    error == SSL_ERROR_WANT_WRITE)
			rc = wait_for(s, ok, deadline_ns, stop_fd);
		else if (SSL_get_verify_result(s->ssl) != X509_V_OK)
			rc = ms_err_plain(
				-EACCES, "tls: the peer's certificate: %s",
				X509_verify_cert_error_string(
					SSL_get_verify_result(s->ssl)));
		else if (error == SSL_ERROR_SYSCALL)
			rc = ms_err(s->inner_error ? s->inner_error
						   : -ECONNRESET,
				    "tls: the peer left");
		else
			rc = ms_err_plain(-EPROTO, "tls: %s", reason());
		if (rc) {
			ERR_clear_error();
			return rc;
		}
	}
}

/* A client wants a certificate that bears the name it connected to. */
static int expect_host(SSL *ssl, const char *host)
{
	struct in6_addr address;
	bool numeric = inet_pton(AF_INET, host, &address) == 1 ||
		       inet_pton(AF_INET6, host, &address) == 1;
	int ok = 0;

	if (numeric)
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
	else
		ok = SSL_set1_host(ssl, host) &&
		     SSL_set_tlsext_host_name(ssl, host);
	return ok == 1 ? 0
		       : ms_err_plain(-EINVAL, "tls: host \"%s\": %s", host,
				      reason());
}

static struct tls_stream *stream_new(struct ms_tls *tls,
				     struct ms_stream *inner)
{
	struct tls_stream *s = calloc(1, sizeof(*s));

	(void)pthread_once(&bio_once, bio_make_method);
	if (!s)
		return NULL;
	(void)pthread_mutex_init(&s->lock, NULL);
	s->base.ops = &tls_ops;
	s->base.fd = inner->fd;
	s->inner = inner;
	s->ssl = bio_method ? SSL_new(tls->context) : NULL;
	BIO *bio = s->ssl ? BIO_new(bio_method) : NULL;
	if (!bio) {
		release(s);
		return NULL;
	}
	BIO_set_data(bio, s);
	SSL_set_bio(s->ssl, bio, bio);
	return s;
}

int ms_tls_stream(struct ms_tls *tls, struct ms_stream *inner, const char *host,
		  uint64_t deadline_ns, int stop_fd, struct ms_stream **ret)
{
	struct tls_stream *s = stream_new(tls, inner);
	int rc = 0;

	if (!s)
		return ms_err(-ENOMEM, "tls");
	int flags = fcntl(inner->fd, F_GETFL);
	if (flags < 0 || fcntl(inner->fd, F_SETFL, flags | O_NONBLOCK))
		rc = ms_err(-errno, "tls: a descriptor");
	if (tls->server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	if (rc == 0 && !tls->server && host)
		rc = expect_host(s->ssl, host);
	if (rc == 0)
		rc = handshake(s, deadline_ns, stop_fd);
	if (rc) {
		release(s);
		return rc;
	}
	*ret = &s->base;
	return 0;
}

/* --- contexts ------------------------------------------------------------- */

static int load_certificate(SSL_CTX *c, const struct ms_tls_config *config)
{
	if (!config->certificate && !config->key)
		return config->server ? ms_err_plain(-EINVAL,
						     "tls: a server needs a "
						     "certificate and its key")
				      : 0;
	if (!config->certificate || !config->key)
		return ms_err_plain(-EINVAL,
				    "tls: a certificate and its key go "
				    "together");
	if (SSL_CTX_use_certificate_chain_file(c, config->certificate) != 1)
		return ms_err_plain(-EINVAL, "tls: certificate %s: %s",
				    config->certificate, reason());
	if (SSL_CTX_use_PrivateKey_file(c, config->key, SSL_FILETYPE_PEM) !=
		    1 ||
	    SSL_CTX_check_private_key(c) != 1)
		return ms_err_plain(-EINVAL, "tls: key %s: %s", config->key,
				    reason());
	return 0;
}

static int load_authorities(SSL_CTX *c, const struct ms_tls_config *config)
{
	int mode = SSL_VERIFY_PEER;

	if (config->server)
		mode = config->authorities
			       ? SSL_VERIFY_PEER |
					 SSL_VERIFY_FAIL_IF_NO_PEER_CERT
			       : SSL_VERIFY_NONE;
	SSL_CTX_set_verify(c, mode, NULL);
	if (!config->authorities && !config->server)
		return SSL_CTX_set_default_verify_paths(c) == 1
			       ? 0
			       : ms_err_plain(-EINVAL, "tls: %s", reason());
	if (!config->authorities)
		return 0;
	if (SSL_CTX_load_verify_locations(c, config->authorities, NULL) != 1)
		return ms_err_plain(-EINVAL, "tls: authorities %s: %s",
				    config->authorities, reason());
	if (!config->server)
		return 0;
	/* Which of them a client may choose its certificate by. */
	SSL_CTX_set_client_CA_list(
		c, SSL_load_client_CA_file(config->authorities));
	return 0;
}

int ms_tls_new(const struct ms_tls_config *config, struct ms_tls **ret)
{
	struct ms_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return ms_err(-ENOMEM, "tls");
	ERR_clear_error();
	tls->server = config->server;
	tls->context = SSL_CTX_new(config->server ? TLS_server_method()
						  : TLS_client_method());
	if (!tls->context) {
		free(tls);
		return ms_err_plain(-ENOMEM, "tls: %s", reason());
	}
	(void)SSL_CTX_set_min_proto_version(tls->context,
					    config->allow_1_2 ? TLS1_2_VERSION
							      : TLS1_3_VERSION);
	/* No surprises: nothing is renegotiated, nothing is resumed. */
	(void)SSL_CTX_set_options(tls->context,
				  SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(tls->context, 0);
	int rc = load_certificate(tls->context, config);
	if (rc == 0)
		rc = load_authorities(tls->context, config);
	if (rc)
		ms_tls_free(tls);
	else
		*ret = tls;
	return rc;
}

void ms_tls_free(struct ms_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One libnbd handle: its settings, its events, what its server can do. */
#include "approaches/common/backend/nbd.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum {
	/* What the protocol allows a client to assume if nothing is said. */
	LENGTH_MAX = 32 << 20,
	BLOCK_MAX = 64 << 10,
	KEEPALIVE_PROBES = 3,
};

/* libnbd's last error of this thread as ours. */
static int failed(const char *uri)
{
	int error = nbd_get_errno();
	const char *text = nbd_get_error();

	return ms_err_plain(error > 0 ? -error : -EPROTO, "nbd: %s: %s", uri,
			    text ? text : "unknown error");
}

static bool is_tls_uri(const char *uri)
{
	return strncmp(uri, "nbds:", 5) == 0 || strncmp(uri, "nbds+", 5) == 0;
}

int ms_nbd_config_check(const struct nbd_config *config)
{
	bool secret = config->certificates || config->psk || config->user;

	if (strncmp(config->uri, "nbd", 3) != 0)
		return ms_err(-EINVAL, "nbd: \"%s\" is not an NBD URI",
			      config->uri);
	if (is_tls_uri(config->uri) &&
	    (config->tls == NBD_TLS_OFF || config->tls == NBD_TLS_ALLOW))
		return ms_err(-EINVAL,
			      "nbd: tls=%s contradicts %s, which requires TLS",
			      config->tls == NBD_TLS_OFF ? "off" : "allow",
			      config->uri);
	if (secret && !is_tls_uri(config->uri) &&
	    (config->tls == NBD_TLS_OFF || config->tls == NBD_TLS_URI))
		return ms_err(-EINVAL,
			      "nbd: certificates, user and psk need TLS: "
			      "tls=require or an nbds URI");
	if (config->certificates && config->psk)
		return ms_err(-EINVAL,
			      "nbd: certificates and psk exclude each other");
	return 0;
}

static int set_tls(struct nbd_handle *h, const struct nbd_config *config)
{
	static const int modes[] = {
		[NBD_TLS_OFF] = LIBNBD_TLS_DISABLE,
		[NBD_TLS_ALLOW] = LIBNBD_TLS_ALLOW,
		[NBD_TLS_REQUIRE] = LIBNBD_TLS_REQUIRE,
	};

	if (config->tls != NBD_TLS_URI && nbd_set_tls(h, modes[config->tls]))
		return -1;
	if (config->certificates &&
	    nbd_set_tls_certificates(h, config->certificates))
		return -1;
	if (config->psk && nbd_set_tls_psk_file(h, config->psk))
		return -1;
	if (config->user && nbd_set_tls_username(h, config->user))
		return -1;
	return nbd_set_tls_verify_peer(h, config->trust == 0);
}

int ms_nbd_handle_start(const struct nbd_config *config,
			struct nbd_handle **ret)
{
	struct nbd_handle *h = nbd_create();

	if (!h)
		return failed(config->uri);
	/* The URI is its user's own and may name files with keys. */
	if (set_tls(h, config) || nbd_set_uri_allow_local_file(h, true) ||
	    nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) ||
	    nbd_aio_connect_uri(h, config->uri)) {
		int rc = failed(config->uri);
		nbd_close(h);
		return rc;
	}
	*ret = h;
	return 0;
}

bool ms_nbd_handle_ended(struct nbd_handle *h)
{
	return nbd_aio_is_dead(h) > 0 || nbd_aio_is_closed(h) > 0;
}

bool ms_nbd_handle_poll(struct nbd_handle *h, int *ret_fd, short *ret_events)
{
	unsigned direction = nbd_aio_get_direction(h);

	*ret_fd = ms_nbd_handle_ended(h) ? -1 : nbd_aio_get_fd(h);
	*ret_events =
		(short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
			(direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
	return *ret_fd >= 0;
}

/*
 * What the handle waits for may change with each call, so what poll said is
 * compared with what it waits for now. An end of the connection shows itself
 * by reading.
 */
static int notify(struct nbd_handle *h, short revents)
{
	unsigned direction = nbd_aio_get_direction(h);
	bool in = revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL);

	if (in && direction & LIBNBD_AIO_DIRECTION_READ)
		return nbd_aio_notify_read(h);
	if (revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL) &&
	    direction & LIBNBD_AIO_DIRECTION_WRITE)
		return nbd_aio_notify_write(h);
	return 0;
}

int ms_nbd_handle_continue(struct nbd_handle *h,
			   const struct nbd_config *config, short revents)
{
	if (revents && notify(h, revents) && ms_nbd_handle_ended(h))
		return failed(config->uri);
	if (ms_nbd_handle_ended(h))
		return ms_err_plain(-ECONNRESET,
				    "nbd: %s: the server closed the connection",
				    config->uri);
	return nbd_aio_is_ready(h) > 0 || nbd_aio_is_processing(h) > 0;
}

/*
 * A host that vanished answers nothing, and TCP alone would wait for a quarter
 * of an hour. A server that is only slow still acknowledges, so this does not
 * hit it; the protocol has no message that could be used as a ping.
 */
static void detect_dead_host(struct nbd_handle *h, uint64_t dead_ns)
{
	int fd = nbd_aio_get_fd(h);
	int domain = 0;
	socklen_t length = sizeof(domain);
	int on = 1;
	int probes = KEEPALIVE_PROBES;
	unsigned ms = (unsigned)(dead_ns / MS_NS_PER_MS);
	int every = (int)(ms / 1000 / (KEEPALIVE_PROBES + 1));

	if (every < 1)
		every = 1;
	if (!dead_ns || fd < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) ||
	    (domain != AF_INET && domain != AF_INET6))
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof(every));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static unsigned writable_caps(struct nbd_handle *h)
{
	unsigned caps = MS_CAN_WRITE;

	if (nbd_can_fua(h) > 0)
		caps |= MS_CAN_FUA;
	if (nbd_can_zero(h) > 0)
		caps |= MS_CAN_ZERO;
	if (nbd_can_trim(h) > 0)
		caps |= MS_CAN_TRIM;
	return caps;
}

/* The server's sizes; whatever cannot be true is an error. */
static int read_sizes(struct nbd_handle *h, const char *uri,
		      struct nbd_features *f)
{
	int64_t size = 0;
	int64_t block = 0;
	int64_t most = 0;

	/* Of 2^63 and more libnbd makes a negative number. */
	size = nbd_get_size(h);
	if (size < 0)
		return ms_err(-EOVERFLOW, "nbd: %s: the export's size", uri);
	if ((block = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM)) < 0 ||
	    (most = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM)) < 0)
		return failed(uri);
	if (block == 0)
		block = 1;
	if (most == 0 || most > LENGTH_MAX)
		most = LENGTH_MAX;
	if (block > BLOCK_MAX || (block & (block - 1)) || most < block)
		return ms_err(-EPROTO,
			      "nbd: %s: blocks of %" PRId64 " to %" PRId64
			      " bytes are impossible",
			      uri, block, most);
	if (size % block)
		return ms_err_plain(
			-EPROTO,
			"nbd: %s: the export has %" PRId64
			" bytes, no multiple of its block of %" PRId64
			": its end cannot be read",
			uri, size, block);
	f->size = (uint64_t)size;
	f->block = (uint32_t)block;
	f->length_max = (uint64_t)most & ~((uint64_t)block - 1);
	return 0;
}

int ms_nbd_handle_features(struct nbd_handle *h,
			   const struct nbd_config *config,
			   struct nbd_features *ret)
{
	struct nbd_features f = {0};
	int rc = read_sizes(h, config->uri, &f);
	int read_only = nbd_is_read_only(h);

	if (rc)
		return rc;
	if (read_only < 0)
		return failed(config->uri);
	f.flush = nbd_can_flush(h) > 0;
	f.tls = nbd_get_tls_negotiated(h) > 0;
	f.multi = nbd_can_multi_conn(h) > 0;
	if (!read_only && !config->read_only)
		f.caps |= writable_caps(h);
	if (nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0)
		f.caps |= MS_CAN_EXTENTS;
	if (nbd_can_cache(h) > 0)
		f.caps |= MS_CAN_POPULATE;
	/* nbd-piece.c counts the bytes of an answer, so that buffers need not
	 * be cleared before. */
	(void)nbd_set_pread_initialize(h, false);
	detect_dead_host(h, config->dead_ns);
	*ret = f;
	return 0;
}

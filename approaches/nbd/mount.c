/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a mount; see mount.h. */
#include "approaches/nbd/mount.h"

#include "approaches/common/stage/cache.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PULLS_MAX = 256,  /* requests in flight; the window is what counts */
	PULL_RETRIES = 6, /* 100 ms, 200 ms, ..., 3.2 s */
};
#define PULL_RETRY_NS (100 * MS_NS_PER_MS)
#define PULL_WINDOW   (UINT64_C(32) << 20)
#define PULL_FIRST    4096

/* --- the pipeline and its workers ----------------------------------------- */

static int open_pipeline(struct memsync_nbd *m, const char *spec)
{
	int rc;

	m->pipeline = nbd_mount_spec(spec, &m->options);
	if (!m->pipeline)
		return ms_err(-ENOMEM, "nbd: pipeline");
	rc = ms_open(m->pipeline, &m->backend);
	if (rc)
		return rc;
	if (!ms_size(m->backend))
		return ms_err(-EINVAL, "nbd: the region is empty");
	if (!(m->backend->caps & MS_CAN_WRITE))
		m->options.read_only = true;
	if (m->options.kind == MEMSYNC_NBD_MANAGED && m->options.chunk_is_local)
		ms_cache_on_local(m->backend, m->options.chunk_is_local,
				  m->options.user);
	return 0;
}

static int start_puller(struct memsync_nbd *m)
{
	const struct memsync_nbd_options *o = &m->options;
	bool thesis = o->variant == MEMSYNC_NBD_THESIS;
	uint64_t chunk = ms_cache_chunk_bytes(m->backend);
	struct ms_puller_options p;

	if (o->pull_workers == MEMSYNC_NBD_NO_WORKERS)
		return 0;
	ms_puller_defaults(&p);
	p.workers = o->pull_workers ? o->pull_workers : PULLS_MAX;
	p.request = o->request_bytes > chunk ? o->request_bytes : chunk;
	p.window = thesis ? 0 : PULL_WINDOW;
	/* A list or an order names chunks: its requests are chunks first. */
	p.first = thesis ? 0 : PULL_FIRST;
	p.list = o->pull_list;
	p.list_count = o->pull_list_count;
	p.order = o->pull_order;
	p.order_user = o->user;
	p.follow = !thesis;
	p.retry_ns = PULL_RETRY_NS;
	p.retries = PULL_RETRIES;
	return ms_puller_start(m->backend, &p, &m->puller);
}

static int start_pusher(struct memsync_nbd *m)
{
	const struct ms_pusher_options p = {
		.interval_ns = m->options.push_interval_ns == UINT64_MAX
				       ? 0
				       : m->options.push_interval_ns};

	if (m->options.read_only)
		return 0;
	return ms_pusher_start(m->backend, &p, &m->pusher);
}

static int start_workers(struct memsync_nbd *m)
{
	int rc = 0;

	if (m->options.kind == MEMSYNC_NBD_DIRECT)
		return 0;
	rc = start_puller(m);
	if (!rc)
		rc = start_pusher(m);
	if (!rc && m->options.pull_first)
		rc = memsync_nbd_wait_local(m);
	return rc;
}

/* --- the server and the device -------------------------------------------- */

/* The backend's own, but at least a sector; a cache has no alignment. */
static uint32_t block_of(const struct memsync_nbd *m)
{
	uint32_t block = m->options.block_bytes;

	if (!block && (m->options.kind == MEMSYNC_NBD_MANAGED ||
		       m->options.variant == MEMSYNC_NBD_THESIS))
		block = 4096;
	if (!block)
		block = 512;
	return block > m->backend->block ? block : m->backend->block;
}

static int start_server(struct memsync_nbd *m)
{
	const struct nbd_server_export export = {.name = "mount",
						 .backend = m->backend,
						 .read_only =
							 m->options.read_only,
						 .block_minimum = block_of(m)};
	const struct nbd_server_config config = {
		.exports = &export,
		.export_count = 1,
		.serial = m->options.variant == MEMSYNC_NBD_THESIS,
		.stall_ns =
			UINT64_MAX / 2}; /* the kernel is no peer to doubt */

	return nbd_server_open(&config, &m->server);
}

/* Pairs of sockets: ours to the server, the kernel's into the list. */
static int connect_all(struct memsync_nbd *m, int *kernel, unsigned *ret_count)
{
	for (unsigned i = 0; i < m->options.connections; i++) {
		int pair[2];
		int rc;

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return ms_err(-errno, "nbd: socket pair");
		kernel[(*ret_count)++] = pair[0];
		rc = nbd_server_transmit_fd(m->server, 0, pair[1]);
		if (rc)
			return rc;
	}
	return 0;
}

static int attach_with(struct memsync_nbd *m, const int *kernel, unsigned count)
{
	static const enum nbd_attach attach[] = {
		[MEMSYNC_NBD_NETLINK] = NBD_ATTACH_NETLINK,
		[MEMSYNC_NBD_IOCTL] = NBD_ATTACH_IOCTL};
	static const enum nbd_ready ready[] = {
		[MEMSYNC_NBD_UEVENT] = NBD_READY_UEVENT,
		[MEMSYNC_NBD_SYSFS] = NBD_READY_SYSFS};
	struct nbd_export_info info;
	struct nbd_device_config config = {.attach = attach[m->options.attach],
					   .ready = ready[m->options.ready],
					   .index = NBD_DEVICE_ANY,
					   .sockets = kernel,
					   .socket_count = count,
					   .timeout_s = m->options.timeout_s};
	int rc = nbd_server_export_info(m->server, 0, &info);

	if (rc)
		return rc;
	config.size = info.size;
	config.block = info.block_minimum;
	config.flags = info.flags;
	m->device_bytes = info.size;
	return nbd_device_attach(&config, &m->device);
}

static int attach(struct memsync_nbd *m)
{
	int kernel[NBD_DEVICE_SOCKETS_MAX];
	unsigned count = 0;
	int rc = connect_all(m, kernel, &count);

	if (!rc)
		rc = attach_with(m, kernel, count);
	/* The device has references of its own. */
	for (unsigned i = 0; i < count; i++)
		(void)close(kernel[i]);
	return rc;
}

/*
 * Of the block device. Always set: a device keeps what its last user had set,
 * also when it was detached in between.
 */
static int set_read_ahead(const struct memsync_nbd *m)
{
	char path[64];
	FILE *f;
	bool bad;

	(void)snprintf(path, sizeof(path),
		       "/sys/block/nbd%d/queue/read_ahead_kb",
		       nbd_device_index(m->device));
	f = fopen(path, "we");
	bad = !f || fprintf(f, "%" PRIu32 "\n",
			    m->options.read_ahead_bytes / 1024) < 0;
	if (f && fclose(f))
		bad = true;
	return bad ? ms_err(-errno, "nbd: %s", path) : 0;
}

/* --- the interface -------------------------------------------------------- */

int memsync_nbd_open(const char *spec_or_uri,
		     const struct memsync_nbd_options *options,
		     struct memsync_nbd **ret)
{
	struct memsync_nbd *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return ms_err(-ENOMEM, "nbd: mount");
	m->fd = -1;
	if (options)
		m->options = *options;
	rc = nbd_mount_complete(&m->options);
	if (!rc)
		rc = nbd_device_supported();
	if (!rc)
		rc = open_pipeline(m, spec_or_uri);
	if (!rc)
		rc = start_workers(m);
	if (!rc)
		rc = start_server(m);
	if (!rc)
		rc = attach(m);
	if (!rc)
		rc = set_read_ahead(m);
	if (rc) {
		char why[400];

		(void)snprintf(why, sizeof(why), "%s", ms_err_text());
		(void)memsync_nbd_close(m);
		return ms_err_plain(rc, "%s", why);
	}
	/* Texts of the caller's are not ours. */
	m->options.local = NULL;
	m->options.pull_list = NULL;
	*ret = m;
	return 0;
}

const char *memsync_nbd_path(const struct memsync_nbd *m)
{
	return nbd_device_path(m->device);
}

uint64_t memsync_nbd_size(const struct memsync_nbd *m)
{
	return ms_size(m->backend);
}

const char *memsync_nbd_pipeline(const struct memsync_nbd *m)
{
	return m->pipeline;
}

int memsync_nbd_fd(struct memsync_nbd *m)
{
	int flags = m->options.read_only ? O_RDONLY : O_RDWR;

	if (m->fd < 0)
		m->fd = open(memsync_nbd_path(m), flags | O_CLOEXEC);
	return m->fd < 0 ? ms_err(-errno, "nbd: open %s", memsync_nbd_path(m))
			 : m->fd;
}

int memsync_nbd_map(struct memsync_nbd *m, void **ret_addr)
{
	int prot = PROT_READ | (m->options.read_only ? 0 : PROT_WRITE);
	int fd = memsync_nbd_fd(m);
	void *addr;

	if (fd < 0)
		return fd;
	if (!m->addr) {
		addr = mmap(NULL, m->device_bytes, prot, MAP_SHARED, fd, 0);
		if (addr == MAP_FAILED)
			return ms_err(-errno, "nbd: map %s",
				      memsync_nbd_path(m));
		m->addr = addr;
	}
	*ret_addr = m->addr;
	return 0;
}

/* Through the page cache and the device: its FLUSH is a SYNC of the pipeline */
static int sync_device(struct memsync_nbd *m)
{
	int fd;

	if (m->addr && msync(m->addr, m->device_bytes, MS_SYNC))
		return ms_err(-errno, "nbd: msync %s", memsync_nbd_path(m));
	fd = memsync_nbd_fd(m);
	if (fd < 0)
		return fd;
	return fsync(fd) ? ms_err(-errno, "nbd: fsync %s", memsync_nbd_path(m))
			 : 0;
}

int memsync_nbd_sync(struct memsync_nbd *m)
{
	if (m->options.before_sync)
		m->options.before_sync(m->options.user);
	if (m->options.read_only)
		return 0;
	/* Also where nothing was written through this descriptor. */
	int rc = sync_device(m);
	int below = ms_sync(m->backend);

	return rc ? rc : below;
}

void memsync_nbd_push(struct memsync_nbd *m)
{
	if (m->pusher)
		ms_pusher_push(m->pusher);
}

int memsync_nbd_wait_local(struct memsync_nbd *m)
{
	return m->puller ? ms_puller_wait(m->puller) : 0;
}

void memsync_nbd_get_stats(const struct memsync_nbd *m,
			   struct memsync_nbd_stats *ret)
{
	struct ms_puller_stats pull = {0};
	uint64_t chunk;

	*ret = (struct memsync_nbd_stats){
		.setup_ns = m->device ? nbd_device_setup_ns(m->device) : 0};
	if (m->options.kind == MEMSYNC_NBD_DIRECT)
		return;
	chunk = ms_cache_chunk_bytes(m->backend);
	ret->local_bytes = ms_cache_local_chunks(m->backend) * chunk;
	ret->dirty_bytes = ms_cache_dirty_chunks(m->backend) * chunk;
	ret->complete = ms_cache_local_chunks(m->backend) ==
			ms_cache_chunks(m->backend);
	if (m->puller)
		ms_puller_get_stats(m->puller, &pull);
	ret->pull_requests = pull.requests;
	ret->pull_bytes = pull.bytes;
	ret->errors = pull.errors;
	ret->error = pull.error;
}

void nbd_mount_stats(struct memsync_nbd *m, FILE *out)
{
	struct memsync_nbd_stats s;

	memsync_nbd_get_stats(m, &s);
	(void)fprintf(out,
		      "size_bytes %" PRIu64 "\ndevice_bytes %" PRIu64
		      "\nlocal_bytes %" PRIu64 "\ndirty_bytes %" PRIu64
		      "\npull_requests %" PRIu64 "\npull_bytes %" PRIu64
		      "\npull_errors %" PRIu64 "\n",
		      memsync_nbd_size(m), m->device_bytes, s.local_bytes,
		      s.dirty_bytes, s.pull_requests, s.pull_bytes, s.errors);
	ms_stats(m->backend, out);
	nbd_server_stats(m->server, out);
}

static int end_device(struct memsync_nbd *m)
{
	int rc = m->device ? memsync_nbd_sync(m) : 0;

	if (m->device && m->options.before_close)
		m->options.before_close(m->options.user);
	if (m->addr)
		(void)munmap(m->addr, m->device_bytes);
	if (m->fd >= 0)
		(void)close(m->fd);
	int detached = nbd_device_detach(m->device);

	m->device = NULL;
	return rc ? rc : detached;
}

int memsync_nbd_close(struct memsync_nbd *m)
{
	char why[400];
	int rc;

	if (!m)
		return 0;
	rc = end_device(m);
	(void)snprintf(why, sizeof(why), "%s", ms_err_text());
	nbd_server_stop(m->server);
	ms_puller_stop(m->puller);
	ms_pusher_stop(m->pusher);
	ms_close(m->backend);
	free(m->pipeline);
	free(m);
	return rc ? ms_err_plain(rc, "%s", why) : 0;
}

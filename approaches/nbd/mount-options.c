/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults of a mount, and the pipeline that they make; see mount.h. */
#include "approaches/nbd/mount.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHUNK = 4096,
	CONNECTIONS_MAX = 4,
	THESIS_WORKERS = 512,
	FETCH_RETRIES = 2, /* of the cache, at once: a lost connection */
};
#define REQUEST		  (UINT64_C(1) << 20)
#define KERNEL_READ_AHEAD (UINT32_C(128) << 10)
#define READ_AHEAD	  (UINT32_C(4) << 20)
#define PUSH_NS		  (5 * MS_NS_PER_S)
#define THESIS_PUSH_NS	  (20 * MS_NS_PER_S)
#define LOCAL		  "memory:huge=yes"
#define THESIS_LOCAL	  "memory"

static unsigned processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

static void complete_thesis(struct memsync_nbd_options *o)
{
	o->attach = MEMSYNC_NBD_IOCTL;
	o->ready = MEMSYNC_NBD_SYSFS;
	o->connections = 1;
	o->local = o->local ? o->local : THESIS_LOCAL;
	o->request_bytes = o->request_bytes ? o->request_bytes : CHUNK;
	o->pull_workers = o->pull_workers ? o->pull_workers : THESIS_WORKERS;
	o->push_interval_ns =
		o->push_interval_ns ? o->push_interval_ns : THESIS_PUSH_NS;
}

static void complete_tuned(struct memsync_nbd_options *o)
{
	unsigned n = processors();

	if (!o->connections)
		o->connections = n < CONNECTIONS_MAX ? n : CONNECTIONS_MAX;
	if (o->attach == MEMSYNC_NBD_IOCTL)
		o->connections = 1;
	if (!o->read_ahead_bytes && o->kind == MEMSYNC_NBD_DIRECT)
		o->read_ahead_bytes = READ_AHEAD;
	o->local = o->local ? o->local : LOCAL;
	o->request_bytes = o->request_bytes ? o->request_bytes : REQUEST;
	o->push_interval_ns =
		o->push_interval_ns ? o->push_interval_ns : PUSH_NS;
}

int nbd_mount_complete(struct memsync_nbd_options *o)
{
	o->chunk_bytes = o->chunk_bytes ? o->chunk_bytes : CHUNK;
	if (o->variant == MEMSYNC_NBD_THESIS)
		complete_thesis(o);
	else
		complete_tuned(o);
	if (!o->read_ahead_bytes)
		o->read_ahead_bytes = KERNEL_READ_AHEAD;
	if (o->connections > NBD_DEVICE_SOCKETS_MAX)
		return ms_err(-EINVAL, "nbd: %u connections (1 to %d)",
			      o->connections, NBD_DEVICE_SOCKETS_MAX);
	if (o->block_bytes && (o->block_bytes < 512 || o->block_bytes > 4096 ||
			       (o->block_bytes & (o->block_bytes - 1))))
		return ms_err(-EINVAL,
			      "nbd: a block of %" PRIu32
			      " bytes is not 512, 1K, 2K or 4K",
			      o->block_bytes);
	if (o->pull_list && o->pull_order)
		return ms_err(-EINVAL, "nbd: the order of the pull is a list "
				       "or a function, not both");
	return 0;
}

/*
 * The thesis walks a request of the kernel chunk by chunk, one after the other;
 * the tuned direct mount hands it on as it is.
 */
static char *direct_spec(const char *spec, const struct memsync_nbd_options *o)
{
	char *text = NULL;

	if (o->variant != MEMSYNC_NBD_THESIS)
		return strdup(spec);
	if (asprintf(&text,
		     "chunker:size=%" PRIu64 ",align=no,next=(limit:requests=1,"
		     "next=(%s))",
		     o->chunk_bytes, spec) < 0)
		return NULL;
	return text;
}

char *nbd_mount_spec(const char *spec, const struct memsync_nbd_options *o)
{
	char *text = NULL;

	if (o->kind == MEMSYNC_NBD_DIRECT)
		return direct_spec(spec, o);
	if (!strncmp(spec, "cache:", 6))
		return strdup(spec);
	if (asprintf(&text,
		     "cache:local=(%s),remote=(%s),chunk=%" PRIu64
		     ",request=%" PRIu64 ",retries=%d,retry=50ms",
		     o->local, spec, o->chunk_bytes, o->request_bytes,
		     FETCH_RETRIES) < 0)
		return NULL;
	return text;
}

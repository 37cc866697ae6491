/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of this process: the library's memsync_uffd_open and what it needs.
 */
#include "approaches/uffd/uffd-region.h"

#include "approaches/common/stage/cache.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-compat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int ms_uffd_region_map(struct memsync_uffd *r, int memory_fd,
		       uint64_t file_offset)
{
	int flags = memory_fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	int rc = ms_uffd_create(&r->uffd, &r->features);

	if (rc)
		return rc;
	r->length = (r->size + MS_UFFD_PAGE - 1) & ~(MS_UFFD_PAGE - 1);
	void *addr = mmap(NULL, r->length, PROT_READ, flags | MAP_NORESERVE,
			  memory_fd, memory_fd >= 0 ? (off_t)file_offset : 0);
	if (addr == MAP_FAILED)
		return ms_err(-errno, "uffd: map %" PRIu64 " bytes", r->length);
	r->addr = addr;
	/* A child would have the memory without the faults: zeros. */
	if (madvise(addr, r->length, MADV_DONTFORK))
		return ms_err(-errno, "uffd: keep the region from children");
	/* One fault must not bring in its neighbours' zeros as a huge page. */
	if (memory_fd < 0)
		(void)madvise(addr, r->length, MADV_NOHUGEPAGE);
	return ms_uffd_register(r->uffd, (uintptr_t)addr, r->length,
				memory_fd >= 0);
}

/*
 * Where the bytes will be: pages that the cache's store owns, an arena of our
 * own, or nowhere (anonymous memory, copied into).
 */
static int find_memory(struct memsync_uffd *r,
		       struct ms_uffd_engine_config *config, int *ret_fd,
		       uint64_t *ret_offset)
{
	struct ms_mapping m = {.fd = -1};

	*ret_fd = -1;
	*ret_offset = 0;
	if (r->options.variant == MEMSYNC_UFFD_THESIS)
		return 0;
	if (ms_cache_is(r->backend) && (r->backend->caps & MS_CAN_MAP)) {
		int rc = ms_map(r->backend, 0, r->size, &m);
		if (rc)
			return rc;
		if (m.fd >= 0 && m.fd_offset % MS_UFFD_PAGE == 0) {
			*ret_fd = m.fd;
			*ret_offset = m.fd_offset;
			config->alias = m.addr;
			config->populate = true;
			return 0;
		}
	}
	int rc = ms_uffd_arena_open(&r->arena, r->size, !r->options.no_huge);
	if (rc)
		return rc;
	*ret_fd = r->arena.fd;
	config->alias = r->arena.addr;
	return 0;
}

static int build(struct memsync_uffd *r)
{
	struct ms_uffd_engine_config config = {
		.size = r->size, .backend = r->backend, .options = r->options};
	int fd = -1;
	uint64_t offset = 0;
	int rc = find_memory(r, &config, &fd, &offset);

	if (rc)
		return rc;
	rc = ms_uffd_region_map(r, fd, offset);
	if (rc)
		return rc;
	if (fd >= 0 && !(r->features.bits & UFFD_FEATURE_MINOR_SHMEM))
		return ms_err(-EOPNOTSUPP,
			      "uffd: this kernel has no minor faults (5.13)");
	config.fd = r->uffd;
	config.start = (uintptr_t)r->addr;
	rc = ms_uffd_engine_start(&config, &r->engine);
	if (rc == 0)
		r->uffd = -1;
	return rc;
}

static int region_new(struct ms_backend *backend,
		      const struct memsync_uffd_options *options,
		      struct memsync_uffd **ret)
{
	struct memsync_uffd *r = calloc(1, sizeof(*r));
	int rc = 0;

	if (!r)
		return ms_err(-ENOMEM, "uffd");
	r->socket = r->uffd = r->stop_fd = r->arena.fd = -1;
	r->backend = backend;
	r->size = ms_size(backend);
	rc = ms_uffd_options_complete(options, &r->options);
	if (rc == 0 && r->size == 0)
		rc = ms_err(-EINVAL, "uffd: the region is empty");
	if (rc == 0)
		rc = build(r);
	if (rc) {
		memsync_uffd_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int ms_uffd_region_open(struct ms_backend *backend,
			const struct memsync_uffd_options *options,
			struct memsync_uffd **ret)
{
	return region_new(backend, options, ret);
}

int memsync_uffd_open(const char *spec_or_uri,
		      const struct memsync_uffd_options *options,
		      struct memsync_uffd **ret)
{
	struct ms_backend *backend = NULL;
	int rc = ms_open(spec_or_uri, &backend);

	if (rc)
		return rc;
	rc = region_new(backend, options, ret);
	if (rc) {
		ms_close(backend);
		return rc;
	}
	(*ret)->owns_backend = true;
	return 0;
}

const void *memsync_uffd_addr(const struct memsync_uffd *region)
{
	return region->addr;
}

uint64_t memsync_uffd_size(const struct memsync_uffd *region)
{
	return region->size;
}

void memsync_uffd_get_stats(const struct memsync_uffd *region,
			    struct memsync_uffd_stats *ret)
{
	*ret = (struct memsync_uffd_stats){0};
	if (region->engine)
		ms_uffd_engine_stats(region->engine, ret);
	ret->user_mode_only = region->features.user_mode_only;
	ret->huge = region->arena.huge;
}

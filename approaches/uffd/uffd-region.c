/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of this process: the library's memsync_uffd_open and what it needs.
 */
#include "approaches/uffd/uffd-region.h"

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

static int build(struct memsync_uffd *r)
{
	const struct ms_mapping *m = &r->source->memory;
	/* A store without a file, or off the page's grid, is copied from. */
	bool shared = m->fd >= 0 && m->fd_offset % MS_UFFD_PAGE == 0;
	int rc = ms_uffd_region_map(r, shared ? m->fd : -1, m->fd_offset);

	if (rc)
		return rc;
	if (shared && !(r->features.bits & UFFD_FEATURE_MINOR_SHMEM))
		return ms_err(-EOPNOTSUPP,
			      "uffd: this kernel has no minor faults (5.13)");
	struct ms_uffd_engine_config config = {.fd = r->uffd,
					       .start = (uintptr_t)r->addr,
					       .size = r->size,
					       .shared = shared,
					       .source = r->source,
					       .options = r->options};
	rc = ms_uffd_engine_start(&config, &r->engine);
	if (rc == 0)
		r->uffd = -1;
	return rc;
}

int ms_uffd_region_open(struct ms_backend *backend,
			const struct memsync_uffd_options *options,
			struct memsync_uffd **ret)
{
	struct memsync_uffd *r = calloc(1, sizeof(*r));

	if (!r) {
		ms_close(backend);
		return ms_err(-ENOMEM, "uffd");
	}
	r->socket = r->uffd = r->stop_fd = -1;
	r->size = ms_size(backend);
	int rc = ms_uffd_options_complete(options, &r->options);
	if (rc)
		ms_close(backend);
	else
		rc = ms_uffd_source_open(backend, &r->options, &r->source);
	if (rc == 0)
		rc = build(r);
	if (rc) {
		memsync_uffd_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int memsync_uffd_open(const char *spec_or_uri,
		      const struct memsync_uffd_options *options,
		      struct memsync_uffd **ret)
{
	struct ms_backend *backend = NULL;
	int rc = ms_open(spec_or_uri, &backend);

	return rc ? rc : ms_uffd_region_open(backend, options, ret);
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
	if (region->source) {
		ms_uffd_source_stats(region->source, ret);
		ret->huge = region->source->huge;
	}
	ret->user_mode_only = region->features.user_mode_only;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Variant `thesis`: a fault is a blocking read of 4 KiB and a copy of 4 KiB.
 * Nothing else happens meanwhile.
 */
#include "approaches/common/util/clock.h"
#include "approaches/uffd/uffd-internal.h"

#include <string.h>

void uffd_thesis_fault(struct ms_uffd_engine *e, uint64_t page)
{
	char buf[MS_UFFD_PAGE] __attribute__((aligned(4096)));
	uint64_t offset = page * MS_UFFD_PAGE;
	uint64_t left = e->config.size - offset;
	struct ms_uffd_done done = {0};
	struct ms_io io = {
		.op = MS_OP_READ,
		.priority = MS_URGENT,
		.offset = offset,
		.length = left < MS_UFFD_PAGE ? left : MS_UFFD_PAGE,
		.buf = buf,
		.deadline_ns = ms_now_ns() + e->config.options.deadline_ns,
	};

	/* The tail of the last page lies behind the region: it reads zero. */
	if (io.length < MS_UFFD_PAGE)
		memset(buf + io.length, 0, MS_UFFD_PAGE - io.length);
	count_add(&e->count.urgent_requests, 1);
	int rc = ms_wait(e->backend, &io);
	if (rc) {
		count_add(&e->count.errors, 1);
		atomic_store(&e->error, rc);
		uffd_fail_page(e, page);
		return;
	}
	count_add(&e->count.urgent_bytes, io.length);
	rc = ms_uffd_copy(e->config.fd, page_address(e, page), buf,
			  MS_UFFD_PAGE, &done);
	uffd_count(e, &done);
	if (rc)
		uffd_fail_page(e, page);
	else
		atomic_store_explicit(&e->state[page], PG_INSTALLED,
				      memory_order_relaxed);
}

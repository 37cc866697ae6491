/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application's side of a region whose faults another process answers, and
 * the end of every region.
 */
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-handoff.h"
#include "approaches/uffd/uffd-region.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Waits for the end of the handler: then nobody answers faults any more, and
 * pages that have not arrived become an error instead of an endless wait. The
 * userfaultfd stays open here, or the kernel would give out zeros.
 */
static void *guard(void *arg)
{
	struct memsync_uffd *r = arg;
	struct pollfd fds[] = {{.fd = r->socket, .events = POLLIN},
			       {.fd = r->stop_fd, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents)
			return NULL;
		if (!fds[0].revents)
			continue;
		/* The handler never speaks after its answer: this is its end.
		 */
		struct ms_uffd_done done = {0};
		int rc = ms_uffd_poison(r->uffd, (uintptr_t)r->addr, r->length,
					&done);
		if (rc == -EINVAL)
			(void)ms_uffd_cover(r->uffd, (uintptr_t)r->addr,
					    r->length);
		return NULL;
	}
}

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return ms_err(-ENAMETOOLONG, "socket %s", path);
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ms_err(-errno, "socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int rc = ms_err(-errno, "handler at %s", path);
		(void)close(fd);
		return rc;
	}
	return fd;
}

static int hand_over(struct memsync_uffd *r)
{
	struct ms_uffd_offer offer = {0};
	int rc = ms_uffd_recv_offer(r->socket, &offer);

	if (rc)
		return rc;
	r->size = offer.size;
	/* Anonymous: the pages of the handler's cache are copied into it. */
	rc = ms_uffd_region_map(r, -1, 0);
	if (rc)
		return rc;
	struct ms_uffd_range range = {.start = (uintptr_t)r->addr,
				      .length = r->length,
				      .uffd = r->uffd,
				      .memory = -1};
	rc = ms_uffd_send_range(r->socket, &range);
	return rc ? rc : ms_uffd_recv_answer(r->socket);
}

int memsync_uffd_connect(const char *path, struct memsync_uffd **ret)
{
	struct memsync_uffd *r = calloc(1, sizeof(*r));
	int rc = 0;

	if (!r)
		return ms_err(-ENOMEM, "uffd");
	r->uffd = r->stop_fd = -1;
	r->socket = rc = dial(path);
	if (rc >= 0)
		rc = hand_over(r);
	if (rc == 0) {
		r->stop_fd = eventfd(0, EFD_CLOEXEC);
		rc = r->stop_fd < 0 ? ms_err(-errno, "eventfd") : 0;
	}
	if (rc == 0) {
		rc = -pthread_create(&r->guard, NULL, guard, r);
		if (rc)
			(void)ms_err(rc, "start the guard");
		r->guard_runs = rc == 0;
	}
	if (rc) {
		memsync_uffd_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void memsync_uffd_close(struct memsync_uffd *region)
{
	if (!region)
		return;
	if (region->guard_runs) {
		(void)eventfd_write(region->stop_fd, 1);
		(void)pthread_join(region->guard, NULL);
	}
	ms_uffd_engine_stop(region->engine);
	ms_uffd_source_close(region->source);
	/* Unmapped before its userfaultfd is closed: never a page of zeros. */
	if (region->addr)
		(void)munmap(region->addr, region->length);
	ms_uffd_engine_free(region->engine);
	if (region->uffd >= 0)
		(void)close(region->uffd);
	if (region->stop_fd >= 0)
		(void)close(region->stop_fd);
	if (region->socket >= 0)
		(void)close(region->socket);
	free(region);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share. */
#ifndef MS_UFFD_TEST_H
#define MS_UFFD_TEST_H

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/guard.h"
#include "approaches/uffd/uffd-kernel.h"
#include "approaches/uffd/uffd-region.h"
#include "tests/check.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>

#define PAGE MS_UFFD_PAGE

static inline void skip_without_userfaultfd(void)
{
	struct ms_uffd_features f;
	int fd = -1;

	if (ms_uffd_create(&fd, &f))
		SKIP("%s", memsync_error());
	(void)close(fd);
}

/*
 * A backend of the pattern of seed 1 that can be told to fail, to answer
 * wrongly, or to keep requests until they are let go.
 */
struct fake {
	struct ms_backend base;
	atomic_uint_least64_t fail_from; /* reads of [from, to) fail */
	atomic_uint_least64_t fail_to;
	atomic_uint fail_times;		/* so often */
	atomic_uint_least64_t wrong_at; /* this byte is wrong; UINT64_MAX */
	atomic_uint reads;
	atomic_uint_least64_t bytes;
	pthread_mutex_t lock;
	bool keep; /* requests are kept, newest first */
	struct ms_io *kept;
	unsigned kept_count;
	unsigned hurried;
};

static inline void fake_answer(struct fake *f, struct ms_io *io)
{
	uint64_t end = io->offset + io->length;
	uint64_t wrong = f->wrong_at;

	if (io->offset < f->fail_to && end > f->fail_from && f->fail_times) {
		f->fail_times--;
		ms_done(io, -EIO, "fake");
		return;
	}
	ms_pattern_fill(1, io->offset, io->buf, io->length);
	if (wrong >= io->offset && wrong < end)
		((char *)io->buf)[wrong - io->offset] ^= 1;
	ms_done(io, 0, NULL);
}

static inline void fake_submit(struct ms_backend *b, struct ms_io *io)
{
	struct fake *f = ms_container_of(b, struct fake, base);

	if (io->op != MS_OP_READ) {
		ms_done(io, 0, NULL);
		return;
	}
	pthread_mutex_lock(&f->lock);
	bool keep = f->keep;
	if (keep) {
		io->link = f->kept;
		f->kept = io;
		f->kept_count++;
	}
	pthread_mutex_unlock(&f->lock);
	f->reads++;
	f->bytes += io->length;
	if (!keep)
		fake_answer(f, io);
}

static inline void fake_hurry(struct ms_backend *b, struct ms_io *io)
{
	struct fake *f = ms_container_of(b, struct fake, base);

	(void)io;
	pthread_mutex_lock(&f->lock);
	f->hurried++;
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_let_go(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	struct ms_io *io = f->kept;
	f->kept = NULL;
	f->kept_count = 0;
	f->keep = false;
	pthread_mutex_unlock(&f->lock);
	while (io) {
		struct ms_io *next = io->link;
		fake_answer(f, io);
		io = next;
	}
}

static inline void fake_close(struct ms_backend *b)
{
	(void)b;
}

static const struct ms_backend_ops fake_ops = {
	.name = "fake",
	.submit = fake_submit,
	.hurry = fake_hurry,
	.close = fake_close,
};

static inline void fake_init(struct fake *f, uint64_t size)
{
	*f = (struct fake){.wrong_at = UINT64_MAX};
	(void)pthread_mutex_init(&f->lock, NULL);
	ms_backend_init(&f->base, &fake_ops, size, 0);
}

/* The bytes at an address, or false where there is a SIGBUS. */
static inline bool can_read(const void *base, size_t size, uint64_t offset,
			    unsigned char *ret)
{
	static _Thread_local struct ms_guard guard;

	if (sigsetjmp(guard.env, 1))
		return false;
	ms_guard_enter(&guard, base, size);
	*ret = *((const volatile unsigned char *)base + offset);
	ms_guard_leave();
	return true;
}

static inline unsigned char pattern_byte(uint64_t offset)
{
	unsigned char byte = 0;

	ms_pattern_fill(1, offset, &byte, 1);
	return byte;
}

#endif

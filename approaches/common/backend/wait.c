/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking helpers: each is a request and a wait for its completion. */
#include "approaches/common/util/err.h"
#include "memsync/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

struct waiter {
	uint32_t done; /* futex: 0 pending, 1 done, 2 pending and slept on */
};

static void wake(struct ms_io *io)
{
	struct waiter *w = io->user;
	uint32_t *done = &w->done;

	/*
	 * After the exchange the waiter may return and its stack may be gone;
	 * the wake-up of an address is harmless to whoever owns it then.
	 */
	if (__atomic_exchange_n(done, 1, __ATOMIC_ACQ_REL) == 2)
		(void)syscall(SYS_futex, done, FUTEX_WAKE_PRIVATE, 1, NULL,
			      NULL, 0);
}

static void wait_for(struct waiter *w)
{
	uint32_t pending = 0;

	(void)__atomic_compare_exchange_n(&w->done, &pending, 2, false,
					  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	while (__atomic_load_n(&w->done, __ATOMIC_ACQUIRE) != 1)
		(void)syscall(SYS_futex, &w->done, FUTEX_WAIT_PRIVATE, 2, NULL,
			      NULL, 0);
}

static int describe(const struct ms_backend *b, const struct ms_io *io)
{
	const char *origin = io->origin ? io->origin : b->ops->name;

	if (io->op == MS_OP_SYNC)
		return ms_err(io->result, "%s: sync", origin);
	return ms_err(io->result, "%s: %s %" PRIu64 " bytes at %" PRIu64,
		      origin, ms_op_name(io->op), io->length, io->offset);
}

int ms_wait(struct ms_backend *b, struct ms_io *io)
{
	struct waiter waiter = {0};

	io->done = wake;
	/* It lives until the wait below has ended. */
	/* cppcheck-suppress autoVariables */
	io->user = &waiter;
	ms_submit(b, io);
	wait_for(&waiter);
	return io->result < 0 ? describe(b, io) : 0;
}

/* Reads and writes of any length, cut to what the door lets through. */
static int transfer(struct ms_backend *b, enum ms_op op, char *buf,
		    uint64_t length, uint64_t offset)
{
	do {
		uint64_t n = length < MS_IO_MAX ? length : MS_IO_MAX;
		struct ms_io io = {.op = op,
				   .priority = MS_URGENT,
				   .offset = offset,
				   .length = n,
				   .buf = buf};
		int rc = ms_wait(b, &io);
		if (rc)
			return rc;
		buf += n;
		offset += n;
		length -= n;
	} while (length);
	return 0;
}

int ms_read_at(struct ms_backend *b, void *buf, uint64_t length,
	       uint64_t offset)
{
	return transfer(b, MS_OP_READ, buf, length, offset);
}

int ms_write_at(struct ms_backend *b, const void *buf, uint64_t length,
		uint64_t offset)
{
	return transfer(b, MS_OP_WRITE, (char *)buf, length, offset);
}

int ms_sync(struct ms_backend *b)
{
	struct ms_io io = {.op = MS_OP_SYNC, .priority = MS_URGENT};

	return ms_wait(b, &io);
}

int ms_zero_at(struct ms_backend *b, uint64_t length, uint64_t offset)
{
	struct ms_io io = {
		.op = MS_OP_ZERO, .offset = offset, .length = length};

	return ms_wait(b, &io);
}

int ms_resize(struct ms_backend *b, uint64_t size)
{
	struct ms_io io = {.op = MS_OP_RESIZE, .offset = size};

	return ms_wait(b, &io);
}

const char *memsync_error(void)
{
	return ms_err_text();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What implementations of backends share; see base.h. */
#include "approaches/common/backend/base.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	RESERVE_MAX = 64 /* requests kept per thread, about 11 KiB */
};

static _Thread_local struct {
	struct ms_io *first;
	unsigned count;
} reserve;

/*
 * The reserve is given back when its thread ends; a key with a destructor is
 * the only hook that works for threads we did not start.
 */
static pthread_key_t reserve_key;
static pthread_once_t reserve_once = PTHREAD_ONCE_INIT;
static _Thread_local bool reserve_hooked;

static void reserve_drop(void *unused)
{
	(void)unused;
	while (reserve.first) {
		struct ms_io *io = reserve.first;
		reserve.first = io->link;
		free(io);
	}
	reserve.count = 0;
}

static void reserve_drop_main(void)
{
	reserve_drop(NULL);
}

static void reserve_make_key(void)
{
	(void)pthread_key_create(&reserve_key, reserve_drop);
	/* exit() runs no thread destructors for the thread that calls it. */
	(void)atexit(reserve_drop_main);
}

void ms_backend_init(struct ms_backend *b, const struct ms_backend_ops *ops,
		     uint64_t size, unsigned caps)
{
	*b = (struct ms_backend){
		.ops = ops, .caps = caps, .block = 1, .size = size};
}

struct ms_io *ms_io_new(void)
{
	struct ms_io *io = reserve.first;

	if (!io)
		return calloc(1, sizeof(*io));
	reserve.first = io->link;
	reserve.count--;
	*io = (struct ms_io){0};
	return io;
}

void ms_io_free(struct ms_io *io)
{
	if (!io)
		return;
	if (reserve.count == RESERVE_MAX) {
		free(io);
		return;
	}
	if (!reserve_hooked) {
		(void)pthread_once(&reserve_once, reserve_make_key);
		(void)pthread_setspecific(reserve_key, &reserve);
		reserve_hooked = true;
	}
	io->link = reserve.first;
	reserve.first = io;
	reserve.count++;
}

void ms_io_copy_request(struct ms_io *to, const struct ms_io *from)
{
	to->op = from->op;
	to->priority = from->priority;
	to->flags = from->flags;
	to->offset = from->offset;
	to->length = from->length;
	to->buf = from->buf;
	to->extents_max = from->extents_max;
	to->deadline_ns = from->deadline_ns;
}

bool ms_is_zero(const void *addr, size_t n)
{
	const unsigned char *p = addr;

	/* The first byte is zero and every byte equals the one before it. */
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

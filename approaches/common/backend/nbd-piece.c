/* SPDX-License-Identifier: Apache-2.0 */
/* One piece of a request as a libnbd command, and its memory. */
#include "approaches/common/backend/nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUFFERS_SPARE_MAX = 64
};

/* A free buffer is a list entry itself. */
struct nbd_buffer {
	struct nbd_buffer *next;
};

/* --- memory --------------------------------------------------------------- */

static char *buffer_get(struct nbd_store *s)
{
	struct nbd_buffer *b = s->buffer_spare;

	if (!b)
		/* Cleared once: a server that lies about what it sent must not
		 * make us hand out what else was in the memory. */
		return calloc(1, s->piece_max > sizeof(*b) ? s->piece_max
							   : sizeof(*b));
	s->buffer_spare = b->next;
	s->buffer_spare_count--;
	return (char *)b;
}

static void buffer_put(struct nbd_store *s, char *bytes)
{
	struct nbd_buffer *b = (struct nbd_buffer *)(void *)bytes;

	if (!b)
		return;
	if (s->buffer_spare_count == BUFFERS_SPARE_MAX) {
		free(b);
		return;
	}
	b->next = s->buffer_spare;
	s->buffer_spare = b;
	s->buffer_spare_count++;
}

struct nbd_piece *ms_nbd_piece_new(struct nbd_store *s, bool own)
{
	struct nbd_piece *p = TAILQ_FIRST(&s->piece_spare);

	if (p)
		TAILQ_REMOVE(&s->piece_spare, p, link);
	else
		p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct nbd_piece){.store = s};
	if (!own)
		return p;
	p->own = buffer_get(s);
	if (p->own)
		return p;
	ms_nbd_piece_free(s, p);
	return NULL;
}

void ms_nbd_piece_free(struct nbd_store *s, struct nbd_piece *p)
{
	buffer_put(s, p->own);
	TAILQ_INSERT_HEAD(&s->piece_spare, p, link);
}

void ms_nbd_piece_memory_free(struct nbd_store *s)
{
	struct nbd_piece *p = NULL;

	while ((p = TAILQ_FIRST(&s->piece_spare)) != NULL) {
		TAILQ_REMOVE(&s->piece_spare, p, link);
		free(p);
	}
	while (s->buffer_spare) {
		struct nbd_buffer *next = s->buffer_spare->next;
		free(s->buffer_spare);
		s->buffer_spare = next;
	}
}

/* --- answers -------------------------------------------------------------- */

/*
 * libnbd calls this inside of one of its own calls, which only the loop's
 * thread makes. The handle may not be used here.
 */
static void answer(struct nbd_piece *p, int error)
{
	p->error = error > 0 ? -error : error;
	TAILQ_INSERT_TAIL(&p->store->answered, p, batch_link);
}

static int completed(void *user, int *error)
{
	struct nbd_piece *p = user;

	/* libnbd takes an answer for a success that had no bytes. */
	if (*error == 0 && p->op == MS_OP_READ && p->seen != p->length)
		*error = EPROTO;
	/* Only the loop's thread ends a job, so it is there if it is named. */
	if (*error == 0 && p->op == MS_OP_READ && p->own && p->job)
		memcpy(p->bytes, p->own, p->length);
	answer(p, *error);
	return 1; /* libnbd forgets the command */
}

/* A part of a read's bytes is in its place. Runs as `completed`. */
static int chunk(void *user, const void *bytes, size_t count, uint64_t offset,
		 unsigned status, int *error)
{
	struct nbd_piece *p = user;

	(void)bytes;
	(void)offset;
	(void)error;
	if (status == LIBNBD_READ_DATA || status == LIBNBD_READ_HOLE)
		p->seen += count;
	return 0;
}

static enum ms_extent_type extent_type(uint32_t flags)
{
	/* A hole that is not said to read zero may read anything. */
	if (!(flags & LIBNBD_STATE_ZERO))
		return MS_EXTENT_DATA;
	return flags & LIBNBD_STATE_HOLE ? MS_EXTENT_HOLE : MS_EXTENT_ZERO;
}

/* Append what the request has room for. The server may say more. */
static void extent_add(struct nbd_job *job, enum ms_extent_type type,
		       uint64_t length)
{
	struct ms_io *io = job->io;
	struct ms_extent *list = io->buf;
	uint64_t left = io->length - job->cursor;

	if (length > left)
		length = left;
	if (length == 0 || job->full || !list)
		return;
	struct ms_extent *last =
		io->extents_used ? &list[io->extents_used - 1] : NULL;
	if (last && last->type == type) {
		last->length += length;
	} else if (io->extents_used == io->extents_max) {
		job->full = true;
		return;
	} else {
		list[io->extents_used++] =
			(struct ms_extent){.offset = io->offset + job->cursor,
					   .length = length,
					   .type = type};
	}
	job->cursor += length;
}

/* Pairs of length and flags. Runs on the loop's thread, as `completed`. */
static int extents(void *user, const char *context, uint64_t offset,
		   uint32_t *entries, size_t count, int *error)
{
	struct nbd_piece *p = user;

	(void)error;
	if (!p->job || offset != p->offset ||
	    strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	/* A server that answers twice is believed once. */
	if (p->job->cursor != p->job->before)
		return 0;
	for (size_t i = 0; i + 1 < count; i += 2)
		extent_add(p->job, extent_type(entries[i + 1]), entries[i]);
	return 0;
}

/* --- sending -------------------------------------------------------------- */

static int64_t command(struct nbd_piece *p, struct nbd_handle *h)
{
	nbd_completion_callback done = {.callback = completed, .user_data = p};
	nbd_chunk_callback part = {.callback = chunk, .user_data = p};
	nbd_extent_callback list = {.callback = extents, .user_data = p};
	char *bytes = p->own ? p->own : p->bytes;

	switch (p->op) {
	case MS_OP_READ:
		p->seen = 0;
		return nbd_aio_pread_structured(h, bytes, p->length, p->offset,
						part, done, 0);
	case MS_OP_WRITE:
		if (p->own)
			memcpy(p->own, p->bytes, p->length);
		return nbd_aio_pwrite(h, bytes, p->length, p->offset, done,
				      p->flags & MS_FUA ? LIBNBD_CMD_FLAG_FUA
							: 0);
	case MS_OP_SYNC:
		return nbd_aio_flush(h, done, 0);
	case MS_OP_ZERO:
		return nbd_aio_zero(h, p->length, p->offset, done, 0);
	case MS_OP_TRIM:
		return nbd_aio_trim(h, p->length, p->offset, done, 0);
	case MS_OP_EXTENTS:
		return nbd_aio_block_status(h, p->length, p->offset, list, done,
					    0);
	case MS_OP_POPULATE:
		return nbd_aio_cache(h, p->length, p->offset, done, 0);
	case MS_OP_HASH:
	case MS_OP_RESIZE:
	case MS_OP_COUNT:
		break;
	}
	/* The door answers what we have no capability for. */
	abort();
}

void ms_nbd_piece_send(struct nbd_piece *p)
{
	struct nbd_handle *h = p->conn->handle;

	if (command(p, h) >= 0)
		return;
	/* Refused: libnbd holds nothing of it. Without a connection it is one
	 * of those that a lost connection had. */
	int error = ms_nbd_handle_ended(h) ? ENOTCONN : nbd_get_errno();
	answer(p, error > 0 ? error : EIO);
}

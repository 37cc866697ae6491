/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between harness and guest; see frame.h. */
#include "harness/vm/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t frame_get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

void frame_put32(uint8_t *p, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

void frame_head(uint8_t head[FRAME_HEAD], unsigned type, size_t len)
{
	memset(head, 0, FRAME_HEAD);
	head[0] = (uint8_t)type;
	frame_put32(head + 4, (uint32_t)len);
}

int frame_decoder_init(struct frame_decoder *d)
{
	*d = (struct frame_decoder){.room = FRAME_HEAD + FRAME_MAX};
	d->buf = malloc(d->room);
	return d->buf ? 0 : -ENOMEM;
}

void frame_decoder_release(struct frame_decoder *d)
{
	free(d->buf);
	*d = (struct frame_decoder){0};
}

/* Forget the frame that was handed out. */
static void consume(struct frame_decoder *d)
{
	if (!d->used)
		return;
	d->len -= d->used;
	memmove(d->buf, d->buf + d->used, d->len);
	d->used = 0;
}

uint8_t *frame_space(struct frame_decoder *d, size_t *ret_room)
{
	consume(d);
	/* A whole frame never fills it, and a longer one is refused. */
	*ret_room = d->room - d->len;
	return d->buf + d->len;
}

void frame_added(struct frame_decoder *d, size_t n)
{
	d->len += n;
}

int frame_next(struct frame_decoder *d, struct frame *ret)
{
	size_t len;

	consume(d);
	if (d->len < FRAME_HEAD)
		return 0;
	len = frame_get32(d->buf + 4);
	if (!d->buf[0] || d->buf[1] || d->buf[2] || d->buf[3] ||
	    len > FRAME_MAX)
		return -EPROTO;
	if (d->len < FRAME_HEAD + len)
		return 0;
	d->used = FRAME_HEAD + len;
	*ret = (struct frame){
		.type = d->buf[0], .len = len, .data = d->buf + FRAME_HEAD};
	return 1;
}

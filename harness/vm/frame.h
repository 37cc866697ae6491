/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the harness and the agent in the guest say to each other, over one
 * virtio-serial port: frames of a type, a length and that many bytes. Numbers
 * are little-endian. Both ends use this file; the decoder takes nothing on
 * trust and holds at most one frame.
 *
 *	offset  bytes
 *	0       1     type
 *	1       3     zero
 *	4       4     length of what follows, at most FRAME_MAX
 *
 * A session: the guest says HELLO when its kernel runs, the harness sends
 * START, the guest sends OUT, ERR and TAKEN while the command runs, ALIVE every
 * FRAME_ALIVE_MS from HELLO on, and EXIT or FAILED at the end. It powers off
 * after either.
 */
#ifndef MS_HARNESS_VM_FRAME_H
#define MS_HARNESS_VM_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_PORT     "memsync.agent"
#define FRAME_HEAD     8
#define FRAME_MAX      (1u << 20)
#define FRAME_DATA_MAX (32u << 10)  /* of a frame that the programs fill */
#define FRAME_WINDOW   (128u << 10) /* bytes of IN not TAKEN yet */
#define FRAME_ALIVE_MS 1000

enum frame_type {
	/* from the guest */
	FRAME_HELLO = 1, /* text: release of its kernel */
	FRAME_ALIVE,	 /* empty */
	FRAME_OUT,    /* bytes of the command's stdout (or of its terminal) */
	FRAME_ERR,    /* bytes of its stderr */
	FRAME_TAKEN,  /* u32: bytes of IN that the command has taken */
	FRAME_EXIT,   /* u32: status as of wait */
	FRAME_FAILED, /* text: why no command was run */
	/* from the harness */
	FRAME_START = 64, /* texts, see vm_start_pack in start.h */
	FRAME_IN,	  /* bytes for the command's stdin; empty: its end */
	FRAME_SIGNAL,	  /* u32: signal for the command's process group */
	FRAME_SIZE,	  /* u32 rows, u32 columns of the terminal */
};

struct frame {
	unsigned type;
	size_t len;
	const uint8_t *data; /* in the decoder, until its next call */
};

struct frame_decoder {
	uint8_t *buf;
	size_t len;  /* bytes in buf */
	size_t used; /* of the frame handed out last */
	size_t room;
};

/* Where to put bytes that were read, and how many fit (at least 1). */
uint8_t *frame_space(struct frame_decoder *d, size_t *ret_room)
	__attribute__((nonnull));
/* `n` bytes were put there. */
void frame_added(struct frame_decoder *d, size_t n) __attribute__((nonnull));

/*
 * The next whole frame: 1, or 0 if there is none yet, or -EPROTO when what came
 * is no frame (the connection is useless then).
 */
int frame_next(struct frame_decoder *d, struct frame *ret)
	__attribute__((nonnull, warn_unused_result));

/* Write a frame's head; FRAME_HEAD bytes. */
void frame_head(uint8_t head[FRAME_HEAD], unsigned type, size_t len)
	__attribute__((nonnull));

uint32_t frame_get32(const uint8_t *p) __attribute__((nonnull));
void frame_put32(uint8_t *p, uint32_t value) __attribute__((nonnull));

/* 0 or -ENOMEM. */
int frame_decoder_init(struct frame_decoder *d)
	__attribute__((nonnull, warn_unused_result));
void frame_decoder_release(struct frame_decoder *d) __attribute__((nonnull));

#endif

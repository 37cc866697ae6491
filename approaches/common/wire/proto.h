/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memsync protocol, version 1: encoding and decoding, for both roles.
 * PROTOCOL.md is the description. Everything that a peer sends is taken apart
 * here and nowhere else; the functions are pure, look at nothing but the
 * bytes they are given, and refuse every length before anybody allocates.
 */
#ifndef MS_COMMON_WIRE_PROTO_H
#define MS_COMMON_WIRE_PROTO_H

#include "memsync/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MS_PROTO_VERSION = 1,
	MS_PROTO_HELLO_PREFIX = 16,  /* enough to know a hello's length */
	MS_PROTO_HELLO_BYTES = 64,   /* fixed part of the client's hello */
	MS_PROTO_WELCOME_BYTES = 96, /* fixed part of the server's answer */
	MS_PROTO_HELLO_MAX = 4096,
	MS_PROTO_NAME_MAX = 255,
	MS_PROTO_TEXT_MAX = 255,
	MS_PROTO_ID_BYTES = 16,	    /* session token, instance */
	MS_PROTO_FRAME_BYTES = 32,  /* header of a request and of a reply */
	MS_PROTO_RESUME_BYTES = 16, /* behind a hello's name */
	MS_PROTO_EXTENT_BYTES = 16,
	MS_PROTO_EXTENTS_MAX = 4096, /* in one reply */
	MS_PROTO_HASH_BYTES = 16,
	MS_PROTO_REQUEST_MIN = 64 << 10, /* every server accepts this much */
	MS_PROTO_REQUEST_MAX = 16 << 20, /* and none more than this */
};

/* Feature bits: asked for by the client, granted by the server. */
#define MS_PROTO_FEATURE_WATCH	UINT64_C(1) /* WATCH and CHANGED */
#define MS_PROTO_FEATURE_RESUME UINT64_C(2) /* a connection replaces one */
#define MS_PROTO_FEATURE_ALIVE                        \
	UINT64_C(4) /* both sides show that they live \
		     */
#define MS_PROTO_FEATURES                                   \
	(MS_PROTO_FEATURE_WATCH | MS_PROTO_FEATURE_RESUME | \
	 MS_PROTO_FEATURE_ALIVE)

enum ms_proto_lane {
	MS_LANE_ANY,	/* the only connection of its session */
	MS_LANE_URGENT, /* short requests that somebody waits for */
	MS_LANE_BULK,
	MS_LANE_COUNT
};

enum ms_proto_role {
	MS_ROLE_TARGET = 1, /* sends requests */
};

enum ms_proto_op {
	MS_PROTO_READ = 1,
	MS_PROTO_WRITE = 2,
	MS_PROTO_SYNC = 3,
	MS_PROTO_ZERO = 4,
	MS_PROTO_TRIM = 5,
	MS_PROTO_EXTENTS = 6,
	MS_PROTO_HASH = 7,
	MS_PROTO_RESIZE = 8,
	MS_PROTO_PING = 9,
	MS_PROTO_WATCH = 10,
	MS_PROTO_CHANGED = 11, /* server to client, not asked for */
	MS_PROTO_BYE = 12,     /* either way, not answered */
};

enum {
	MS_PROTO_FUA = 1 << 0,	  /* request: WRITE durable when answered */
	MS_PROTO_URGENT = 1 << 1, /* request: before the ones without */
	MS_PROTO_SIZE = 1 << 2,	  /* CHANGED: the region's size is new */
};

/* Capabilities of an export, as the wire numbers them. */
enum {
	MS_PROTO_CAN_WRITE = 1 << 0,
	MS_PROTO_CAN_FUA = 1 << 1,
	MS_PROTO_CAN_ZERO = 1 << 2,
	MS_PROTO_CAN_TRIM = 1 << 3,
	MS_PROTO_CAN_EXTENTS = 1 << 4,
	MS_PROTO_CAN_HASH = 1 << 5,
	MS_PROTO_CAN_RESIZE = 1 << 6,
};

/* What a client opens a connection with. */
struct ms_hello {
	uint16_t version_min;
	uint16_t version_max;
	uint64_t features;
	uint8_t token[MS_PROTO_ID_BYTES]; /* the session, chosen by the client
					   */
	uint32_t request_max;		  /* bytes that the client would like */
	enum ms_proto_lane lane;
	enum ms_proto_role role;
	/* With RESUME: takes the place of the slot's earlier connections. */
	uint32_t slot;
	uint32_t generation;
	char name[MS_PROTO_NAME_MAX + 1]; /* export, "" for the first */
};

/* What the server answers. With status < 0 only `text` means anything. */
struct ms_welcome {
	int status; /* 0 or negative errno */
	uint16_t version;
	uint64_t features;
	uint8_t token[MS_PROTO_ID_BYTES];
	uint8_t instance[MS_PROTO_ID_BYTES];
	uint64_t size;
	uint32_t block;	       /* power of two */
	uint32_t chunk;	       /* hint: a good unit of transfer, or 0 */
	uint32_t request_max;  /* bytes of one READ or WRITE */
	unsigned caps;	       /* MS_CAN_... of the contract */
	uint32_t extents_max;  /* in one reply */
	uint32_t requests_max; /* in flight on this connection */
	char text[MS_PROTO_TEXT_MAX + 1];
};

struct ms_request {
	enum ms_proto_op op;
	unsigned flags;
	uint16_t count; /* EXTENTS: how many at most; else 0 */
	uint64_t id;
	uint64_t offset;
	uint64_t length;
};

struct ms_reply {
	enum ms_proto_op op;
	unsigned flags;
	int status; /* 0 or negative errno */
	uint64_t id;
	uint64_t offset; /* CHANGED: of the range or, with SIZE, the size */
	uint64_t length; /* bytes that follow; CHANGED: of the range */
};

/* --- handshake --------------------------------------------------------------
 */

/* Write `hello` into `buf` (MS_PROTO_HELLO_MAX); returns the bytes used. */
size_t ms_proto_put_hello(const struct ms_hello *hello, uint8_t *buf)
	__attribute__((nonnull));
size_t ms_proto_put_welcome(const struct ms_welcome *welcome, uint8_t *buf)
	__attribute__((nonnull));

/*
 * The whole length of the hello or welcome that begins with the
 * MS_PROTO_HELLO_PREFIX bytes at `buf`; `fixed` is the least. -EPROTO.
 */
int ms_proto_hello_length(const uint8_t *buf, size_t fixed, size_t *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * Take a whole hello or welcome apart. 0; -EPROTO if it is malformed;
 * -EPROTONOSUPPORT if the hello's versions do not include ours.
 */
int ms_proto_get_hello(const uint8_t *buf, size_t n, struct ms_hello *ret)
	__attribute__((nonnull, warn_unused_result));
int ms_proto_get_welcome(const uint8_t *buf, size_t n, struct ms_welcome *ret)
	__attribute__((nonnull, warn_unused_result));

/* --- frames -----------------------------------------------------------------
 */

/* Write a header of MS_PROTO_FRAME_BYTES. */
void ms_proto_put_request(const struct ms_request *request, uint8_t *buf)
	__attribute__((nonnull));
void ms_proto_put_reply(const struct ms_reply *reply, uint8_t *buf)
	__attribute__((nonnull));

/*
 * Take a header apart. `request_max` bounds what may follow. 0 or -EPROTO,
 * after which the connection cannot be used any more.
 */
int ms_proto_get_request(const uint8_t *buf, uint32_t request_max,
			 struct ms_request *ret)
	__attribute__((nonnull, warn_unused_result));
int ms_proto_get_reply(const uint8_t *buf, struct ms_reply *ret)
	__attribute__((nonnull, warn_unused_result));

/* Bytes that follow the header. */
uint64_t ms_proto_request_payload(const struct ms_request *request)
	__attribute__((nonnull));

/* 0 if `reply` can be the answer to `request`, else -EPROTO. */
int ms_proto_match(const struct ms_request *request,
		   const struct ms_reply *reply)
	__attribute__((nonnull, warn_unused_result));
uint64_t ms_proto_reply_payload(const struct ms_reply *reply)
	__attribute__((nonnull));

/* --- payloads ---------------------------------------------------------------
 */

/* Extents as the wire has them, for the range [offset, offset + length). */
void ms_proto_put_extents(const struct ms_extent *extents, size_t count,
			  uint8_t *buf) __attribute__((nonnull));

/*
 * The extents of `n` payload bytes answering `request`; they begin at its
 * offset, are not empty and stay inside the range. -EPROTO.
 */
int ms_proto_get_extents(const uint8_t *buf, size_t n,
			 const struct ms_request *request,
			 struct ms_extent *ret, size_t *ret_count)
	__attribute__((nonnull, warn_unused_result));

/* --- numbers ----------------------------------------------------------------
 */

/* Stable error numbers of the wire for negative errnos, and back. */
uint16_t ms_proto_status(int result);
int ms_proto_errno(uint16_t status);

/* Capability bits of the wire for those of the contract, and back. */
uint32_t ms_proto_caps(unsigned caps);
unsigned ms_proto_caps_back(uint32_t bits);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD protocol in bytes: constants, and packing and unpacking of every
 * header. All functions are pure; those that read what a peer sent take its
 * length and accept nothing that they would have to read beyond it.
 *
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
 * Everything is big-endian.
 */
#ifndef MS_NBD_PROTO_H
#define MS_NBD_PROTO_H

#include "memsync/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_MAGIC	       UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC       UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY       UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC      UINT32_C(0x25609513)
#define NBD_SIMPLE_MAGIC       UINT32_C(0x67446698)
#define NBD_STRUCTURED_MAGIC   UINT32_C(0x668e33ef)
#define NBD_CONTEXT_ALLOCATION "base:allocation"

enum {
	NBD_PORT = 10809,
	NBD_STRING_MAX = 4096, /* a name, a query, a description */
	/* What an option may bring; the longest is a list of queries. */
	NBD_OPTION_MAX = 64 << 10,
	NBD_QUERIES_MAX = 256,

	NBD_GREETING_BYTES = 18,
	NBD_CLIENT_FLAGS_BYTES = 4,
	NBD_OPTION_BYTES = 16,
	NBD_OPTION_REPLY_BYTES = 20,
	NBD_REQUEST_BYTES = 28,
	NBD_SIMPLE_BYTES = 16,
	NBD_CHUNK_BYTES = 20,
	NBD_ERROR_BYTES = 6,	  /* an error chunk's without its text */
	NBD_OFFSET_BYTES = 8,	  /* in front of a data chunk's data */
	NBD_CONTEXT_BYTES = 4,	  /* in front of a block status chunk's list */
	NBD_DESCRIPTOR_BYTES = 8, /* of a list of extents */
	NBD_EXPORT_NAME_PAD = 124,
	NBD_CONTEXT_ID = 1, /* what we call base:allocation */
};

/* The handshake's flags, of the server and of the client alike. */
enum {
	NBD_FIXED_NEWSTYLE = 1 << 0,
	NBD_NO_ZEROES = 1 << 1,
};

/* Transmission flags. */
enum {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_ROTATIONAL = 1 << 4,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_RESIZE = 1 << 9,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

enum nbd_option_type {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR	       (UINT32_C(1) << 31)
#define NBD_REP_ACK	       UINT32_C(1)
#define NBD_REP_SERVER	       UINT32_C(2)
#define NBD_REP_INFO	       UINT32_C(3)
#define NBD_REP_META_CONTEXT   UINT32_C(4)
#define NBD_REP_ERR_UNSUP      (NBD_REP_ERROR | 1)
#define NBD_REP_ERR_POLICY     (NBD_REP_ERROR | 2)
#define NBD_REP_ERR_INVALID    (NBD_REP_ERROR | 3)
#define NBD_REP_ERR_PLATFORM   (NBD_REP_ERROR | 4)
#define NBD_REP_ERR_TLS_REQD   (NBD_REP_ERROR | 5)
#define NBD_REP_ERR_UNKNOWN    (NBD_REP_ERROR | 6)
#define NBD_REP_ERR_SHUTDOWN   (NBD_REP_ERROR | 7)
#define NBD_REP_ERR_BLOCK_SIZE (NBD_REP_ERROR | 8)
#define NBD_REP_ERR_TOO_BIG    (NBD_REP_ERROR | 9)

enum nbd_info_type {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
	NBD_CMD_COUNT
};

enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

enum nbd_chunk_type {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_DATA = 1,
	NBD_CHUNK_HOLE = 2,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = (1 << 15) + 1,
	NBD_CHUNK_ERROR_OFFSET = (1 << 15) + 2,
};

enum {
	NBD_CHUNK_DONE = 1 << 0, /* a chunk's flag: the last one of a reply */
};

/* What base:allocation says of an extent. */
enum {
	NBD_STATE_HOLE = 1 << 0,
	NBD_STATE_ZERO = 1 << 1,
};

/* --- handshake ------------------------------------------------------------ */

struct nbd_option {
	uint32_t type;
	uint32_t length; /* of the data that follows */
};

/* The server's first bytes, with its handshake flags. */
void nbd_put_greeting(uint16_t flags, uint8_t out[NBD_GREETING_BYTES]);

/* The client's flags. 0, or -EPROTO for one that we have not offered. */
int nbd_get_client_flags(const uint8_t in[NBD_CLIENT_FLAGS_BYTES],
			 uint32_t *ret_flags)
	__attribute__((nonnull, warn_unused_result));

/* An option's header. 0, or -EPROTO: it is none. */
int nbd_get_option(const uint8_t in[NBD_OPTION_BYTES], struct nbd_option *ret)
	__attribute__((nonnull, warn_unused_result));

void nbd_put_option_reply(uint32_t option, uint32_t type, uint32_t length,
			  uint8_t out[NBD_OPTION_REPLY_BYTES]);

/* A string inside what a peer sent; not terminated. */
struct nbd_string {
	const char *text;
	uint32_t length;
};

/*
 * The data of INFO and GO: a name and the kinds of information that are asked
 * for, of which only the known ones are noted (1 << NBD_INFO_...). 0, or
 * -EINVAL.
 */
struct nbd_info_request {
	struct nbd_string name;
	unsigned wanted;
};
int nbd_get_info_request(const uint8_t *data, size_t length,
			 struct nbd_info_request *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * The data of LIST_META_CONTEXT and SET_META_CONTEXT. `query_count` of 0 means
 * all for LIST. 0, -EINVAL, or -E2BIG: more queries than NBD_QUERIES_MAX.
 */
struct nbd_meta_request {
	struct nbd_string name;
	uint32_t query_count;
	struct nbd_string queries[NBD_QUERIES_MAX];
};
int nbd_get_meta_request(const uint8_t *data, size_t length,
			 struct nbd_meta_request *ret)
	__attribute__((nonnull, warn_unused_result));

bool nbd_string_is(const struct nbd_string *string, const char *text)
	__attribute__((nonnull));

/* The payloads of NBD_REP_INFO; both return the number of bytes written. */
size_t nbd_put_info_export(uint64_t size, uint16_t flags, uint8_t out[12]);
size_t nbd_put_info_blocks(const uint32_t sizes[3], uint8_t out[14]);

/* The reply to EXPORT_NAME; the padding is zeroed. Bytes written. */
size_t nbd_put_export_name_reply(uint64_t size, uint16_t flags, bool no_zeroes,
				 uint8_t out[10 + NBD_EXPORT_NAME_PAD]);

/* Big-endian numbers, for payloads made of little else. */
void nbd_put_u16(uint16_t value, uint8_t out[2]);
void nbd_put_u32(uint32_t value, uint8_t out[4]);
void nbd_put_u64(uint64_t value, uint8_t out[8]);
uint16_t nbd_get_u16(const uint8_t in[2]);
uint32_t nbd_get_u32(const uint8_t in[4]);
uint64_t nbd_get_u64(const uint8_t in[8]);

/* --- transmission --------------------------------------------------------- */

struct nbd_request {
	uint16_t flags;
	uint16_t type; /* enum nbd_command, or anything */
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
};

/* 0, or -EPROTO: the magic is wrong, and the stream is lost with it. */
int nbd_get_request(const uint8_t in[NBD_REQUEST_BYTES],
		    struct nbd_request *ret)
	__attribute__((nonnull, warn_unused_result));
void nbd_put_request(const struct nbd_request *request,
		     uint8_t out[NBD_REQUEST_BYTES]);

/* What a request is checked against. */
struct nbd_limits {
	uint64_t size; /* of the export */
	uint32_t block_minimum;
	uint32_t block_maximum; /* READ and WRITE */
	bool read_only;
	bool structured;
	bool block_status; /* a context was chosen */
};

/*
 * What the protocol says about a request: 0, or the negative errno to answer
 * it with. How many bytes of payload follow is nbd_request_payload's to say,
 * whatever this returns.
 */
int nbd_check_request(const struct nbd_request *request,
		      const struct nbd_limits *limits)
	__attribute__((nonnull, warn_unused_result));

/* Only a WRITE has one; nothing is guessed about unknown commands. */
static inline uint32_t nbd_request_payload(const struct nbd_request *request)
{
	return request->type == NBD_CMD_WRITE ? request->length : 0;
}

/* `error` is 0 or a negative errno. */
void nbd_put_simple(int error, uint64_t cookie, uint8_t out[NBD_SIMPLE_BYTES]);

void nbd_put_chunk(uint16_t flags, enum nbd_chunk_type type, uint64_t cookie,
		   uint32_t length, uint8_t out[NBD_CHUNK_BYTES]);

/* The payload of an error chunk, with a text. Bytes written. */
size_t nbd_put_error(int error, const char *text, uint8_t *out, size_t room)
	__attribute__((nonnull));

/*
 * What base:allocation says about [offset, offset + length) of an export, made
 * from the backend's extents, which begin at `offset`, gapless. Boundaries are
 * multiples of `block`: a block of two kinds is data. What lies behind the end
 * of the extents up to the end of the range is a hole if `tail_is_hole` (the
 * padding of the export's last block), else left out. Neighbours of one kind
 * are one. Returns the number of descriptors written, each of
 * NBD_DESCRIPTOR_BYTES; `out` has room for 2 * count + 2.
 */
struct nbd_status_range {
	uint64_t offset;
	uint64_t length;
	uint32_t block;
	bool tail_is_hole;
};
size_t nbd_put_status(const struct nbd_status_range *range,
		      const struct ms_extent *extents, size_t count,
		      uint8_t *out) __attribute__((nonnull));

/* Between negative errnos of ours and the protocol's numbers, both ways. */
uint32_t nbd_error_of(int error);
int nbd_errno_of(uint32_t error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD protocol in bytes; see nbd-proto.h. */
#include "approaches/nbd/nbd-proto.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* --- numbers -------------------------------------------------------------- */

void nbd_put_u16(uint16_t value, uint8_t out[2])
{
	value = htobe16(value);
	memcpy(out, &value, sizeof(value));
}

void nbd_put_u32(uint32_t value, uint8_t out[4])
{
	value = htobe32(value);
	memcpy(out, &value, sizeof(value));
}

void nbd_put_u64(uint64_t value, uint8_t out[8])
{
	value = htobe64(value);
	memcpy(out, &value, sizeof(value));
}

uint16_t nbd_get_u16(const uint8_t in[2])
{
	uint16_t value = 0;

	memcpy(&value, in, sizeof(value));
	return be16toh(value);
}

uint32_t nbd_get_u32(const uint8_t in[4])
{
	uint32_t value = 0;

	memcpy(&value, in, sizeof(value));
	return be32toh(value);
}

uint64_t nbd_get_u64(const uint8_t in[8])
{
	uint64_t value = 0;

	memcpy(&value, in, sizeof(value));
	return be64toh(value);
}

/* --- handshake ------------------------------------------------------------ */

void nbd_put_greeting(uint16_t flags, uint8_t out[NBD_GREETING_BYTES])
{
	nbd_put_u64(NBD_MAGIC, out);
	nbd_put_u64(NBD_OPTION_MAGIC, out + 8);
	nbd_put_u16(flags, out + 16);
}

int nbd_get_client_flags(const uint8_t in[NBD_CLIENT_FLAGS_BYTES],
			 uint32_t *ret_flags)
{
	*ret_flags = nbd_get_u32(in);
	if (*ret_flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return -EPROTO;
	return 0;
}

int nbd_get_option(const uint8_t in[NBD_OPTION_BYTES], struct nbd_option *ret)
{
	if (nbd_get_u64(in) != NBD_OPTION_MAGIC)
		return -EPROTO;
	ret->type = nbd_get_u32(in + 8);
	ret->length = nbd_get_u32(in + 12);
	return 0;
}

void nbd_put_option_reply(uint32_t option, uint32_t type, uint32_t length,
			  uint8_t out[NBD_OPTION_REPLY_BYTES])
{
	nbd_put_u64(NBD_OPTION_REPLY, out);
	nbd_put_u32(option, out + 8);
	nbd_put_u32(type, out + 12);
	nbd_put_u32(length, out + 16);
}

/* What of an option's data has not been read yet. */
struct reader {
	const uint8_t *data;
	size_t left;
};

static bool read_u32(struct reader *r, uint32_t *ret)
{
	if (r->left < 4)
		return false;
	*ret = nbd_get_u32(r->data);
	r->data += 4;
	r->left -= 4;
	return true;
}

/* A length and as many bytes: no zero byte among them, by the protocol. */
static bool read_string(struct reader *r, struct nbd_string *ret)
{
	if (!read_u32(r, &ret->length) || ret->length > NBD_STRING_MAX ||
	    ret->length > r->left || memchr(r->data, 0, ret->length))
		return false;
	ret->text = (const char *)r->data;
	r->data += ret->length;
	r->left -= ret->length;
	return true;
}

int nbd_get_info_request(const uint8_t *data, size_t length,
			 struct nbd_info_request *ret)
{
	struct reader r = {data, length};

	ret->wanted = 0;
	if (!read_string(&r, &ret->name) || r.left < 2)
		return -EINVAL;
	size_t count = nbd_get_u16(r.data);
	if (r.left != 2 + 2 * count)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		uint16_t type = nbd_get_u16(r.data + 2 + 2 * i);
		if (type <= NBD_INFO_BLOCK_SIZE)
			ret->wanted |= 1U << type;
	}
	return 0;
}

int nbd_get_meta_request(const uint8_t *data, size_t length,
			 struct nbd_meta_request *ret)
{
	struct reader r = {data, length};

	if (!read_string(&r, &ret->name) || !read_u32(&r, &ret->query_count))
		return -EINVAL;
	if (ret->query_count > NBD_QUERIES_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < ret->query_count; i++)
		if (!read_string(&r, &ret->queries[i]))
			return -EINVAL;
	return r.left ? -EINVAL : 0;
}

bool nbd_string_is(const struct nbd_string *string, const char *text)
{
	return strlen(text) == string->length &&
	       memcmp(text, string->text, string->length) == 0;
}

size_t nbd_put_info_export(uint64_t size, uint16_t flags, uint8_t out[12])
{
	nbd_put_u16(NBD_INFO_EXPORT, out);
	nbd_put_u64(size, out + 2);
	nbd_put_u16(flags, out + 10);
	return 12;
}

size_t nbd_put_info_blocks(const uint32_t sizes[3], uint8_t out[14])
{
	nbd_put_u16(NBD_INFO_BLOCK_SIZE, out);
	for (size_t i = 0; i < 3; i++)
		nbd_put_u32(sizes[i], out + 2 + 4 * i);
	return 14;
}

size_t nbd_put_export_name_reply(uint64_t size, uint16_t flags, bool no_zeroes,
				 uint8_t out[10 + NBD_EXPORT_NAME_PAD])
{
	nbd_put_u64(size, out);
	nbd_put_u16(flags, out + 8);
	memset(out + 10, 0, NBD_EXPORT_NAME_PAD);
	return no_zeroes ? 10 : 10 + NBD_EXPORT_NAME_PAD;
}

/* --- requests ------------------------------------------------------------- */

int nbd_get_request(const uint8_t in[NBD_REQUEST_BYTES],
		    struct nbd_request *ret)
{
	if (nbd_get_u32(in) != NBD_REQUEST_MAGIC)
		return -EPROTO;
	ret->flags = nbd_get_u16(in + 4);
	ret->type = nbd_get_u16(in + 6);
	ret->cookie = nbd_get_u64(in + 8);
	ret->offset = nbd_get_u64(in + 16);
	ret->length = nbd_get_u32(in + 24);
	return 0;
}

void nbd_put_request(const struct nbd_request *request,
		     uint8_t out[NBD_REQUEST_BYTES])
{
	nbd_put_u32(NBD_REQUEST_MAGIC, out);
	nbd_put_u16(request->flags, out + 4);
	nbd_put_u16(request->type, out + 6);
	nbd_put_u64(request->cookie, out + 8);
	nbd_put_u64(request->offset, out + 16);
	nbd_put_u32(request->length, out + 24);
}

/* The flags that a command may carry; FUA is for all, if only to ignore. */
static unsigned flags_of(uint16_t type)
{
	switch ((enum nbd_command)type) {
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF;
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE |
		       NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	case NBD_CMD_WRITE:
	case NBD_CMD_DISC:
	case NBD_CMD_FLUSH:
	case NBD_CMD_TRIM:
	case NBD_CMD_CACHE:
	case NBD_CMD_COUNT:
		break;
	}
	return NBD_CMD_FLAG_FUA;
}

static bool modifies(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM ||
	       type == NBD_CMD_WRITE_ZEROES;
}

/* The range of a command that has one. */
static int check_range(const struct nbd_request *r,
		       const struct nbd_limits *limits)
{
	uint32_t mask = limits->block_minimum - 1;

	if (r->offset > limits->size || r->length > limits->size - r->offset)
		return r->type == NBD_CMD_WRITE ||
				       r->type == NBD_CMD_WRITE_ZEROES
			       ? -ENOSPC
			       : -EINVAL;
	if (r->offset & mask || r->length & mask)
		return -EINVAL;
	if (r->type == NBD_CMD_READ && r->length > limits->block_maximum)
		return r->flags & NBD_CMD_FLAG_DF ? -EOVERFLOW : -EINVAL;
	if (r->type == NBD_CMD_WRITE && r->length > limits->block_maximum)
		return -EINVAL;
	return 0;
}

int nbd_check_request(const struct nbd_request *r,
		      const struct nbd_limits *limits)
{
	if (r->type >= NBD_CMD_COUNT || r->flags & ~flags_of(r->type))
		return -EINVAL;
	if (r->type == NBD_CMD_FLUSH)
		return r->offset || r->length ? -EINVAL : 0;
	if (limits->read_only && modifies(r->type))
		return -EPERM;
	if (r->flags & NBD_CMD_FLAG_DF && !limits->structured)
		return -EINVAL;
	if (r->type == NBD_CMD_BLOCK_STATUS &&
	    (!limits->block_status || r->length == 0))
		return -EINVAL;
	return check_range(r, limits);
}

/* --- replies -------------------------------------------------------------- */

void nbd_put_simple(int error, uint64_t cookie, uint8_t out[NBD_SIMPLE_BYTES])
{
	nbd_put_u32(NBD_SIMPLE_MAGIC, out);
	nbd_put_u32(nbd_error_of(error), out + 4);
	nbd_put_u64(cookie, out + 8);
}

void nbd_put_chunk(uint16_t flags, enum nbd_chunk_type type, uint64_t cookie,
		   uint32_t length, uint8_t out[NBD_CHUNK_BYTES])
{
	nbd_put_u32(NBD_STRUCTURED_MAGIC, out);
	nbd_put_u16(flags, out + 4);
	nbd_put_u16((uint16_t)type, out + 6);
	nbd_put_u64(cookie, out + 8);
	nbd_put_u32(length, out + 16);
}

size_t nbd_put_error(int error, const char *text, uint8_t *out, size_t room)
{
	size_t n = strlen(text);

	if (n > room - NBD_ERROR_BYTES)
		n = room - NBD_ERROR_BYTES;
	nbd_put_u32(nbd_error_of(error), out);
	nbd_put_u16((uint16_t)n, out + 4);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): has a length */
	memcpy(out + NBD_ERROR_BYTES, text, n);
	return NBD_ERROR_BYTES + n;
}

/* --- block status --------------------------------------------------------- */

/* A list of descriptors that grows; neighbours of one kind are merged. */
struct status {
	uint8_t *out;
	size_t count;
	uint64_t open; /* where the block begins that is not decided yet */
	bool is_open;
	uint32_t open_state;
};

static void emit(struct status *s, uint64_t length, uint32_t state)
{
	uint8_t *last = s->out + (s->count ? s->count - 1 : 0) *
					 (size_t)NBD_DESCRIPTOR_BYTES;

	if (length == 0)
		return;
	if (s->count && nbd_get_u32(last + 4) == state) {
		nbd_put_u32(nbd_get_u32(last) + (uint32_t)length, last);
		return;
	}
	last = s->out + s->count * (size_t)NBD_DESCRIPTOR_BYTES;
	nbd_put_u32((uint32_t)length, last);
	nbd_put_u32(state, last + 4);
	s->count++;
}

static uint32_t state_of(enum ms_extent_type type)
{
	switch (type) {
	case MS_EXTENT_HOLE:
		return NBD_STATE_HOLE | NBD_STATE_ZERO;
	case MS_EXTENT_ZERO:
		return NBD_STATE_ZERO;
	case MS_EXTENT_DATA:
		break;
	}
	return 0;
}

/* Bytes [from, to) are in `state`; they follow what was added before. */
static void add_run(struct status *s, uint64_t from, uint64_t to,
		    uint32_t state, uint32_t block)
{
	if (s->is_open) {
		/* Of two kinds, a block is what both of them say. */
		s->open_state &= state;
		if (to - s->open < block)
			return;
		emit(s, block, s->open_state);
		from = s->open + block;
		s->is_open = false;
	}
	uint64_t whole = to & ~(uint64_t)(block - 1);
	emit(s, whole - from, state);
	if (whole == to)
		return;
	s->is_open = true;
	s->open = whole;
	s->open_state = state;
}

size_t nbd_put_status(const struct nbd_status_range *range,
		      const struct ms_extent *extents, size_t count,
		      uint8_t *out)
{
	struct status s = {.out = out};
	uint64_t end = range->offset + range->length;
	uint64_t at = range->offset;

	for (size_t i = 0; i < count && at < end; i++) {
		uint64_t to = extents[i].offset + extents[i].length;
		if (to > end)
			to = end;
		if (to <= at)
			continue;
		add_run(&s, at, to, state_of(extents[i].type), range->block);
		at = to;
	}
	if (at < end && range->tail_is_hole)
		add_run(&s, at, end, NBD_STATE_HOLE | NBD_STATE_ZERO,
			range->block);
	/* Something must be said; data is what is never wrong. */
	if (s.count == 0)
		emit(&s, range->block, 0);
	return s.count;
}

/* --- errors --------------------------------------------------------------- */

static const struct {
	uint32_t error;
	int code;
} errors[] = {
	/* The first of a number is what it means to us. */
	{1, -EPERM},	   {1, -EROFS},	      {1, -EACCES},
	{5, -EIO},	   {12, -ENOMEM},     {22, -EINVAL},
	{22, -ERANGE},	   {28, -ENOSPC},     {28, -EDQUOT},
	{28, -EFBIG},	   {75, -EOVERFLOW},  {95, -EOPNOTSUPP},
	{108, -ESHUTDOWN}, {108, -ECANCELED},
};

uint32_t nbd_error_of(int error)
{
	if (error == 0)
		return 0;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].code == error)
			return errors[i].error;
	return 5;
}

int nbd_errno_of(uint32_t error)
{
	if (error == 0)
		return 0;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == error)
			return errors[i].code;
	/* As the protocol asks for what is not known. */
	return -EINVAL;
}

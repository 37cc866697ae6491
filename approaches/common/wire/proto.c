/* SPDX-License-Identifier: Apache-2.0 */
/* The memsync protocol on bytes; see proto.h and PROTOCOL.md. */
#include "approaches/common/wire/proto.h"

#include "approaches/common/util/err.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static const uint8_t hello_magic[8] = {'m', 'e', 'm', 's', 'y', 'n', 'c', 0x1a};
static const uint8_t request_magic[4] = {'M', 'S', 'R', 'Q'};
static const uint8_t reply_magic[4] = {'M', 'S', 'R', 'P'};

/* --- little-endian fields ------------------------------------------------- */

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static bool is_power_of_two(uint32_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* --- numbers -------------------------------------------------------------- */

static const struct {
	uint16_t status;
	int error;
} statuses[] = {
	{0, 0},
	{1, EIO},
	{2, EINVAL},
	{3, ERANGE},
	{4, EROFS},
	{5, EOPNOTSUPP},
	{6, ETIMEDOUT},
	{7, ECANCELED},
	{8, ENOSPC},
	{9, ENOMEM},
	{10, EACCES},
	{11, ENOENT},
	{12, EBUSY},
	{13, EPROTO},
	{14, EPROTONOSUPPORT},
	{15, ESHUTDOWN},
	{16, ENOTCONN},
	{17, EDQUOT},
	{18, EFBIG},
	{19, EBADMSG},
	/* Errnos that share a number with a close relative. */
	{16, ECONNRESET},
	{16, EPIPE},
	{10, EPERM},
};

uint16_t ms_proto_status(int result)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].error == -result)
			return statuses[i].status;
	return 1;
}

int ms_proto_errno(uint16_t status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == status)
			return -statuses[i].error;
	return -EIO;
}

static const struct {
	uint32_t wire;
	unsigned local;
} caps_table[] = {
	{MS_PROTO_CAN_WRITE, MS_CAN_WRITE},
	{MS_PROTO_CAN_FUA, MS_CAN_FUA},
	{MS_PROTO_CAN_ZERO, MS_CAN_ZERO},
	{MS_PROTO_CAN_TRIM, MS_CAN_TRIM},
	{MS_PROTO_CAN_EXTENTS, MS_CAN_EXTENTS},
	{MS_PROTO_CAN_HASH, MS_CAN_HASH},
	{MS_PROTO_CAN_RESIZE, MS_CAN_RESIZE},
};

uint32_t ms_proto_caps(unsigned caps)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < sizeof(caps_table) / sizeof(caps_table[0]); i++)
		if (caps & caps_table[i].local)
			bits |= caps_table[i].wire;
	return bits;
}

unsigned ms_proto_caps_back(uint32_t bits)
{
	unsigned caps = 0;

	for (size_t i = 0; i < sizeof(caps_table) / sizeof(caps_table[0]); i++)
		if (bits & caps_table[i].wire)
			caps |= caps_table[i].local;
	return caps;
}

/* --- handshake ------------------------------------------------------------ */

size_t ms_proto_put_hello(const struct ms_hello *hello, uint8_t *buf)
{
	size_t name = strnlen(hello->name, MS_PROTO_NAME_MAX);
	bool resume = hello->features & MS_PROTO_FEATURE_RESUME;
	size_t n = MS_PROTO_HELLO_BYTES + name +
		   (resume ? MS_PROTO_RESUME_BYTES : 0);

	memset(buf, 0, n);
	memcpy(buf, hello_magic, sizeof(hello_magic));
	put16(buf + 8, hello->version_min);
	put16(buf + 10, hello->version_max);
	put32(buf + 12, (uint32_t)n);
	put64(buf + 16, hello->features);
	memcpy(buf + 24, hello->token, MS_PROTO_ID_BYTES);
	put32(buf + 40, hello->request_max);
	buf[44] = (uint8_t)hello->lane;
	buf[45] = (uint8_t)hello->role;
	put16(buf + 46, (uint16_t)name);
	memcpy(buf + MS_PROTO_HELLO_BYTES, hello->name, name);
	if (resume) {
		put32(buf + n - MS_PROTO_RESUME_BYTES, hello->slot);
		put32(buf + n - MS_PROTO_RESUME_BYTES + 4, hello->generation);
	}
	return n;
}

size_t ms_proto_put_welcome(const struct ms_welcome *welcome, uint8_t *buf)
{
	size_t text = strnlen(welcome->text, MS_PROTO_TEXT_MAX);
	size_t n = MS_PROTO_WELCOME_BYTES + text;

	memset(buf, 0, MS_PROTO_WELCOME_BYTES);
	memcpy(buf, hello_magic, sizeof(hello_magic));
	put16(buf + 8, welcome->version);
	put16(buf + 10, ms_proto_status(welcome->status));
	put32(buf + 12, (uint32_t)n);
	put64(buf + 16, welcome->features);
	memcpy(buf + 24, welcome->token, MS_PROTO_ID_BYTES);
	memcpy(buf + 40, welcome->instance, MS_PROTO_ID_BYTES);
	put64(buf + 56, welcome->size);
	put32(buf + 64, welcome->block);
	put32(buf + 68, welcome->chunk);
	put32(buf + 72, welcome->request_max);
	put32(buf + 76, ms_proto_caps(welcome->caps));
	put32(buf + 80, welcome->extents_max);
	put32(buf + 84, welcome->requests_max);
	put16(buf + 94, (uint16_t)text);
	memcpy(buf + MS_PROTO_WELCOME_BYTES, welcome->text, text);
	return n;
}

int ms_proto_hello_length(const uint8_t *buf, size_t fixed, size_t *ret)
{
	uint32_t n = get32(buf + 12);

	if (memcmp(buf, hello_magic, sizeof(hello_magic)) != 0)
		return ms_err(-EPROTO,
			      "the peer does not speak the memsync protocol");
	if (n < fixed || n > MS_PROTO_HELLO_MAX)
		return ms_err(-EPROTO, "a hello of %u bytes", (unsigned)n);
	*ret = n;
	return 0;
}

int ms_proto_get_hello(const uint8_t *buf, size_t n, struct ms_hello *ret)
{
	size_t whole = 0;
	struct ms_hello h = {0};

	if (n < MS_PROTO_HELLO_BYTES ||
	    ms_proto_hello_length(buf, MS_PROTO_HELLO_BYTES, &whole) ||
	    whole != n)
		return ms_err(-EPROTO, "a malformed hello");
	h.version_min = get16(buf + 8);
	h.version_max = get16(buf + 10);
	if (h.version_min > h.version_max)
		return ms_err(-EPROTO, "an empty range of versions");
	if (h.version_min > MS_PROTO_VERSION ||
	    h.version_max < MS_PROTO_VERSION)
		return ms_err(-EPROTONOSUPPORT,
			      "the peer speaks versions %u to %u, we speak %d",
			      (unsigned)h.version_min, (unsigned)h.version_max,
			      MS_PROTO_VERSION);
	size_t name = get16(buf + 46);
	if (name > MS_PROTO_NAME_MAX || name > n - MS_PROTO_HELLO_BYTES ||
	    memchr(buf + MS_PROTO_HELLO_BYTES, 0, name))
		return ms_err(-EPROTO, "a malformed export name");
	if (buf[44] >= MS_LANE_COUNT || buf[45] != MS_ROLE_TARGET)
		return ms_err(-EPROTO, "lane %u, role %u", (unsigned)buf[44],
			      (unsigned)buf[45]);
	if (all_zero(buf + 24, MS_PROTO_ID_BYTES))
		return ms_err(-EPROTO, "a hello without session");
	h.features = get64(buf + 16);
	memcpy(h.token, buf + 24, MS_PROTO_ID_BYTES);
	h.request_max = get32(buf + 40);
	h.lane = (enum ms_proto_lane)buf[44];
	h.role = (enum ms_proto_role)buf[45];
	memcpy(h.name, buf + MS_PROTO_HELLO_BYTES, name);
	if (h.features & MS_PROTO_FEATURE_RESUME) {
		const uint8_t *more = buf + MS_PROTO_HELLO_BYTES + name;
		if (n - MS_PROTO_HELLO_BYTES - name < MS_PROTO_RESUME_BYTES)
			return ms_err(-EPROTO, "a hello without its slot");
		h.slot = get32(more);
		h.generation = get32(more + 4);
	}
	*ret = h;
	return 0;
}

/* Peer text ends on terminals: nothing but printable characters. */
static void copy_text(char *to, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (char)(from[i] >= ' ' && from[i] < 0x7f ? from[i]
								: (uint8_t)'?');
	to[n] = '\0';
}

static int check_welcome(const struct ms_welcome *w)
{
	if (w->version != MS_PROTO_VERSION)
		return ms_err(-EPROTONOSUPPORT, "the server chose version %u",
			      (unsigned)w->version);
	if (w->features & ~MS_PROTO_FEATURES)
		return ms_err(-EPROTO, "features that were not asked for");
	if (w->size > INT64_MAX)
		return ms_err(-EPROTO, "a region of %llu bytes",
			      (unsigned long long)w->size);
	if (!is_power_of_two(w->block) || w->block > w->request_max)
		return ms_err(-EPROTO, "blocks of %u bytes",
			      (unsigned)w->block);
	if (w->request_max < MS_PROTO_REQUEST_MIN ||
	    w->request_max > MS_PROTO_REQUEST_MAX)
		return ms_err(-EPROTO, "requests of up to %u bytes",
			      (unsigned)w->request_max);
	if (w->extents_max == 0 || w->extents_max > MS_PROTO_EXTENTS_MAX ||
	    w->requests_max == 0)
		return ms_err(-EPROTO, "limits of %u extents, %u requests",
			      (unsigned)w->extents_max,
			      (unsigned)w->requests_max);
	return 0;
}

int ms_proto_get_welcome(const uint8_t *buf, size_t n, struct ms_welcome *ret)
{
	size_t whole = 0;
	struct ms_welcome w = {0};

	if (n < MS_PROTO_WELCOME_BYTES ||
	    ms_proto_hello_length(buf, MS_PROTO_WELCOME_BYTES, &whole) ||
	    whole != n)
		return ms_err(-EPROTO, "a malformed welcome");
	size_t text = get16(buf + 94);
	if (text > MS_PROTO_TEXT_MAX || text > n - MS_PROTO_WELCOME_BYTES)
		return ms_err(-EPROTO, "a malformed text in the welcome");
	copy_text(w.text, buf + MS_PROTO_WELCOME_BYTES, text);
	w.version = get16(buf + 8);
	w.status = ms_proto_errno(get16(buf + 10));
	w.features = get64(buf + 16);
	memcpy(w.token, buf + 24, MS_PROTO_ID_BYTES);
	memcpy(w.instance, buf + 40, MS_PROTO_ID_BYTES);
	w.size = get64(buf + 56);
	w.block = get32(buf + 64);
	w.chunk = get32(buf + 68);
	w.request_max = get32(buf + 72);
	w.caps = ms_proto_caps_back(get32(buf + 76));
	w.extents_max = get32(buf + 80);
	w.requests_max = get32(buf + 84);
	int rc = w.status ? 0 : check_welcome(&w);
	if (rc == 0)
		*ret = w;
	return rc;
}

/* --- frames --------------------------------------------------------------- */

void ms_proto_put_request(const struct ms_request *request, uint8_t *buf)
{
	memcpy(buf, request_magic, sizeof(request_magic));
	buf[4] = (uint8_t)request->op;
	buf[5] = (uint8_t)request->flags;
	put16(buf + 6, request->count);
	put64(buf + 8, request->id);
	put64(buf + 16, request->offset);
	put64(buf + 24, request->length);
}

void ms_proto_put_reply(const struct ms_reply *reply, uint8_t *buf)
{
	memcpy(buf, reply_magic, sizeof(reply_magic));
	buf[4] = (uint8_t)reply->op;
	buf[5] = (uint8_t)reply->flags;
	put16(buf + 6, ms_proto_status(reply->status));
	put64(buf + 8, reply->id);
	put64(buf + 16, reply->offset);
	put64(buf + 24, reply->length);
}

/* What a request of each kind may carry, beyond id and URGENT. */
static bool request_fits(const struct ms_request *r, uint32_t request_max)
{
	unsigned flags = r->flags & ~(unsigned)MS_PROTO_URGENT;

	if (flags && !(r->op == MS_PROTO_WRITE && flags == MS_PROTO_FUA))
		return false;
	if ((r->count != 0) != (r->op == MS_PROTO_EXTENTS))
		return false;
	if (r->length > UINT64_MAX - r->offset)
		return false;
	switch (r->op) {
	case MS_PROTO_READ:
	case MS_PROTO_WRITE:
		return r->length <= request_max;
	case MS_PROTO_ZERO:
	case MS_PROTO_TRIM:
	case MS_PROTO_HASH:
		return true;
	case MS_PROTO_EXTENTS:
		return r->count <= MS_PROTO_EXTENTS_MAX;
	case MS_PROTO_RESIZE:
		return r->length == 0 && r->offset <= INT64_MAX;
	case MS_PROTO_WATCH:
		return r->length <= 1 && r->offset == 0;
	case MS_PROTO_SYNC:
	case MS_PROTO_PING:
	case MS_PROTO_BYE:
		return r->length == 0 && r->offset == 0;
	case MS_PROTO_CHANGED:
		break;
	}
	return false;
}

int ms_proto_get_request(const uint8_t *buf, uint32_t request_max,
			 struct ms_request *ret)
{
	struct ms_request r = {.op = (enum ms_proto_op)buf[4],
			       .flags = buf[5],
			       .count = get16(buf + 6),
			       .id = get64(buf + 8),
			       .offset = get64(buf + 16),
			       .length = get64(buf + 24)};

	if (memcmp(buf, request_magic, sizeof(request_magic)) != 0)
		return ms_err(-EPROTO, "a request without its magic");
	if (!request_fits(&r, request_max))
		return ms_err(-EPROTO, "a malformed request of kind %u",
			      (unsigned)buf[4]);
	*ret = r;
	return 0;
}

int ms_proto_get_reply(const uint8_t *buf, struct ms_reply *ret)
{
	struct ms_reply r = {.op = (enum ms_proto_op)buf[4],
			     .flags = buf[5],
			     .status = ms_proto_errno(get16(buf + 6)),
			     .id = get64(buf + 8),
			     .offset = get64(buf + 16),
			     .length = get64(buf + 24)};
	bool changed = r.op == MS_PROTO_CHANGED;

	if (memcmp(buf, reply_magic, sizeof(reply_magic)) != 0)
		return ms_err(-EPROTO, "a reply without its magic");
	if (buf[4] < MS_PROTO_READ || buf[4] > MS_PROTO_BYE)
		return ms_err(-EPROTO, "a reply of kind %u", (unsigned)buf[4]);
	if (r.flags & ~(changed ? (unsigned)MS_PROTO_SIZE : 0U))
		return ms_err(-EPROTO, "a reply with flags %#x", r.flags);
	if (changed && (r.status || r.offset > INT64_MAX ||
			r.length > INT64_MAX - r.offset))
		return ms_err(-EPROTO, "a malformed change notice");
	if (!changed && (r.offset || (r.status && r.length)))
		return ms_err(-EPROTO, "a malformed reply");
	*ret = r;
	return 0;
}

uint64_t ms_proto_request_payload(const struct ms_request *request)
{
	return request->op == MS_PROTO_WRITE ? request->length : 0;
}

int ms_proto_match(const struct ms_request *request,
		   const struct ms_reply *reply)
{
	uint64_t most = 0;

	if (reply->op != request->op)
		goto bad;
	if (reply->status)
		return 0;
	switch (request->op) {
	case MS_PROTO_READ:
		if (reply->length != request->length)
			goto bad;
		return 0;
	case MS_PROTO_HASH:
		if (reply->length != MS_PROTO_HASH_BYTES)
			goto bad;
		return 0;
	case MS_PROTO_EXTENTS:
		most = (uint64_t)request->count * MS_PROTO_EXTENT_BYTES;
		if (reply->length == 0 || reply->length > most ||
		    reply->length % MS_PROTO_EXTENT_BYTES)
			goto bad;
		return 0;
	case MS_PROTO_WRITE:
	case MS_PROTO_SYNC:
	case MS_PROTO_ZERO:
	case MS_PROTO_TRIM:
	case MS_PROTO_RESIZE:
	case MS_PROTO_PING:
	case MS_PROTO_WATCH:
		if (reply->length)
			goto bad;
		return 0;
	case MS_PROTO_CHANGED:
	case MS_PROTO_BYE:
		break;
	}
bad:
	return ms_err(-EPROTO, "a reply that does not fit its request");
}

uint64_t ms_proto_reply_payload(const struct ms_reply *reply)
{
	return reply->op == MS_PROTO_CHANGED ? 0 : reply->length;
}

/* --- payloads ------------------------------------------------------------- */

void ms_proto_put_extents(const struct ms_extent *extents, size_t count,
			  uint8_t *buf)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *p = buf + i * MS_PROTO_EXTENT_BYTES;
		put64(p, extents[i].length);
		put32(p + 8, (uint32_t)extents[i].type);
		put32(p + 12, 0);
	}
}

int ms_proto_get_extents(const uint8_t *buf, size_t n,
			 const struct ms_request *request,
			 struct ms_extent *ret, size_t *ret_count)
{
	uint64_t offset = request->offset;
	uint64_t left = request->length;
	size_t count = n / MS_PROTO_EXTENT_BYTES;

	for (size_t i = 0; i < count; i++) {
		const uint8_t *p = buf + i * MS_PROTO_EXTENT_BYTES;
		uint64_t length = get64(p);
		uint32_t type = get32(p + 8);
		if (length == 0 || length > left || type > MS_EXTENT_ZERO)
			return ms_err(-EPROTO, "malformed extents");
		ret[i] = (struct ms_extent){.offset = offset,
					    .length = length,
					    .type = (enum ms_extent_type)type};
		offset += length;
		left -= length;
	}
	*ret_count = count;
	return 0;
}

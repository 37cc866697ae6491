/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD server's answers to the options of a client. */
#include "approaches/common/util/err.h"
#include "approaches/common/wire/tls.h"
#include "approaches/nbd/nbd-server-int.h"

#include <errno.h>
#include <string.h>

/* --- replies -------------------------------------------------------------- */

static bool reply(struct nbd_conn *conn, uint32_t option, uint32_t type,
		  const void *data, size_t n)
{
	uint8_t head[NBD_OPTION_REPLY_BYTES];

	nbd_put_option_reply(option, type, (uint32_t)n, head);
	return nbd_give(conn, head, sizeof(head)) && nbd_give(conn, data, n);
}

static enum nbd_step acknowledge(struct nbd_conn *conn, uint32_t option)
{
	return reply(conn, option, NBD_REP_ACK, NULL, 0) ? NBD_STEP_NEXT
							 : NBD_STEP_END;
}

enum nbd_step nbd_refuse_option(struct nbd_conn *conn, uint32_t option,
				uint32_t error, const char *text)
{
	return reply(conn, option, error, text, strlen(text)) ? NBD_STEP_NEXT
							      : NBD_STEP_END;
}

/* --- exports -------------------------------------------------------------- */

void nbd_settle(struct nbd_conn *conn, struct nbd_export *export)
{
	struct nbd_export_info info;

	nbd_export_describe(conn->server, export, conn->limits.structured,
			    &info);
	conn->export = export;
	conn->region = ms_size(export->backend);
	conn->limits.size = info.size;
	conn->limits.block_minimum = info.block_minimum;
	conn->limits.block_maximum = info.block_maximum;
	conn->limits.read_only = info.flags & NBD_FLAG_READ_ONLY;
	/* A context is chosen for one export and holds for no other. */
	conn->limits.block_status = conn->context == export;
}

/* EXPORT_NAME, the oldest way to begin, has no way to say no. */
static enum nbd_step export_name(struct nbd_conn *conn, const uint8_t *data,
				 uint32_t length)
{
	struct nbd_string name = {(const char *)data, length};
	struct nbd_export *export = nbd_find_export(conn->server, &name);
	uint8_t out[10 + NBD_EXPORT_NAME_PAD];
	struct nbd_export_info info;

	if (!export)
		return NBD_STEP_END;
	nbd_settle(conn, export);
	nbd_export_describe(conn->server, export, conn->limits.structured,
			    &info);
	size_t n = nbd_put_export_name_reply(
		info.size, info.flags, conn->client_flags & NBD_NO_ZEROES, out);
	return nbd_give(conn, out, n) ? NBD_STEP_TRANSMIT : NBD_STEP_END;
}

static bool info_text(struct nbd_conn *conn, uint32_t option, uint16_t type,
		      const char *text)
{
	uint8_t out[2 + NBD_STRING_MAX];
	size_t n = strlen(text);

	nbd_put_u16(type, out);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): has a length */
	memcpy(out + 2, text, n);
	return reply(conn, option, NBD_REP_INFO, out, 2 + n);
}

/* All that a client of the export may want to know. */
static bool describe(struct nbd_conn *conn, uint32_t option,
		     const struct nbd_export *export, unsigned wanted)
{
	struct nbd_export_info info;
	uint8_t out[14];

	nbd_export_describe(conn->server, export, conn->limits.structured,
			    &info);
	size_t n = nbd_put_info_export(info.size, info.flags, out);
	if (!reply(conn, option, NBD_REP_INFO, out, n))
		return false;
	if (wanted & 1U << NBD_INFO_NAME &&
	    !info_text(conn, option, NBD_INFO_NAME, export->name))
		return false;
	if (wanted & 1U << NBD_INFO_DESCRIPTION && export->description &&
	    !info_text(conn, option, NBD_INFO_DESCRIPTION, export->description))
		return false;
	/* Asked for or not: there are clients that rely on it. */
	n = nbd_put_info_blocks(export->blocks, out);
	return reply(conn, option, NBD_REP_INFO, out, n);
}

static enum nbd_step info_or_go(struct nbd_conn *conn, uint32_t option,
				const uint8_t *data, uint32_t length)
{
	struct nbd_info_request request;

	if (nbd_get_info_request(data, length, &request))
		return nbd_refuse_option(conn, option, NBD_REP_ERR_INVALID,
					 "the option's data are malformed");
	struct nbd_export *export =
		nbd_find_export(conn->server, &request.name);
	if (!export)
		return nbd_refuse_option(conn, option, NBD_REP_ERR_UNKNOWN,
					 "there is no such export");
	if (option == NBD_OPT_GO)
		nbd_settle(conn, export);
	if (!describe(conn, option, export, request.wanted) ||
	    acknowledge(conn, option) == NBD_STEP_END)
		return NBD_STEP_END;
	return option == NBD_OPT_GO ? NBD_STEP_TRANSMIT : NBD_STEP_NEXT;
}

static enum nbd_step list(struct nbd_conn *conn, uint32_t length)
{
	uint8_t out[4 + 2 * NBD_STRING_MAX];

	if (length)
		return nbd_refuse_option(conn, NBD_OPT_LIST,
					 NBD_REP_ERR_INVALID,
					 "LIST takes no data");
	for (size_t i = 0; i < conn->server->export_count; i++) {
		const struct nbd_export *e = &conn->server->exports[i];
		size_t name = strlen(e->name);
		size_t about = e->description ? strlen(e->description) : 0;
		nbd_put_u32((uint32_t)name, out);
		memcpy(out + 4, e->name, name);
		if (about)
			memcpy(out + 4 + name, e->description, about);
		if (!reply(conn, NBD_OPT_LIST, NBD_REP_SERVER, out,
			   4 + name + about))
			return NBD_STEP_END;
	}
	return acknowledge(conn, NBD_OPT_LIST);
}

/* --- contexts ------------------------------------------------------------- */

/* Is our one context among those that are asked for? */
static bool asks_for_allocation(uint32_t option,
				const struct nbd_meta_request *request)
{
	bool listing = option == NBD_OPT_LIST_META_CONTEXT;

	if (listing && request->query_count == 0)
		return true;
	for (uint32_t i = 0; i < request->query_count; i++) {
		const struct nbd_string *q = &request->queries[i];
		if (nbd_string_is(q, NBD_CONTEXT_ALLOCATION) ||
		    (listing && nbd_string_is(q, "base:")))
			return true;
	}
	return false;
}

static enum nbd_step meta_context(struct nbd_conn *conn, uint32_t option,
				  const uint8_t *data, uint32_t length)
{
	static const char name[] = NBD_CONTEXT_ALLOCATION;
	uint8_t out[4 + sizeof(name)];
	struct nbd_meta_request request;

	/* A choice replaces the one before, also if it is a wrong one. */
	if (option == NBD_OPT_SET_META_CONTEXT)
		conn->context = NULL;
	if (!conn->limits.structured)
		return nbd_refuse_option(conn, option, NBD_REP_ERR_INVALID,
					 "contexts need structured replies");
	int rc = nbd_get_meta_request(data, length, &request);
	if (rc)
		return nbd_refuse_option(
			conn, option,
			rc == -E2BIG ? NBD_REP_ERR_TOO_BIG
				     : NBD_REP_ERR_INVALID,
			"the option's data are malformed or too many");
	const struct nbd_export *export =
		nbd_find_export(conn->server, &request.name);
	if (!export)
		return nbd_refuse_option(conn, option, NBD_REP_ERR_UNKNOWN,
					 "there is no such export");
	if (!asks_for_allocation(option, &request))
		return acknowledge(conn, option);
	bool set = option == NBD_OPT_SET_META_CONTEXT;
	if (set)
		conn->context = export;
	nbd_put_u32(set ? NBD_CONTEXT_ID : 0, out);
	memcpy(out + 4, name, sizeof(name) - 1);
	if (!reply(conn, option, NBD_REP_META_CONTEXT, out,
		   4 + sizeof(name) - 1))
		return NBD_STEP_END;
	return acknowledge(conn, option);
}

/* --- structured replies, TLS ---------------------------------------------- */

static enum nbd_step structured_reply(struct nbd_conn *conn, uint32_t length)
{
	if (length || conn->limits.structured)
		return nbd_refuse_option(conn, NBD_OPT_STRUCTURED_REPLY,
					 NBD_REP_ERR_INVALID,
					 "said twice, or with data");
	conn->limits.structured = true;
	return acknowledge(conn, NBD_OPT_STRUCTURED_REPLY);
}

static enum nbd_step start_tls(struct nbd_conn *conn, uint32_t length)
{
	const struct nbd_server_config *c = &conn->server->limits;
	struct ms_stream *stream = NULL;

	if (c->tls_mode == NBD_TLS_OFF)
		return nbd_refuse_option(conn, NBD_OPT_STARTTLS,
					 NBD_REP_ERR_POLICY,
					 "TLS is not set up here");
	if (length || conn->secure)
		return nbd_refuse_option(conn, NBD_OPT_STARTTLS,
					 NBD_REP_ERR_INVALID,
					 "said twice, or with data");
	/* What came in the clear behind it may be somebody else's. */
	if (conn->at != conn->end ||
	    acknowledge(conn, NBD_OPT_STARTTLS) == NBD_STEP_END)
		return NBD_STEP_END;
	if (ms_tls_stream(c->tls, conn->stream, NULL, conn->deadline_ns,
			  conn->wake_fd, &stream))
		return NBD_STEP_END;
	conn->stream = stream;
	conn->secure = true;
	/* Nothing that was agreed in the clear holds. */
	conn->limits.structured = false;
	conn->context = NULL;
	return NBD_STEP_NEXT;
}

/* --- one option ----------------------------------------------------------- */

/* What may be asked before TLS where that is required. */
static bool needs_tls(const struct nbd_conn *conn, uint32_t option)
{
	return conn->server->limits.tls_mode == NBD_TLS_REQUIRE &&
	       !conn->secure && option != NBD_OPT_STARTTLS &&
	       option != NBD_OPT_ABORT;
}

enum nbd_step nbd_answer_option(struct nbd_conn *conn,
				const struct nbd_option *option,
				const uint8_t *data)
{
	uint32_t type = option->type;

	if (needs_tls(conn, type))
		return type == NBD_OPT_EXPORT_NAME
			       ? NBD_STEP_END
			       : nbd_refuse_option(conn, type,
						   NBD_REP_ERR_TLS_REQD,
						   "this server wants TLS");
	switch ((enum nbd_option_type)type) {
	case NBD_OPT_EXPORT_NAME:
		return export_name(conn, data, option->length);
	case NBD_OPT_ABORT:
		(void)acknowledge(conn, type);
		return NBD_STEP_END;
	case NBD_OPT_LIST:
		return list(conn, option->length);
	case NBD_OPT_STARTTLS:
		return start_tls(conn, option->length);
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		return info_or_go(conn, type, data, option->length);
	case NBD_OPT_STRUCTURED_REPLY:
		return structured_reply(conn, option->length);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		return meta_context(conn, type, data, option->length);
	}
	return nbd_refuse_option(conn, type, NBD_REP_ERR_UNSUP,
				 "there is no such option");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the wire; see uri.h. */
#include "approaches/common/wire/uri.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#include <errno.h>
#include <string.h>

/* Copy `n` characters of `from` if they fit with their end. */
static int take(char *to, size_t room, const char *from, size_t n)
{
	if (n >= room)
		return -EINVAL;
	memcpy(to, from, n);
	to[n] = '\0';
	return 0;
}

static int take_rest(struct ms_uri *uri, const char *name)
{
	return take(uri->export_name, sizeof(uri->export_name), name,
		    strlen(name));
}

static int parse_tcp(const char *p, struct ms_uri *uri)
{
	uint64_t port = 0;
	bool brackets = *p == '[';
	size_t host = brackets ? strcspn(++p, "]") : strcspn(p, ":/");

	if (host == 0 || take(uri->host, sizeof(uri->host), p, host))
		return -EINVAL;
	p += host;
	if (brackets && *p++ != ']')
		return -EINVAL;
	if (*p++ != ':')
		return -EINVAL;
	size_t digits = strcspn(p, "/");
	if (take(uri->port, sizeof(uri->port), p, digits) ||
	    ms_parse_uint(uri->port, &port) || port > 65535)
		return -EINVAL;
	p += digits;
	return take_rest(uri, *p ? p + 1 : p);
}

static int parse_unix(const char *p, struct ms_uri *uri)
{
	size_t path = strcspn(p, "?");

	if (path < 2 || *p != '/' ||
	    take(uri->host, sizeof(uri->host), p, path))
		return -EINVAL;
	p += path;
	return take_rest(uri, *p ? p + 1 : p);
}

static int parse_pair(const char *p, struct ms_uri *uri)
{
	size_t name = strcspn(p, "/");

	if (take(uri->host, sizeof(uri->host), p, name))
		return -EINVAL;
	p += name;
	return take_rest(uri, *p ? p + 1 : p);
}

int ms_uri_parse(const char *text, struct ms_uri *ret)
{
	static const struct {
		const char *prefix;
		int (*parse)(const char *p, struct ms_uri *uri);
	} schemes[] = {
		{"tcp", parse_tcp}, {"unix", parse_unix}, {"pair", parse_pair}};
	struct ms_uri uri = {0};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t n = strlen(schemes[i].prefix);
		if (strncmp(text, schemes[i].prefix, n) != 0 ||
		    strncmp(text + n, "://", 3) != 0)
			continue;
		memcpy(uri.scheme, schemes[i].prefix, n + 1);
		if (schemes[i].parse(text + n + 3, &uri))
			break;
		*ret = uri;
		return 0;
	}
	return ms_err(-EINVAL,
		      "\"%s\" is not tcp://HOST:PORT[/EXPORT] or "
		      "unix:///PATH[?EXPORT]",
		      text);
}

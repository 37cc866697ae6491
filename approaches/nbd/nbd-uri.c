/* SPDX-License-Identifier: Apache-2.0 */
/* NBD URIs; see nbd-uri.h. */
#include "approaches/nbd/nbd-uri.h"

#include "approaches/common/util/err.h"
#include "approaches/nbd/nbd-proto.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNIX_PREFIX "nbd+unix:///?socket="

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo %XX. False: malformed, too long, or a zero byte. */
static bool decode(const char *p, char *out, size_t room)
{
	size_t n = 0;

	while (*p) {
		char c = *p++;
		if (c == '%') {
			int high = hex(*p);
			int low = high < 0 ? -1 : hex(p[1]);
			if (low < 0 || (high == 0 && low == 0))
				return false;
			c = (char)(high << 4 | low);
			p += 2;
		}
		if (n + 1 >= room)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* nbd://HOST[:PORT][/] as tcp://HOST:PORT. False: it is not that. */
static bool tcp_of(const char *p, char *out, size_t room)
{
	size_t host = *p == '[' ? strcspn(p, "]") + 1 : strcspn(p, ":/");

	if (host > strlen(p))
		return false;
	size_t port = p[host] == ':' ? strcspn(p + host, "/") : 0;
	const char *rest = p + host + port;
	if (*rest && strcmp(rest, "/") != 0)
		return false;
	int n = port ? snprintf(out, room, "tcp://%.*s", (int)(host + port), p)
		     : snprintf(out, room, "tcp://%.*s:%d", (int)host, p,
				NBD_PORT);
	return n > 0 && (size_t)n < room;
}

static int parse(const char *text, struct ms_uri *ret)
{
	char plain[512];
	char path[256];

	if (strncmp(text, "nbd://", 6) == 0) {
		if (!tcp_of(text + 6, plain, sizeof(plain)))
			return -EINVAL;
		return ms_uri_parse(plain, ret);
	}
	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
		if (!decode(text + strlen(UNIX_PREFIX), path, sizeof(path)) ||
		    *path != '/' || strchr(path, '?'))
			return -EINVAL;
		(void)snprintf(plain, sizeof(plain), "unix://%s", path);
		return ms_uri_parse(plain, ret);
	}
	if (strncmp(text, "tcp://", 6) != 0 && strncmp(text, "unix://", 7) != 0)
		return -EINVAL;
	return ms_uri_parse(text, ret);
}

int nbd_uri_parse(const char *text, struct ms_uri *ret)
{
	int rc = parse(text, ret);

	if (rc)
		return ms_err_plain(-EINVAL,
				    "\"%s\" is not nbd://HOST[:PORT]/, "
				    "nbd+unix:///?socket=PATH, tcp://HOST:PORT "
				    "or unix:///PATH",
				    text);
	if (*ret->export_name)
		return ms_err_plain(-EINVAL,
				    "\"%s\" names an export; a server listens "
				    "for all of its own",
				    text);
	return 0;
}

static bool is_plain(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("/._-~", c));
}

void nbd_uri_format(const char *listener, bool tls, char *out, size_t room)
{
	const char *s = tls ? "nbds" : "nbd";
	size_t n = 0;

	if (strncmp(listener, "tcp://", 6) == 0) {
		(void)snprintf(out, room, "%s://%s/", s, listener + 6);
		return;
	}
	(void)snprintf(out, room, "%s+unix:///?socket=", s);
	n = strlen(out);
	for (const char *p = listener + strlen("unix://"); *p && n + 4 <= room;
	     p++) {
		if (is_plain(*p)) {
			out[n++] = *p;
			out[n] = '\0';
		} else {
			n += (size_t)snprintf(out + n, room - n, "%%%02X",
					      (unsigned)(unsigned char)*p);
		}
	}
}

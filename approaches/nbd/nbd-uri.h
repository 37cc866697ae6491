/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NBD URIs, as far as a server needs them
 * (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md):
 *
 *	nbd://HOST[:PORT][/]		nbd+unix:///?socket=PATH
 *	tcp://HOST:PORT			unix:///PATH
 *
 * where a socket's PATH may have %XX.
 */
#ifndef MS_NBD_URI_H
#define MS_NBD_URI_H

#include "approaches/common/wire/uri.h"

/* Where to listen. 0, or -EINVAL with a sentence. */
int nbd_uri_parse(const char *text, struct ms_uri *ret)
	__attribute__((nonnull, warn_unused_result));

/*
 * The NBD URI for what a listener calls itself (tcp://..., unix://...), nbds
 * if `tls`. Cut off to `room` bytes; three times the listener's are enough.
 */
void nbd_uri_format(const char *listener, bool tls, char *out, size_t room)
	__attribute__((nonnull));

#endif

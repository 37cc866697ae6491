/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of the wire:
 *
 *	tcp://HOST:PORT[/EXPORT]	HOST may be [IPv6]; PORT 0 to listen
 *	unix:///PATH[?EXPORT]
 *	pair://NAME[/EXPORT]		within one process, for tests
 */
#ifndef MS_COMMON_WIRE_URI_H
#define MS_COMMON_WIRE_URI_H

#include "approaches/common/wire/proto.h"

struct ms_uri {
	char scheme[8];
	char host[256]; /* tcp: host; unix: path; pair: name */
	char port[8];	/* tcp only, decimal */
	char export_name[MS_PROTO_NAME_MAX + 1];
};

/* Take `text` apart. 0 or -EINVAL with a sentence. */
int ms_uri_parse(const char *text, struct ms_uri *ret)
	__attribute__((nonnull, warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The list of transports; see transport.h. One line each. */
#include "approaches/common/wire/transport.h"

#include <stdlib.h>
#include <string.h>

extern const struct ms_transport ms_tcp_transport;
extern const struct ms_transport ms_unix_transport;
extern const struct ms_transport ms_pair_transport;

const struct ms_transport *const ms_transports[] = {
	&ms_tcp_transport,
	&ms_unix_transport,
	&ms_pair_transport,
	NULL,
};

const struct ms_transport *ms_transport_find(const char *scheme)
{
	for (size_t i = 0; ms_transports[i]; i++)
		if (strcmp(ms_transports[i]->scheme, scheme) == 0)
			return ms_transports[i];
	/* ms_uri_parse lets no other scheme through. */
	abort();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The list of backends and stages; see registry.h. One line each. */
#include "approaches/common/backend/registry.h"

#include <string.h>

extern const struct ms_backend_type ms_cache_type;
extern const struct ms_backend_type ms_memory_type;
extern const struct ms_backend_type ms_file_type;
extern const struct ms_backend_type ms_pattern_type;
extern const struct ms_backend_type ms_remote_type;
extern const struct ms_backend_type ms_nbd_type;
extern const struct ms_backend_type ms_chunker_type;
extern const struct ms_backend_type ms_tracker_type;
extern const struct ms_backend_type ms_gate_type;
extern const struct ms_backend_type ms_limit_type;
extern const struct ms_backend_type ms_delay_type;
extern const struct ms_backend_type ms_error_type;
extern const struct ms_backend_type ms_rate_type;
extern const struct ms_backend_type ms_null_type;

const struct ms_backend_type *const ms_backend_types[] = {
	/* stores */
	&ms_memory_type,
	&ms_file_type,
	&ms_pattern_type,
	&ms_remote_type,
	&ms_nbd_type,
	/* stages */
	&ms_cache_type,
	&ms_chunker_type,
	&ms_tracker_type,
	&ms_gate_type,
	&ms_limit_type,
	/* to test and to measure */
	&ms_delay_type,
	&ms_error_type,
	&ms_rate_type,
	&ms_null_type,
	NULL,
};

const struct ms_backend_type *ms_backend_type_find(const char *name)
{
	for (size_t i = 0; ms_backend_types[i]; i++)
		if (strcmp(ms_backend_types[i]->name, name) == 0)
			return ms_backend_types[i];
	return NULL;
}

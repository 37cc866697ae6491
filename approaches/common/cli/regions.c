/* SPDX-License-Identifier: Apache-2.0 */
/* A list of regions from a command line; see regions.h. */
#include "approaches/common/cli/regions.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The name of an operand, and the SPEC behind it. NULL: no memory. */
static char *take_name(const char *operand, const char **ret_spec)
{
	const char *equals = strchr(operand, '=');
	const char *colon = strchr(operand, ':');

	if (equals && equals > operand && (!colon || equals < colon)) {
		*ret_spec = equals + 1;
		return strndup(operand, (size_t)(equals - operand));
	}
	*ret_spec = operand;
	return strdup("default");
}

int ms_regions_add(struct ms_regions *regions, const char *operand)
{
	struct ms_backend *backend = NULL;
	const char *spec = NULL;
	char *name = take_name(operand, &spec);
	int rc = 0;

	if (!name)
		return ms_err(-ENOMEM, "a region");
	if (regions->count == MS_REGIONS_MAX)
		rc = ms_err_plain(-EINVAL, "more than %d regions",
				  MS_REGIONS_MAX);
	for (size_t i = 0; i < regions->count && rc == 0; i++)
		if (strcmp(regions->list[i].name, name) == 0)
			rc = ms_err_plain(-EINVAL, "two regions are called %s",
					  name);
	if (rc == 0)
		rc = ms_open(spec, &backend);
	if (rc) {
		free(name);
		return rc;
	}
	regions->list[regions->count++] =
		(struct ms_region){.name = name, .backend = backend};
	return 0;
}

void ms_regions_close(struct ms_regions *regions)
{
	for (size_t i = 0; i < regions->count; i++) {
		ms_close(regions->list[i].backend);
		free(regions->list[i].name);
	}
	regions->count = 0;
}

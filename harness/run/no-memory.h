/* SPDX-License-Identifier: Apache-2.0 */
/* The commonest error, in a form that analysers see through. */
#ifndef MS_HARNESS_RUN_NO_MEMORY_H
#define MS_HARNESS_RUN_NO_MEMORY_H

#include "approaches/common/util/err.h"

#include <errno.h>

/* ms_err with -ENOMEM; always returns that. */
static inline int no_memory(const char *where)
{
	(void)ms_err(-ENOMEM, "%s", where);
	return -ENOMEM;
}

#endif

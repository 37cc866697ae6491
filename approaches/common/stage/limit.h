/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `limit`: at most so many requests at once in what lies below; others
 * wait, urgent ones first, then in order of arrival. With 1 they go one by one,
 * as a program does that knows no other way.
 */
#ifndef MS_COMMON_STAGE_LIMIT_H
#define MS_COMMON_STAGE_LIMIT_H

#include "memsync/backend.h"

#define MS_LIMIT_MAX 65536

/*
 * `next` belongs to the stage on success; `requests` is 1 to MS_LIMIT_MAX. 0,
 * -EINVAL, -ENOMEM.
 */
int ms_limit_over(struct ms_backend *next, unsigned requests,
		  struct ms_backend **ret)
	__attribute__((nonnull, warn_unused_result));

#endif

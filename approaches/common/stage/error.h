/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage `error`: fails some requests, on purpose and repeatably. Which ones:
 * at random (rate, seed), each N-th (every), all after the first N (after),
 * those that touch a byte (at). How (mode):
 *
 *	fail   nothing is done
 *	short  a read delivers the first half of its bytes, then fails: a store
 *	       that delivers too little, as the contract has it reported
 *	torn   a write changes the first half of its range, then fails
 */
#ifndef MS_COMMON_STAGE_ERROR_H
#define MS_COMMON_STAGE_ERROR_H

#include "memsync/backend.h"

/* Requests that an error stage has failed. */
uint64_t ms_error_count(const struct ms_backend *error)
	__attribute__((nonnull));

#endif

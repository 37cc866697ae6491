/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison after a workload, and that of the other end. */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void failed(struct ms_workload_result *ret, const char *what,
		   uint64_t offset)
{
	ret->status = MS_STATUS_FAILED;
	ret->verified = false;
	(void)snprintf(ret->reason, sizeof(ret->reason),
		       "%s at offset %" PRIu64, what, offset);
}

/* What the application saw while it ran. */
static bool check_witnesses(const struct wl_run *run, const struct wl_thread *t,
			    struct ms_workload_result *ret)
{
	const uint64_t flag = UINT64_C(1) << 63;

	for (uint64_t i = 0; i < t->witnesses; i++) {
		const struct wl_witness *w = &t->witness[i];
		uint64_t bad = 0;
		if (!ms_verifier_check(w->offset & flag ? &run->written
							: &run->verifier,
				       w->offset & ~flag, &w->word, 8, &bad)) {
			failed(ret, "wrong byte seen", bad);
			return false;
		}
		ret->witnesses++;
	}
	return true;
}

/* What the accessed blocks hold now. */
static bool check_blocks(const struct wl_run *run, char *buf,
			 struct ms_workload_result *ret)
{
	for (uint64_t b = 0; b < run->blocks; b++) {
		uint8_t state = run->block[b];
		uint64_t offset = wl_offset(run, b);
		uint64_t n = wl_length(run, b);
		uint64_t bad = 0;
		if (!state)
			continue;
		int rc = wl_read(run, buf, offset, n);
		if (rc) {
			failed(ret, ms_errno_text(rc), offset);
			return false;
		}
		if (!ms_verifier_check(state & WL_WRITTEN ? &run->written
							  : &run->verifier,
				       offset, buf, n, &bad)) {
			failed(ret, "wrong byte", bad);
			return false;
		}
		ret->verified_bytes += n;
		ret->blocks_written += (state & WL_WRITTEN) != 0;
	}
	return true;
}

void wl_verify(struct wl_run *run, struct wl_thread *threads,
	       struct ms_workload_result *ret)
{
	struct wl_thread *first = &threads[0];
	const void *addr = run->target->addr ? run->target->addr : "";
	bool good = true;

	for (unsigned i = 0; i < run->config->threads && good; i++)
		good = check_witnesses(run, &threads[i], ret);
	if (!good)
		return;
	/* The region may fail now that it is looked at once more. */
	if (sigsetjmp(first->guard.env, 1) == 0) {
		ms_guard_enter(&first->guard, addr,
			       run->target->addr ? run->target->size : 0);
		good = check_blocks(run, first->buf, ret);
		ms_guard_leave();
	} else {
		failed(ret, "SIGBUS while verifying",
		       first->guard.fault_offset);
		return;
	}
	/* A run that accessed nothing has proven nothing. */
	ret->verified = good && ret->verified_bytes > 0;
}

uint64_t ms_workload_write_seed(const struct ms_workload_config *config)
{
	/* Never the seed of what was there before. */
	uint64_t seed = ms_mix64(config->seed + 0x77726974);

	return seed == config->pattern_seed ? seed + 1 : seed;
}

static int check_block(const struct ms_workload_config *config,
		       const struct ms_verifier *before, const char *buf,
		       uint64_t offset, uint64_t n)
{
	uint64_t bad = 0;

	if (ms_pattern_check(ms_workload_write_seed(config), offset, buf, n,
			     NULL))
		return 1;
	if (ms_verifier_check(before, offset, buf, n, &bad))
		return 0;
	return ms_err(-EBADMSG,
		      "the block at offset %" PRIu64
		      " is neither the old nor the new one",
		      offset);
}

int ms_workload_check_written(const struct ms_workload_config *config,
			      int (*read_at)(void *user, void *buf, uint64_t n,
					     uint64_t offset),
			      void *user, uint64_t size,
			      uint64_t *ret_blocks_written)
{
	struct ms_verifier before;
	uint64_t written = 0;
	uint64_t step = config->access_bytes;
	char *buf = malloc(step);
	int rc = 0;

	if (!buf)
		return ms_err(-ENOMEM, "check what was written");
	rc = ms_verifier_open(&before, config->reference, config->pattern_seed);
	if (rc)
		goto out;
	for (uint64_t at = 0; at < size && rc >= 0; at += step) {
		uint64_t n = size - at < step ? size - at : step;
		rc = read_at(user, buf, n, at);
		if (rc == 0)
			rc = check_block(config, &before, buf, at, n);
		if (rc > 0)
			written++;
	}
	ms_verifier_close(&before);
	if (rc >= 0) {
		*ret_blocks_written = written;
		rc = 0;
	}
out:
	free(buf);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Verification against a pattern or a reference file; see verify.h. */
#include "approaches/common/workload/verify.h"

#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
	STEP = 16384
};

int ms_verifier_open(struct ms_verifier *v, const char *path, uint64_t seed)
{
	*v = (struct ms_verifier){.seed = seed, .fd = -1};
	if (!path)
		return 0;
	v->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (v->fd < 0)
		return ms_err(-errno, "reference %s", path);
	return 0;
}

void ms_verifier_close(struct ms_verifier *v)
{
	if (v->fd >= 0)
		(void)close(v->fd);
	v->fd = -1;
}

/* Compare one step with the file. */
static bool check_step(int fd, uint64_t offset, const unsigned char *in,
		       size_t n, uint64_t *ret_bad)
{
	unsigned char want[STEP];
	size_t got = 0;

	while (got < n) {
		ssize_t part =
			pread(fd, want + got, n - got, (off_t)(offset + got));
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			break;
		got += (size_t)part;
	}
	for (size_t i = 0; i < n; i++) {
		if (i < got && in[i] == want[i])
			continue;
		*ret_bad = offset + i;
		return false;
	}
	return true;
}

bool ms_verifier_check(const struct ms_verifier *v, uint64_t offset,
		       const void *buf, size_t n, uint64_t *ret_bad)
{
	const unsigned char *in = buf;

	if (v->fd < 0)
		return ms_pattern_check(v->seed, offset, buf, n, ret_bad);
	while (n) {
		size_t part = n < STEP ? n : STEP;
		if (!check_step(v->fd, offset, in, part, ret_bad))
			return false;
		in += part;
		offset += part;
		n -= part;
	}
	return true;
}

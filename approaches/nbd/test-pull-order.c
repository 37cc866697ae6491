/* SPDX-License-Identifier: Apache-2.0 */
/* The file that says in which order chunks are pulled. */
#include "approaches/nbd/pull-order.h"
#include "tests/check.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <unistd.h>

static char path[] = "/tmp/memsync-pull-order.XXXXXX";

static void write_text(const char *text)
{
	FILE *f = fopen(path, "we");

	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

int main(void)
{
	struct pull_order o = {0};
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	(void)close(fd);
	write_text("# hot\n0\n 8192\n\n4K\r\n1M\n4097");
	CHECK_EQ(pull_order_load(path, 4096, &o), 0);
	CHECK_EQ(o.count, 5);
	CHECK_EQ(o.chunks[0], 0);
	CHECK_EQ(o.chunks[1], 2);
	CHECK_EQ(o.chunks[2], 1);
	CHECK_EQ(o.chunks[3], 256);
	CHECK_EQ(o.chunks[4], 1);
	pull_order_release(&o);
	write_text("0\n12 apples\nx\n");
	CHECK_EQ(pull_order_load(path, 4096, &o), -EINVAL);
	CHECK_HAS(ms_err_text(), ":2: an offset");
	CHECK_EQ(o.count, 0);
	write_text("");
	CHECK_EQ(pull_order_load(path, 4096, &o), 0);
	CHECK_EQ(o.count, 0);
	pull_order_release(&o);
	(void)unlink(path);
	CHECK_EQ(pull_order_load(path, 4096, &o), -ENOENT);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local baselines: memory and a cold file on a disk are measured and
 * verified, memory is not taken for a disk, a wrong file is found.
 */
#include "harness/cmd.h"
#include "tests/check.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

static char folder[256];

static int run(const char *const *args)
{
	char text[16][320] = {"workload"};
	char *argv[17] = {text[0]};
	int argc = 1;

	for (; *args && argc < 16; args++, argc++) {
		(void)snprintf(text[argc], sizeof(text[0]), "%s", *args);
		argv[argc] = text[argc];
	}
	return cmd_workload(argc, argv);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void memory(void)
{
	CHECK_EQ(RUN("--on=memory", "--size=1M"), 0);
	CHECK_EQ(RUN("--workload=mixed", "--size=100001", "--json"), 0);
	CHECK_EQ(RUN("--workload=first-access", "--size=1"), 0);
	CHECK_EQ(RUN("--access=pread"), 2);
	CHECK_EQ(RUN("--size=0"), 2);
	CHECK_EQ(RUN("--on=path"), 2);
	CHECK_EQ(RUN("--on=path", "--path=/nonexistent"), 1);
}

static void disk(void)
{
	char where[300];
	struct statfs fs;

	(void)snprintf(where, sizeof(where), "--folder=%s", folder);
	CHECK_EQ(statfs(folder, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		/* Then the refusal is what can be tested. */
		CHECK_EQ(RUN("--on=disk", where), 77);
		return;
	}
	CHECK_EQ(RUN("--on=disk", "--size=3000001", where), 0);
	CHECK_EQ(RUN("--on=disk", "--size=1M", "--access=pread",
		     "--workload=rand-write", "--sync", where),
		 0);
	CHECK_EQ(RUN("--on=disk", "--folder=/nonexistent"), 1);
}

static void tmpfs_is_refused(void)
{
	struct statfs fs;

	if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC)
		return;
	CHECK_EQ(RUN("--on=disk", "--folder=/dev/shm", "--size=1M"), 77);
}

static void any_path(void)
{
	char path[300];
	char option[320];

	(void)snprintf(path, sizeof(path), "%s/zeros.%d", folder,
		       (int)getpid());
	(void)snprintf(option, sizeof(option), "--path=%s", path);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 70000), 0);
	/* Zeros are not the pattern. */
	CHECK_EQ(RUN("--on=path", option, "--keep-cache"), 1);
	CHECK_EQ(RUN("--on=path", option, "--keep-cache", "--verify=none"), 0);
	/* Writing needs to be allowed. */
	CHECK_EQ(RUN("--on=path", option, "--keep-cache",
		     "--workload=seq-write"),
		 2);
	CHECK_EQ(RUN("--on=path", option, "--keep-cache", "--write",
		     "--workload=seq-write", "--sync"),
		 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(unlink(path), 0);
}

int main(void)
{
	const char *tmp = getenv("TMP");

	(void)snprintf(folder, sizeof(folder), "%s", tmp ? tmp : "/var/tmp");
	memory();
	disk();
	tmpfs_is_refused();
	any_path();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch folder and small file helpers; see scratch.h. */
#include "harness/run/scratch.h"

#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FDS = 16,
	TAIL = 4096,
	BLOCK = 1 << 20,
};

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	(void)remove(path);
	return 0;
}

void scratch_remove(const char *dir)
{
	(void)nftw(dir, remove_one, FDS, FTW_DEPTH | FTW_PHYS);
}

int scratch_make(const char *result, char *buf, size_t size)
{
	char path[PATH_MAX];
	char absolute[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/scratch", result);
	scratch_remove(path);
	if (mkdir(path, 0755))
		return ms_err(-errno, "%s", path);
	if (!realpath(path, absolute))
		return ms_err(-errno, "%s", path);
	if (strlen(absolute) >= size)
		return ms_err(-ENAMETOOLONG, "%s", path);
	memcpy(buf, absolute, strlen(absolute) + 1);
	return 0;
}

int scratch_write(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;
	int bad;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f)
		return ms_err(-errno, "%s", path);
	bad = fputs(text, f) < 0;
	bad |= fclose(f) != 0;
	return bad ? ms_err(-EIO, "write %s", path) : 0;
}

void scratch_last_line(const char *path, char *buf, size_t size)
{
	char tail[TAIL + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t n = 0;
	char *line;

	buf[0] = '\0';
	if (fd < 0)
		return;
	n = pread(fd, tail, TAIL, end > TAIL ? end - TAIL : 0);
	(void)close(fd);
	while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == ' '))
		n--;
	if (n <= 0)
		return;
	tail[n] = '\0';
	line = strrchr(tail, '\n');
	(void)snprintf(buf, size, "%s", line ? line + 1 : tail);
}

static int compare(FILE *a, FILE *b, const char *path)
{
	char *x = malloc(BLOCK);
	char *y = malloc(BLOCK);
	unsigned long long at = 0;
	size_t n = 1;
	size_t m = 1;
	int err = x && y ? 0 : ms_err(-ENOMEM, "compare %s", path);

	while (!err && n > 0) {
		n = fread(x, 1, BLOCK, a);
		m = fread(y, 1, BLOCK, b);
		if (n != m || memcmp(x, y, n) != 0)
			err = ms_err(-EBADMSG,
				     "%s is not what the source has, from %llu "
				     "on or within the MiB behind",
				     path, at);
		at += n;
	}
	if (!err && (ferror(a) || ferror(b)))
		err = ms_err(-EIO, "compare %s", path);
	free(x);
	free(y);
	return err;
}

int scratch_same(const char *path, const char *reference)
{
	FILE *a = fopen(path, "re");
	FILE *b = fopen(reference, "re");
	int err = 0;

	if (!a || !b)
		err = ms_err(-errno, "open %s", a ? reference : path);
	else
		err = compare(a, b, path);
	if (a)
		(void)fclose(a);
	if (b)
		(void)fclose(b);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps a region and prints a sum over its bytes; they arrive while it reads.
 *
 *	example-uffd pattern:size=64M,seed=1
 *	example-uffd file:path=/etc/services
 *	example-uffd tcp://source:7000
 *
 * Compile: cc example-uffd.c $(pkg-config --cflags --libs memsync)
 */
#include <memsync/uffd.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct memsync_uffd *region = NULL;
	unsigned long sum = 0;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: example-uffd SPEC|URI\n");
		return 2;
	}
	if (memsync_uffd_open(argv[1], NULL, &region)) {
		(void)fprintf(stderr, "example-uffd: %s\n", memsync_error());
		return 1;
	}
	const unsigned char *bytes = memsync_uffd_addr(region);
	for (uint64_t i = 0; i < memsync_uffd_size(region); i++)
		sum = sum * 31 + bytes[i];
	(void)printf("%016lx\n", sum);
	memsync_uffd_close(region);
	return 0;
}

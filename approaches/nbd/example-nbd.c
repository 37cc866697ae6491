/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts a region, which may be on another host, as a pointer; counts how often
 * this was done in its first eight bytes, durably.
 *
 *	example-nbd file:path=/srv/region
 *	example-nbd tcp://source:7000
 *
 * Compile: cc example-nbd.c $(pkg-config --cflags --libs memsync)
 */
#include <memsync/nbd.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct memsync_nbd *m = NULL;
	void *bytes = NULL;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: example-nbd SPEC|URI\n");
		return 2;
	}
	if (memsync_nbd_open(argv[1], NULL, &m) || memsync_nbd_map(m, &bytes)) {
		(void)fprintf(stderr, "example-nbd: %s\n", memsync_error());
		(void)memsync_nbd_close(m);
		return 1;
	}
	(void)printf("mounted %lu times\n", ++*(unsigned long *)bytes);
	if (memsync_nbd_close(m) == 0)
		return 0;
	(void)fprintf(stderr, "example-nbd: %s\n", memsync_error());
	return 1;
}

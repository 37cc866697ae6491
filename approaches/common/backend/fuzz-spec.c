/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer of spec strings. What parses is opened as well, but only with types
 * that touch nothing outside of the process and with sizes that are small:
 * the fuzzer looks for faults of the parser and of the stages, not for memory
 * that is not there.
 */
#include "approaches/common/backend/registry.h"
#include "memsync/backend.h"

#include <stdlib.h>
#include <string.h>

enum {
	TEXT_MAX = 600,
	SIZE_MAX_BYTES = 1 << 20,
	PROBE = 100,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether some word of the text may name a file, a peer or much memory. */
static bool harmless(const char *text)
{
	static const char *const no[] = {"file", "remote", "nbd",
					 "://",	 "seed=",  "time="};

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (strstr(text, no[i]))
			return false;
	/* No number beyond the limit: digits at most, and no unit over K. */
	for (const char *p = text; (p = strstr(p, "size=")) != NULL; p += 5) {
		const char *value = p + 5 + strspn(p + 5, "(");
		size_t digits = strspn(value, "0123456789.xX");
		char unit = value[digits];
		if (digits > 6 || (unit && strchr("MmGgTt", unit)))
			return false;
		if ((unit == 'K' || unit == 'k') && digits > 3)
			return false;
	}
	return true;
}

/* One request of each kind that has no special needs. */
static void use(struct ms_backend *b)
{
	char buf[PROBE];
	uint64_t n = ms_size(b) < PROBE ? ms_size(b) : PROBE;
	struct ms_extent list[2];
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .length = ms_size(b),
			   .buf = list,
			   .extents_max = 2};

	if (b->block > 1 || ms_size(b) > SIZE_MAX_BYTES * UINT64_C(128))
		return;
	(void)!ms_read_at(b, buf, n, 0);
	(void)!ms_write_at(b, buf, n, ms_size(b) - n);
	(void)!ms_sync(b);
	(void)!ms_wait(b, &io);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ms_backend *b = NULL;
	char text[TEXT_MAX + 1];

	if (size > TEXT_MAX)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (!harmless(text))
		return 0;
	if (ms_open(text, &b)) {
		/* A failure has a sentence and leaves nothing. */
		if (b || !*memsync_error())
			abort();
		return 0;
	}
	/* A gate that is shut would answer when it is opened: never here. */
	if (!strstr(text, "shut"))
		use(b);
	ms_close(b);
	return 0;
}

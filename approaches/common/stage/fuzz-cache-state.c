/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer of state files: what is opened is judged the same way each time, the
 * counts are those of the states, and after a beginning everything is in order.
 * The first byte says whether the checks are made right first, so that what is
 * behind them is reached as well, and how the region has changed.
 */
#include "approaches/common/stage/cache-state.h"
#include "memsync/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum {
	CHUNK = 4096,
	SLOT = CACHE_STATE_HEADER,
	FILE_MAX = 1 << 16,
	RESEAL = 1 << 0,
	TRUST = 1 << 1,
	GROWN = 1 << 2,
	SHRUNK = 1 << 3,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As the writer would have: else nothing gets past the first check. */
static void reseal(char *bytes, size_t size)
{
	for (size_t at = 0; at + SLOT <= size && at < 2 * SLOT; at += SLOT) {
		uint64_t hash = XXH3_64bits(bytes + at, SLOT - 8);
		memcpy(bytes + at + SLOT - 8, &hash, sizeof(hash));
	}
}

static struct cache_state *open_it(const struct cache_state_config *c)
{
	struct cache_state *s = NULL;

	if (cache_state_open(c, &s) == 0)
		return s;
	if (!*memsync_error())
		abort();
	return NULL;
}

static void check_states(const struct cache_state *s, uint64_t size)
{
	if (s->chunks != (size + CHUNK - 1) / CHUNK || s->size != size)
		abort();
	for (uint64_t i = 0; i < s->chunks; i++)
		if (cache_state_get(s, i) > KEPT_DIRTY)
			abort();
}

static void use(const struct cache_state_config *c)
{
	struct cache_state *s = open_it(c);

	if (!s)
		return;
	/* A loss has a reason, and only what is fresh or believed is exact. */
	if ((s->loses && !s->why) || (!s->fresh && !s->believed && !s->check))
		abort();
	if (cache_state_begin(s, c->size))
		abort(); /* a memory file has room */
	check_states(s, c->size);
	for (uint64_t i = 0; i < s->chunks; i++) {
		cache_state_set(s, i, (enum cache_kept)(i % 3));
		cache_state_set_hash(s, i, i);
	}
	if (cache_state_close(s, true))
		abort();
	/* What was written is what is read. */
	s = open_it(c);
	if (!s || s->why || s->fresh || !s->believed || s->bad)
		abort();
	for (uint64_t i = 0; i < s->chunks; i++)
		if (cache_state_get(s, i) != i % 3 ||
		    cache_state_hash(s, i) != i)
			abort();
	(void)cache_state_close(s, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[40];

	if (size < 1 || size > FILE_MAX)
		return 0;
	unsigned how = data[0];
	size--;
	int fd = memfd_create("state", MFD_CLOEXEC);
	char *bytes = malloc(size + 1);
	if (fd < 0 || !bytes)
		abort();
	memcpy(bytes, data + 1, size);
	if (how & RESEAL)
		reseal(bytes, size);
	if (write(fd, bytes, size) != (ssize_t)size)
		abort();
	free(bytes);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct cache_state_config c = {
		.path = path,
		.id = "region",
		.size = 10 * CHUNK + 100,
		.chunk = CHUNK,
		.local = 1 << 30,
		.trust = how & TRUST,
	};
	if (how & GROWN)
		c.size = UINT64_C(1000) * CHUNK;
	if (how & SHRUNK)
		c.size = 3 * CHUNK + 7;
	use(&c);
	(void)close(fd);
	return 0;
}

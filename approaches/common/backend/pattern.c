/* SPDX-License-Identifier: Apache-2.0 */
/* Backend `pattern`: a read-only store of computed bytes; see pattern.h. */
#include "approaches/common/backend/pattern.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The compiler makes vector code of the word loops for each of these. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
	!defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define VECTOR                                                             \
	__attribute__((target_clones("arch=x86-64-v4", "avx2", "default"), \
		       optimize("O3")))
#else
#define VECTOR
#endif

enum {
	CHECK_WORDS = 512 /* compared at a time: one page */
};

static inline uint64_t word(uint64_t seed, uint64_t i)
{
	uint64_t z = (seed + i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Seeds are spread over the whole range so that neighbours do not overlap. */
static inline uint64_t spread(uint64_t seed)
{
	return word(0x6d656d73796e63, seed);
}

VECTOR static void fill_words(uint64_t base, uint64_t first, uint64_t *buf,
			      size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf[i] = word(base, first + i);
}

void ms_pattern_fill(uint64_t seed, uint64_t offset, void *buf, size_t n)
{
	uint64_t base = spread(seed);
	uint64_t scratch[CHECK_WORDS];
	char *out = buf;

	while (n) {
		size_t skip = offset % 8;
		size_t words = (skip + n + 7) / 8;
		if (words > CHECK_WORDS)
			words = CHECK_WORDS;
		size_t part = words * 8 - skip;
		if (part > n)
			part = n;
		if (skip == 0 && part == words * 8 && (uintptr_t)out % 8 == 0) {
			/* Aligned: as many words as there are, in place. */
			words = n / 8;
			part = words * 8;
			fill_words(base, offset / 8, (uint64_t *)(void *)out,
				   words);
		} else {
			fill_words(base, offset / 8, scratch, words);
			memcpy(out, (char *)scratch + skip, part);
		}
		out += part;
		offset += part;
		n -= part;
	}
}

bool ms_pattern_check(uint64_t seed, uint64_t offset, const void *buf, size_t n,
		      uint64_t *ret_bad)
{
	const char *in = buf;
	char want[CHECK_WORDS * 8] __attribute__((aligned(8)));

	while (n) {
		size_t part = n < sizeof(want) ? n : sizeof(want);
		ms_pattern_fill(seed, offset, want, part);
		if (memcmp(in, want, part) != 0) {
			size_t i = 0;
			while (in[i] == want[i])
				i++;
			if (ret_bad)
				*ret_bad = offset + i;
			return false;
		}
		in += part;
		offset += part;
		n -= part;
	}
	return true;
}

struct pattern {
	struct ms_backend base;
	uint64_t seed;
};

static void pattern_submit(struct ms_backend *b, struct ms_io *io)
{
	const struct pattern *p = ms_container_of(b, struct pattern, base);

	if (io->op == MS_OP_READ)
		ms_pattern_fill(p->seed, io->offset, io->buf, io->length);
	/* else MS_OP_SYNC: nothing */
	ms_done(io, 0, NULL);
}

static void pattern_close(struct ms_backend *b)
{
	free(ms_container_of(b, struct pattern, base));
}

static const struct ms_backend_ops pattern_ops = {
	.name = "pattern",
	.submit = pattern_submit,
	.close = pattern_close,
};

struct pattern_config {
	uint64_t size;
	uint64_t seed;
};

static const struct ms_opt pattern_options[] = {
	MS_OPT_SIZE(struct pattern_config, size, "size", 0, "64M", 0, INT64_MAX,
		    "size of the region"),
	MS_OPT_UINT(struct pattern_config, seed, "seed", 0, "1", 0, 0,
		    "seed of the bytes"),
	MS_OPT_END,
};

static int pattern_open(const void *config, struct ms_backend **ret)
{
	const struct pattern_config *c = config;
	struct pattern *p = calloc(1, sizeof(*p));

	if (!p)
		return ms_err(-ENOMEM, "pattern");
	ms_backend_init(&p->base, &pattern_ops, c->size, 0);
	p->seed = c->seed;
	*ret = &p->base;
	return 0;
}

const struct ms_backend_type ms_pattern_type = {
	.name = "pattern",
	.summary = "read-only bytes computed from seed and offset",
	.kind = MS_STORE,
	.options = pattern_options,
	.config_size = sizeof(struct pattern_config),
	.open = pattern_open,
	.example = "pattern:seed=7,size={size}",
};

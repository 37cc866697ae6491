/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment made of options instead of a file. */
#ifndef MS_HARNESS_RUN_CUSTOM_H
#define MS_HARNESS_RUN_CUSTOM_H

#include "approaches/common/util/opt.h"
#include "harness/run/experiment.h"

struct custom {
	char *approach;
	char *variant;
	char *workload;
	char *access;
	uint64_t access_bytes;
	uint64_t threads;
	uint64_t size;
	uint64_t chunk;
	char *link;
	char *rtt;
	char *rate;
	char *driver;
	uint64_t repetitions;
	uint64_t warmup;
	uint64_t time_limit_ns;
	uint64_t timeout_ns;
	uint64_t seed;
};

#define CUSTOM_OPTIONS(st, fld)                                               \
	MS_OPT_STRING(st, fld.approach, "approach", 'a', NULL, "NAME",        \
		      "measure this instead of figures: "                     \
		      "APPROACH[/VARIANT],..."),                              \
		MS_OPT_STRING(st, fld.variant, "variant", 'v', NULL, "NAME",  \
			      "of an approach without /VARIANT"),             \
		MS_OPT_STRING(st, fld.workload, "workload", 'w', "seq-read",  \
			      "NAME", "workload"),                            \
		MS_OPT_STRING(st, fld.access, "access", 0, "mmap", "NAME",    \
			      "how the bytes are reached: mmap, pread"),      \
		MS_OPT_SIZE(st, fld.access_bytes, "access-bytes", 0, "4K", 1, \
			    1U << 26, "bytes of one access"),                 \
		MS_OPT_UINT(st, fld.threads, "threads", 't', "1", 1, 256,     \
			    "accessing threads"),                             \
		MS_OPT_SIZE(st, fld.size, "size", 0, "64M", 1, INT64_MAX,     \
			    "bytes of the region"),                           \
		MS_OPT_SIZE(st, fld.chunk, "chunk", 'c', "0", 0, 1U << 28,    \
			    "unit of transfer; 0: what the variant has"),     \
		MS_OPT_STRING(st, fld.link, "link", 'l', NULL, "PROFILE",     \
			      "link: a name, rtt=..,rate=.., or local"),      \
		MS_OPT_STRING(st, fld.rtt, "rtt", 0, NULL, "MS,...",          \
			      "link: round-trip times in ms"),                \
		MS_OPT_STRING(st, fld.rate, "rate", 0, NULL, "MBIT,...",      \
			      "link: rates in Mbit/s"),                       \
		MS_OPT_STRING(st, fld.driver, "driver", 0, "auto", "NAME",    \
			      "link: auto, emulated, netem, sleep"),          \
		MS_OPT_UINT(st, fld.repetitions, "repetitions", 'n', "5", 1,  \
			    10000, "runs of each cell"),                      \
		MS_OPT_UINT(st, fld.warmup, "warmup", 0, "1", 0, 100,         \
			    "runs of each series that are not recorded"),     \
		MS_OPT_DURATION(st, fld.time_limit_ns, "time-limit", 0, "3s", \
				"end the accesses after this; 0: no limit"),  \
		MS_OPT_DURATION(st, fld.timeout_ns, "timeout", 0, "60s",      \
				"kill a run after this"),                     \
		MS_OPT_UINT(st, fld.seed, "seed", 0, "1", 0, INT64_MAX,       \
			    "seed of the region's bytes")

/* Make the one experiment that the options describe. */
int custom_make(const struct custom *c, struct experiments *ret)
	__attribute__((nonnull, warn_unused_result));

/* "a/x,b" as the array of series; NULL with a sentence. */
json_t *custom_series(const char *text, const char *variant);

#endif

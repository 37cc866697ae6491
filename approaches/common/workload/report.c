/* SPDX-License-Identifier: Apache-2.0 */
/* A workload's numbers as metrics of the program's result. */
#include "approaches/common/util/clock.h"
#include "approaches/common/workload/workload.h"

#include <inttypes.h>
#include <sys/resource.h>

static double mib_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / 0x1p20 / ((double)ns / 1e9) : 0;
}

static void latencies(const struct ms_hist *h, struct ms_result *to)
{
	static const struct {
		const char *metric;
		double q;
	} points[] = {
		{"access_us_p50", 0.5},
		{"access_us_p99", 0.99},
		{"access_us_p999", 0.999},
	};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		ms_result_metric(to, points[i].metric,
				 (double)ms_hist_quantile(h, points[i].q) / 1e3,
				 "us");
	ms_result_param(to, "access_us_max", "%.3f", (double)h->max / 1e3);
}

static void rates(const struct ms_workload_config *c,
		  const struct ms_workload_target *t,
		  const struct ms_workload_result *from, struct ms_result *to)
{
	if (from->bytes_read) {
		ms_result_metric(to, "read_mib_s",
				 mib_s(from->bytes_read, from->elapsed_ns),
				 "MiB/s");
		ms_result_metric(
			to, "read_open_mib_s",
			mib_s(from->bytes_read, from->elapsed_ns + t->open_ns),
			"MiB/s");
	}
	if (!from->bytes_written)
		return;
	ms_result_metric(to, "write_mib_s",
			 mib_s(from->bytes_written, from->elapsed_ns), "MiB/s");
	if (c->sync)
		ms_result_metric(to, "write_durable_mib_s",
				 mib_s(from->bytes_written,
				       from->elapsed_ns + from->sync_ns),
				 "MiB/s");
}

static void describe(const struct ms_workload_config *c,
		     const struct ms_workload_result *from,
		     struct ms_result *to)
{
	ms_result_param(to, "access", "%s", ms_workload_accesses[c->access]);
	ms_result_param(to, "access_bytes", "%" PRIu64, c->access_bytes);
	ms_result_param(to, "threads", "%" PRIu64, c->threads);
	ms_result_param(to, "accesses", "%" PRIu64, from->accesses);
	if (c->kind != MS_WL_SEQ_READ && c->kind != MS_WL_FIRST_ACCESS)
		ms_result_param(to, "workload_seed", "%" PRIu64, c->seed);
	if (c->kind == MS_WL_MIXED)
		ms_result_param(to, "read_share", "%g", c->read_share);
	if (c->kind == MS_WL_ZIPF)
		ms_result_param(to, "theta", "%g", c->theta);
	if (c->rate)
		ms_result_param(to, "rate", "%" PRIu64, c->rate);
	if (from->blocks_written)
		ms_result_param(to, "blocks_written", "%" PRIu64,
				from->blocks_written);
	if (c->pretouch_bytes)
		ms_result_param(to, "pretouch_bytes", "%" PRIu64,
				c->pretouch_bytes);
	if (c->time_limit_ns)
		ms_result_param(to, "time_limit_ms", "%" PRIu64,
				c->time_limit_ns / MS_NS_PER_MS);
}

void ms_workload_report(const struct ms_workload_config *config,
			const struct ms_workload_target *target,
			const struct ms_workload_result *from,
			struct ms_result *to)
{
	struct rusage usage = {0};

	to->workload = ms_workload_kinds[config->kind];
	to->size_bytes = target->size;
	to->bytes_done = from->bytes_read + from->bytes_written;
	to->verified = from->verified;
	if (from->status != MS_STATUS_OK)
		ms_result_fail(to, from->status, "%s", from->reason);
	describe(config, from, to);
	if (config->kind == MS_WL_FIRST_ACCESS) {
		if (from->accesses)
			ms_result_metric(to, "first_access_us",
					 (double)from->first_ns / 1e3, "us");
	} else {
		rates(config, target, from, to);
		if (from->hist && from->hist->count)
			latencies(from->hist, to);
	}
	if (target->open_ns)
		ms_result_metric(to, "open_ms", (double)target->open_ns / 1e6,
				 "ms");
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		ms_result_metric(to, "rss_max_bytes",
				 (double)usage.ru_maxrss * 1024, "bytes");
	if (config->verify == MS_WL_VERIFY_EACH)
		ms_result_note(to, "every access was verified inside the run: "
				   "rates include the checking");
	if (config->verify == MS_WL_VERIFY_NONE)
		ms_result_note(to, "verification was turned off");
	if (from->verified)
		ms_result_note(to,
			       "verified: %" PRIu64 " bytes, %" PRIu64
			       " words as seen during the run",
			       from->verified_bytes, from->witnesses);
}

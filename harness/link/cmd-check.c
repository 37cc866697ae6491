/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench link check` and `link ceiling`: a link's own numbers, as a
 * table for people or as JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/link/cmd-internal.h"
#include "harness/link/measure.h"

struct check_config {
	int driver;
	char *congestion;
	uint64_t probes;
	uint64_t loss_packets;
	bool one_way;
	bool no_rate;
	bool json;
};

static const struct ms_opt check_table[] = {
	MS_OPT_CHOICE(struct check_config, driver, "driver", 'd', "auto",
		      link_driver_choices, "how the link is emulated"),
	MS_OPT_STRING(struct check_config, congestion, "congestion", 0, "cubic",
		      "NAME", "TCP congestion control in the namespaces"),
	MS_OPT_UINT(struct check_config, probes, "probes", 0, "200", 10, 100000,
		    "round trips to measure"),
	MS_OPT_UINT(struct check_config, loss_packets, "loss-packets", 0,
		    "20000", 100, 10000000,
		    "packets to count losses of, each direction"),
	MS_OPT_FLAG(struct check_config, one_way, "one-way", 0,
		    "measure the rate from the source only"),
	MS_OPT_FLAG(struct check_config, no_rate, "no-rate", 0,
		    "leave the rate out: no bulk transfer"),
	MS_OPT_FLAG(struct check_config, json, "json", 0,
		    "print JSON instead of a table"),
	MS_OPT_END};

struct report {
	struct link *l;
	const struct link_profile *p;
	struct link_reading reading;
	struct link_settings settings;
	struct emulate_stats stats;
	bool has_stats;
	bool json;
	int failed;
	json_t *rows;
};

struct row {
	const char *name;
	const char *unit;
	double asked;
	double measured;
	int verdict; /* of link_check on this part alone; 1: no verdict */
};

static void add_row(struct report *r, const struct row *row)
{
	const char *word = row->verdict > 0 ? "-"
			   : row->verdict   ? "FAIL"
					    : "ok";

	r->failed |= row->verdict < 0;
	if (!r->json) {
		(void)printf("%-22s %12.4g %12.5g  %-7s %s\n", row->name,
			     row->asked, row->measured, row->unit, word);
		if (row->verdict < 0)
			(void)printf("  %s\n", ms_err_text());
		return;
	}
	(void)json_array_append_new(
		r->rows, json_pack("{s:s,s:s,s:f,s:f,s:s}", "name", row->name,
				   "unit", row->unit, "asked", row->asked,
				   "measured", row->measured, "verdict", word));
}

static void report_rtt(struct report *r)
{
	struct link_reading only = r->reading;
	double want = link_expected_rtt_ms(r->p, &r->reading);

	only.rate_mbit[0] = 0;
	only.rate_mbit[1] = 0;
	only.loss_sent[0] = 0;
	only.loss_sent[1] = 0;
	add_row(r, &(struct row){"RTT p50", "ms", want, r->reading.rtt_ms_p50,
				 link_check(r->p, &only, NULL)});
	add_row(r, &(struct row){"RTT p99", "ms", want + r->p->jitter_ms,
				 r->reading.rtt_ms_p99, 1});
	add_row(r, &(struct row){"RTT p05", "ms", want - r->p->jitter_ms,
				 r->reading.rtt_ms_p05, 1});
}

static void report_direction(struct report *r, unsigned from)
{
	struct link_reading only = {.rate_by_udp = r->reading.rate_by_udp};

	if (r->reading.rate_mbit[from] > 0) {
		only.rate_mbit[from] = r->reading.rate_mbit[from];
		add_row(r, &(struct row){from ? "rate from target"
					      : "rate from source",
					 "Mbit/s", r->p->rate_mbit,
					 r->reading.rate_mbit[from],
					 r->p->rate_mbit > 0
						 ? link_check(r->p, &only, NULL)
						 : 1});
		only.rate_mbit[from] = 0;
	}
	if (r->reading.loss_sent[from]) {
		only.loss_sent[from] = r->reading.loss_sent[from];
		only.loss_lost[from] = r->reading.loss_lost[from];
		add_row(r, &(struct row){from ? "loss from target"
					      : "loss from source",
					 "%", r->p->loss_pct,
					 100 * (double)only.loss_lost[from] /
						 (double)only.loss_sent[from],
					 link_check(r->p, &only, NULL)});
	}
}

static void report_emulator(struct report *r)
{
	const struct emulate_stats *s = &r->stats;

	if (!r->has_stats)
		return;
	for (unsigned i = 0; i < 2; i++) {
		const struct line_stats *n = &s->lines[i];

		(void)printf("to the %s: %" PRIu64 " segments in, %" PRIu64
			     " out, lost %" PRIu64 ", queue full %" PRIu64
			     ", most waiting %" PRIu64 " KiB\n"
			     "  handed over late by p50 %.1f, p99 %.1f, "
			     "max %.1f us\n",
			     i ? "target" : "source", n->in_segments,
			     n->out_segments, n->lost, n->queue_drops,
			     n->backlog_max_bytes / 1024,
			     (double)line_late_ns(n, 0.5) / 1e3,
			     (double)line_late_ns(n, 0.99) / 1e3,
			     (double)n->late_max_ns / 1e3);
	}
	(void)printf("emulator: %.3f s CPU, %s\n", (double)s->cpu_ns / 1e9,
		     s->realtime ? "not SCHED_FIFO (refused)" : "SCHED_FIFO");
}

static void print_head(const struct report *r)
{
	char text[160];

	link_profile_format(r->p, text, sizeof(text));
	(void)printf("link %s: %s\ndriver %s, congestion %s, own RTT %.3f ms%s"
		     "\n\n%-22s %12s %12s  %-7s\n",
		     r->p->name, text, link_driver_name(link_driver(r->l)),
		     r->settings.congestion, r->settings.base_rtt_ms,
		     r->settings.base_compensated ? " (compensated)" : "", "",
		     "asked", "measured", "unit");
}

static json_t *lines_json(const struct report *r)
{
	json_t *lines = json_array();

	for (unsigned i = 0; r->has_stats && i < 2; i++) {
		const struct line_stats *n = &r->stats.lines[i];

		(void)json_array_append_new(
			lines,
			json_pack(
				"{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,"
				"s:I,s:I,s:I}",
				"to", i ? "target" : "source", "in_segments",
				(json_int_t)n->in_segments, "in_bytes",
				(json_int_t)n->in_bytes, "out_segments",
				(json_int_t)n->out_segments, "out_bytes",
				(json_int_t)n->out_bytes, "lost",
				(json_int_t)n->lost, "queue_drops",
				(json_int_t)n->queue_drops, "memory_drops",
				(json_int_t)n->memory_drops,
				"backlog_max_bytes",
				(json_int_t)n->backlog_max_bytes, "late_p50_ns",
				(json_int_t)line_late_ns(n, 0.5), "late_p99_ns",
				(json_int_t)line_late_ns(n, 0.99),
				"late_max_ns", (json_int_t)n->late_max_ns,
				"cut_drops", (json_int_t)n->cut_drops));
	}
	return lines;
}

static void print_json(const struct report *r)
{
	char text[160];
	json_t *j;

	link_profile_format(r->p, text, sizeof(text));
	j = json_pack("{s:s,s:s,s:s,s:s,s:f,s:b,s:I,s:I,s:O,s:o,s:b}",
		      "profile", r->p->name, "parameters", text, "driver",
		      link_driver_name(link_driver(r->l)), "congestion",
		      r->settings.congestion, "base_rtt_ms",
		      r->settings.base_rtt_ms, "realtime",
		      r->settings.realtime == 0, "tcp_rmem_max",
		      (json_int_t)r->settings.rmem_max, "tcp_wmem_max",
		      (json_int_t)r->settings.wmem_max, "rows", r->rows,
		      "lines", lines_json(r), "ok", !r->failed);
	if (j)
		(void)json_dumpf(j, stdout, JSON_INDENT(2));
	(void)printf("\n");
	json_decref(j);
}

static int measure_all(struct report *r, const struct check_config *c)
{
	struct link_measurement what = {.rtt_probes = (unsigned)c->probes,
					.rate_directions = c->no_rate	? 0
							   : c->one_way ? 1
									: 2,
					.loss_packets =
						(unsigned)c->loss_packets};
	int rc = link_read_settings(r->l, LINK_SOURCE, &r->settings);

	if (!rc)
		rc = link_measure(r->l, &what, &r->reading);
	if (!rc)
		rc = link_healthy(r->l);
	if (!rc && link_driver(r->l) == LINK_EMULATED) {
		rc = link_emulator_stats(r->l, &r->stats);
		r->has_stats = true;
	}
	return rc;
}

static int check(const struct link_profile *p, const struct check_config *c)
{
	static const char program[] = "memsync-bench link check";
	struct link_options options = {.driver = (enum link_driver)c->driver,
				       .congestion = c->congestion};
	struct report r = {.p = p, .json = c->json};
	int rc = link_open(p, &options, &r.l);

	if (rc)
		return link_cmd_fail(program, rc);
	rc = measure_all(&r, c);
	if (rc) {
		rc = link_cmd_fail(program, rc);
		link_close(r.l);
		return rc;
	}
	r.rows = json_array();
	if (!r.json)
		print_head(&r);
	report_rtt(&r);
	report_direction(&r, LINK_SOURCE);
	report_direction(&r, LINK_TARGET);
	if (r.json)
		print_json(&r);
	else
		report_emulator(&r);
	json_decref(r.rows);
	link_close(r.l);
	return r.failed ? LINK_EXIT_FAILED : 0;
}

int link_cmd_check(int argc, char **argv)
{
	static const struct ms_opt_command command = {
		.program = "memsync-bench link check",
		.synopsis = "[OPTIONS] PROFILE",
		.summary = "Make a link, measure it and compare it with what "
			   "was asked",
		.epilogue =
			"Exit code: 0 as asked, 1 not, 77 the driver cannot "
			"run here.",
		.table = check_table,
		.operands_min = 1,
		.operands_max = 1,
	};
	struct check_config config = {.driver = 0};
	struct link_profile profile;
	struct ms_opt_result result;
	int rc = ms_opt_parse(&command, &config, argc, argv, &result);

	if (rc) {
		rc = rc < 0 ? LINK_EXIT_USAGE : 0;
	} else if (result.dump_config) {
		ms_opt_dump(check_table, &config, stdout);
	} else if (link_profile_parse(argv[result.first_operand], &profile)) {
		(void)link_cmd_fail(command.program, -EINVAL);
		rc = LINK_EXIT_USAGE;
	} else {
		rc = check(&profile, &config);
	}
	ms_opt_release(check_table, &config);
	return rc;
}

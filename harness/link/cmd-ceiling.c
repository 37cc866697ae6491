/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `memsync-bench link ceiling`: what a driver carries on this machine when it
 * is not asked to shape, and how exact its delay is.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/link/cmd-internal.h"
#include "harness/link/measure.h"

#define FLOOD_NS (500 * MS_NS_PER_MS)

struct ceiling_config {
	int driver;
};

static const struct ms_opt ceiling_table[] = {
	MS_OPT_CHOICE(struct ceiling_config, driver, "driver", 'd', "auto",
		      link_driver_choices, "how the link is emulated"),
	MS_OPT_END};

/* Small packets as fast as one thread sends and receives them. */
static int packet_rate(struct link *l, double *ret_per_s)
{
	static const char payload[20];
	uint64_t start = ms_now_ns();
	uint64_t now = start;
	uint64_t got = 0;
	int near = -1;
	int far = -1;
	int r = link_udp_pair(l, LINK_SOURCE, &near, &far);

	if (r)
		return r;
	while (now - start < FLOOD_NS) {
		for (int i = 0; i < 32; i++)
			(void)!send(near, payload, sizeof(payload), 0);
		while (recv(far, NULL, 0, MSG_TRUNC) >= 0)
			got++;
		now = ms_now_ns();
	}
	(void)close(near);
	(void)close(far);
	*ret_per_s = (double)got * 1e9 / (double)(now - start);
	return 0;
}

static int show_bulk(struct link *l)
{
	static const struct link_bulk how = {
		.connections = 2, .warm_s = 0.3, .window_s = 1};
	struct link_bulk_result bulk;
	double packets = 0;
	int r = link_bulk(l, &how, &bulk);

	if (!r)
		(void)printf("bulk TCP, unshaped        %10.2f Gbit/s\n",
			     bulk.goodput_mbit / 1e3);
	if (!r)
		r = packet_rate(l, &packets);
	if (!r)
		(void)printf("packets of 48 bytes       %10.0f /s\n", packets);
	if (!r)
		(void)printf("accepted without a proof  %10.2f Gbit/s (faster: "
			     "if it carries twice as much when asked)\n",
			     LINK_RATE_TRUSTED_MBIT / 1e3);
	return r;
}

static int show_rtt(struct link *l, double rtt_ms)
{
	struct link_profile p = *link_profile(l);
	struct link_reading reading = {.rtt_n = 0};
	int r;

	p.rtt_ms = rtt_ms;
	r = link_set(l, &p);
	if (!r)
		r = link_probe_rtt(l, 200, &reading);
	if (!r)
		(void)printf(
			"RTT %3g ms, idle            p50 %+.3f  p99 %+.3f  "
			"max %+.3f ms off\n",
			rtt_ms, reading.rtt_ms_p50 - rtt_ms,
			reading.rtt_ms_p99 - rtt_ms,
			reading.rtt_ms_max - rtt_ms);
	return r;
}

static int ceiling(enum link_driver driver)
{
	static const double rtts[] = {1, 5, 20, 100};
	static const char program[] = "memsync-bench link ceiling";
	struct link_options options = {.driver = driver};
	struct link_settings settings;
	struct link_profile none;
	struct link *l;
	int r = link_profile_parse("none", &none);

	if (!r)
		r = link_open(&none, &options, &l);
	if (r)
		return link_cmd_fail(program, r);
	r = link_read_settings(l, LINK_SOURCE, &settings);
	if (!r)
		(void)printf("driver                    %10s\n"
			     "own RTT                   %10.3f ms%s\n"
			     "scheduling                %10s\n",
			     link_driver_name(link_driver(l)),
			     settings.base_rtt_ms,
			     settings.base_compensated
				     ? " (taken off the delay asked for)"
				     : "",
			     settings.realtime ? "ordinary" : "SCHED_FIFO");
	for (size_t i = 0; i < sizeof(rtts) / sizeof(rtts[0]) && !r; i++)
		r = show_rtt(l, rtts[i]);
	if (!r)
		r = link_set(l, &none);
	/* last: a whole CPU at SCHED_FIFO is throttled by the kernel then */
	if (!r)
		r = show_bulk(l);
	if (r)
		r = link_cmd_fail(program, r);
	link_close(l);
	return r;
}

int link_cmd_ceiling(int argc, char **argv)
{
	static const struct ms_opt_command command = {
		.program = "memsync-bench link ceiling",
		.synopsis = "[OPTIONS]",
		.summary = "Measure what a link driver carries on this machine",
		.table = ceiling_table,
	};
	struct ceiling_config config = {.driver = 0};
	struct ms_opt_result result;
	int rc = ms_opt_parse(&command, &config, argc, argv, &result);

	if (rc)
		rc = rc < 0 ? LINK_EXIT_USAGE : 0;
	else if (result.dump_config)
		ms_opt_dump(ceiling_table, &config, stdout);
	else
		rc = ceiling((enum link_driver)config.driver);
	ms_opt_release(ceiling_table, &config);
	return rc;
}

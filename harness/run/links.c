/* SPDX-License-Identifier: Apache-2.0 */
/* One link at a time, read back before each run; see links.h. */
#include "harness/run/links.h"

#include "approaches/common/util/err.h"
#include "harness/link/measure.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <string.h>

enum {
	RTT_PROBES = 31,
	TRIES = 3, /* another program may have been in the way */
};

/* In percent of the rate asked for. */
#define RATE_OFF_PCT 2.0

static json_t *settings_of(struct link *l, unsigned end)
{
	struct link_settings s;

	if (link_read_settings(l, end, &s))
		return json_pack("{s:s}", "error", ms_err_text());
	return json_pack("{s:s,s:I,s:I,s:i,s:i,s:b,s:f,s:s}", "congestion",
			 s.congestion, "rmem_max", (json_int_t)s.rmem_max,
			 "wmem_max", (json_int_t)s.wmem_max, "no_metrics_save",
			 s.no_metrics_save, "slow_start_after_idle",
			 s.slow_start_after_idle, "base_compensated",
			 s.base_compensated, "base_rtt_ms", s.base_rtt_ms,
			 "realtime",
			 s.realtime ? ms_errno_text(s.realtime) : "yes");
}

static void note_settings(struct links *l)
{
	json_t *one =
		json_pack("{s:s, s:o, s:o, s:[]}", "driver",
			  link_driver_name(link_driver(l->link)), "source",
			  settings_of(l->link, LINK_SOURCE), "target",
			  settings_of(l->link, LINK_TARGET), "rates");

	if (!l->settings)
		l->settings = json_array();
	(void)json_array_append_new(l->settings, one);
	l->changed = true;
}

/* Refused means only that it runs where the scheduler wants. */
static void pin(const struct links *l)
{
	pid_t pid = link_emulator_pid(l->link);

	if (pid > 0 && l->cpus)
		(void)sched_setaffinity(pid, sizeof(*l->cpus), l->cpus);
}

static int open_link(struct links *l, const struct experiment *e,
		     enum link_driver driver,
		     const struct link_profile *profile)
{
	struct link_options options = {
		.driver = driver, .congestion = e->congestion, .seed = e->seed};
	int err = link_open(profile, &options, &l->link);

	if (err)
		return err;
	l->asked = driver;
	(void)snprintf(l->congestion, sizeof(l->congestion), "%s",
		       e->congestion);
	l->n_rates = 0;
	pin(l);
	note_settings(l);
	return 0;
}

/* Rates are read at RTT 0, where it takes the shortest time. */
static int measure_rate(struct links *l, const struct link_profile *profile,
			double *ret)
{
	struct link_profile plain = *profile;
	struct link_measurement what = {.rate_directions = 1};
	struct link_tolerance off = {.rate_pct = RATE_OFF_PCT};
	struct link_reading reading = {.rtt_n = 0};
	json_t *last;
	int err;

	plain.rtt_ms = 0;
	plain.jitter_ms = 0;
	err = link_set(l->link, &plain);
	for (int i = 0; i < TRIES; i++) {
		if (!err)
			err = link_measure(l->link, &what, &reading);
		if (!err)
			err = link_check(&plain, &reading, &off);
		if (err != -ERANGE)
			break;
		if (i + 1 < TRIES)
			err = 0;
	}
	if (err)
		return err;
	*ret = reading.rate_mbit[0];
	last = json_array_get(l->settings, json_array_size(l->settings) - 1);
	(void)json_array_append_new(
		json_object_get(last, "rates"),
		json_pack("{s:f,s:f,s:f}", "asked_mbit", profile->rate_mbit,
			  "measured_mbit", *ret, "goodput_mbit",
			  reading.goodput_mbit[0]));
	l->changed = true;
	return 0;
}

static int rate_of(struct links *l, const struct link_profile *profile,
		   double *ret)
{
	double measured = 0;
	int err;

	if (profile->rate_mbit <= 0)
		return 0;
	for (size_t i = 0; i < l->n_rates; i++) {
		if (l->rates[i].asked != profile->rate_mbit)
			continue;
		*ret = l->rates[i].measured;
		return 0;
	}
	err = measure_rate(l, profile, &measured);
	if (err)
		return err;
	*ret = measured;
	if (l->n_rates < LINKS_RATES_MAX) {
		l->rates[l->n_rates].asked = profile->rate_mbit;
		l->rates[l->n_rates++].measured = measured;
	}
	return 0;
}

static int read_rtt(struct links *l, const struct link_profile *profile,
		    double *ret)
{
	struct link_measurement what = {.rtt_probes = RTT_PROBES};
	struct link_tolerance off = {
		.rtt_ms = fmax(ROW_RTT_OFF_MS,
			       profile->rtt_ms * ROW_RTT_OFF_SHARE)};
	struct link_reading reading = {.rtt_n = 0};
	int err = 0;

	for (int i = 0; i < TRIES; i++) {
		err = link_measure(l->link, &what, &reading);
		if (!err)
			err = link_check(profile, &reading, &off);
		/* A row also has to fit without the probe's time on the wire.
		 */
		if (!err && fabs(reading.rtt_ms_p50 - profile->rtt_ms) >
				    off.rtt_ms + profile->jitter_ms)
			err = ms_err_plain(-ERANGE,
					   "link: RTT is %.3f ms at the "
					   "median, more than %.3f ms off "
					   "rtt=%gms",
					   reading.rtt_ms_p50, off.rtt_ms,
					   profile->rtt_ms);
		if (err != -ERANGE)
			break;
	}
	if (!err)
		*ret = reading.rtt_ms_p50;
	return err;
}

int links_use(struct links *l, const struct experiment *e,
	      enum link_driver driver, const struct link_profile *profile,
	      struct link_readback *ret)
{
	struct link_readback r = {.rtt_ms = NAN, .rate_mbit = NAN};
	int err = 0;

	if (l->link &&
	    (l->asked != driver || strcmp(l->congestion, e->congestion) != 0 ||
	     link_profile(l->link)->mtu != profile->mtu))
		links_close(l);
	if (!l->link)
		err = open_link(l, e, driver, profile);
	if (!err && link_driver(l->link) != LINK_SLEEP) {
		err = rate_of(l, profile, &r.rate_mbit);
		if (!err)
			err = link_set(l->link, profile);
		if (!err)
			err = read_rtt(l, profile, &r.rtt_ms);
	}
	if (!err)
		*ret = r;
	return err;
}

void links_close(struct links *l)
{
	link_close(l->link);
	l->link = NULL;
}

enum row_link links_row_of(enum link_driver driver)
{
	static const enum row_link drivers[] = {
		[LINK_AUTO] = ROW_LINK_NONE,
		[LINK_EMULATED] = ROW_LINK_EMULATED,
		[LINK_NETEM] = ROW_LINK_NETEM,
		[LINK_SLEEP] = ROW_LINK_SLEEP,
	};

	return drivers[driver];
}

enum row_link links_row_driver(const struct links *l)
{
	return l->link ? links_row_of(link_driver(l->link)) : ROW_LINK_NONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The netem driver: one qdisc on the router's device towards each host, with
 * half of the delay and jitter each, and a packet limit that leaves room for
 * what is on its way besides the queue (netem's limit counts both).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/netns.h"

#define UNLIMITED_MBIT 20000.0 /* for the packet limit only */
#define LIMIT_MIN      1000.0

static double limit_packets(const struct link_profile *p)
{
	double rate = p->rate_mbit > 0 ? p->rate_mbit : UNLIMITED_MBIT;
	double way_s = (p->rtt_ms + p->jitter_ms) / 2 / 1e3;
	double bytes = rate * 1e6 / 8 * way_s + (double)link_queue_bytes(p);
	double n = bytes / (p->mtu + LINK_FRAME_BYTES) + 1;

	/* without a rate there is no queue to be bounded */
	if (p->rate_mbit <= 0 && n < LIMIT_MIN)
		return LIMIT_MIN;
	return n;
}

void link_netem_format(const struct link_profile *profile, bool cut,
		       struct link_netem_args *ret)
{
	unsigned n = 0;

	ret->argv[n++] = "limit";
	(void)snprintf(ret->text[0], sizeof(ret->text[0]), "%.0f",
		       limit_packets(profile));
	ret->argv[n++] = ret->text[0];
	if (profile->rtt_ms > 0) {
		ret->argv[n++] = "delay";
		(void)snprintf(ret->text[1], sizeof(ret->text[1]), "%.0fus",
			       profile->rtt_ms * 1e3 / 2);
		ret->argv[n++] = ret->text[1];
	}
	if (profile->jitter_ms > 0) {
		(void)snprintf(ret->text[2], sizeof(ret->text[2]), "%.0fus",
			       profile->jitter_ms * 1e3 / 2);
		ret->argv[n++] = ret->text[2];
	}
	if (cut || profile->loss_pct > 0) {
		ret->argv[n++] = "loss";
		(void)snprintf(ret->text[3], sizeof(ret->text[3]), "%.6f%%",
			       cut ? 100 : profile->loss_pct);
		ret->argv[n++] = ret->text[3];
	}
	if (profile->rate_mbit > 0) {
		ret->argv[n++] = "rate";
		(void)snprintf(ret->text[4], sizeof(ret->text[4]), "%.0fbit",
			       profile->rate_mbit * 1e6);
		ret->argv[n++] = ret->text[4];
	}
	ret->argv[n] = NULL;
}

static int replace_qdisc(const char *device, const struct link_netem_args *a)
{
	const char *argv[8 + LINK_NETEM_ARGS] = {
		"tc", "qdisc", "replace", "dev", device, "root", "netem"};
	unsigned n = 7;

	for (unsigned i = 0; a->argv[i]; i++)
		argv[n++] = a->argv[i];
	argv[n] = NULL;
	return netns_spawn(argv);
}

static int try_qdisc(void *arg)
{
	return replace_qdisc("lo", arg);
}

int link_netem_supported(void)
{
	struct link_profile p = {.rtt_ms = 2, .rate_mbit = 1, .mtu = 1500};
	struct link_netem_args args;
	int fd = -1;
	int r = netns_new(&fd);

	if (r)
		return r;
	link_netem_format(&p, false, &args);
	r = netns_run(fd, try_qdisc, &args);
	(void)close(fd);
	if (r) {
		return ms_err_add(-EOPNOTSUPP,
				  "this kernel refuses a netem qdisc");
	}
	return 0;
}

struct request {
	struct link *l;
	struct link_netem_args args;
};

static int set_all(void *arg)
{
	const struct request *q = arg;
	int r = 0;

	for (unsigned i = 0; i < q->l->hosts && !r; i++) {
		char name[16];

		link_router_device(i, name);
		r = replace_qdisc(name, &q->args);
	}
	return r;
}

int link_netem_set(struct link *l, const struct link_profile *profile, bool cut)
{
	struct link_profile shaped = *profile;
	double own_ms = 2 * (double)l->compensate_ns / 1e6;
	struct request q = {.l = l};

	shaped.rtt_ms -= own_ms < shaped.rtt_ms ? own_ms : shaped.rtt_ms;
	link_netem_format(&shaped, cut, &q.args);
	return netns_run(l->router_ns, set_all, &q);
}

int link_netem_open(struct link *l, const struct link_options *options)
{
	struct link_profile plain = {.rtt_ms = (double)LINK_CALIBRATE_RTT_NS /
					       1e6,
				     .mtu = l->profile.mtu};
	int r = 0;

	if (!options->skip_calibration) {
		r = link_netem_set(l, &plain, false);
		if (!r)
			r = link_calibrate(l);
	}
	return r ? r : link_netem_set(l, &l->profile, false);
}

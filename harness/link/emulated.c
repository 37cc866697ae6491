/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated driver of a link: a TUN device in each namespace, the emulator
 * process between them, the calibration of its own latency, and the refusal of
 * what it cannot carry.
 */
#include <errno.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"
#include "harness/link/netns.h"

/*
 * Packets a device holds until the emulator reads them, which is at once but
 * for scheduling. Reading late must not lose any: the queue is the emulator's.
 */
#define DEVICE_QUEUE_PACKETS 20000

#define UNLIMITED_BPS	 10e9 /* for the memory only */
#define MEMORY_EXTRA	 (4.0 * 1048576)
#define MEMORY_MAX	 (512.0 * 1048576)
#define MEMORY_UNLIMITED (128.0 * 1048576) /* acts as the queue then */
#define CEILING_SECONDS	 0.4
#define CEILING_FACTOR	 2.0

struct device {
	const struct link *l;
	unsigned end;
	int fd;
};

static int make_device(void *arg)
{
	struct device *d = arg;
	struct netif_config config = {
		.name = LINK_INTERFACE,
		.address = link_host_address(d->end),
		.mtu = d->l->profile.mtu,
		.queue_packets = DEVICE_QUEUE_PACKETS,
	};
	int r = tun_open(LINK_INTERFACE, &d->fd);

	if (!r)
		r = netif_up(&config);
	if (!r)
		r = netif_default_route(LINK_INTERFACE, 0, d->l->congestion);
	return r;
}

/* What one direction can have in flight, with room for small packets. */
static double memory_bytes(const struct link_profile *p)
{
	double bps = p->rate_mbit > 0 ? p->rate_mbit * 1e6 : UNLIMITED_BPS;
	double way_s = (p->rtt_ms + p->jitter_ms) / 2 / 1e3;
	double bytes = bps / 8 * way_s + (double)link_queue_bytes(p);

	bytes = bytes * 1.5 + MEMORY_EXTRA;
	if (p->rate_mbit <= 0 && bytes > MEMORY_UNLIMITED)
		return MEMORY_UNLIMITED;
	return bytes;
}

static struct shaper_params params_of(const struct link *l,
				      const struct link_profile *p)
{
	struct shaper_params s = {
		.rate_bps = (uint64_t)(p->rate_mbit * 1e6),
		.delay_ns = (uint64_t)(p->rtt_ms * 1e6 / 2),
		.jitter_ns = (uint64_t)(p->jitter_ms * 1e6 / 2),
		.queue_bytes = link_queue_bytes(p),
		.loss = p->loss_pct / 100,
	};

	s.delay_ns -=
		s.delay_ns < l->compensate_ns ? s.delay_ns : l->compensate_ns;
	return s;
}

int link_emulated_set(struct link *l, const struct link_profile *profile)
{
	struct shaper_params s = params_of(l, profile);
	double bytes = memory_bytes(profile);

	if (bytes > MEMORY_MAX)
		return ms_err(-EINVAL,
			      "link: %.0f MiB in flight in a "
			      "direction is more than the emulator "
			      "holds (%.0f MiB)",
			      bytes / 1048576, MEMORY_MAX / 1048576);
	return emulator_set(&l->emulator, &s, (size_t)bytes);
}

static int start(struct link *l)
{
	struct emulate_config config = {
		.hosts = l->hosts,
		.seed = l->seed,
		.memory_bytes = (size_t)8 << 20,
		.params = {.delay_ns = LINK_CALIBRATE_RTT_NS / 2},
	};
	unsigned made = 0;
	int r = 0;

	for (unsigned i = 0; i < l->hosts && !r; i++) {
		struct device d = {.l = l, .end = i, .fd = -1};

		r = netns_run(l->ns[i], make_device, &d);
		config.addresses[i] = link_host_address(i);
		config.tun_fds[i] = d.fd;
		made += d.fd >= 0;
	}
	if (!r)
		r = emulator_start(&config, &l->emulator);
	for (unsigned i = 0; i < made; i++)
		(void)close(config.tun_fds[i]);
	return r;
}

/* A rate that nobody has vouched for: unshaped, twice of it must go through. */
static int prove_rate(struct link *l, double mbit)
{
	static const struct link_bulk how = {.from = LINK_SOURCE,
					     .connections = 2,
					     .warm_s = 0.2,
					     .window_s = CEILING_SECONDS};
	struct shaper_params unshaped = {.rate_bps = 0};
	struct link_bulk_result got = {.goodput_mbit = 0};
	int r = emulator_set(&l->emulator, &unshaped, 0);

	if (!r)
		r = link_bulk(l, &how, &got);
	if (r)
		return ms_err_add(r, "ceiling");
	if (got.goodput_mbit < mbit * CEILING_FACTOR)
		return ms_err(-EINVAL,
			      "link: %.0f Mbit/s is beyond the emulated "
			      "driver here: unshaped it carries %.0f Mbit/s, "
			      "and %.0f times the rate is asked of it",
			      mbit, got.goodput_mbit, CEILING_FACTOR);
	return 0;
}

int link_emulated_open(struct link *l, const struct link_options *options)
{
	double trusted = options->rate_trusted_mbit;
	int r = start(l);

	if (trusted <= 0)
		trusted = LINK_RATE_TRUSTED_MBIT;
	if (!r && !options->skip_calibration)
		r = link_calibrate(l);
	if (!r && l->profile.rate_mbit > trusted)
		r = prove_rate(l, l->profile.rate_mbit);
	return r ? r : link_emulated_set(l, &l->profile);
}

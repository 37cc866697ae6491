/* SPDX-License-Identifier: Apache-2.0 */
/* Link profiles: names, parameters, refusals, arithmetic. */
#include "harness/link/profile.h"

#include <errno.h>
#include <math.h>

#include "approaches/common/util/err.h"
#include "tests/check.h"

static void near(double got, double want)
{
	if (fabs(got - want) <= 1e-9 + fabs(want) * 1e-9)
		return;
	(void)fprintf(stderr, "%.12g, expected %.12g\n", got, want);
	exit(1);
}

static void names_and_overrides(void)
{
	struct link_profile p;

	CHECK_EQ(link_profile_parse("wan-20", &p), 0);
	CHECK_STR(p.name, "wan-20");
	near(p.rtt_ms, 20);
	near(p.rate_mbit, 1000);
	CHECK_EQ(p.mtu, 1500);
	CHECK_EQ(link_profile_parse("wan-20,loss=0.1%,rate=300M", &p), 0);
	CHECK_STR(p.name, "custom");
	near(p.rtt_ms, 20);
	near(p.loss_pct, 0.1);
	near(p.rate_mbit, 300);
}

static void free_parameters(void)
{
	struct link_profile p;

	CHECK_EQ(link_profile_parse("rtt=20ms,rate=100M,jitter=2ms,loss=0.1%,"
				    "queue=1M,mtu=1400",
				    &p),
		 0);
	near(p.rtt_ms, 20);
	near(p.rate_mbit, 100);
	near(p.jitter_ms, 2);
	near(p.loss_pct, 0.1);
	CHECK_EQ(p.queue_bytes, 1 << 20);
	CHECK_EQ(p.mtu, 1400);
	CHECK_EQ(link_profile_parse("rtt=500us", &p), 0);
	near(p.rtt_ms, 0.5);
	CHECK_EQ(link_profile_parse("rtt=7", &p), 0);
	near(p.rtt_ms, 7);
	CHECK_EQ(link_profile_parse("rate=2.5G", &p), 0);
	near(p.rate_mbit, 2500);
	CHECK_EQ(link_profile_parse("rate=0", &p), 0);
	near(p.rate_mbit, 0);
	CHECK_EQ(link_profile_parse("rate=64kbit", &p), 0);
	near(p.rate_mbit, 0.064);
}

static void refused(const char *text, const char *part)
{
	struct link_profile p = {.name = "untouched"};

	CHECK_EQ(link_profile_parse(text, &p), -EINVAL);
	CHECK_HAS(ms_err_text(), part);
	CHECK_STR(p.name, "untouched");
}

static void refusals(void)
{
	refused("", "empty");
	refused("wan", "no profile");
	refused("rtt=20ms,wan-20", "KEY=VALUE");
	refused("delay=20ms", "unknown key");
	refused("rtt=fast", "rtt");
	refused("rtt=-1", "rtt");
	refused("rtt=20s", "10 s");
	refused("rtt=nan", "rtt");
	refused("rate=100X", "rate");
	refused("rate=1", "8 kbit/s");
	refused("rate=200G", "100 Gbit/s");
	refused("loss=101", "loss");
	refused("loss=-1", "loss");
	refused("loss=nan", "loss");
	refused("loss=0.1%%", "loss");
	refused("jitter=2ms", "jitter");
	refused("queue=2G", "queue");
	refused("queue=1000", "no full packet");
	refused("mtu=100", "mtu");
	refused("mtu=9001", "mtu");
	refused("rtt=0000000000000000000000000000000000000000000000000000000000"
		"000000000000000000000000000000000000000000000000000000000000"
		"000000000000000000000000000000000000000000000000000000000000"
		"000000000000000000000000000000000000000000000000000000000000"
		"0000000000000000000000000000000000000",
		"too long");
}

static void text_comes_back(void)
{
	const struct link_profile *listed;
	struct link_profile p;
	char text[160];
	size_t n = 0;

	for (; (listed = link_profile_list(n, NULL)); n++) {
		CHECK_EQ(link_profile_parse(listed->name, &p), 0);
		link_profile_format(&p, text, sizeof(text));
		CHECK_EQ(link_profile_parse(text, &p), 0);
		near(p.rtt_ms, listed->rtt_ms);
		near(p.rate_mbit, listed->rate_mbit);
		near(p.jitter_ms, listed->jitter_ms);
		near(p.loss_pct, listed->loss_pct);
		CHECK_EQ(p.mtu, listed->mtu);
	}
	CHECK(n >= 8);
}

static void arithmetic(void)
{
	struct link_profile p;

	CHECK_EQ(link_profile_parse("rtt=20,rate=1G", &p), 0);
	near(link_goodput_mbit(&p), 1000.0 * 1448 / 1514);
	CHECK_EQ(link_bdp_bytes(&p), 2500000);
	CHECK_EQ(link_queue_bytes(&p), 2500000);
	near(link_serialize_ms(&p, 1500), 1514 * 8 / 1e6);
	CHECK_EQ(link_profile_parse("rate=1G", &p), 0);
	CHECK_EQ(link_queue_bytes(&p), 625000); /* 5 ms */
	CHECK_EQ(link_profile_parse("rtt=20,rate=1M", &p), 0);
	CHECK_EQ(link_queue_bytes(&p), 128 << 10);
	CHECK_EQ(link_profile_parse("rtt=20,rate=1G,queue=64K", &p), 0);
	CHECK_EQ(link_queue_bytes(&p), 64 << 10);
	CHECK_EQ(link_profile_parse("rtt=20", &p), 0);
	CHECK_EQ(link_queue_bytes(&p), 0);
	near(link_goodput_mbit(&p), 0);
	near(link_serialize_ms(&p, 1500), 0);
}

int main(void)
{
	names_and_overrides();
	free_parameters();
	refusals();
	text_comes_back();
	arithmetic();
	return 0;
}

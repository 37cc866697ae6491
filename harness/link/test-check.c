/* SPDX-License-Identifier: Apache-2.0 */
/* Judging a reading, and the arguments of the netem driver. */
#include <errno.h>
#include <math.h>

#include "approaches/common/util/err.h"
#include "harness/link/link-internal.h"
#include "harness/link/measure.h"
#include "tests/check.h"

static void binomial(void)
{
	/* against values from tables */
	CHECK(fabs(link_binomial_p(10, 0, 0.5) - 2.0 / 1024) < 1e-9);
	CHECK(fabs(link_binomial_p(10, 1, 0.5) - 22.0 / 1024) < 1e-9);
	CHECK(fabs(link_binomial_p(10, 9, 0.5) - 22.0 / 1024) < 1e-9);
	CHECK(link_binomial_p(10, 5, 0.5) == 1);
	CHECK(fabs(link_binomial_p(1000, 20, 0.01) - 2 * 0.0032912) < 1e-3);
	CHECK(link_binomial_p(20000, 200, 0.01) > 0.9);
	CHECK(link_binomial_p(20000, 260, 0.01) < 0.001);
	CHECK(link_binomial_p(20000, 150, 0.01) < 0.001);
	CHECK(link_binomial_p(100, 0, 0) == 1);
	CHECK(link_binomial_p(100, 1, 0) == 0);
	CHECK(link_binomial_p(100, 100, 1) == 1);
	CHECK(link_binomial_p(100, 99, 1) == 0);
}

static void refused(const struct link_profile *p, struct link_reading r,
		    const char *part)
{
	CHECK_EQ(link_check(p, &r, NULL), -ERANGE);
	CHECK_HAS(ms_err_text(), part);
}

static void judging(void)
{
	struct link_profile p;
	struct link_reading r = {.rtt_n = 100,
				 .rtt_ms_p50 = 20.05,
				 .base_rtt_ms = 0.1,
				 .rate_mbit = {1005, 996},
				 .loss_sent = {1000, 1000}};
	struct link_reading bad = r;
	struct link_tolerance strict = {.rtt_ms = 0.01};

	CHECK_EQ(link_profile_parse("rtt=20,rate=1G", &p), 0);
	CHECK_EQ(link_check(&p, &r, NULL), 0);
	CHECK_EQ(link_check(&p, &r, &strict), -ERANGE);
	bad.rtt_ms_p50 = 20.2;
	refused(&p, bad, "RTT is 20.200 ms");
	bad.rtt_ms_p50 = 19.8;
	refused(&p, bad, "RTT is 19.800 ms");
	bad = r;
	bad.rate_mbit[0] = 1011;
	refused(&p, bad, "rate from the source is 1011.000 Mbit/s, +1.10 %");
	bad = r;
	bad.rate_mbit[1] = 989;
	refused(&p, bad, "rate from the target is 989.000 Mbit/s, -1.10 %");
	bad = r;
	bad.loss_lost[1] = 1;
	refused(&p, bad, "1 of 1000 packets from the target");
	/* no RTT below the driver's own; the probe's time on a slow wire */
	CHECK_EQ(link_profile_parse("rtt=0,rate=1M", &p), 0);
	r = (struct link_reading){.rtt_n = 9, .base_rtt_ms = 0.2};
	CHECK(fabs(link_expected_rtt_ms(&p, &r) - 0.2 - 2 * 66 * 8e-3) < 1e-9);
}

static void netem_text(const char *text, bool cut, const char *want)
{
	struct link_netem_args args;
	struct link_profile p;
	char got[256] = "";
	size_t n = 0;

	CHECK_EQ(link_profile_parse(text, &p), 0);
	link_netem_format(&p, cut, &args);
	for (unsigned i = 0; args.argv[i]; i++) {
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%s",
				      i ? " " : "", args.argv[i]);
	}
	CHECK_STR(got, want);
}

/* limit: 10 ms at 1 Gbit/s on the way, 2.5 MB waiting, in 1514 bytes each */
static void netem_arguments(void)
{
	netem_text("rtt=20ms,rate=1G", false,
		   "limit 2478 delay 10000us rate 1000000000bit");
	netem_text("rtt=20ms,jitter=2ms,rate=100M,loss=0.1%,queue=1M", false,
		   "limit 784 delay 10000us 1000us loss 0.100000% "
		   "rate 100000000bit");
	netem_text("rate=10M", false, "limit 88 rate 10000000bit");
	netem_text("none", false, "limit 1000");
	netem_text("none", true, "limit 1000 loss 100.000000%");
}

int main(void)
{
	binomial();
	judging();
	netem_arguments();
	return 0;
}

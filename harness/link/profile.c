/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Link profiles: one table of named ones, the parser and the arithmetic that
 * every driver shares.
 */
#include "harness/link/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#define QUEUE_FLOOR (UINT64_C(128) << 10)
#define QUEUE_MS    5.0
#define RTT_MS_MAX  10000.0
#define RATE_MAX    100000.0 /* Mbit/s */
#define RATE_MIN    0.008    /* Mbit/s: a full frame takes 1.5 s */
#define QUEUE_MAX   (UINT64_C(1) << 30)
#define MTU_MIN	    576
#define MTU_MAX	    9000

struct named {
	struct link_profile profile;
	const char *summary;
};

#define PROFILE(nm, rtt, rate, jit, loss)                           \
	{                                                           \
		.name = (nm), .rtt_ms = (rtt), .rate_mbit = (rate), \
		.jitter_ms = (jit), .loss_pct = (loss), .mtu = 1500 \
	}

/*
 * Typical figures, not averages of any one network: what matters is that
 * everybody who says wan-20 means the same.
 */
static const struct named profiles[] = {
	{PROFILE("none", 0, 0, 0, 0), "nothing added: the driver's own path"},
	{PROFILE("lan", 0.5, 1000, 0, 0), "Gigabit Ethernet, some switches"},
	{PROFILE("lan-0", 0, 1000, 0, 0), "Gigabit Ethernet, no delay added"},
	{PROFILE("metro", 5, 1000, 0, 0), "two sites of one city"},
	{PROFILE("wan-20", 20, 1000, 0, 0), "two data centres, 2000 km"},
	{PROFILE("wan-40", 40, 1000, 0, 0), "two data centres, 4000 km"},
	{PROFILE("wan-100", 100, 1000, 0, 0), "two continents"},
	{PROFILE("broadband", 20, 100, 1, 0), "cable or fibre at home"},
	{PROFILE("wifi", 4, 200, 3, 0.1), "a busy wireless LAN"},
	{PROFILE("mobile", 50, 50, 10, 0.05), "LTE, good reception"},
	{PROFILE("lossy-mobile", 80, 20, 30, 1), "LTE, bad reception"},
	{PROFILE("satellite", 600, 50, 20, 0.1), "geostationary orbit"},
	{PROFILE("satellite-low", 40, 150, 15, 0.2), "low earth orbit"},
};

const struct link_profile *link_profile_list(size_t i, const char **ret_summary)
{
	if (i >= sizeof(profiles) / sizeof(profiles[0]))
		return NULL;
	if (ret_summary)
		*ret_summary = profiles[i].summary;
	return &profiles[i].profile;
}

static int parse_ms(const char *key, const char *text, double *ret)
{
	uint64_t ns = 0;
	char *end = NULL;
	double ms;

	errno = 0;
	ms = strtod(text, &end);
	if (end != text && !*end && errno == 0 && ms >= 0) {
		*ret = ms;
		return 0;
	}
	if (ms_parse_duration(text, &ns))
		return ms_err(-EINVAL,
			      "link: %s takes a time such as 20ms, "
			      "not \"%s\"",
			      key, text);
	*ret = (double)ns / 1e6;
	return 0;
}

static int parse_rate(const char *key, const char *text, double *ret)
{
	static const struct {
		const char *suffix;
		double mbit;
	} units[] = {{"", 1e-6},  {"k", 1e-3},	 {"K", 1e-3},
		     {"M", 1},	  {"G", 1e3},	 {"kbit", 1e-3},
		     {"mbit", 1}, {"gbit", 1e3}, {"bit", 1e-6}};
	char *end = NULL;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || errno || !(v >= 0))
		goto bad;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		*ret = v * units[i].mbit;
		return 0;
	}
bad:
	return ms_err(-EINVAL,
		      "link: %s takes bits a second such as 100M or "
		      "1G, not \"%s\"",
		      key, text);
}

static int parse_pct(const char *key, const char *text, double *ret)
{
	char *end = NULL;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || errno || !(v >= 0 && v <= 100) ||
	    (strcmp(end, "") != 0 && strcmp(end, "%") != 0))
		return ms_err(-EINVAL, "link: %s takes 0 to 100 %%, not \"%s\"",
			      key, text);
	*ret = v;
	return 0;
}

static int set_key(struct link_profile *p, const char *key, const char *value)
{
	uint64_t n = 0;

	if (!strcmp(key, "rtt"))
		return parse_ms(key, value, &p->rtt_ms);
	if (!strcmp(key, "jitter"))
		return parse_ms(key, value, &p->jitter_ms);
	if (!strcmp(key, "rate"))
		return parse_rate(key, value, &p->rate_mbit);
	if (!strcmp(key, "loss"))
		return parse_pct(key, value, &p->loss_pct);
	if (!strcmp(key, "queue")) {
		if (ms_parse_size(value, &n) || n > QUEUE_MAX)
			return ms_err(-EINVAL,
				      "link: queue takes bytes up to "
				      "1G, not \"%s\"",
				      value);
		p->queue_bytes = n;
		return 0;
	}
	if (!strcmp(key, "mtu")) {
		if (ms_parse_uint(value, &n) || n < MTU_MIN || n > MTU_MAX)
			return ms_err(-EINVAL,
				      "link: mtu takes %d to %d, not "
				      "\"%s\"",
				      MTU_MIN, MTU_MAX, value);
		p->mtu = (unsigned)n;
		return 0;
	}
	return ms_err(-EINVAL,
		      "link: unknown key \"%s\" (rtt, rate, jitter, "
		      "loss, queue, mtu)",
		      key);
}

static int check(const struct link_profile *p)
{
	if (p->rtt_ms > RTT_MS_MAX)
		return ms_err(-EINVAL, "link: rtt is more than 10 s");
	if (p->rate_mbit > RATE_MAX)
		return ms_err(-EINVAL, "link: rate is more than 100 Gbit/s");
	if (p->rate_mbit > 0 && p->rate_mbit < RATE_MIN)
		return ms_err(-EINVAL, "link: rate is less than 8 kbit/s; "
				       "0 means unlimited");
	if (p->jitter_ms > p->rtt_ms)
		return ms_err(-EINVAL,
			      "link: jitter %g ms is more than the "
			      "round-trip time of %g ms",
			      p->jitter_ms, p->rtt_ms);
	if (p->queue_bytes && p->queue_bytes < p->mtu + LINK_FRAME_BYTES)
		return ms_err(-EINVAL,
			      "link: a queue of %" PRIu64 " bytes "
			      "holds no full packet",
			      p->queue_bytes);
	return 0;
}

static int set_name(struct link_profile *p, const char *name)
{
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		if (!strcmp(profiles[i].profile.name, name)) {
			*p = profiles[i].profile;
			return 0;
		}
	}
	return ms_err(-EINVAL,
		      "link: no profile is called \"%s\" "
		      "(memsync-bench link profiles lists them)",
		      name);
}

static int parse_part(struct link_profile *p, char *part, unsigned i)
{
	char *eq = strchr(part, '=');

	if (!eq && i == 0)
		return set_name(p, part);
	if (!eq)
		return ms_err(-EINVAL, "link: \"%s\" is not KEY=VALUE", part);
	*eq = '\0';
	return set_key(p, part, eq + 1);
}

int link_profile_parse(const char *text, struct link_profile *ret)
{
	struct link_profile p = {.name = "custom", .mtu = 1500};
	char copy[256];
	char *save = NULL;
	unsigned parts = 0;
	int r;

	if (strlen(text) >= sizeof(copy))
		return ms_err(-EINVAL,
			      "link: a profile of %zu characters is "
			      "too long",
			      strlen(text));
	memcpy(copy, text, strlen(text) + 1);
	for (char *part = strtok_r(copy, ",", &save); part;
	     part = strtok_r(NULL, ",", &save), parts++) {
		r = parse_part(&p, part, parts);
		if (r)
			return r;
	}
	if (parts == 0)
		return ms_err(-EINVAL, "link: the profile is empty");
	r = check(&p);
	if (r)
		return r;
	if (parts > 1 && strcmp(p.name, "custom") != 0)
		memcpy(p.name, "custom", sizeof("custom"));
	*ret = p;
	return 0;
}

void link_profile_format(const struct link_profile *profile, char *buf,
			 size_t size)
{
	(void)snprintf(buf, size,
		       "rtt=%gms,rate=%gM,jitter=%gms,loss=%g%%,queue=%" PRIu64
		       ",mtu=%u",
		       profile->rtt_ms, profile->rate_mbit, profile->jitter_ms,
		       profile->loss_pct, profile->queue_bytes, profile->mtu);
}

double link_goodput_mbit(const struct link_profile *profile)
{
	return profile->rate_mbit * (double)(profile->mtu - LINK_TCP_HEADERS) /
	       (double)(profile->mtu + LINK_FRAME_BYTES);
}

uint64_t link_bdp_bytes(const struct link_profile *profile)
{
	return (uint64_t)(profile->rate_mbit * 1e6 / 8 * profile->rtt_ms / 1e3);
}

uint64_t link_queue_bytes(const struct link_profile *profile)
{
	uint64_t bdp = link_bdp_bytes(profile);
	uint64_t floor = (uint64_t)(profile->rate_mbit * 1e3 / 8 * QUEUE_MS);

	if (floor < QUEUE_FLOOR)
		floor = QUEUE_FLOOR;
	if (profile->rate_mbit <= 0)
		return 0;
	if (profile->queue_bytes)
		return profile->queue_bytes;
	return bdp > floor ? bdp : floor;
}

double link_serialize_ms(const struct link_profile *profile, unsigned ip_bytes)
{
	if (profile->rate_mbit <= 0)
		return 0;
	return (double)(ip_bytes + LINK_FRAME_BYTES) * 8 /
	       (profile->rate_mbit * 1e3);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual clock of one direction. Loss is decided first and costs no time
 * on the wire (as netem does it); then the queue; then the wire; then delay.
 */
#include "harness/link/shaper.h"

#include <math.h>

#define NS_BITS UINT64_C(8000000000) /* ns a byte takes at 1 bit/s */

/* splitmix64: small, fast, and every seed is a good one. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void shaper_init(struct shaper *s, uint64_t seed)
{
	uint64_t mix = seed;

	*s = (struct shaper){.params = {.rate_bps = 0}};
	s->rng_loss = next_random(&mix);
	s->rng_jitter = next_random(&mix);
}

void shaper_set(struct shaper *s, const struct shaper_params *params)
{
	double below = ldexp(params->loss, 64);

	s->params = *params;
	s->loss_all = params->loss >= 1.0;
	s->loss_below = s->loss_all || below <= 0 ? 0 : (uint64_t)below;
	s->free_rem = 0;
	s->jitter_until_ns = 0;
	s->queue_ns = 0;
	if (params->rate_bps)
		s->queue_ns =
			(uint64_t)((double)params->queue_bytes *
				   (double)NS_BITS / (double)params->rate_bps);
}

void shaper_flush(struct shaper *s)
{
	s->free_ns = 0;
	s->free_rem = 0;
	s->delivered_ns = 0;
	s->jitter_until_ns = 0;
}

/*
 * A new value at most every four amplitudes. If each segment had its own, a
 * dense stream in order would see no variation at all but the upper end of it:
 * every segment waits for the slowest before it.
 */
static int64_t jitter_at(struct shaper *s, uint64_t now_ns)
{
	uint64_t span = 2 * s->params.jitter_ns + 1;

	if (!s->params.jitter_ns)
		return 0;
	if (now_ns < s->jitter_until_ns)
		return s->jitter_now_ns;
	s->jitter_until_ns = now_ns + 4 * s->params.jitter_ns;
	s->jitter_now_ns = (int64_t)(next_random(&s->rng_jitter) % span) -
			   (int64_t)s->params.jitter_ns;
	return s->jitter_now_ns;
}

/* Put `bytes` on the wire; returns when its last bit has left. */
static uint64_t occupy(struct shaper *s, uint64_t now_ns, uint32_t bytes)
{
	uint64_t rate = s->params.rate_bps;
	uint64_t work;

	if (s->free_ns < now_ns) {
		s->free_ns = now_ns;
		s->free_rem = 0;
	}
	work = (uint64_t)bytes * NS_BITS + s->free_rem;
	s->free_ns += work / rate;
	s->free_rem = work % rate;
	return s->free_ns;
}

enum shaper_verdict shaper_offer(struct shaper *s, uint64_t now_ns,
				 uint32_t wire_bytes, uint64_t *ret_deliver_ns)
{
	uint64_t left = now_ns;
	int64_t delay;

	if (s->loss_all)
		return SHAPER_LOSS;
	if (s->loss_below && next_random(&s->rng_loss) < s->loss_below)
		return SHAPER_LOSS;
	if (s->params.rate_bps) {
		uint64_t wait = s->free_ns > now_ns ? s->free_ns - now_ns : 0;
		uint64_t own = wire_bytes * NS_BITS / s->params.rate_bps;

		if (wait && wait + own > s->queue_ns)
			return SHAPER_QUEUE;
		left = occupy(s, now_ns, wire_bytes);
	}
	delay = (int64_t)s->params.delay_ns + jitter_at(s, now_ns);
	if (delay > 0)
		left += (uint64_t)delay;
	if (left < s->delivered_ns)
		left = s->delivered_ns;
	s->delivered_ns = left;
	*ret_deliver_ns = left;
	return SHAPER_PASS;
}

uint64_t shaper_backlog(const struct shaper *s, uint64_t now_ns)
{
	if (!s->params.rate_bps || s->free_ns <= now_ns)
		return 0;
	return (uint64_t)((double)(s->free_ns - now_ns) *
			  (double)s->params.rate_bps / (double)NS_BITS);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The measured window; see window.h. */
#include "approaches/common/wire/window.h"

#include "approaches/common/util/clock.h"

#define KIB	     UINT64_C(1024)
#define WINDOW_START (2 * KIB * KIB)
#define WINDOW_MIN   (256 * KIB)
#define WINDOW_MAX   (128 * KIB * KIB)
#define ROUND_MIN_NS (4 * MS_NS_PER_MS)
/*
 * A queue that is not worth fighting: shorter than this, or than half of the
 * least round trip. It also covers what schedulers and stores add.
 */
#define QUEUE_NS  (3 * MS_NS_PER_MS)
#define RTT_AGE	  (10 * MS_NS_PER_S)
#define REGROW_NS MS_NS_PER_S

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void ms_window_init(struct ms_window *w, uint64_t fixed)
{
	*w = (struct ms_window){.fixed = fixed,
				.size = fixed ? fixed : WINDOW_START,
				.startup = true};
}

uint64_t ms_window_size(const struct ms_window *w, uint64_t now_ns)
{
	(void)now_ns;
	return w->probing ? min_u64(w->size, WINDOW_MIN) : w->size;
}

bool ms_window_open(struct ms_window *w, uint64_t now_ns)
{
	if (w->outstanding < ms_window_size(w, now_ns))
		return true;
	w->limited = true;
	return false;
}

void ms_window_sent(struct ms_window *w, uint64_t n, uint64_t now_ns)
{
	/* A round that begins after a pause must not count the pause. */
	if (w->outstanding == 0) {
		w->round_start_ns = now_ns;
		w->round_delivered = 0;
		w->limited = false;
	}
	w->outstanding += n;
}

void ms_window_dropped(struct ms_window *w, uint64_t n)
{
	w->outstanding -= min_u64(n, w->outstanding);
}

static uint64_t tolerated_queue(const struct ms_window *w)
{
	return max_u64(w->rtt_min_ns / 2, QUEUE_NS);
}

/* The bytes that `ns` nanoseconds carry at the best measured rate. */
static uint64_t bytes_in(const struct ms_window *w, uint64_t ns)
{
	return (uint64_t)((double)w->rate * (double)ns / 1e9);
}

static void note_rate(struct ms_window *w, uint64_t rate)
{
	/*
	 * A round in which the sender had nothing more to send says how little
	 * it wanted, not how much the path can carry.
	 */
	if (!w->limited && rate < w->rate)
		return;
	w->rate_last = rate;
	w->rates[w->rate_at] = rate;
	w->rate_at = (w->rate_at + 1) % MS_WINDOW_ROUNDS;
	w->rate = 0;
	for (unsigned i = 0; i < MS_WINDOW_ROUNDS; i++)
		w->rate = max_u64(w->rate, w->rates[i]);
}

/*
 * Twice what the last round trip and a little more brought: as fast as TCP's
 * slow start, but never so much that its overshoot fills the link's queue.
 */
static void start_up(struct ms_window *w)
{
	uint64_t size = 2 * bytes_in(w, w->rtt_min_ns + QUEUE_NS);

	if (size > w->size)
		w->size = min_u64(size, WINDOW_MAX);
}

static void follow(struct ms_window *w, bool queued, uint64_t now_ns)
{
	uint64_t span = w->rtt_min_ns + tolerated_queue(w);

	if (queued) {
		w->startup = false;
		w->size = max_u64(bytes_in(w, span), WINDOW_MIN);
	} else if (w->limited && !w->startup &&
		   (w->rate_last > w->rate_grown + w->rate_grown / 50 ||
		    now_ns - w->grown_ns > REGROW_NS)) {
		w->rate_grown = w->rate_last;
		w->grown_ns = now_ns;
		w->size += w->size / 8;
	}
	w->size = min_u64(w->size, WINDOW_MAX);
}

/* Has the rate stopped rising although the window did not? */
static void check_flat(struct ms_window *w, uint64_t before)
{
	if (!w->limited)
		return;
	if (w->rate_last > before + before / 4) {
		w->flat_rounds = 0;
		return;
	}
	if (++w->flat_rounds >= 3) {
		w->startup = false;
		w->rate_grown = w->rate_last;
	}
}

static void end_round(struct ms_window *w, uint64_t now_ns)
{
	uint64_t elapsed = now_ns - w->round_start_ns;
	uint64_t before = w->rate;
	bool queued = w->rtt_min_ns &&
		      w->round_rtt_ns > w->rtt_min_ns + tolerated_queue(w);

	note_rate(w, (uint64_t)((double)w->round_delivered * 1e9 /
				(double)elapsed));
	if (w->startup) {
		start_up(w);
		check_flat(w, before);
	}
	follow(w, queued, now_ns);
	w->round_start_ns = now_ns;
	w->round_delivered = 0;
	w->round_rtt_ns = 0;
	w->limited = false;
}

void ms_window_delivered(struct ms_window *w, uint64_t n, uint64_t now_ns)
{
	ms_window_dropped(w, n);
	if (w->fixed)
		return;
	w->round_delivered += n;
	if (now_ns - w->round_start_ns >= max_u64(w->rtt_ns, ROUND_MIN_NS))
		end_round(w, now_ns);
}

void ms_window_rtt(struct ms_window *w, uint64_t rtt_ns, uint64_t now_ns)
{
	w->rtt_ns = rtt_ns;
	if (!w->round_rtt_ns || rtt_ns < w->round_rtt_ns)
		w->round_rtt_ns = rtt_ns;
	if (!w->rtt_min_ns || rtt_ns <= w->rtt_min_ns) {
		w->rtt_min_ns = rtt_ns;
		w->rtt_min_at_ns = now_ns;
		w->probing = false;
		return;
	}
	if (w->fixed || now_ns - w->rtt_min_at_ns < RTT_AGE)
		return;
	/*
	 * Let the queue drain, which is more than to make the window smaller,
	 * and believe the first round trip that began after that. Else a queue
	 * of our own would pass for the path, and the window follow it upwards.
	 */
	if (!w->probing) {
		w->probing = true;
		w->drained_ns = 0;
	} else if (!w->drained_ns) {
		if (w->outstanding <= WINDOW_MIN)
			w->drained_ns = now_ns;
	} else if (now_ns - rtt_ns >= w->drained_ns) {
		w->probing = false;
		w->rtt_min_ns = rtt_ns;
		w->rtt_min_at_ns = now_ns;
	}
}

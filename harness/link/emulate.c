/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forwarding loop (see emulate.h). A turn delivers what is due, then waits
 * for packets or the next due time, then reads. There are two ways to wait:
 *
 * Quiet: ppoll. Because a timer wakes a process some tens of microseconds
 * late, the wait ends that much early and the rest is spun, as long as
 * spinning stays below a tenth of the time.
 *
 * Dense (many deliveries in the next millisecond): waking for every packet
 * would take most of a CPU that the programs under test need. So the loop runs
 * on a tick, as a network card moderates its interrupts: packets are taken to
 * have arrived half-way between two looks, and are delivered at the tick next
 * to their time. Either is off by half a tick at most, and by nothing in the
 * mean; rate and order are not touched.
 */
#include "harness/link/emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "approaches/common/util/clock.h"
#include "harness/link/profile.h"

#define DELIVER_BATCH	  64
#define READ_BATCH	  16 /* then look whether something is due */
#define READ_BATCH_DENSE  256
#define TICK_NS		  (100 * MS_NS_PER_US)
#define DENSE_RUNS	  5 /* this many in DENSE_NS are dense */
#define DENSE_NS	  MS_NS_PER_MS
#define REALTIME_PRIORITY 10
#define SPIN_SHARE	  10 /* at most one part in this many */
#define SPIN_CREDIT_MAX	  (2 * MS_NS_PER_MS)
#define MARGIN_SAMPLES	  40
#define MARGIN_MIN	  (5 * MS_NS_PER_US)
#define MARGIN_MAX	  (100 * MS_NS_PER_US)

struct emulate {
	const struct emulate_config *config;
	struct line lines[EMULATE_HOSTS_MAX];
	unsigned guess[EMULATE_HOSTS_MAX]; /* where a host's next packet goes */
	struct emulate_stats stats;
	uint64_t spin_credit_ns;
	uint64_t spin_paid_ns; /* when the credit was last added to */
	uint64_t looked_ns;    /* when the devices were last read */
	bool dense;
	bool cut;
	int control;
	int owner;
	uint8_t scratch[SEGMENT_PACKET_MAX];
};

static void deliver(struct emulate *e, unsigned host)
{
	uint64_t early = e->dense ? TICK_NS / 2 : 0;
	struct line *l = &e->lines[host];
	struct segment_run run = {.iov_count = 0};

	for (int i = 0; i < DELIVER_BATCH; i++) {
		uint64_t now = ms_now_ns();
		ssize_t n;

		if (line_due(l) > now + early)
			return;
		line_peek(l, &run);
		n = writev(e->config->tun_fds[host], run.iov, run.iov_count);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			e->stats.write_errors++;
		line_pop(l, now);
	}
}

static int host_of(const struct emulate *e, uint32_t address, unsigned *ret)
{
	for (unsigned i = 0; i < e->config->hosts; i++) {
		if (e->config->addresses[i] == address) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

static void count_from(struct emulate *e, unsigned from,
		       const struct segment_packet *p)
{
	uint64_t headers = (uint64_t)(p->segments - 1) * p->header_bytes;

	e->stats.from_segments[from] += p->segments;
	e->stats.from_bytes[from] += p->ip_bytes + headers +
				     (uint64_t)p->segments * LINK_FRAME_BYTES;
}

/* `buf` was read for the line of the guessed host, or is the scratch buffer. */
static void accept_packet(struct emulate *e, unsigned from, uint8_t *buf,
			  uint32_t bytes, uint64_t now)
{
	struct segment_packet p;
	unsigned to = 0;
	uint8_t *place;

	if (segment_parse(buf, bytes, &p) < 0 ||
	    host_of(e, p.destination, &to) < 0 || to == from) {
		e->stats.unroutable++;
		return;
	}
	count_from(e, from, &p);
	if (e->cut) {
		line_refuse(&e->lines[to], &p, 1);
		return;
	}
	if (to != e->guess[from] || buf == e->scratch) {
		place = line_reserve(&e->lines[to]);
		if (!place) {
			line_refuse(&e->lines[to], &p, 0);
			return;
		}
		memcpy(place, buf, bytes);
		e->guess[from] = to;
	}
	line_commit(&e->lines[to], &p, bytes, now);
}

/* Read what is there. The buffer is where the packet will most likely stay. */
static bool drain(struct emulate *e, unsigned from, uint64_t arrived)
{
	int batch = e->dense ? READ_BATCH_DENSE : READ_BATCH;
	bool any = false;

	for (int i = 0; i < batch; i++) {
		uint8_t *buf = line_reserve(&e->lines[e->guess[from]]);
		ssize_t n;

		if (!buf)
			buf = e->scratch;
		n = read(e->config->tun_fds[from], buf, SEGMENT_PACKET_MAX);
		if (n <= 0)
			break;
		accept_packet(e, from, buf, (uint32_t)n, arrived);
		any = true;
	}
	return any;
}

static uint64_t next_due(const struct emulate *e)
{
	uint64_t due = LINE_NEVER;

	for (unsigned i = 0; i < e->config->hosts; i++) {
		uint64_t d = line_due(&e->lines[i]);

		due = d < due ? d : due;
	}
	return due;
}

static bool is_dense(const struct emulate *e, uint64_t now)
{
	for (unsigned i = 0; i < e->config->hosts; i++)
		if (line_due_after(&e->lines[i], DENSE_RUNS) < now + DENSE_NS)
			return true;
	return false;
}

static void pay_spin(struct emulate *e, uint64_t now)
{
	e->spin_credit_ns += (now - e->spin_paid_ns) / SPIN_SHARE;
	e->spin_paid_ns = now;
	if (e->spin_credit_ns > SPIN_CREDIT_MAX)
		e->spin_credit_ns = SPIN_CREDIT_MAX;
}

/* Wait for `due` with open eyes, or until a packet has come. */
static void spin(struct emulate *e, uint64_t due)
{
	uint64_t start = ms_now_ns();
	uint64_t now = start;
	uint64_t spent;
	bool any = false;

	while (now < due && !any) {
		for (unsigned i = 0; i < e->config->hosts; i++)
			any |= drain(e, i, now);
		e->looked_ns = now;
		now = ms_now_ns();
	}
	spent = now - start;
	e->stats.spin_ns += spent;
	e->spin_credit_ns -=
		spent < e->spin_credit_ns ? spent : e->spin_credit_ns;
}

static void fill_stats(struct emulate *e)
{
	struct timespec cpu;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	e->stats.cpu_ns =
		(uint64_t)cpu.tv_sec * MS_NS_PER_S + (uint64_t)cpu.tv_nsec;
	for (unsigned i = 0; i < e->config->hosts; i++)
		e->stats.lines[i] = e->lines[i].stats;
}

static int set_params(struct emulate *e, const struct emulate_request *q)
{
	for (unsigned i = 0; i < e->config->hosts; i++) {
		int r = line_resize(&e->lines[i], q->memory_bytes);

		if (r)
			return r;
	}
	for (unsigned i = 0; i < e->config->hosts; i++)
		shaper_set(&e->lines[i].shaper, &q->params);
	return 0;
}

/* Answer one request; -EPIPE when there is nobody to answer any more. */
static int serve(struct emulate *e)
{
	struct emulate_request q;
	struct emulate_reply a = {.error = 0};
	ssize_t n = recv(e->control, &q, sizeof(q), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != (ssize_t)sizeof(q))
		return -EPIPE;
	if (q.what == EMULATE_SET)
		a.error = set_params(e, &q);
	if (q.what == EMULATE_CUT) {
		e->cut = q.cut;
		for (unsigned i = 0; q.cut && i < e->config->hosts; i++)
			line_flush(&e->lines[i]);
	}
	fill_stats(e);
	a.stats = e->stats;
	n = send(e->control, &a, sizeof(a), MSG_NOSIGNAL);
	return n == (ssize_t)sizeof(a) ? 0 : -EPIPE;
}

/* Packets came at any time since the last look. */
static void read_dense(struct emulate *e)
{
	uint64_t now = ms_now_ns();
	uint64_t arrived = e->looked_ns + (now - e->looked_ns) / 2;

	for (unsigned i = 0; i < e->config->hosts; i++)
		(void)drain(e, i, arrived);
	e->looked_ns = now;
}

/* What was not ready has nothing: that counts as a look as well. */
static void read_ready(struct emulate *e, const struct pollfd *fds, int n)
{
	uint64_t now = ms_now_ns();

	for (unsigned i = 0; i < e->config->hosts && n > 0; i++)
		if (fds[i].revents & POLLIN)
			(void)drain(e, i, now);
	e->looked_ns = now;
}

/* One wait; then read what arrived. -EPIPE: the owner is gone. */
static int wait_and_read(struct emulate *e, uint64_t until)
{
	struct pollfd fds[EMULATE_HOSTS_MAX + 2];
	unsigned hosts = e->config->hosts;
	uint64_t now = ms_now_ns();
	struct timespec t = ms_timespec(until > now ? until - now : 0);
	int n;

	for (unsigned i = 0; i < hosts; i++)
		fds[i] = (struct pollfd){.fd = e->dense ? -1
							: e->config->tun_fds[i],
					 .events = POLLIN};
	fds[hosts] = (struct pollfd){.fd = e->control, .events = POLLIN};
	fds[hosts + 1] = (struct pollfd){.fd = e->owner, .events = POLLIN};
	n = ppoll(fds, hosts + 2, until == LINE_NEVER ? NULL : &t, NULL);
	e->stats.wakes++;
	if (n > 0 && fds[hosts + 1].revents)
		return -EPIPE;
	if (e->dense)
		read_dense(e);
	else
		read_ready(e, fds, n);
	return n > 0 && fds[hosts].revents ? serve(e) : 0;
}

static int turn(struct emulate *e)
{
	uint64_t margin = e->stats.spin_margin_ns;
	uint64_t start = ms_now_ns();
	uint64_t now;
	uint64_t due;

	for (unsigned i = 0; i < e->config->hosts; i++)
		deliver(e, i);
	due = next_due(e);
	now = ms_now_ns();
	pay_spin(e, now);
	e->dense = is_dense(e, now);
	if (e->dense)
		return wait_and_read(e, start + TICK_NS);
	if (due == LINE_NEVER || due <= now || e->spin_credit_ns < margin)
		return wait_and_read(e, due);
	if (due > now + margin)
		return wait_and_read(e, due - margin);
	spin(e, due);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* How late a timer wakes this process here and now: nine out of ten. */
static uint64_t measure_margin(void)
{
	uint64_t late[MARGIN_SAMPLES];
	uint64_t m;

	for (int i = 0; i < MARGIN_SAMPLES; i++) {
		uint64_t due = ms_now_ns() + 200 * MS_NS_PER_US;
		struct timespec t = ms_timespec(due);

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t,
				       NULL) == EINTR)
			;
		late[i] = ms_now_ns() - due;
	}
	qsort(late, MARGIN_SAMPLES, sizeof(late[0]), by_size);
	m = late[MARGIN_SAMPLES * 9 / 10] + 5 * MS_NS_PER_US;
	if (m < MARGIN_MIN)
		return MARGIN_MIN;
	return m > MARGIN_MAX ? MARGIN_MAX : m;
}

static int be_realtime(void)
{
	struct sched_param p = {.sched_priority = REALTIME_PRIORITY};
	int r = 0;

	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) < 0) {
		r = -errno;
		(void)setpriority(PRIO_PROCESS, 0, -20);
	}
	return r;
}

int emulate_main(const struct emulate_config *config, int control, int owner)
{
	static struct emulate e; /* a process of its own: one is enough */
	int r = 0;

	e.config = config;
	e.control = control;
	e.owner = owner;
	e.stats.realtime = be_realtime();
	e.stats.spin_margin_ns = measure_margin();
	for (unsigned i = 0; i < config->hosts && !r; i++) {
		r = line_init(&e.lines[i], config->seed * EMULATE_HOSTS_MAX + i,
			      config->memory_bytes);
		shaper_set(&e.lines[i].shaper, &config->params);
		e.guess[i] = i == 0 ? 1 : 0;
	}
	if (r)
		return r;
	e.spin_paid_ns = ms_now_ns();
	e.looked_ns = e.spin_paid_ns;
	while (!r)
		r = turn(&e);
	return r;
}

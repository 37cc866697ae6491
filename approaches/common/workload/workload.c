/* SPDX-License-Identifier: Apache-2.0 */
/* Sets a workload up, runs its threads and adds up; see workload.h. */
#include "approaches/common/workload/workload.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/workload/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const ms_workload_kinds[] = {
	"first-access", "seq-read", "rand-read", "seq-write",
	"rand-write",	"mixed",    "zipf",	 NULL,
};
const char *const ms_workload_accesses[] = {"mmap", "pread", NULL};
const char *const ms_workload_verifies[] = {"after", "each", "none", NULL};

/* Witnesses that one thread keeps at most: 16 MiB of them. */
#define WITNESS_MAX (UINT64_C(1) << 20)

static bool may_write(const struct ms_workload_config *c)
{
	return c->kind == MS_WL_SEQ_WRITE || c->kind == MS_WL_RAND_WRITE ||
	       c->kind == MS_WL_MIXED;
}

static int check_fit(const struct ms_workload_config *c,
		     const struct ms_workload_target *t)
{
	const char *kind = ms_workload_kinds[c->kind];

	if (t->size == 0)
		return ms_err(-EINVAL, "workload %s: the region is empty",
			      kind);
	if (c->access == MS_WL_MMAP && !t->addr)
		return ms_err(-EINVAL, "access=mmap: this is not mapped");
	if (c->access == MS_WL_PREAD && t->fd < 0)
		return ms_err(-EINVAL,
			      "access=pread: this has no descriptor, only a "
			      "mapping");
	if (may_write(c) && !t->writable)
		return ms_err(-EINVAL, "workload %s: the region is read-only",
			      kind);
	if (c->kind == MS_WL_FIRST_ACCESS && c->threads != 1)
		return ms_err(-EINVAL, "workload %s has one thread", kind);
	return 0;
}

static enum ms_order_kind order_of(const struct ms_workload_config *c)
{
	if (c->kind == MS_WL_ZIPF)
		return MS_ORDER_ZIPF;
	if (c->kind == MS_WL_RAND_READ || c->kind == MS_WL_RAND_WRITE ||
	    c->kind == MS_WL_MIXED)
		return MS_ORDER_RANDOM;
	return MS_ORDER_SEQUENTIAL;
}

static int run_init(struct wl_run *run, const struct ms_workload_config *c,
		    const struct ms_workload_target *t)
{
	run->config = c;
	run->target = t;
	run->verifier.fd = -1;
	run->written = (struct ms_verifier){.seed = ms_workload_write_seed(c),
					    .fd = -1};
	run->blocks = (t->size - 1) / c->access_bytes + 1;
	run->steps = run->blocks;
	if (c->byte_limit)
		run->steps = (c->byte_limit - 1) / c->access_bytes + 1;
	if (c->kind == MS_WL_FIRST_ACCESS)
		run->steps = 1;
	if (c->threads > run->blocks || c->threads > run->steps)
		return ms_err(-EINVAL,
			      "threads=%llu: there are only %llu accesses",
			      (unsigned long long)c->threads,
			      (unsigned long long)(run->steps < run->blocks
							   ? run->steps
							   : run->blocks));
	run->latency =
		c->latency || c->rate ||
		(c->kind != MS_WL_SEQ_READ && c->kind != MS_WL_SEQ_WRITE);
	ms_order_init(&run->order, order_of(c), run->blocks, c->seed, c->theta);
	run->block = malloc(run->blocks);
	if (!run->block)
		return ms_err(-ENOMEM, "workload");
	/* Touched now, so that no page fault of ours is measured. */
	memset(run->block, 0, run->blocks);
	__asm__ volatile("" : : "r"(run->block) : "memory");
	return ms_verifier_open(&run->verifier, c->reference, c->pattern_seed);
}

/* How many of the run's steps are this thread's. */
static uint64_t steps_of(const struct wl_run *run, unsigned number)
{
	uint64_t threads = run->config->threads;

	if (run->config->kind == MS_WL_FIRST_ACCESS)
		return 1;
	if (run->order.kind == MS_ORDER_SEQUENTIAL &&
	    !run->config->byte_limit) {
		uint64_t part = (run->blocks + threads - 1) / threads;
		uint64_t first = number * part;
		if (first >= run->blocks)
			return 0;
		return run->blocks - first < part ? run->blocks - first : part;
	}
	if (run->order.kind == MS_ORDER_SEQUENTIAL &&
	    number * ((run->blocks + threads - 1) / threads) >= run->blocks)
		return 0;
	return run->steps / threads + (number < run->steps % threads);
}

/* Memory that the accesses need, touched before they start. */
static void *touched(uint64_t bytes)
{
	void *memory = malloc(bytes ? bytes : 1);

	if (memory) {
		memset(memory, 0x5a, bytes);
		__asm__ volatile("" : : "r"(memory) : "memory");
	}
	return memory;
}

static int thread_init(struct wl_thread *t, struct wl_run *run, unsigned number)
{
	const struct ms_workload_config *c = run->config;
	uint64_t pages = (c->access_bytes - 1) / WL_PAGE + 1;
	uint64_t batch = (UINT64_C(1) << 20) / c->access_bytes;

	t->run = run;
	t->number = number;
	t->steps = steps_of(run, number);
	t->witness_max =
		t->steps < WITNESS_MAX / pages ? t->steps * pages : WITNESS_MAX;
	if (c->verify == MS_WL_VERIFY_NONE)
		t->witness_max = 0;
	t->buf = touched(c->access_bytes);
	t->witness = touched(t->witness_max * sizeof(*t->witness));
	t->hist = touched(sizeof(*t->hist));
	if (may_write(c))
		t->source = touched((batch ? batch : 1) * c->access_bytes);
	if (!t->buf || !t->witness || !t->hist || (may_write(c) && !t->source))
		return ms_err(-ENOMEM, "workload");
	memset(t->hist, 0, sizeof(*t->hist));
	return 0;
}

static void thread_release(struct wl_thread *t)
{
	free(t->buf);
	free(t->source);
	free(t->witness);
	free(t->hist);
}

static void *thread_main(void *arg)
{
	wl_thread_run(arg);
	return NULL;
}

bool wl_wait_for_start(struct wl_run *run)
{
	pthread_mutex_lock(&run->lock);
	run->ready++;
	pthread_cond_broadcast(&run->changed);
	while (!run->go)
		pthread_cond_wait(&run->changed, &run->lock);
	bool go = run->go > 0;
	pthread_mutex_unlock(&run->lock);
	return go;
}

/* Start when `others` threads wait, or call it off. */
static void give_start(struct wl_run *run, unsigned others, bool go)
{
	pthread_mutex_lock(&run->lock);
	while (run->ready < others)
		pthread_cond_wait(&run->changed, &run->lock);
	run->start_ns = ms_now_ns();
	run->go = go ? 1 : -1;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

/*
 * All threads start together. The first is the caller's own, which keeps the
 * placement that the caller has chosen.
 */
static int run_threads(struct wl_run *run, struct wl_thread *threads)
{
	unsigned count = (unsigned)run->config->threads;
	unsigned made = 1;
	int rc = 0;

	(void)pthread_mutex_init(&run->lock, NULL);
	(void)pthread_cond_init(&run->changed, NULL);
	for (; made < count && rc == 0; made++)
		rc = pthread_create(&threads[made].id, NULL, thread_main,
				    &threads[made]);
	if (rc)
		made--;
	give_start(run, made - 1, rc == 0);
	if (rc == 0)
		wl_thread_run(&threads[0]);
	for (unsigned i = 1; i < made; i++)
		(void)pthread_join(threads[i].id, NULL);
	(void)pthread_cond_destroy(&run->changed);
	(void)pthread_mutex_destroy(&run->lock);
	return rc ? ms_err(-rc, "workload: %u threads", count) : 0;
}

static void add_up(const struct wl_run *run, const struct wl_thread *threads,
		   struct ms_workload_result *ret)
{
	for (unsigned i = 0; i < run->config->threads; i++) {
		const struct wl_thread *t = &threads[i];
		ret->accesses += t->done;
		ret->bytes_read += t->bytes_read;
		ret->bytes_written += t->bytes_written;
		if (t->elapsed_ns > ret->elapsed_ns)
			ret->elapsed_ns = t->elapsed_ns;
		if (run->latency)
			ms_hist_merge(ret->hist, t->hist);
		if (t->failed && ret->status == MS_STATUS_OK) {
			ret->status = MS_STATUS_FAILED;
			(void)snprintf(ret->reason, sizeof(ret->reason), "%s",
				       t->reason);
		}
	}
	ret->first_ns = threads[0].first_ns;
}

static void sync_at_end(const struct wl_run *run,
			struct ms_workload_result *ret)
{
	const struct ms_workload_target *t = run->target;
	uint64_t before = ms_now_ns();
	int rc = 0;

	if (!run->config->sync || !may_write(run->config) ||
	    ret->status != MS_STATUS_OK)
		return;
	if (t->sync)
		rc = t->sync(t->user);
	else if (t->fd >= 0 && fdatasync(t->fd))
		rc = -errno;
	ret->sync_ns = ms_now_ns() - before;
	if (rc) {
		ret->status = MS_STATUS_FAILED;
		(void)snprintf(ret->reason, sizeof(ret->reason), "sync: %s",
			       ms_errno_text(rc));
	}
}

int ms_workload_run(const struct ms_workload_config *config,
		    const struct ms_workload_target *target,
		    struct ms_workload_result *ret)
{
	struct wl_run run = {0};
	struct wl_thread *threads = NULL;
	unsigned ready = 0;
	int rc = check_fit(config, target);

	*ret = (struct ms_workload_result){0};
	if (rc)
		return rc;
	rc = run_init(&run, config, target);
	if (rc)
		goto out;
	threads = calloc(config->threads, sizeof(*threads));
	ret->hist = calloc(1, sizeof(*ret->hist));
	if (!threads || !ret->hist) {
		rc = ms_err(-ENOMEM, "workload");
		goto out;
	}
	for (; ready < config->threads && rc == 0; ready++)
		rc = thread_init(&threads[ready], &run, ready);
	if (rc == 0)
		rc = ms_guard_install();
	if (rc)
		goto out;
	rc = run_threads(&run, threads);
	if (rc == 0) {
		add_up(&run, threads, ret);
		sync_at_end(&run, ret);
		if (ret->status == MS_STATUS_OK &&
		    config->verify != MS_WL_VERIFY_NONE)
			wl_verify(&run, threads, ret);
	}
	ms_guard_remove();
out:
	for (unsigned i = 0; i < ready; i++)
		thread_release(&threads[i]);
	free(threads);
	free(run.block);
	ms_verifier_close(&run.verifier);
	if (rc || !run.latency) {
		free(ret->hist);
		ret->hist = NULL;
	}
	return rc;
}

int ms_workload_pretouch(const struct ms_workload_config *config)
{
	uint64_t bytes = config->pretouch_bytes;

	if (!bytes)
		return 0;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return ms_err(-ENOMEM, "touch %llu bytes",
			      (unsigned long long)bytes);
	/* In huge pages where possible: it is only about the host's part. */
	(void)madvise(at, bytes, MADV_HUGEPAGE);
	memset(at, 1, bytes);
	__asm__ volatile("" : : "r"(at) : "memory");
	(void)munmap(at, bytes);
	return 0;
}

void ms_workload_release(struct ms_workload_result *result)
{
	free(result->hist);
	*result = (struct ms_workload_result){0};
}

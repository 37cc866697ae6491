/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for stores that block; see pool.h. */
#include "approaches/common/backend/pool.h"

#include "approaches/common/backend/base.h"
#include "approaches/common/backend/ioq.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct pool {
	struct ms_backend base;
	struct ms_backend_ops backend_ops; /* the name is the store's */
	const struct ms_blocking_ops *ops;
	void *store;
	unsigned width;
	/* Held for reading around every call, for writing by RESIZE: a write
	 * that was checked before must not land behind the new end. */
	pthread_rwlock_t size_lock;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t work;  /* a request was queued, or `stop` */
	struct ms_ioq queue;
	struct ms_timer expiry;
	bool stop;
	unsigned idle; /* threads that wait for work */
	unsigned started;
	uint64_t queued; /* requests that went through the queue */
	uint64_t answered;
	uint64_t expired;
	size_t queue_max;
	pthread_t threads[];
};

static struct pool *self(struct ms_backend *b)
{
	return ms_container_of(b, struct pool, base);
}

/* --- running one request --------------------------------------------------
 */

static int call(const struct pool *p, struct ms_io *io)
{
	const struct ms_blocking_ops *ops = p->ops;

	switch (io->op) {
	case MS_OP_READ:
		return ops->read(p->store, io->buf, io->length, io->offset);
	case MS_OP_WRITE:
		return ops->write(p->store, io->buf, io->length, io->offset,
				  io->flags & MS_FUA);
	case MS_OP_SYNC:
		return ops->sync(p->store);
	case MS_OP_ZERO:
		return ops->zero(p->store, io->length, io->offset);
	case MS_OP_TRIM:
		return ops->trim(p->store, io->length, io->offset);
	case MS_OP_EXTENTS:
		return ops->extents(p->store, io->length, io->offset, io->buf,
				    io->extents_max, &io->extents_used);
	case MS_OP_HASH:
		return ops->hash(p->store, io->length, io->offset, io->buf);
	case MS_OP_RESIZE:
		return ops->resize(p->store, io->offset);
	case MS_OP_POPULATE:
	case MS_OP_COUNT:
		break;
	}
	return -EOPNOTSUPP; /* not reached: the door knows the capabilities */
}

/* The size may have shrunk since the door let the request through. */
static bool in_range(const struct pool *p, const struct ms_io *io)
{
	uint64_t size = ms_size(&p->base);

	if (io->op == MS_OP_SYNC)
		return true;
	return io->offset <= size && io->length <= size - io->offset;
}

static int run_locked(struct pool *p, struct ms_io *io)
{
	int rc = in_range(p, io) ? call(p, io) : -ERANGE;

	pthread_rwlock_unlock(&p->size_lock);
	return rc;
}

static int run_resize(struct pool *p, struct ms_io *io)
{
	pthread_rwlock_wrlock(&p->size_lock);
	int rc = call(p, io);
	if (rc == 0)
		ms_size_set(&p->base, io->offset);
	pthread_rwlock_unlock(&p->size_lock);
	return rc;
}

static void run(struct pool *p, struct ms_io *io)
{
	const char *name = p->ops->name;
	int rc = 0;

	if (io->deadline_ns && ms_now_ns() >= io->deadline_ns) {
		rc = -ETIMEDOUT;
	} else if (io->op == MS_OP_RESIZE) {
		rc = run_resize(p, io);
	} else {
		pthread_rwlock_rdlock(&p->size_lock);
		rc = run_locked(p, io);
	}
	/* From here on the backend may be closed by whoever waited for this. */
	ms_done(io, rc, name);
}

/* --- threads --------------------------------------------------------------
 */

static void *work(void *arg)
{
	struct pool *p = arg;

	(void)pthread_setname_np(pthread_self(), "ms-pool");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct ms_io *io = ms_ioq_pop(&p->queue);
		if (io) {
			pthread_mutex_unlock(&p->lock);
			run(p, io);
			/* Still there: close waits for this thread. */
			pthread_mutex_lock(&p->lock);
			continue;
		}
		if (p->stop)
			break;
		p->idle++;
		(void)pthread_cond_wait(&p->work, &p->lock);
		p->idle--;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Start one more thread. Signals are for the program's own threads. */
static int start_thread(struct pool *p)
{
	sigset_t all;
	sigset_t before;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&p->threads[p->started], NULL, work, p);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		p->started++;
	return -rc;
}

static void expire(struct ms_timer *timer)
{
	struct pool *p = ms_container_of(timer, struct pool, expiry);
	const char *name = p->ops->name;

	pthread_mutex_lock(&p->lock);
	struct ms_io *chain = ms_ioq_expire(&p->queue, ms_now_ns());
	for (const struct ms_io *io = chain; io; io = io->link)
		p->expired++;
	ms_ioq_rearm(&p->queue, timer, expire);
	pthread_mutex_unlock(&p->lock);
	ms_ioq_end(chain, -ETIMEDOUT, name);
}

/* --- the backend ----------------------------------------------------------
 */

static int enqueue(struct pool *p, struct ms_io *io)
{
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	if (ms_ioq_push(&p->queue, io))
		rc = ms_timer_arm(&p->expiry, p->queue.deadline_ns, expire);
	if (rc) {
		/* Without a timer its deadline could pass unnoticed. */
		(void)ms_ioq_remove(&p->queue, io);
	} else {
		p->queued++;
		if (p->queue.count > p->queue_max)
			p->queue_max = p->queue.count;
		/* With one thread running, failing to start another only
		 * makes it slower; the next request tries again. */
		if (p->queue.count > p->idle && p->started < p->width)
			(void)start_thread(p);
		if (p->idle)
			(void)pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* True if `io` was answered without blocking; it is completed then. */
static bool answered(struct pool *p, struct ms_io *io)
{
	const char *name = p->ops->name;

	if (!p->ops->answer || pthread_rwlock_tryrdlock(&p->size_lock))
		return false;
	int rc = in_range(p, io) ? p->ops->answer(p->store, io) : -ERANGE;
	pthread_rwlock_unlock(&p->size_lock);
	if (rc == -EAGAIN)
		return false;
	(void)__atomic_fetch_add(&p->answered, 1, __ATOMIC_RELAXED);
	ms_done(io, rc, name);
	return true;
}

static void pool_submit(struct ms_backend *b, struct ms_io *io)
{
	struct pool *p = self(b);
	const char *name = p->ops->name;

	if (io->op == MS_OP_READ && answered(p, io))
		return;
	int rc = enqueue(p, io);
	if (rc)
		ms_done(io, rc, name);
}

static void pool_cancel(struct ms_backend *b, struct ms_io *io)
{
	struct pool *p = self(b);
	const char *name = p->ops->name;

	pthread_mutex_lock(&p->lock);
	bool waited = ms_ioq_remove(&p->queue, io);
	pthread_mutex_unlock(&p->lock);
	if (waited)
		ms_done(io, -ECANCELED, name);
}

static int pool_map(struct ms_backend *b, uint64_t offset, uint64_t length,
		    struct ms_mapping *ret)
{
	struct pool *p = self(b);

	pthread_rwlock_rdlock(&p->size_lock);
	uint64_t size = ms_size(b);
	int rc = offset <= size && length <= size - offset
			 ? p->ops->map(p->store, length, offset, ret)
			 : -ERANGE;
	pthread_rwlock_unlock(&p->size_lock);
	if (rc)
		return ms_err(rc, "%s: map %llu bytes at %llu", p->ops->name,
			      (unsigned long long)length,
			      (unsigned long long)offset);
	return 0;
}

/* Everything but the store itself. */
static void pool_free(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	(void)pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->started; i++)
		(void)pthread_join(p->threads[i], NULL);
	(void)ms_timer_cancel(&p->expiry);
	(void)pthread_cond_destroy(&p->work);
	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_rwlock_destroy(&p->size_lock);
	free(p);
}

static void pool_close(struct ms_backend *b)
{
	struct pool *p = self(b);
	const struct ms_blocking_ops *ops = p->ops;
	void *store = p->store;

	pool_free(p);
	ops->close(store);
}

static void pool_stats(struct ms_backend *b, FILE *out)
{
	struct pool *p = self(b);

	pthread_mutex_lock(&p->lock);
	(void)fprintf(out, "width %u\n", p->width);
	(void)fprintf(out, "threads %u\n", p->started);
	(void)fprintf(out, "answered %llu\n",
		      (unsigned long long)__atomic_load_n(&p->answered,
							  __ATOMIC_RELAXED));
	(void)fprintf(out, "queued %llu\n", (unsigned long long)p->queued);
	(void)fprintf(out, "queue_max %zu\n", p->queue_max);
	(void)fprintf(out, "expired %llu\n", (unsigned long long)p->expired);
	pthread_mutex_unlock(&p->lock);
	if (p->ops->stats)
		p->ops->stats(p->store, out);
}

static const struct ms_backend_ops pool_ops = {
	.submit = pool_submit,
	.cancel = pool_cancel,
	.map = pool_map,
	.close = pool_close,
	.stats = pool_stats,
};

/* Writers first: a RESIZE must not starve behind a stream of reads. */
static void init_size_lock(struct pool *p)
{
	pthread_rwlockattr_t attr;

	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&p->size_lock, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
}

int ms_pool_open(const struct ms_blocking_ops *ops, void *store,
		 const struct ms_pool_config *config, struct ms_backend **ret)
{
	if (config->width == 0 || config->width > MS_POOL_WIDTH_MAX)
		return ms_err(-EINVAL, "%s: %u threads, 1 ... %d are possible",
			      ops->name, config->width, MS_POOL_WIDTH_MAX);
	struct pool *p =
		calloc(1, sizeof(*p) + config->width * sizeof(p->threads[0]));
	if (!p)
		return ms_err(-ENOMEM, "%s", ops->name);
	p->backend_ops = pool_ops;
	p->backend_ops.name = ops->name;
	ms_backend_init(&p->base, &p->backend_ops, config->size, config->caps);
	if (config->block)
		p->base.block = config->block;
	p->ops = ops;
	p->store = store;
	p->width = config->width;
	ms_ioq_init(&p->queue);
	init_size_lock(p);
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->work, NULL);
	int rc = start_thread(p);
	if (rc) {
		pool_free(p);
		return ms_err(rc, "%s: start a thread", ops->name);
	}
	*ret = &p->base;
	return 0;
}

void *ms_pool_store(struct ms_backend *b)
{
	return self(b)->store;
}

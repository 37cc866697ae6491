/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions in this process: right bytes at every size, variant and kind of
 * backend; threads on one page; a zeroed tail; what fails is SIGBUS and never
 * zeros; what the application does to its mapping.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/workload/workload.h"
#include "approaches/uffd/test-uffd.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

static const uint64_t sizes[] = {1, 4095, 4096, 4097, (1 << 20) + 123};
enum {
	SIZES = sizeof(sizes) / sizeof(sizes[0])
};

static const enum memsync_uffd_variant variants[] = {MEMSYNC_UFFD_TUNED,
						     MEMSYNC_UFFD_THESIS};

static void check_all(const struct memsync_uffd *region, uint64_t size)
{
	const char *bytes = memsync_uffd_addr(region);
	uint64_t bad = 0;

	CHECK_EQ(memsync_uffd_size(region), size);
	if (!ms_pattern_check(1, 0, bytes, size, &bad)) {
		(void)fprintf(stderr, "wrong byte at %" PRIu64 "\n", bad);
		exit(1);
	}
	for (uint64_t i = size; i % PAGE; i++)
		CHECK_EQ(bytes[i], 0);
}

static void every_backend_and_size(const char *file)
{
	char spec[3][600];

	for (int s = 0; s < SIZES; s++) {
		unsigned long long n = sizes[s];
		CHECK_EQ(truncate(file, 0), 0);
		char *bytes = malloc(n);
		CHECK(bytes);
		ms_pattern_fill(1, 0, bytes, n);
		int fd = open(file, O_WRONLY | O_CLOEXEC);
		CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
		CHECK_EQ(close(fd), 0);
		free(bytes);
		(void)snprintf(spec[0], 600, "pattern:size=%llu,seed=1", n);
		(void)snprintf(spec[1], 600, "file:path=%s", file);
		(void)snprintf(spec[2], 600,
			       "cache:local=(memory:size=1),remote=(pattern:"
			       "size=%llu,seed=1)",
			       n);
		for (int i = 0; i < 3 * 2 * 2; i++) {
			struct memsync_uffd_options o = {
				.variant = variants[i & 1], .no_pull = i & 2};
			struct memsync_uffd *r = NULL;
			CHECK_EQ(memsync_uffd_open(spec[i / 4], &o, &r), 0);
			check_all(r, n);
			memsync_uffd_close(r);
		}
	}
}

/* The bytes can be read a moment before they are counted. */
static struct memsync_uffd_stats wait_complete(const struct memsync_uffd *r)
{
	struct memsync_uffd_stats s = {0};
	uint64_t until = ms_now_ns() + 20 * MS_NS_PER_S;

	while (!s.complete && ms_now_ns() < until) {
		memsync_uffd_get_stats(r, &s);
		(void)sched_yield();
	}
	CHECK(s.complete);
	return s;
}

static void huge_and_small_pages(void)
{
	for (int i = 0; i < 2; i++) {
		struct memsync_uffd_options o = {.no_huge = i};
		struct memsync_uffd *r = NULL;
		CHECK_EQ(memsync_uffd_open("pattern:size=5000001,seed=1", &o,
					   &r),
			 0);
		check_all(r, 5000001);
		struct memsync_uffd_stats s = wait_complete(r);
		CHECK(!s.huge || !i);
		CHECK_EQ(s.pages_failed, 0);
		memsync_uffd_close(r);
	}
}

/* --- threads
 * ------------------------------------------------------------------ */

struct toucher {
	const char *base;
	pthread_barrier_t *start;
	atomic_int *wrong;
};

static void *touch_all(void *arg)
{
	const struct toucher *t = arg;

	(void)pthread_barrier_wait(t->start);
	for (uint64_t p = 0; p < 64; p++)
		if ((unsigned char)t->base[p * PAGE + 7] !=
		    pattern_byte(p * PAGE + 7))
			atomic_fetch_add(t->wrong, 1);
	return NULL;
}

static void threads_on_the_same_pages(void)
{
	for (int v = 0; v < 4; v++) {
		struct memsync_uffd_options o = {.variant = variants[v & 1],
						 .no_pull = v & 2,
						 .chunk_bytes = 4096};
		struct memsync_uffd *r = NULL;
		pthread_t id[16];
		pthread_barrier_t start;
		atomic_int wrong = 0;
		CHECK_EQ(memsync_uffd_open("pattern:size=256K,seed=1", &o, &r),
			 0);
		struct toucher t = {memsync_uffd_addr(r), &start, &wrong};
		CHECK_EQ(pthread_barrier_init(&start, NULL, 16), 0);
		for (int i = 0; i < 16; i++)
			CHECK_EQ(pthread_create(&id[i], NULL, touch_all, &t),
				 0);
		for (int i = 0; i < 16; i++)
			CHECK_EQ(pthread_join(id[i], NULL), 0);
		CHECK_EQ(wrong, 0);
		(void)pthread_barrier_destroy(&start);
		memsync_uffd_close(r);
	}
}

static void random_workloads(void)
{
	for (int v = 0; v < 2; v++) {
		struct memsync_uffd_options o = {.variant = variants[v]};
		struct ms_workload_config c = {.kind = MS_WL_RAND_READ,
					       .access_bytes = 1000,
					       .threads = 4,
					       .verify = MS_WL_VERIFY_EACH,
					       .seed = 5,
					       .pattern_seed = 1};
		struct ms_workload_result w;
		struct memsync_uffd *r = NULL;
		CHECK_EQ(memsync_uffd_open("pattern:size=3000001,seed=1", &o,
					   &r),
			 0);
		struct ms_workload_target t = {.addr = r->addr,
					       .fd = -1,
					       .size = memsync_uffd_size(r)};
		CHECK_EQ(ms_workload_run(&c, &t, &w), 0);
		CHECK_STR(w.reason, "");
		CHECK(w.verified);
		CHECK_EQ(w.verified_bytes, 3000001);
		ms_workload_release(&w);
		memsync_uffd_close(r);
	}
}

/* --- failure
 * ------------------------------------------------------------------ */

static void what_cannot_be_had_is_sigbus(void)
{
	for (int v = 0; v < 4; v++) {
		struct memsync_uffd_options o = {.variant = variants[v & 1],
						 .no_pull = v & 2};
		struct memsync_uffd_stats s;
		struct memsync_uffd *r = NULL;
		struct fake f;
		unsigned char got = 0;
		fake_init(&f, 64 * PAGE);
		f.fail_from = 20 * PAGE;
		f.fail_to = 21 * PAGE;
		f.fail_times = UINT_MAX;
		CHECK_EQ(ms_uffd_region_open(&f.base, &o, &r), 0);
		const char *base = memsync_uffd_addr(r);
		/* Its neighbours, and what was fetched together with it. */
		for (uint64_t p = 0; p < 64; p++) {
			bool ok = can_read(base, 64 * PAGE, p * PAGE + 9, &got);
			CHECK_EQ(ok, p != 20);
			CHECK(!ok || got == pattern_byte(p * PAGE + 9));
		}
		/* And it stays so. */
		CHECK(!can_read(base, 64 * PAGE, 20 * PAGE, &got));
		memsync_uffd_get_stats(r, &s);
		CHECK_EQ(s.error, -EIO);
		CHECK(s.pages_failed >= 1);
		CHECK(!s.complete);
		memsync_uffd_close(r);
	}
}

static void an_error_that_passes_is_overcome(void)
{
	struct memsync_uffd_options o = {.no_pull = true};
	struct memsync_uffd *r = NULL;
	struct fake f;

	fake_init(&f, 64 * PAGE);
	f.fail_to = 64 * PAGE;
	f.fail_times = 1;
	CHECK_EQ(ms_uffd_region_open(&f.base, &o, &r), 0);
	check_all(r, 64 * PAGE);
	memsync_uffd_close(r);
	/* The pull comes back to what failed. */
	fake_init(&f, 64 * PAGE);
	f.fail_to = 64 * PAGE;
	f.fail_times = 2;
	CHECK_EQ(ms_uffd_region_open(&f.base, NULL, &r), 0);
	CHECK_EQ(wait_complete(r).faults, 0);
	check_all(r, 64 * PAGE);
	memsync_uffd_close(r);
}

static void a_wrong_source_is_found_out(void)
{
	for (int v = 0; v < 2; v++) {
		struct memsync_uffd_options o = {.variant = variants[v]};
		struct ms_workload_config c = {.kind = MS_WL_SEQ_READ,
					       .access_bytes = 4096,
					       .threads = 1,
					       .pattern_seed = 1};
		struct ms_workload_result w;
		struct memsync_uffd *r = NULL;
		struct fake f;
		fake_init(&f, 100 * PAGE);
		f.wrong_at = 77777;
		CHECK_EQ(ms_uffd_region_open(&f.base, &o, &r), 0);
		struct ms_workload_target t = {.addr = r->addr,
					       .fd = -1,
					       .size = memsync_uffd_size(r)};
		CHECK_EQ(ms_workload_run(&c, &t, &w), 0);
		CHECK_EQ(w.status, MS_STATUS_FAILED);
		CHECK_HAS(w.reason, "offset 77777");
		CHECK(!w.verified);
		ms_workload_release(&w);
		memsync_uffd_close(r);
	}
}

struct reader {
	const unsigned char *at;
	atomic_int value;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;

	r->value = *(const volatile unsigned char *)r->at;
	return NULL;
}

static void wait_for(const struct memsync_uffd *r, struct fake *f,
		     unsigned hurried)
{
	uint64_t until = ms_now_ns() + 20 * MS_NS_PER_S;
	struct memsync_uffd_stats s = {0};

	for (;;) {
		memsync_uffd_get_stats(r, &s);
		pthread_mutex_lock(&f->lock);
		bool there = f->hurried >= hurried;
		pthread_mutex_unlock(&f->lock);
		if (there && s.faults)
			return;
		CHECK(ms_now_ns() < until);
		(void)sched_yield();
	}
}

static void a_fault_hurries_the_pull(void)
{
	struct memsync_uffd_options o = {.span_bytes = 1 << 16};
	struct memsync_uffd *r = NULL;
	struct fake f;
	pthread_t id;

	fake_init(&f, 64 * PAGE);
	f.keep = true;
	CHECK_EQ(ms_uffd_region_open(&f.base, &o, &r), 0);
	uint64_t until = ms_now_ns() + 20 * MS_NS_PER_S;
	/* The whole region is asked for, in ever larger requests. */
	while (f.bytes < 64 * PAGE)
		CHECK(ms_now_ns() < until);
	unsigned reads = f.reads;
	CHECK(reads > 4 && reads < 32);
	struct reader reader = {
		(const unsigned char *)memsync_uffd_addr(r) + 40 * PAGE, -1};
	CHECK_EQ(pthread_create(&id, NULL, read_one, &reader), 0);
	wait_for(r, &f, 1);
	CHECK_EQ(f.reads, reads); /* no second request for it */
	fake_let_go(&f);
	CHECK_EQ(pthread_join(id, NULL), 0);
	CHECK_EQ(reader.value, pattern_byte(40 * PAGE));
	memsync_uffd_close(r);
}

/*
 * Memory of huge pages: a page of zeros is there beside each that arrived, and
 * must not be taken for the region's bytes.
 */
static void neighbours_of_what_arrived_are_not_zeros(void)
{
	struct memsync_uffd_options o = {.no_pull = true, .chunk_bytes = PAGE};
	struct memsync_uffd *r = NULL;
	struct fake f;
	unsigned char got = 0;

	fake_init(&f, 1024 * PAGE);
	CHECK_EQ(ms_uffd_region_open(&f.base, &o, &r), 0);
	const void *base = memsync_uffd_addr(r);
	for (uint64_t p = 1; p < 1024; p += 2) {
		CHECK(can_read(base, 1024 * PAGE, p * PAGE + 11, &got));
		CHECK_EQ(got, pattern_byte(p * PAGE + 11));
	}
	f.fail_to = 1024 * PAGE;
	f.fail_times = UINT_MAX;
	CHECK(!can_read(base, 1024 * PAGE, 512 * PAGE, &got));
	f.fail_to = 0;
	for (uint64_t p = 0; p < 512; p += 2) {
		CHECK(can_read(base, 1024 * PAGE, p * PAGE + 11, &got));
		CHECK_EQ(got, pattern_byte(p * PAGE + 11));
	}
	memsync_uffd_close(r);
}

/* --- what the application does
 * -------------------------------------------------- */

static void dropped_pages_come_back(void)
{
	for (int v = 0; v < 2; v++) {
		struct memsync_uffd_options o = {.variant = variants[v]};
		struct memsync_uffd *r = NULL;
		CHECK_EQ(memsync_uffd_open("pattern:size=1M,seed=1", &o, &r),
			 0);
		for (int i = 0; i < 3; i++) {
			check_all(r, 1 << 20);
			CHECK_EQ(madvise(r->addr, 1 << 20, MADV_DONTNEED), 0);
		}
		check_all(r, 1 << 20);
		memsync_uffd_close(r);
	}
}

static void a_child_has_no_zeros(void)
{
	for (int v = 0; v < 2; v++) {
		struct memsync_uffd_options o = {.variant = variants[v],
						 .no_pull = true};
		struct memsync_uffd *r = NULL;
		int status = 0;
		CHECK_EQ(memsync_uffd_open("pattern:size=1M,seed=1", &o, &r),
			 0);
		const volatile char *bytes = memsync_uffd_addr(r);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			/* Sanitizers would report the expected end. */
			(void)signal(SIGSEGV, SIG_DFL);
			_exit(bytes[0] ? 1 : 2);
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		memsync_uffd_close(r);
	}
}

static void it_is_read_only(void)
{
	struct memsync_uffd *r = NULL;

	CHECK_EQ(memsync_uffd_open("pattern:size=4K,seed=1", NULL, &r), 0);
	int null = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	CHECK(null >= 0);
	/* A system call that would write into it says so. */
	CHECK_EQ(read(null, r->addr, 10), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(close(null), 0);
	check_all(r, 4096);
	memsync_uffd_close(r);
}

static void bad_arguments(void)
{
	struct memsync_uffd *r = NULL;
	struct memsync_uffd_options o = {.chunk_bytes = 5000};

	CHECK_EQ(memsync_uffd_open("pattern:size=4K", &o, &r), -EINVAL);
	CHECK_HAS(memsync_error(), "power of two");
	CHECK_EQ(memsync_uffd_open("pattern:size=0", NULL, &r), -EINVAL);
	CHECK_HAS(memsync_error(), "empty");
	CHECK_EQ(memsync_uffd_open("nonsense:", NULL, &r), -EINVAL);
	CHECK_EQ(memsync_uffd_open("file:path=/nonexistent", NULL, &r),
		 -ENOENT);
	/* Pages that are given up would stay mapped. */
	CHECK_EQ(memsync_uffd_open("cache:local=(memory:size=1),remote=("
				   "pattern:size=64M),limit=16M",
				   NULL, &r),
		 -EOPNOTSUPP);
	CHECK_HAS(memsync_error(), "limit or watch");
	memsync_uffd_close(NULL);
}

static void a_kernel_without_poison(void)
{
	struct memsync_uffd r = {.size = 3 * PAGE};
	pthread_t id;
	unsigned char got = 0;

	r.uffd = -1;
	CHECK_EQ(ms_uffd_region_map(&r, -1, 0), 0);
	/* Somebody waits beside the pages that are covered. */
	struct reader reader = {(unsigned char *)r.addr, -1};
	struct ms_uffd_done done = {0};
	char page[4096] = "x";
	CHECK_EQ(pthread_create(&id, NULL, read_one, &reader), 0);
	CHECK_EQ(ms_uffd_cover(r.uffd, (uintptr_t)r.addr + PAGE, 2 * PAGE), 0);
	CHECK(!can_read(r.addr, 3 * PAGE, PAGE, &got));
	CHECK(!can_read(r.addr, 3 * PAGE, 2 * PAGE, &got));
	CHECK_EQ(ms_uffd_copy(r.uffd, (uintptr_t)r.addr, page, PAGE, &done), 0);
	CHECK_EQ(pthread_join(id, NULL), 0);
	CHECK_EQ(reader.value, 'x');
	/* What is there already is stepped over. */
	CHECK_EQ(ms_uffd_copy(r.uffd, (uintptr_t)r.addr, page, PAGE, &done), 0);
	CHECK_EQ(done.present, 1);
	CHECK_EQ(done.installed, 1);
	CHECK_EQ(munmap(r.addr, 3 * PAGE), 0);
	CHECK_EQ(close(r.uffd), 0);
}

int main(void)
{
	char file[300];
	const char *tmp = getenv("TMP");

	skip_without_userfaultfd();
	CHECK_EQ(ms_guard_install(), 0);
	(void)snprintf(file, sizeof(file), "%s/region.%d", tmp ? tmp : "/tmp",
		       (int)getpid());
	int fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && close(fd) == 0);
	every_backend_and_size(file);
	CHECK_EQ(unlink(file), 0);
	huge_and_small_pages();
	threads_on_the_same_pages();
	random_workloads();
	what_cannot_be_had_is_sigbus();
	an_error_that_passes_is_overcome();
	a_wrong_source_is_found_out();
	a_fault_hurries_the_pull();
	neighbours_of_what_arrived_are_not_zeros();
	dropped_pages_come_back();
	a_child_has_no_zeros();
	it_is_read_only();
	bad_arguments();
	a_kernel_without_poison();
	ms_guard_remove();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload engine on plain memory and on a file: every kind reads and
 * writes what it says, verification finds a single wrong byte, limits hold,
 * SIGBUS is a result, and the result object says what happened.
 */
#include "approaches/common/backend/pattern.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/workload/order.h"
#include "approaches/common/workload/workload.h"
#include "memsync/backend.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION (UINT64_C(1048576) + 123)

struct holder {
	struct ms_workload_config w;
};

static const struct ms_opt options[] = {
	MS_WORKLOAD_OPTIONS(struct holder, w),
	MS_OPT_END,
};

/* A configuration from "name=value" pairs over the defaults. */
static struct holder configure(const char *const *pairs)
{
	struct holder h = {0};
	char name[64];

	CHECK_EQ(ms_opt_defaults(options, &h), 0);
	for (; *pairs; pairs++) {
		const char *equals = strchr(*pairs, '=');
		CHECK(equals && (size_t)(equals - *pairs) < sizeof(name));
		(void)snprintf(name, sizeof(name), "%.*s",
			       (int)(equals - *pairs), *pairs);
		CHECK_EQ(ms_opt_set(options, &h, name, equals + 1), 0);
	}
	return h;
}
#define CONFIG(...) configure((const char *const[]){__VA_ARGS__, NULL})

/* Fresh pattern in a memory file, mapped. */
static struct ms_workload_target region(uint64_t size)
{
	struct ms_workload_target t = {.size = size, .writable = true};

	t.fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(t.fd >= 0);
	CHECK_EQ(ftruncate(t.fd, (off_t)size), 0);
	t.addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t.fd, 0);
	CHECK(t.addr != MAP_FAILED);
	ms_pattern_fill(1, 0, t.addr, size);
	return t;
}

static void drop(struct ms_workload_target *t)
{
	CHECK_EQ(munmap(t->addr, t->size), 0);
	CHECK_EQ(close(t->fd), 0);
}

static struct ms_workload_result run(const struct holder *h,
				     const struct ms_workload_target *t)
{
	struct ms_workload_result r = {0};

	CHECK_EQ(ms_workload_run(&h->w, t, &r), 0);
	return r;
}

static int from_memory(void *user, void *buf, uint64_t n, uint64_t offset)
{
	const struct ms_workload_target *t = user;

	memcpy(buf, (const char *)t->addr + offset, n);
	return 0;
}

static void every_kind_is_verified(const char *access, const char *threads)
{
	char a[32];
	char n[32];

	(void)snprintf(a, sizeof(a), "access=%s", access);
	(void)snprintf(n, sizeof(n), "threads=%s", threads);
	for (int i = 0; ms_workload_kinds[i]; i++) {
		char kind[32];
		uint64_t written = 0;
		(void)snprintf(kind, sizeof(kind), "workload=%s",
			       ms_workload_kinds[i]);
		bool first = i == MS_WL_FIRST_ACCESS;
		struct holder h =
			CONFIG(kind, a, first ? "threads=1" : n, "sync=yes");
		struct ms_workload_target t = region(REGION);
		struct ms_workload_result r = run(&h, &t);
		CHECK_STR(r.reason, "");
		CHECK(r.verified);
		CHECK_EQ(r.accesses, first ? 1 : 257);
		if (i != MS_WL_ZIPF && !first)
			CHECK_EQ(r.verified_bytes, REGION);
		if (i == MS_WL_SEQ_READ || i == MS_WL_RAND_READ) {
			CHECK_EQ(r.bytes_read, REGION);
			CHECK_EQ(r.witnesses, 257);
		}
		CHECK_EQ(ms_workload_check_written(&h.w, from_memory, &t,
						   REGION, &written),
			 0);
		CHECK_EQ(written, r.blocks_written);
		if (i == MS_WL_SEQ_WRITE || i == MS_WL_RAND_WRITE)
			CHECK_EQ(written, 257);
		if (i == MS_WL_MIXED)
			CHECK(written > 40 && written < 120);
		ms_workload_release(&r);
		drop(&t);
	}
}

static void one_wrong_byte_is_found(void)
{
	static const char *const when[] = {"verify=after", "verify=each"};

	for (uint64_t at = 4000; at < REGION; at += 524461) {
		for (int i = 0; i < 2; i++) {
			char want[64];
			struct holder h = CONFIG(when[i], "access-bytes=10000");
			struct ms_workload_target t = region(REGION);
			((char *)t.addr)[at] ^= 1;
			struct ms_workload_result r = run(&h, &t);
			CHECK_EQ(r.status, MS_STATUS_FAILED);
			CHECK(!r.verified);
			(void)snprintf(want, sizeof(want), "offset %" PRIu64,
				       at);
			CHECK_HAS(r.reason, want);
			ms_workload_release(&r);
			drop(&t);
		}
	}
	/* A wrong byte that was not accessed is nobody's business. */
	struct holder h = CONFIG("byte-limit=64K");
	struct ms_workload_target t = region(REGION);
	((char *)t.addr)[70000] ^= 1;
	struct ms_workload_result r = run(&h, &t);
	CHECK(r.verified);
	CHECK_EQ(r.verified_bytes, 65536);
	ms_workload_release(&r);
	drop(&t);
}

/* Zeros that turn into the right bytes after they were read. */
static int heal(void *user)
{
	const struct ms_workload_target *t = user;

	ms_pattern_fill(1, 0, t->addr, t->size);
	return 0;
}

static void the_witness_remembers(void)
{
	struct holder h = CONFIG("workload=mixed", "read-share=99", "sync=yes");
	struct ms_workload_target t = region(REGION);

	memset((char *)t.addr + 40960, 0, 40960);
	t.sync = heal;
	t.user = &t;
	struct ms_workload_result r = run(&h, &t);
	CHECK_EQ(r.status, MS_STATUS_FAILED);
	CHECK_HAS(r.reason, "wrong byte seen at offset");
	ms_workload_release(&r);
	drop(&t);
}

static void a_reference_file_is_compared(void)
{
	char path[300];
	const char *dir = getenv("TMP");
	char option[320];
	struct ms_workload_target t = region(REGION);

	(void)snprintf(path, sizeof(path), "%s/reference.%d",
		       dir ? dir : "/tmp", (int)getpid());
	(void)snprintf(option, sizeof(option), "reference=%s", path);
	memset(t.addr, 'x', REGION);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_TRUNC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, t.addr, REGION), REGION);
	struct holder h = CONFIG(option);
	struct ms_workload_result r = run(&h, &t);
	CHECK(r.verified);
	ms_workload_release(&r);
	/* A shorter reference does not vouch for the rest. */
	CHECK_EQ(ftruncate(fd, REGION - 1), 0);
	r = run(&h, &t);
	CHECK_EQ(r.status, MS_STATUS_FAILED);
	CHECK_HAS(r.reason, "offset 1048698");
	ms_workload_release(&r);
	ms_opt_release(options, &h);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(unlink(path), 0);
	drop(&t);
}

static void limits_hold(void)
{
	struct holder h = CONFIG("workload=zipf", "time-limit=50ms",
				 "byte-limit=1T", "threads=2");
	struct ms_workload_target t = region(REGION);
	struct ms_workload_result r = run(&h, &t);

	CHECK(r.verified);
	CHECK(r.elapsed_ns >= 50 * MS_NS_PER_MS);
	CHECK(r.elapsed_ns < 5 * MS_NS_PER_S);
	CHECK(r.bytes_read > REGION);
	CHECK(r.hist && r.hist->count == r.accesses);
	ms_workload_release(&r);
	/* The rate: 1000 a second make 100 take a tenth of a second. */
	h = CONFIG("rate=1000", "byte-limit=400K");
	r = run(&h, &t);
	CHECK_EQ(r.accesses, 100);
	CHECK(r.elapsed_ns >= 99 * MS_NS_PER_MS);
	CHECK(r.hist && r.hist->count == 100);
	ms_workload_release(&r);
	drop(&t);
}

static void sigbus_is_a_result(void)
{
	struct holder h = CONFIG("threads=2");
	struct ms_workload_target t = region(REGION);

	CHECK_EQ(ftruncate(t.fd, 8192), 0);
	struct ms_workload_result r = run(&h, &t);
	CHECK_EQ(r.status, MS_STATUS_FAILED);
	CHECK_HAS(r.reason, "SIGBUS at offset ");
	CHECK(!r.verified);
	ms_workload_release(&r);
	h = CONFIG("access=pread");
	r = run(&h, &t);
	CHECK_EQ(r.status, MS_STATUS_FAILED);
	CHECK_HAS(r.reason, "read at offset 8192");
	ms_workload_release(&r);
	drop(&t);
}

static void what_does_not_fit_is_refused(void)
{
	struct ms_workload_target t = region(8192);
	struct ms_workload_result r = {0};
	struct holder h = CONFIG("workload=seq-write");

	t.writable = false;
	CHECK_EQ(ms_workload_run(&h.w, &t, &r), -EINVAL);
	CHECK_HAS(memsync_error(), "read-only");
	h = CONFIG("threads=3");
	CHECK_EQ(ms_workload_run(&h.w, &t, &r), -EINVAL);
	CHECK_HAS(memsync_error(), "only 2 accesses");
	int fd = t.fd;
	t.fd = -1;
	h = CONFIG("access=pread");
	CHECK_EQ(ms_workload_run(&h.w, &t, &r), -EINVAL);
	CHECK_HAS(memsync_error(), "no descriptor");
	t.fd = fd;
	drop(&t);
}

static void random_order_is_a_permutation(void)
{
	static const uint64_t sizes[] = {1, 2, 3, 5, 64, 1000};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct ms_order o;
		char seen[1000] = "";
		uint64_t moved = 0;
		ms_order_init(&o, MS_ORDER_RANDOM, sizes[s], 3, 0);
		for (uint64_t i = 0; i < sizes[s]; i++) {
			uint64_t b = ms_order_at(&o, i);
			CHECK(b < sizes[s] && !seen[b]);
			seen[b] = 1;
			moved += b != i;
		}
		CHECK(sizes[s] < 64 || moved > sizes[s] / 2);
	}
}

static void zipf_is_skewed(void)
{
	struct ms_order o;
	unsigned count[1000] = {0};
	unsigned top = 0;

	ms_order_init(&o, MS_ORDER_ZIPF, 1000, 3, 0.99);
	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t b = ms_order_at(&o, i);
		CHECK(b < 1000);
		if (++count[b] > top)
			top = count[b];
	}
	/* The first rank has 1/zeta(1000, 0.99) = 13 % of the accesses. */
	CHECK(top > 12000 && top < 15000);
}

static void the_result_is_json(void)
{
	struct holder h = CONFIG("workload=rand-read");
	struct ms_workload_target t = region(REGION);
	struct ms_workload_result r = run(&h, &t);
	struct ms_result out = {
		.program = "test", .approach = "memory", .variant = "tuned"};
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	ms_workload_report(&h.w, &t, &r, &out);
	ms_result_text(&out.pipeline, "caf\xe9");
	CHECK_EQ(ms_result_print(&out, true, f), 0);
	CHECK_EQ(fclose(f), 0);
	json_t *root = json_loads(text, 0, NULL);
	CHECK(root);
	CHECK_STR(json_string_value(json_object_get(root, "schema")),
		  "memsync-result/1");
	CHECK_STR(json_string_value(json_object_get(root, "pipeline")), "caf?");
	CHECK_EQ(json_integer_value(json_object_get(root, "verified")), 1);
	CHECK_EQ(json_integer_value(json_object_get(root, "bytes_done")),
		 REGION);
	CHECK(json_array_size(json_object_get(root, "metrics")) >= 5);
	json_decref(root);
	free(text);
	/* A failure keeps its first cause, and is an exit code. */
	ms_result_fail(&out, MS_STATUS_FAILED, "first");
	ms_result_fail(&out, MS_STATUS_SKIPPED, "second");
	CHECK_STR(out.reason, "first");
	CHECK_EQ(ms_result_print(&out, true, stdout), 1);
	ms_result_release(&out);
	ms_workload_release(&r);
	drop(&t);
}

int main(void)
{
	every_kind_is_verified("mmap", "1");
	every_kind_is_verified("mmap", "3");
	every_kind_is_verified("pread", "1");
	every_kind_is_verified("pread", "4");
	one_wrong_byte_is_found();
	the_witness_remembers();
	a_reference_file_is_compared();
	limits_hold();
	sigbus_is_a_result();
	what_does_not_fit_is_refused();
	random_order_is_a_permutation();
	zipf_is_skewed();
	the_result_is_json();
	return 0;
}

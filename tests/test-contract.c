/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract test: every registered backend and stage, at sizes on both
 * sides of every bound, against a model held in plain memory. A new backend
 * is tested by being in the registry, without being mentioned here.
 */
#include "tests/check.h"

#include "approaches/common/backend/memory.h"
#include "approaches/common/backend/pattern.h"
#include "approaches/common/backend/registry.h"
#include "approaches/common/backend/test-nbd.h"
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/loopback.h"
#include "memsync/backend.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PATTERN_SEED = 7, /* the pattern backend's example uses it */
	STEPS = 400,
	FLIGHT = 300,
	WRITERS = 2,
};

/* One backend under test and the bytes it should hold. */
struct subject {
	const char *name;
	struct ms_backend *b;
	uint64_t size;
	char *model; /* NULL: contents are not kept (null) */
	uint64_t random;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* --- building --------------------------------------------------------------
 */

static char *replace(const char *text, const char *what, const char *with)
{
	const char *at = strstr(text, what);
	char *out = NULL;

	if (!at)
		return strdup(text);
	CHECK(asprintf(&out, "%.*s%s%s", (int)(at - text), text, with,
		       at + strlen(what)) > 0);
	char *again = replace(out, what, with);
	free(out);
	return again;
}

static char *example_spec(const struct ms_backend_type *type, uint64_t size,
			  const char *child)
{
	static unsigned folders;
	char bytes[32];
	char dir[256];
	const char *tmp = getenv("TMP");

	(void)snprintf(bytes, sizeof(bytes), "%" PRIu64, size);
	(void)snprintf(dir, sizeof(dir), "%s/contract.%d.%u",
		       tmp ? tmp : "/tmp", (int)getpid(), folders++);
	char *with_child = replace(type->example, "{child}", child);
	char *with_dir = replace(with_child, "{dir}", dir);
	char *spec = replace(with_dir, "{size}", bytes);
	if (strstr(type->example, "{dir}"))
		CHECK_EQ(mkdir(dir, 0700), 0);
	free(with_child);
	free(with_dir);
	return spec;
}

/* A remote is built with its server, over each transport. */
static struct subject build_remote(const char *transport, uint64_t size)
{
	struct subject s = {.name = transport, .size = size, .random = 98};
	struct ms_backend *memory = NULL;

	CHECK_EQ(ms_memory_open(size, &memory), 0);
	int rc = ms_wire_loopback(memory, transport, &s.b);
	if (rc) {
		(void)fprintf(stderr, "%s: %s\n", transport, memsync_error());
		exit(1);
	}
	s.model = calloc(1, size + 1);
	CHECK(s.model);
	return s;
}

static struct subject build(const struct ms_backend_type *type, uint64_t size)
{
	struct subject s = {.name = type->name, .size = size, .random = 99};
	char child[64];

	(void)snprintf(child, sizeof(child), "memory:size=%" PRIu64, size);
	char *spec = example_spec(type, size, child);
	int rc = ms_open(spec, &s.b);
	if (rc) {
		(void)fprintf(stderr, "%s: %s\n", spec, memsync_error());
		exit(1);
	}
	CHECK_EQ(ms_size(s.b), size);
	free(spec);
	if (strcmp(type->name, "null") == 0)
		return s;
	s.model = calloc(1, size + 1);
	CHECK(s.model);
	if (strcmp(type->name, "pattern") == 0)
		ms_pattern_fill(PATTERN_SEED, 0, s.model, size);
	return s;
}

static void drop(struct subject *s)
{
	ms_close(s->b);
	free(s->model);
}

/* --- one request ------------------------------------------------------------
 */

static int request(struct subject *s, struct ms_io io)
{
	int rc = ms_wait(s->b, &io);

	CHECK(rc <= 0);
	CHECK(rc == 0 || io.origin);
	return rc;
}

/* Round a range to what the backend's block asks for. */
static void align(const struct subject *s, uint64_t *offset, uint64_t *length)
{
	uint64_t mask = s->b->block - 1;
	uint64_t end = (*offset + *length + mask) & ~mask;

	*offset &= ~mask;
	if (end > s->size)
		end = s->size;
	*length = end - *offset;
}

static void check_read(struct subject *s, uint64_t offset, uint64_t length)
{
	char *buf = malloc(length + 2);

	CHECK(buf);
	/* Guards on both sides: nothing outside the buffer is touched. */
	memset(buf, 0x5a, length + 2);
	CHECK_EQ(ms_read_at(s->b, buf + 1, length, offset), 0);
	CHECK(buf[0] == 0x5a && buf[length + 1] == 0x5a);
	if (s->model && memcmp(buf + 1, s->model + offset, length) != 0) {
		(void)fprintf(stderr,
			      "%s: wrong bytes in %" PRIu64 " at %" PRIu64
			      " of %" PRIu64 "\n",
			      s->name, length, offset, s->size);
		exit(1);
	}
	free(buf);
}

static void do_write(struct subject *s, uint64_t offset, uint64_t length,
		     unsigned flags)
{
	char *buf = malloc(length + 1);

	CHECK(buf);
	ms_pattern_fill(next_random(&s->random), offset, buf, length);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_WRITE,
					   .flags = flags,
					   .offset = offset,
					   .length = length,
					   .buf = buf}),
		 0);
	if (s->model)
		memcpy(s->model + offset, buf, length);
	free(buf);
}

/* --- the bounds --------------------------------------------------------------
 */

static void test_bounds(struct subject *s)
{
	char byte[2];
	uint64_t size = s->size;
	static const uint64_t bad[][2] = {
		{0, 1}, /* offset added to the size below */
		{1, 1},
		{UINT64_MAX, 1}, /* absolute */
	};

	for (size_t i = 0; i < 2; i++)
		CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ,
						   .offset = size + bad[i][0],
						   .length = bad[i][1],
						   .buf = byte}),
			 -ERANGE);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ,
					   .offset = UINT64_MAX,
					   .length = 1,
					   .buf = byte}),
		 -ERANGE);
	/* offset + length wraps around to a small number. */
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_ZERO,
					   .offset = 1,
					   .length = UINT64_MAX}) < 0,
		 1);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ,
					   .length = size + 1,
					   .buf = byte}),
		 -ERANGE);
	CHECK_EQ(ms_read_at(s->b, byte, 0, size), 0);
	CHECK_EQ(ms_read_at(s->b, NULL, 0, 0), 0);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_COUNT}), -EINVAL);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ,
					   .flags = MS_FUA,
					   .buf = byte}),
		 -EINVAL);
	if (size == 0)
		return;
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ, .length = size}),
		 -EINVAL);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_READ,
					   .length = size,
					   .buf = byte,
					   .deadline_ns = 1}),
		 -ETIMEDOUT);
	check_read(s, 0, size);
	uint64_t offset = size - 1;
	uint64_t length = 1;
	align(s, &offset, &length);
	check_read(s, offset, length);
}

static void test_read_only(struct subject *s)
{
	char byte = 0;

	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_WRITE,
					   .length = s->size ? 1 : 0,
					   .buf = &byte}),
		 -EROFS);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_ZERO}), -EROFS);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_TRIM}), -EROFS);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_RESIZE}), -EROFS);
	CHECK_EQ(ms_sync(s->b), 0);
}

/* --- contents
 * ----------------------------------------------------------------- */

/* TRIM leaves each byte old or zero: read which, and hold it to that. */
static void do_trim(struct subject *s, uint64_t offset, uint64_t length)
{
	char *buf = malloc(length + 1);

	CHECK(buf);
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_TRIM,
					   .offset = offset,
					   .length = length}),
		 0);
	CHECK_EQ(ms_read_at(s->b, buf, length, offset), 0);
	for (uint64_t i = 0; s->model && i < length; i++) {
		CHECK(buf[i] == 0 || buf[i] == s->model[offset + i]);
		s->model[offset + i] = buf[i];
	}
	free(buf);
}

static void check_extents(struct subject *s, uint64_t offset, uint64_t length)
{
	struct ms_extent list[16];
	struct ms_io io = {.op = MS_OP_EXTENTS,
			   .offset = offset,
			   .length = length,
			   .buf = list,
			   .extents_max = 16};
	uint64_t at = offset;

	CHECK_EQ(ms_wait(s->b, &io), 0);
	CHECK(length == 0 || io.extents_used > 0);
	CHECK(io.extents_used <= 16);
	for (size_t i = 0; i < io.extents_used; i++) {
		CHECK_EQ(list[i].offset, at);
		CHECK(list[i].length > 0);
		at += list[i].length;
		CHECK(at <= offset + length);
		for (uint64_t j = list[i].offset;
		     s->model && list[i].type != MS_EXTENT_DATA && j < at; j++)
			CHECK_EQ(s->model[j], 0);
	}
	CHECK(io.extents_used == 16 || at == offset + length);
}

static void one_step(struct subject *s)
{
	uint64_t offset = next_random(&s->random) % s->size;
	uint64_t room = s->size - offset;
	uint64_t length = 1 + next_random(&s->random) % room;

	if (next_random(&s->random) % 2 && length > 5000)
		length = 1 + length % 5000;
	align(s, &offset, &length);
	switch (next_random(&s->random) % 8) {
	case 0:
	case 1:
		do_write(s, offset, length, 0);
		break;
	case 2:
		do_write(s, offset, length, MS_FUA);
		break;
	case 3:
		CHECK_EQ(ms_zero_at(s->b, length, offset), 0);
		if (s->model)
			memset(s->model + offset, 0, length);
		break;
	case 4:
		do_trim(s, offset, length);
		break;
	case 5:
		check_extents(s, offset, length);
		break;
	case 6:
		CHECK_EQ(ms_sync(s->b), 0);
		break;
	default:
		check_read(s, offset, length);
		break;
	}
}

static void test_random_steps(struct subject *s)
{
	for (int i = 0; i < STEPS; i++)
		one_step(s);
	check_read(s, 0, s->size);
}

/* --- many in flight
 * ------------------------------------------------------------ */

struct flight {
	struct ms_io io[FLIGHT];
	int calls[FLIGHT];
	int pending;
	pthread_mutex_t lock;
	pthread_cond_t landed;
};

static void landed(struct ms_io *io)
{
	struct flight *f = io->user;

	pthread_mutex_lock(&f->lock);
	f->calls[io - f->io]++;
	if (--f->pending == 0)
		pthread_cond_signal(&f->landed);
	pthread_mutex_unlock(&f->lock);
}

static void wait_flight(struct flight *f)
{
	pthread_mutex_lock(&f->lock);
	while (f->pending)
		pthread_cond_wait(&f->landed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	for (int i = 0; i < FLIGHT; i++)
		CHECK_EQ(f->calls[i], 1);
}

static void fly(struct subject *s, enum ms_op op, char *bytes, uint64_t part,
		bool cancel)
{
	struct flight f = {.pending = FLIGHT,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .landed = PTHREAD_COND_INITIALIZER};

	for (uint64_t i = 0; i < FLIGHT; i++) {
		f.io[i] =
			(struct ms_io){.op = op,
				       .priority = i % 3 ? MS_BULK : MS_URGENT,
				       .offset = i * part,
				       .length = part,
				       .buf = bytes + i * part,
				       .done = landed,
				       .user = &f};
		ms_submit(s->b, &f.io[i]);
	}
	for (uint64_t i = 0; cancel && i < FLIGHT; i += 2)
		ms_cancel(s->b, &f.io[i]);
	wait_flight(&f);
	for (int i = 0; i < FLIGHT; i++)
		CHECK(f.io[i].result == 0 ||
		      (cancel && f.io[i].result == -ECANCELED));
}

static void test_flight(struct subject *s)
{
	uint64_t part = s->size / FLIGHT & ~(uint64_t)(s->b->block - 1);
	char *bytes = malloc(FLIGHT * part + 1);

	CHECK(bytes);
	if (part == 0) {
		free(bytes);
		return;
	}
	if (s->b->caps & MS_CAN_WRITE) {
		ms_pattern_fill(5, 0, bytes, FLIGHT * part);
		fly(s, MS_OP_WRITE, bytes, part, false);
		if (s->model)
			memcpy(s->model, bytes, FLIGHT * part);
	}
	memset(bytes, 0x77, FLIGHT * part);
	fly(s, MS_OP_READ, bytes, part, false);
	CHECK(!s->model || memcmp(bytes, s->model, FLIGHT * part) == 0);
	fly(s, MS_OP_READ, bytes, part, true);
	free(bytes);
	check_read(s, 0, s->size);
}

/* --- two writers, a reader, a sync
 * ----------------------------------------------- */

struct writer {
	struct subject *s;
	pthread_t thread;
	uint64_t first; /* it writes stripes first, first + WRITERS, ... */
	uint64_t stripe;
};

static void *write_stripes(void *arg)
{
	struct writer *w = arg;
	struct subject *s = w->s;
	char *buf = malloc(w->stripe);

	CHECK(buf);
	for (int round = 0; round < 4; round++) {
		for (uint64_t i = w->first; (i + 1) * w->stripe <= s->size;
		     i += WRITERS) {
			ms_pattern_fill(100 + (uint64_t)round, i * w->stripe,
					buf, w->stripe);
			CHECK_EQ(ms_write_at(s->b, buf, w->stripe,
					     i * w->stripe),
				 0);
			CHECK_EQ(
				ms_read_at(s->b, buf, w->stripe, i * w->stripe),
				0);
			CHECK(ms_pattern_check(100 + (uint64_t)round,
					       i * w->stripe, buf, w->stripe,
					       NULL));
		}
		CHECK_EQ(ms_sync(s->b), 0);
	}
	free(buf);
	return NULL;
}

/* Neighbouring stripes of two writers share chunks: neither may lose bytes. */
static void test_two_writers(struct subject *s)
{
	struct writer w[WRITERS];
	uint64_t stripe = s->b->block > 1000 ? s->b->block : 1000;

	if (s->size < 2 * stripe || !s->model)
		return;
	for (uint64_t i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){.s = s, .first = i, .stripe = stripe};
		CHECK_EQ(pthread_create(&w[i].thread, NULL, write_stripes,
					&w[i]),
			 0);
	}
	for (uint64_t i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
	ms_pattern_fill(103, 0, s->model, s->size - s->size % stripe);
	check_read(s, 0, s->size);
}

/* --- map, hash, resize
 * -------------------------------------------------------------- */

static void test_map(struct subject *s)
{
	struct ms_mapping m = {.fd = -1};

	if (!(s->b->caps & MS_CAN_MAP)) {
		CHECK_EQ(ms_map(s->b, 0, 1, &m) < 0, 1);
		return;
	}
	CHECK_EQ(ms_map(s->b, 0, s->size + 1, &m), -ERANGE);
	CHECK_EQ(ms_map(s->b, 0, s->size, &m), 0);
	CHECK_EQ(m.length, s->size);
	/* A cache maps its local store: what is not local is not there yet. */
	CHECK_EQ(request(s, (struct ms_io){.op = MS_OP_POPULATE,
					   .length = s->size}),
		 0);
	CHECK(memcmp(m.addr, s->model, s->size) == 0);
	if (m.fd < 0)
		return;
	char byte = 0;
	CHECK_EQ(pread(m.fd, &byte, 1, (off_t)m.fd_offset), 1);
	CHECK_EQ(byte, s->model[0]);
}

static void test_resize(struct subject *s)
{
	if (!(s->b->caps & MS_CAN_RESIZE) || s->b->block > 1)
		return;
	uint64_t bigger = s->size + 5001;
	CHECK_EQ(ms_resize(s->b, bigger), 0);
	CHECK_EQ(ms_size(s->b), bigger);
	if (s->model) {
		s->model = realloc(s->model, bigger);
		CHECK(s->model);
		memset(s->model + s->size, 0, bigger - s->size);
	}
	s->size = bigger;
	check_read(s, 0, s->size);
	do_write(s, s->size - 10, 10, 0);
	check_read(s, 0, s->size);
	/* Shrunk and grown again: the bytes behind must not come back. */
	CHECK_EQ(ms_resize(s->b, s->size - 7), 0);
	CHECK_EQ(ms_resize(s->b, s->size), 0);
	if (s->model)
		memset(s->model + s->size - 7, 0, 7);
	check_read(s, 0, s->size);
}

/* --- errors of what is below
 * ---------------------------------------------------------- */

/* A stage over a store that fails reports it once, with the store's name. */
static void test_failing_child(const struct ms_backend_type *type)
{
	char buf[100];

	if (!strstr(type->example, "{child}") || !ms_backend_type_find("error"))
		return;
	char *spec = example_spec(
		type, 20000,
		"(error:every=1,errno=EIO,next=(memory:size=20000))");
	struct subject s = {.name = type->name, .size = 20000};
	CHECK_EQ(ms_open(spec, &s.b), 0);
	for (int i = 0; i < 3; i++) {
		uint64_t length = s.b->block > 1 ? s.b->block : sizeof(buf);
		char *big = malloc(length);
		CHECK(big);
		CHECK_EQ(ms_read_at(s.b, big, length, 0), -EIO);
		CHECK_HAS(memsync_error(), "error: ");
		free(big);
	}
	ms_close(s.b);
	free(spec);
}

static void test_subject(struct subject s)
{
	test_bounds(&s);
	if (!(s.b->caps & MS_CAN_WRITE))
		test_read_only(&s);
	else if (s.size)
		test_random_steps(&s);
	test_flight(&s);
	if (s.b->caps & MS_CAN_WRITE)
		test_two_writers(&s);
	if (s.size && s.model)
		test_map(&s);
	if (s.size && (s.b->caps & MS_CAN_WRITE))
		test_resize(&s);
	drop(&s);
}

static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 200123};

static void test_type(const struct ms_backend_type *type)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		test_subject(build(type, sizes[i]));
	test_failing_child(type);
}

static void test_transports(void)
{
	static const char *const transports[] = {"pair", "unix", "tcp"};

	for (size_t t = 0; t < 3; t++) {
		uint64_t start = ms_now_ns();
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			test_subject(build_remote(transports[t], sizes[i]));
		(void)printf("remote over %s: as the contract says (%.1f s)\n",
			     transports[t],
			     (double)(ms_now_ns() - start) / 1e9);
	}
}

/* The nbd store is built with a server that keeps bytes in its memory. */
static void test_nbd(const char *options)
{
	uint64_t start = ms_now_ns();

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct subject s = {
			.name = "nbd", .size = sizes[i], .random = 97};
		struct nbd_server server;
		char bytes[32];
		(void)snprintf(bytes, sizeof(bytes), "%" PRIu64, s.size);
		nbd_server_init(&server);
		NBD_START(&server, "memory", bytes);
		s.b = nbd_open_with(&server, options);
		CHECK_EQ(ms_size(s.b), s.size);
		s.model = calloc(1, s.size + 1);
		CHECK(s.model);
		test_subject(s);
		nbd_server_kill(&server, SIGTERM);
	}
	(void)printf("nbd, %s: as the contract says (%.1f s)\n", options,
		     (double)(ms_now_ns() - start) / 1e9);
}

int main(int argc, char **argv)
{
	unsigned tested = 0;

	for (size_t i = 0; ms_backend_types[i]; i++) {
		const struct ms_backend_type *type = ms_backend_types[i];
		if (!type->example ||
		    (argc > 1 && strcmp(argv[1], type->name) != 0))
			continue;
		uint64_t start = ms_now_ns();
		test_type(type);
		(void)printf("%s: as the contract says (%.1f s)\n", type->name,
			     (double)(ms_now_ns() - start) / 1e9);
		tested++;
	}
	if (argc == 1)
		test_transports();
	bool nbd = argc == 1 || strcmp(argv[1], "nbd") == 0;
	CHECK(nbd || tested > 0);
	if (!nbd)
		return 0;
	if (!nbd_have("nbdkit"))
		SKIP("nbdkit is not installed: all but the nbd store was "
		     "tested");
	test_nbd("connections=4");
	test_nbd("connections=1,max-request=4K,window=64K");
	return 0;
}

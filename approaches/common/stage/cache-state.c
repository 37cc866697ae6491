/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a cache in a file: opening, judging, and closing it. */
#include "approaches/common/stage/cache-state-impl.h"
#include "approaches/common/util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the file ----------------------------------------------------------- */

/* The name must be as durable as the bytes behind it. */
static int sync_folder(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	int rc = fsync(fd) ? -errno : 0;
	(void)close(fd);
	/* Some file systems have nothing to sync in a folder. */
	return rc == -EINVAL ? 0 : rc;
}

static int lock_file(const struct cache_state *s)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(s->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return ms_err_plain(-EBUSY,
				    "cache: %s is in use by another cache",
				    s->path);
	return ms_err(-errno, "cache: lock %s", s->path);
}

static int open_file(struct cache_state *s, struct stat *ret)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	s->fd = open(s->path, flags);
	if (s->fd < 0 && errno == ENOENT)
		s->fd = open(s->path, flags | O_CREAT, 0600);
	if (s->fd < 0)
		return ms_err(-errno, "cache: open %s", s->path);
	if (fstat(s->fd, ret))
		return ms_err(-errno, "cache: stat %s", s->path);
	if (!S_ISREG(ret->st_mode))
		return ms_err_plain(-EINVAL, "cache: %s is not a regular file",
				    s->path);
	int rc = lock_file(s);
	/* What another cache did until it unlocked counts as well. */
	if (rc == 0 && fstat(s->fd, ret))
		rc = ms_err(-errno, "cache: stat %s", s->path);
	return rc;
}

static int map_file(struct cache_state *s)
{
	uint64_t length = state_file_bytes(s->chunks);

	if (s->bytes)
		(void)munmap(s->bytes, s->mapped);
	s->bytes = NULL;
	void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
			  s->fd, 0);
	if (addr == MAP_FAILED)
		return ms_err(-errno, "cache: map %s", s->path);
	s->bytes = addr;
	s->mapped = length;
	return 0;
}

int cache_state_flush(const struct cache_state *s)
{
	if (fdatasync(s->fd))
		return ms_err(-errno, "cache: sync %s", s->path);
	return 0;
}

/* Identifies this run of the kernel: what it has in memory is still there. */
static int read_boot(char *ret)
{
	char text[37] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	size_t at = 0;

	if (fd >= 0)
		(void)close(fd);
	for (ssize_t i = 0; i + 1 < n && at < 16; i++) {
		char pair[3] = {text[i], text[i + 1], '\0'};
		char *end = NULL;
		if (text[i] == '-')
			continue;
		ret[at] = (char)strtoul(pair, &end, 16);
		if (*end)
			break;
		at++;
		i++;
	}
	if (at == 16)
		return 0;
	return ms_err_plain(-EIO, "cache: /proc does not say which boot of the "
				  "kernel this is");
}

/* --- judging ------------------------------------------------------------ */

void cache_state_forget(struct cache_state *s, const char *why)
{
	s->fresh = true;
	s->why = why;
	s->loses = s->loses || s->dirty || s->bad;
}

/* The header found is of this cache's region, and the local store fits it. */
static void judge_header(struct cache_state *s,
			 const struct cache_state_config *c,
			 const struct state_header *h)
{
	uint64_t least = h->size < c->size ? h->size : c->size;

	if (h->chunk != c->chunk)
		cache_state_forget(s, "it was made with another chunk size");
	else if (strcmp(h->id, c->id) != 0)
		cache_state_forget(s, "it belongs to another region");
	else if ((s->clean || s->dirty) && c->local < least)
		cache_state_forget(s, "the local store is not the one that "
				      "belongs to it");
}

static bool dirty_beyond(const struct cache_state *s, uint64_t size)
{
	uint64_t first = (size + s->chunk - 1) / s->chunk;

	for (uint64_t i = first; i < s->chunks; i++)
		if (cache_state_get(s, i) == KEPT_DIRTY)
			return true;
	return false;
}

/* The states are of this region: what of them can be believed? */
static void judge_states(struct cache_state *s,
			 const struct cache_state_config *c,
			 const struct state_header *h)
{
	bool exact = (h->flags & HEADER_SEALED) && h->dirty == s->dirty;

	if (s->bad) {
		s->why = "some of its chunk states are damaged";
		s->loses = !exact || !s->believed;
	}
	if (s->dirty && !s->believed) {
		s->why = "chunks were changed and not synced when the host "
			 "went down";
		s->loses = true;
	}
	if (dirty_beyond(s, c->size)) {
		s->why = "chunks beyond the end that the region has now were "
			 "changed";
		s->loses = true;
	}
}

/* Look at a file that has been used before. */
static int judge(struct cache_state *s, const struct cache_state_config *c,
		 uint64_t file_bytes)
{
	struct state_header h;
	enum header_found found = state_read_header(s, &h);

	if (found == HEADER_IO)
		return ms_err_code();
	if (found == HEADER_NONE) {
		s->loses = true;
		cache_state_forget(s, "it is damaged, or not a state file");
		return 0;
	}
	s->generation = h.generation;
	s->fresh = h.flags & HEADER_CREATING;
	if (s->fresh)
		return 0;
	bool same = memcmp(h.boot, s->boot, sizeof(h.boot)) == 0;
	s->believed = (h.flags & HEADER_SEALED) || same;
	/* Without the other slot this may be a header of long ago. */
	s->believed = (s->believed && found == HEADER_BOTH) || c->trust;
	s->check = !s->believed || (h.flags & HEADER_CHECK);
	s->size = h.size;
	s->chunk = h.chunk;
	s->chunks = (h.size + h.chunk - 1) / h.chunk;
	s->salt = h.salt;
	if (s->chunks > file_bytes ||
	    state_file_bytes(s->chunks) > file_bytes) {
		s->loses = found != HEADER_BOTH || !(h.flags & HEADER_SEALED) ||
			   h.dirty;
		cache_state_forget(s, "it was cut short");
		return 0;
	}
	int rc = map_file(s);
	if (rc)
		return rc;
	state_count(s);
	judge_header(s, c, &h);
	if (!s->fresh)
		judge_states(s, c, &h);
	return 0;
}

static int state_release(struct cache_state *s, int rc)
{
	if (s->bytes)
		(void)munmap(s->bytes, s->mapped);
	if (s->fd >= 0)
		(void)close(s->fd);
	free(s->path);
	free(s->id);
	free(s);
	return rc;
}

int cache_state_open(const struct cache_state_config *config,
		     struct cache_state **ret)
{
	struct cache_state *s = calloc(1, sizeof(*s));
	struct stat st = {0};

	if (!s)
		return ms_err(-ENOMEM, "cache: state");
	s->fd = -1;
	s->path = strdup(config->path);
	s->id = strdup(config->id);
	if (!s->path || !s->id)
		return state_release(s, ms_err(-ENOMEM, "cache: state"));
	if (strlen(s->id) > CACHE_STATE_ID_MAX)
		return state_release(
			s, ms_err(-EINVAL, "cache: the id is longer than %d",
				  CACHE_STATE_ID_MAX));
	int rc = read_boot(s->boot);
	if (rc == 0)
		rc = open_file(s, &st);
	if (rc == 0 && st.st_size == 0)
		s->fresh = true;
	else if (rc == 0)
		rc = judge(s, config, (uint64_t)st.st_size);
	if (rc)
		return state_release(s, rc);
	s->chunk = config->chunk;
	*ret = s;
	return 0;
}

/* --- beginning ---------------------------------------------------------- */

static int make_room(struct cache_state *s, uint64_t bytes)
{
	/* Now, so that no store into the mapping finds the disk full. */
	int rc = posix_fallocate(s->fd, 0, (off_t)bytes);

	if (rc)
		return ms_err(-rc, "cache: disk space for %s", s->path);
	return 0;
}

/* Everything absent. A crash on the way leaves a file that starts afresh. */
static int begin_fresh(struct cache_state *s, uint64_t size)
{
	int rc = 0;

	s->size = size;
	s->chunks = (size + s->chunk - 1) / s->chunk;
	s->believed = true;
	s->check = false;
	if (getrandom(&s->salt, sizeof(s->salt), 0) != sizeof(s->salt))
		return ms_err(-errno, "cache: random numbers");
	rc = state_write_header(s, HEADER_CREATING, 0);
	if (rc == 0)
		rc = make_room(s, state_file_bytes(s->chunks));
	if (rc == 0)
		rc = map_file(s);
	if (rc)
		return rc;
	state_clear_pages(s, 0);
	rc = cache_state_flush(s);
	if (rc)
		return rc;
	rc = sync_folder(s->path);
	return rc ? ms_err(rc, "cache: sync the folder of %s", s->path) : 0;
}

/* The chunk that an end cuts has a hash and bytes of another length. */
static void drop_cut(struct cache_state *s, uint64_t end)
{
	uint64_t chunk = end / s->chunk;

	if (end % s->chunk && cache_state_get(s, chunk) == KEPT_CLEAN)
		cache_state_set(s, chunk, KEPT_ABSENT);
}

static int begin_resized(struct cache_state *s, uint64_t size)
{
	uint64_t before = s->chunks;
	uint64_t now = (size + s->chunk - 1) / s->chunk;
	int rc = 0;

	if (size < s->size) {
		for (uint64_t i = now; i < before; i++)
			cache_state_set(s, i, KEPT_ABSENT);
		drop_cut(s, size);
	} else if (size > s->size) {
		drop_cut(s, s->size);
		rc = make_room(s, state_file_bytes(now));
		s->chunks = now;
		if (rc == 0)
			rc = map_file(s);
		if (rc)
			return rc;
		state_clear_pages(s, (before + CACHE_STATE_PAGE_CHUNKS - 1) /
					     CACHE_STATE_PAGE_CHUNKS);
	}
	s->size = size;
	s->chunks = now;
	return rc;
}

int cache_state_begin(struct cache_state *s, uint64_t size)
{
	int rc = 0;

	if (s->fresh) {
		rc = begin_fresh(s, size);
	} else {
		state_drop_bad(s);
		for (uint64_t i = 0; !s->believed && i < s->chunks; i++)
			if (cache_state_get(s, i) == KEPT_DIRTY)
				cache_state_set(s, i, KEPT_ABSENT);
		rc = begin_resized(s, size);
		/* Before the header says that the states can be believed. */
		if (rc == 0)
			rc = cache_state_flush(s);
	}
	uint32_t flags = s->check ? HEADER_CHECK : 0;
	if (rc == 0)
		rc = state_write_header(s, flags, 0);
	/* No slot may say any more that the file is being created. */
	if (rc == 0 && s->fresh)
		rc = state_write_header(s, flags, 0);
	return rc;
}

int cache_state_close(struct cache_state *s, bool sealed)
{
	int rc = 0;

	if (!s)
		return 0;
	if (sealed)
		rc = cache_state_flush(s);
	if (sealed && rc == 0) {
		state_count(s);
		rc = state_write_header(
			s, HEADER_SEALED | (s->check ? HEADER_CHECK : 0),
			s->dirty);
	}
	return state_release(s, rc);
}

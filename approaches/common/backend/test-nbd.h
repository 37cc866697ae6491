/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the nbd store share: a real server (nbdkit) of the test's
 * own, on a socket in a folder of its own, that can be killed and started
 * again; and requests that can be waited for.
 */
#ifndef MS_COMMON_BACKEND_TEST_NBD_H
#define MS_COMMON_BACKEND_TEST_NBD_H

#include "approaches/common/util/clock.h"
#include "memsync/backend.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	NBD_WAIT_S = 30, /* no event takes that long */
	NBD_ARGS_MAX = 24,
};

/* --- the server ----------------------------------------------------------- */

struct nbd_server {
	char dir[200];
	char socket[240];
	char pidfile[240];
	char uri[300];
	pid_t pid;
};

static inline bool nbd_have(const char *program)
{
	char command[200];

	(void)snprintf(command, sizeof(command), "command -v %s >/dev/null",
		       program);
	return system(command) == 0;
}

static inline void nbd_pause_ms(unsigned ms)
{
	(void)usleep(ms * 1000);
}

/* Folder and socket; the server is started by nbd_server_start. */
static inline void nbd_server_init(struct nbd_server *s)
{
	static unsigned folders;
	const char *tmp = getenv("TMP");

	*s = (struct nbd_server){0};
	(void)snprintf(s->dir, sizeof(s->dir), "%s/nbd.%d.%u",
		       tmp ? tmp : "/tmp", (int)getpid(), folders++);
	CHECK_EQ(mkdir(s->dir, 0700), 0);
	(void)snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir);
	(void)snprintf(s->pidfile, sizeof(s->pidfile), "%s/pid", s->dir);
	(void)snprintf(s->uri, sizeof(s->uri), "nbd+unix:///?socket=%s",
		       s->socket);
}

/* Run a program of these words, NULL last, until there is its pid file. */
static inline void nbd_server_exec(struct nbd_server *s,
				   const char *const *argv)
{
	(void)unlink(s->socket);
	(void)unlink(s->pidfile);
	/* What it says about the faults that tests make goes to a file. */
	s->pid = fork();
	CHECK(s->pid >= 0);
	if (s->pid == 0) {
		/* Also if the test fails, and while it is frozen. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		char log[240];
		(void)snprintf(log, sizeof(log), "%s/log", s->dir);
		int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
			      0600);
		if (fd < 0 || dup2(fd, 2) < 0)
			_exit(126);
		(void)execvp(argv[0], (char *const *)(void *)argv);
		_exit(127);
	}
	uint64_t end = ms_now_ns() + NBD_WAIT_S * MS_NS_PER_S;
	while (access(s->pidfile, F_OK)) {
		CHECK(ms_now_ns() < end);
		CHECK_EQ(waitpid(s->pid, NULL, WNOHANG), 0);
		nbd_pause_ms(5);
	}
}

/* Run nbdkit with these words, NULL last, and wait until it listens. */
static inline void nbd_server_start(struct nbd_server *s,
				    const char *const *words)
{
	const char *argv[NBD_ARGS_MAX] = {"nbdkit",    "--foreground",
					  "--unix",    s->socket,
					  "--pidfile", s->pidfile};
	size_t n = 6;

	while (*words && n < NBD_ARGS_MAX - 1)
		argv[n++] = *words++;
	nbd_server_exec(s, argv);
}

/* When this returns it answers nothing any more; nbd_server_kill works. */
static inline void nbd_server_freeze(const struct nbd_server *s)
{
	int status = 0;

	CHECK_EQ(kill(s->pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(s->pid, &status, WUNTRACED), s->pid);
	CHECK(WIFSTOPPED(status));
}

static inline void nbd_server_kill(struct nbd_server *s, int signal_number)
{
	if (s->pid <= 0)
		return;
	CHECK_EQ(kill(s->pid, signal_number), 0);
	CHECK_EQ(waitpid(s->pid, NULL, 0), s->pid);
	s->pid = 0;
}

/* The words that follow are nbdkit's. */
#define NBD_START(server, ...) \
	nbd_server_start(server, (const char *const[]){__VA_ARGS__, NULL})

/* --- requests ------------------------------------------------------------- */

struct nbd_task {
	struct ms_io io;
	sem_t done;
	int calls;
	unsigned order; /* the how-manieth completion of the process */
};

static unsigned nbd_task_counter;

static inline void nbd_task_done(struct ms_io *io)
{
	struct nbd_task *t = io->user;

	t->calls++;
	t->order = __atomic_add_fetch(&nbd_task_counter, 1, __ATOMIC_ACQ_REL);
	(void)sem_post(&t->done);
}

static inline void nbd_task_start(struct ms_backend *b, struct nbd_task *t,
				  struct ms_io io)
{
	memset(t, 0, sizeof(*t));
	(void)sem_init(&t->done, 0, 0);
	t->io = io;
	t->io.done = nbd_task_done;
	t->io.user = t;
	ms_submit(b, &t->io);
}

/* The result; fails the test when it does not come. */
static inline int nbd_task_wait(struct nbd_task *t)
{
	struct timespec until;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += NBD_WAIT_S;
	do
		rc = sem_timedwait(&t->done, &until);
	while (rc && errno == EINTR);
	CHECK_EQ(rc, 0);
	CHECK_EQ(t->calls, 1);
	(void)sem_destroy(&t->done);
	return t->io.result;
}

static inline struct ms_backend *nbd_must_open(const char *spec)
{
	struct ms_backend *b = NULL;

	if (ms_open(spec, &b)) {
		(void)fprintf(stderr, "%s: %s\n", spec, memsync_error());
		exit(1);
	}
	return b;
}

/* Open the server with these options behind its URI. */
static inline struct ms_backend *nbd_open_with(const struct nbd_server *s,
					       const char *options)
{
	char spec[600];

	(void)snprintf(spec, sizeof(spec), "nbd:uri=(%s)%s%s", s->uri,
		       *options ? "," : "", options);
	return nbd_must_open(spec);
}

/* A statistics line of `b` as a number; fails the test if there is none. */
static inline uint64_t nbd_stat(struct ms_backend *b, const char *key)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	uint64_t value = 0;
	bool found = false;

	CHECK(out);
	ms_stats(b, out);
	CHECK_EQ(fclose(out), 0);
	for (char *line = strtok(text, "\n"); line && !found;
	     line = strtok(NULL, "\n")) {
		size_t n = strlen(key);
		if (strncmp(line, key, n) != 0 || line[n] != ' ')
			continue;
		value = strtoull(line + n + 1, NULL, 10);
		found = true;
	}
	free(text);
	CHECK(found);
	return value;
}

#endif

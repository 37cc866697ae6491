/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memsync-uffd map SPEC -- COMMAND: the command runs with MEMSYNC_UFFD set to
 * a socket where the region is handed out (a mapping does not survive exec),
 * and, with --file, with the shim that shows the region as a file.
 */
#include "approaches/common/cli/program.h"
#include "approaches/common/util/err.h"
#include "approaches/uffd/uffd-cmd.h"
#include "approaches/uffd/uffd-service.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHIM "libmemsync-uffd.so"

/* Beside the program as built (bin/../lib) or as installed. */
static int find_shim(char *ret, size_t size)
{
	char self[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = NULL;

	if (n <= 0)
		return ms_err(-errno, "find the program's folder");
	for (int up = 0; up < 2; up++) {
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
	}
	int used = snprintf(ret, size, "%s/lib/" SHIM, self);
	if (used < 0 || (size_t)used >= size)
		return ms_err(-ENAMETOOLONG, "shim");
	if (access(ret, R_OK))
		return ms_err(-errno, "shim %s", ret);
	return 0;
}

/* In the child; only returns on failure. */
static void become(const struct uffd_cmd_run *run, const char *socket,
		   const char *shim, const sigset_t *mask)
{
	char preload[PATH_MAX * 2];
	const char *before = getenv("LD_PRELOAD");

	(void)setenv("MEMSYNC_UFFD", socket, 1);
	if (run->file) {
		(void)snprintf(preload, sizeof(preload), "%s%s%s", shim,
			       before && *before ? ":" : "",
			       before ? before : "");
		(void)setenv("LD_PRELOAD", preload, 1);
		(void)setenv("MEMSYNC_UFFD_FILE", run->file, 1);
	}
	(void)pthread_sigmask(SIG_SETMASK, mask, NULL);
	(void)execvp(run->argv[0], run->argv);
	(void)fprintf(stderr, "%s: %s: %s\n", run->program, run->argv[0],
		      ms_errno_text(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int serve_child(const struct uffd_cmd_run *run,
		       struct ms_backend *backend, const char *socket,
		       const char *shim, const sigset_t *mask)
{
	struct ms_uffd_service *service = NULL;
	struct memsync_uffd_stats stats;
	int rc = ms_uffd_service_open(socket, backend, &run->options, &service);

	if (rc)
		return ms_program_error(run->program, rc);
	pid_t child = fork();
	if (child == 0)
		become(run, socket, shim, mask);
	int code = 1;
	if (child > 0)
		code = ms_program_wait_child(child);
	else
		(void)fprintf(stderr, "%s: fork: %s\n", run->program,
			      ms_errno_text(errno));
	ms_uffd_service_stats(service, &stats);
	if (stats.errors)
		(void)fprintf(stderr, "%s: %llu requests failed, last: %s\n",
			      run->program, (unsigned long long)stats.errors,
			      ms_errno_text(stats.error));
	ms_uffd_service_close(service);
	return code;
}

int uffd_cmd_run(const struct uffd_cmd_run *run)
{
	const char *tmp = getenv("TMPDIR");
	char folder[PATH_MAX];
	char socket[PATH_MAX + 16];
	char shim[PATH_MAX];
	char file[PATH_MAX];
	struct ms_backend *backend = NULL;
	struct uffd_cmd_run with_path = *run;
	sigset_t mask;

	if (run->file) {
		/* The command may change its folder. */
		if (find_shim(shim, sizeof(shim)))
			return ms_program_error(run->program, -EIO);
		if (run->file[0] != '/' && getcwd(folder, sizeof(folder))) {
			(void)snprintf(file, sizeof(file), "%.2000s/%.2000s",
				       folder, run->file);
			with_path.file = file;
		}
	}
	(void)snprintf(folder, sizeof(folder), "%.4000s/memsync-uffd.XXXXXX",
		       tmp && *tmp ? tmp : "/tmp");
	ms_program_block_signals(&mask);
	int rc = ms_open(run->spec, &backend);
	if (rc)
		return ms_program_error(run->program, rc);
	if (!mkdtemp(folder)) {
		rc = ms_err(-errno, "%s", folder);
		ms_close(backend);
		return ms_program_error(run->program, rc);
	}
	(void)snprintf(socket, sizeof(socket), "%s/socket", folder);
	int code = serve_child(&with_path, backend, socket, shim, &mask);
	(void)rmdir(folder);
	return code;
}

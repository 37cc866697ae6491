/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the program memsync-uffd, and what they share. */
#ifndef MS_UFFD_CMD_H
#define MS_UFFD_CMD_H

#include "approaches/common/cli/program.h"
#include "approaches/common/util/opt.h"
#include "memsync/uffd.h"

int uffd_cmd_serve(int argc, char **argv);
int uffd_cmd_map(int argc, char **argv);
int uffd_cmd_handle(int argc, char **argv);

/* The engine's options on a command line. */
struct uffd_cmd_engine {
	int variant;
	int placement;
	uint64_t chunk;
	uint64_t span;
	uint64_t window;
	uint64_t workers;
	uint64_t deadline;
	bool no_pull;
	bool no_huge;
};

extern const char *const uffd_cmd_variants[];
extern const char *const uffd_cmd_placements[];

/* NOLINTBEGIN(bugprone-macro-parentheses): fld is a member's name */
#define UFFD_CMD_ENGINE_OPTIONS(st, fld)                                       \
	MS_OPT_CHOICE(st, fld.variant, "variant", 'v', "tuned",                \
		      uffd_cmd_variants, "engine"),                            \
		MS_OPT_CHOICE(st, fld.placement, "cpu", 0, "same",             \
			      uffd_cmd_placements,                             \
			      "processor of the fault handler, seen from the " \
			      "application"),                                  \
		MS_OPT_SIZE(st, fld.chunk, "chunk", 'c', "32K", 4096,          \
			    1U << 28,                                          \
			    "tuned: fetched for a fault without locality"),    \
		MS_OPT_SIZE(st, fld.span, "span", 0, "1M", 4096, 1U << 28,     \
			    "tuned: fetched at most at once"),                 \
		MS_OPT_SIZE(st, fld.window, "window", 0, "32M", 4096,          \
			    INT64_MAX,                                         \
			    "tuned: pulled in advance at most at once"),       \
		MS_OPT_UINT(st, fld.workers, "workers", 0, "1", 1, 16,         \
			    "tuned: threads that pull in the background"),     \
		MS_OPT_FLAG(st, fld.no_pull, "no-pull", 0,                     \
			    "tuned: fetch only what is accessed"),             \
		MS_OPT_FLAG(st, fld.no_huge, "no-huge", 0,                     \
			    "tuned: keep the local copy in small pages"),      \
		MS_OPT_DURATION(st, fld.deadline, "deadline", 0, "120s",       \
				"time for a fault, then SIGBUS")
/* NOLINTEND(bugprone-macro-parentheses) */

/* As the library takes them. */
struct memsync_uffd_options
uffd_cmd_options(const struct uffd_cmd_engine *engine);

/* Run argv[0..] with the region served at a socket; see uffd-cmd-run.c. */
struct uffd_cmd_run {
	const char *program;
	const char *spec;
	const char *file; /* presented by the shim, or NULL */
	struct memsync_uffd_options options;
	char **argv; /* NULL-terminated */
};
int uffd_cmd_run(const struct uffd_cmd_run *run);

#endif

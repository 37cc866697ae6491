/* SPDX-License-Identifier: Apache-2.0 */
/* `memsync-bench link`: look at, check and use emulated links by hand. */
#ifndef MS_HARNESS_LINK_CMD_H
#define MS_HARNESS_LINK_CMD_H

/*
 * argv[0] is "link"; what follows is profiles, check, run or ceiling.
 * Returns the exit code: 0, 1 failed or not as asked, 2 usage, 77 cannot run
 * here; `run` returns the code of its command (128 + signal if killed).
 */
int cmd_link(int argc, char **argv);

#endif

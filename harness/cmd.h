/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subcommands of memsync-bench. Each takes its own name as argv[0] and
 * returns the exit code: 0, 1 failed, 2 usage, 77 cannot run here, 128 + N
 * ended by signal N. A subcommand is one function and one line in main.c.
 */
#ifndef MS_HARNESS_CMD_H
#define MS_HARNESS_CMD_H

int cmd_list(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_plots(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_thesis_csv(int argc, char **argv);
int cmd_link(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_workload(int argc, char **argv);
int cmd_cost(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif

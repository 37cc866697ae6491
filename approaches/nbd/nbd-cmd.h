/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the program memsync-nbd. Each takes its own name as argv[0]
 * and returns the exit code: 0, 1 failed, 2 usage, 77 cannot run here. */
#ifndef MS_NBD_CMD_H
#define MS_NBD_CMD_H

int nbd_cmd_serve(int argc, char **argv);
int nbd_cmd_source(int argc, char **argv);
int nbd_cmd_mount(int argc, char **argv);
int nbd_cmd_detach(int argc, char **argv);

#endif

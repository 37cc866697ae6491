/* SPDX-License-Identifier: Apache-2.0 */
/* memsync-nbd detach: free devices that a dead daemon has left attached. */
#include "approaches/common/cli/program.h"
#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "approaches/nbd/device.h"
#include "approaches/nbd/nbd-cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PROGRAM "memsync-nbd detach"

static const struct ms_opt options[] = {MS_OPT_END};

static const struct ms_opt_command command = {
	.program = PROGRAM,
	.synopsis = "DEVICE...",
	.summary = "Detach block devices, whoever attached them; what waits "
		   "there fails",
	.table = options,
	.operands_min = 1,
	.operands_max = UINT_MAX,
};

static int parse(const char *text, int *ret)
{
	uint64_t n;

	if (strncmp(text, "/dev/nbd", 8) != 0 || ms_parse_uint(text + 8, &n) ||
	    n > INT_MAX)
		return ms_err(-EINVAL,
			      "\"%.60s\" is no device such as "
			      "/dev/nbd0",
			      text);
	*ret = (int)n;
	return 0;
}

int nbd_cmd_detach(int argc, char **argv)
{
	struct ms_opt_result parsed;
	char unused = 0;
	int rc = ms_opt_parse(&command, &unused, argc, argv, &parsed);
	int code = 0;

	if (rc || parsed.dump_config)
		return rc < 0 ? 2 : 0;
	for (int i = parsed.first_operand; i < argc; i++) {
		int index = -1;

		rc = parse(argv[i], &index);
		if (!rc)
			rc = nbd_device_detach_index(index);
		if (rc && !code)
			code = ms_program_error(PROGRAM, rc);
		else if (rc)
			(void)ms_program_error(PROGRAM, rc);
	}
	return code;
}

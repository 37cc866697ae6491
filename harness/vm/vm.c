/* SPDX-License-Identifier: Apache-2.0 */
/* Boot, run a command, end; see vm.h. */
#include "harness/vm/vm.h"

#include "approaches/common/util/clock.h"
#include "approaches/common/util/err.h"
#include "harness/vm/facts.h"
#include "harness/vm/kernel.h"
#include "harness/vm/machine.h"
#include "harness/vm/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* KVM takes a second where it works; where not, this is waited once a boot. */
#define BOOT_KVM_NS (10 * MS_NS_PER_S)
#define BOOT_TCG_NS (120 * MS_NS_PER_S)
#define TRIES	    2

const char *const vm_accels[] = {"auto", "kvm", "tcg", NULL};

const char *vm_inside(void)
{
	const char *accel = getenv(VM_ENVIRONMENT);

	return accel && *accel ? accel : NULL;
}

struct session {
	const struct vm_config *config;
	struct vm_kernel kernel;
	struct machine machine;
	struct console console;
	struct talk talk;
	struct vm_result *result;
	bool talking;
};

static void end(struct session *s)
{
	if (s->talking)
		talk_release(&s->talk);
	s->talking = false;
	machine_stop(&s->machine);
}

/* Until the guest has said hello; everything is ended if it has not. */
static int boot(struct session *s, enum vm_accel accel)
{
	int err = machine_start(s->config, accel, &s->kernel, &s->machine);

	if (err)
		return err;
	s->result->accel = accel;
	s->talking = true;
	err = talk_init(&s->talk, s->config, &s->machine, &s->console);
	if (!err)
		err = talk_boot(&s->talk,
				accel == VM_KVM ? BOOT_KVM_NS : BOOT_TCG_NS);
	if (err) {
		s->result->signal = s->talk.signal;
		end(s);
	}
	return err;
}

/* Nothing was run yet, so a guest that died on its way up is booted again. */
static int boot_tries(struct session *s, enum vm_accel accel)
{
	int err = -EIO;

	for (int i = 0; i < TRIES && err == -EIO; i++) {
		if (i)
			(void)fprintf(stderr,
				      "memsync-bench vm: booting again: %s\n",
				      ms_err_text());
		err = boot(s, accel);
	}
	return err;
}

static int boot_auto(struct session *s)
{
	enum vm_accel accel = facts_accel(&s->kernel);
	char why[200];
	int err;

	if (accel == VM_TCG)
		return boot_tries(s, VM_TCG);
	if (accel == VM_KVM)
		return boot_tries(s, VM_KVM);
	err = facts_kvm_device();
	if (!err)
		err = boot(s, VM_KVM);
	if (err == -EINTR || err == -EOPNOTSUPP)
		return err;
	(void)snprintf(why, sizeof(why), "%s", err ? ms_err_text() : "");
	facts_note_accel(&s->kernel, err ? VM_TCG : VM_KVM, why);
	return err ? boot_tries(s, VM_TCG) : 0;
}

static int open_console(struct session *s)
{
	const char *path = s->config->console;

	s->console = (struct console){
		.text = s->result->console, .room = VM_CONSOLE_MAX, .file = -1};
	if (!path)
		return 0;
	s->console.file =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return s->console.file < 0 ? ms_err(-errno, "%s", path) : 0;
}

static int run(struct session *s, const struct vm_config *config)
{
	char accel[32];
	const char *env[16] = {accel};
	struct vm_config inner = *config;
	int err;

	(void)snprintf(accel, sizeof(accel), VM_ENVIRONMENT "=%s",
		       vm_accels[s->result->accel]);
	for (size_t i = 0; config->env && config->env[i] && i < 14; i++)
		env[i + 1] = config->env[i];
	inner.env = env;
	s->talk.config = &inner;
	err = talk_command(&s->talk, s->kernel.dir);
	s->talk.config = config;
	return err;
}

int vm_run(const struct vm_config *config, struct vm_result *ret)
{
	struct session s = {.config = config,
			    .result = ret,
			    .machine = {.pid = -1, .agent = -1, .console = -1}};
	uint64_t begin = ms_now_ns();
	int err = 0;

	*ret = (struct vm_result){.accel = config->accel};
	err = machine_supported();
	if (!err)
		err = open_console(&s);
	if (!err)
		err = vm_kernel_find(0, &s.kernel);
	if (!err)
		err = config->accel == VM_AUTO ? boot_auto(&s)
					       : boot_tries(&s, config->accel);
	if (!err) {
		err = run(&s, config);
		ret->status = s.talk.status;
		ret->signal = s.talk.signal;
		(void)snprintf(ret->release, sizeof(ret->release), "%s",
			       s.talk.release);
		if (s.talk.started_ns)
			ret->boot_s = (double)(s.talk.started_ns - begin) / 1e9;
	}
	end(&s);
	if (s.console.file >= 0)
		(void)close(s.console.file);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU as a child; see machine.h. */
#include "harness/vm/machine.h"

#include "approaches/common/util/err.h"
#include "harness/run/approach.h"
#include "harness/vm/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY_DEFAULT (UINT64_C(3) << 30)
#define CPUS_DEFAULT   2
#define ARGS_MAX       128

/*
 * panic=-1: a panic ends it. maxcpus=1: the guest's first process starts the
 * others (guest/root.c says why). The rest saves time at boot.
 */
#define KERNEL_ARGS                                                          \
	"console=ttyS0 quiet panic=-1 maxcpus=1 noreplace-smp tsc=reliable " \
	"no_timer_check apparmor=0 audit=0 random.trust_cpu=on"

struct args {
	char *argv[ARGS_MAX + 1];
	size_t n;
	bool bad;
};

static void add(struct args *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void add(struct args *a, const char *fmt, ...)
{
	va_list list;

	va_start(list, fmt);
	if (a->n == ARGS_MAX || vasprintf(&a->argv[a->n], fmt, list) < 0)
		a->bad = true;
	else
		a->n++;
	va_end(list);
}

static void release(struct args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->argv[i]);
}

void machine_share_tag(unsigned n, char buf[16])
{
	(void)snprintf(buf, 16, "share%u", n);
}

/* In QEMU's lists of options a comma in a value is doubled. */
static char *escaped(const char *path)
{
	char *out = malloc(2 * strlen(path) + 1);
	char *to = out;

	for (; out && *path; path++) {
		*to++ = *path;
		if (*path == ',')
			*to++ = ',';
	}
	if (out)
		*to = '\0';
	return out;
}

static void add_folder(struct args *a, const char *tag, const char *path,
		       bool read_only)
{
	char *text = escaped(path);

	if (!text) {
		a->bad = true;
		return;
	}
	add(a, "-fsdev");
	add(a, "local,id=%s,path=%s,security_model=none,multidevs=remap%s", tag,
	    text, read_only ? ",readonly=on" : "");
	add(a, "-device");
	add(a, "virtio-9p-pci,fsdev=%s,mount_tag=%s", tag, tag);
	free(text);
}

static void add_folders(struct args *a, const struct vm_config *c)
{
	char tag[16];

	add_folder(a, "host", "/", true);
	for (unsigned i = 0; c->shares && c->shares[i]; i++) {
		machine_share_tag(i, tag);
		add_folder(a, tag, c->shares[i], false);
	}
}

static void add_all(struct args *a, const struct vm_config *c,
		    enum vm_accel accel, const struct vm_kernel *k,
		    const int fds[3])
{
	uint64_t memory = c->memory_bytes ? c->memory_bytes : MEMORY_DEFAULT;

	add(a, MACHINE_PROGRAM);
	add(a, "-accel");
	add(a, "%s", accel == VM_KVM ? "kvm" : "tcg,thread=multi");
	add(a, "-cpu");
	add(a, "%s", accel == VM_KVM ? "host" : "max");
	add(a, "-smp");
	add(a, "%u", c->cpus ? c->cpus : CPUS_DEFAULT);
	add(a, "-m");
	add(a, "%lluM", (unsigned long long)(memory >> 20));
	add(a, "-nodefaults");
	add(a, "-no-user-config");
	add(a, "-nographic");
	add(a, "-no-reboot");
	add(a, "-nic");
	add(a, "none");
	add(a, "-kernel");
	add(a, "%s/vmlinuz", k->dir);
	add(a, "-initrd");
	add(a, "/proc/self/fd/%d", fds[0]);
	add(a, "-append");
	add(a, KERNEL_ARGS);
	add(a, "-chardev");
	add(a, "socket,id=console,fd=%d", fds[1]);
	add(a, "-serial");
	add(a, "chardev:console");
	add(a, "-device");
	add(a, "virtio-serial-pci");
	add(a, "-chardev");
	add(a, "socket,id=agent,fd=%d", fds[2]);
	add(a, "-device");
	add(a, "virtserialport,chardev=agent,name=" FRAME_PORT);
	add_folders(a, c);
}

/* Between fork and exec: async-signal-safe calls only. */
static void __attribute__((noreturn))
become(const char *path, char *const argv[], pid_t parent, const int fds[3])
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	(void)sigemptyset(&none);
	/* A session of its own: the terminal's signals are not for it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent ||
	    setsid() < 0 || null < 0 || dup2(null, 0) < 0 ||
	    dup2(fds[1], 1) < 0 || dup2(fds[1], 2) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL))
		_exit(126);
	for (int i = 0; i < 3; i++)
		(void)fcntl(fds[i], F_SETFD, 0);
	(void)execv(path, argv);
	_exit(127);
}

static int launch(const char *path, const struct args *a, const int fds[3],
		  pid_t *ret)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		return ms_err(-errno, "start " MACHINE_PROGRAM);
	if (pid == 0)
		become(path, a->argv, parent, fds);
	*ret = pid;
	return 0;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
		fds[i] = -1;
	}
}

static int find_program(char *path, size_t size)
{
	if (!approach_program(MACHINE_PROGRAM, path, size))
		return 0;
	return ms_err_plain(-EOPNOTSUPP,
			    "no VM: " MACHINE_PROGRAM " is not installed "
			    "(apt install qemu-system-x86)");
}

int machine_supported(void)
{
	char path[PATH_MAX];

	return find_program(path, sizeof(path));
}

int machine_start(const struct vm_config *config, enum vm_accel accel,
		  const struct vm_kernel *kernel, struct machine *ret)
{
	int ours[2] = {-1, -1};	      /* console, agent */
	int theirs[3] = {-1, -1, -1}; /* initrd, console, agent */
	struct args a = {.n = 0};
	char path[PATH_MAX];
	pid_t pid = -1;
	int err = 0;

	if (approach_program(MACHINE_PROGRAM, path, sizeof(path)))
		return ms_err_plain(-EOPNOTSUPP,
				    "no VM: " MACHINE_PROGRAM
				    " is not installed "
				    "(apt install qemu-system-x86)");
	err = vm_kernel_initrd(kernel, &theirs[0]);
	for (int i = 0; i < 2 && !err; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
			err = ms_err(-errno, "socketpair");
			break;
		}
		ours[i] = pair[0];
		theirs[i + 1] = pair[1];
		(void)fcntl(ours[i], F_SETFL, O_NONBLOCK);
	}
	if (!err) {
		add_all(&a, config, accel, kernel, theirs);
		err = a.bad ? ms_err(-ENOMEM, "arguments of QEMU")
			    : launch(path, &a, theirs, &pid);
	}
	release(&a);
	close_all(theirs, 3);
	if (err) {
		close_all(ours, 2);
		return err;
	}
	*ret = (struct machine){
		.pid = pid, .console = ours[0], .agent = ours[1]};
	return 0;
}

void machine_stop(struct machine *m)
{
	int fds[2] = {m->agent, m->console};

	if (m->pid > 0) {
		(void)kill(m->pid, SIGKILL);
		while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close_all(fds, 2);
	*m = (struct machine){.pid = -1, .agent = -1, .console = -1};
}

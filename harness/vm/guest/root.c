/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's root: modules, mounts, moving in; see guest.h. */
#include "harness/vm/guest/guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT	 "/root"
#define PATH_LEN 4096
/* As much as a virtio request takes. */
#define NINE_P "trans=virtio,version=9p2000.L,msize=512000"

struct mount_point {
	const char *type;
	const char *to;
	unsigned long flags;
	const char *options;
	bool optional; /* a kernel without it does */
};

static int mount_one(const struct mount_point *m, const char *prefix)
{
	char to[PATH_LEN];

	(void)snprintf(to, sizeof(to), "%s%s", prefix, m->to);
	(void)mkdir(to, 0755);
	if (mount(m->type, to, m->type, m->flags, m->options) && !m->optional)
		return guest_fail(-errno, "mount %s on %s", m->type, m->to);
	return 0;
}

int guest_early_mounts(void)
{
	static const struct mount_point list[] = {
		{"devtmpfs", "/dev", MS_NOSUID, NULL, false},
		{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
		 false},
		{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
		 false},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(list) / sizeof(*list) && !err; i++)
		err = mount_one(&list[i], "");
	return err;
}

static int load(const char *name)
{
	char path[PATH_LEN];
	int err = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "/modules/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
		err = guest_fail(-errno, "load %s", name);
	if (fd >= 0)
		(void)close(fd);
	return err;
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int guest_boot_modules(void)
{
	struct dirent **list = NULL;
	int n = scandir("/modules", &list, visible, alphasort);
	int err = n < 0 ? guest_fail(-errno, "read /modules") : 0;

	for (int i = 0; i < n; i++) {
		if (!err)
			err = load(list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return err;
}

static int mount_overlay(void)
{
	if (mkdir("/lower", 0755) || mkdir("/over", 0755) ||
	    (mkdir(ROOT, 0755) && errno != EEXIST))
		return guest_fail(-errno, "make folders for the root");
	if (mount("host", "/lower", "9p", MS_RDONLY, NINE_P ",cache=loose"))
		return guest_fail(-errno, "mount the host's root by 9p");
	if (mount("tmpfs", "/over", "tmpfs", 0, "size=80%,mode=755") ||
	    mkdir("/over/up", 0755) || mkdir("/over/work", 0755))
		return guest_fail(-errno, "mount a tmpfs for the overlay");
	if (mount("overlay", ROOT, "overlay", 0,
		  "lowerdir=/lower,upperdir=/over/up,workdir=/over/work"))
		return guest_fail(-errno, "mount the overlay");
	return 0;
}

/* A folder of the host that is written back, at the path it has there. */
static int mount_share(const char *share)
{
	char to[PATH_LEN];
	char tag[32];
	const char *path = strchr(share, '=') + 1;

	(void)snprintf(tag, sizeof(tag), "%.*s", (int)(path - 1 - share),
		       share);
	(void)snprintf(to, sizeof(to), ROOT "%s", path);
	/* Nothing is cached: a file that is appended to is not to be guessed
	 * at. */
	if (mount(tag, to, "9p", 0, NINE_P ",cache=none"))
		return guest_fail(-errno, "mount %s by 9p", path);
	return 0;
}

/* All modules of this kernel, where modprobe looks for them. */
static int bind_modules(const char *folder)
{
	struct utsname u;
	char from[PATH_LEN];
	char to[PATH_LEN];

	if (uname(&u))
		return guest_fail(-errno, "uname");
	(void)snprintf(from, sizeof(from), ROOT "%s/lib/modules/%s", folder,
		       u.release);
	(void)snprintf(to, sizeof(to), ROOT "/lib/modules");
	(void)mkdir(to, 0755);
	(void)snprintf(to, sizeof(to), ROOT "/lib/modules/%s", u.release);
	(void)mkdir(to, 0755);
	if (mount(from, to, NULL, MS_BIND, NULL))
		return guest_fail(-errno, "bind %s", from + strlen(ROOT));
	return 0;
}

static int mount_kernel_file_systems(void)
{
	static const struct mount_point list[] = {
		{"devtmpfs", "/dev", MS_NOSUID, NULL, false},
		{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
		 "ptmxmode=666,mode=620,gid=5", false},
		{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", false},
		{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
		 false},
		{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
		 false},
		{"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		 NULL, true},
		{"debugfs", "/sys/kernel/debug",
		 MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
		{"tracefs", "/sys/kernel/tracing",
		 MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
		{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", false},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(list) / sizeof(*list) && !err; i++)
		err = mount_one(&list[i], ROOT);
	(void)symlink("/proc/self/fd", ROOT "/dev/fd");
	(void)symlink("fd/0", ROOT "/dev/stdin");
	(void)symlink("fd/1", ROOT "/dev/stdout");
	(void)symlink("fd/2", ROOT "/dev/stderr");
	(void)symlink("pts/ptmx", ROOT "/dev/ptmx");
	return err;
}

/*
 * Move the root's mount onto / and go there. The kernel's helper threads share
 * this process' root, so they find modprobe there, too.
 */
static int move_in(void)
{
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		return guest_fail(-errno, "move into the root");
	return 0;
}

int guest_enter_root(const struct vm_start *start)
{
	int err = mount_overlay();

	if (!err)
		err = bind_modules(start->modules);
	if (!err)
		err = mount_kernel_file_systems();
	for (const char **s = start->shares; *s && !err; s++)
		err = mount_share(*s);
	if (!err)
		err = move_in();
	return err;
}

static int loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &r))
		err = guest_fail(-errno, "bring lo up");
	if (s >= 0)
		(void)close(s);
	return err;
}

/*
 * What nothing asks the kernel for by itself: block devices that have to be
 * there before they are opened. A module that is missing is a feature that is
 * missing, which whoever needs it says.
 */
static void load_devices(void)
{
	static const char *const argv[] = {"modprobe", "-q",	   "-a",
					   "nbd",      "ublk_drv", "tun",
					   "loop",     "fuse",	   NULL};
	pid_t pid = fork();

	if (pid == 0) {
		(void)execv("/sbin/modprobe", (char *const *)argv);
		_exit(127);
	}
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text);
	int err = 0;

	if (fd < 0 || write(fd, text, (size_t)len) != len)
		err = guest_fail(-errno, "write %s", path);
	if (fd >= 0)
		(void)close(fd);
	return err;
}

/*
 * The kernel patches its own code ("static keys") when certain things are used
 * for the first time or no longer. Under software emulation another processor
 * may run what was translated in the middle of that, which ends in "Oops:
 * int3": one boot in thirty did, and any use of packet time stamps within
 * seconds (QEMU 7.2; 10.0 takes longer). So it comes up with one processor
 * (maxcpus=1), and what would be patched later is used here before the others
 * start, and stays in use: time stamps, and what TCP and UDP do only once.
 */
static void use_static_keys(void)
{
	static const int on = 1;
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int stamps = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* Never closed. */
	(void)setsockopt(stamps, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
	if (bind(stamps, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    listen(listener, 1) == 0 &&
	    getsockname(listener, (struct sockaddr *)&a, &len) == 0)
		(void)connect(client, (struct sockaddr *)&a, sizeof(a));
	(void)close(client);
	(void)close(listener);
}

static int start_processors(void)
{
	char path[64];
	int err = 0;

	for (unsigned i = 1; !err; i++) {
		(void)snprintf(path, sizeof(path),
			       "/sys/devices/system/cpu/cpu%u/online", i);
		if (access(path, F_OK))
			break;
		err = write_file(path, "1");
	}
	return err;
}

int guest_finish_host(void)
{
	static const char name[] = "memsync-vm";
	int err = loopback_up();

	if (!err && sethostname(name, sizeof(name) - 1))
		err = guest_fail(-errno, "sethostname");
	if (!err) {
		load_devices();
		use_static_keys();
		err = start_processors();
	}
	return err;
}

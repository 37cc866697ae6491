/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces are made and entered by the calling thread itself, which then
 * goes back. Interfaces are set up with the classic ioctls, which need no
 * program; virtual Ethernet pairs and qdiscs (other files) use iproute2.
 */
#include "harness/link/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"

#define SELF_NS "/proc/thread-self/ns/net"

static void go_back(int home)
{
	if (setns(home, CLONE_NEWNET) == 0)
		return;
	(void)fprintf(stderr,
		      "link: cannot return to the own network "
		      "namespace: %s\n",
		      ms_errno_text(errno));
	abort();
}

static int open_self(int *ret_fd)
{
	int fd = open(SELF_NS, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return ms_err(-errno, "link: open %s", SELF_NS);
	*ret_fd = fd;
	return 0;
}

int netns_run(int fd, int (*fn)(void *arg), void *arg)
{
	int home = -1;
	int r = open_self(&home);

	if (r)
		return r;
	if (setns(fd, CLONE_NEWNET) < 0) {
		r = ms_err(-errno, "link: enter a network namespace");
	} else {
		r = fn(arg);
		go_back(home);
	}
	(void)close(home);
	return r;
}

static int if_ioctl(unsigned long request, void *arg)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = 0;

	if (s < 0)
		return -errno;
	if (ioctl(s, request, arg) < 0)
		r = -errno;
	(void)close(s);
	return r;
}

static void set_name(struct ifreq *ifr, const char *name)
{
	memset(ifr, 0, sizeof(*ifr));
	(void)snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
}

static int set_up(const char *name)
{
	struct ifreq ifr;
	int r;

	set_name(&ifr, name);
	r = if_ioctl(SIOCGIFFLAGS, &ifr);
	if (r)
		return r;
	ifr.ifr_flags |= IFF_UP;
	return if_ioctl(SIOCSIFFLAGS, &ifr);
}

/* First thing in a new namespace, before any interface is there. */
static int prepare(void)
{
	int r = set_up("lo");

	if (r)
		return ms_err(r, "link: loopback up");
	r = netns_sysctl_write("ipv6/conf/all/disable_ipv6", "1");
	if (!r)
		r = netns_sysctl_write("ipv6/conf/default/disable_ipv6", "1");
	return r == -ENOENT ? 0 : r; /* a kernel without IPv6 */
}

int netns_new(int *ret_fd)
{
	int home = -1;
	int fd = -1;
	int r = open_self(&home);

	if (r)
		return r;
	if (unshare(CLONE_NEWNET) < 0) {
		r = ms_err(-errno, "link: make a network namespace");
		(void)close(home);
		return r;
	}
	r = prepare();
	if (!r)
		r = open_self(&fd);
	go_back(home);
	(void)close(home);
	if (!r)
		*ret_fd = fd;
	return r;
}

static struct sockaddr address_of(uint32_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr = {htonl(address)}};
	struct sockaddr ret;

	memcpy(&ret, &in, sizeof(ret));
	return ret;
}

int netif_up(const struct netif_config *config)
{
	struct ifreq ifr;
	int r;

	set_name(&ifr, config->name);
	ifr.ifr_mtu = (int)config->mtu;
	r = if_ioctl(SIOCSIFMTU, &ifr);
	if (r)
		return ms_err(r, "link: MTU %u of %s", config->mtu,
			      config->name);
	if (config->queue_packets) {
		set_name(&ifr, config->name);
		ifr.ifr_qlen = (int)config->queue_packets;
		r = if_ioctl(SIOCSIFTXQLEN, &ifr);
		if (r)
			return ms_err(r, "link: queue length of %s",
				      config->name);
	}
	set_name(&ifr, config->name);
	ifr.ifr_addr = address_of(config->address);
	r = if_ioctl(SIOCSIFADDR, &ifr);
	if (!r) {
		set_name(&ifr, config->name);
		ifr.ifr_netmask = address_of(0xffffff00);
		r = if_ioctl(SIOCSIFNETMASK, &ifr);
	}
	if (!r)
		r = set_up(config->name);
	return r ? ms_err(r, "link: address of %s", config->name) : 0;
}

int netif_offloads_off(const char *name)
{
	static const struct {
		uint32_t command;
		const char *what;
	} offloads[] = {
		{ETHTOOL_STSO, "TSO"},
		{ETHTOOL_SGSO, "GSO"},
		{ETHTOOL_SGRO, "GRO"},
	};

	for (size_t i = 0; i < sizeof(offloads) / sizeof(offloads[0]); i++) {
		struct ethtool_value v = {.cmd = offloads[i].command};
		struct ifreq ifr;
		int r;

		set_name(&ifr, name);
		ifr.ifr_data = (void *)&v;
		r = if_ioctl(SIOCETHTOOL, &ifr);
		if (r)
			return ms_err(r, "link: %s off at %s", offloads[i].what,
				      name);
	}
	return 0;
}

int netns_parse_numbers(char *text, int max, uint64_t ret[])
{
	char *save = NULL;
	int n = 0;

	for (char *word = strtok_r(text, " \t\n", &save); word && n < max;
	     word = strtok_r(NULL, " \t\n", &save), n++)
		if (ms_parse_uint(word, &ret[n]))
			return -EBADMSG;
	return n;
}

static int open_sysctl(const char *name, int flags, char *path, size_t size)
{
	int fd;

	(void)snprintf(path, size, "/proc/sys/net/%s", name);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? ms_err(-errno, "link: open %s", path) : fd;
}

int netns_sysctl_write(const char *name, const char *value)
{
	char path[128];
	int fd = open_sysctl(name, O_WRONLY, path, sizeof(path));
	int r = 0;

	if (fd < 0)
		return fd;
	if (write(fd, value, strlen(value)) < 0)
		r = ms_err(-errno, "link: write \"%s\" to %s", value, path);
	(void)close(fd);
	return r;
}

int netns_sysctl_read(const char *name, char *buf, size_t size)
{
	char path[128];
	int fd = open_sysctl(name, O_RDONLY, path, sizeof(path));
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return fd;
	n = read(fd, buf, size - 1);
	if (n < 0)
		r = ms_err(-errno, "link: read %s", path);
	else
		buf[n] = '\0';
	(void)close(fd);
	if (!r)
		buf[strcspn(buf, "\n")] = '\0';
	for (char *p = buf; !r && *p; p++)
		if (*p == '\t')
			*p = ' ';
	return r;
}

/* The last line that is not empty, in place. */
static char *last_line(char *text)
{
	size_t len = strlen(text);
	char *start;

	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	start = strrchr(text, '\n');
	return start ? start + 1 : text;
}

static int spawn(const char *const argv[], int out, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	r = posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
						     "/dev/null", O_WRONLY, 0);
	if (!r)
		r = posix_spawnp(ret_pid, argv[0], &actions, NULL,
				 (char *const *)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int netns_spawn(const char *const argv[])
{
	char text[1024];
	size_t used = 0;
	int status = 0;
	pid_t pid = -1;
	int pipes[2];
	ssize_t n;
	int r;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return ms_err(-errno, "link: pipe");
	r = spawn(argv, pipes[1], &pid);
	(void)close(pipes[1]);
	while (!r && used < sizeof(text) - 1) {
		n = read(pipes[0], text + used, sizeof(text) - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	text[used] = '\0';
	(void)close(pipes[0]);
	if (r)
		return ms_err(r, "link: start %s", argv[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return ms_err(-errno, "link: wait for %s", argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return ms_err(-EIO, "link: %s %s %s: %s", argv[0], argv[1], argv[2],
		      used ? last_line(text) : "failed without a word");
}

void netns_format_address(uint32_t address, char buf[16])
{
	(void)snprintf(buf, 16, "%u.%u.%u.%u", address >> 24 & 255,
		       address >> 16 & 255, address >> 8 & 255, address & 255);
}

/* check: everything that would keep a server from starting, as a table of questions; each bad answer says what to
 * do. */
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/task.h"
#include "cmd/cmd.h"
#include "network/network.h"
#include "pki/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define AFTER_CRASH_MS 2000
#define DISK_LEAST ((uint64_t)256 << 20)
#define CLOCK_DIFFERENCE_S 3600
#define WALL_LEAST 1767225600 /* 2026-01-01: an older clock is wrong, and certificates would be too */

struct question {
	const char *name;
	bool node_only; /* of no interest with --no-node */
	bool start_too; /* asked before a start, not only by `kogge check` */
	bool warning;   /* bad, but a server starts */
	/* NULL: fine; else what is wrong and what to do, in the arena. */
	const char *(*ask)(struct arena *a, const struct settings *s, const struct layout *l);
};

static const char *ask_root(struct arena *a, const struct settings *s, const struct layout *l)
{
	(void)a, (void)s, (void)l;
	return geteuid() == 0 ?
		NULL :
		"a node needs root (namespaces, mounts, nftables): use sudo, or --no-node for the API alone";
}

/* A program on PATH. */
static bool on_path(struct arena *a, const char *name)
{
	const char *path = getenv("PATH");

	for (struct str dir, rest = str_c(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"); str_next(&rest, ':', &dir);)
		if (access(arena_printf(a, "%.*s/%s", STR_ARG(dir), name), X_OK) == 0)
			return true;
	return false;
}

static const char *ask_containerd(struct arena *a, const struct settings *s, const struct layout *l)
{
	if (s->cri_socket[0])
		return access(l->containerd_socket, F_OK) == 0 ?
			NULL :
			arena_printf(a, "there is no container runtime's socket %s (--cri-socket)", s->cri_socket);
	return on_path(a, "containerd") ? NULL : "containerd is not installed: apt-get install containerd";
}

static const char *ask_runc(struct arena *a, const struct settings *s, const struct layout *l)
{
	(void)l;
	return s->cri_socket[0] || on_path(a, "runc") || on_path(a, "crun") ?
		NULL :
		"runc is not installed: apt-get install runc";
}

static bool port_free(const char *address, int64_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	bool is_v6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1, ok;
	const struct sockaddr *to = is_v6 ? (void *)&v6 : (void *)&v4;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, zero = 0;

	if (is_v6 && fd < 0)
		return true; /* ask_ipv6() says why */
	if (!is_v6 && inet_pton(AF_INET, address, &v4.sin_addr) != 1)
		v4.sin_addr.s_addr = htonl(INADDR_ANY);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (is_v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	ok = bind(fd, to, is_v6 ? sizeof(v6) : sizeof(v4)) == 0 && listen(fd, 1) == 0;
	close(fd);
	return ok;
}

/* The supervisor's pid that the data folder names; 0: none. */
static int last_pid(const struct layout *l)
{
	return (int)file_number(l->supervisor_lock, 0);
}

static bool is_alive(int pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return pid > 0 && access(path, F_OK) == 0;
}

/* Our own running server holds its ports rightly. After a crash its children may need a moment to be gone. */
static bool port_for_us(const struct layout *l, const char *address, int64_t port)
{
	int pid = last_pid(l);
	bool is_free = port_free(address, port);

	if (is_alive(pid))
		return true;
	for (int ms = 0; !is_free && pid && ms < AFTER_CRASH_MS; ms += 10) {
		task_sleep_ms(10);
		is_free = port_free(address, port);
	}
	return is_free;
}

static const char *ask_port(struct arena *a, const struct settings *s, const struct layout *l)
{
	if (port_for_us(l, l->ip.listen, s->port))
		return NULL;
	return arena_printf(a,
		"port %lld is taken by another program (ss -ltnp 'sport = :%lld' shows which): stop it or choose --port",
		(long long)s->port, (long long)s->port);
}

static const char *ask_node_port(struct arena *a, const struct settings *s, const struct layout *l)
{
	if (port_for_us(l, l->ip.has_v6 ? "::" : "0.0.0.0", s->node_port))
		return NULL;
	return arena_printf(a,
		"port %lld, of the node agent, is taken by another program (ss -ltnp 'sport = :%lld'): stop it or choose --node-port",
		(long long)s->node_port, (long long)s->node_port);
}

static const char *existing_parent(struct arena *a, const char *path)
{
	char *copy = arena_strdup(a, path), *slash;

	while (access(copy, F_OK) < 0 && (slash = strrchr(copy, '/')) && slash != copy)
		*slash = 0;
	return access(copy, F_OK) == 0 ? copy : "/";
}

/* What is too little on the disk of the data folder. */
static const char *lacks_room(struct arena *a, const struct layout *l)
{
	const char *at = existing_parent(a, l->data);
	struct statvfs v;
	uint64_t left;

	if (statvfs(at, &v) < 0)
		return arena_printf(a, "cannot look at %s: %s", at, strerror(errno));
	left = (uint64_t)v.f_bavail * v.f_frsize;
	if (left < DISK_LEAST)
		return arena_printf(a, "only %llu MiB are free for %s; at least %llu are wanted: free some",
			(unsigned long long)(left >> 20), l->data, (unsigned long long)(DISK_LEAST >> 20));
	if (v.f_files && v.f_favail < 1000)
		return arena_printf(a, "the file system of %s is nearly out of inodes: remove some files", l->data);
	return NULL;
}

static const char *ask_disk(struct arena *a, const struct settings *s, const struct layout *l)
{
	const char *lack = access(l->store, F_OK) == 0 ? NULL : lacks_room(a, l);

	(void)s;
	return lack ? arena_printf(a, "%s, or choose another --data-dir", lack) : NULL;
}

/* A cluster that is there starts without room, too: nobody else can delete what is too much. */
static const char *ask_disk_room(struct arena *a, const struct settings *s, const struct layout *l)
{
	(void)s;
	return access(l->store, F_OK) == 0 ? lacks_room(a, l) : NULL;
}

static const char *ask_store(struct arena *a, const struct settings *s, const struct layout *l)
{
	struct err e;

	(void)s;
	err_init(&e);
	return layout_check(l, &e) < 0 ? arena_strdup(a, e.message) : NULL;
}

/* The control process has a uid of its own and must reach its folder. */
static const char *ask_reachable(struct arena *a, const struct settings *s, const struct layout *l)
{
	char *copy = arena_strdup(a, l->data);

	(void)s;
	if (geteuid() != 0)
		return NULL;
	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		struct stat st;

		*p = 0;
		if (stat(copy, &st) == 0 && !(st.st_mode & S_IXOTH))
			return arena_printf(a,
				"the control process runs as its own user and cannot pass through %s: chmod o+x it, or choose another --data-dir",
				copy);
		*p = '/';
	}
	return NULL;
}

static const char *ask_cgroups(struct arena *a, const struct settings *s, const struct layout *l)
{
	(void)a, (void)s, (void)l;
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 || access("/sys/fs/cgroup/memory", F_OK) == 0)
		return NULL;
	return "no cgroups are mounted under /sys/fs/cgroup: mount -t cgroup2 none /sys/fs/cgroup";
}

static const char *ask_forward(struct arena *a, const struct settings *s, const struct layout *l)
{
	(void)a, (void)s, (void)l;
	if (geteuid() != 0)
		return NULL; /* said already */
	return access("/proc/sys/net/ipv4/ip_forward", W_OK) == 0 ?
		NULL :
		"/proc/sys/net/ipv4/ip_forward cannot be written: pods would have no network";
}

static const char *time_text(struct arena *a, int64_t seconds)
{
	char text[TIME_TEXT_MAX];

	wall_rfc3339((struct wall){ seconds * 1000000000 }, text);
	return arena_strdup(a, text);
}

static const char *ask_clock(struct arena *a, const struct settings *s, const struct layout *l)
{
	int64_t now = wall_s(wall_now());
	struct stat st;

	(void)s;
	if (now < WALL_LEAST)
		return arena_printf(a, "the clock says %s, which is too early to be true: certificates would not hold",
			time_text(a, now));
	if (stat(l->store, &st) == 0 && st.st_mtim.tv_sec > now + CLOCK_DIFFERENCE_S)
		return arena_printf(a,
			"the clock says %s, but the data in %s was written at %s: set the clock (timedatectl set-ntp true)",
			time_text(a, now), l->data, time_text(a, st.st_mtim.tv_sec));
	return NULL;
}

/* When the certificate in a file ends. false: there is none that can be read. */
static bool ends_at(const char *path, int64_t *ret_s)
{
	auto_buf struct buf pem = BUF_INIT;
	struct err e;

	err_init(&e);
	return file_read(path, &pem, &e) == 0 && pki_certificate_ends(buf_view(&pem), ret_s, &e) == 0;
}

/* Only a CA that has ended is beyond help: a start makes the others anew. */
static const char *ask_ca(struct arena *a, const struct settings *s, const struct layout *l)
{
	static const char *const names[] = { "ca", "front-ca" };
	int64_t end;

	(void)s;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *path = arena_printf(a, "%s/%s.crt", l->control_pki, names[i]);

		if (ends_at(path, &end) && end <= wall_s(wall_now()))
			return arena_printf(a,
				"the cluster's CA %s ended at %s, and all that it signed with it (or the clock is wrong). For a new one: "
				"mv %s/%s.* somewhere, start, then `kogge kubeconfig` for everybody who has one",
				path, time_text(a, end), l->control_pki, names[i]);
	}
	return NULL;
}

static const char *ask_certificates(struct arena *a, const struct settings *s, const struct layout *l)
{
	const char *const paths[] = { arena_printf(a, "%s/server.crt", l->control_pki),
		arena_printf(a, "%s/admin.crt", l->data), arena_printf(a, "%s/client.crt", l->node_pki),
		arena_printf(a, "%s/server.crt", l->node_pki) };
	int64_t end;

	(void)s;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (ends_at(paths[i], &end) && end <= wall_s(wall_now()))
			return arena_printf(a,
				"%s ended at %s: a start (or SIGHUP to a running server) makes it anew; kubeconfigs that were copied "
				"want `kogge kubeconfig` again",
				paths[i], time_text(a, end));
	return NULL;
}

static const char *ask_swap(struct arena *a, const struct settings *s, const struct layout *l)
{
	auto_buf struct buf text = BUF_INIT;
	struct str line, name;
	struct err e;

	(void)s, (void)l;
	err_init(&e);
	if (file_read("/proc/swaps", &text, &e) < 0)
		return NULL;
	struct str rest = buf_view(&text);
	if (!str_next(&rest, '\n', &line) || !str_next(&rest, '\n', &line) || str_empty(str_trim(line)))
		return NULL; /* the head only */
	(void)str_cut(line, ' ', &name);
	return arena_printf(a,
		"swap is on (%.*s): pods may become slow where they would have met their memory limit, so Kubernetes' own "
		"node does not start then; this one does. swapoff -a, and take it out of /etc/fstab",
		STR_ARG(name));
}

/* Only where a range of IPv6 is wanted. */
static const char *ask_ipv6(struct arena *a, const struct settings *s, const struct layout *l)
{
	if (!l->ip.has_v6)
		return NULL;
	if (access("/proc/sys/net/ipv6", F_OK) < 0)
		return arena_printf(a,
			"--service-cidr %s has IPv6, which this kernel does not have: load its module or start it without ipv6.disable=1",
			s->service_cidr);
	if (file_number("/proc/sys/net/ipv6/conf/all/disable_ipv6", -1) == 1 ||
		file_number("/proc/sys/net/ipv6/conf/default/disable_ipv6", -1) == 1)
		return arena_printf(a,
			"--service-cidr %s has IPv6, which is switched off here: sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0",
			s->service_cidr);
	if (!strcmp(l->ip.node[0], "::1"))
		return "this machine has no IPv6 address but ::1 and link-local ones: give it one, or name one with --node-ip";
	return NULL;
}

/* The addresses by which this machine is reached, as text: "192.0.2.10 (eth0), …". wanted: true in *ret_there when it is
 * among them. */
static const char *own_addresses(struct arena *a, const char *wanted, bool *ret_there)
{
	const char *list = "";
	struct ifaddrs *all = NULL;

	*ret_there = getifaddrs(&all) < 0; /* nobody knows */
	for (struct ifaddrs *i = *ret_there ? NULL : all; i; i = i->ifa_next) {
		int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
		const struct sockaddr_in *four = (void *)i->ifa_addr;
		const struct sockaddr_in6 *six = (void *)i->ifa_addr;
		char text[INET6_ADDRSTRLEN];

		if ((family != AF_INET && family != AF_INET6) ||
			(family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr)))
			continue;
		inet_ntop(family, family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr, text,
			sizeof(text));
		*ret_there |= strcmp(text, wanted) == 0;
		if (!(i->ifa_flags & IFF_LOOPBACK))
			list = arena_printf(a, "%s%s%s (%s)", list, *list ? ", " : "", text, i->ifa_name);
	}
	freeifaddrs(all);
	return list;
}

static const char *ask_node_address(struct arena *a, const struct settings *s, const struct layout *l)
{
	for (size_t i = 0; s->node_ip[0] && i < ARRAY_LEN(l->ip.node) && l->ip.node[i]; i++) {
		bool there;
		const char *list = own_addresses(a, l->ip.node[i], &there);

		if (!there)
			return arena_printf(a, "%s (--node-ip) is no address of this machine, which has %s",
				l->ip.node[i], *list ? list : "none");
	}
	return NULL;
}

static const char *ask_inotify(struct arena *a, const struct settings *s, const struct layout *l)
{
	int64_t n = file_number("/proc/sys/fs/inotify/max_user_instances", -1);

	(void)s, (void)l;
	if (n < 0 || n >= 128)
		return NULL;
	return arena_printf(a,
		"fs.inotify.max_user_instances is %lld; programs in pods may run out: sysctl fs.inotify.max_user_instances=1024",
		(long long)n);
}

struct findings {
	struct arena *a;
	const char *text;
};

static void add_finding(void *arg, const char *what)
{
	struct findings *f = arg;

	f->text = f->text ? arena_printf(f->a, "%s; %s", f->text, what) : arena_strdup(f->a, what);
}

static const char *ask_firewalls(struct arena *a, const struct settings *s, const struct layout *l)
{
	struct network_opts o = { .instance = l->default_instance ? NULL : s->instance,
		.pod_cidrs = { l->ip.pods[0], l->ip.pods[1] } };
	struct findings found = { .a = a };
	struct err e;

	err_init(&e);
	if (geteuid() == 0 && network_firewalls(&o, add_finding, &found, &e) < 0)
		return arena_printf(a, "other programs' rules cannot be looked at: %s", e.message);
	return found.text;
}

static const struct question questions[] = {
	{ "root", true, true, false, ask_root },
	{ "containerd", true, true, false, ask_containerd },
	{ "runc", true, true, false, ask_runc },
	{ "API port", false, true, false, ask_port },
	{ "node port", true, true, false, ask_node_port },
	{ "node address", true, true, false, ask_node_address },
	{ "disk", false, true, false, ask_disk },
	{ "room on the disk", false, true, true, ask_disk_room },
	{ "data folder", false, true, false, ask_reachable },
	{ "store", false, true, false, ask_store },
	{ "clock", false, true, false, ask_clock },
	{ "certificate authority", false, true, false, ask_ca },
	{ "certificates", false, false, true, ask_certificates },
	{ "cgroups", true, true, false, ask_cgroups },
	{ "forwarding", true, true, false, ask_forward },
	{ "IPv6", true, true, false, ask_ipv6 },
	{ "firewalls", true, false, true, ask_firewalls },
	{ "inotify", true, false, true, ask_inotify },
	{ "swap", true, true, true, ask_swap },
};

static void print_json(const char *name, const char *wrong, bool warning, bool first)
{
	printf("%s{\"check\":\"%s\",\"ok\":%s,\"warning\":%s,\"message\":\"", first ? "" : ",", name,
		wrong ? "false" : "true", wrong && warning ? "true" : "false");
	for (const char *p = wrong ? wrong : ""; *p; p++)
		printf(*p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
	printf("\"}");
}

int check_machine(struct arena *a, const struct settings *s, const struct layout *l, bool verbose)
{
	bool json = verbose && !strcmp(s->output, "json"), first = true;
	int failures = 0;

	if (json)
		putchar('[');
	for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
		const struct question *q = &questions[i];
		const char *wrong;

		if ((q->node_only && s->no_node) || (!verbose && !q->start_too))
			continue;
		wrong = q->ask(a, s, l);
		failures += wrong && !q->warning;
		if (json)
			print_json(q->name, wrong, q->warning, first);
		else if (wrong)
			fprintf(verbose ? stdout : stderr, "[%s] %s: %s\n", q->warning ? "!" : "-", q->name, wrong);
		else if (verbose)
			printf("[+] %s\n", q->name);
		first = false;
	}
	if (json)
		puts("]");
	return failures;
}

int cmd_check(struct arena *a, const struct settings *s)
{
	struct layout l;
	struct err e;

	err_init(&e);
	if (layout_of(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	return check_machine(a, s, &l, true) ? 1 : 0;
}

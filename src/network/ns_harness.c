#include "network/ns_harness.h"
#include "base/test.h"
#include "network/addr.h"
#include "network/link.h"
#include "network/network.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- namespaces ------------------------------------------------------------------------------ */

static struct pod pods[PODS_MAX];
static int n_pods;
int node_ns, ns_client;
char data_dir[] = "/tmp/kogge-ns-test-XXXXXX";
pid_t client_holder;

int netns_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t hold_netns(void)
{
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = child();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* ---- talking --------------------------------------------------------------------------------- */

static struct sockaddr_in in_addr(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

/* Answers "who from": its own name and the client's address. */
static void serve(int fd, bool udp, const char *who)
{
	char in[64], out[128], from[64];
	struct sockaddr_in peer;
	socklen_t n = sizeof(peer);

	for (;;) {
		int c = fd;
		n = sizeof(peer);
		if (udp ? recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&peer, &n) < 0 :
			  (c = accept(fd, (struct sockaddr *)&peer, &n)) < 0)
			continue;
		inet_ntop(AF_INET, &peer.sin_addr, from, sizeof(from));
		int len = snprintf(out, sizeof(out), "%s %s", who, from);
		sendto(c, out, (size_t)len, MSG_NOSIGNAL, udp ? (struct sockaddr *)&peer : NULL, udp ? n : 0);
		if (!udp)
			close(c);
	}
}

pid_t start_server(int netns, const char *who, int port, bool udp)
{
	struct sockaddr_in any = in_addr("0.0.0.0", port);
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = child();
	if (pid == 0) {
		int one = 1;

		if (setns(netns, CLONE_NEWNET) < 0)
			_exit(1);
		int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || (!udp && listen(fd, 64) < 0) ||
			write(ready[1], "x", 1) != 1)
			_exit(1);
		serve(fd, udp, who);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void talk(const char *ip, int port, int from_port, bool udp, char *ret, size_t max)
{
	struct sockaddr_in to = in_addr(ip, port), from = in_addr("0.0.0.0", from_port);
	struct timeval wait = { .tv_sec = 3 }; /* what is lost while a link comes up is sent again after one */
	int one = 1, fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bind(fd, (struct sockaddr *)&from, sizeof(from));
	ssize_t n = connect(fd, (struct sockaddr *)&to, sizeof(to));
	if (n == 0 && udp)
		n = send(fd, "?", 1, 0);
	if (n >= 0)
		n = recv(fd, ret, max - 1, 0);
	int saved = errno;
	close(fd);
	if (n >= 0)
		ret[n] = 0;
	else
		snprintf(ret, max, "%s",
			saved == ECONNREFUSED                           ? REFUSED :
				saved == EAGAIN || saved == EINPROGRESS ? SILENCE :
									  strerror(saved));
}

const char *run_in(int netns, void (*run)(void *arg, char *ret, size_t max), void *arg)
{
	static char answer[4096];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	pid_t pid = child();
	if (pid == 0) {
		char text[4096] = "";

		if (setns(netns, CLONE_NEWNET) == 0)
			run(arg, text, sizeof(text));
		_exit(write(ends[1], text, strlen(text)) < 0);
	}
	close(ends[1]);
	ssize_t n = read(ends[0], answer, sizeof(answer) - 1);
	close(ends[0]);
	answer[n > 0 ? n : 0] = 0;
	waitpid(pid, NULL, 0);
	return answer;
}

struct asking {
	const char *ip;
	int port, from_port;
	bool udp;
};

static void talk_to(void *arg, char *ret, size_t max)
{
	const struct asking *a = arg;

	talk(a->ip, a->port, a->from_port, a->udp, ret, max);
}

const char *ask_from(int netns, const char *ip, int port, int from_port, bool udp)
{
	struct asking a = { ip, port, from_port, udp };

	return run_in(netns, talk_to, &a);
}

const char *ask(int netns, const char *ip, int port)
{
	return ask_from(netns, ip, port, 0, false);
}

const char *ask_udp(int netns, const char *ip, int port)
{
	return ask_from(netns, ip, port, 45678, true);
}

/* ---- CNI ------------------------------------------------------------------------------------- */

char *cni(const char *command, const char *id, const char *netns, const char *config, int *ret_status)
{
	static char out[8192];
	int in[2], ends[2], status;

	assert_int_equal(pipe(in) | pipe(ends), 0);
	pid_t pid = child();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(ends[1], 1);
		close(in[1]);
		setenv("CNI_COMMAND", command, 1);
		setenv("CNI_CONTAINERID", id, 1);
		setenv("CNI_NETNS", netns, 1);
		setenv("CNI_IFNAME", "eth0", 1);
		_exit(network_cni_main()); /* no leak check of the threads that stayed behind */
	}
	close(in[0]);
	close(ends[1]);
	assert_int_equal(write(in[1], config, strlen(config)), strlen(config));
	close(in[1]);
	size_t n = 0;
	ssize_t got;
	while ((got = read(ends[0], out + n, sizeof(out) - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = 0;
	close(ends[0]);
	waitpid(pid, &status, 0);
	*ret_status = WEXITSTATUS(status);
	return out;
}

const char *config_text(const char *version, const char *type)
{
	static char text[512];

	snprintf(text, sizeof(text),
		"{\"cniVersion\":\"%s\",\"name\":\"kogge\",\"type\":\"%s\",\"podCIDRs\":[\"10.77.0.0/28\",\"fd77::/120\"],\"dataDir\":\"%s\",\"mtu\":1400}",
		version, type, data_dir);
	return text;
}

struct pod *new_pod(void)
{
	struct pod *p = &pods[n_pods];
	int status;

	p->holder = hold_netns();
	snprintf(p->id, sizeof(p->id), "pod-%c", 'a' + n_pods++);
	snprintf(p->netns, sizeof(p->netns), "/proc/%d/ns/net", p->holder);
	char *out = cni("ADD", p->id, p->netns, config_text("1.0.0", "kogge"), &status);
	if (status)
		fail_msg("%s", out);
	auto_(doc_unref) struct doc *d = json_doc(out);
	struct str head;
	str_cut(val_str(val_get(val_at(doc_get(d, "ips"), 0), "address")), '/', &head);
	snprintf(p->ip, sizeof(p->ip), "%.*s", STR_ARG(head));
	int ns = netns_of(p->holder);
	p->servers[0] = start_server(ns, p->id, 8080, false);
	p->servers[1] = start_server(ns, p->id, 5353, true);
	close(ns);
	return p;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void address(struct rtnl *r, const char *link, const char *cidr)
{
	struct err e;
	struct link l;
	struct cidr c = { .bits = 24 };
	struct str host;

	err_init(&e);
	str_cut(str_c(cidr), '/', &host);
	assert_true(ip_parse(host, &c.ip));
	if (rtnl_link(r, link, &l, &e) < 0 || rtnl_address(r, l.index, c, &e) < 0 || rtnl_up(r, l.index, &e) < 0)
		fail_msg("%s", e.message);
}

int ns_set_up(void **state)
{
	struct rtnl r = { 0 };
	struct err e;
	struct link l;

	err_init(&e);
	assert_non_null(mkdtemp(data_dir));
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	node_ns = netns_of(getpid());
	client_holder = hold_netns();
	ns_client = netns_of(client_holder);
	if (rtnl_open(&r, &e) < 0 || rtnl_link(&r, "lo", &l, &e) < 0 || rtnl_up(&r, l.index, &e) < 0 ||
		rtnl_add_veth(&r, "up0", "eth0", ns_client, 1500, &e) < 0)
		fail_msg("%s", e.message);
	address(&r, "up0", "192.0.2.10/24");
	rtnl_link(&r, "up0", &l, &e);
	struct route all = { .to = { { .family = 4 }, 0 }, .index = l.index };
	ip_parse(STR("192.0.2.20"), &all.via);
	setns(ns_client, CLONE_NEWNET);
	struct rtnl c = { 0 };
	assert_int_equal(rtnl_open(&c, &e), 0);
	address(&c, "eth0", "192.0.2.20/24");
	rtnl_close(&c);
	setns(node_ns, CLONE_NEWNET);
	if (rtnl_route(&r, all, &e) < 0)
		fail_msg("%s", e.message);
	assert_int_equal(rtnl_uplink_mtu(&r), 1500);
	rtnl_close(&r);
	assert_true(sysctl_write("1", "ipv4/ip_forward"));
	assert_true(sysctl_write("0", "ipv4/conf/all/send_redirects"));
	start_server(ns_client, "client", 8080, false);
	return 0;
}

int ns_tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", data_dir);
	return system(command);
}

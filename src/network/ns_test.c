/* The pod network and the service proxy on a real kernel: everything happens in network namespaces that this process makes
 * and that vanish with it. Skips (77) without root.
 *
 *	client 192.0.2.20 ── veth ── node 192.0.2.10 ── kp-… ── pods 10.77.0.x */
#include "doc/doc.h"
#include "network/addr.h"
#include "network/compile.h"
#include "network/conntrack.h"
#include "network/ledger.h"
#include "network/link.h"
#include "network/names.h"
#include "network/network.h"
#include "network/nft.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PODS_MAX 8
#define REFUSED "refused"
#define SILENCE "no answer"

/* ---- namespaces --------------------------------------------------------------------------------------------------- */

struct pod {
	pid_t holder; /* keeps the namespace */
	pid_t servers[2];
	char netns[64], id[16], ip[IP_TEXT_MAX];
};
static struct pod pods[PODS_MAX];
static int n_pods;
static int node_ns;
static char data_dir[] = "/tmp/kogge-ns-test-XXXXXX";

static int netns_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t hold_netns(void)
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

/* ---- talking ------------------------------------------------------------------------------------------------------- */

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

static pid_t start_server(int netns, const char *who, int port, bool udp)
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
		if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || (!udp && listen(fd, 64) < 0) || write(ready[1], "x", 1) != 1)
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
	struct timeval wait = { .tv_usec = 700000 };
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
		snprintf(ret, max, "%s", saved == ECONNREFUSED ? REFUSED : saved == EAGAIN || saved == EINPROGRESS ? SILENCE : strerror(saved));
}

/* What a client in that namespace hears. */
static const char *ask_from(int netns, const char *ip, int port, int from_port, bool udp)
{
	static char answer[128];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	pid_t pid = child();
	if (pid == 0) {
		char text[128] = "";

		if (setns(netns, CLONE_NEWNET) == 0)
			talk(ip, port, from_port, udp, text, sizeof(text));
		_exit(write(ends[1], text, strlen(text)) < 0);
	}
	close(ends[1]);
	ssize_t n = read(ends[0], answer, sizeof(answer) - 1);
	close(ends[0]);
	answer[n > 0 ? n : 0] = 0;
	waitpid(pid, NULL, 0);
	return answer;
}

static const char *ask(int netns, const char *ip, int port)
{
	return ask_from(netns, ip, port, 0, false);
}

static const char *ask_udp(int netns, const char *ip, int port)
{
	return ask_from(netns, ip, port, 45678, true);
}

/* ---- CNI ----------------------------------------------------------------------------------------------------------- */

static char *cni(const char *command, const char *id, const char *netns, const char *config, int *ret_status)
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
		exit(network_cni_main());
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

static const char *config_text(const char *version, const char *type)
{
	static char text[512];

	snprintf(text, sizeof(text),
		"{\"cniVersion\":\"%s\",\"name\":\"kogge\",\"type\":\"%s\",\"podCIDRs\":[\"10.77.0.0/28\",\"fd77::/120\"],\"dataDir\":\"%s\",\"mtu\":1400}",
		version, type, data_dir);
	return text;
}

static struct doc *parse(const char *json)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(str_c(json), &d, &e) < 0)
		fail_msg("%s in %s", e.message, json);
	return d;
}

static struct pod *new_pod(void)
{
	struct pod *p = &pods[n_pods];
	int status;

	p->holder = hold_netns();
	snprintf(p->id, sizeof(p->id), "pod-%c", 'a' + n_pods++);
	snprintf(p->netns, sizeof(p->netns), "/proc/%d/ns/net", p->holder);
	char *out = cni("ADD", p->id, p->netns, config_text("1.0.0", "kogge"), &status);
	if (status)
		fail_msg("%s", out);
	auto_(doc_unref) struct doc *d = parse(out);
	struct str head;
	str_cut(val_str(val_get(val_at(doc_get(d, "ips"), 0), "address")), '/', &head);
	snprintf(p->ip, sizeof(p->ip), "%.*s", STR_ARG(head));
	int ns = netns_of(p->holder);
	p->servers[0] = start_server(ns, p->id, 8080, false);
	p->servers[1] = start_server(ns, p->id, 5353, true);
	close(ns);
	return p;
}

static int enter_node(void **state)
{
	return setns(node_ns, CLONE_NEWNET);
}

static struct pod *a, *b;
static pid_t client_holder;
static int ns_a, ns_b, ns_client;

static void gives_pods_a_network(void **state)
{
	int status;

	a = new_pod();
	b = new_pod();
	ns_a = netns_of(a->holder);
	ns_b = netns_of(b->holder);
	assert_string_equal(a->ip, "10.77.0.2");
	assert_string_equal(b->ip, "10.77.0.3");
	assert_string_equal(ask(ns_a, b->ip, 8080), "pod-b 10.77.0.2");
	assert_string_equal(ask(ns_b, a->ip, 8080), "pod-a 10.77.0.3");
	assert_string_equal(ask(node_ns, a->ip, 8080), "pod-a 10.77.0.1");
	assert_string_equal(ask(ns_a, a->ip, 8080), "pod-a 10.77.0.2");
	assert_string_equal(ask(ns_a, "127.0.0.1", 8080), "pod-a 127.0.0.1");
	cni("CHECK", a->id, a->netns, config_text("1.0.0", "kogge"), &status);
	assert_int_equal(status, 0);
}

static void answers_as_the_specification_says(void **state)
{
	int status;
	char *out;
	struct doc *d;
	pid_t holder = hold_netns();
	char netns[64];

	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", holder);
	d = parse(cni("ADD", "c1", netns, config_text("0.4.0", "kogge"), &status));
	assert_int_equal(status, 0);
	assert_true(val_is(doc_get(d, "cniVersion"), "0.4.0"));
	assert_true(val_is(val_get(val_at(doc_get(d, "ips"), 0), "version"), "4"));
	assert_true(val_is(val_get(val_at(doc_get(d, "ips"), 0), "address"), "10.77.0.4/32"));
	assert_true(val_is(val_get(val_at(doc_get(d, "ips"), 1), "address"), "fd77::4/128"));
	assert_true(val_is(val_get(val_at(doc_get(d, "interfaces"), 1), "name"), "eth0"));
	assert_true(val_is(val_get(val_at(doc_get(d, "interfaces"), 1), "sandbox"), netns));
	doc_unref(d);
	/* Deleted twice, and when the namespace is gone. */
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	out = cni("DEL", "c1", netns, config_text("0.4.0", "kogge"), &status);
	assert_int_equal(status, 0);
	assert_string_equal(out, "");
	cni("DEL", "c1", "", config_text("0.4.0", "kogge"), &status);
	assert_int_equal(status, 0);
	/* Errors. */
	d = parse(cni("ADD", "c2", "/nowhere", config_text("1.0.0", "kogge"), &status));
	assert_int_equal(status, 1);
	assert_int_equal(doc_int(d, "code", 0), 3);
	doc_unref(d);
	d = parse(cni("ADD", "c2", a->netns, config_text("9.0.0", "kogge"), &status));
	assert_int_equal(doc_int(d, "code", 0), 1);
	doc_unref(d);
	d = parse(cni("ADD", "c2", a->netns, "{", &status));
	assert_int_equal(doc_int(d, "code", 0), 6);
	doc_unref(d);
	d = parse(cni("ADD", "../c2", a->netns, config_text("1.0.0", "kogge"), &status));
	assert_int_equal(doc_int(d, "code", 0), 4);
	doc_unref(d);
	d = parse(cni("CHECK", "c2", a->netns, config_text("1.0.0", "kogge"), &status));
	assert_int_equal(status, 1);
	doc_unref(d);
	d = parse(cni("VERSION", "", "", "", &status));
	assert_true(val_len(doc_get(d, "supportedVersions")) > 3);
	doc_unref(d);
	d = parse(cni("ADD", "lo", a->netns, config_text("1.0.0", "loopback"), &status));
	assert_int_equal(status, 0);
	doc_unref(d);
	cni("DEL", "lo", a->netns, config_text("1.0.0", "loopback"), &status);
	assert_int_equal(status, 0);
}

static void uses_every_address_once(void **state)
{
	pid_t holders[10];
	char ids[10][8], netns[64];
	int status, n = 0, code = 0;

	/* /28: 16 − network − gateway − broadcast = 13, two of them are held by a and b. */
	for (; n < 10; n++) {
		holders[n] = hold_netns();
		snprintf(ids[n], sizeof(ids[n]), "u%d", n);
		snprintf(netns, sizeof(netns), "/proc/%d/ns/net", holders[n]);
		cni("ADD", ids[n], netns, config_text("1.0.0", "kogge"), &status);
		assert_int_equal(status, 0);
	}
	pid_t more = hold_netns();
	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", more);
	cni("ADD", "u10", netns, config_text("1.0.0", "kogge"), &status);
	assert_int_equal(status, 0);
	struct doc *d = parse(cni("ADD", "u11", a->netns, config_text("1.0.0", "kogge"), &code));
	assert_int_equal(code, 1);
	assert_int_equal(doc_int(d, "code", 0), 11);
	doc_unref(d);
	/* GC keeps what it is told to keep. */
	char config[1024], list[512];
	snprintf(list, sizeof(list), ",\"cni.dev/valid-attachments\":[{\"containerID\":\"%s\",\"ifname\":\"eth0\"},{\"containerID\":\"%s\",\"ifname\":\"eth0\"}]}",
		a->id, b->id);
	snprintf(config, sizeof(config), "%s", config_text("1.1.0", "kogge"));
	strcpy(config + strlen(config) - 1, list);
	cni("GC", "", "", config, &status);
	assert_int_equal(status, 0);
	for (int i = 0; i < 10; i++) {
		kill(holders[i], SIGKILL);
		waitpid(holders[i], NULL, 0);
	}
	kill(more, SIGKILL);
	waitpid(more, NULL, 0);
	assert_string_equal(ask(ns_a, b->ip, 8080), "pod-b 10.77.0.2");
}

/* ---- services ------------------------------------------------------------------------------------------------------ */

static struct nft *nft;
static struct ledger *ledger;
static struct nft_opts nft_opts;
static struct names names;

static const struct compile_node this_node = { { "n1", 2 }, { NULL, 0 } };

static void put_service(const char *owner, const char *service, const char *endpoints)
{
	auto_(arena_free) struct arena *arena = arena_new();
	char *json = arena_printf(arena,
		"{'addressType':'IPv4','ports':[{'name':'t','port':8080,'protocol':'TCP'},{'name':'u','port':5353,'protocol':'UDP'}],'endpoints':[%s]}",
		endpoints);
	char *text = arena_strdup(arena, service);
	struct compiled c;

	for (char *p = json; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	auto_(doc_unref) struct doc *s = parse(text), *sl = parse(json);
	struct val slice = doc_root(sl);
	compile_service(arena, &this_node, doc_root(s), &slice, 1, NULL, &c);
	nft_need_picks(nft, c.picks, c.n_picks);
	ledger_set(ledger, str_c(owner), c.elements, c.n);
}

static void apply(bool all)
{
	auto_(arena_free) struct arena *arena = arena_new();
	struct change *changes;
	struct timespec t0, t1;
	struct err e;

	err_init(&e);
	size_t n = ledger_changes(ledger, arena, &changes);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	if ((all ? nft_rebuild : nft_apply)(nft, changes, n, &e) < 0)
		fail_msg("%s", e.message);
	if (conntrack_follow(changes, n, &e) < 0)
		fail_msg("%s", e.message);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	print_message("%zu changes: %.2f ms\n", n, (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6);
}

#define SVC(ip, more)                                                                                                  \
	"{'spec':{'clusterIP':'" ip "','ipFamilies':['IPv4']," more                                                    \
	"'ports':[{'name':'t','port':80,'protocol':'TCP'},{'name':'u','port':53,'protocol':'UDP'}]}}"
#define NODEPORT(ip, port, more)                                                                                       \
	"{'spec':{'type':'NodePort','clusterIP':'" ip "','ipFamilies':['IPv4']," more                                  \
	"'ports':[{'name':'t','port':80,'nodePort':" port ",'protocol':'TCP'}]}}"
#define EP_A "{'addresses':['10.77.0.2'],'nodeName':'n1'}"
#define EP_B "{'addresses':['10.77.0.3'],'nodeName':'n1'}"
#define EP_CLIENT "{'addresses':['192.0.2.20'],'nodeName':'n2'}"

static void serves_services(void **state)
{
	struct err e;

	err_init(&e);
	names_of(STR_NULL, &names);
	nft_opts = (struct nft_opts){ .table = names.table, .pod_links = names.pod_links };
	cidr_parse(STR("10.77.0.0/28"), &nft_opts.pods[0]);
	cidr_parse(STR("fd77::/120"), &nft_opts.pods[1]);
	cidr_parse(STR("10.77.0.0/16"), &nft_opts.cluster[0]);
	cidr_parse(STR("10.96.0.0/16"), &nft_opts.services[0]);
	if (nft_new(&nft_opts, &nft, &e) < 0)
		fail_msg("%s", e.message);
	ledger = ledger_new();
	assert_false(nft_present(nft));
	put_service("web", SVC("10.96.0.50", ""), EP_B);
	put_service("none", SVC("10.96.0.51", ""), "");
	put_service("np", NODEPORT("10.96.0.52", "30080", ""), EP_A);
	put_service("local", NODEPORT("10.96.0.53", "30081", "'externalTrafficPolicy':'Local',"), EP_B);
	put_service("away", NODEPORT("10.96.0.54", "30082", ""), EP_CLIENT);
	put_service("local-away", NODEPORT("10.96.0.55", "30083", "'externalTrafficPolicy':'Local',"), EP_CLIENT);
	apply(true);
	assert_true(nft_present(nft));

	assert_string_equal(ask(ns_a, "10.96.0.50", 80), "pod-b 10.77.0.2");
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-b 10.77.0.1"); /* itself: masqueraded */
	assert_string_equal(ask(node_ns, "10.96.0.50", 80), "pod-b 192.0.2.10");
	assert_string_equal(ask_udp(ns_a, "10.96.0.50", 53), "pod-b 10.77.0.2");
	assert_string_equal(ask(ns_a, "10.96.0.51", 80), REFUSED);
	assert_string_equal(ask(node_ns, "10.96.0.51", 80), REFUSED);
	assert_string_equal(ask_udp(ns_a, "10.96.0.51", 53), REFUSED);
	assert_string_equal(ask(ns_a, "10.96.0.50", 81), REFUSED);
	assert_string_equal(ask(ns_a, "10.96.9.9", 80), REFUSED);
}

static void serves_node_ports(void **state)
{
	assert_string_equal(ask(node_ns, "127.0.0.1", 30080), "pod-a 10.77.0.1");
	assert_string_equal(ask(node_ns, "192.0.2.10", 30080), "pod-a 192.0.2.10");
	assert_string_equal(ask(ns_b, "192.0.2.10", 30080), "pod-a 10.77.0.3");
	assert_string_equal(ask(ns_a, "10.77.0.1", 30080), "pod-a 10.77.0.1");
	assert_string_equal(ask(ns_client, "192.0.2.10", 30080), "pod-a 192.0.2.20");
	assert_string_equal(ask(ns_client, "192.0.2.10", 30081), "pod-b 192.0.2.20");
	assert_string_equal(ask(ns_client, "192.0.2.10", 30082), "client 192.0.2.10"); /* elsewhere: masqueraded */
	assert_string_equal(ask(ns_a, "192.0.2.10", 30082), "client 192.0.2.10");
	assert_string_equal(ask(ns_client, "192.0.2.10", 30083), SILENCE);
	assert_string_equal(ask(node_ns, "192.0.2.10", 30083), "client 192.0.2.10");
	/* What pods send to 127.0.0.0/8 stays away from the node, though their links have route_localnet. */
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), "client 192.0.2.10"); /* into the world: masqueraded */
}

static void follows_endpoints(void **state)
{
	put_service("web", SVC("10.96.0.50", ""), EP_A "," EP_B);
	apply(false);
	int seen[2] = { 0, 0 };
	for (int i = 0; i < 40; i++)
		seen[ask(ns_client, "192.0.2.10", 30080)[4] == 'a' && ask(node_ns, "10.96.0.50", 80)[4] == 'b']++;
	assert_true(seen[0] > 5 && seen[1] > 5);
	put_service("web", SVC("10.96.0.50", ""), EP_A);
	apply(false);
	for (int i = 0; i < 10; i++)
		assert_string_equal(ask(node_ns, "10.96.0.50", 80), "pod-a 192.0.2.10");
	/* The same UDP client keeps its port and must not keep the endpoint that left. */
	assert_string_equal(ask_udp(ns_b, "10.96.0.50", 53), "pod-a 10.77.0.3");
	put_service("web", SVC("10.96.0.50", ""), EP_B);
	apply(false);
	assert_string_equal(ask_udp(ns_b, "10.96.0.50", 53), "pod-b 10.77.0.1");
	put_service("web", SVC("10.96.0.50", ""), "");
	apply(false);
	assert_string_equal(ask(node_ns, "10.96.0.50", 80), REFUSED);
	assert_string_equal(ask_udp(ns_b, "10.96.0.50", 53), REFUSED);
	put_service("web", SVC("10.96.0.50", ""), EP_B);
	apply(false);
	assert_string_equal(ask_udp(ns_b, "10.96.0.50", 53), "pod-b 10.77.0.1");
	ledger_set(ledger, STR("web"), NULL, 0);
	apply(false);
	assert_string_equal(ask(node_ns, "10.96.0.50", 80), REFUSED);
}

static void remembers_clients(void **state)
{
	char first[128];

	put_service("sticky", SVC("10.96.0.60", "'sessionAffinity':'ClientIP','sessionAffinityConfig':{'clientIP':{'timeoutSeconds':2}},"), EP_A "," EP_B);
	put_service("sticky-np", NODEPORT("10.96.0.61", "30090", "'sessionAffinity':'ClientIP',"), EP_A "," EP_B);
	apply(false);
	snprintf(first, sizeof(first), "%s", ask(node_ns, "10.96.0.60", 80));
	for (int i = 0; i < 20; i++)
		assert_string_equal(ask(node_ns, "10.96.0.60", 80), first);
	snprintf(first, sizeof(first), "%s", ask(ns_client, "192.0.2.10", 30090));
	for (int i = 0; i < 20; i++)
		assert_string_equal(ask(ns_client, "192.0.2.10", 30090), first);
}

static void serves_host_ports(void **state)
{
	auto_(arena_free) struct arena *arena = arena_new();
	auto_(doc_unref) struct doc *d = parse(
		"{\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":8080,\"hostPort\":8000},{\"containerPort\":8080,\"hostPort\":8001,"
		"\"hostIP\":\"127.0.0.1\"}]}]},\"status\":{\"podIPs\":[{\"ip\":\"10.77.0.3\"}]}}");
	struct compiled c;

	compile_pod(arena, doc_root(d), &c);
	ledger_set(ledger, STR("p/b"), c.elements, c.n);
	apply(false);
	assert_string_equal(ask(ns_client, "192.0.2.10", 8000), "pod-b 192.0.2.20");
	assert_string_equal(ask(node_ns, "127.0.0.1", 8000), "pod-b 10.77.0.1");
	assert_string_equal(ask(node_ns, "127.0.0.1", 8001), "pod-b 10.77.0.1");
	assert_string_equal(ask(ns_client, "192.0.2.10", 8001), REFUSED);
	assert_string_equal(ask(ns_b, "10.77.0.1", 8000), "pod-b 10.77.0.1");
}

static void rebuilds_without_a_gap(void **state)
{
	put_service("web", SVC("10.96.0.50", ""), EP_B);
	apply(false);
	for (int i = 0; i < 3; i++) {
		ledger_forget(ledger);
		apply(true);
		assert_string_equal(ask(ns_a, "10.96.0.50", 80), "pod-b 10.77.0.2");
	}
}

static void carries_many(void **state)
{
	auto_(arena_free) struct arena *arena = arena_new();

	for (int s = 0; s < 1000; s++) {
		auto_buf struct buf eps = BUF_INIT;
		for (int i = 0; i < 10; i++)
			buf_printf(&eps, "%s{'addresses':['10.77.%d.%d'],'nodeName':'n3'}", i ? "," : "", s / 20 + 1, (s % 20) * 10 + i);
		buf_byte(&eps, 0);
		put_service(arena_printf(arena, "s/%d", s),
			arena_printf(arena, "{'spec':{'clusterIP':'10.96.%d.%d','ports':[{'name':'t','port':80}]}}", s / 200 + 1, s % 200), eps.p);
	}
	apply(false);
	put_service("web", SVC("10.96.0.50", ""), EP_A "," EP_B);
	apply(false);
	put_service("web", SVC("10.96.0.50", ""), EP_A);
	apply(false);
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3");
	ledger_forget(ledger);
	apply(true);
}

static void takes_itself_away(void **state)
{
	struct err e;

	err_init(&e);
	assert_int_equal(nft_purge(names.table, &e), 0);
	assert_int_equal(nft_purge(names.table, &e), 0);
	assert_false(nft_present(nft));
	nft_free(nft);
	ledger_free(ledger);
}

/* ---- setting up ---------------------------------------------------------------------------------------------------- */

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

static int set_up(void **state)
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
	enter_node(NULL);
	if (rtnl_route(&r, all, &e) < 0)
		fail_msg("%s", e.message);
	assert_int_equal(rtnl_uplink_mtu(&r), 1500);
	rtnl_close(&r);
	assert_true(sysctl_write("1", "ipv4/ip_forward"));
	assert_true(sysctl_write("0", "ipv4/conf/all/send_redirects"));
	start_server(ns_client, "client", 8080, false);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", data_dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_pods_a_network),
		cmocka_unit_test(answers_as_the_specification_says),
		cmocka_unit_test(uses_every_address_once),
		cmocka_unit_test(serves_services),
		cmocka_unit_test(serves_node_ports),
		cmocka_unit_test(follows_endpoints),
		cmocka_unit_test(remembers_clients),
		cmocka_unit_test(serves_host_ports),
		cmocka_unit_test(rebuilds_without_a_gap),
		cmocka_unit_test(carries_many),
		cmocka_unit_test(takes_itself_away),
	};

	if (geteuid() != 0) {
		puts("needs root: skipped");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

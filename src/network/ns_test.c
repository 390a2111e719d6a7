/* The pod network and the service proxy on a real kernel: everything happens in network namespaces that this process
 * makes and that vanish with it. Skips (77) without root. */
#include "base/test.h"
#include "doc/doc.h"
#include "network/addr.h"
#include "network/compile.h"
#include "network/conntrack.h"
#include "network/ledger.h"
#include "network/link.h"
#include "network/names.h"
#include "network/network.h"
#include "network/nft.h"
#include "network/ns_harness.h"
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

static struct pod *a, *b;
static int ns_a, ns_b;

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

#define LISTENER 5999

struct sending {
	const char *from, *to;
};

static void send_as(void *arg, char *ret, size_t max)
{
	const struct sending *s = arg;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
	struct sockaddr_in from = { .sin_family = AF_INET },
			   to = { .sin_family = AF_INET, .sin_port = htons(LISTENER) };

	inet_pton(AF_INET, s->from, &from.sin_addr);
	inet_pton(AF_INET, s->to, &to.sin_addr);
	setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one));
	bool sent = bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
		sendto(fd, "?", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1;
	snprintf(ret, max, "%s", sent ? "sent" : strerror(errno));
	close(fd);
}

/* Whom pod b hears when pod a sends to it under this address. */
static const char *heard_from(const char *address)
{
	static char text[IP_TEXT_MAX];
	struct sending s = { address, b->ip };
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(LISTENER) }, who;
	struct timeval wait = { .tv_usec = 300000 };
	socklen_t len = sizeof(who);
	char byte;

	assert_int_equal(setns(ns_b, CLONE_NEWNET), 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(setns(node_ns, CLONE_NEWNET), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	assert_string_equal(run_in(ns_a, send_as, &s), "sent");
	bool heard = recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&who, &len) == 1;
	close(fd);
	return heard ? inet_ntop(AF_INET, &who.sin_addr, text, sizeof(text)) : SILENCE;
}

static void sends_under_its_own_address_only(void **state)
{
	assert_string_equal(heard_from(a->ip), a->ip);
	assert_string_equal(heard_from("10.77.0.9"), SILENCE);  /* of a pod that is not there */
	assert_string_equal(heard_from("192.0.2.20"), SILENCE); /* of somebody outside */
	assert_string_equal(heard_from("10.77.0.1"), SILENCE);  /* of the node */
}

static void answers_as_the_specification_says(void **state)
{
	int status;
	char *out;
	struct doc *d;
	pid_t holder = hold_netns();
	char netns[64];

	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", holder);
	d = json_doc(cni("ADD", "c1", netns, config_text("0.4.0", "kogge"), &status));
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
	d = json_doc(cni("ADD", "c2", "/nowhere", config_text("1.0.0", "kogge"), &status));
	assert_int_equal(status, 1);
	assert_int_equal(doc_int(d, "code", 0), 3);
	doc_unref(d);
	d = json_doc(cni("ADD", "c2", a->netns, config_text("9.0.0", "kogge"), &status));
	assert_int_equal(doc_int(d, "code", 0), 1);
	doc_unref(d);
	d = json_doc(cni("ADD", "c2", a->netns, "{", &status));
	assert_int_equal(doc_int(d, "code", 0), 6);
	doc_unref(d);
	d = json_doc(cni("ADD", "../c2", a->netns, config_text("1.0.0", "kogge"), &status));
	assert_int_equal(doc_int(d, "code", 0), 4);
	doc_unref(d);
	d = json_doc(cni("CHECK", "c2", a->netns, config_text("1.0.0", "kogge"), &status));
	assert_int_equal(status, 1);
	doc_unref(d);
	d = json_doc(cni("VERSION", "", "", "", &status));
	assert_true(val_len(doc_get(d, "supportedVersions")) > 3);
	doc_unref(d);
	d = json_doc(cni("ADD", "lo", a->netns, config_text("1.0.0", "loopback"), &status));
	assert_int_equal(status, 0);
	doc_unref(d);
	cni("DEL", "lo", a->netns, config_text("1.0.0", "loopback"), &status);
	assert_int_equal(status, 0);
}

/* In a namespace of its own, by its end of the pod's link. */
static void say_mtu(void *arg, char *ret, size_t max)
{
	struct rtnl r = { 0 };
	struct link l = { 0 };
	struct err e;

	err_init(&e);
	if (rtnl_open(&r, &e) == 0)
		(void)rtnl_link(&r, "eth0", &l, &e);
	snprintf(ret, max, "%u", l.mtu);
	rtnl_close(&r);
}

static const char *mtu_of_a_new_pod(const char *id)
{
	static char text[16];
	auto_free char *config = xasprintf(
		"{\"cniVersion\":\"1.0.0\",\"name\":\"kogge\",\"type\":\"kogge\",\"podCIDRs\":[\"10.77.0.0/28\"],"
		"\"dataDir\":\"%s\"}",
		data_dir);
	pid_t holder = hold_netns();
	int ns = netns_of(holder), status;
	char netns[64];

	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", holder);
	cni("ADD", id, netns, config, &status);
	assert_int_equal(status, 0);
	snprintf(text, sizeof(text), "%s", run_in(ns, say_mtu, NULL));
	cni("DEL", id, netns, config, &status);
	assert_int_equal(status, 0);
	close(ns);
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	return text;
}

/* Two cards with a default route each: the one that is preferred counts, as it is when a pod starts. */
static void takes_its_mtu_from_the_uplink(void **state)
{
	assert_string_equal(mtu_of_a_new_pod("mtu-1"), "1500");
	assert_int_equal(system("ip link add card2 mtu 9000 type veth peer name card2-peer mtu 9000 && "
				"ip link set card2-peer up && ip addr add 198.51.100.1/24 dev card2 && "
				"ip link set card2 up && ip route add default via 198.51.100.2 metric 50"),
		0);
	assert_string_equal(mtu_of_a_new_pod("mtu-2"), "1500");
	assert_int_equal(system("ip link set up0 mtu 1420"), 0);
	assert_string_equal(mtu_of_a_new_pod("mtu-3"), "1420");
	assert_int_equal(system("ip route del default dev up0"), 0);
	assert_string_equal(mtu_of_a_new_pod("mtu-4"), "9000");
	assert_int_equal(system("ip link del card2"), 0);
	assert_string_equal(mtu_of_a_new_pod("mtu-5"), "1500"); /* no way out at all */
	assert_int_equal(system("ip link set up0 mtu 1500 && ip route add default via 192.0.2.20 dev up0"), 0);
}

static void uses_every_address_once(void **state)
{
	pid_t holders[10];
	char ids[10][16], netns[64];
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
	struct doc *d = json_doc(cni("ADD", "u11", a->netns, config_text("1.0.0", "kogge"), &code));
	assert_int_equal(code, 1);
	assert_int_equal(doc_int(d, "code", 0), 11);
	doc_unref(d);
	/* GC keeps what it is told to keep. */
	char config[1024], list[512];
	snprintf(list, sizeof(list),
		",\"cni.dev/valid-attachments\":[{\"containerID\":\"%s\",\"ifname\":\"eth0\"},{\"containerID\":\"%s\",\"ifname\":\"eth0\"}]}",
		a->id, b->id);
	snprintf(config, sizeof(config), "%s", config_text("1.1.0", "kogge"));
	snprintf(config + strlen(config) - 1, sizeof(config) - strlen(config), "%s", list);
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

/* ---- services -------------------------------------------------------------------------------- */

static struct nft *nft;
static struct ledger *ledger;
static struct conntrack *conntrack;
static struct nft_opts nft_opts;
static struct names names;

static const struct compile_node this_node = { { "n1", 2 }, { NULL, 0 }, { { 0 } } };

static void put_service(const char *owner, const char *service, const char *endpoints)
{
	auto_(arena_free) struct arena *arena = arena_new();
	char *json = arena_printf(arena,
		"{'addressType':'IPv4','ports':[{'name':'t','port':8080,'protocol':'TCP'},{'name':'u','port':5353,'protocol':'UDP'}],'endpoints':[%s]}",
		endpoints);
	auto_(doc_unref) struct doc *s = quoted_doc(service), *sl = quoted_doc(json);
	struct compiled c;
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
	if (conntrack_follow(conntrack, changes, n, &e) < 0)
		fail_msg("%s", e.message);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	if (n > 100)
		print_message("%zu changes: %.2f ms\n", n,
			(double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6);
}

#define SVC(ip, more)                                               \
	"{'spec':{'clusterIP':'" ip "','ipFamilies':['IPv4']," more \
	"'ports':[{'name':'t','port':80,'protocol':'TCP'},{'name':'u','port':53,'protocol':'UDP'}]}}"
#define NODEPORT(ip, port, more)                                                      \
	"{'spec':{'type':'NodePort','clusterIP':'" ip "','ipFamilies':['IPv4']," more \
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
	conntrack = conntrack_new();
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

/* More frontends than the kernel is asked for one by one, a node port among them. */
static void ends_udp_of_many_services(void **state)
{
	static const char *const endpoints[] = { EP_A, EP_B, EP_A };
	static const char *const answers[] = { "pod-a", "pod-b", "pod-a" };

	for (size_t round = 0; round < ARRAY_LEN(endpoints); round++) {
		for (int i = 0; i < 6; i++) {
			auto_free char *owner = xasprintf("udp-%d", i);
			auto_free char *service = xasprintf(
				"{'spec':{'type':'NodePort','clusterIP':'10.96.0.%d','ipFamilies':['IPv4'],'ports':[{'name':'u','port':53,'nodePort':%d,'protocol':'UDP'}]}}",
				70 + i, 30100 + i);

			put_service(owner, service, endpoints[round]);
			if (round == 2)
				apply(false); /* one by one: filtered */
		}
		apply(false);
		for (int i = 0; i < 6; i++) {
			auto_free char *ip = xasprintf("10.96.0.%d", 70 + i);

			assert_true(strncmp(ask_udp(ns_client, "192.0.2.10", 30100 + i), answers[round], 5) == 0);
			assert_true(strncmp(ask_udp(node_ns, ip, 53), answers[round], 5) == 0);
		}
	}
}

/* Three of the four slots that their pick has. */
static void chooses_evenly(void **state)
{
	static const char *const names_of_endpoints[] = { "pod-a", "pod-b", "client" };
	int seen[3] = { 0 };

	put_service("three", SVC("10.96.0.59", ""), EP_A "," EP_B "," EP_CLIENT);
	apply(false);
	for (int i = 0; i < 120; i++) {
		const char *answer = ask(node_ns, "10.96.0.59", 80);

		for (int k = 0; k < 3; k++)
			seen[k] += str_starts(str_c(answer), str_c(names_of_endpoints[k]));
	}
	assert_int_equal(seen[0] + seen[1] + seen[2], 120);
	for (int k = 0; k < 3; k++)
		assert_in_range(seen[k], 15, 65); /* 40, and almost five standard deviations */
}

static void remembers_clients(void **state)
{
	char first[128];

	put_service("sticky",
		SVC("10.96.0.60",
			"'sessionAffinity':'ClientIP','sessionAffinityConfig':{'clientIP':{'timeoutSeconds':2}},"),
		EP_A "," EP_B);
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
	auto_(doc_unref) struct doc *d = json_doc(
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

static void carries_many(void **state)
{
	auto_(arena_free) struct arena *arena = arena_new();

	for (int s = 0; s < 1000; s++) {
		auto_buf struct buf eps = BUF_INIT;
		for (int i = 0; i < 10; i++)
			buf_printf(&eps, "%s{'addresses':['10.77.%d.%d'],'nodeName':'n3'}", i ? "," : "", s / 20 + 1,
				(s % 20) * 10 + i);
		buf_byte(&eps, 0);
		put_service(arena_printf(arena, "s/%d", s),
			arena_printf(arena, "{'spec':{'clusterIP':'10.96.%d.%d','ports':[{'name':'t','port':80}]}}",
				s / 200 + 1, s % 200),
			eps.p);
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

/* Asks a service again and again; one byte for each answer, '.' for one that begins so. */
static pid_t keep_asking(const char *ip, const char *want, int *ret_answers)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	pid_t pid = child();
	while (pid == 0) {
		if (write(ends[1], str_starts(str_c(ask(ns_a, ip, 80)), str_c(want)) ? "." : "!", 1) != 1)
			_exit(1);
	}
	close(ends[1]);
	*ret_answers = ends[0];
	return pid;
}

/* Ends it. */
static void only_right_answers(pid_t asking, int answers)
{
	static char text[1 << 16];

	kill(asking, SIGKILL);
	waitpid(asking, NULL, 0);
	ssize_t n = read(answers, text, sizeof(text) - 1);
	close(answers);
	assert_true(n > 10);
	text[n] = 0;
	assert_null(strchr(text, '!'));
	print_message("%zd answers meanwhile\n", n);
}

static void rebuilds_without_a_gap(void **state)
{
	int fd;

	put_service("web", SVC("10.96.0.50", ""), EP_B);
	apply(false);
	pid_t asking = keep_asking("10.96.0.50", "pod-b 10.77.0.2", &fd);
	for (int i = 0; i < 10; i++) {
		ledger_forget(ledger);
		apply(true);
	}
	only_right_answers(asking, fd);
}

/* Another number of endpoints is another set that has the frontend. */
static void grows_and_shrinks(const char *service, const char *ip)
{
	int fd;

	put_service("web", service, EP_B);
	apply(false);
	pid_t asking = keep_asking(ip, "pod-", &fd);
	for (int i = 0; i < 1000; i++) {
		put_service("web", service, i % 2 ? EP_B : EP_A "," EP_B);
		apply(false);
	}
	only_right_answers(asking, fd);
}

static void grows_and_shrinks_without_a_gap(void **state)
{
	grows_and_shrinks(SVC("10.96.0.50", ""), "10.96.0.50");
	grows_and_shrinks(SVC("10.96.0.50", "'externalIPs':['198.51.100.9'],"), "198.51.100.9");
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
	conntrack_free(conntrack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_pods_a_network),
		cmocka_unit_test(answers_as_the_specification_says),
		cmocka_unit_test(uses_every_address_once),
		cmocka_unit_test(serves_services),
		cmocka_unit_test(sends_under_its_own_address_only),
		cmocka_unit_test(serves_node_ports),
		cmocka_unit_test(follows_endpoints),
		cmocka_unit_test(ends_udp_of_many_services),
		cmocka_unit_test(chooses_evenly),
		cmocka_unit_test(remembers_clients),
		cmocka_unit_test(serves_host_ports),
		cmocka_unit_test(carries_many),
		cmocka_unit_test(rebuilds_without_a_gap),
		cmocka_unit_test(grows_and_shrinks_without_a_gap),
		cmocka_unit_test(takes_its_mtu_from_the_uplink),
		cmocka_unit_test(takes_itself_away),
	};

	if (geteuid() != 0) {
		puts("needs root: skipped");
		return 77;
	}
	return cmocka_run_group_tests(tests, ns_set_up, ns_tear_down);
}

/* How fast the service proxy and cluster DNS are, in a network namespace of its own. `network_bench [COLD] [WARM]`, as
 * root: COLD services loaded into an empty kernel (44000), and again as after a restart; one change among WARM (10000).
 * Two endpoints each. */
#include "base/clock.h"
#include "base/task.h"
#include "network/compile.h"
#include "network/conntrack.h"
#include "network/dns.h"
#include "network/ledger.h"
#include "network/link.h"
#include "network/netlink.h"
#include "network/nft.h"
#include "network/transaction.h"
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define CHANGES 2000
#define QUESTIONS 20000
#define TRACKED 50000

static const struct compile_node node = { { "n1", 2 }, { NULL, 0 }, { { 0 } } };

static void die(const char *what, const struct err *e)
{
	fprintf(stderr, "network_bench: %s: %s\n", what, e->message);
	_exit(1);
}

static struct doc *parse(const char *json)
{
	struct doc *d;
	struct err e;

	err_init(&e);
	if (doc_parse(str_c(json), &d, &e) < 0)
		die("JSON", &e);
	return d;
}

#define NAME_AND_ADDRESS                                                        \
	"{\"metadata\":{\"name\":\"s%d\",\"namespace\":\"default\"},\"spec\":{" \
	"\"clusterIP\":\"10.%d.%d.%d\",\"clusterIPs\":[\"10.%d.%d.%d\"],"
#define PORT "\"ports\":[{\"name\":\"t\",\"port\":80,\"protocol\":\"TCP\"%s}]%s}}"

/* more: of the spec, or NULL. node_port 0: none. */
static struct doc *service_with(struct arena *a, int i, const char *more, int node_port)
{
	int x = 96 + i / 62500, y = i / 250 % 250, z = i % 250 + 1;

	return parse(arena_printf(a, NAME_AND_ADDRESS PORT, i, x, y, z, x, y, z,
		node_port ? arena_printf(a, ",\"nodePort\":%d", node_port) : "", more ? more : ""));
}

static struct doc *service_doc(struct arena *a, int i)
{
	return service_with(a, i, NULL, 0);
}

/* n endpoints, the first on this node; which ones depends on i and shift. */
static struct doc *slice_with(struct arena *a, int i, int shift, int n)
{
	auto_buf struct buf out = BUF_INIT;

	buf_c(&out,
		"{\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"t\",\"port\":8080,\"protocol\":\"TCP\"}],"
		"\"endpoints\":[");
	for (int k = 0; k < n; k++)
		buf_printf(&out, "%s{\"addresses\":[\"10.%d.%d.%d\"],\"nodeName\":\"n%d\"}", k ? "," : "",
			200 + k + i / 62500, (i / 250 + shift) % 250, i % 250 + 1, k + 1);
	buf_c(&out, "]}");
	return parse(arena_cstr(a, buf_view(&out)));
}

static struct doc *slice_doc(struct arena *a, int i, int shift)
{
	return slice_with(a, i, shift, 2);
}

static void put(struct nft *nft, struct ledger *l, struct doc *service, struct doc *slice, int i)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct val slices = doc_root(slice);
	struct compiled c;

	compile_service(a, &node, doc_root(service), &slices, 1, NULL, &c);
	nft_need_picks(nft, c.picks, c.n_picks);
	ledger_set(l, arena_strf(a, "s/default/s%d", i), c.elements, c.n);
}

static void apply(struct nft *nft, struct ledger *l, bool all)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct change *changes;
	size_t n = ledger_changes(l, a, &changes);
	struct err e;

	err_init(&e);
	if ((all ? nft_rebuild : nft_apply)(nft, changes, n, &e) < 0)
		die("nft", &e);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void tell(const char *what, int64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_size);
	printf("%s: median %.1f us, p99 %.1f us, longest %.1f us\n", what, (double)ns[n / 2] / 1e3,
		(double)ns[n * 99 / 100] / 1e3, (double)ns[n - 1] / 1e3);
}

/* n services from documents that are parsed already, as informers hand them over. */
struct load {
	struct nft *nft;
	struct ledger *ledger;
	struct doc **services, **slices;
	int n;
};

static double ms_since(struct mono t0)
{
	return (double)(mono_now().ns - t0.ns) / 1e6;
}

static void empty_table(struct nft *nft)
{
	struct err e;

	err_init(&e);
	if (nft_rebuild(nft, NULL, 0, &e) < 0)
		die("nft", &e);
}

static void load(const struct nft_opts *o, int n, struct load *l)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct err e;

	err_init(&e);
	*l = (struct load){ .ledger = ledger_new(), .n = n };
	l->services = xcalloc((size_t)n, sizeof(struct doc *));
	l->slices = xcalloc((size_t)n, sizeof(struct doc *));
	if (nft_new(o, &l->nft, &e) < 0)
		die("nft", &e);
	for (int i = 0; i < n; i++) {
		l->services[i] = service_doc(a, i);
		l->slices[i] = slice_doc(a, i, 0);
	}
	struct mono t0 = mono_now();
	empty_table(l->nft);
	double table = ms_since(t0);
	for (int i = 0; i < n; i++)
		put(l->nft, l->ledger, l->services[i], l->slices[i], i);
	double compiling = ms_since(t0) - table;
	apply(l->nft, l->ledger, false);
	printf("%d services cold: %.0f ms, of them %.0f ms compiling (%zu elements)\n", n, ms_since(t0), compiling,
		ledger_len(l->ledger));
}

static void unload(struct load *l)
{
	for (int i = 0; i < l->n; i++) {
		doc_unref(l->services[i]);
		doc_unref(l->slices[i]);
	}
	free(l->services);
	free(l->slices);
	ledger_free(l->ledger);
	nft_free(l->nft);
}

static void replace(struct load *l)
{
	struct mono t0 = mono_now();

	ledger_forget(l->ledger);
	apply(l->nft, l->ledger, true);
	printf("%d services in a table that replaces another: %.0f ms\n", l->n, ms_since(t0));
}

/* The change number `round` of a kind: what a Service and its slice become. slice NULL: the Service goes. */
struct step {
	int which;
	struct doc *service, *slice;
};

static struct step one_more(struct arena *a, const struct load *l, int round, const char *more, int node_port)
{
	int which = l->n + round;

	return (struct step){ which, service_with(a, which, more, node_port), slice_doc(a, which, 0) };
}

static struct step endpoints(struct arena *a, const struct load *l, int round)
{
	int which = round * 7 % l->n;

	return (struct step){ which, doc_ref(l->services[which]), slice_doc(a, which, round + 1) };
}

static struct step plain(struct arena *a, const struct load *l, int round)
{
	return one_more(a, l, round, NULL, 0);
}

static struct step one_less(struct arena *a, const struct load *l, int round)
{
	return (struct step){ l->n + round, NULL, NULL };
}

static struct step count(struct arena *a, const struct load *l, int round)
{
	int which = round * 7 % l->n;

	return (struct step){ which, doc_ref(l->services[which]), slice_with(a, which, 0, round * 5 % 40 + 1) };
}

static struct step none_and_back(struct arena *a, const struct load *l, int round)
{
	int which = round / 2 * 7 % l->n;

	return (struct step){ which, doc_ref(l->services[which]), slice_with(a, which, 0, round % 2 * 2) };
}

static struct step sticky(struct arena *a, const struct load *l, int round)
{
	return one_more(a, l, round, ",\"sessionAffinity\":\"ClientIP\"", 0);
}

static struct step outside(struct arena *a, const struct load *l, int round)
{
	return one_more(a, l, round,
		arena_printf(a,
			",\"type\":\"NodePort\",\"externalTrafficPolicy\":\"Local\",\"externalIPs\":[\"198.18.%d.%d\"]",
			round / 250, round % 250 + 1),
		30000 + round);
}

static const struct kind {
	const char *what;
	struct step (*step)(struct arena *a, const struct load *l, int round);
} kinds[] = {
	{ "endpoints changed", endpoints },
	{ "one Service more", plain },
	{ "one Service less", one_less },
	{ "1 to 40 endpoints in turn", count },
	{ "no endpoints, and two again", none_and_back },
	{ "one more with session affinity", sticky },
	{ "one less with session affinity", one_less },
	{ "one more with node port, external IP, policy Local", outside },
	{ "one less with node port, external IP, policy Local", one_less },
};

static void change(struct load *l, const struct kind *k)
{
	int64_t ns[CHANGES];

	for (int i = 0; i < CHANGES; i++) {
		auto_(arena_free) struct arena *a = arena_new();
		struct step s = k->step(a, l, i);
		struct mono t0 = mono_now();

		if (s.service)
			put(l->nft, l->ledger, s.service, s.slice, s.which);
		else
			ledger_set(l->ledger, arena_strf(a, "s/default/s%d", s.which), NULL, 0);
		apply(l->nft, l->ledger, false);
		ns[i] = mono_now().ns - t0.ns;
		doc_unref(s.service);
		doc_unref(s.slice);
	}
	tell(k->what, ns, CHANGES);
}

static void changes(struct load *l)
{
	printf("one change among %d Services, to its being in the kernel:\n", l->n);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		change(l, &kinds[i]);
}

/* The calling thread, and those it starts, run on the nth processor that it may use. false: there is none. */
static bool run_on(size_t nth, const cpu_set_t *allowed)
{
	cpu_set_t one;

	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, allowed) || nth-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	return false;
}

/* What a connection's first packet costs its sender: all of connect(), a SYN that goes nowhere. */
static void connections(const char *what, int n, uint32_t first, int port)
{
	int64_t ns[QUESTIONS];

	for (int i = 0; i < QUESTIONS; i++) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), which = i * 7 % n;

		to.sin_addr.s_addr = htonl(first + (uint32_t)(which / 250 * 256 + which % 250 + 1));
		struct mono t0 = mono_now();
		connect(fd, (struct sockaddr *)&to, sizeof(to));
		ns[i] = mono_now().ns - t0.ns;
		close(fd);
	}
	tell(what, ns, QUESTIONS);
}

static void packets(int n)
{
	puts("the first packet of a connection:");
	connections("  to a Service", n, 0x0a600000, 80);
	connections("  to elsewhere", n, 0x0a320000, 81);
}

/* ---- tracked connections --------------------------------------------------------------------- */

static void put_tuple(
	struct nlmsghdr *h, uint16_t type, uint32_t src, uint32_t dst, uint16_t src_port, uint16_t dst_port)
{
	struct nlattr *tuple = mnl_attr_nest_start(h, type), *nest = mnl_attr_nest_start(h, CTA_TUPLE_IP);

	mnl_attr_put_u32(h, CTA_IP_V4_SRC, htonl(src));
	mnl_attr_put_u32(h, CTA_IP_V4_DST, htonl(dst));
	mnl_attr_nest_end(h, nest);
	nest = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, IPPROTO_UDP);
	mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, htons(src_port));
	mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(dst_port));
	mnl_attr_nest_end(h, nest);
	mnl_attr_nest_end(h, tuple);
}

/* UDP of n clients to elsewhere, as ctnetlink makes it. */
static void track(int n)
{
	struct mnl_socket *nl;
	struct err e;

	err_init(&e);
	if (transaction_socket(&nl, &e) < 0)
		die("netlink", &e);
	for (int i = 0; i < n; i++) {
		char buf[512];
		struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
		uint32_t client = 0x0a640000 + (uint32_t)i;
		struct nfgenmsg *m;

		h->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
		h->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
		m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
		m->nfgen_family = AF_INET;
		put_tuple(h, CTA_TUPLE_ORIG | NLA_F_NESTED, client, 0x0a320001, 5000, 53);
		put_tuple(h, CTA_TUPLE_REPLY | NLA_F_NESTED, 0x0a320001, client, 53, 5000);
		mnl_attr_put_u32(h, CTA_TIMEOUT, htonl(600));
		mnl_socket_sendto(nl, h, h->nlmsg_len);
	}
	mnl_socket_close(nl);
}

/* An endpoint of each of n UDP Services leaves. */
static void endpoints_leave(struct conntrack *c, const char *what, int n)
{
	struct fields *keys = xcalloc((size_t)n, sizeof(*keys));
	struct change *changes = xcalloc((size_t)n, sizeof(*changes));
	struct fields *vals = xcalloc((size_t)n, sizeof(*vals));
	int64_t ns[20];
	struct err e;

	err_init(&e);
	for (int i = 0; i < n; i++) {
		struct ip ip;

		ip_parse(STR("10.200.0.1"), &ip);
		ip.b[3] = (uint8_t)(i + 1);
		fields_add_ip(&vals[i], ip);
		fields_add_port(&vals[i], 5353);
		ip_parse(STR("10.96.0.1"), &ip);
		ip.b[3] = (uint8_t)(i + 1);
		fields_add_ip(&keys[i], ip);
		fields_add_port(&keys[i], 53);
		fields_add_number(&keys[i], 0);
		changes[i] = (struct change){ CHANGE_DELETE,
			{ MAP_EP_C, 4, 'u', fields_view(&keys[i]), fields_view(&vals[i]) } };
	}
	for (size_t k = 0; k < ARRAY_LEN(ns); k++) {
		struct mono t0 = mono_now();

		if (conntrack_follow(c, changes, (size_t)n, &e) < 0)
			die("conntrack", &e);
		ns[k] = mono_now().ns - t0.ns;
	}
	tell(what, ns, ARRAY_LEN(ns));
	free(changes);
	free(keys);
	free(vals);
}

static void tracked(int n)
{
	auto_(conntrack_free) struct conntrack *c = conntrack_new();

	track(n);
	printf("what a change of a UDP Service ends, among %d tracked connections:\n", n);
	endpoints_leave(c, "  one Service", 1);
	endpoints_leave(c, "  4 Services at once", 4);
	endpoints_leave(c, "  5 Services at once", 5);
}

/* ---- DNS ------------------------------------------------------------------------------------- */

#define ECHO_PORT 7

static void *echo(void *arg)
{
	int fd = *(int *)arg;
	char bytes[1500];
	struct sockaddr_in from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);

		if (n <= 1)
			return NULL;
		sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static int udp_socket(int port, int (*join)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) }
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct err e;

	err_init(&e);
	if (join(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		die("socket", &e);
	return fd;
}

static struct dns *start_dns(struct services *s)
{
	struct dns_opts o = { .resolv_conf = "/dev/null", .zone = { .services = s, .domain = STR("cluster.local") } };
	struct dns *dns;
	struct err e;

	err_init(&e);
	ip_parse(STR("127.0.0.1"), &o.zone.server[0]);
	if (dns_start(&o, &dns, &e) < 0)
		die("dns", &e);
	return dns;
}

static size_t question(struct arena *a, int service, uint8_t *wire, size_t max)
{
	const char *label = arena_printf(a, "s%d.default.svc.cluster.local.", service);
	uint8_t name[256];
	size_t at = 0;

	for (struct str part, rest = str_c(label); str_next(&rest, '.', &part) && part.n;) {
		name[at++] = (uint8_t)part.n;
		memcpy(name + at, part.p, part.n);
		at += part.n;
	}
	name[at] = 0;
	return dns_question(name, 1, (uint16_t)service, wire, max);
}

/* Sends a question and waits for what comes back, asleep or not. */
static int64_t round_trip(int fd, const uint8_t *out, size_t len, bool awake, uint8_t in[1500])
{
	struct mono t0 = mono_now();
	ssize_t n;
	struct err e;

	err_init(&e);
	if (send(fd, out, len, 0) < 0)
		die("send", &e);
	do {
		n = recv(fd, in, 1500, awake ? MSG_DONTWAIT : 0);
	} while (awake && n < 0);
	if (n < 12)
		die("no answer", &e);
	return mono_now().ns - t0.ns;
}

/* Both servers on the first processor, one client on the other or on the same: where they run makes most of the
 * difference, for a processor that sleeps has to be woken. The echo is what any server would take. */
static void ask(int n, size_t client_processor, bool awake, const char *where)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(services_free) struct services *s = services_new();
	int64_t *ours = xcalloc(QUESTIONS, sizeof(*ours)), *bare = xcalloc(QUESTIONS, sizeof(*bare));
	int echo_fd = udp_socket(ECHO_PORT, bind);
	uint8_t out[1500], in[1500];
	cpu_set_t allowed;
	struct err e;

	err_init(&e);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int i = 0; i < n; i++) {
		auto_(doc_unref) struct doc *d = service_doc(a, i);

		services_put(s, NULL, d);
	}
	run_on(0, &allowed);
	struct dns *dns = start_dns(s);
	pthread_t echo_thread;
	pthread_create(&echo_thread, NULL, echo, &echo_fd);
	if (!run_on(client_processor, &allowed))
		where = "on the only processor";
	int dns_fd = udp_socket(53, connect), bare_fd = udp_socket(ECHO_PORT, connect);
	for (int i = 0; i < QUESTIONS; i++) {
		size_t len = question(a, i % n, out, sizeof(out));

		bare[i] = round_trip(bare_fd, out, len, awake, in);
		ours[i] = round_trip(dns_fd, out, len, awake, in);
		if ((in[3] & 15) || in[7] != 1)
			die("no DNS answer", &e);
	}
	printf("over UDP, 1 of %d Services, one client %s:\n", n, where);
	tell("  DNS answer", ours, QUESTIONS);
	tell("  an echo of the same", bare, QUESTIONS);
	send(bare_fd, "", 1, 0);
	pthread_join(echo_thread, NULL);
	sched_setaffinity(0, sizeof(allowed), &allowed);
	close(dns_fd);
	close(bare_fd);
	close(echo_fd);
	dns_stop(dns);
	free(ours);
	free(bare);
}

int main(int argc, char **argv)
{
	int cold = argc > 1 ? atoi(argv[1]) : 44000, warm = argc > 2 ? atoi(argv[2]) : 10000;
	struct nft_opts o = { .table = "kogge-bench", .pod_links = "kp-" };
	struct rtnl r = { 0 };
	struct link lo;
	struct load l;
	struct err e;

	err_init(&e);
	if (unshare(CLONE_NEWNET) < 0) {
		puts("network_bench needs root");
		return 77;
	}
	if (rtnl_open(&r, &e) < 0 || rtnl_link(&r, "lo", &lo, &e) < 0 || rtnl_up(&r, lo.index, &e) < 0)
		die("loopback", &e);
	rtnl_close(&r);
	if (system("ip route add default dev lo") != 0)
		die("route", &e);
	cidr_parse(STR("10.96.0.0/12"), &o.services[0]);
	tracked(TRACKED);
	load(&o, cold, &l);
	replace(&l);
	unload(&l);
	load(&o, warm, &l);
	packets(warm);
	changes(&l);
	packets(warm);
	unload(&l);
	ask(warm, 0, false, "on the server's processor");
	ask(warm, 1, false, "on another processor");
	ask(warm, 1, true, "on another processor, that never sleeps");
	return 0;
}

/* The whole network against a scripted API: what the informers say must be in the kernel and in DNS a moment later.
 * Runs in network namespaces of its own; skips (77) without root. */
#include "base/task.h"
#include "base/test.h"
#include "client/informer.h"
#include "network/answer.h"
#include "network/firewalls.h"
#include "network/link.h"
#include "network/network.h"
#include "network/ns_harness.h"
#include <arpa/inet.h>
#include <libknot/libknot.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- an API of three resources --------------------------------------------------------------- */

#define EVENTS_MAX 256
struct fake {
	struct task_mutex lock;
	struct task_cond changed;
	struct {
		const char *resource;
		struct client_event event;
		int rev;
	} log[EVENTS_MAX];
	int n;
};
static struct fake api;

struct client_stream {
	struct gvr res;
	int at;
	bool interrupted;
};

static void say(const char *resource, int type, const char *json)
{
	auto_(doc_unref) struct doc *plain = quoted_doc(json);
	auto_(arena_free) struct arena *a = arena_new();

	task_lock(&api.lock);
	struct doc *d = node_publish_versioned(node_from(a, doc_root(plain)));
	doc_stamp(d, ++api.n);
	api.log[api.n].resource = resource;
	api.log[api.n].event = (struct client_event){ .type = type, .object = d };
	task_broadcast(&api.changed);
	task_unlock(&api.lock);
}

static int fake_call(void *self, const struct client_request *rq, struct doc **ret, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "not in this test");
}

static bool is_newest(int at)
{
	for (int i = at + 1; i <= api.n; i++) {
		if (strcmp(api.log[i].resource, api.log[at].resource) == 0 &&
			str_eq(doc_name(api.log[i].event.object), doc_name(api.log[at].event.object)))
			return false;
	}
	return api.log[at].event.type != EVENT_DELETED;
}

static int fake_list(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	task_lock(&api.lock);
	for (int i = 1; i <= api.n; i++) {
		if (strcmp(api.log[i].resource, rq->res.resource) == 0 && is_newest(i))
			each(arg, doc_ref(api.log[i].event.object));
	}
	snprintf(ret_rev, 24, "%d", api.n);
	task_unlock(&api.lock);
	return 0;
}

static int fake_watch(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	struct client_stream *s = xcalloc(1, sizeof(*s));

	s->res = rq->res;
	int64_t from = 0;

	str_i64(rq->resource_version, &from);
	s->at = (int)from + 1;
	*ret = s;
	return 0;
}

static int fake_next(struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	int rc = 1;

	task_lock(&api.lock);
	while (rc > 0) {
		while (s->at <= api.n && strcmp(api.log[s->at].resource, s->res.resource) != 0)
			s->at++;
		if (s->interrupted) {
			rc = err_set(e, ERR_CANCELED, "interrupted");
		} else if (s->at <= api.n) {
			*ret = api.log[s->at++].event;
			doc_ref(ret->object);
			rc = 0;
		} else if (!task_wait_until(&api.changed, &api.lock, until)) {
			rc = err_set(e, ERR_TIMEOUT, "nothing new");
		}
	}
	task_unlock(&api.lock);
	return rc;
}

static void fake_interrupt(struct client_stream *s)
{
	task_lock(&api.lock);
	s->interrupted = true;
	task_broadcast(&api.changed);
	task_unlock(&api.lock);
}

static void fake_close(struct client_stream *s)
{
	free(s);
}

static const struct client_ops fake_ops = { fake_call, fake_list, fake_watch, fake_next, fake_interrupt, fake_close,
	NULL };

/* ---- DNS ------------------------------------------------------------------------------------- */

/* An upstream server: everything is 198.51.100.7. */
static void upstream(int fd, bool tcp)
{
	uint8_t in[1500], *q = in;
	struct sockaddr_in from;

	for (;;) {
		socklen_t len = sizeof(from);
		int c = tcp ? accept(fd, NULL, NULL) : fd;
		ssize_t n = recvfrom(c, in, sizeof(in) - 64, 0, (struct sockaddr *)&from, &len);

		q = tcp ? in + 2 : in;
		n -= tcp ? 2 : 0;
		if (n < 12)
			continue;
		static const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7 };
		size_t end = 12;
		while (q[end])
			end += q[end] + 1u;
		end += 5;
		memcpy(q + end, rr, sizeof(rr));
		end += sizeof(rr);
		q[2] |= 0x80;
		q[7] = 1; /* one answer */
		q[8] = q[9] = q[10] = q[11] = 0;
		if (tcp) {
			in[0] = (uint8_t)(end >> 8);
			in[1] = (uint8_t)end;
		}
		sendto(c, in, end + (tcp ? 2 : 0), MSG_NOSIGNAL, tcp ? NULL : (struct sockaddr *)&from, tcp ? 0 : len);
		if (tcp)
			close(c);
	}
}

static void start_upstream(bool tcp)
{
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	if (child() == 0) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53) };

		setns(ns_client, CLONE_NEWNET);
		int fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || (tcp && listen(fd, 8) < 0) ||
			write(ready[1], "x", 1) != 1)
			_exit(1);
		upstream(fd, tcp);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
}

struct digging {
	const char *name;
	uint16_t type;
	bool tcp;
};

static void dig_it(void *arg, char *ret, size_t max)
{
	static uint8_t wire[65537];
	const struct digging *d = arg;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
	struct timeval wait = { .tv_sec = 5 };
	uint8_t name[256], *q = wire;
	int fd = socket(AF_INET, d->tcp ? SOCK_STREAM : SOCK_DGRAM, 0);

	inet_pton(AF_INET, "10.96.0.10", &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	knot_dname_from_str(name, d->name, sizeof(name));
	size_t n = dns_question(name, d->type, 4711, wire + 2, 512);
	wire[0] = 0;
	wire[1] = (uint8_t)n;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
		send(fd, d->tcp ? wire : wire + 2, d->tcp ? n + 2 : n, 0) < 0) {
		snprintf(ret, max, "cannot send");
		return;
	}
	ssize_t got = recv(fd, wire, sizeof(wire), 0);
	if (d->tcp) {
		got -= 2;
		q += 2;
	}
	if (got < 12) {
		snprintf(ret, max, "no answer");
		return;
	}
	knot_pkt_t *p = knot_pkt_new(q, (uint16_t)got, NULL);
	int at = snprintf(ret, max, "%s",
		knot_pkt_parse(p, 0) == 0 ? knot_lookup_by_id(knot_rcode_names, knot_wire_get_rcode(q))->name :
					    "garbage");
	const knot_pktsection_t *s = knot_pkt_section(p, KNOT_ANSWER);
	for (uint16_t i = 0; i < s->count; i++) {
		char data[512];
		knot_rrset_txt_dump_data(knot_pkt_rr(s, i), 0, data, sizeof(data), &KNOT_DUMP_STYLE_DEFAULT);
		at += snprintf(ret + at, max - (size_t)at, " %s", data);
	}
}

static const char *dig(int ns, const char *name, uint16_t type, bool tcp)
{
	struct digging d = { name, type, tcp };

	return run_in(ns, dig_it, &d);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static struct client *client;
static struct network *net;
static struct pod *a, *b;
static int ns_a, ns_b;
static char resolv_conf[] = "/tmp/kogge-resolv-XXXXXX";
static struct network_opts opts;

static void start_network(void)
{
	struct err e;

	err_init(&e);
	opts.pods = informer_new(opts.client, (struct informer_opts){ .res = res_pods });
	opts.services = informer_new(opts.client, (struct informer_opts){ .res = res_services });
	if (network_new(&opts, &net, &e) < 0 || network_start(net, &e) < 0)
		fail_msg("%s", e.message);
	informer_start(opts.pods);
	informer_start(opts.services);
}

static void end_network(void)
{
	informer_stop(opts.pods);
	informer_stop(opts.services);
	net = network_free(net);
	opts.pods = informer_free(opts.pods);
	opts.services = informer_free(opts.services);
}

#define WEB "'metadata':{'name':'web','namespace':'default'}"
#define SERVICE_WEB                                                                                              \
	"{" WEB                                                                                                  \
	",'spec':{'type':'NodePort','clusterIP':'10.96.0.50','clusterIPs':['10.96.0.50'],'ipFamilies':['IPv4']," \
	"'ports':[{'name':'http','port':80,'nodePort':30080,'protocol':'TCP'}]}}"
#define SLICE_WEB(endpoints)                                                                                                     \
	"{'metadata':{'name':'web-1','namespace':'default','labels':{'kubernetes.io/service-name':'web'}},'addressType':'IPv4'," \
	"'ports':[{'name':'http','port':8080,'protocol':'TCP'}],'endpoints':[" endpoints "]}"
#define READY(ip) "{'addresses':['" ip "'],'nodeName':'n1','conditions':{'ready':true}}"
#define ENDING(ip) \
	"{'addresses':['" ip "'],'nodeName':'n1','conditions':{'ready':false,'serving':true,'terminating':true}}"

static void starts(void **state)
{
	struct err e;

	err_init(&e);
	int fd = mkstemp(resolv_conf);
	dprintf(fd, "nameserver 127.0.0.53\nnameserver 192.0.2.20\n");
	close(fd);
	start_upstream(false);
	start_upstream(true);
	/* Before the network has sockets: what fork() copies would keep its ports. */
	a = new_pod();
	b = new_pod();
	ns_a = netns_of(a->holder);
	ns_b = netns_of(b->holder);
	task_mutex_init(&api.lock);
	task_cond_init(&api.changed);
	client = client_new(&fake_ops, NULL, "test");
	opts = (struct network_opts){
		.client = client,
		.node_name = "n1",
		.node_ips = { "192.0.2.10" },
		.pod_cidrs = { "10.77.0.0/28", "fd77::/120" },
		.service_cidrs = { "10.96.0.0/16" },
		.data_dir = data_dir,
		.resolv_conf = resolv_conf,
	};
	say("services", EVENT_ADDED, SERVICE_WEB);
	start_network();
	assert_true(network_wait_ready(net, 60000));
	assert_string_equal(ask(ns_a, b->ip, 8080), "pod-b 10.77.0.2");
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), "client 192.0.2.10");
}

static void serves_pods_made_later(void **state)
{
	struct pod *c = new_pod();
	pid_t pids[] = { c->servers[0], c->servers[1], c->holder };

	assert_string_equal(ask(ns_a, c->ip, 8080), "pod-c 10.77.0.2");
	assert_string_equal(ask(node_ns, c->ip, 8080), "pod-c 10.77.0.1");
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

/* A change is in the kernel within milliseconds. */
static void until(const char *ip, bool absent)
{
	struct mono t0 = mono_now();

	while (network_endpoint_absent(net, str_c(ip)) != absent) {
		if (mono_ms_between(t0, mono_now()) > 60000)
			fail_msg("%s is still %s", ip, absent ? "there" : "away");
		task_sleep_ms(1);
	}
	print_message(
		"%s %s after %lld ms\n", ip, absent ? "away" : "there", (long long)mono_ms_between(t0, mono_now()));
}

/* A change is in the kernel soon; a table that somebody flushed is looked for every five seconds. */
static void until_said(const char *(*how)(int, const char *, int), int from, const char *ip, int port, const char *want)
{
	struct mono t0 = mono_now();
	const char *heard;

	while (strcmp(heard = how(from, ip, port), want) != 0 && mono_ms_between(t0, mono_now()) < 60000)
		task_sleep_ms(10);
	if (strcmp(heard, want) != 0)
		fail_msg("%s port %d says \"%s\", not \"%s\"", ip, port, heard, want);
}

static void until_heard(int from, const char *ip, int port, const char *want)
{
	until_said(ask, from, ip, port, want);
}

static void until_heard_by_udp(int from, const char *ip, int port, const char *want)
{
	until_said(ask_udp, from, ip, port, want);
}

static void follows_the_api(void **state)
{
	until_heard(ns_a, "10.96.0.50", 80, REFUSED);
	say("endpointslices", EVENT_ADDED, SLICE_WEB(READY("10.77.0.2")));
	until("10.77.0.2", false);
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3");
	assert_string_equal(ask(node_ns, "127.0.0.1", 30080), "pod-a 10.77.0.1");
	assert_true(network_endpoint_absent(net, STR("10.77.0.3")));
	say("endpointslices", EVENT_MODIFIED, SLICE_WEB(READY("10.77.0.2") "," READY("10.77.0.3")));
	until("10.77.0.3", false);
	say("endpointslices", EVENT_MODIFIED, SLICE_WEB(ENDING("10.77.0.2") "," READY("10.77.0.3")));
	assert_true(network_endpoint_wait_absent(net, STR("10.77.0.2"), 60000));
	assert_false(network_endpoint_wait_absent(net, STR("10.77.0.3"), 50));
	for (int i = 0; i < 10; i++)
		assert_string_equal(ask(node_ns, "10.96.0.50", 80), "pod-b 192.0.2.10");
}

static void follows_host_ports(void **state)
{
	static const char pod[] =
		"{'metadata':{'name':'a','namespace':'default'},'spec':{'nodeName':'n1','containers':[{'ports':"
		"[{'containerPort':8080,'hostPort':8888}]}]},'status':{'podIPs':[{'ip':'10.77.0.2'}]}}";

	assert_string_equal(ask(ns_client, "192.0.2.10", 8888), REFUSED);
	say("pods", EVENT_ADDED, pod);
	until_heard(ns_client, "192.0.2.10", 8888, "pod-a 192.0.2.20");
	assert_true(network_endpoint_absent(net, STR("10.77.0.2"))); /* a hostPort is no service */
	say("pods", EVENT_DELETED, pod);
	until_heard(ns_client, "192.0.2.10", 8888, REFUSED);
}

static void balances_for_some(void **state)
{
#define BALANCED(ranges)                                                                                          \
	"{'metadata':{'name':'lb','namespace':'default'},'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.51'," \
	"'clusterIPs':['10.96.0.51'],'ipFamilies':['IPv4'],'loadBalancerSourceRanges':[" ranges "],"              \
	"'ports':[{'name':'http','port':81,'protocol':'TCP'}]},'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.10'}]}}}"
	static const char slice[] =
		"{'metadata':{'name':'lb-1','namespace':'default','labels':{'kubernetes.io/service-name':'lb'}},'addressType':'IPv4',"
		"'ports':[{'name':'http','port':8080,'protocol':'TCP'}],'endpoints':[" READY("10.77.0.2") "]}";

	say("services", EVENT_ADDED, BALANCED(""));
	say("endpointslices", EVENT_ADDED, slice);
	until_heard(ns_client, "192.0.2.10", 81, "pod-a 192.0.2.20");
	say("services", EVENT_MODIFIED, BALANCED("'198.51.100.0/24'"));
	until_heard(ns_client, "192.0.2.10", 81, SILENCE);
	until_heard(ns_b, "10.96.0.51", 81, "pod-a 10.77.0.3"); /* the ranges are of the balancer's address only */
	until_heard(node_ns, "192.0.2.10", 81, "pod-a 192.0.2.10");
	say("services", EVENT_MODIFIED, BALANCED("'198.51.100.0/24','192.0.2.0/25','192.0.2.20/32'"));
	until_heard(ns_client, "192.0.2.10", 81, "pod-a 192.0.2.20");
	until_heard(ns_b, "192.0.2.10", 81, SILENCE);
	say("services", EVENT_DELETED, BALANCED(""));
	say("endpointslices", EVENT_DELETED, slice);
	until_heard(ns_client, "192.0.2.10", 81, REFUSED);
}

/* ---- NetworkPolicies ------------------------------------------------------------------------- */

#define POD(name, ip, labels)                                                                    \
	"{'metadata':{'name':'" name "','namespace':'default','uid':'" name "','labels':" labels \
	"},'spec':{'nodeName':'n1','containers':"                                                \
	"[{'ports':[{'name':'main','containerPort':8080,'protocol':'TCP'}]}]},'status':{'podIPs':[{'ip':'" ip "'}]}}"
#define POLICY(name, generation, spec) \
	"{'metadata':{'name':'" name "','namespace':'default','generation':" generation "},'spec':" spec "}"

static void denies_and_allows(void **state)
{
	say("namespaces", EVENT_ADDED, "{'metadata':{'name':'default','labels':{'team':'blue'}}}");
	say("pods", EVENT_ADDED, POD("a", "10.77.0.2", "{'app':'a'}"));
	say("pods", EVENT_ADDED, POD("b", "10.77.0.3", "{'app':'b'}"));
	assert_string_equal(ask(ns_a, b->ip, 8080), "pod-b 10.77.0.2");
	say("networkpolicies", EVENT_ADDED,
		POLICY("only", "1", "{'podSelector':{'matchLabels':{'app':'b'}},'policyTypes':['Ingress']}"));
	until_heard(ns_a, b->ip, 8080, SILENCE);
	assert_string_equal(ask(node_ns, b->ip, 8080), "pod-b 10.77.0.1"); /* probes */
	assert_string_equal(ask(ns_b, a->ip, 8080), "pod-a 10.77.0.3");    /* replies */
	assert_string_equal(ask(ns_b, "192.0.2.20", 8080), "client 192.0.2.10");
	assert_string_equal(ask(ns_a, b->ip, 8080), SILENCE);
	say("networkpolicies", EVENT_MODIFIED,
		POLICY("only", "2",
			"{'podSelector':{'matchLabels':{'app':'b'}},'policyTypes':['Ingress'],'ingress':[{'ports':[{'port':8080}],"
			"'from':[{'podSelector':{'matchLabels':{'app':'a'}}}]}]}"));
	until_heard(ns_a, b->ip, 8080, "pod-b 10.77.0.2");
	assert_string_equal(ask_udp(ns_a, b->ip, 5353), SILENCE);
	/* A pod that gets other labels is another peer. */
	say("pods", EVENT_MODIFIED, POD("a", "10.77.0.2", "{'app':'other'}"));
	until_heard(ns_a, b->ip, 8080, SILENCE);
	say("pods", EVENT_MODIFIED, POD("a", "10.77.0.2", "{'app':'a'}"));
	until_heard(ns_a, b->ip, 8080, "pod-b 10.77.0.2");
	/* So is one whose namespace does, and ports have names. */
	say("networkpolicies", EVENT_MODIFIED,
		POLICY("only", "3",
			"{'podSelector':{'matchLabels':{'app':'b'}},'policyTypes':['Ingress'],'ingress':[{'ports':[{'port':'main'}],"
			"'from':[{'namespaceSelector':{'matchLabels':{'team':'red'}}}]}]}"));
	until_heard(ns_a, b->ip, 8080, SILENCE);
	say("namespaces", EVENT_MODIFIED, "{'metadata':{'name':'default','labels':{'team':'red'}}}");
	until_heard(ns_a, b->ip, 8080, "pod-b 10.77.0.2");
	say("networkpolicies", EVENT_DELETED, POLICY("only", "3", "{}"));
	until_heard_by_udp(ns_a, b->ip, 5353, "pod-b 10.77.0.2");
}

static void holds_back_what_pods_send(void **state)
{
	say("networkpolicies", EVENT_ADDED,
		POLICY("out", "1",
			"{'podSelector':{'matchLabels':{'app':'a'}},'policyTypes':['Egress'],'egress':[{'to':[{'ipBlock':{'cidr':'10.77.0.0/16',"
			"'except':['10.77.0.3/32']}}]}]}"));
	until_heard(ns_a, b->ip, 8080, SILENCE);
	assert_string_equal(ask_udp(ns_a, b->ip, 5353), SILENCE); /* though this client was heard before */
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), SILENCE);
	assert_string_equal(ask(ns_b, a->ip, 8080), "pod-a 10.77.0.3");
	assert_string_equal(dig(ns_a, "web.default.svc.cluster.local.", KNOT_RRTYPE_A, false),
		"NOERROR 10.96.0.50"); /* of the node itself */
	say("networkpolicies", EVENT_MODIFIED,
		POLICY("out", "2",
			"{'podSelector':{'matchLabels':{'app':'a'}},'policyTypes':['Egress'],'egress':[{'ports':[{'port':8080,'endPort':8090}]}]}"));
	until_heard(ns_a, b->ip, 8080, "pod-b 10.77.0.2");
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), "client 192.0.2.10");
	assert_string_equal(ask_udp(ns_a, b->ip, 5353), SILENCE);
	say("networkpolicies", EVENT_DELETED, POLICY("out", "2", "{}"));
	until_heard_by_udp(ns_a, b->ip, 5353, "pod-b 10.77.0.2");
}

/* The API does not know the pod's address yet, and its containers have not started. */
static void holds_before_the_first_packet(void **state)
{
	struct pod *d = new_pod();
	const char *ips[] = { d->ip };
	pid_t pids[] = { d->servers[0], d->servers[1], d->holder };
	auto_(doc_unref) struct doc *doc =
		json_doc("{\"metadata\":{\"name\":\"d\",\"namespace\":\"default\",\"uid\":\"d\"},\"spec\":{}}");

	assert_true(network_policies_wait(net, doc, ips, 1, 2000));
	assert_string_equal(ask(ns_a, d->ip, 8080), "pod-d 10.77.0.2");
	say("networkpolicies", EVENT_ADDED, POLICY("all", "1", "{'podSelector':{},'policyTypes':['Ingress']}"));
	until_heard(ns_a, b->ip, 8080, SILENCE);
	assert_string_equal(
		ask(ns_a, d->ip, 8080), "pod-d 10.77.0.2"); /* nobody has asked for it yet, nor said its address */
	assert_true(network_policies_wait(net, doc, ips, 1, 2000));
	assert_string_equal(ask(ns_a, d->ip, 8080), SILENCE);
	assert_int_equal(system("nft flush ruleset"), 0); /* and again after the whole table was made anew */
	until_heard(ns_a, d->ip, 8080, SILENCE);
	say("pods", EVENT_ADDED, POD("d", "10.77.0.9", "{}"));
	say("pods", EVENT_DELETED, POD("d", "10.77.0.9", "{}"));
	until_heard(ns_a, d->ip, 8080, "pod-d 10.77.0.2"); /* nothing of it is left */
	say("networkpolicies", EVENT_DELETED, POLICY("all", "1", "{}"));
	until_heard(ns_a, b->ip, 8080, "pod-b 10.77.0.2");
	say("pods", EVENT_DELETED, POD("a", "10.77.0.2", "{}"));
	say("pods", EVENT_DELETED, POD("b", "10.77.0.3", "{}"));
	for (int i = 0; i < 6000 && system("nft list table inet kogge | grep -q 'policy-\\|goto policy'") == 0; i++)
		task_sleep_ms(10);
	assert_int_equal(system("nft list table inet kogge | grep -q 'policy-\\|goto policy'"), 1 << 8);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

static void answers_names(void **state)
{
	static const char out[] =
		"{'metadata':{'name':'out','namespace':'default'},'spec':{'type':'ExternalName','externalName':'www.example.org'}}";
	/* The ecosystem's DNS service exists but must not take the address over. */
	static const char dns[] =
		"{'metadata':{'name':'kube-dns','namespace':'kube-system'},'spec':{'clusterIP':'10.96.0.10','clusterIPs':['10.96.0.10'],"
		"'ports':[{'name':'dns','port':53,'protocol':'UDP'}]}}";

	say("services", EVENT_ADDED, dns);
	say("services", EVENT_ADDED, out);
	for (int i = 0; i < 6000 &&
		strcmp(dig(ns_a, "out.default.svc.cluster.local.", KNOT_RRTYPE_CNAME, false), "NXDOMAIN") == 0;
		i++)
		task_sleep_ms(10);
	for (int tcp = 0; tcp <= 1; tcp++) {
		int from[] = { ns_a, node_ns };
		for (size_t i = 0; i < ARRAY_LEN(from); i++) {
			assert_string_equal(dig(from[i], "web.default.svc.cluster.local.", KNOT_RRTYPE_A, tcp),
				"NOERROR 10.96.0.50");
			assert_string_equal(
				dig(from[i], "nobody.default.svc.cluster.local.", KNOT_RRTYPE_A, tcp), "NXDOMAIN");
			assert_string_equal(
				dig(from[i], "www.example.com.", KNOT_RRTYPE_A, tcp), "NOERROR 198.51.100.7");
			assert_string_equal(dig(from[i], "out.default.svc.cluster.local.", KNOT_RRTYPE_A, tcp),
				"NOERROR www.example.org. 198.51.100.7");
		}
	}
	/* Another upstream server, which does not answer and so is asked once; then none. */
	assert_int_equal(
		system("nft 'table inet spy { chain out { type filter hook output priority 0; ip daddr 192.0.2.99 counter; }; }'"),
		0);
	FILE *f = fopen(resolv_conf, "w");
	fputs("nameserver 192.0.2.99\nnameserver 192.0.2.20\n", f);
	fclose(f);
	for (int i = 0; i < 600 && system("nft list table inet spy | grep -q 'packets 0 '") == 0; i++) {
		task_sleep_ms(100); /* the file is looked at once a second */
		(void)dig(ns_a, "www.example.com.", KNOT_RRTYPE_A, false);
	}
	for (int i = 0; i < 3; i++)
		assert_string_equal(dig(ns_a, "www.example.com.", KNOT_RRTYPE_A, false), "NOERROR 198.51.100.7");
	assert_int_equal(system("nft list table inet spy | grep -q 'packets 1 '"), 0);
	assert_int_equal(system("nft delete table inet spy"), 0);
	f = fopen(resolv_conf, "w");
	fputs("nameserver 127.0.0.1\n", f);
	fclose(f);
	for (int i = 0; i < 600 && strcmp(dig(ns_a, "www.example.com.", KNOT_RRTYPE_A, false), "SERVFAIL") != 0; i++)
		task_sleep_ms(100);
	assert_string_equal(dig(ns_a, "www.example.com.", KNOT_RRTYPE_A, false), "SERVFAIL");
	assert_string_equal(dig(ns_a, "web.default.svc.cluster.local.", KNOT_RRTYPE_A, false), "NOERROR 10.96.0.50");
}

static void heals_a_flushed_table(void **state)
{
	assert_int_equal(system("nft flush ruleset"), 0);
	say("endpointslices", EVENT_MODIFIED, SLICE_WEB(READY("10.77.0.2")));
	until("10.77.0.2", false);
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3");
	assert_int_equal(system("nft flush ruleset"), 0);
	until_heard(ns_b, "10.96.0.50", 80, "pod-a 10.77.0.3");
}

static void hear(void *arg, const char *what)
{
	snprintf(arg, 400, "%s", what);
}

/* Docker's rules, as it writes them: what it drops is seen, and goes through its own chain for others afterwards. */
static void passes_dockers_firewall(void **state)
{
	static const char rules[] =
		"iptables -P FORWARD DROP && iptables -N DOCKER-USER && iptables -A DOCKER-USER -j RETURN && "
		"iptables -A FORWARD -j DOCKER-USER";
	struct firewalls f = { .pod_links = "kp-" };
	char said[400] = "";
	struct err e;

	(void)state;
	err_init(&e);
	assert_true(cidr_parse(STR("10.77.0.0/28"), &f.pods[0]));
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), "client 192.0.2.10");
	auto_free char *keep = xasprintf("iptables -S > %s/rules", data_dir),
		       *same = xasprintf("iptables -S | cmp - %s/rules", data_dir);
	assert_int_equal(system(rules), 0);
	assert_int_equal(system(keep), 0);
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), SILENCE);
	assert_int_equal(firewalls_look(&f, false, hear, said, &e), 0);
	assert_non_null(strstr(said, "iptables -I DOCKER-USER -i kp-+ -j ACCEPT"));
	assert_int_equal(firewalls_look(&f, true, hear, said, &e), 0);
	assert_string_equal(said,
		"Docker dropped what pods send and get (chain FORWARD of nft table ip filter): they are accepted in its chain "
		"DOCKER-USER now");
	assert_string_equal(ask(ns_a, "192.0.2.20", 8080), "client 192.0.2.10");
	assert_string_equal(ask(ns_a, b->ip, 8080), "pod-b 10.77.0.2");
	said[0] = 0;
	assert_int_equal(firewalls_look(&f, true, hear, said, &e), 0);
	assert_string_equal(said, "");
	assert_int_equal(
		system("iptables -S DOCKER-USER | grep -q -e '-i kp-+ -j ACCEPT'"), 0); /* Docker's tools read it */
	assert_int_not_equal(system(same), 0);
	firewalls_purge("another-");
	assert_int_not_equal(system(same), 0); /* ours stay: that was another instance's */
	firewalls_purge("kp-");
	assert_int_equal(system(same), 0); /* nothing of ours is left, nothing of Docker's is missing */
	assert_int_equal(system("nft delete table ip filter"), 0);
	auto_free char *kept = xasprintf("%s/rules", data_dir);
	assert_int_equal(unlink(kept), 0);
}

static void survives_a_restart(void **state)
{
	end_network();
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3"); /* nobody is there, everything works */
	start_network();
	for (int i = 0; i < 50; i++)
		assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3");
	assert_true(network_wait_ready(net, 5000));
	assert_string_equal(ask(ns_b, "10.96.0.50", 80), "pod-a 10.77.0.3");
}

static void says_who_has_the_port(void **state)
{
	struct network_opts two = opts;
	auto_(informer_free) struct informer *pods = informer_new(client, (struct informer_opts){ .res = res_pods });
	auto_(informer_free) struct informer *services =
		informer_new(client, (struct informer_opts){ .res = res_services });
	auto_(network_free) struct network *second = NULL;
	struct err e;

	err_init(&e);
	two.instance = "two";
	two.pods = pods;
	two.services = services;
	assert_int_equal(network_new(&two, &second, &e), 0);
	assert_int_equal(network_start(second, &e), -ERR_UNAVAILABLE);
	assert_non_null(strstr(e.message, "10.96.0.10 port 53: the port is taken"));
	assert_int_equal(network_purge(&(struct network_opts){ .instance = "two" }, &e), 0);
}

static void count_link(void *arg, const struct link *l)
{
	*(int *)arg += strncmp(l->name, "kp", 2) == 0 || strncmp(l->name, "kogge", 5) == 0;
}

static void leaves_nothing(void **state)
{
	struct rtnl r = { 0 };
	struct err e;
	int links = 0;

	err_init(&e);
	end_network();
	client_free(client);
	unlink(resolv_conf);
	if (network_purge(&opts, &e) < 0)
		fail_msg("%s", e.message);
	assert_int_equal(network_purge(&opts, &e), 0);
	assert_int_equal(access(data_dir, F_OK), -1);
	rtnl_open(&r, &e);
	rtnl_links(&r, count_link, &links, &e);
	rtnl_close(&r);
	assert_int_equal(links, 0);
	assert_int_equal(system("test -z \"$(nft list tables)\""), 0);
	for (int i = 1; i <= api.n; i++)
		doc_unref(api.log[i].event.object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts),
		cmocka_unit_test(serves_pods_made_later),
		cmocka_unit_test(follows_the_api),
		cmocka_unit_test(follows_host_ports),
		cmocka_unit_test(balances_for_some),
		cmocka_unit_test(denies_and_allows),
		cmocka_unit_test(holds_back_what_pods_send),
		cmocka_unit_test(holds_before_the_first_packet),
		cmocka_unit_test(answers_names),
		cmocka_unit_test(heals_a_flushed_table),
		cmocka_unit_test(passes_dockers_firewall),
		cmocka_unit_test(survives_a_restart),
		cmocka_unit_test(says_who_has_the_port),
		cmocka_unit_test(leaves_nothing),
	};

	if (geteuid() != 0) {
		puts("needs root: skipped");
		return 77;
	}
	return cmocka_run_group_tests(tests, ns_set_up, ns_tear_down);
}

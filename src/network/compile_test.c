/* Services in, elements out: each row is a service, its slices and the lines that must come. */
#include "doc/doc_fixture.h"
#include "network/compile.h"
#include <stdio.h>

#define NODE "n1"

static struct str lines_of(struct arena *a, const struct compiled *c)
{
	struct str *lines = ARENA_ARRAY(a, struct str, c->n + 1);
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < c->n; i++) {
		char map[MAP_NAME_MAX];

		element_map_name(&c->elements[i], map);
		lines[i] = arena_strf(a, "%s %.*s\n", map, STR_ARG(element_text(a, &c->elements[i])));
	}
	qsort(lines, c->n, sizeof(*lines), str_order);
	for (size_t i = 0; i < c->n; i++)
		buf_str(&out, lines[i]);
	struct str s = arena_str(a, buf_view(&out));
	buf_fini(&out);
	return s;
}

static struct val parsed(struct arena *a, const char *json)
{
	struct doc *d = quoted_doc(json);

	doc_hold(a, d);
	return doc_root(d);
}

#define SLICE(endpoints) \
	"{'addressType':'IPv4','ports':[{'name':'http','port':8080,'protocol':'TCP'}],'endpoints':[" endpoints "]}"
#define READY(ip, node) "{'addresses':['" ip "'],'nodeName':'" node "','conditions':{'ready':true}}"
#define DRAINING(ip, node) \
	"{'addresses':['" ip "'],'nodeName':'" node "','conditions':{'ready':false,'serving':true,'terminating':true}}"
#define GONE(ip, node) \
	"{'addresses':['" ip "'],'nodeName':'" node "','conditions':{'ready':false,'serving':false,'terminating':true}}"
#define SERVICE(more)                                                                             \
	"{'spec':{'clusterIP':'10.96.0.1','clusterIPs':['10.96.0.1'],'ipFamilies':['IPv4']," more \
	"'ports':[{'name':'http','port':80,'targetPort':8080,'nodePort':30080,'protocol':'TCP'}]}}"
#define CLUSTER_ONLY "{'spec':{'clusterIP':'10.96.0.1','ports':[{'name':'http','port':80,'protocol':'TCP'}]}}"

static const struct row {
	const char *what, *service, *slice, *expected;
} rows[] = {
	{ "one endpoint elsewhere", CLUSTER_ONLY, SLICE(READY("10.1.0.1", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n" },
	{ "a local one may reach itself", CLUSTER_ONLY, SLICE(READY("10.1.0.1", "n1") "," READY("10.1.0.2", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"ep_c4t 10.96.0.1 . 80 . 1 : 10.1.0.2 . 8080\n"
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"pc4t-2 10.96.0.1 . tcp . 80\n" },
	{ "nobody: refused", CLUSTER_ONLY, SLICE(""), "refuse_c4 10.96.0.1 . tcp . 80\n" },
	{ "ready before draining", CLUSTER_ONLY, SLICE(DRAINING("10.1.0.1", "n2") "," READY("10.1.0.2", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.2 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n" },
	{ "draining when none is ready", CLUSTER_ONLY, SLICE(DRAINING("10.1.0.1", "n2") "," GONE("10.1.0.2", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n" },
	{ "another port's name", CLUSTER_ONLY,
		"{'addressType':'IPv4','ports':[{'name':'admin','port':9,'protocol':'TCP'}],'endpoints':[" READY(
			"10.1.0.1", "n2") "]}",
		"refuse_c4 10.96.0.1 . tcp . 80\n" },
	{ "node port: outside traffic to endpoints elsewhere is masqueraded", SERVICE("'type':'NodePort',"),
		SLICE(READY("10.1.0.1", "n1") "," READY("10.1.0.2", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"ep_c4t 10.96.0.1 . 80 . 1 : 10.1.0.2 . 8080\n"
		"ep_n4t 30080 . 0 : 10.1.0.1 . 8080\n"
		"ep_n4t 30080 . 1 : 10.1.0.2 . 8080\n"
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"pc4t-2 10.96.0.1 . tcp . 80\n"
		"pn4t-2 tcp . 30080\n"
		"remote4 10.1.0.2 . tcp . 8080\n" },
	{ "external policy Local", SERVICE("'type':'NodePort','externalTrafficPolicy':'Local',"),
		SLICE(READY("10.1.0.1", "n1") "," READY("10.1.0.2", "n2")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"ep_c4t 10.96.0.1 . 80 . 1 : 10.1.0.2 . 8080\n"
		"ep_n4t 30080 . 0 : 10.1.0.1 . 8080\n"
		"ep_n4t 30080 . 1 : 10.1.0.2 . 8080\n"
		"ep_y4t 30080 . 0 : 10.1.0.1 . 8080\n"
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"pc4t-2 10.96.0.1 . tcp . 80\n"
		"pn4t-2 tcp . 30080\n"
		"py4t-1 tcp . 30080\n" },
	{ "external policy Local without local endpoints: no answer",
		SERVICE("'type':'NodePort','externalTrafficPolicy':'Local',"), SLICE(READY("10.1.0.2", "n2")),
		"drop_y4 tcp . 30080\n"
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.2 . 8080\n"
		"ep_n4t 30080 . 0 : 10.1.0.2 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n"
		"pn4t-1 tcp . 30080\n" },
	{ "internal policy Local without local endpoints",
		"{'spec':{'clusterIP':'10.96.0.1','internalTrafficPolicy':'Local','ports':[{'name':'http','port':80}]}}",
		SLICE(READY("10.1.0.2", "n2")), "drop_c4 10.96.0.1 . tcp . 80\n" },
	{ "client affinity",
		"{'spec':{'clusterIP':'10.96.0.1','sessionAffinity':'ClientIP','ports':[{'name':'http','port':80}]}}",
		SLICE(READY("10.1.0.2", "n2")),
		"ac4t-1-10800 10.96.0.1 . tcp . 80\n"
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.2 . 8080\n" },
	{ "load balancer and external addresses",
		"{'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.1','externalIPs':['198.51.100.1'],'ports':[{'name':'http','port':80}]},"
		"'status':{'loadBalancer':{'ingress':[{'ip':'198.51.100.2'},{'ip':'198.51.100.3','ipMode':'Proxy'},{'hostname':'x'}]}}}",
		SLICE(READY("10.1.0.1", "n1")),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"ep_c4t 198.51.100.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"ep_c4t 198.51.100.2 . 80 . 0 : 10.1.0.1 . 8080\n"
		"external4 198.51.100.1\n"
		"external4 198.51.100.2\n"
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n"
		"pc4t-1 198.51.100.1 . tcp . 80\n"
		"pc4t-1 198.51.100.2 . tcp . 80\n" },
	{ "source ranges, one inside another",
		"{'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.1','loadBalancerSourceRanges':['10.1.0.0/16',' 10.0.0.0/8','10.2.0.0/16','192.0.2.1/32','fd00::/8'],"
		"'ports':[{'name':'http','port':80}]},'status':{'loadBalancer':{'ingress':[{'ip':'198.51.100.2'}]}}}",
		SLICE(""),
		"allowed4 198.51.100.2 . tcp . 80 . 10.0.0.0/8\n"
		"allowed4 198.51.100.2 . tcp . 80 . 192.0.2.1/32\n"
		"external4 198.51.100.2\n"
		"guarded4 198.51.100.2 . tcp . 80\n"
		"refuse_c4 10.96.0.1 . tcp . 80\n"
		"refuse_c4 198.51.100.2 . tcp . 80\n" },
	{ "IPv6", "{'spec':{'clusterIP':'fd00::A','ipFamilies':['IPv6'],'ports':[{'port':53,'protocol':'UDP'}]}}",
		"{'addressType':'IPv6','ports':[{'name':'','port':53,'protocol':'UDP'}],'endpoints':[{'addresses':['fd01::0:1']}]}",
		"ep_c6u fd00::a . 53 . 0 : fd01::1 . 53\n"
		"pc6u-1 fd00::a . udp . 53\n" },
	{ "headless", "{'spec':{'clusterIP':'None','ports':[{'name':'http','port':80}]}}",
		SLICE(READY("10.1.0.1", "n1")), "" },
	{ "an alias", "{'spec':{'type':'ExternalName','externalName':'x.example'}}", SLICE(""), "" },
	{ "hints for this node", CLUSTER_ONLY,
		SLICE("{'addresses':['10.1.0.1'],'hints':{'forNodes':[{'name':'n1'}]}},"
		      "{'addresses':['10.1.0.2'],'hints':{'forNodes':[{'name':'n2'}]}}"),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n" },
	{ "hints that leave nobody here do not count", CLUSTER_ONLY,
		SLICE("{'addresses':['10.1.0.2'],'hints':{'forNodes':[{'name':'n2'}]}}"),
		"ep_c4t 10.96.0.1 . 80 . 0 : 10.1.0.2 . 8080\n"
		"pc4t-1 10.96.0.1 . tcp . 80\n" },
};

static void compiles_services(void **state)
{
	static const struct compile_node node = { { NODE, 2 }, { NULL, 0 }, { { 0 } } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		struct val slice = parsed(a, rows[i].slice);
		struct compiled c;

		compile_service(a, &node, parsed(a, rows[i].service), &slice, 1, NULL, &c);
		struct str got = lines_of(a, &c);
		if (!str_is(got, rows[i].expected))
			fail_msg("%s:\n%.*sexpected:\n%s", rows[i].what, STR_ARG(got), rows[i].expected);
	}
}

static void compiles_host_ports(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct compiled c;
	struct str got;

	compile_pod(a,
		parsed(a,
			"{'spec':{'containers':[{'ports':[{'containerPort':8080,'hostPort':80},"
			"{'containerPort':53,'hostPort':5353,'protocol':'UDP','hostIP':'192.0.2.1'},{'containerPort':1}]}]},"
			"'status':{'phase':'Running','podIPs':[{'ip':'10.1.0.1'},{'ip':'fd01::1'}]}}"),
		&c);
	got = lines_of(a, &c);
	assert_string_equal(arena_cstr(a, got),
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"hairpin4 10.1.0.1 . 10.1.0.1\n"
		"hairpin6 fd01::1 . fd01::1\n"
		"host_c4u 192.0.2.1 . 5353 : 10.1.0.1 . 53\n"
		"host_n4t 80 : 10.1.0.1 . 8080\n"
		"host_n6t 80 : fd01::1 . 8080\n");
	compile_pod(a,
		parsed(a,
			"{'spec':{'hostNetwork':true,'containers':[{'ports':[{'containerPort':80,'hostPort':80}]}]},"
			"'status':{'podIPs':[{'ip':'10.1.0.1'}]}}"),
		&c);
	assert_int_equal(c.n, 0);
}

static void keeps_numbers(void **state)
{
	static const struct {
		const char *before, *want, *after;
	} cases[] = {
		{ "", "a b c", "a b c" },
		{ "a b c", "a b c", "a b c" },
		{ "a b c", "b c", "c b" }, /* the last one fills the hole */
		{ "a b c", "a b c d", "a b c d" },
		{ "a b c", "c d b", "d b c" }, /* a new one fills the hole */
		{ "a b c d e", "e", "e" },
		{ "a b", "x y z", "x y z" },
		{ "a b c d", "d c", "c d" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		struct str lists[2][8], part, rest;
		size_t n[2] = { 0, 0 };
		struct buf got = BUF_INIT;

		rest = str_c(cases[i].before);
		while (str_next(&rest, ' ', &part))
			lists[0][n[0]++] = part;
		rest = str_c(cases[i].want);
		while (str_next(&rest, ' ', &part))
			lists[1][n[1]++] = part;
		struct str *out = compile_place(a, lists[0], n[0], lists[1], n[1]);
		for (size_t k = 0; k < n[1]; k++) {
			buf_c(&got, k ? " " : "");
			buf_str(&got, out[k]);
		}
		buf_byte(&got, 0);
		assert_string_equal(got.p, cases[i].after);
		buf_fini(&got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compiles_services),
		cmocka_unit_test(compiles_host_ports),
		cmocka_unit_test(keeps_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

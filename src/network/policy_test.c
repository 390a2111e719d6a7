#include "doc/doc_fixture.h"
#include "network/policy.h"
#include <stdio.h>

static struct val value(struct arena *a, const char *text)
{
	struct doc *d = quoted_doc(text);

	doc_hold(a, d);
	return doc_root(d);
}

static void set(struct policies *p, struct arena *a, const char *one, const char *two)
{
	struct doc *list[2] = { quoted_doc(one), two ? quoted_doc(two) : NULL };

	policies_set(p, list, two ? 2 : 1);
	doc_unref(list[0]);
	doc_unref(list[1]);
}

/* The elements of a pod of namespace default at 10.0.0.5 as "map key : value;" in their order. */
static const char *compile(struct policies *p, struct arena *a, const char *pod)
{
	auto_buf struct buf out = BUF_INIT;
	struct compiled c = { 0 };
	struct ip ip;

	ip_parse(STR("10.0.0.5"), &ip);
	policies_compile(p, a, STR("p/default/x"), value(a, pod), &ip, 1, value(a, "{'team':'blue'}"), &c);
	for (size_t i = 0; i < c.n; i++) {
		char map[MAP_NAME_MAX];

		element_map_name(&c.elements[i], map);
		buf_printf(&out, "%s %.*s;", map, STR_ARG(element_text(a, &c.elements[i])));
	}
	return arena_cstr(a, buf_view(&out));
}

static const char *new_rules(struct policies *p, struct arena *a)
{
	struct policy_chain *list;
	size_t n = policies_new_chains(p, a, &list);

	return n ? arena_strdup(a, list[0].rules) : "";
}

#define POD(labels) "{'metadata':{'namespace':'default','name':'x','labels':" labels "},'spec':{}}"
#define POLICY(name, spec) "{'metadata':{'namespace':'default','name':'" name "'},'spec':" spec "}"
#define DENY POLICY("deny", "{'podSelector':{},'policyTypes':['Ingress','Egress']}")

static void denies_what_nothing_allows(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(policies_free) struct policies *p = policies_new();

	(void)state;
	assert_string_equal(compile(p, a, POD("{}")), "");
	set(p, a, DENY, NULL);
	assert_string_equal(
		compile(p, a, POD("{}")), "iso_in4 10.0.0.5 : goto policy-1;iso_out4 10.0.0.5 : goto policy-1;");
	assert_string_equal(new_rules(p, a), "drop\n");
	assert_string_equal(new_rules(p, a), "");
	assert_string_equal(compile(p, a, "{'metadata':{'namespace':'other'},'spec':{}}"), "");
	assert_string_equal(compile(p, a, "{'metadata':{'namespace':'default'},'spec':{'hostNetwork':true}}"), "");
	assert_string_equal(
		compile(p, a, "{'metadata':{'namespace':'default'},'spec':{},'status':{'phase':'Failed'}}"), "");
}

static void one_direction_leaves_the_other_alone(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(policies_free) struct policies *p = policies_new();

	(void)state;
	set(p, a,
		POLICY("in", "{'podSelector':{'matchLabels':{'app':'web'}},'policyTypes':['Ingress'],'ingress':[{}]}"),
		NULL);
	assert_string_equal(compile(p, a, POD("{'app':'db'}")), "");
	assert_string_equal(compile(p, a, POD("{'app':'web'}")), "iso_in4 10.0.0.5 : goto policy-1;");
	assert_string_equal(new_rules(p, a), "meta nfproto ipv4 accept\nmeta nfproto ipv6 accept\ndrop\n");
}

static void peers_are_facts_of_pods(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(policies_free) struct policies *p = policies_new();

	(void)state;
	set(p, a,
		POLICY("a",
			"{'podSelector':{'matchLabels':{'app':'web'}},'policyTypes':['Ingress'],'ingress':[{'ports':[{'port':80}],"
			"'from':[{'podSelector':{'matchLabels':{'app':'box'}}},{'namespaceSelector':{'matchLabels':{'team':'blue'}}},"
			"{'namespaceSelector':{},'podSelector':{'matchLabels':{'app':'db'}}}]}]}"),
		NULL);
	/* 1: boxes of default. 2: all pods of blue namespaces. 3: databases anywhere. */
	assert_string_equal(compile(p, a, POD("{'app':'box'}")), "peer4 10.0.0.5 . 1;peer4 10.0.0.5 . 2;");
	assert_string_equal(compile(p, a, POD("{'app':'db'}")), "peer4 10.0.0.5 . 2;peer4 10.0.0.5 . 3;");
	assert_string_equal(compile(p, a, "{'metadata':{'namespace':'x','labels':{'app':'box'}},'spec':{}}"),
		"peer4 10.0.0.5 . 2;");
	assert_string_equal(
		compile(p, a, POD("{'app':'web'}")), "iso_in4 10.0.0.5 : goto policy-1;peer4 10.0.0.5 . 2;");
	const char *rules = new_rules(p, a);
	assert_true(str_starts(str_c(rules),
		STR("meta nfproto ipv4 ip saddr . numgen inc mod 1 offset 1 @peer4 tcp dport 80 accept\n"
		    "meta nfproto ipv4 ip saddr . numgen inc mod 1 offset 2 @peer4 tcp dport 80 accept\n")));
	assert_true(str_ends(str_c(rules), STR("drop\n")));
}

static void blocks_and_ports(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(policies_free) struct policies *p = policies_new();

	(void)state;
	set(p, a,
		POLICY("a",
			"{'podSelector':{},'policyTypes':['Egress'],'egress':[{'ports':[{'port':80,'endPort':90},{'protocol':'UDP'},{'port':'web'},"
			"{'port':9,'endPort':8},{'port':70000}],"
			"'to':[{'ipBlock':{'cidr':'10.1.0.0/16','except':['10.1.1.0/24','10.1.2.0/24']}}]},"
			"{'to':[{'ipBlock':{'cidr':'0.0.0.0/0'}},{'ipBlock':{'cidr':'fd00::/8'}},{'ipBlock':{'cidr':'10.0.0.0/8; flush ruleset'}},"
			"{'ipBlock':{'cidr':'0.0.0.0/0','except':['0.0.0.0/0']}}]}]}"),
		NULL);
	assert_string_equal(
		compile(p, a,
			"{'metadata':{'namespace':'default'},'spec':{'containers':[{'ports':[{'name':'web','containerPort':8080},"
			"{'name':'other','containerPort':1}]}]}}"),
		"iso_out4 10.0.0.5 : goto policy-1;named4 10.0.0.5 . tcp . 8080 . 1;");
#define BLOCK "meta nfproto ipv4 ip daddr 10.1.0.0/16 ip daddr != 10.1.1.0/24 ip daddr != 10.1.2.0/24 "
	assert_string_equal(new_rules(p, a),
		BLOCK "tcp dport 80-90 accept\n" BLOCK "meta l4proto udp accept\n" BLOCK
		      "meta l4proto tcp ip daddr . meta l4proto . th dport . numgen inc mod 1 offset 1 @named4 accept\n"
		      "meta nfproto ipv4 accept\nmeta nfproto ipv6 ip6 daddr fd00::/8 accept\ndrop\n");
}

static void chains_are_shared_and_go(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(policies_free) struct policies *p = policies_new();
	const char *const *old;
	struct policy_chain *more;
	struct compiled c = { 0 };
	struct val pod = value(a, POD("{}"));
	struct ip ip;

	(void)state;
	ip_parse(STR("10.0.0.6"), &ip);
	set(p, a, DENY, NULL);
	compile(p, a, POD("{}"));
	policies_compile(p, a, STR("p/default/y"), pod, &ip, 1, VAL_NONE, &c);
	assert_int_equal(policies_new_chains(p, a, &more), 1);
	policies_forget(p, STR("p/default/x"));
	assert_int_equal(policies_old_chains(p, a, &old), 0);
	/* One more policy: y goes to a new chain, the old one has no user. */
	set(p, a, DENY, POLICY("open", "{'podSelector':{},'policyTypes':['Ingress'],'ingress':[{}]}"));
	policies_compile(p, a, STR("p/default/y"), pod, &ip, 1, VAL_NONE, &c);
	assert_int_equal(policies_new_chains(p, a, &more), 1);
	assert_string_equal(more[0].name, "policy-2"); /* egress still has policy-1 */
	assert_int_equal(policies_old_chains(p, a, &old), 0);
	policies_forget(p, STR("p/default/y"));
	assert_int_equal(policies_old_chains(p, a, &old), 2);
	assert_int_equal(policies_old_chains(p, a, &old), 0);
	compile(p, a, POD("{}"));
	assert_int_equal(policies_new_chains(p, a, &more), 2);
	assert_string_equal(more[0].name, "policy-3"); /* no name comes twice */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies_what_nothing_allows),
		cmocka_unit_test(one_direction_leaves_the_other_alone),
		cmocka_unit_test(peers_are_facts_of_pods),
		cmocka_unit_test(blocks_and_ports),
		cmocka_unit_test(chains_are_shared_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

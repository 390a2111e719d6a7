/* Other programs' tables, as `nft -j -t list table` shows them, and what is said about each. */
#include "base/buf.h"
#include "doc/doc_fixture.h"
#include "network/firewalls.h"
#include <stdio.h>

#define TABLE(family, name, rest) "{'nftables':[{'table':{'family':'" family "','name':'" name "'}}," rest "]}"
#define BASE(name, hook, policy) \
	"{'chain':{'name':'" name "','type':'filter','hook':'" hook "','prio':0,'policy':'" policy "'}}"
#define CHAIN(name) "{'chain':{'name':'" name "'}}"
#define RULE(chain, expr) "{'rule':{'chain':'" chain "','expr':[" expr "]}}"
#define JUMP(from, to) RULE(from, "{'jump':{'target':'" to "'}}")
#define LINK(key) "{'match':{'op':'==','left':{'meta':{'key':'" key "'}},'right':'kp-*'}}"
#define PREFIX(field, addr, len)                                                 \
	"{'match':{'op':'==','left':{'payload':{'protocol':'ip','field':'" field \
	"'}},'right':{'prefix':{'addr':'" addr "','len':" len "}}}}"
#define ACCEPT "{'counter':{'packets':0,'bytes':0}},{'accept':null}"

static const struct {
	const char *what, *table, *said;
} rows[] = {
	{ "nothing drops", TABLE("ip", "filter", BASE("FORWARD", "forward", "accept")), "" },
	{ "Docker",
		TABLE("ip", "filter",
			BASE("FORWARD", "forward", "drop") "," CHAIN("DOCKER-USER") "," JUMP("FORWARD", "DOCKER-USER")),
		"docker ip" },
	{ "Docker, mended",
		TABLE("ip", "filter",
			BASE("FORWARD", "forward", "drop") "," CHAIN("DOCKER-USER") "," JUMP(
				"FORWARD", "DOCKER-USER") "," RULE("DOCKER-USER",
				LINK("iifname") "," ACCEPT) "," RULE("DOCKER-USER", LINK("oifname") "," ACCEPT)),
		"" },
	{ "Docker, mended one way only",
		TABLE("ip", "filter",
			BASE("FORWARD", "forward", "drop") "," CHAIN("DOCKER-USER") "," JUMP(
				"FORWARD", "DOCKER-USER") "," RULE("DOCKER-USER", LINK("iifname") "," ACCEPT)),
		"docker ip" },
	{ "Docker, mended, on a machine whose INPUT drops",
		TABLE("ip", "filter",
			BASE("INPUT", "input", "drop") "," BASE("FORWARD", "forward", "drop") "," CHAIN(
				"DOCKER-USER") "," JUMP("FORWARD", "DOCKER-USER") "," RULE("DOCKER-USER",
				LINK("iifname") "," ACCEPT) "," RULE("DOCKER-USER", LINK("oifname") "," ACCEPT)),
		"a firewall drops what pods send to this machine, DNS and the API among it (chain INPUT of nft table ip filter): "
		"iptables -I INPUT -i kp-+ -j ACCEPT" },
	{ "DOCKER-USER that nothing leads to is not mended again and again",
		TABLE("ip", "filter", BASE("FORWARD", "forward", "drop") "," CHAIN("DOCKER-USER")),
		"a firewall drops what pods send and get (chain FORWARD of nft table ip filter): "
		"iptables -I FORWARD -i kp-+ -j ACCEPT, and the same with -o" },
	{ "accepted where no packet comes",
		TABLE("inet", "mine",
			BASE("fwd", "forward", "drop") "," CHAIN("idle") "," RULE(
				"idle", LINK("iifname") "," ACCEPT) "," RULE("idle", LINK("oifname") "," ACCEPT)),
		"a firewall drops what pods send and get (chain fwd of nft table inet mine): "
		"nft insert rule inet mine fwd iifname \"kp-*\" accept, and the same with oifname" },
	{ "chains that jump in a circle",
		TABLE("inet", "mine",
			BASE("fwd", "forward", "drop") "," JUMP("fwd", "a") "," JUMP("a", "b") "," JUMP(
				"b", "a") "," RULE("b", LINK("iifname") "," ACCEPT) "," RULE("b",
				LINK("oifname") "," ACCEPT)),
		"" },
	{ "pods have no IPv6", TABLE("ip6", "filter", BASE("FORWARD", "forward", "drop") "," CHAIN("DOCKER-USER")),
		"" },
	{ "ufw",
		TABLE("ip", "filter",
			BASE("INPUT", "input", "drop") "," BASE("FORWARD", "forward", "drop") "," CHAIN(
				"ufw-user-forward")),
		"ufw drops what pods send to this machine, DNS and the API among it (chain INPUT of nft table ip filter): "
		"ufw allow from 10.244.0.0/16\n"
		"ufw drops what pods send and get (chain FORWARD of nft table ip filter): ufw route allow from 10.244.0.0/16 && "
		"ufw route allow to 10.244.0.0/16" },
	{ "ufw, told to allow",
		TABLE("ip", "filter",
			BASE("FORWARD", "forward", "drop") "," CHAIN("ufw-user-forward") "," JUMP(
				"FORWARD", "ufw-user-forward") "," RULE("ufw-user-forward",
				PREFIX("saddr", "10.244.0.0", "16") "," ACCEPT) "," RULE("ufw-user-forward",
				PREFIX("daddr", "10.244.0.0", "16") "," ACCEPT)),
		"" },
	{ "a larger range is fine, another or a smaller one is not",
		TABLE("ip", "filter",
			BASE("INPUT", "input", "drop") "," RULE(
				"INPUT", PREFIX("saddr", "192.168.0.0", "16") "," ACCEPT) "," RULE("INPUT",
				PREFIX("saddr", "10.244.0.0", "24") "," ACCEPT)),
		"a firewall drops what pods send to this machine, DNS and the API among it (chain INPUT of nft table ip filter): "
		"iptables -I INPUT -i kp-+ -j ACCEPT" },
	{ "a larger range",
		TABLE("ip", "filter",
			BASE("INPUT", "input", "drop") "," RULE("INPUT", PREFIX("saddr", "10.0.0.0", "8") "," ACCEPT)),
		"" },
	{ "firewalld refuses at the end",
		TABLE("inet", "firewalld",
			BASE("filter_FORWARD", "forward", "accept") "," RULE("filter_FORWARD",
				"{'match':{'op':'in','left':{'ct':{'key':'state'}},'right':['established']}},{'accept':null}") "," RULE("filter_FORWARD",
				"{'reject':{'type':'icmpx','expr':'admin-prohibited'}}")),
		"firewalld drops what pods send and get (chain filter_FORWARD of nft table inet firewalld): "
		"firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16 && firewall-cmd --reload" },
	{ "firewalld that trusts pods",
		TABLE("inet", "firewalld",
			BASE("filter_FORWARD", "forward", "accept") "," RULE("filter_FORWARD",
				PREFIX("saddr", "10.244.0.0",
					"16") ",{'goto':{'target':'filter_FWD_trusted'}}") "," RULE("filter_FORWARD",
				"{'reject':{'type':'icmpx','expr':'admin-prohibited'}}")),
		"" },
	{ "somebody's own", TABLE("inet", "mine", BASE("fwd", "forward", "drop")),
		"a firewall drops what pods send and get (chain fwd of nft table inet mine): "
		"nft insert rule inet mine fwd iifname \"kp-*\" accept, and the same with oifname" },
	{ "drops something, not all",
		TABLE("inet", "mine",
			BASE("fwd", "forward", "accept") "," RULE("fwd",
				"{'match':{'op':'in','left':{'ct':{'key':'state'}},'right':'invalid'}},{'drop':null}")),
		"" },
	{ "other hooks", TABLE("inet", "mine", BASE("out", "output", "drop") "," BASE("pre", "prerouting", "drop")),
		"" },
	{ "an answer without a table", "{'nftables':[{'metainfo':{}}]}", "" },
	{ "no answer", "[]", "" },
};

static void say(void *arg, const char *what)
{
	buf_printf(arg, "%s%s", ((struct buf *)arg)->n ? "\n" : "", what);
}

static void docker(void *arg, const char *family)
{
	buf_printf(arg, "docker %s", family);
}

static void judges(void **state)
{
	struct firewalls f = { .pod_links = "kp-" };

	(void)state;
	assert_true(cidr_parse(STR("10.244.0.0/16"), &f.pods[0]));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_buf struct buf said = BUF_INIT;
		auto_(doc_unref) struct doc *d = quoted_doc(rows[i].table);

		firewalls_judge(&f, doc_root(d), say, docker, &said);
		if (!str_is(buf_view(&said), rows[i].said))
			fail_msg("%s: said \"%.*s\", not \"%s\"", rows[i].what, STR_ARG(buf_view(&said)), rows[i].said);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(judges) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

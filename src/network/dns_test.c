/* Questions in, answers out: one cluster, one row per question. */
#include "doc/doc_fixture.h"
#include "network/answer.h"
#include "network/dns.h"
#include "network/silent.h"
#include <arpa/inet.h>
#include <libknot/libknot.h>
#include <stdio.h>

static const char *const services[] = {
	"{'metadata':{'name':'web','namespace':'default'},'spec':{'clusterIP':'10.96.0.50','clusterIPs':['10.96.0.50','fd96::50'],"
	"'ports':[{'name':'http','port':80,'protocol':'TCP'},{'name':'dns','port':53,'protocol':'UDP'}]}}",
	"{'metadata':{'name':'db','namespace':'prod'},'spec':{'clusterIP':'None','clusterIPs':['None'],'ports':[{'name':'sql','port':5432}]}}",
	"{'metadata':{'name':'idle','namespace':'prod'},'spec':{'clusterIP':'None','ports':[{'name':'sql','port':5432}]}}",
	"{'metadata':{'name':'out','namespace':'prod'},'spec':{'type':'ExternalName','externalName':'www.example.org'}}",
	"{'metadata':{'name':'alias','namespace':'prod'},'spec':{'type':'ExternalName','externalName':'web.default.svc.cluster.local'}}",
	"{'metadata':{'name':'loop','namespace':'prod'},'spec':{'type':'ExternalName','externalName':'loop.prod.svc.cluster.local'}}",
};
static const char *const slices[] = {
	"{'metadata':{'name':'db-1','namespace':'prod','labels':{'kubernetes.io/service-name':'db'}},'addressType':'IPv4',"
	"'ports':[{'name':'sql','port':5432,'protocol':'TCP'}],'endpoints':["
	"{'addresses':['10.1.0.1'],'hostname':'db-0','conditions':{'ready':true}},"
	"{'addresses':['10.1.0.2'],'conditions':{'ready':false}}]}",
	"{'metadata':{'name':'db-2','namespace':'prod','labels':{'kubernetes.io/service-name':'db'}},'addressType':'IPv6',"
	"'ports':[{'name':'sql','port':5432,'protocol':'TCP'}],'endpoints':[{'addresses':['fd01::7']}]}",
};

#define SOA "; cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5\n"

static const struct row {
	const char *name;
	uint16_t type;
	const char *expected;
} rows[] = {
	{ "web.default.svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\nweb.default.svc.cluster.local. A 10.96.0.50\n" },
	{ "WEB.default.Svc.cluster.LOCAL.", KNOT_RRTYPE_AAAA,
		"NOERROR\nWEB.default.Svc.cluster.LOCAL. AAAA fd96::50\n" },
	{ "web.default.svc.cluster.local.", KNOT_RRTYPE_TXT, "NOERROR\n" SOA },
	{ "web.default.svc.cluster.local.", KNOT_RRTYPE_SRV,
		"NOERROR\nweb.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local.\n"
		"web.default.svc.cluster.local. SRV 0 100 53 web.default.svc.cluster.local.\n"
		"+ web.default.svc.cluster.local. A 10.96.0.50\n" },
	{ "_dns._udp.web.default.svc.cluster.local.", KNOT_RRTYPE_SRV,
		"NOERROR\n_dns._udp.web.default.svc.cluster.local. SRV 0 100 53 web.default.svc.cluster.local.\n"
		"+ web.default.svc.cluster.local. A 10.96.0.50\n" },
	{ "_dns._udp.web.default.svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\n" SOA },
	{ "_dns._tcp.web.default.svc.cluster.local.", KNOT_RRTYPE_SRV, "NXDOMAIN\n" SOA },
	{ "_udp.web.default.svc.cluster.local.", KNOT_RRTYPE_SRV, "NOERROR\n" SOA },
	{ "nobody.default.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA },
	{ "db.prod.svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\ndb.prod.svc.cluster.local. A 10.1.0.1\n" },
	{ "db.prod.svc.cluster.local.", KNOT_RRTYPE_AAAA, "NOERROR\ndb.prod.svc.cluster.local. AAAA fd01::7\n" },
	{ "db-0.db.prod.svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\ndb-0.db.prod.svc.cluster.local. A 10.1.0.1\n" },
	{ "db-0.db.prod.svc.cluster.local.", KNOT_RRTYPE_AAAA, "NOERROR\n" SOA },
	{ "db-1.db.prod.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA },
	{ "fd01--7.db.prod.svc.cluster.local.", KNOT_RRTYPE_AAAA,
		"NOERROR\nfd01--7.db.prod.svc.cluster.local. AAAA fd01::7\n" },
	{ "10-1-0-2.db.prod.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA }, /* not ready */
	{ "idle.prod.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA },
	{ "10-1-0-9.prod.pod.cluster.local.", KNOT_RRTYPE_A, "NOERROR\n10-1-0-9.prod.pod.cluster.local. A 10.1.0.9\n" },
	{ "fd01--9.prod.pod.cluster.local.", KNOT_RRTYPE_AAAA,
		"NOERROR\nfd01--9.prod.pod.cluster.local. AAAA fd01::9\n" },
	{ "x.prod.pod.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA },
	{ "alias.prod.svc.cluster.local.", KNOT_RRTYPE_A,
		"NOERROR\nalias.prod.svc.cluster.local. CNAME web.default.svc.cluster.local.\n"
		"web.default.svc.cluster.local. A 10.96.0.50\n" },
	{ "out.prod.svc.cluster.local.", KNOT_RRTYPE_CNAME,
		"NOERROR\nout.prod.svc.cluster.local. CNAME www.example.org.\n" },
	{ "out.prod.svc.cluster.local.", KNOT_RRTYPE_A, "chase www.example.org.\n" },
	{ "50.0.96.10.in-addr.arpa.", KNOT_RRTYPE_PTR,
		"NOERROR\n50.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.\n" },
	{ "1.0.1.10.in-addr.arpa.", KNOT_RRTYPE_PTR,
		"NOERROR\n1.0.1.10.in-addr.arpa. PTR db-0.db.prod.svc.cluster.local.\n" },
	{ "9.0.96.10.in-addr.arpa.", KNOT_RRTYPE_PTR,
		"NXDOMAIN\n; in-addr.arpa. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5\n" },
	{ "1.2.0.192.in-addr.arpa.", KNOT_RRTYPE_PTR, "forward\n" },
	{ "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa.", KNOT_RRTYPE_PTR,
		"NOERROR\n7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa. PTR fd01--7.db.prod.svc.cluster.local.\n" },
	{ "cluster.local.", KNOT_RRTYPE_NS, "NOERROR\ncluster.local. NS ns.dns.cluster.local.\n" },
	{ "cluster.local.", KNOT_RRTYPE_SOA,
		"NOERROR\ncluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5\n" },
	{ "ns.dns.cluster.local.", KNOT_RRTYPE_A, "NOERROR\nns.dns.cluster.local. A 10.96.0.10\n" },
	{ "dns-version.cluster.local.", KNOT_RRTYPE_TXT, "NOERROR\ndns-version.cluster.local. TXT \"1.1.0\"\n" },
	{ "svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\n" SOA },
	{ "prod.svc.cluster.local.", KNOT_RRTYPE_A, "NOERROR\n" SOA },
	{ "unknown.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA },
	{ "www.example.org.default.svc.cluster.local.", KNOT_RRTYPE_A, "NXDOMAIN\n" SOA }, /* a search list at work */
	{ "www.example.org.", KNOT_RRTYPE_A, "forward\n" },
	{ "local.", KNOT_RRTYPE_A, "forward\n" },
	{ ".", KNOT_RRTYPE_NS, "forward\n" },
};

static struct dns_zone zone;

static int set_up(void **state)
{
	zone.services = services_new();
	zone.domain = STR("cluster.local");
	cidr_parse(STR("10.96.0.0/16"), &zone.nets[0]);
	cidr_parse(STR("10.1.0.0/16"), &zone.nets[1]);
	ip_parse(STR("10.96.0.10"), &zone.server[0]);
	for (size_t i = 0; i < ARRAY_LEN(services); i++) {
		auto_(doc_unref) struct doc *d = quoted_doc(services[i]);
		services_put(zone.services, NULL, d);
	}
	for (size_t i = 0; i < ARRAY_LEN(slices); i++) {
		auto_(doc_unref) struct doc *d = quoted_doc(slices[i]);
		services_put_slice(zone.services, NULL, d);
	}
	return 0;
}

static int tear_down(void **state)
{
	services_free(zone.services);
	return 0;
}

static void add_section(struct buf *out, const knot_pkt_t *p, knot_section_t id, const char *mark)
{
	const knot_pktsection_t *s = knot_pkt_section(p, id);

	for (uint16_t i = 0; i < s->count; i++) {
		const knot_rrset_t *rr = knot_pkt_rr(s, i);
		char name[KNOT_DNAME_TXT_MAXLEN + 1], type[32], data[2048];

		if (rr->type == KNOT_RRTYPE_OPT)
			continue;
		knot_dname_to_str(name, rr->owner, sizeof(name));
		knot_rrtype_to_string(rr->type, type, sizeof(type));
		for (uint16_t k = 0; k < rr->rrs.count; k++) {
			knot_rrset_txt_dump_data(rr, k, data, sizeof(data), &KNOT_DUMP_STYLE_DEFAULT);
			buf_printf(out, "%s%s %s %s\n", mark, name, type, data);
		}
	}
}

static void read_reply(struct buf *out, uint8_t *wire, size_t n)
{
	knot_pkt_t *p = knot_pkt_new(wire, (uint16_t)n, NULL);

	assert_int_equal(knot_pkt_parse(p, KNOT_PF_NOCANON), KNOT_EOK);
	buf_printf(out, "%s%s\n", knot_lookup_by_id(knot_rcode_names, knot_wire_get_rcode(wire))->name,
		knot_wire_get_tc(wire) ? " TC" : "");
	add_section(out, p, KNOT_ANSWER, "");
	add_section(out, p, KNOT_AUTHORITY, "; ");
	add_section(out, p, KNOT_ADDITIONAL, "+ ");
	knot_pkt_free(p);
}

static void ask(struct buf *out, const char *name, uint16_t type, bool tcp, const uint8_t *chased, size_t chased_n)
{
	static uint8_t wire[DNS_TCP_MAX];
	uint8_t q[512], dname[DNS_NAME_MAX];
	struct dns_reply r = { 0 };
	char text[KNOT_DNAME_TXT_MAXLEN + 1];

	assert_non_null(knot_dname_from_str(dname, name, sizeof(dname)));
	size_t n = dns_question(dname, type, 77, q, sizeof(q));
	assert_true(n > 0);
	switch (dns_answer(&zone, q, n, tcp, chased, chased_n, wire, &r)) {
	case DNS_REPLY:
		assert_true(dns_answers(q, n, wire, r.n));
		read_reply(out, wire, r.n);
		break;
	case DNS_FORWARD:
		buf_c(out, "forward\n");
		break;
	case DNS_CHASE:
		buf_printf(out, "chase %s\n", knot_dname_to_str(text, r.target, sizeof(text)));
		break;
	case DNS_DROP:
		buf_c(out, "drop\n");
	}
	buf_byte(out, 0);
}

static void answers_questions(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_buf struct buf got = BUF_INIT;

		ask(&got, rows[i].name, rows[i].type, false, NULL, 0);
		if (strcmp(got.p, rows[i].expected) != 0)
			fail_msg("%s:\n%s expected:\n%s", rows[i].name, got.p, rows[i].expected);
	}
}

static void an_alias_in_a_circle_ends(void **state)
{
	auto_buf struct buf got = BUF_INIT;

	ask(&got, "loop.prod.svc.cluster.local.", KNOT_RRTYPE_A, false, NULL, 0);
	assert_true(strncmp(got.p, "NOERROR\n", 8) == 0);
}

static void follows_an_alias_outside(void **state)
{
	auto_buf struct buf got = BUF_INIT;
	uint8_t wire[512], name[DNS_NAME_MAX], address[4] = { 192, 0, 2, 80 };
	memset(wire, 0, sizeof(wire));
	knot_pkt_t *p = knot_pkt_new(wire, sizeof(wire), NULL);
	knot_rrset_t rr;

	knot_dname_from_str(name, "www.example.org.", sizeof(name));
	knot_pkt_put_question(p, name, KNOT_CLASS_IN, KNOT_RRTYPE_A);
	knot_pkt_begin(p, KNOT_ANSWER);
	knot_rrset_init(&rr, knot_dname_copy(name, NULL), KNOT_RRTYPE_A, KNOT_CLASS_IN, 60);
	knot_rrset_add_rdata(&rr, address, 4, NULL);
	knot_pkt_put(p, 0, &rr, KNOT_PF_FREE);
	knot_wire_set_qr(wire);
	size_t n = p->size;
	ask(&got, "out.prod.svc.cluster.local.", KNOT_RRTYPE_A, false, wire, n);
	assert_string_equal(
		got.p, "NOERROR\nout.prod.svc.cluster.local. CNAME www.example.org.\nwww.example.org. A 192.0.2.80\n");
	knot_pkt_free(p);
}

static void cuts_what_does_not_fit(void **state)
{
	auto_buf struct buf json = BUF_INIT, udp = BUF_INIT, tcp = BUF_INIT;
	auto_(doc_unref) struct doc *s =
		quoted_doc("{'metadata':{'name':'big','namespace':'prod'},'spec':{'clusterIP':'None'}}");

	buf_c(&json,
		"{'metadata':{'name':'big-1','namespace':'prod','labels':{'kubernetes.io/service-name':'big'}},'addressType':'IPv4','endpoints':[");
	for (int i = 0; i < 200; i++)
		buf_printf(&json, "%s{'addresses':['10.1.1.%d']}", i ? "," : "", i);
	buf_c(&json, "]}");
	buf_byte(&json, 0);
	auto_(doc_unref) struct doc *slice = quoted_doc(json.p);
	services_put(zone.services, NULL, s);
	services_put_slice(zone.services, NULL, slice);
	ask(&udp, "big.prod.svc.cluster.local.", KNOT_RRTYPE_A, false, NULL, 0);
	assert_true(strncmp(udp.p, "NOERROR TC\n", 11) == 0);
	ask(&tcp, "big.prod.svc.cluster.local.", KNOT_RRTYPE_A, true, NULL, 0);
	assert_true(strncmp(tcp.p, "NOERROR\n", 8) == 0);
	int lines = 0;
	for (char *p = tcp.p; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 201);
	services_put_slice(zone.services, slice, NULL);
	services_put(zone.services, s, NULL);
	auto_buf struct buf gone = BUF_INIT;
	ask(&gone, "big.prod.svc.cluster.local.", KNOT_RRTYPE_A, false, NULL, 0);
	assert_string_equal(gone.p, "NXDOMAIN\n" SOA);
}

static void says_nothing_to_nonsense(void **state)
{
	static uint8_t out[DNS_TCP_MAX];
	struct dns_reply r = { 0 };
	uint8_t q[64] = { 0, 1 };

	assert_int_equal(dns_answer(&zone, q, 5, false, NULL, 0, out, &r), DNS_DROP);
	assert_int_equal(dns_answer(&zone, q, 12, false, NULL, 0, out, &r), DNS_REPLY); /* no question */
	assert_int_equal(knot_wire_get_rcode(out), KNOT_RCODE_FORMERR);
	q[2] = 0x80;
	assert_int_equal(dns_answer(&zone, q, 12, false, NULL, 0, out, &r), DNS_DROP); /* an answer is no question */
	q[2] = 0x28;
	assert_int_equal(dns_answer(&zone, q, 12, false, NULL, 0, out, &r), DNS_REPLY); /* UPDATE */
	assert_int_equal(knot_wire_get_rcode(out), KNOT_RCODE_NOTIMPL);
	bool ready = false;
	auto_buf struct buf got = BUF_INIT, other = BUF_INIT;
	zone.ready = &ready;
	ask(&got, "web.default.svc.cluster.local.", KNOT_RRTYPE_A, false, NULL, 0);
	assert_string_equal(got.p, "SERVFAIL\n");
	ask(&other, "www.example.org.", KNOT_RRTYPE_A, false, NULL, 0);
	assert_string_equal(other.p, "forward\n");
	zone.ready = NULL;
}

static void finds_upstream_servers(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} cases[] = {
		{ "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", 2 },
		{ "# nameserver 192.0.2.9\nsearch x\nnameserver\t192.0.2.1 # here\noptions ndots:5", 1 },
		{ "nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n", 0 },
		{ "nameserver 10.96.0.10\nnameserver 192.0.2.1\n", 1 }, /* ourselves: a loop */
		{ "nameserver nonsense\nnameserver\nnameserverx 1.1.1.1\n", 0 },
		{ "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", 3 },
		{ "", 0 },
	};
	union dns_address found[DNS_UPSTREAMS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(dns_upstreams(str_c(cases[i].text), zone.server, 53, found), cases[i].n);
}

/* Of three servers a, b and c: who is asked in which order at a time, after what happened. */
static void asks_silent_servers_last(void **state)
{
	static const struct {
		uint64_t at_ms;
		const char *silent, *answered, *order;
	} steps[] = {
		{ 0, "", "", "abc" },
		{ 0, "a", "", "bca" },
		{ 5000, "b", "", "cab" },
		{ 9999, "", "", "cab" },
		{ 10000, "", "", "acb" }, /* one question finds out */
		{ 10001, "", "", "cab" },
		{ 10002, "", "a", "acb" },
		{ 10003, "ca", "", "abc" }, /* all: as they are */
		{ 10004, "", "bc", "bca" },
		{ 20003, "", "", "abc" },
	};
	struct dns_servers all = { .n = 3 };
	struct silent s = { 0 };

	dns_upstreams(STR("nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 2001:db8::2\n"), zone.server, 53,
		all.list);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct dns_servers got = all;
		char order[4] = "";

		for (const char *c = steps[i].silent; *c; c++)
			silent_note(&s, &all.list[*c - 'a'], steps[i].at_ms);
		for (const char *c = steps[i].answered; *c; c++)
			silent_forget(&s, &all.list[*c - 'a']);
		silent_last(&s, &got, steps[i].at_ms);
		for (size_t k = 0; k < got.n; k++) {
			size_t which = 0;
			while (memcmp(&all.list[which], &got.list[k], sizeof(got.list[k])) != 0)
				which++;
			order[k] = (char)('a' + which);
		}
		assert_string_equal(order, steps[i].order);
	}
	for (uint32_t i = 0; i < 3 * SILENT_MAX; i++) {
		all.list[0].v4.sin_addr.s_addr = i;
		silent_note(&s, &all.list[0], i);
	}
	assert_int_equal(s.n, SILENT_MAX);
}

/* "10.1.1.1:53 10.1.1.2:53" for a name; "host": the host's own. */
static void servers_text(const struct forward *f, const char *name, char *ret, size_t max)
{
	struct dns_servers s;
	uint8_t wire[DNS_NAME_MAX];
	char ip[IP_TEXT_MAX];
	int at = 0;

	knot_dname_from_str(wire, name, sizeof(wire));
	forward_find(f, wire, sizeof(wire), &s);
	(void)snprintf(ret, max, "host");
	for (size_t i = 0; i < s.n; i++) {
		bool v4 = s.list[i].any.sa_family == AF_INET;

		if (v4)
			inet_ntop(AF_INET, &s.list[i].v4.sin_addr, ip, sizeof(ip));
		else
			inet_ntop(AF_INET6, &s.list[i].v6.sin6_addr, ip, sizeof(ip));
		at += snprintf(ret + at, max - (size_t)at, "%s%s:%d", i ? " " : "", ip,
			ntohs(v4 ? s.list[i].v4.sin_port : s.list[i].v6.sin6_port));
	}
}

static int parse_forward(const char *json, struct forward **ret, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;

	err_init(e);
	assert_int_equal(doc_parse(str_c(json), &d, e), 0);
	return forward_parse(doc_root(d), zone.domain, zone.server, ret, e);
}

#define STUBS(text) "{\"stubDomains\":\"" text "\"}"
#define UPSTREAMS(text) "{\"upstreamNameservers\":\"" text "\"}"

static void asks_whom_the_config_map_names(void **state)
{
	static const struct {
		const char *json, *name, *want;
	} cases[] = {
		{ "{}", "corp.example.", "host" },
		{ STUBS("{}"), "corp.example.", "host" },
		{ STUBS("{\\\"corp.example\\\":[\\\"10.1.1.1\\\"]}"), "corp.example.", "10.1.1.1:53" },
		{ STUBS("{\\\"Corp.Example.\\\":[\\\"10.1.1.1\\\"]}"), "a.b.CORP.example.", "10.1.1.1:53" },
		{ STUBS("{\\\"corp.example\\\":[\\\"10.1.1.1\\\"]}"), "notcorp.example.", "host" },
		{ STUBS("{\\\"corp.example\\\":[\\\"10.1.1.1\\\"]}"), "example.", "host" },
		{ STUBS("{\\\"x\\\":[\\\"10.1.1.1:5353\\\",\\\"fd00::1\\\",\\\"[fd00::2]:54\\\"]}"), "x.",
			"10.1.1.1:5353 fd00::1:53 fd00::2:54" },
		{ STUBS("{\\\"example\\\":[\\\"10.1.1.1\\\"],\\\"b.example\\\":[\\\"10.1.1.2\\\"]}"), "a.b.example.",
			"10.1.1.2:53" },
		{ STUBS("{\\\"b.example\\\":[\\\"10.1.1.2\\\"],\\\"example\\\":[\\\"10.1.1.1\\\"]}"), "a.b.example.",
			"10.1.1.2:53" },
		{ STUBS("{\\\"2.1.10.in-addr.arpa\\\":[\\\"127.0.0.1\\\"]}"), "9.2.1.10.in-addr.arpa.",
			"127.0.0.1:53" },
		{ UPSTREAMS("[\\\"192.0.2.1\\\",\\\"192.0.2.2\\\"]"), "corp.example.", "192.0.2.1:53 192.0.2.2:53" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(forward_free) struct forward *f = NULL;
		char text[256];
		struct err e;

		if (parse_forward(cases[i].json, &f, &e) < 0)
			fail_msg("%s: %s", cases[i].json, e.message);
		servers_text(f, cases[i].name, text, sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
}

static void says_what_is_wrong_with_the_config_map(void **state)
{
	static const struct {
		const char *json, *said;
	} cases[] = {
		{ "{\"stubdomains\":\"{}\"}", "\"stubdomains\" is neither stubDomains nor upstreamNameservers" },
		{ STUBS("{"), "stubDomains: " },
		{ STUBS("[]"), "stubDomains: expected domains with lists of name servers" },
		{ UPSTREAMS("{}"), "upstreamNameservers: expected a list of name servers" },
		{ UPSTREAMS("[]"), "upstreamNameservers: expected a list of name servers" },
		{ UPSTREAMS("[1]"), "upstreamNameservers: \"\" is not an IP address" },
		{ UPSTREAMS("[\\\"ns.example\\\"]"), "\"ns.example\" is not an IP address" },
		{ UPSTREAMS("[\\\"10.1.1.1:0\\\"]"), "is not an IP address" },
		{ UPSTREAMS("[\\\"10.1.1.1:\\\"]"), "is not an IP address" },
		{ UPSTREAMS("[\\\"[fd00::1\\\"]"), "is not an IP address" },
		{ UPSTREAMS("[\\\"[fd00::1]53\\\"]"), "is not an IP address" },
		{ UPSTREAMS("[\\\"10.96.0.10\\\"]"), "10.96.0.10 is cluster DNS itself" },
		{ UPSTREAMS("[\\\"1.1.1.1\\\",\\\"1.1.1.2\\\",\\\"1.1.1.3\\\",\\\"1.1.1.4\\\"]"), "at most 3" },
		{ STUBS("{\\\"\\\":[\\\"10.1.1.1\\\"]}"), "stubDomains: \"\" is not a domain" },
		{ STUBS("{\\\".\\\":[\\\"10.1.1.1\\\"]}"), "stubDomains: \".\" is not a domain" },
		{ STUBS("{\\\"a..b\\\":[\\\"10.1.1.1\\\"]}"), "is not a domain" },
		{ STUBS("{\\\"a b\\\":[\\\"10.1.1.1\\\"]}"), "is not a domain" },
		{ STUBS("{\\\"corp.example\\\":\\\"10.1.1.1\\\"}"), "\"corp.example\": expected a list" },
		{ STUBS("{\\\"svc.cluster.local\\\":[\\\"10.1.1.1\\\"]}"), "is answered by the cluster itself" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct forward *f = NULL;
		struct err e;

		assert_true(parse_forward(cases[i].json, &f, &e) < 0);
		assert_null(f);
		if (!strstr(e.message, cases[i].said))
			fail_msg("%s: %s", cases[i].json, e.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_questions),
		cmocka_unit_test(an_alias_in_a_circle_ends),
		cmocka_unit_test(follows_an_alias_outside),
		cmocka_unit_test(cuts_what_does_not_fit),
		cmocka_unit_test(says_nothing_to_nonsense),
		cmocka_unit_test(finds_upstream_servers),
		cmocka_unit_test(asks_silent_servers_last),
		cmocka_unit_test(asks_whom_the_config_map_names),
		cmocka_unit_test(says_what_is_wrong_with_the_config_map),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

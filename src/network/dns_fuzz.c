/* Any bytes as a question, as an upstream's answer, and as resolv.conf: no crash, and whatever is answered fits and can
 * be read. */
#include "network/answer.h"
#include "network/dns.h"
#include <libknot/libknot.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct dns_zone zone;

static void put(void (*into)(struct services *s, struct doc *before, struct doc *after), const char *json)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	PRE(doc_parse(str_c(json), &d, &e) == 0);
	into(zone.services, NULL, d);
}

static void set_up(void)
{
	zone.services = services_new();
	zone.domain = STR("cluster.local");
	ip_parse(STR("10.96.0.10"), &zone.server[0]);
	cidr_parse(STR("10.96.0.0/16"), &zone.nets[0]);
	put(services_put,
		"{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"10.96.0.50\",\"clusterIPs\":"
		"[\"10.96.0.50\",\"fd96::50\"],\"ports\":[{\"name\":\"http\",\"port\":80}]}}");
	put(services_put,
		"{\"metadata\":{\"name\":\"db\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"None\"}}");
	put(services_put,
		"{\"metadata\":{\"name\":\"out\",\"namespace\":\"default\"},\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.example\"}}");
	put(services_put,
		"{\"metadata\":{\"name\":\"loop\",\"namespace\":\"default\"},\"spec\":{\"type\":\"ExternalName\",\"externalName\":"
		"\"loop.default.svc.cluster.local\"}}");
	put(services_put_slice,
		"{\"metadata\":{\"name\":\"db-1\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/service-name\":\"db\"}},"
		"\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"sql\",\"port\":5432}],\"endpoints\":[{\"addresses\":[\"10.1.0.1\"],"
		"\"hostname\":\"db-0\"}]}");
}

static void check_reply(const uint8_t *out, size_t n, bool tcp)
{
	auto_free uint8_t *copy = xmalloc(n);
	knot_pkt_t *p;

	PRE(n >= KNOT_WIRE_HEADER_SIZE && (tcp || n <= DNS_UDP_MAX));
	memcpy(copy, out, n);
	p = knot_pkt_new(copy, (uint16_t)n, NULL);
	/* A refusal repeats a question that may itself be wrong. */
	PRE(knot_pkt_parse(p, 0) == KNOT_EOK || knot_wire_get_rcode(out) != KNOT_RCODE_NOERROR);
	knot_pkt_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t out[DNS_TCP_MAX], question[512], name[DNS_NAME_MAX];
	union dns_address found[DNS_UPSTREAMS_MAX];
	struct dns_reply r = { 0 };

	if (!zone.services)
		set_up();
	for (int tcp = 0; tcp <= 1; tcp++) {
		if (dns_answer(&zone, data, n, tcp, NULL, 0, out, &r) == DNS_REPLY)
			check_reply(out, r.n, tcp);
	}
	knot_dname_from_str(name, "out.default.svc.cluster.local.", sizeof(name));
	size_t len = dns_question(name, KNOT_RRTYPE_A, 1, question, sizeof(question));
	if (n > 0 && n <= DNS_TCP_MAX && dns_answer(&zone, question, len, false, data, n, out, &r) == DNS_REPLY)
		PRE(r.n <= DNS_UDP_MAX);
	dns_answers(question, len, data, n);
	dns_upstreams(str_n((const char *)data, n), zone.server, 53, found);
	return 0;
}

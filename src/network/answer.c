/* Names of the cluster, after the Kubernetes DNS specification 1.1.0:
 *
 *	SVC.NS.svc.DOMAIN			A, AAAA: cluster IPs, or the ready endpoints of a headless service; SRV:
 *                                              all ports
 *	_PORT._PROTO.SVC.NS.svc.DOMAIN		SRV
 *	HOST.SVC.NS.svc.DOMAIN			A, AAAA: one endpoint, by hostname or dashed address
 *	A-B-C-D.NS.pod.DOMAIN			A, AAAA: says what it is called
 *	dns-version.DOMAIN			TXT
 *	D.C.B.A.in-addr.arpa, ….ip6.arpa	PTR */
#include "network/answer.h"
#include "base/task.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <libknot/libknot.h>
#include <stdio.h>

#define TTL 5
#define LABELS_MAX 128
#define ALIASES_MAX 8

struct reply {
	const struct dns_zone *z;
	knot_pkt_t *pkt;
	uint16_t type; /* asked for */
	unsigned answers;
	bool exists; /* the name does, whatever types it has */
	/* SRV targets, whose addresses go into the additional section. */
	struct {
		uint8_t name[DNS_NAME_MAX];
		struct ip ip;
	} more[16];
	size_t n_more;
};

/* ---- names ----------------------------------------------------------------------------------- */

/* Labels of a wire name in lower case, leftmost first. Returns how many. */
static size_t split(const uint8_t *name, uint8_t lower[DNS_NAME_MAX], struct str labels[LABELS_MAX])
{
	size_t n = 0, at = 0;

	while (name[at] && n < LABELS_MAX) {
		size_t len = name[at];
		for (size_t i = 1; i <= len; i++)
			lower[at + i] = (uint8_t)tolower(name[at + i]);
		labels[n++] = str_n((const char *)lower + at + 1, len);
		at += len + 1;
	}
	return n;
}

/* How many of the n labels stand before the suffix; -1: it does not end so. */
static int before_suffix(const struct str *labels, size_t n, struct str suffix)
{
	struct str rest = suffix, part;
	size_t parts = 0, i = 0;

	while (str_next(&rest, '.', &part))
		parts++;
	if (parts > n)
		return -1;
	for (rest = suffix; str_next(&rest, '.', &part); i++) {
		if (!str_eq(labels[n - parts + i], part))
			return -1;
	}
	return (int)(n - parts);
}

static bool to_wire(uint8_t out[DNS_NAME_MAX], const char *fmt, ...) PRINTF(2, 3);
static bool to_wire(uint8_t out[DNS_NAME_MAX], const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return n > 0 && (size_t)n < sizeof(text) && knot_dname_from_str(out, text, DNS_NAME_MAX) != NULL;
}

/* ---- records --------------------------------------------------------------------------------- */

static bool put(
	struct reply *r, knot_section_t section, const uint8_t *owner, uint16_t type, const uint8_t *data, size_t n)
{
	knot_rrset_t rr;
	uint16_t flags = KNOT_PF_FREE;

	if (section == KNOT_ADDITIONAL)
		flags |= KNOT_PF_NOTRUNC;
	knot_rrset_init(&rr, knot_dname_copy(owner, NULL), type, KNOT_CLASS_IN, TTL);
	knot_rrset_add_rdata(&rr, data, (uint16_t)n, NULL);
	if (knot_pkt_put(r->pkt, KNOT_COMPR_HINT_NONE, &rr, flags) != KNOT_EOK) {
		knot_rrset_clear(&rr, NULL);
		return false; /* full: TC is set */
	}
	if (section == KNOT_ANSWER)
		r->answers++;
	return true;
}

static bool wants(const struct reply *r, uint16_t type)
{
	return r->type == type || r->type == KNOT_RRTYPE_ANY;
}

static void put_address(struct reply *r, const uint8_t *owner, struct ip ip)
{
	uint16_t type = ip.family == 4 ? KNOT_RRTYPE_A : KNOT_RRTYPE_AAAA;

	if (ip.family && wants(r, type))
		put(r, KNOT_ANSWER, owner, type, ip.b, ip_len(ip));
}

static void put_srv(struct reply *r, const uint8_t *owner, int port, struct ip ip, const uint8_t *target)
{
	uint8_t data[6 + DNS_NAME_MAX] = { 0, 0, 0, 100 };
	size_t n = knot_dname_size(target);

	data[4] = (uint8_t)(port >> 8);
	data[5] = (uint8_t)port;
	memcpy(data + 6, target, n);
	if (!put(r, KNOT_ANSWER, owner, KNOT_RRTYPE_SRV, data, 6 + n) || r->n_more == ARRAY_LEN(r->more))
		return;
	memcpy(r->more[r->n_more].name, target, n);
	r->more[r->n_more++].ip = ip;
}

static size_t soa_data(const struct dns_zone *z, uint8_t data[2 * DNS_NAME_MAX + 20])
{
	static const uint32_t numbers[] = { 1, 7200, 1800, 86400,
		TTL }; /* serial, refresh, retry, expire, negative TTL */
	uint8_t name[DNS_NAME_MAX];
	size_t n = 0;

	static const char *const who[] = { "ns.dns", "hostmaster" };
	for (size_t i = 0; i < ARRAY_LEN(who); i++) {
		if (!to_wire(name, "%s.%.*s.", who[i], STR_ARG(z->domain)))
			return 0;
		memcpy(data + n, name, knot_dname_size(name));
		n += knot_dname_size(name);
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		uint32_t be = htonl(numbers[i]);
		memcpy(data + n, &be, 4);
		n += 4;
	}
	return n;
}

static void put_soa(struct reply *r, knot_section_t section, const char *apex)
{
	uint8_t data[2 * DNS_NAME_MAX + 20], owner[DNS_NAME_MAX];
	size_t n = soa_data(r->z, data);

	if (n && to_wire(owner, "%s.", apex))
		put(r, section, owner, KNOT_RRTYPE_SOA, data, n);
}

/* ---- services -------------------------------------------------------------------------------- */

/* What is looked for among the endpoints of a service. */
struct want {
	const uint8_t *owner; /* of the records */
	struct str host;      /* only this host label; empty: all */
	bool srv;
	struct str port, proto; /* SRV: only this one; empty: all */
	struct str svc, ns;
};

static bool proto_is(struct val port, struct str lower)
{
	struct str p = val_str(val_get(port, "protocol"));

	return str_eq_nocase(p.n ? p : STR("TCP"), lower);
}

static bool port_wanted(const struct want *w, struct val port)
{
	struct str name = val_str(val_get(port, "name"));

	return str_empty(w->proto) || (str_eq_nocase(name, w->port) && proto_is(port, w->proto));
}

static void endpoint_srv(struct reply *r, const struct want *w, struct val slice, struct ip ip, const char *label)
{
	uint8_t target[DNS_NAME_MAX];

	if (!to_wire(target, "%s.%.*s.%.*s.svc.%.*s.", label, STR_ARG(w->svc), STR_ARG(w->ns), STR_ARG(r->z->domain)))
		return;
	for (struct val_iter p = val_iter(val_get(slice, "ports")); val_next(&p);) {
		int64_t port = val_int(val_get(p.val, "port"), 0);

		if (port_wanted(w, p.val) && port > 0 && port < 65536)
			put_srv(r, w->owner, (int)port, ip, target);
	}
}

static void endpoint_answer(struct reply *r, const struct want *w, struct val slice, struct val endpoint)
{
	char label[HOST_LABEL_MAX];
	struct ip ip;

	if (!val_bool(val_path(endpoint, "conditions.ready"), true) ||
		!ip_parse(val_str(val_at(val_get(endpoint, "addresses"), 0)), &ip))
		return;
	services_host_label(endpoint, label);
	if (!str_empty(w->host) && !str_eq_nocase(w->host, str_c(label)))
		return;
	r->exists = true;
	if (w->srv)
		endpoint_srv(r, w, slice, ip, label);
	else
		put_address(r, w->owner, ip);
}

/* Starts at a random endpoint, so that clients that take the first one spread. */
static void endpoints_answer(struct reply *r, const struct want *w, const struct service *s)
{
	size_t first = s->n ? (size_t)rand_below(s->n) : 0;

	for (size_t i = 0; i < s->n; i++) {
		struct val slice = doc_root(s->slices[(first + i) % s->n]), list = val_get(slice, "endpoints");
		size_t n = val_len(list), skip = n ? (size_t)rand_below(n) : 0, at = 0;

		for (struct val_iter it = val_iter(list); val_next(&it); at++) {
			if (at >= skip)
				endpoint_answer(r, w, slice, it.val);
		}
		at = 0;
		for (struct val_iter it = val_iter(list); at < skip && val_next(&it); at++)
			endpoint_answer(r, w, slice, it.val);
	}
}

static void cluster_ip_answer(struct reply *r, const struct want *w, struct val spec)
{
	struct val ips = val_get(spec, "clusterIPs");
	uint8_t target[DNS_NAME_MAX];
	struct ip ip = IP_NONE;

	r->exists = str_empty(w->proto);
	if (!w->srv) {
		if (val_len(ips) == 0 && ip_parse(val_str(val_get(spec, "clusterIP")), &ip))
			put_address(r, w->owner, ip);
		for (struct val_iter it = val_iter(ips); val_next(&it);) {
			if (ip_parse(val_str(it.val), &ip))
				put_address(r, w->owner, ip);
		}
		return;
	}
	ip_parse(val_str(val_get(spec, "clusterIP")), &ip);
	if (!to_wire(target, "%.*s.%.*s.svc.%.*s.", STR_ARG(w->svc), STR_ARG(w->ns), STR_ARG(r->z->domain)))
		return;
	for (struct val_iter p = val_iter(val_get(spec, "ports")); val_next(&p);) {
		if (!port_wanted(w, p.val))
			continue;
		r->exists = true;
		put_srv(r, w->owner, (int)val_int(val_get(p.val, "port"), 0), ip, target);
	}
}

/* true: the name is an alias and *target is where to go on. */
static bool service_answer(struct reply *r, struct want *w, uint8_t target[DNS_NAME_MAX])
{
	const struct service *s = services_find(r->z->services, w->ns, w->svc);
	struct val spec;
	struct ip ip;

	if (!s)
		return false;
	spec = doc_get(s->service, "spec");
	if (val_is(val_get(spec, "type"), "ExternalName")) {
		struct str to = val_str(val_get(spec, "externalName"));

		if (!str_empty(w->host) || !str_empty(w->proto) || ip_parse(to, &ip) || to.n == 0)
			return false;
		r->exists = true;
		return to_wire(target, "%.*s%s", STR_ARG(to), to.p[to.n - 1] == '.' ? "" : ".");
	}
	if (!str_empty(w->host) || val_is(val_get(spec, "clusterIP"), "None"))
		endpoints_answer(r, w, s);
	else
		cluster_ip_answer(r, w, spec);
	return false;
}

/* ---- the cluster's names --------------------------------------------------------------------- */

static bool svc_answer(
	struct reply *r, const uint8_t *owner, const struct str *l, size_t n, uint8_t target[DNS_NAME_MAX])
{
	struct want w = { .owner = owner };

	if (n < 2) { /* NS.svc, svc */
		r->exists = n == 0 || services_has_ns(r->z->services, l[0]);
		return false;
	}
	w.ns = l[n - 1];
	w.svc = l[n - 2];
	if (n == 2) {
		w.srv = r->type == KNOT_RRTYPE_SRV;
	} else if (n == 3 && l[0].n && l[0].p[0] == '_') { /* _PROTO.SVC: only a step on the way */
		r->exists = services_find(r->z->services, w.ns, w.svc) != NULL;
		return false;
	} else if (n == 3) {
		w.host = l[0];
		w.srv = r->type == KNOT_RRTYPE_SRV;
	} else if (n == 4 && l[0].n > 1 && l[0].p[0] == '_' && l[1].n > 1 && l[1].p[0] == '_') {
		w.srv = true;
		w.port = str_sub(l[0], 1, l[0].n);
		w.proto = str_sub(l[1], 1, l[1].n);
		if (!wants(r, KNOT_RRTYPE_SRV)) {
			/* Is there such a name? Then it has no records of this type. */
			const struct service *s = services_find(r->z->services, w.ns, w.svc);
			for (struct val_iter p = val_iter(s ? doc_get(s->service, "spec.ports") : VAL_NONE);
				val_next(&p);)
				r->exists |= port_wanted(&w, p.val);
			return false;
		}
	} else {
		return false;
	}
	return service_answer(r, &w, target);
}

static void pod_answer(struct reply *r, const uint8_t *owner, const struct str *l, size_t n)
{
	char text[IP_TEXT_MAX];
	struct ip ip;

	if (n < 2) {
		r->exists = n == 0 || services_has_ns(r->z->services, l[0]);
		return;
	}
	if (n != 2 || l[0].n >= sizeof(text))
		return;
	for (int six = 0; six <= 1; six++) {
		for (size_t i = 0; i < l[0].n; i++)
			text[i] = l[0].p[i] == '-' ? (six ? ':' : '.') : l[0].p[i];
		if (!ip_parse(str_n(text, l[0].n), &ip))
			continue;
		r->exists = true;
		put_address(r, owner, ip);
		return;
	}
}

static void apex_answer(struct reply *r, const uint8_t *owner)
{
	uint8_t ns[DNS_NAME_MAX];
	char apex[DNS_NAME_MAX];

	r->exists = true;
	snprintf(apex, sizeof(apex), "%.*s", STR_ARG(r->z->domain));
	if (wants(r, KNOT_RRTYPE_SOA))
		put_soa(r, KNOT_ANSWER, apex);
	if (wants(r, KNOT_RRTYPE_NS) && to_wire(ns, "ns.dns.%.*s.", STR_ARG(r->z->domain)))
		put(r, KNOT_ANSWER, owner, KNOT_RRTYPE_NS, ns, knot_dname_size(ns));
}

/* Labels before the domain. true: an alias, as service_answer(). */
static bool domain_answer(
	struct reply *r, const uint8_t *owner, const struct str *l, size_t n, uint8_t target[DNS_NAME_MAX])
{
	static const uint8_t version[] = { 5, '1', '.', '1', '.', '0' };
	struct str last = n ? l[n - 1] : STR_NULL;

	if (n == 0) {
		apex_answer(r, owner);
	} else if (str_is(last, "svc")) {
		return svc_answer(r, owner, l, n - 1, target);
	} else if (str_is(last, "pod")) {
		pod_answer(r, owner, l, n - 1);
	} else if (n == 1 && str_is(last, "dns-version")) {
		r->exists = true;
		if (wants(r, KNOT_RRTYPE_TXT))
			put(r, KNOT_ANSWER, owner, KNOT_RRTYPE_TXT, version, sizeof(version));
	} else if (str_is(last, "dns") && (n == 1 || (n == 2 && str_is(l[0], "ns")))) {
		r->exists = true;
		for (size_t i = 0; n == 2 && i < ARRAY_LEN(r->z->server); i++)
			put_address(r, owner, r->z->server[i]);
	}
	return false;
}

/* ---- reverse names --------------------------------------------------------------------------- */

static int hex(struct str l)
{
	if (l.n != 1)
		return -1;
	return isdigit(l.p[0]) ? l.p[0] - '0' : l.p[0] >= 'a' && l.p[0] <= 'f' ? l.p[0] - 'a' + 10 : -1;
}

static bool reverse_ip(const struct str *l, size_t n, struct ip *ret)
{
	struct ip ip = { 0 };

	if (n == 6 && str_is(l[4], "in-addr") && str_is(l[5], "arpa")) {
		ip.family = 4;
		for (size_t i = 0; i < 4; i++) {
			uint64_t v;
			if (!str_u64(l[3 - i], &v) || v > 255)
				return false;
			ip.b[i] = (uint8_t)v;
		}
	} else if (n == 34 && str_is(l[32], "ip6") && str_is(l[33], "arpa")) {
		ip.family = 6;
		for (size_t i = 0; i < 32; i++) {
			int v = hex(l[31 - i]);
			if (v < 0)
				return false;
			ip.b[i / 2] = (uint8_t)(ip.b[i / 2] << 4 | v);
		}
	} else {
		return false;
	}
	*ret = ip;
	return true;
}

/* false: not ours to know. */
static bool reverse_answer(struct reply *r, const uint8_t *owner, struct ip ip)
{
	const char *const *names;
	size_t n = services_names(r->z->services, ip, &names);
	bool ours = n > 0;

	for (size_t i = 0; i < ARRAY_LEN(r->z->nets); i++)
		ours |= cidr_has(r->z->nets[i], ip);
	r->exists = n > 0;
	for (size_t i = 0; i < n && wants(r, KNOT_RRTYPE_PTR); i++) {
		uint8_t name[DNS_NAME_MAX];
		if (to_wire(name, "%s.svc.%.*s.", names[i], STR_ARG(r->z->domain)))
			put(r, KNOT_ANSWER, owner, KNOT_RRTYPE_PTR, name, knot_dname_size(name));
	}
	return ours;
}

/* ---- one message ----------------------------------------------------------------------------- */

/* Appends an upstream's answer to our alias. */
static void append_chased(struct reply *r, const uint8_t *chased, size_t n)
{
	auto_free uint8_t *copy = xmalloc(n);
	knot_pkt_t *up;

	memcpy(copy, chased, n);
	up = knot_pkt_new(copy, (uint16_t)n, NULL);
	if (up && knot_pkt_parse(up, 0) == KNOT_EOK) {
		const knot_pktsection_t *section = knot_pkt_section(up, KNOT_ANSWER);

		for (uint16_t i = 0; i < section->count; i++) {
			knot_rrset_t *rr = knot_rrset_copy(knot_pkt_rr(section, i), NULL);

			if (rr && knot_pkt_put(r->pkt, KNOT_COMPR_HINT_NONE, rr, KNOT_PF_NULL) != KNOT_EOK)
				i = section->count - 1;
			/* The packet's own list points to owner and data only until it is freed; it is not read
			 * again. */
			knot_rrset_free(rr, NULL);
		}
		knot_wire_set_rcode(r->pkt->wire, knot_wire_get_rcode(up->wire));
	} else {
		knot_wire_set_rcode(r->pkt->wire, KNOT_RCODE_SERVFAIL);
	}
	knot_pkt_free(up);
}

static enum dns_outcome resolve(
	struct reply *r, const uint8_t *name, const uint8_t *chased, size_t chased_n, struct dns_reply *ret)
{
	uint8_t owner[DNS_NAME_MAX], target[DNS_NAME_MAX], lower[DNS_NAME_MAX];
	struct str labels[LABELS_MAX];

	memcpy(owner, name, knot_dname_size(name));
	for (int aliases = 0; aliases < ALIASES_MAX; aliases++) {
		size_t n = split(owner, lower, labels);
		int before = before_suffix(labels, n, r->z->domain);

		if (before < 0 && aliases == 0)
			return DNS_FORWARD;
		if (before < 0 && chased) {
			append_chased(r, chased, chased_n);
			return DNS_REPLY;
		}
		if (before < 0) {
			memcpy(ret->target, owner, knot_dname_size(owner));
			ret->type = r->type;
			return DNS_CHASE;
		}
		r->exists = false;
		if (!domain_answer(r, owner, labels, (size_t)before, target))
			return DNS_REPLY;
		put(r, KNOT_ANSWER, owner, KNOT_RRTYPE_CNAME, target, knot_dname_size(target));
		if (r->type == KNOT_RRTYPE_CNAME)
			return DNS_REPLY;
		memcpy(owner, target, knot_dname_size(target));
	}
	return DNS_REPLY;
}

static enum dns_outcome answer_question(
	struct reply *r, const knot_pkt_t *query, const uint8_t *chased, size_t chased_n, struct dns_reply *ret)
{
	const uint8_t *name = knot_pkt_wire_qname(query);
	uint8_t lower[DNS_NAME_MAX];
	struct str labels[LABELS_MAX];
	enum dns_outcome outcome;
	char apex[DNS_NAME_MAX];
	struct ip ip;
	size_t n = split(name, lower, labels);

	snprintf(apex, sizeof(apex), "%.*s", STR_ARG(r->z->domain));
	if (reverse_ip(labels, n, &ip)) {
		if (!reverse_answer(r, name, ip))
			return DNS_FORWARD;
		snprintf(apex, sizeof(apex), "%s", ip.family == 4 ? "in-addr.arpa" : "ip6.arpa");
		outcome = DNS_REPLY;
	} else {
		outcome = resolve(r, name, chased, chased_n, ret);
	}
	if (outcome != DNS_REPLY || r->answers || knot_wire_get_tc(r->pkt->wire) || knot_wire_get_rcode(r->pkt->wire))
		return outcome;
	if (!r->exists)
		knot_wire_set_rcode(r->pkt->wire, KNOT_RCODE_NXDOMAIN);
	knot_pkt_begin(r->pkt, KNOT_AUTHORITY);
	put_soa(r, KNOT_AUTHORITY, apex);
	return DNS_REPLY;
}

static void finish(struct reply *r, bool edns)
{
	knot_rrset_t opt;

	if (!edns && r->n_more == 0)
		return;
	knot_pkt_begin(r->pkt, KNOT_ADDITIONAL);
	if (edns && knot_edns_init(&opt, DNS_UDP_MAX, 0, 0, NULL) == KNOT_EOK) {
		knot_pkt_reclaim(r->pkt, (uint16_t)knot_edns_wire_size(&opt));
		if (knot_pkt_put(r->pkt, KNOT_COMPR_HINT_NONE, &opt, KNOT_PF_FREE) != KNOT_EOK)
			knot_rrset_clear(&opt, NULL);
	}
	for (size_t i = 0; i < r->n_more; i++) {
		struct ip ip = r->more[i].ip;
		bool seen = false;

		for (size_t k = 0; k < i; k++)
			seen |= memcmp(r->more[k].name, r->more[i].name, knot_dname_size(r->more[i].name)) == 0;
		if (ip.family && !seen)
			put(r, KNOT_ADDITIONAL, r->more[i].name, ip.family == 4 ? KNOT_RRTYPE_A : KNOT_RRTYPE_AAAA,
				ip.b, ip_len(ip));
	}
}

size_t dns_refuse(const uint8_t *query, size_t n, uint8_t rcode, uint8_t *out)
{
	if (n < KNOT_WIRE_HEADER_SIZE)
		return 0;
	memset(out, 0, KNOT_WIRE_HEADER_SIZE);
	knot_wire_set_id(out, knot_wire_get_id(query));
	knot_wire_set_opcode(out, knot_wire_get_opcode(query));
	if (knot_wire_get_rd(query))
		knot_wire_set_rd(out);
	knot_wire_set_qr(out);
	knot_wire_set_ra(out);
	knot_wire_set_rcode(out, rcode);
	/* The question belongs into the answer, when it can be read. */
	if (knot_wire_get_qdcount(query) != 1)
		return KNOT_WIRE_HEADER_SIZE;
	int name = knot_dname_wire_check(query + KNOT_WIRE_HEADER_SIZE, query + n, NULL);
	if (name <= 0 || KNOT_WIRE_HEADER_SIZE + (size_t)name + 4 > n)
		return KNOT_WIRE_HEADER_SIZE;
	memcpy(out + KNOT_WIRE_HEADER_SIZE, query + KNOT_WIRE_HEADER_SIZE, (size_t)name + 4);
	knot_wire_set_qdcount(out, 1);
	return KNOT_WIRE_HEADER_SIZE + (size_t)name + 4;
}

static enum dns_outcome refuse(const uint8_t *query, size_t n, uint8_t rcode, uint8_t *out, struct dns_reply *ret)
{
	ret->n = dns_refuse(query, n, rcode, out);
	return ret->n ? DNS_REPLY : DNS_DROP;
}

static enum dns_outcome answer_parsed(const struct dns_zone *z, const knot_pkt_t *query, size_t max,
	const uint8_t *chased, size_t chased_n, uint8_t *out, struct dns_reply *ret)
{
	bool edns = knot_pkt_has_edns(query);
	struct reply r = { .z = z, .type = knot_pkt_qtype(query) };

	r.pkt = knot_pkt_new(out, (uint16_t)max, NULL);
	if (!r.pkt || knot_pkt_init_response(r.pkt, query) != KNOT_EOK) {
		knot_pkt_free(r.pkt);
		return DNS_DROP;
	}
	knot_wire_set_aa(out);
	knot_wire_set_ra(out);
	if (edns)
		knot_pkt_reserve(r.pkt, KNOT_EDNS_MIN_SIZE);
	knot_pkt_begin(r.pkt, KNOT_ANSWER);
	services_lock(z->services);
	enum dns_outcome outcome = answer_question(&r, query, chased, chased_n, ret);
	services_unlock(z->services);
	if (outcome == DNS_REPLY) {
		finish(&r, edns);
		ret->n = r.pkt->size;
	}
	knot_pkt_free(r.pkt);
	return outcome;
}

static bool in_cluster(const struct dns_zone *z, const knot_pkt_t *query)
{
	uint8_t lower[DNS_NAME_MAX];
	struct str labels[LABELS_MAX];

	return before_suffix(labels, split(knot_pkt_wire_qname(query), lower, labels), z->domain) >= 0;
}

enum dns_outcome dns_answer(const struct dns_zone *z, const uint8_t *query, size_t n, bool tcp, const uint8_t *chased,
	size_t chased_n, uint8_t *out, struct dns_reply *ret)
{
	enum dns_outcome outcome;
	size_t max = tcp ? DNS_TCP_MAX : KNOT_WIRE_MIN_PKTSIZE;

	if (n < KNOT_WIRE_HEADER_SIZE || n > DNS_TCP_MAX || knot_wire_get_qr(query))
		return DNS_DROP;
	if (knot_wire_get_opcode(query) != KNOT_OPCODE_QUERY)
		return refuse(query, n, KNOT_RCODE_NOTIMPL, out, ret);
	if (knot_wire_get_qdcount(query) != 1)
		return refuse(query, n, KNOT_RCODE_FORMERR, out, ret);
	/* libknot writes into what it parses (lower case), and the question goes upstream as it came. */
	auto_free uint8_t *copy = xmalloc(n);
	memcpy(copy, query, n);
	knot_pkt_t *q = knot_pkt_new(copy, (uint16_t)n, NULL);
	if (!q || knot_pkt_parse(q, 0) != KNOT_EOK || knot_pkt_qname(q) == NULL) {
		outcome = refuse(query, n, KNOT_RCODE_FORMERR, out, ret);
	} else if (knot_pkt_qclass(q) != KNOT_CLASS_IN) {
		outcome = refuse(query, n, KNOT_RCODE_REFUSED, out, ret);
	} else if (z->ready && !__atomic_load_n(z->ready, __ATOMIC_ACQUIRE) && in_cluster(z, q)) {
		outcome = refuse(query, n, KNOT_RCODE_SERVFAIL, out, ret);
	} else {
		if (!tcp && knot_pkt_has_edns(q))
			max = MIN(MAX((size_t)knot_edns_get_payload(q->opt_rr), max), (size_t)DNS_UDP_MAX);
		outcome = answer_parsed(z, q, max, chased, chased_n, out, ret);
	}
	knot_pkt_free(q);
	return outcome;
}

size_t dns_question(const uint8_t *name, uint16_t type, uint16_t id, uint8_t *out, size_t max)
{
	knot_pkt_t *q = knot_pkt_new(out, (uint16_t)max, NULL);
	knot_rrset_t opt;
	size_t n = 0;

	if (!q)
		return 0;
	memset(out, 0, KNOT_WIRE_HEADER_SIZE);
	knot_wire_set_id(out, id);
	knot_wire_set_rd(out);
	if (knot_pkt_put_question(q, name, KNOT_CLASS_IN, type) == KNOT_EOK) {
		knot_pkt_begin(q, KNOT_ADDITIONAL);
		if (knot_edns_init(&opt, DNS_UDP_MAX, 0, 0, NULL) == KNOT_EOK &&
			knot_pkt_put(q, KNOT_COMPR_HINT_NONE, &opt, KNOT_PF_FREE) != KNOT_EOK)
			knot_rrset_clear(&opt, NULL);
		n = q->size;
	}
	knot_pkt_free(q);
	return n;
}

bool dns_answers(const uint8_t *a, size_t a_n, const uint8_t *b, size_t b_n)
{
	const size_t at = KNOT_WIRE_HEADER_SIZE;

	if (a_n < at || b_n < at || knot_wire_get_id(a) != knot_wire_get_id(b) || !knot_wire_get_qr(b) ||
		knot_wire_get_qdcount(b) != 1)
		return false;
	int n = knot_dname_wire_check(a + at, a + a_n, NULL), m = knot_dname_wire_check(b + at, b + b_n, NULL);
	if (n <= 0 || n != m || at + (size_t)n + 4 > a_n || at + (size_t)n + 4 > b_n)
		return false;
	for (int i = 0; i < n; i++) {
		if (tolower(a[at + (size_t)i]) != tolower(b[at + (size_t)i]))
			return false;
	}
	return memcmp(a + at + n, b + at + n, 4) == 0;
}

#include "network/forward.h"
#include "network/answer.h"
#include <arpa/inet.h>
#include <libknot/dname.h>
#include <stdio.h>
#include <uv.h>

#define STUBS_MAX 100
#define WHERE_MAX 320
#define DOMAIN_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

struct stub {
	uint8_t name[DNS_NAME_MAX]; /* wire format, lower case */
	struct dns_servers servers;
};
struct forward {
	struct stub *stubs;
	size_t n;
	struct dns_servers upstreams;
};

static struct ip ip_of(const union dns_address *a)
{
	struct ip ip = { .family = a->any.sa_family == AF_INET ? 4 : 6 };

	if (ip.family == 4)
		memcpy(ip.b, &a->v4.sin_addr, 4);
	else
		memcpy(ip.b, &a->v6.sin6_addr, 16);
	return ip;
}

static bool is_own(const union dns_address *a, const struct ip own[2])
{
	return ip_eq(ip_of(a), own[0]) || ip_eq(ip_of(a), own[1]);
}

static bool address_parse(const char *text, int port, union dns_address *ret)
{
	union dns_address a = { 0 };

	if (uv_ip4_addr(text, port, &a.v4) != 0 && uv_ip6_addr(text, port, &a.v6) != 0)
		return false;
	*ret = a;
	return true;
}

/* ---- the ConfigMap --------------------------------------------------------------------------- */

/* "10.1.1.1", "10.1.1.1:53", "fd00::1", "[fd00::1]:53" */
static bool server_parse(struct str text, union dns_address *ret)
{
	char host[IP_TEXT_MAX];
	struct str ip = text, rest;
	int64_t port = 53;

	if (str_starts(text, STR("["))) {
		rest = str_cut(str_sub(text, 1, text.n), ']', &ip);
		if (!rest.p || (rest.n && (rest.p[0] != ':' || !str_i64(str_sub(rest, 1, rest.n), &port))))
			return false;
	} else if ((rest = str_cut(text, ':', &ip)).n && str_has(rest, STR(":"))) {
		ip = text; /* IPv6 without port */
	} else if (rest.p && !str_i64(rest, &port)) {
		return false;
	}
	if (!ip.n || ip.n >= sizeof(host) || port < 1 || port > 65535)
		return false;
	memcpy(host, ip.p, ip.n);
	host[ip.n] = 0;
	return address_parse(host, (int)port, ret);
}

static int servers_parse(
	struct val list, const char *where, const struct ip own[2], struct dns_servers *ret, struct err *e)
{
	if (val_kind(list) != VAL_LIST || !val_len(list))
		return err_set(e, ERR_INVALID, "%s: expected a list of name servers such as [\"10.1.1.1\"]", where);
	if (val_len(list) > DNS_UPSTREAMS_MAX)
		return err_set(
			e, ERR_INVALID, "%s: %zu name servers, of which at most 3 are asked", where, val_len(list));
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str text = val_str(it.val);
		union dns_address *a = &ret->list[ret->n++];

		if (!server_parse(text, a))
			return err_set(e, ERR_INVALID,
				"%s: \"%.*s\" is not an IP address with or without a port, such as 10.1.1.1, 10.1.1.1:53 or [fd00::1]:53",
				where, STR_ARG(text));
		if (is_own(a, own))
			return err_set(e, ERR_INVALID, "%s: %.*s is cluster DNS itself", where, STR_ARG(text));
	}
	return 0;
}

static int stub_parse(struct forward *f, struct str name, struct val servers, struct str domain, const struct ip own[2],
	struct err *e)
{
	struct stub *s = &f->stubs[f->n++];
	uint8_t cluster[DNS_NAME_MAX];
	char where[WHERE_MAX], text[DNS_NAME_MAX];

	(void)snprintf(where, sizeof(where), "stubDomains: \"%.*s\"", (int)MIN(name.n, (size_t)DNS_NAME_MAX), name.p);
	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(domain));
	if (knot_dname_from_str(cluster, text, sizeof(cluster)) == NULL)
		cluster[0] = 0;
	(void)snprintf(text, sizeof(text), "%.*s", (int)MIN(name.n, sizeof(text) - 1), name.p);
	if (name.n >= sizeof(text) || strspn(text, DOMAIN_BYTES) != name.n ||
		!knot_dname_from_str(s->name, text, sizeof(s->name)) || !s->name[0])
		return err_set(e, ERR_INVALID, "%s is not a domain", where);
	knot_dname_to_lower(s->name);
	if (cluster[0] && knot_dname_in_bailiwick(s->name, cluster) >= 0)
		return err_set(e, ERR_INVALID, "%s is answered by the cluster itself", where);
	return servers_parse(servers, where, own, &s->servers, e);
}

/* The JSON in a value of the ConfigMap. */
static int json_of(struct val text, const char *key, enum val_kind kind, struct doc **ret, struct err *e)
{
	struct doc *d = NULL;

	if (doc_parse(val_str(text), &d, e) < 0)
		return err_wrap(e, "%s", key);
	if (val_kind(doc_root(d)) != kind) {
		doc_unref(d);
		return err_set(e, ERR_INVALID, "%s: expected %s", key,
			kind == VAL_MAP ?
				"domains with lists of name servers, such as {\"corp.example\": [\"10.1.1.1\"]}" :
				"a list of name servers such as [\"10.1.1.1\"]");
	}
	*ret = d;
	return 0;
}

static int stubs_parse(struct forward *f, struct val text, struct str domain, const struct ip own[2], struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;

	if (json_of(text, "stubDomains", VAL_MAP, &d, e) < 0)
		return -e->code;
	if (val_len(doc_root(d)) > STUBS_MAX)
		return err_set(e, ERR_INVALID, "stubDomains: more than %d domains", STUBS_MAX);
	f->stubs = xcalloc(val_len(doc_root(d)) + 1, sizeof(*f->stubs));
	for (struct val_iter it = val_iter(doc_root(d)); val_next(&it);)
		if (stub_parse(f, it.key, it.val, domain, own, e) < 0)
			return -e->code;
	return 0;
}

static int upstreams_parse(struct forward *f, struct val text, const struct ip own[2], struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;

	if (json_of(text, "upstreamNameservers", VAL_LIST, &d, e) < 0)
		return -e->code;
	return servers_parse(doc_root(d), "upstreamNameservers", own, &f->upstreams, e);
}

int forward_parse(struct val data, struct str domain, const struct ip own[2], struct forward **ret, struct err *e)
{
	auto_(forward_free) struct forward *f = xcalloc(1, sizeof(*f));

	for (struct val_iter it = val_iter(data); val_next(&it);) {
		int rc = str_is(it.key, "stubDomains") ?
			stubs_parse(f, it.val, domain, own, e) :
			str_is(it.key, "upstreamNameservers") ?
			upstreams_parse(f, it.val, own, e) :
			err_set(e, ERR_INVALID, "\"%.*s\" is neither stubDomains nor upstreamNameservers",
				STR_ARG(it.key));
		if (rc < 0)
			return rc;
	}
	*ret = TAKE(f);
	return 0;
}

struct forward *forward_free(struct forward *f)
{
	if (f)
		free(f->stubs);
	free(f);
	return NULL;
}

/* The longest stub domain that the name is in. */
void forward_find(const struct forward *f, const uint8_t *name, size_t n, struct dns_servers *ret)
{
	uint8_t lower[DNS_NAME_MAX];
	int len = f ? knot_dname_wire_check(name, name + n, NULL) : 0, longest = -1;

	ret->n = 0;
	if (len <= 0 || len > (int)sizeof(lower))
		return;
	memcpy(lower, name, (size_t)len);
	knot_dname_to_lower(lower);
	*ret = f->upstreams;
	for (size_t i = 0; i < f->n; i++) {
		int labels = (int)knot_dname_labels(f->stubs[i].name, NULL);

		if (labels > longest && knot_dname_in_bailiwick(lower, f->stubs[i].name) >= 0) {
			longest = labels;
			*ret = f->stubs[i].servers;
		}
	}
}

/* ---- resolv.conf ----------------------------------------------------------------------------- */

static bool is_here(const union dns_address *a)
{
	struct ip ip = ip_of(a);

	if (ip.family == 4)
		return ip.b[0] == 127 || ip.b[0] == 0;
	return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

size_t dns_upstreams(struct str text, const struct ip own[2], int port, union dns_address ret[DNS_UPSTREAMS_MAX])
{
	struct str rest = text, line;
	size_t n = 0;

	while (n < DNS_UPSTREAMS_MAX && str_next(&rest, '\n', &line)) {
		char word[80];
		size_t len = 0;

		line = str_trim(line);
		if (!str_starts(line, STR("nameserver")) || line.n < 12 || !is_blank(line.p[10]))
			continue;
		line = str_trim(str_sub(line, 10, line.n));
		while (len < line.n && len < sizeof(word) - 1 && !is_blank(line.p[len]) && line.p[len] != '#' &&
			line.p[len] != ';') {
			word[len] = line.p[len];
			len++;
		}
		word[len] = 0;
		union dns_address a;
		if (address_parse(word, port, &a) && !is_here(&a) && !is_own(&a, own))
			ret[n++] = a;
	}
	return n;
}

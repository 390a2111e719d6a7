/* Service addresses and node ports: one table of what is taken, filled from the Services at start.
 *
 * A write takes what it needs before it is stored and gives it back when it fails; what a Service no longer has
 * is given back when the store tells of the change. IPv4 and IPv6 are 16-byte values of one code. */
#include "api/api_internal.h"
#include <arpa/inet.h>
#include <stdio.h>
#define LOG_MODULE "api"

#define RANDOM_TRIES 64
#define SCAN_MAX 65536

struct cidr {
	unsigned char net[16];
	int bits; /* of the 128 */
	bool v4;
};

struct ipalloc {
	struct task_mutex lock;
	struct map *taken; /* "10.96.0.1", "TCP:30080" → count as pointer */
	struct cidr cidr[2];
	int n_cidrs;
	int port_first, port_last;
};

static bool ip_parse(struct str s, unsigned char ret[16], bool *v4)
{
	char text[64];

	if (s.n >= sizeof(text) || !s.n)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	memset(ret, 0, 16);
	if (inet_pton(AF_INET, text, ret + 12) == 1) {
		ret[10] = ret[11] = 0xff;
		*v4 = true;
		return true;
	}
	*v4 = false;
	return inet_pton(AF_INET6, text, ret) == 1;
}

static void ip_text(const unsigned char ip[16], bool v4, char ret[64])
{
	if (v4)
		inet_ntop(AF_INET, ip + 12, ret, 64);
	else
		inet_ntop(AF_INET6, ip, ret, 64);
}

static bool cidr_parse(struct str s, struct cidr *c)
{
	struct str ip, bits = str_cut(s, '/', &ip);
	int64_t n;

	if (!ip_parse(ip, c->net, &c->v4) || !str_i64(bits, &n) || n < 0 || n > (c->v4 ? 32 : 128))
		return false;
	c->bits = (int)n + (c->v4 ? 96 : 0);
	return true;
}

static bool cidr_has(const struct cidr *c, const unsigned char ip[16])
{
	int whole = c->bits / 8, rest = c->bits % 8;

	if (memcmp(c->net, ip, (size_t)whole))
		return false;
	return !rest || ((c->net[whole] ^ ip[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

bool ipalloc_is_cidr(struct str s)
{
	struct cidr c;

	return cidr_parse(s, &c);
}

bool ipalloc_is_part(struct str part, struct str whole)
{
	struct cidr in, out;

	return cidr_parse(part, &in) && cidr_parse(whole, &out) && in.v4 == out.v4 && in.bits > out.bits &&
		cidr_has(&out, in.net);
}

static bool take(struct ipalloc *p, struct str key)
{
	bool ok = false;

	task_lock(&p->lock);
	if (!map_get(p->taken, key)) {
		map_put(p->taken, key, (void *)1);
		ok = true;
	}
	task_unlock(&p->lock);
	return ok;
}

static void give_back(struct ipalloc *p, struct str key)
{
	task_lock(&p->lock);
	map_del(p->taken, key);
	task_unlock(&p->lock);
}

static bool is_ip(struct str s)
{
	return s.n && !str_is(s, "None");
}

/* An address has many spellings of IPv6, and one key. */
static struct str ip_key(struct str ip, char buf[64])
{
	unsigned char b[16];
	bool v4;

	if (!ip_parse(ip, b, &v4))
		return ip;
	ip_text(b, v4, buf);
	return str_c(buf);
}

/* Calls each() for every address and port that a Service holds. */
static void holds(struct val svc, void (*each)(void *arg, struct str key), void *arg)
{
	struct val spec = val_get(svc, "spec");
	char key[80];

	if (val_is(val_get(spec, "type"), "ExternalName"))
		return;
	for (struct val_iter it = val_iter(val_get(spec, "clusterIPs")); val_next(&it);)
		if (is_ip(val_str(it.val)))
			each(arg, ip_key(val_str(it.val), key));
	if (!val_len(val_get(spec, "clusterIPs")) && is_ip(val_str(val_get(spec, "clusterIP"))))
		each(arg, ip_key(val_str(val_get(spec, "clusterIP")), key));
	for (struct val_iter it = val_iter(val_get(spec, "ports")); val_next(&it);) {
		int64_t port = val_int(val_get(it.val, "nodePort"), 0);
		struct str proto = val_str(val_get(it.val, "protocol"));
		int n = snprintf(key, sizeof(key), "%.*s:%lld", STR_ARG(proto), (long long)port);
		if (port)
			each(arg, str_n(key, (size_t)n));
	}
	int64_t health = val_int(val_get(spec, "healthCheckNodePort"), 0);
	int n = snprintf(key, sizeof(key), "TCP:%lld", (long long)health);
	if (health)
		each(arg, str_n(key, (size_t)n));
}

static void each_take(void *arg, struct str key)
{
	take(arg, key);
}

struct ipalloc *ipalloc_new(struct api *api, struct err *e)
{
	struct ipalloc *p = xcalloc(1, sizeof(*p));
	struct arena *a = arena_new();
	int64_t rev;

	task_mutex_init(&p->lock);
	p->taken = map_new(NULL);
	p->port_first = api->opts.node_port_first;
	p->port_last = api->opts.node_port_last;
	for (struct str part, rest = str_c(api->opts.service_cidrs); str_next(&rest, ',', &part);) {
		if (p->n_cidrs == 2 || !cidr_parse(str_trim(part), &p->cidr[p->n_cidrs])) {
			err_set(e, ERR_BAD_REQUEST, "service CIDRs \"%s\": one or two networks, such as 10.96.0.0/12",
				api->opts.service_cidrs);
			arena_free(a);
			ipalloc_free(p);
			return NULL;
		}
		p->n_cidrs++;
	}
	struct cache_list l = cache_list(api_cache(api, "", "services"), a, STR(""), STR_NULL, 0, &rev);
	for (size_t i = 0; i < l.n; i++)
		holds(doc_root(l.items[i].doc), each_take, p);
	arena_free(a);
	return p;
}

void ipalloc_free(struct ipalloc *p)
{
	if (!p)
		return;
	map_free(p->taken);
	task_mutex_fini(&p->lock);
	free(p);
}

int ipalloc_families(const struct ipalloc *p, const char *ret[2])
{
	for (int i = 0; i < p->n_cidrs; i++)
		ret[i] = p->cidr[i].v4 ? "IPv4" : "IPv6";
	return p->n_cidrs;
}

/* ---- what events and failures give back ------------------------------------------------------ */

struct compare {
	struct ipalloc *p;
	struct val after;
	struct str want;
	bool found;
};

static void each_same(void *arg, struct str key)
{
	struct compare *c = arg;

	c->found |= str_eq(key, c->want);
}

static void each_gone(void *arg, struct str key)
{
	struct compare *c = arg;

	c->want = key;
	c->found = false;
	holds(c->after, each_same, c);
	if (!c->found)
		give_back(c->p, key);
}

void ipalloc_event(struct ipalloc *p, const struct doc *before, const struct doc *after)
{
	struct compare c = { p, after ? doc_root(after) : VAL_NONE, STR_NULL, false };

	if (before)
		holds(doc_root(before), each_gone, &c);
	if (after)
		holds(doc_root(after), each_take, p);
}

static void remember(struct rq *rq, struct str key)
{
	if (!rq->allocated)
		rq->allocated = map_new(NULL);
	map_put(rq->allocated, key, (void *)1);
}

void ipalloc_undo(struct rq *rq)
{
	struct str key;
	void *value;

	if (!rq->allocated)
		return;
	for (size_t i = 0; map_next(rq->allocated, &i, &key, &value);)
		give_back(rq->api->ipalloc, key);
	map_clear(rq->allocated);
}

/* ---- allocation ------------------------------------------------------------------------------ */

/* The nth address of the range. */
static bool take_nth(struct rq *rq, const struct cidr *c, uint64_t n, char ret[64])
{
	unsigned char ip[16];

	memcpy(ip, c->net, 16);
	for (int b = 15; n && b >= 10; b--, n >>= 8)
		ip[b] = (unsigned char)(ip[b] | (n & 0xff));
	ip_text(ip, c->v4, ret);
	if (!take(rq->api->ipalloc, str_c(ret)))
		return false;
	remember(rq, str_c(ret));
	return true;
}

/* The first sixteenth, at most 256, is for people who name an address: it comes last. The network's own address is never
 * used, nor is that for broadcasts. Most ranges are nearly empty; who is at the end of a full one looks at all of it. */
static int take_any_ip(struct rq *rq, const struct cidr *c, char ret[64], struct err *e)
{
	uint64_t size = (uint64_t)1 << MIN(128 - c->bits, 40), end = c->v4 && size > 2 ? size - 1 : size;
	uint64_t low = MAX(MIN(size / 16, (uint64_t)256), (uint64_t)1), span = end - low, from;

	from = span ? rand_below(span) : 0;
	for (int i = 0; span && i < RANDOM_TRIES; i++)
		if (take_nth(rq, c, low + rand_below(span), ret))
			return 0;
	for (uint64_t i = 0; i < MIN(span, (uint64_t)SCAN_MAX); i++)
		if (take_nth(rq, c, low + (from + i) % span, ret))
			return 0;
	for (uint64_t n = 1; n < low; n++)
		if (take_nth(rq, c, n, ret))
			return 0;
	return err_set(e, ERR_INTERNAL, "Internal error occurred: failed to allocate a serviceIP: range is full");
}

/* What a Service asks for and cannot get. */
static int invalid(struct rq *rq, struct node *svc, struct err *e, const char *field, struct val value, const char *why)
{
	err_init(e);
	v_invalid(e, field, value, why);
	validate_finish(rq, node_text_str(node_path(svc, "metadata.name")), e);
	return -ERR_INVALID;
}

static int take_ip(struct rq *rq, struct node *svc, size_t at, struct str ip, struct err *e)
{
	struct node *ips = node_path(svc, "spec.clusterIPs");
	struct str family = node_text_str(node_at(node_path(svc, "spec.ipFamilies"), at)), key;
	unsigned char b[16];
	char text[64];
	bool v4, in = false;
	struct ipalloc *p = rq->api->ipalloc;

	if (!ip_parse(ip, b, &v4))
		return invalid(rq, svc, e, rq_f(rq, "spec.clusterIPs[%zu]", at), rq_val(rq, node_at(ips, at)),
			"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	if (!str_is(family, v4 ? "IPv4" : "IPv6"))
		return invalid(rq, svc, e, rq_f(rq, "spec.clusterIPs[%zu]", at), rq_val(rq, node_at(ips, at)),
			rq_f(rq, "expected an %.*s value as indicated by `ipFamilies[%zu]`", STR_ARG(family), at));
	for (int i = 0; i < p->n_cidrs; i++)
		in |= cidr_has(&p->cidr[i], b);
	if (!in)
		return invalid(rq, svc, e, "spec.clusterIPs", rq_val(rq, ips),
			rq_f(rq,
				"failed to allocate IP %.*s: the provided IP (%.*s) is not in the valid range. The range of valid IPs is %s",
				STR_ARG(ip), STR_ARG(ip), rq->api->opts.service_cidrs));
	key = ip_key(ip, text);
	if (!take(p, key))
		return invalid(rq, svc, e, "spec.clusterIPs", rq_val(rq, ips),
			rq_f(rq, "failed to allocate IP %.*s: provided IP is already allocated", STR_ARG(ip)));
	remember(rq, key);
	return 0;
}

static const struct cidr *cidr_of(const struct ipalloc *p, struct str family)
{
	for (int i = 0; i < p->n_cidrs; i++)
		if (str_is(family, p->cidr[i].v4 ? "IPv4" : "IPv6"))
			return &p->cidr[i];
	return NULL;
}

static bool had_ip(struct val old, struct str ip)
{
	for (struct val_iter it = val_iter(val_path(old, "spec.clusterIPs")); val_next(&it);)
		if (str_eq(val_str(it.val), ip))
			return true;
	return false;
}

static int allocate_ips(struct rq *rq, struct node *svc, struct val old, struct err *e)
{
	struct node *spec = node_getc(svc, "spec");
	struct node *ips = node_getc(spec, "clusterIPs"), *families = node_getc(spec, "ipFamilies");
	char text[64];
	int rc;

	for (size_t i = 0; i < node_len(families); i++) {
		struct str have = i < node_len(ips) ? node_text_str(node_at(ips, i)) : STR_NULL;
		if (have.n) {
			if (!had_ip(old, have) && (rc = take_ip(rq, svc, i, have, e)) < 0)
				return rc;
			continue;
		}
		const struct cidr *c = cidr_of(rq->api->ipalloc, node_text_str(node_at(families, i)));
		if ((rc = take_any_ip(rq, c, text, e)) < 0)
			return rc;
		if (i < node_len(ips))
			node_replace_at(ips, i, node_c(rq->a, text));
		else
			node_add(ips, node_c(rq->a, text));
	}
	node_setc(spec, "clusterIP", node_str(rq->a, node_text_str(node_at(ips, 0))));
	return 0;
}

static bool had_port(struct val old, struct str proto, int64_t port)
{
	for (struct val_iter it = val_iter(val_path(old, "spec.ports")); val_next(&it);)
		if (val_int(val_get(it.val, "nodePort"), 0) == port &&
			str_eq(val_str(val_get(it.val, "protocol")), proto))
			return true;
	return false;
}

static bool is_named(struct node *ports, int64_t node_port)
{
	for (size_t i = 0; i < node_len(ports); i++)
		if (node_int_of(node_getc(node_at(ports, i), "nodePort"), 0) == node_port)
			return true;
	return false;
}

/* A port of the same name keeps its node port when the writer left it out, whatever else of it changed: clients know it. */
static int64_t port_before(struct val old, struct node *ports, struct node *port)
{
	for (struct val_iter it = val_iter(val_path(old, "spec.ports")); val_next(&it);) {
		int64_t had = val_int(val_get(it.val, "nodePort"), 0);

		if (str_eq(val_str(val_get(it.val, "name")), node_text_str(node_getc(port, "name"))))
			return is_named(ports, had) ? 0 : had;
	}
	return 0;
}

/* One number for both protocols of a port, as DNS wants. 0: no other has one. */
static int64_t port_of_twin(struct node *ports, struct node *port)
{
	for (size_t i = 0; i < node_len(ports); i++) {
		struct node *p = node_at(ports, i);
		int64_t has = node_int_of(node_getc(p, "nodePort"), 0);

		if (has && node_int_of(node_getc(p, "port"), 0) == node_int_of(node_getc(port, "port"), -1))
			return has;
	}
	return 0;
}

static int take_any_port(struct rq *rq, struct str proto, int64_t *ret, struct err *e)
{
	struct ipalloc *p = rq->api->ipalloc;
	int span = p->port_last - p->port_first + 1, from = (int)rand_below((uint64_t)span);

	for (int i = 0; i < span; i++) {
		int port = p->port_first + (from + i) % span;
		struct str key = arena_strf(rq->a, "%.*s:%d", STR_ARG(proto), port);
		if (take(p, key)) {
			remember(rq, key);
			*ret = port;
			return 0;
		}
	}
	return err_set(e, ERR_INTERNAL, "Internal error occurred: failed to allocate a nodePort: range is full");
}

/* wish: where it is free for this protocol; 0: none. */
static int take_new_port(struct rq *rq, int64_t wish, struct str proto, int64_t *ret, struct err *e)
{
	struct str key = arena_strf(rq->a, "%.*s:%lld", STR_ARG(proto), (long long)wish);

	if (!wish || !take(rq->api->ipalloc, key))
		return take_any_port(rq, proto, ret, e);
	remember(rq, key);
	*ret = wish;
	return 0;
}

static int take_port(struct rq *rq, struct node *svc, size_t i, struct str proto, int64_t port, struct err *e)
{
	struct ipalloc *p = rq->api->ipalloc;
	struct str key = arena_strf(rq->a, "%.*s:%lld", STR_ARG(proto), (long long)port);
	struct val value = rq_val(rq, node_int(rq->a, port));
	char *field = rq_f(rq, "spec.ports[%zu].nodePort", i);

	if (port < p->port_first || port > p->port_last)
		return invalid(rq, svc, e, field, value,
			rq_f(rq, "provided port is not in the valid range. The range of valid ports is %d-%d",
				p->port_first, p->port_last));
	if (!take(p, key))
		return invalid(rq, svc, e, field, value, "provided port is already allocated");
	remember(rq, key);
	return 0;
}

/* any: ports for which the writer names none get one, too. */
static int allocate_ports(struct rq *rq, struct node *svc, struct val old, bool any, struct err *e)
{
	struct node *ports = node_path(svc, "spec.ports");

	for (size_t i = 0; i < node_len(ports); i++) {
		struct node *p = node_at(ports, i);
		struct str proto = node_text_str(node_getc(p, "protocol"));
		int64_t port = node_int_of(node_getc(p, "nodePort"), 0);
		int rc = 0;
		if (!port)
			port = port_before(old, ports, p);
		if (!port && !any)
			continue;
		if (!port)
			rc = take_new_port(rq, val_has(old) ? 0 : port_of_twin(ports, p), proto, &port, e);
		else if (!had_port(old, proto, port))
			rc = take_port(rq, svc, i, proto, port, e);
		if (rc < 0)
			return rc;
		node_setc(p, "nodePort", node_int(rq->a, port));
	}
	return 0;
}

/* Where there must be one and the writer did not name it: what it was, or any. */
static int allocate_health_port(struct rq *rq, struct node *spec, struct val old, struct err *e)
{
	int64_t port = val_int(val_path(old, "spec.healthCheckNodePort"), 0);

	if (node_getc(spec, "healthCheckNodePort"))
		return 0;
	if (!port && take_any_port(rq, STR("TCP"), &port, e) < 0)
		return -e->code;
	node_setc(spec, "healthCheckNodePort", node_int(rq->a, port));
	return 0;
}

int ipalloc_service(struct rq *rq, struct node *svc, struct val old, struct err *e)
{
	struct node *spec = node_need_map(svc, "spec");
	struct str type = node_text_str(node_getc(spec, "type"));
	bool balanced = str_is(type, "LoadBalancer");
	int rc;

	if (str_is(type, "ExternalName"))
		return 0;
	if ((rc = families_choose(rq, svc, old, e)) < 0)
		return rc;
	if (!str_is(node_text_str(node_getc(spec, "clusterIP")), "None") && (rc = allocate_ips(rq, svc, old, e)) < 0)
		return rc;
	if (balanced || str_is(type, "NodePort"))
		rc = allocate_ports(rq, svc, old,
			!balanced || node_bool_of(node_getc(spec, "allocateLoadBalancerNodePorts"), true), e);
	if (rc >= 0 && balanced && str_is(node_text_str(node_getc(spec, "externalTrafficPolicy")), "Local"))
		rc = allocate_health_port(rq, spec, old, e);
	return rc;
}

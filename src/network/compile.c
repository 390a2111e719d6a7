#include "network/compile.h"

void compiled_add(struct arena *a, struct compiled *c, enum element_map map, unsigned family, const struct fields *key,
	struct str val)
{
	ARENA_GROW(a, c->elements, c->n, c->cap, 8);
	c->elements[c->n++] = (struct element){ (uint8_t)map, (uint8_t)family, 0, arena_str(a, fields_view(key)), val };
}

static void add_split(struct arena *a, struct compiled *c, enum element_map map, unsigned family, char proto,
	const struct fields *key, struct str val)
{
	compiled_add(a, c, map, family, key, val);
	c->elements[c->n - 1].proto = proto;
}

static void add_pick(struct arena *a, struct compiled *c, struct pick p)
{
	ARENA_GROW(a, c->picks, c->n_picks, c->cap_picks, 8);
	c->picks[c->n_picks++] = p;
}

/* ---- endpoints ------------------------------------------------------------------------------- */

struct endpoint {
	struct str val; /* of an element */
	struct ip ip;
	int port;
	bool ready, draining; /* draining: serving while terminating */
	bool local;
	bool near; /* hints point here */
	bool hinted;
};

struct endpoints {
	struct endpoint *list;
	size_t n, cap;
};

char compile_proto(struct val port)
{
	struct str p = val_str(val_get(port, "protocol"));

	return str_is(p, "UDP") ? 'u' : str_is(p, "SCTP") ? 's' : 't';
}

/* An address and a port, as maps give them. */
static struct str endpoint_val(struct arena *a, struct ip ip, int port)
{
	struct fields f = { 0 };

	fields_add_ip(&f, ip);
	fields_add_port(&f, port);
	return arena_str(a, fields_view(&f));
}

static bool hinted_here(const struct compile_node *node, struct val hints, bool *hinted)
{
	struct val nodes = val_get(hints, "forNodes"), zones = val_get(hints, "forZones");

	*hinted = val_len(nodes) > 0 || (val_len(zones) > 0 && !str_empty(node->zone));
	if (val_len(nodes) > 0)
		return val_has(val_find(nodes, "name", node->name));
	return *hinted && val_has(val_find(zones, "name", node->zone));
}

static void add_endpoint(
	struct arena *a, const struct compile_node *node, struct endpoints *es, struct val v, int port, unsigned family)
{
	struct val conditions = val_get(v, "conditions");
	struct endpoint e = { .port = port };

	if (!ip_parse(val_str(val_at(val_get(v, "addresses"), 0)), &e.ip) || e.ip.family != family)
		return;
	e.ready = val_bool(val_get(conditions, "ready"), true);
	e.draining = !e.ready && val_bool(val_get(conditions, "serving"), e.ready) &&
		val_bool(val_get(conditions, "terminating"), false);
	if (!e.ready && !e.draining)
		return;
	e.local = str_eq(val_str(val_get(v, "nodeName")), node->name) && !str_empty(node->name);
	e.near = hinted_here(node, val_get(v, "hints"), &e.hinted);
	e.val = endpoint_val(a, e.ip, port);
	for (size_t i = 0; i < es->n; i++) {
		struct endpoint *old = &es->list[i];

		if (!str_eq(old->val, e.val))
			continue;
		if (e.ready && !old->ready) /* the same address in two slices while it moves between them */
			*old = e;
		return;
	}
	ARENA_GROW(a, es->list, es->n, es->cap, 8);
	es->list[es->n++] = e;
}

static struct endpoints endpoints_of(struct arena *a, const struct compile_node *node, const struct val *slices,
	size_t n, struct val port, unsigned family)
{
	struct endpoints es = { 0 };
	struct str name = val_str(val_get(port, "name"));

	for (size_t i = 0; i < n; i++) {
		if (!val_is(val_get(slices[i], "addressType"), family == 4 ? "IPv4" : "IPv6"))
			continue;
		for (struct val_iter p = val_iter(val_get(slices[i], "ports")); val_next(&p);) {
			int64_t number = val_int(val_get(p.val, "port"), 0);

			if (!str_eq(val_str(val_get(p.val, "name")), name) ||
				compile_proto(p.val) != compile_proto(port) || number < 1 || number > 65535)
				continue;
			for (struct val_iter it = val_iter(val_get(slices[i], "endpoints")); val_next(&it);)
				add_endpoint(a, node, &es, it.val, (int)number, family);
		}
	}
	return es;
}

enum policy { CLUSTER, LOCAL };

static bool fits(const struct endpoint *e, enum policy policy, bool ready)
{
	return (policy == CLUSTER || e->local) && (ready ? e->ready : e->draining);
}

/* Hints count only when every ready endpoint has them and one of them points here; else all are used. */
static bool hints_count(const struct endpoints *es)
{
	bool near = false;

	for (size_t i = 0; i < es->n; i++) {
		if (!es->list[i].ready)
			continue;
		if (!es->list[i].hinted)
			return false;
		near |= es->list[i].near;
	}
	return near;
}

/* The ready ones; when there are none, those that still serve while they end. */
static size_t choose(struct arena *a, const struct endpoints *es, enum policy policy, struct str **ret)
{
	struct str *out = ARENA_ARRAY(a, struct str, es->n + 1);
	bool hints = policy == CLUSTER && hints_count(es);
	size_t n = 0;

	for (int ready = 1; ready >= 0 && n == 0; ready--) {
		for (size_t i = 0; i < es->n; i++) {
			if (fits(&es->list[i], policy, ready) && (!ready || !hints || es->list[i].near))
				out[n++] = es->list[i].val;
		}
	}
	*ret = out;
	return n;
}

static bool holds(const struct str *list, size_t n, struct str s)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(list[i], s))
			return true;
	}
	return false;
}

struct str *compile_place(struct arena *a, const struct str *before, size_t n_before, const struct str *want, size_t n)
{
	struct str *out = ARENA_ARRAY(a, struct str, n + 1);
	size_t late = n, fresh = 0;

	/* Those whose number still exists stay. */
	for (size_t i = 0; i < n_before && i < n; i++) {
		if (holds(want, n, before[i]))
			out[i] = before[i];
	}
	for (size_t i = 0; i < n; i++) {
		if (out[i].n)
			continue;
		while (fresh < n && holds(before, n_before, want[fresh]))
			fresh++;
		if (fresh < n) {
			out[i] = want[fresh++];
			continue;
		}
		while (late < n_before && !holds(want, n, before[late]))
			late++;
		out[i] = before[late++];
	}
	return out;
}

/* ---- frontends ------------------------------------------------------------------------------- */

/* One port of a service in one family with the endpoints that each policy gives. */
struct group {
	struct arena *a;
	const struct compile_node *node;
	struct compiled *out;
	char proto;
	int port;
	unsigned family;
	uint32_t affinity_s;
	const struct endpoints *all;
	struct str *chosen[2]; /* by enum policy */
	size_t n[2];
};

static enum element_map map_of(char kind, enum element_map first)
{
	return first + (enum element_map)(strchr(FRONTEND_KINDS, kind) - FRONTEND_KINDS);
}

/* address . protocol . port, or protocol . port on every local address. */
static struct fields full_key(const struct group *g, struct ip address)
{
	struct fields f = { 0 };

	fields_add_ip(&f, address);
	fields_add_proto(&f, g->proto);
	fields_add_port(&f, g->port);
	return f;
}

/* The same in a map per protocol, for one endpoint. */
static struct fields numbered_key(const struct group *g, struct ip address, uint32_t number)
{
	struct fields f = { 0 };

	fields_add_ip(&f, address);
	fields_add_port(&f, g->port);
	fields_add_number(&f, number);
	return f;
}

static void add_frontend(struct group *g, enum element_map map, struct ip address, struct str pick)
{
	struct fields key = full_key(g, address);

	compiled_add(g->a, g->out, map, g->family, &key, pick);
}

/* Sends a frontend to the endpoints of a policy: it is in the pick's set, and there is one element per endpoint. */
static void frontend(struct group *g, char kind, struct ip address, enum policy policy)
{
	struct pick p = { kind, g->proto, (uint8_t)g->family, pick_slots((uint32_t)g->n[policy], g->affinity_s),
		g->affinity_s };
	char name[PICK_NAME_MAX];

	pick_name(p, name);
	add_pick(g->a, g->out, p);
	add_frontend(g, map_of(kind, MAP_SVC_C), address, arena_str(g->a, str_c(name)));
	for (uint32_t i = 0; i < g->n[policy]; i++) {
		struct fields key = numbered_key(g, address, i);

		add_split(g->a, g->out, map_of(kind, MAP_EP_C), g->family, g->proto, &key, g->chosen[policy][i]);
	}
}

/* kind: c or n (then without an address). local_only: internalTrafficPolicy Local. */
static void inside(struct group *g, char kind, struct ip address, bool local_only)
{
	enum policy policy = local_only ? LOCAL : CLUSTER;

	if (g->n[policy])
		frontend(g, kind, address, policy);
	else
		add_frontend(g, map_of(kind, g->n[CLUSTER] ? MAP_DROP_C : MAP_REFUSE_C), address, STR_NULL);
}

/* Endpoints elsewhere that outside traffic may go to. */
static void remotes(struct group *g)
{
	for (size_t i = 0; i < g->all->n; i++) {
		struct endpoint *e = &g->all->list[i];
		struct fields key = { 0 };

		if (e->local || !holds(g->chosen[CLUSTER], g->n[CLUSTER], e->val))
			continue;
		fields_add_ip(&key, e->ip);
		fields_add_proto(&key, g->proto);
		fields_add_port(&key, e->port);
		compiled_add(g->a, g->out, MAP_REMOTE, g->family, &key, STR_NULL);
	}
}

/* External addresses and node ports: everyone uses all endpoints, but with externalTrafficPolicy Local who comes from
 * outside uses the local ones only, keeps its address, and gets no answer where there are none (so that load
 * balancers look elsewhere). */
static void outside(struct group *g, char kind, struct ip address, bool local_only)
{
	char strict = kind == 'c' ? 'x' : 'y';

	inside(g, kind, address, false);
	if (!local_only)
		remotes(g);
	else if (g->n[LOCAL])
		frontend(g, strict, address, LOCAL);
	else if (g->n[CLUSTER])
		add_frontend(g, map_of(strict, MAP_DROP_C), address, STR_NULL);
}

static void add_external(struct group *g, struct ip address)
{
	struct fields key = { 0 };

	fields_add_ip(&key, address);
	compiled_add(g->a, g->out, MAP_EXTERNAL, g->family, &key, STR_NULL);
}

static void on_address(struct group *g, struct str address, bool external, bool local_only)
{
	struct ip ip;

	if (!ip_parse(address, &ip) || ip.family != g->family || ip_eq(ip, g->node->dns[0]) ||
		ip_eq(ip, g->node->dns[1]))
		return;
	if (external)
		add_external(g, ip);
	(external ? outside : inside)(g, 'c', ip, local_only);
}

/* spec.loadBalancerSourceRanges. One inside another is left out: the kernel's sets refuse overlaps. */
static void guard(struct group *g, struct val ranges, struct ip address)
{
	struct fields frontend = full_key(g, address);
	struct cidr *own = ARENA_ARRAY(g->a, struct cidr, val_len(ranges) + 1), c;
	size_t n = 0;

	for (struct val_iter it = val_iter(ranges); val_next(&it);) {
		size_t kept = 0;
		bool inside = false;

		if (!cidr_parse(str_trim(val_str(it.val)), &c) || c.ip.family != g->family)
			continue;
		for (size_t i = 0; i < n && !inside; i++) {
			inside = c.bits >= own[i].bits && cidr_has(own[i], c.ip);
			if (inside || !cidr_has(c, own[i].ip))
				own[kept++] = own[i];
		}
		if (inside)
			continue;
		n = kept;
		own[n++] = c;
	}
	compiled_add(g->a, g->out, MAP_GUARDED, g->family, &frontend, STR_NULL);
	for (size_t i = 0; i < n; i++) {
		struct fields key = frontend;

		fields_add_range(&key, own[i]);
		compiled_add(g->a, g->out, MAP_ALLOWED, g->family, &key, STR_NULL);
	}
}

/* An address that the Service has from a load balancer. */
static void on_balancer(struct group *g, struct val spec, struct val ingress, bool local_only)
{
	struct val ranges = val_get(spec, "loadBalancerSourceRanges");
	struct str address = val_str(val_get(ingress, "ip"));
	struct ip ip;

	if (val_is(val_get(ingress, "ipMode"), "Proxy") || !ip_parse(address, &ip) || ip.family != g->family)
		return;
	on_address(g, address, true, local_only);
	if (val_len(ranges))
		guard(g, ranges, ip);
}

static void place_group(struct group *g, struct str port_name, const struct compiled *before)
{
	for (int policy = CLUSTER; policy <= LOCAL; policy++) {
		struct compiled *c = g->out;
		struct str group = arena_strf(
			g->a, "%.*s/%c/%u/%c", STR_ARG(port_name), g->proto, g->family, policy == LOCAL ? 'l' : 'c');
		const struct placed *old = NULL;
		struct str *want;

		g->n[policy] = choose(g->a, g->all, (enum policy)policy, &want);
		for (size_t i = 0; before && i < before->n_placed; i++) {
			if (str_eq(before->placed[i].group, group))
				old = &before->placed[i];
		}
		g->chosen[policy] =
			compile_place(g->a, old ? old->endpoints : NULL, old ? old->n : 0, want, g->n[policy]);
		ARENA_GROW(g->a, c->placed, c->n_placed, c->cap_placed, 8);
		c->placed[c->n_placed++] = (struct placed){ group, g->chosen[policy], g->n[policy] };
	}
}

static void hairpin(struct arena *a, struct compiled *ret, struct ip ip)
{
	struct fields key = { 0 };

	fields_add_ip(&key, ip);
	fields_add_ip(&key, ip);
	compiled_add(a, ret, MAP_HAIRPIN, ip.family, &key, STR_NULL);
}

static void hairpins(struct group *g)
{
	for (size_t i = 0; i < g->all->n; i++) {
		struct endpoint *e = &g->all->list[i];

		if (e->local &&
			(holds(g->chosen[CLUSTER], g->n[CLUSTER], e->val) ||
				holds(g->chosen[LOCAL], g->n[LOCAL], e->val)))
			hairpin(g->a, g->out, e->ip);
	}
}

static bool serves_family(struct val spec, unsigned family)
{
	struct val families = val_get(spec, "ipFamilies");
	struct ip ip;

	for (struct val_iter it = val_iter(families); val_next(&it);) {
		if (val_is(it.val, family == 4 ? "IPv4" : "IPv6"))
			return true;
	}
	return val_len(families) == 0 && ip_parse(val_str(val_get(spec, "clusterIP")), &ip) && ip.family == family;
}

static void service_port(struct arena *a, const struct compile_node *node, struct val service, struct val port,
	unsigned family, const struct val *slices, size_t n, const struct compiled *before, struct compiled *ret)
{
	struct val spec = val_get(service, "spec"), ips = val_get(spec, "clusterIPs");
	struct endpoints es = endpoints_of(a, node, slices, n, port, family);
	struct group g = { a, node, ret, compile_proto(port), (int)val_int(val_get(port, "port"), 0), family,
		.all = &es };
	bool internal_local = val_is(val_get(spec, "internalTrafficPolicy"), "Local");
	bool external_local = val_is(val_get(spec, "externalTrafficPolicy"), "Local");
	int64_t node_port = val_int(val_get(port, "nodePort"), 0);

	if (g.port < 1 || g.port > 65535)
		return;
	if (val_is(val_get(spec, "sessionAffinity"), "ClientIP"))
		g.affinity_s = (uint32_t)MIN(
			MAX(val_int(val_path(spec, "sessionAffinityConfig.clientIP.timeoutSeconds"), 10800), 1), 86400);
	place_group(&g, val_str(val_get(port, "name")), before);
	hairpins(&g);
	if (val_len(ips) == 0)
		on_address(&g, val_str(val_get(spec, "clusterIP")), false, internal_local);
	for (struct val_iter it = val_iter(ips); val_next(&it);)
		on_address(&g, val_str(it.val), false, internal_local);
	for (struct val_iter it = val_iter(val_get(spec, "externalIPs")); val_next(&it);)
		on_address(&g, val_str(it.val), true, external_local);
	if (val_is(val_get(spec, "type"), "LoadBalancer")) {
		for (struct val_iter it = val_iter(val_path(service, "status.loadBalancer.ingress")); val_next(&it);)
			on_balancer(&g, spec, it.val, external_local);
	}
	g.port = (int)node_port;
	if (node_port > 0 && node_port < 65536 && serves_family(spec, family))
		outside(&g, 'n', IP_NONE, external_local);
}

void compile_service(struct arena *a, const struct compile_node *node, struct val service, const struct val *slices,
	size_t n, const struct compiled *before, struct compiled *ret)
{
	struct val spec = val_get(service, "spec");

	*ret = (struct compiled){ 0 };
	if (val_is(val_get(spec, "type"), "ExternalName") || str_empty(val_str(val_get(spec, "clusterIP"))) ||
		val_is(val_get(spec, "clusterIP"), "None"))
		return;
	if (!str_empty(
		    val_str(val_get(val_path(service, "metadata.labels"), "service.kubernetes.io/service-proxy-name"))))
		return; /* somebody else's */
	for (struct val_iter it = val_iter(val_get(spec, "ports")); val_next(&it);) {
		service_port(a, node, service, it.val, 4, slices, n, before, ret);
		service_port(a, node, service, it.val, 6, slices, n, before, ret);
	}
}

/* ---- hostPorts ------------------------------------------------------------------------------- */

static void host_port(struct arena *a, struct val port, struct val pod_ips, struct compiled *ret)
{
	int64_t host = val_int(val_get(port, "hostPort"), 0), inner = val_int(val_get(port, "containerPort"), 0);
	struct ip on, ip;

	if (host < 1 || host > 65535 || inner < 1 || inner > 65535)
		return;
	bool one = ip_parse(val_str(val_get(port, "hostIP")), &on) && !ip_eq(on, (struct ip){ .family = on.family });
	for (struct val_iter it = val_iter(pod_ips); val_next(&it);) {
		struct fields key = { 0 };

		if (!ip_parse(val_str(val_get(it.val, "ip")), &ip) || (one && on.family != ip.family))
			continue;
		if (one)
			fields_add_ip(&key, on);
		fields_add_port(&key, (int)host);
		add_split(a, ret, one ? MAP_HOST_C : MAP_HOST_N, ip.family, compile_proto(port), &key,
			endpoint_val(a, ip, (int)inner));
		hairpin(a, ret, ip);
	}
}

void compile_pod(struct arena *a, struct val pod, struct compiled *ret)
{
	struct val spec = val_get(pod, "spec"), phase = val_path(pod, "status.phase");
	static const char *const lists[] = { "initContainers", "containers" };

	*ret = (struct compiled){ 0 };
	if (val_bool(val_get(spec, "hostNetwork"), false) || val_is(phase, "Succeeded") || val_is(phase, "Failed"))
		return;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		for (struct val_iter c = val_iter(val_get(spec, lists[i])); val_next(&c);) {
			for (struct val_iter p = val_iter(val_get(c.val, "ports")); val_next(&p);)
				host_port(a, p.val, val_path(pod, "status.podIPs"), ret);
		}
	}
}

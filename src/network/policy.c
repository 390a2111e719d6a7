#include "network/policy.h"
#include "base/map.h"
#include <stdio.h>

/* Pods that rules speak of: those with such labels in one namespace, or in all namespaces with such labels. */
struct peer {
	uint32_t id;
	struct str ns;                            /* empty: see namespaces */
	const struct selector *namespaces, *pods; /* pods NULL: all */
};

struct policy {
	struct str ns;
	const struct selector *pods;
	bool in, out;
	struct str rules[2]; /* of ingress, of egress: nft rules, each with its line end */
};

struct chain {
	char name[24];
	char *rules;
	uint32_t users;
	bool told; /* policies_new_chains() has named it */
};

struct user {
	struct chain *chains[2];
};

struct policies {
	struct arena *arena; /* of this set of policies: everything up to `names` */
	struct policy *list;
	size_t n;
	struct peer *peers;
	size_t n_peers, cap_peers;
	struct map *names; /* names of ports that rules speak of → their id */

	struct map *ids; /* text of a peer, or "port NAME" → its id, the same as long as this process lives */
	uint32_t last_id;
	struct map *chains; /* rules → chain */
	struct map *users;  /* owner → user */
	struct map *unused; /* name → itself: chains that the kernel may forget */
	unsigned last_chain;
};

static void chain_free(void *c)
{
	free(((struct chain *)c)->rules);
	free(c);
}

struct policies *policies_new(void)
{
	struct policies *p = xcalloc(1, sizeof(*p));

	p->arena = arena_new();
	p->names = map_new(NULL);
	p->ids = map_new(NULL);
	p->chains = map_new(chain_free);
	p->users = map_new(free);
	p->unused = map_new(NULL);
	return p;
}

struct policies *policies_free(struct policies *p)
{
	if (!p)
		return NULL;
	map_free(p->names);
	map_free(p->ids);
	map_free(p->chains);
	map_free(p->users);
	map_free(p->unused);
	arena_free(p->arena);
	free(p);
	return NULL;
}

/* ---- from specs to rules --------------------------------------------------------------------- */

static uint32_t id_of(struct policies *p, struct str text)
{
	uintptr_t id = (uintptr_t)map_get(p->ids, text);

	if (!id) {
		id = ++p->last_id;
		map_put(p->ids, text, (void *)id);
	}
	return (uint32_t)id;
}

static const char *text_of(struct arena *a, const struct selector *s)
{
	return s ? arena_cstr(a, selector_text(a, s)) : "";
}

/* false: a selector that cannot be read selects nothing. */
static bool need_peer(struct policies *p, struct str ns, struct val spec, uint32_t *ret_id)
{
	struct val pods = val_get(spec, "podSelector"), namespaces = val_get(spec, "namespaceSelector");
	struct peer peer = { .ns = val_has(namespaces) ? STR_NULL : ns };
	struct err ignored;

	err_init(&ignored);
	if ((val_has(pods) && selector_of(p->arena, pods, &peer.pods, &ignored) < 0) ||
		(val_has(namespaces) && selector_of(p->arena, namespaces, &peer.namespaces, &ignored) < 0))
		return false;
	struct str text = arena_strf(p->arena, "peer %.*s/%s/%s", STR_ARG(peer.ns), text_of(p->arena, peer.namespaces),
		text_of(p->arena, peer.pods));
	*ret_id = peer.id = id_of(p, text);
	for (size_t i = 0; i < p->n_peers; i++) {
		if (p->peers[i].id == peer.id)
			return true;
	}
	ARENA_GROW(p->arena, p->peers, p->n_peers, p->cap_peers, 8);
	p->peers[p->n_peers++] = peer;
	return true;
}

/* One direction of one policy. far: the field of the other side's address, near: of the selected pod's. */
struct side {
	struct policies *p;
	struct policy *policy;
	const char *far, *peers, *entries;
	struct buf *out;
};

/* Matches of one prefix: "ip saddr 10.0.0.0/8". Empty for everything. */
static void prefix_text(struct buf *b, const char *far, const char *op, struct cidr c)
{
	char text[IP_TEXT_MAX];

	cidr_text(c, text);
	if (c.bits)
		buf_printf(b, "%s %s %s%s ", c.ip.family == 4 ? "ip" : "ip6", far, op, text);
}

/* false: it matches nobody. */
static bool block_text(struct buf *b, const char *far, struct val block, unsigned family)
{
	struct cidr c, x;

	if (!cidr_parse(val_str(val_get(block, "cidr")), &c) || c.ip.family != family)
		return false;
	prefix_text(b, far, "", c);
	for (struct val_iter it = val_iter(val_get(block, "except")); val_next(&it);) {
		if (!cidr_parse(val_str(it.val), &x) || x.ip.family != family)
			continue;
		if (x.bits == 0)
			return false;
		prefix_text(b, far, "!= ", x);
	}
	return true;
}

static const char *proto_word(struct val port)
{
	struct str proto = val_str(val_get(port, "protocol"));

	return str_is(proto, "UDP") ? "udp" : str_is(proto, "SCTP") ? "sctp" : "tcp";
}

/* false: it matches nothing. Named ports are those of the pod that is spoken to, whichever side that is. */
static bool port_text(struct side *s, struct buf *b, struct val port, unsigned family)
{
	struct val number = val_get(port, "port");
	const char *proto = proto_word(port);
	struct str name = val_str(number);
	int64_t first = val_int(number, 0), last = val_int(val_get(port, "endPort"), first);

	if (name.n) {
		uint32_t id = id_of(s->p, arena_strf(s->p->arena, "port %.*s", STR_ARG(name)));

		map_put(s->p->names, name, (void *)(uintptr_t)id);
		buf_printf(b,
			"meta l4proto %s %s daddr . meta l4proto . th dport . numgen inc mod 1 offset %u @named%u ",
			proto, family == 4 ? "ip" : "ip6", id, family);
	} else if (!val_has(number)) {
		buf_printf(b, "meta l4proto %s ", proto);
	} else if (first < 1 || last > 65535 || last < first) {
		return false;
	} else if (last > first) {
		buf_printf(b, "%s dport %d-%d ", proto, (int)first, (int)last);
	} else {
		buf_printf(b, "%s dport %d ", proto, (int)first);
	}
	return true;
}

static void each_port(struct side *s, struct str who, struct val ports, unsigned family)
{
	const char *nfproto = family == 4 ? "meta nfproto ipv4" : "meta nfproto ipv6";

	if (val_len(ports) == 0)
		buf_printf(s->out, "%s %.*saccept\n", nfproto, STR_ARG(who));
	for (struct val_iter it = val_iter(ports); val_next(&it);) {
		auto_buf struct buf b = BUF_INIT;

		if (port_text(s, &b, it.val, family))
			buf_printf(s->out, "%s %.*s%.*saccept\n", nfproto, STR_ARG(who), STR_ARG(buf_view(&b)));
	}
}

static void rule_text(struct side *s, struct val rule, unsigned family)
{
	struct val peers = val_get(rule, s->peers), ports = val_get(rule, "ports");

	if (val_len(peers) == 0)
		each_port(s, STR_NULL, ports, family);
	for (struct val_iter it = val_iter(peers); val_next(&it);) {
		struct val block = val_get(it.val, "ipBlock");
		auto_buf struct buf who = BUF_INIT;
		uint32_t id;
		bool any;

		if (val_has(block)) {
			any = block_text(&who, s->far, block, family);
		} else {
			any = need_peer(s->p, s->policy->ns, it.val, &id);
			if (any)
				buf_printf(&who, "%s %s . numgen inc mod 1 offset %u @peer%u ",
					family == 4 ? "ip" : "ip6", s->far, id, family);
		}
		if (any)
			each_port(s, buf_view(&who), ports, family);
	}
}

static struct str side_text(struct policies *p, struct policy *policy, struct val spec, bool egress)
{
	auto_buf struct buf out = BUF_INIT;
	struct side s = { p, policy, egress ? "daddr" : "saddr", egress ? "to" : "from", egress ? "egress" : "ingress",
		&out };

	for (struct val_iter it = val_iter(val_get(spec, s.entries)); val_next(&it);) {
		rule_text(&s, it.val, 4);
		rule_text(&s, it.val, 6);
	}
	return arena_str(p->arena, buf_view(&out));
}

static bool has_type(struct val spec, const char *type)
{
	for (struct val_iter it = val_iter(val_get(spec, "policyTypes")); val_next(&it);) {
		if (val_is(it.val, type))
			return true;
	}
	return false;
}

static void add_policy(struct policies *p, struct doc *d)
{
	struct val spec = doc_get(d, "spec");
	struct policy *policy = &p->list[p->n];
	struct err ignored;

	err_init(&ignored);
	*policy = (struct policy){
		.ns = arena_str(p->arena, doc_ns(d)), .in = has_type(spec, "Ingress"), .out = has_type(spec, "Egress")
	};
	/* A policy without a readable selector would select nothing; the API lets none through. */
	if (selector_of(p->arena, val_get(spec, "podSelector"), &policy->pods, &ignored) < 0)
		return;
	policy->rules[0] = side_text(p, policy, spec, false);
	policy->rules[1] = side_text(p, policy, spec, true);
	p->n++;
}

void policies_set(struct policies *p, struct doc **list, size_t n)
{
	arena_reset(p->arena);
	map_clear(p->names);
	p->list = ARENA_ARRAY(p->arena, struct policy, n + 1);
	p->n = 0;
	p->peers = NULL;
	p->n_peers = p->cap_peers = 0;
	for (size_t i = 0; i < n; i++) {
		doc_hold(p->arena, doc_ref(list[i])); /* selectors may point into it */
		add_policy(p, list[i]);
	}
}

/* ---- chains and who uses them ---------------------------------------------------------------- */

static struct chain *need_chain(struct policies *p, struct str rules)
{
	struct chain *c = map_get(p->chains, rules);

	if (!c) {
		c = xcalloc(1, sizeof(*c));
		snprintf(c->name, sizeof(c->name), "policy-%u", ++p->last_chain);
		c->rules = str_dup(rules);
		map_put(p->chains, rules, c);
	}
	c->users++;
	return c;
}

static void leave_chain(struct policies *p, struct chain *c)
{
	if (!c || --c->users)
		return;
	if (c->told)
		map_put(p->unused, str_c(c->name), p);
	map_del(p->chains, str_c(c->rules));
}

static void use_chains(struct policies *p, struct str owner, struct chain *in, struct chain *out)
{
	struct user *u = map_get(p->users, owner);
	struct user before = u ? *u : (struct user){ 0 };

	if (!u && (in || out)) {
		u = xcalloc(1, sizeof(*u));
		map_put(p->users, owner, u);
	}
	if (u)
		*u = (struct user){ { in, out } };
	leave_chain(p, before.chains[0]);
	leave_chain(p, before.chains[1]);
	if (u && !in && !out)
		map_del(p->users, owner);
}

void policies_forget(struct policies *p, struct str owner)
{
	use_chains(p, owner, NULL, NULL);
}

size_t policies_new_chains(struct policies *p, struct arena *a, struct policy_chain **ret)
{
	struct policy_chain *list = ARENA_ARRAY(a, struct policy_chain, map_len(p->chains) + 1);
	struct str key;
	void *value;
	size_t n = 0;

	for (size_t i = 0; map_next(p->chains, &i, &key, &value);) {
		struct chain *c = value;

		if (c->told)
			continue;
		c->told = true;
		list[n++] = (struct policy_chain){ c->name, c->rules };
	}
	*ret = list;
	return n;
}

size_t policies_old_chains(struct policies *p, struct arena *a, const char *const **ret)
{
	const char **list = ARENA_ARRAY(a, const char *, map_len(p->unused) + 1);
	struct str key;
	void *value;
	size_t n = 0;

	for (size_t i = 0; map_next(p->unused, &i, &key, &value);)
		list[n++] = arena_cstr(a, key);
	map_clear(p->unused);
	*ret = list;
	return n;
}

/* ---- one pod --------------------------------------------------------------------------------- */

/* The chain for all policies that select the pod in that direction. NULL: none does. */
static struct chain *chain_of(struct policies *p, struct val pod, bool egress)
{
	struct str ns = val_str(val_path(pod, "metadata.namespace"));
	struct val labels = val_path(pod, "metadata.labels");
	auto_buf struct buf rules = BUF_INIT;
	bool any = false;

	for (size_t i = 0; i < p->n; i++) {
		const struct policy *policy = &p->list[i];

		if (!(egress ? policy->out : policy->in) || !str_eq(policy->ns, ns) ||
			!selector_matches(policy->pods, labels))
			continue;
		any = true;
		buf_str(&rules, policy->rules[egress]);
	}
	if (!any)
		return NULL;
	buf_c(&rules, "drop\n");
	return need_chain(p, buf_view(&rules));
}

static bool peer_is(const struct peer *peer, struct str ns, struct val ns_labels, struct val labels)
{
	if (peer->namespaces ? !selector_matches(peer->namespaces, ns_labels) : !str_eq(peer->ns, ns))
		return false;
	return !peer->pods || selector_matches(peer->pods, labels);
}

static void add_peer(struct arena *a, struct compiled *ret, struct ip ip, uint32_t id)
{
	struct fields key = { 0 };

	fields_add_ip(&key, ip);
	fields_add_number(&key, id);
	compiled_add(a, ret, MAP_PEER, ip.family, &key, STR_NULL);
}

static void peer_facts(
	struct policies *p, struct arena *a, struct val pod, struct val ns_labels, struct ip ip, struct compiled *ret)
{
	struct str ns = val_str(val_path(pod, "metadata.namespace"));
	struct val labels = val_path(pod, "metadata.labels");

	for (size_t i = 0; i < p->n_peers; i++) {
		if (peer_is(&p->peers[i], ns, ns_labels, labels))
			add_peer(a, ret, ip, p->peers[i].id);
	}
}

static void port_fact(struct policies *p, struct arena *a, struct val port, struct ip ip, struct compiled *ret)
{
	struct str name = val_str(val_get(port, "name"));
	uintptr_t id = name.n ? (uintptr_t)map_get(p->names, name) : 0;
	int64_t number = val_int(val_get(port, "containerPort"), 0);
	struct fields key = { 0 };

	if (!id || number < 1 || number > 65535)
		return;
	fields_add_ip(&key, ip);
	fields_add_proto(&key, compile_proto(port));
	fields_add_port(&key, (int)number);
	fields_add_number(&key, (uint32_t)id);
	compiled_add(a, ret, MAP_NAMED, ip.family, &key, STR_NULL);
}

static void port_facts(struct policies *p, struct arena *a, struct val pod, struct ip ip, struct compiled *ret)
{
	static const char *const lists[] = { "spec.initContainers", "spec.containers" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		for (struct val_iter c = val_iter(val_path(pod, lists[i])); val_next(&c);) {
			for (struct val_iter it = val_iter(val_get(c.val, "ports")); val_next(&it);)
				port_fact(p, a, it.val, ip, ret);
		}
	}
}

static void isolate(struct arena *a, struct compiled *ret, enum element_map map, struct ip ip, const struct chain *c)
{
	struct fields key = { 0 };

	if (!c)
		return;
	fields_add_ip(&key, ip);
	compiled_add(a, ret, map, ip.family, &key, arena_str(a, str_c(c->name)));
}

void policies_compile(struct policies *p, struct arena *a, struct str owner, struct val pod, const struct ip *ips,
	size_t n_ips, struct val ns_labels, struct compiled *ret)
{
	struct val phase = val_path(pod, "status.phase");

	if (p->n == 0 || val_bool(val_path(pod, "spec.hostNetwork"), false) || val_is(phase, "Succeeded") ||
		val_is(phase, "Failed")) {
		policies_forget(p, owner);
		return;
	}
	struct chain *in = chain_of(p, pod, false), *out = chain_of(p, pod, true);
	for (size_t i = 0; i < n_ips; i++) {
		isolate(a, ret, MAP_ISO_IN, ips[i], in);
		isolate(a, ret, MAP_ISO_OUT, ips[i], out);
		peer_facts(p, a, pod, ns_labels, ips[i], ret);
		port_facts(p, a, pod, ips[i], ret);
	}
	use_chains(p, owner, in, out);
}

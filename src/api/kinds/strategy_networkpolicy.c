/* NetworkPolicies: peers, ports and address blocks make sense. */
#include "api/api_internal.h"

static void validate_policy_port(struct rq *rq, struct val p, const char *path, struct err *e)
{
	static const char *const protocols[] = { "TCP", "UDP", "SCTP", NULL };
	struct val port = val_get(p, "port"), end = val_get(p, "endPort");
	const char *at = rq_f(rq, "%s.port", path), *end_at = rq_f(rq, "%s.endPort", path);
	struct str protocol = val_str(val_get(p, "protocol"));

	if (protocol.n && !is_one_of(protocols, protocol))
		v_unsupported(e, rq_f(rq, "%s.protocol", path), protocol, protocols);
	if (!val_has(port)) {
		if (val_has(end))
			v_invalid(e, end_at, end, "may not be specified when `port` is not specified");
		return;
	}
	if (val_kind(port) == VAL_STR) {
		if (val_has(end))
			v_invalid(e, end_at, end, "may not be specified when `port` is non-numeric");
		validate_port_name(e, at, val_str(port));
		return;
	}
	validate_port(e, at, port);
	if (!val_has(end))
		return;
	if (val_int(end, 0) < val_int(port, 0))
		v_invalid(e, end_at, port, "must be greater than or equal to `port`");
	validate_port(e, end_at, end);
}

static void validate_block(struct rq *rq, struct val block, const char *path, struct err *e)
{
	static const char wrong[] = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
	struct str cidr = val_str(val_get(block, "cidr"));
	const char *at = rq_f(rq, "%s.cidr", path);

	if (!cidr.n) {
		v_required(e, at, "");
		return;
	}
	if (!ipalloc_is_cidr(cidr)) {
		v_invalid_str(e, at, cidr, wrong);
		return;
	}
	for (struct val_iter it = val_iter(val_get(block, "except")); val_next(&it);) {
		const char *except_at = rq_f(rq, "%s.except[%zu]", path, it.i);

		if (!ipalloc_is_cidr(val_str(it.val)))
			v_invalid_str(e, except_at, val_str(it.val), wrong);
		else if (!ipalloc_is_part(val_str(it.val), cidr))
			v_invalid_str(e, except_at, val_str(it.val), "must be a strict subset of `cidr`");
	}
}

static void validate_peer(struct rq *rq, struct val peer, const char *path, struct err *e)
{
	struct val pods = val_get(peer, "podSelector"), namespaces = val_get(peer, "namespaceSelector"),
		   block = val_get(peer, "ipBlock");

	if (val_has(pods))
		validate_label_selector(rq, pods, rq_f(rq, "%s.podSelector", path), e);
	if (val_has(namespaces))
		validate_label_selector(rq, namespaces, rq_f(rq, "%s.namespaceSelector", path), e);
	if (val_has(block))
		validate_block(rq, block, rq_f(rq, "%s.ipBlock", path), e);
	if (!val_has(pods) && !val_has(namespaces) && !val_has(block))
		v_required(e, path, "must specify a peer");
	else if (val_has(block) && (val_has(pods) || val_has(namespaces)))
		v_forbidden(e, path, "may not specify both ipBlock and another peer");
}

static void validate_rules(struct rq *rq, struct val rules, const char *path, const char *peers, struct err *e)
{
	for (struct val_iter r = val_iter(rules); val_next(&r);) {
		const char *at = rq_f(rq, "%s[%zu]", path, r.i);

		for (struct val_iter it = val_iter(val_get(r.val, "ports")); val_next(&it);)
			validate_policy_port(rq, it.val, rq_f(rq, "%s.ports[%zu]", at, it.i), e);
		for (struct val_iter it = val_iter(val_get(r.val, peers)); val_next(&it);)
			validate_peer(rq, it.val, rq_f(rq, "%s.%s[%zu]", at, peers, it.i), e);
	}
}

static void networkpolicy_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec");

	(void)old;
	validate_label_selector(rq, val_get(spec, "podSelector"), "spec.podSelector", e);
	validate_rules(rq, val_get(spec, "ingress"), "spec.ingress", "from", e);
	validate_rules(rq, val_get(spec, "egress"), "spec.egress", "to", e);
	if (val_len(val_get(spec, "policyTypes")) > 2)
		v_invalid(e, "spec.policyTypes", val_get(spec, "policyTypes"),
			"may not specify more than two policyTypes");
}

const struct strategy strategy_networkpolicy = { .validate = networkpolicy_validate };

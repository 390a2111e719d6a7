/* Services on their way in. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static bool service_shape_ok(struct node *o, struct rq *rq, struct err *e)
{
	struct node *ports = node_path(o, "spec.ports");

	(void)rq;
	/* Allocation reads these: what is wrong with them is told by the common validation, without allocating. */
	for (size_t i = 0; i < node_len(ports); i++)
		if (node_kind(node_at(ports, i)) != VAL_MAP)
			return false;
	(void)e;
	return true;
}

/* Traffic comes from outside: what externalTrafficPolicy is about. */
static bool reached_from_outside(struct str type, size_t external_ips)
{
	return str_is(type, "NodePort") || str_is(type, "LoadBalancer") || (str_is(type, "ClusterIP") && external_ips);
}

static bool checks_health(struct str type, struct str policy)
{
	return str_is(type, "LoadBalancer") && str_is(policy, "Local");
}

/* What only made sense for the type that the service had goes with it, where the writer did not change it. */
static void drop_what_the_type_had(struct node *spec, struct val old)
{
	struct val was = val_get(old, "spec");
	struct str type = node_text_str(node_getc(spec, "type")),
		   policy = node_text_str(node_getc(spec, "externalTrafficPolicy"));
	bool outside = reached_from_outside(type, node_len(node_getc(spec, "externalIPs")));

	if (!outside && reached_from_outside(val_str(val_get(was, "type")), val_len(val_get(was, "externalIPs"))) &&
		str_eq(policy, val_str(val_get(was, "externalTrafficPolicy"))))
		node_delc(spec, "externalTrafficPolicy");
	if (!checks_health(type, policy) &&
		checks_health(val_str(val_get(was, "type")), val_str(val_get(was, "externalTrafficPolicy"))) &&
		node_int_of(node_getc(spec, "healthCheckNodePort"), 0) ==
			val_int(val_get(was, "healthCheckNodePort"), 0))
		node_delc(spec, "healthCheckNodePort");
}

/* clusterIP and clusterIPs[0] say the same: a writer who knows only the first changes both. */
static void follow_cluster_ip(struct rq *rq, struct node *spec, struct val old)
{
	struct val was = val_get(old, "spec");
	struct str ip = node_text_str(node_getc(spec, "clusterIP"));
	struct node *ips = node_getc(spec, "clusterIPs");

	if (str_eq(ip, val_str(val_get(was, "clusterIP"))) ||
		!node_equal(ips, node_from(rq->a, val_get(was, "clusterIPs"))))
		return;
	if (!ip.n)
		node_delc(spec, "clusterIPs");
	else if (node_len(ips))
		node_replace_at(ips, 0, node_str(rq->a, ip));
}

static int service_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec = node_need_map(o, "spec");

	if (!val_has(old))
		node_setc(o, "status", node_pack(rq->a, "{loadBalancer:{}}"));
	if (rq->sub.n || !service_shape_ok(o, rq, e))
		return 0;
	if (val_has(old)) {
		drop_what_the_type_had(spec, old);
		follow_cluster_ip(rq, spec, old);
	}
	return ipalloc_service(rq, o, old, e);
}

static void check_ports(struct rq *rq, struct val spec, struct err *e)
{
	struct val ports = val_get(spec, "ports");
	bool inside = val_is(val_get(spec, "type"), "ClusterIP");
	size_t n = val_len(ports);

	for (size_t i = 0; i < n; i++) {
		struct val p = val_at(ports, i), port = val_get(p, "port"), protocol = val_get(p, "protocol");
		struct str name = val_str(val_get(p, "name"));
		char *at = rq_f(rq, "spec.ports[%zu]", i);
		if (n > 1 && !name.n)
			v_required(e, rq_f(rq, "%s.name", at), "");
		if (name.n)
			validate_name(e, rq_f(rq, "%s.name", at), name, NAME_LABEL);
		if (val_has(val_get(p, "targetPort")))
			validate_port_or_name(e, rq_f(rq, "%s.targetPort", at), val_get(p, "targetPort"));
		if (inside && val_int(val_get(p, "nodePort"), 0))
			v_forbidden(e, rq_f(rq, "%s.nodePort", at), "may not be used when `type` is 'ClusterIP'");
		for (size_t k = 0; k < i; k++) {
			struct val q = val_at(ports, k);
			if (name.n && str_eq(name, val_str(val_get(q, "name"))))
				v_duplicate(e, rq_f(rq, "%s.name", at), name);
			if (val_equal(port, val_get(q, "port")) && val_equal(protocol, val_get(q, "protocol")))
				err_cause(e, "FieldValueDuplicate", at,
					"Duplicate value: {\"protocol\":%.*s,\"port\":%.*s}",
					STR_ARG(val_text(protocol)), STR_ARG(val_text(port)));
		}
	}
}

static void check_outside(struct rq *rq, struct val spec, struct err *e)
{
	struct str type = val_str(val_get(spec, "type")), policy = val_str(val_get(spec, "externalTrafficPolicy"));
	struct val ips = val_get(spec, "externalIPs"), ranges = val_get(spec, "loadBalancerSourceRanges"),
		   health = val_get(spec, "healthCheckNodePort");
	bool balanced = str_is(type, "LoadBalancer");

	for (size_t i = 0; i < val_len(ips); i++)
		validate_endpoint_ip(e, rq_f(rq, "spec.externalIPs[%zu]", i), val_str(val_at(ips, i)));
	if (policy.n && !reached_from_outside(type, val_len(ips)))
		v_invalid_str(
			e, "spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
	if (val_int(health, 0) && !checks_health(type, policy))
		v_invalid(e, "spec.healthCheckNodePort", health,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
	if (val_len(ranges) && !balanced)
		v_forbidden(e, "spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'");
	for (size_t i = 0; balanced && i < val_len(ranges); i++)
		validate_cidr(e, rq_f(rq, "spec.LoadBalancerSourceRanges[%zu]", i), val_str(val_at(ranges, i)));
}

static void external_name(struct val spec, struct err *e)
{
	static const char no[] = "may not be set for ExternalName services";
	struct str name = val_str(val_get(spec, "externalName"));

	if (val_len(val_get(spec, "ipFamilies")))
		v_forbidden(e, "spec.ipFamilies", no);
	if (val_has(val_get(spec, "ipFamilyPolicy")))
		v_forbidden(e, "spec.ipFamilyPolicy", no);

	if (str_ends(name, STR(".")))
		name.n--;
	if (name.n)
		validate_name(e, "spec.externalName", name, NAME_SUBDOMAIN);
	else
		v_required(e, "spec.externalName", "");
}

static void service_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec");
	struct str type = val_str(val_get(spec, "type")), ip = val_str(val_get(spec, "clusterIP"));
	bool external = str_is(type, "ExternalName");

	if (rq->sub.n)
		return;
	if (external)
		external_name(spec, e);
	if (external && ip.n)
		v_forbidden(e, "spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'");
	if (!external && !val_len(val_get(spec, "ports")) && !str_is(ip, "None"))
		v_required(e, "spec.ports", "");
	if (str_is(ip, "None") && (str_is(type, "NodePort") || str_is(type, "LoadBalancer")))
		v_invalid_str(e, "spec.clusterIPs[0]", ip,
			rq_f(rq, "may not be set to 'None' for %.*s services", STR_ARG(type)));
	if (val_has(old))
		families_validate_update(rq, spec, val_get(old, "spec"), e);
	check_ports(rq, spec, e);
	validate_labels(rq, val_get(spec, "selector"), "spec.selector", e);
	check_outside(rq, spec, e);
}

const struct strategy strategy_service = {
	.prepare = service_prepare, .validate = service_validate, .warn = warn_service
};

/* Services on their way in. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

/* Traffic comes from outside: what externalTrafficPolicy is about. */
static bool reached_from_outside(struct str type, size_t external_ips)
{
	return str_is(type, "NodePort") || str_is(type, "LoadBalancer") || (str_is(type, "ClusterIP") && external_ips);
}

static bool checks_health(struct str type, struct str policy)
{
	return str_is(type, "LoadBalancer") && str_is(policy, "Local");
}

static bool is_balanced(struct str type)
{
	return str_is(type, "LoadBalancer");
}

/* ---- what is left out, or says nothing any more ---------------------------------------------- */

static bool same(struct rq *rq, struct node *spec, struct val was, const char *key)
{
	struct node *now = node_getc(spec, key);
	struct val v = val_get(was, key);

	return val_has(v) ? now && node_equal(now, node_from(rq->a, v)) : !now;
}

static bool has_node_port(struct val ports, int64_t port)
{
	for (struct val_iter it = val_iter(ports); val_next(&it);)
		if (val_int(val_get(it.val, "nodePort"), 0) == port)
			return true;
	return false;
}

/* Ports may come, go and change, but none of their node ports is new. */
static bool only_old_node_ports(struct node *ports, struct val were)
{
	for (size_t i = 0; i < node_len(ports); i++) {
		int64_t port = node_int_of(node_getc(node_at(ports, i), "nodePort"), 0);

		if (port && !has_node_port(were, port))
			return false;
	}
	return true;
}

static void drop_addresses(struct rq *rq, struct node *spec, struct val was)
{
	static const char *const families[] = { "ipFamilies", "ipFamilyPolicy" };

	if (same(rq, spec, was, "clusterIP") && same(rq, spec, was, "clusterIPs")) {
		node_delc(spec, "clusterIP");
		node_delc(spec, "clusterIPs");
	}
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (same(rq, spec, was, families[i]))
			node_delc(spec, families[i]);
}

static void drop_node_ports(struct node *spec, struct val was)
{
	struct node *ports = node_getc(spec, "ports");

	if (!only_old_node_ports(ports, val_get(was, "ports")))
		return;
	for (size_t i = 0; i < node_len(ports); i++)
		node_delc(node_at(ports, i), "nodePort");
}

/* What only made sense for the type that the service had goes with it, where the writer did not change it. */
static void drop_what_the_type_had(struct rq *rq, struct node *o, struct val old)
{
	static const char *const of_balancers[] = { "allocateLoadBalancerNodePorts", "loadBalancerClass" };
	struct node *spec = node_getc(o, "spec");
	struct val was = val_get(old, "spec");
	struct str type = node_text_str(node_getc(spec, "type")), had = val_str(val_get(was, "type")),
		   policy = node_text_str(node_getc(spec, "externalTrafficPolicy"));
	bool outside = reached_from_outside(type, node_len(node_getc(spec, "externalIPs"))),
	     ports = str_is(type, "NodePort") || is_balanced(type);

	if (str_is(type, "ExternalName") && !str_is(had, "ExternalName"))
		drop_addresses(rq, spec, was);
	if (!ports && (str_is(had, "NodePort") || is_balanced(had)))
		drop_node_ports(spec, was);
	if (!checks_health(type, policy) && checks_health(had, val_str(val_get(was, "externalTrafficPolicy"))) &&
		same(rq, spec, was, "healthCheckNodePort"))
		node_delc(spec, "healthCheckNodePort");
	for (size_t i = 0; i < ARRAY_LEN(of_balancers); i++)
		if (is_balanced(had) && !is_balanced(type) && same(rq, spec, was, of_balancers[i]))
			node_delc(spec, of_balancers[i]);
	if (!outside && reached_from_outside(had, val_len(val_get(was, "externalIPs"))) &&
		same(rq, spec, was, "externalTrafficPolicy"))
		node_delc(spec, "externalTrafficPolicy");
	if (!is_balanced(type))
		node_set_path(o, "status.loadBalancer", node_map(rq->a));
}

/* clusterIP and clusterIPs[0] say the same: a writer who knows only the first changes both. */
static void follow_cluster_ip(struct rq *rq, struct node *spec, struct val was)
{
	struct str ip = node_text_str(node_getc(spec, "clusterIP"));
	struct node *ips = node_getc(spec, "clusterIPs");

	if (str_eq(ip, val_str(val_get(was, "clusterIP"))) || !same(rq, spec, was, "clusterIPs"))
		return;
	if (!ip.n)
		node_delc(spec, "clusterIPs");
	else if (node_len(ips))
		node_replace_at(ips, 0, node_str(rq->a, ip));
}

/* What the writer left out is as it was; who knows only clusterIP means clusterIPs too. */
static void complete_ips(struct rq *rq, struct node *spec, struct val was)
{
	struct str had = val_str(val_get(was, "clusterIP")), ip = node_text_str(node_getc(spec, "clusterIP"));
	struct val ips = val_get(was, "clusterIPs");

	if (!ip.n && had.n && !node_len(node_getc(spec, "clusterIPs")))
		node_setc(spec, "clusterIP", node_str(rq->a, had));
	ip = node_text_str(node_getc(spec, "clusterIP"));
	if (!ip.n || node_len(node_getc(spec, "clusterIPs")))
		return;
	node_setc(spec, "clusterIPs",
		val_len(ips) && str_eq(ip, had) ? node_from(rq->a, ips) : node_pack(rq->a, "[S]", ip));
}

static int service_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec = node_need_map(o, "spec");
	struct val was = val_get(old, "spec");

	(void)e;
	if (!val_has(old))
		node_setc(o, "status", node_pack(rq->a, "{loadBalancer:{}}"));
	if (rq->sub.n)
		return 0;
	if (val_has(old)) {
		follow_cluster_ip(rq, spec, was);
		drop_what_the_type_had(rq, o, old);
	}
	if (!str_is(node_text_str(node_getc(spec, "type")), "ExternalName"))
		complete_ips(rq, spec, val_is(val_get(was, "type"), "ExternalName") ? VAL_NONE : was);
	return 0;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* Whether an earlier port has the same number of this name, for the same protocol. */
static bool is_again(struct val ports, size_t i, const char *number)
{
	struct val p = val_at(ports, i), n = val_get(p, number);

	for (size_t k = 0; k < i; k++)
		if (val_equal(n, val_get(val_at(ports, k), number)) &&
			val_equal(val_get(p, "protocol"), val_get(val_at(ports, k), "protocol")))
			return true;
	return false;
}

static bool is_named_before(struct val ports, size_t i, struct str name)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(name, val_str(val_get(val_at(ports, k), "name"))))
			return true;
	return false;
}

static void check_port(struct rq *rq, struct val ports, size_t i, struct err *e)
{
	struct val p = val_at(ports, i), target = val_get(p, "targetPort"), app = val_get(p, "appProtocol");
	struct str name = val_str(val_get(p, "name"));
	char *at = rq_f(rq, "spec.ports[%zu]", i);

	if (name.n)
		validate_name(e, rq_f(rq, "%s.name", at), name, NAME_LABEL);
	else if (val_len(ports) > 1)
		v_required(e, rq_f(rq, "%s.name", at), "");
	if (name.n && is_named_before(ports, i, name))
		v_duplicate(e, rq_f(rq, "%s.name", at), name);
	if (val_has(target))
		validate_port_or_name(e, rq_f(rq, "%s.targetPort", at), target);
	if (val_has(app))
		validate_qualified(e, rq_f(rq, "%s.appProtocol", at), val_str(app));
}

static void check_ports(struct rq *rq, struct val spec, struct err *e)
{
	struct val ports = val_get(spec, "ports");
	bool inside = val_is(val_get(spec, "type"), "ClusterIP");
	size_t n = val_len(ports);

	for (size_t i = 0; i < n; i++)
		check_port(rq, ports, i, e);
	for (size_t i = 0; i < n; i++) {
		struct val p = val_at(ports, i);
		int64_t port = val_int(val_get(p, "nodePort"), 0);
		char *at = rq_f(rq, "spec.ports[%zu].nodePort", i);

		if (inside && port)
			v_forbidden(e, at, "may not be used when `type` is 'ClusterIP'");
		if (port && is_again(ports, i, "nodePort"))
			err_cause(e, "FieldValueDuplicate", at, "Duplicate value: %lld", (long long)port);
	}
	for (size_t i = 0; i < n; i++)
		if (is_again(ports, i, "port"))
			err_cause(e, "FieldValueDuplicate", rq_f(rq, "spec.ports[%zu]", i),
				"Duplicate value: {\"Name\":\"\",\"Protocol\":%.*s,\"AppProtocol\":null,\"Port\":%.*s,\"TargetPort\":0,\"NodePort\":0}",
				STR_ARG(val_text(val_get(val_at(ports, i), "protocol"))),
				STR_ARG(val_text(val_get(val_at(ports, i), "port"))));
}

/* ---- load balancers -------------------------------------------------------------------------- */

static const char only_balanced[] = "may only be used when `type` is 'LoadBalancer'";

/* Named by the field, or by the annotation that came before it. */
static void check_ranges(struct rq *rq, struct val o, bool balanced, struct err *e)
{
	static const char key[] = "service.beta.kubernetes.io/load-balancer-source-ranges";
	static const char noted_at[] = "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]";
	struct val ranges = val_path(o, "spec.loadBalancerSourceRanges"),
		   noted = val_get(val_path(o, "metadata.annotations"), key);
	struct str rest = str_trim(val_str(noted));

	if (!balanced && (val_len(ranges) || val_has(noted)))
		v_forbidden(e, val_len(ranges) ? "spec.LoadBalancerSourceRanges" : noted_at, only_balanced);
	for (struct val_iter it = val_iter(ranges); val_next(&it);)
		validate_cidr(e, rq_f(rq, "spec.LoadBalancerSourceRanges[%zu]", it.i), str_trim(val_str(it.val)));
	for (struct str part; !val_len(ranges) && rest.n && str_next(&rest, ',', &part);)
		validate_cidr(e, noted_at, str_trim(part));
}

static void check_class(struct val spec, struct val was, bool balanced, struct err *e)
{
	struct val class = val_get(spec, "loadBalancerClass"), had = val_get(was, "loadBalancerClass");
	bool stays = balanced && is_balanced(val_str(val_get(was, "type")));

	if (stays && (val_has(class) || val_has(had)) && !val_equal(class, had)) {
		if (val_has(class))
			v_invalid(e, "spec.loadBalancerClass", class, "may not change once set");
		else
			v_invalid_str(e, "spec.loadBalancerClass", STR("null"), "may not change once set");
	}
	if (val_has(class) && balanced)
		validate_qualified(e, "spec.loadBalancerClass", val_str(class));
	else if (val_has(class))
		v_forbidden(e, "spec.loadBalancerClass", only_balanced);
}

static void check_health_port(struct val spec, struct val was, struct err *e)
{
	struct val health = val_get(spec, "healthCheckNodePort"), had = val_get(was, "healthCheckNodePort");
	bool checks = checks_health(val_str(val_get(spec, "type")), val_str(val_get(spec, "externalTrafficPolicy")));
	bool checked = checks_health(val_str(val_get(was, "type")), val_str(val_get(was, "externalTrafficPolicy")));

	/* none: it is as it was */
	if (checks && checked && val_int(health, 0) && val_int(health, 0) != val_int(had, 0))
		v_forbidden(e, "spec.healthCheckNodePort", "field is immutable");
	if (!checks && val_int(health, 0))
		v_invalid(e, "spec.healthCheckNodePort", health,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
}

static void check_balancer(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), was = val_get(old, "spec");
	bool balanced = is_balanced(val_str(val_get(spec, "type")));

	check_ranges(rq, o, balanced, e);
	if (!balanced && val_has(val_get(spec, "allocateLoadBalancerNodePorts")))
		v_forbidden(e, "spec.allocateLoadBalancerNodePorts", only_balanced);
	check_class(spec, was, balanced, e);
	check_health_port(spec, was, e);
}

/* What is told of a load balancer's places. */
static void check_status(struct rq *rq, struct val o, struct err *e)
{
	struct val ingress = val_path(o, "status.loadBalancer.ingress");

	if (val_len(ingress) && !is_balanced(val_str(val_path(o, "spec.type")))) {
		v_forbidden(e, "status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
		return;
	}
	for (struct val_iter it = val_iter(ingress); val_next(&it);) {
		struct str ip = val_str(val_get(it.val, "ip")), mode = val_str(val_get(it.val, "ipMode")),
			   host = val_str(val_get(it.val, "hostname"));
		char *at = rq_f(rq, "status.loadBalancer.ingress[%zu]", it.i), *host_at = rq_f(rq, "%s.hostname", at);
		struct err none;

		if (ip.n)
			validate_ip(e, rq_f(rq, "%s.ip", at), ip);
		if (mode.n && !ip.n)
			v_forbidden(e, rq_f(rq, "%s.ipMode", at), "may not be specified when `ip` is not set");
		if (!host.n)
			continue;
		validate_name(e, host_at, host, NAME_SUBDOMAIN);
		err_init(&none);
		if (validate_ip(&none, host_at, host))
			v_invalid_str(e, host_at, host, "must be a DNS name, not an IP address");
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void check_traffic(struct rq *rq, struct val spec, struct err *e)
{
	static const char *const spreads[] = { "PreferClose", "PreferSameZone", "PreferSameNode", NULL };
	struct str type = val_str(val_get(spec, "type")), policy = val_str(val_get(spec, "externalTrafficPolicy"));
	struct val ips = val_get(spec, "externalIPs"), spread = val_get(spec, "trafficDistribution");

	for (size_t i = 0; i < val_len(ips); i++)
		validate_endpoint_ip(e, rq_f(rq, "spec.externalIPs[%zu]", i), val_str(val_at(ips, i)));
	if (policy.n && !reached_from_outside(type, val_len(ips)))
		v_invalid_str(
			e, "spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
	if (val_has(spread) && !is_one_of(spreads, val_str(spread)))
		v_unsupported(e, "spec.trafficDistribution", val_str(spread), spreads);
}

static void external_name(struct val spec, struct err *e)
{
	static const char no[] = "may not be set for ExternalName services";
	struct str name = val_str(val_get(spec, "externalName"));

	if (val_str(val_get(spec, "clusterIP")).n || val_len(val_get(spec, "clusterIPs")))
		v_forbidden(e, "spec.clusterIPs", no);
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

static void check_topology(struct val notes, struct err *e)
{
	struct val mode = val_get(notes, "service.kubernetes.io/topology-mode"),
		   hints = val_get(notes, "service.kubernetes.io/topology-aware-hints");

	if (val_has(mode) && val_has(hints) && !val_equal(mode, hints))
		v_invalid(e, "metadata.annotations[service.kubernetes.io/topology-mode]", mode,
			"must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified");
}

static void service_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec");
	struct str type = val_str(val_get(spec, "type")), ip = val_str(val_get(spec, "clusterIP"));
	bool external = str_is(type, "ExternalName");

	if (rq->sub.n) {
		check_status(rq, o, e);
		return;
	}
	check_topology(val_path(o, "metadata.annotations"), e);
	if (!external && !val_len(val_get(spec, "ports")) && !str_is(ip, "None"))
		v_required(e, "spec.ports", "");
	if (external)
		external_name(spec, e);
	if (str_is(ip, "None") && (str_is(type, "NodePort") || is_balanced(type)))
		v_invalid_str(e, "spec.clusterIPs[0]", ip,
			rq_f(rq, "may not be set to 'None' for %.*s services", STR_ARG(type)));
	if (val_has(old))
		families_validate_update(rq, spec, val_get(old, "spec"), e);
	check_ports(rq, spec, e);
	validate_labels(rq, val_get(spec, "selector"), "spec.selector", e);
	check_traffic(rq, spec, e);
	check_balancer(rq, o, old, e);
}

const struct strategy strategy_service = {
	.prepare = service_prepare, .validate = service_validate, .claim = ipalloc_service, .warn = warn_service
};

/* Services, Endpoints, EndpointSlices, Ingresses. */
#include "api/api_internal.h"
#include <arpa/inet.h>
#define LOG_MODULE "api"

static bool is_ip(struct str s)
{
	unsigned char b[16];
	char text[64];

	if (!s.n || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	return inet_pton(AF_INET, text, b) == 1 || inet_pton(AF_INET6, text, b) == 1;
}

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

static int service_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	if (!val_has(old))
		node_setc(o, "status", node_pack(rq->a, "{loadBalancer:{}}"));
	if (rq->sub.n || !service_shape_ok(o, rq, e))
		return 0;
	return ipalloc_service(rq, o, old, e);
}

static void check_ports(struct rq *rq, struct val spec, struct err *e)
{
	struct val ports = val_get(spec, "ports");
	size_t n = val_len(ports);

	for (size_t i = 0; i < n; i++) {
		struct val p = val_at(ports, i);
		struct str name = val_str(val_get(p, "name"));
		char *at = rq_f(rq, "spec.ports[%zu]", i);
		const char *why = name.n ? name_wrong(name, NAME_LABEL, false) : NULL;
		if (n > 1 && !name.n)
			v_required(e, rq_f(rq, "%s.name", at), "");
		if (why)
			v_invalid_str(e, rq_f(rq, "%s.name", at), name, why);
		struct val target = val_get(p, "targetPort");
		if (val_kind(target) == VAL_INT && (val_int(target, 0) < 1 || val_int(target, 0) > 65535))
			v_invalid(e, rq_f(rq, "%s.targetPort", at), target, "must be between 1 and 65535, inclusive");
		for (size_t k = 0; k < i; k++) {
			struct val q = val_at(ports, k);
			if (name.n && str_eq(name, val_str(val_get(q, "name"))))
				v_duplicate(e, rq_f(rq, "%s.name", at), name);
			if (val_equal(val_get(p, "port"), val_get(q, "port")) &&
				val_equal(val_get(p, "protocol"), val_get(q, "protocol")))
				v_duplicate(e, at, val_text(val_get(p, "port")));
		}
	}
}

static void service_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec");
	struct str type = val_str(val_get(spec, "type")), ip = val_str(val_get(spec, "clusterIP"));
	struct str old_ip = val_str(val_path(old, "spec.clusterIP"));
	bool external = str_is(type, "ExternalName");

	if (rq->sub.n)
		return;
	if (external && !val_str(val_get(spec, "externalName")).n)
		v_required(e, "spec.externalName", "");
	if (external && ip.n)
		v_forbidden(e, "spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'");
	if (!external && !val_len(val_get(spec, "ports")) && !str_is(ip, "None"))
		v_required(e, "spec.ports", "");
	if (str_is(ip, "None") && (str_is(type, "NodePort") || str_is(type, "LoadBalancer")))
		v_invalid_str(e, "spec.clusterIPs[0]", ip, rq_f(rq, "may not be set to 'None' for %.*s services", STR_ARG(type)));
	if (old_ip.n && !external && !val_is(val_path(old, "spec.type"), "ExternalName") && !str_eq(ip, old_ip))
		v_invalid_str(e, "spec.clusterIPs[0]", ip, rq_f(rq, "may not change once set"));
	check_ports(rq, spec, e);
	validate_labels(rq, val_get(spec, "selector"), "spec.selector", e);
	for (size_t i = 0; i < val_len(val_get(spec, "externalIPs")); i++) {
		struct str x = val_str(val_at(val_get(spec, "externalIPs"), i));
		if (!is_ip(x))
			v_invalid_str(e, rq_f(rq, "spec.externalIPs[%zu]", i), x, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	}
}

const struct strategy strategy_service = { .prepare = service_prepare, .validate = service_validate };

static void endpoints_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val subsets = val_get(o, "subsets");

	(void)old;
	for (size_t i = 0; i < val_len(subsets); i++) {
		struct val list = val_get(val_at(subsets, i), "addresses");
		for (size_t k = 0; k < val_len(list); k++)
			if (!is_ip(val_str(val_get(val_at(list, k), "ip"))))
				v_invalid_str(e, rq_f(rq, "subsets[%zu].addresses[%zu].ip", i, k), val_str(val_get(val_at(list, k), "ip")),
					"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	}
}

static void slice_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val list = val_get(o, "endpoints");
	bool fqdn = val_is(val_get(o, "addressType"), "FQDN");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val addresses = val_get(val_at(list, i), "addresses");
		if (!val_len(addresses))
			v_required(e, rq_f(rq, "endpoints[%zu].addresses", i), "must contain at least 1 address");
		for (size_t k = 0; !fqdn && k < val_len(addresses); k++)
			if (!is_ip(val_str(val_at(addresses, k))))
				v_invalid_str(e, rq_f(rq, "endpoints[%zu].addresses[%zu]", i, k), val_str(val_at(addresses, k)),
					"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	}
	if (val_has(old))
		validate_immutable(e, "addressType", val_get(o, "addressType"), val_get(old, "addressType"));
}

static void ingress_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val rules = val_path(o, "spec.rules");

	(void)old;
	if (rq->sub.n)
		return;
	if (!val_len(rules) && !val_has(val_path(o, "spec.defaultBackend")))
		v_invalid_str(e, "spec", STR(""), "either `defaultBackend` or `rules` must be specified");
	for (size_t i = 0; i < val_len(rules); i++) {
		struct val paths = val_path(val_at(rules, i), "http.paths");
		for (size_t k = 0; k < val_len(paths); k++) {
			struct val p = val_at(paths, k);
			char *at = rq_f(rq, "spec.rules[%zu].http.paths[%zu]", i, k);
			if (!val_str(val_get(p, "pathType")).n)
				v_required(e, rq_f(rq, "%s.pathType", at), "pathType must be specified");
			else if (!val_is(val_get(p, "pathType"), "ImplementationSpecific") &&
				!str_starts(val_str(val_get(p, "path")), STR("/")))
				v_invalid_str(e, rq_f(rq, "%s.path", at), val_str(val_get(p, "path")), "must be an absolute path");
		}
	}
}

static int ingress_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (!val_has(old))
		node_setc(o, "status", node_pack(rq->a, "{loadBalancer:{}}"));
	return 0;
}

const struct strategy strategy_endpoints = { .validate = endpoints_validate, .create_on_update = true };
const struct strategy strategy_slice = { .validate = slice_validate };
const struct strategy strategy_ingress = { .prepare = ingress_prepare, .validate = ingress_validate };

/* Ingresses and their classes on their way in. */
#include "api/api_internal.h"
#include <arpa/inet.h>
#include <ctype.h>

#define WILDCARD                                                                                                                   \
	"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case " \
	"alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for "        \
	"validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

static bool is_address(struct rq *rq, struct str host)
{
	unsigned char room[16];
	const char *text = arena_cstr(rq->a, host);

	return inet_pton(AF_INET, text, room) == 1 || inet_pton(AF_INET6, text, room) == 1;
}

static void host_validate(struct str host, const char *at, struct err *e)
{
	if (!str_has(host, STR("*")))
		validate_name(e, at, host, NAME_SUBDOMAIN);
	else if (!str_starts(host, STR("*.")) || name_wrong(str_sub(host, 2, host.n), NAME_SUBDOMAIN, false))
		v_invalid_str(e, at, host, WILDCARD);
}

/* ---- backends -------------------------------------------------------------------------------- */

static void resource_validate(struct rq *rq, struct val ref, const char *at, struct err *e)
{
	struct str group = val_str(val_get(ref, "apiGroup")), kind = val_str(val_get(ref, "kind")),
		   name = val_str(val_get(ref, "name"));

	if (group.n)
		validate_name(e, rq_f(rq, "%s.apiGroup", at), group, NAME_SUBDOMAIN);
	if (!kind.n)
		v_required(e, rq_f(rq, "%s.kind", at), "kind is required");
	else
		validate_name(e, rq_f(rq, "%s.kind", at), kind, NAME_PATH);
	if (!name.n)
		v_required(e, rq_f(rq, "%s.name", at), "name is required");
	else
		validate_name(e, rq_f(rq, "%s.name", at), name, NAME_PATH);
}

static void service_validate(struct rq *rq, struct val service, const char *backend, struct err *e)
{
	struct val port = val_get(service, "port"), number = val_get(port, "number");
	struct str name = val_str(val_get(service, "name")), port_name = val_str(val_get(port, "name"));

	if (name.n)
		validate_name(e, rq_f(rq, "%s.service.name", backend), name, NAME_LABEL_1035);
	if (!port_name.n && !val_int(number, 0))
		v_required(e, backend, "port name or number is required");
	else if (port_name.n && val_int(number, 0))
		v_invalid_str(e, backend, STR(""), "cannot set both port name & port number");
	else if (port_name.n)
		validate_port_name(e, rq_f(rq, "%s.service.port.name", backend), port_name);
	else
		validate_port(e, rq_f(rq, "%s.service.port.number", backend), number);
}

static void backend_validate(struct rq *rq, struct val backend, const char *at, struct err *e)
{
	struct val resource = val_get(backend, "resource"), service = val_get(backend, "service");

	if (val_has(resource) && val_has(service))
		v_invalid_str(e, at, STR(""), "cannot set both resource and service backends");
	else if (val_has(resource))
		resource_validate(rq, resource, rq_f(rq, "%s.resource", at), e);
	else if (val_has(service))
		service_validate(rq, service, at, e);
	else
		v_invalid_str(e, at, STR(""), "resource or service backend is required");
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void path_text_validate(struct rq *rq, struct val p, const char *at, struct err *e)
{
	static const char *const inside[] = { "//", "/./", "/../", "%2f", "%2F" }, *const ends[] = { "/..", "/." };
	struct str path = val_str(val_get(p, "path"));
	bool any = val_is(val_get(p, "pathType"), "ImplementationSpecific");

	if (!str_starts(path, STR("/")) && (path.n || !any))
		v_invalid_str(e, at, path, "must be an absolute path");
	for (size_t i = 0; !any && i < ARRAY_LEN(inside); i++)
		if (str_has(path, str_c(inside[i])))
			v_invalid_str(e, at, path, rq_f(rq, "must not contain '%s'", inside[i]));
	for (size_t i = 0; !any && i < ARRAY_LEN(ends); i++)
		if (str_ends(path, str_c(ends[i])))
			v_invalid_str(e, at, path, rq_f(rq, "cannot end with '%s'", ends[i]));
}

static void path_validate(struct rq *rq, struct val p, const char *at, struct err *e)
{
	static const char *const types[] = { "Exact", "Prefix", "ImplementationSpecific", NULL };
	struct str type = val_str(val_get(p, "pathType"));

	if (!type.n) {
		v_required(e, rq_f(rq, "%s.pathType", at), "pathType must be specified");
		return;
	}
	if (is_one_of(types, type))
		path_text_validate(rq, p, rq_f(rq, "%s.path", at), e);
	backend_validate(rq, val_get(p, "backend"), rq_f(rq, "%s.backend", at), e);
}

static void rule_validate(struct rq *rq, struct val rule, const char *at, struct err *e)
{
	struct str host = val_str(val_get(rule, "host"));

	if (host.n && is_address(rq, host))
		v_invalid_str(e, rq_f(rq, "%s.host", at), host, "must be a DNS name, not an IP address");
	else if (host.n)
		host_validate(host, rq_f(rq, "%s.host", at), e);
	for (struct val_iter it = val_iter(val_path(rule, "http.paths")); val_next(&it);)
		path_validate(rq, it.val, rq_f(rq, "%s.http.paths[%zu]", at, it.i), e);
}

static void tls_validate(struct rq *rq, struct val tls, const char *at, struct err *e)
{
	struct str secret = val_str(val_get(tls, "secretName"));

	for (struct val_iter it = val_iter(val_get(tls, "hosts")); val_next(&it);)
		host_validate(val_str(it.val), rq_f(rq, "%s.hosts[%zu]", at, it.i), e);
	if (secret.n)
		validate_name(e, rq_f(rq, "%s.secretName", at), secret, NAME_SUBDOMAIN);
}

/* What a controller says of its balancer's places. */
static void places_validate(struct rq *rq, struct val ingress, struct err *e)
{
	for (struct val_iter it = val_iter(ingress); val_next(&it);) {
		struct str ip = val_str(val_get(it.val, "ip")), host = val_str(val_get(it.val, "hostname"));
		char *at = rq_f(rq, "status.loadBalancer.ingress[%zu]", it.i), *host_at = rq_f(rq, "%s.hostname", at);

		if (ip.n)
			validate_ip(e, rq_f(rq, "%s.ip", at), ip);
		if (host.n)
			validate_name(e, host_at, host, NAME_SUBDOMAIN);
		if (is_address(rq, host))
			v_invalid_str(e, host_at, host, "must be a DNS name, not an IP address");
	}
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), rules = val_get(spec, "rules"), backend = val_get(spec, "defaultBackend"),
		   class = val_get(spec, "ingressClassName");

	(void)old;
	if (rq->sub.n) {
		places_validate(rq, val_path(o, "status.loadBalancer.ingress"), e);
		return;
	}
	if (!val_len(rules) && !val_has(backend))
		v_invalid_str(e, "spec", STR(""), "either `defaultBackend` or `rules` must be specified");
	if (val_has(backend))
		backend_validate(rq, backend, "spec.defaultBackend", e);
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		rule_validate(rq, it.val, rq_f(rq, "spec.rules[%zu]", it.i), e);
	for (struct val_iter it = val_iter(val_get(spec, "tls")); val_next(&it);)
		tls_validate(rq, it.val, rq_f(rq, "spec.tls[%zu]", it.i), e);
	if (val_has(class))
		validate_name(e, "spec.ingressClassName", val_str(class), NAME_SUBDOMAIN);
}

static int prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (!val_has(old))
		node_setc(o, "status", node_pack(rq->a, "{loadBalancer:{}}"));
	return 0;
}

/* ---- classes --------------------------------------------------------------------------------- */

#define CONTROLLER_BYTES_MAX 250

static bool path_characters(struct str path)
{
	bool ok = true;

	for (size_t i = 0; i < path.n; i++)
		ok &= isalnum((unsigned char)path.p[i]) || strchr("/-._~%!$&'()*+,;=:", path.p[i]);
	return ok;
}

/* acme.io/foo */
static void controller_validate(struct str controller, struct err *e)
{
	static const char at[] = "spec.controller";
	struct str domain, path = str_cut(controller, '/', &domain);

	if (controller.n > CONTROLLER_BYTES_MAX)
		v_too_long(e, at, CONTROLLER_BYTES_MAX);
	if (!controller.n) {
		v_required(e, at, "");
	} else if (!domain.n || !path.n) {
		v_invalid_str(e, at, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
	} else {
		validate_name(e, at, domain, NAME_SUBDOMAIN);
		if (!path_characters(path))
			v_invalid_str(e, at, path,
				"Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
	}
}

static void parameters_validate(struct rq *rq, struct val parameters, struct err *e)
{
	static const char *const scopes[] = { "Cluster", "Namespace", NULL };
	struct str scope = val_str(val_get(parameters, "scope")), ns = val_str(val_get(parameters, "namespace"));
	bool inside = str_is(scope, "Namespace");

	resource_validate(rq, parameters, "spec.parameters", e);
	if (!is_one_of(scopes, scope))
		v_unsupported(e, "spec.parameters.scope", scope, scopes);
	else if (inside && !ns.n)
		v_required(e, "spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'");
	else if (!inside && val_has(val_get(parameters, "namespace")))
		v_forbidden(e, "spec.parameters.namespace", "`parameters.scope` is set to 'Cluster'");
	else if (inside)
		validate_name(e, "spec.parameters.namespace", ns, NAME_LABEL);
}

static void class_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val parameters = val_path(o, "spec.parameters");

	(void)old;
	controller_validate(val_str(val_path(o, "spec.controller")), e);
	if (val_has(parameters))
		parameters_validate(rq, parameters, e);
}

const struct strategy strategy_ingressclass = { .validate = class_validate };
const struct strategy strategy_ingress = { .prepare = prepare, .validate = validate };

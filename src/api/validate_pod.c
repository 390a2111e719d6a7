/* Pods and pod templates: what the fields demand of each other. Single fields are checked by the schema. */
#include "api/api_internal.h"
#include <ctype.h>
#define LOG_MODULE "api"

static bool env_name_ok(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] > 0x7e || s.p[i] == '=')
			return false;
	return s.n > 0;
}

bool port_name_ok(struct str s)
{
	bool letter = false;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		letter |= c >= 'a' && c <= 'z';
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c != '-' || !i || i + 1 == s.n || s.p[i - 1] == '-'))
			return false;
	}
	return letter && s.n <= 15;
}

static void ports(struct rq *rq, struct val c, const char *at, bool host_network, struct err *e)
{
	struct val list = val_get(c, "ports");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val p = val_at(list, i), host = val_get(p, "hostPort");
		struct str name = val_str(val_get(p, "name"));
		if (name.n && !port_name_ok(name))
			v_invalid_str(e, rq_f(rq, "%s.ports[%zu].name", at, i), name,
				"must contain only alphanumeric characters (a-z, 0-9), and hyphens ('-'), at most 15 of them, with at least one letter");
		for (size_t k = 0; name.n && k < i; k++)
			if (str_eq(name, val_str(val_get(val_at(list, k), "name"))))
				v_duplicate(e, rq_f(rq, "%s.ports[%zu].name", at, i), name);
		if (host_network && val_has(host) && val_int(host, 0) != val_int(val_get(p, "containerPort"), 0))
			v_invalid(e, rq_f(rq, "%s.ports[%zu].containerPort", at, i), val_get(p, "containerPort"),
				"must match `hostPort` when `hostNetwork` is true");
	}
}

static void env(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct val list = val_get(c, "env");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val v = val_at(list, i);
		struct str name = val_str(val_get(v, "name"));
		if (name.n && !env_name_ok(name))
			v_invalid_str(e, rq_f(rq, "%s.env[%zu].name", at, i), name,
				"a valid environment variable name must consist only of printable ASCII characters other than '='");
		if (val_str(val_get(v, "value")).n && val_has(val_get(v, "valueFrom")))
			v_invalid_str(e, rq_f(rq, "%s.env[%zu].valueFrom", at, i), STR(""), "may not be specified when `value` is not empty");
		if (val_has(val_get(v, "valueFrom")) && val_len(val_get(v, "valueFrom")) != 1)
			v_invalid_str(e, rq_f(rq, "%s.env[%zu].valueFrom", at, i), STR(""),
				"must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
	}
}

static bool volume_known(struct val spec, struct str name)
{
	return val_has(val_find(val_get(spec, "volumes"), "name", name));
}

static void mounts(struct rq *rq, struct val spec, struct val c, const char *at, struct err *e)
{
	struct val list = val_get(c, "volumeMounts");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val m = val_at(list, i);
		struct str name = val_str(val_get(m, "name")), path = val_str(val_get(m, "mountPath"));
		if (name.n && !volume_known(spec, name))
			v_not_found(e, rq_f(rq, "%s.volumeMounts[%zu].name", at, i), name);
		for (size_t k = 0; path.n && k < i; k++)
			if (str_eq(path, val_str(val_get(val_at(list, k), "mountPath"))))
				v_invalid_str(e, rq_f(rq, "%s.volumeMounts[%zu].mountPath", at, i), path, "must be unique");
		if (val_str(val_get(m, "subPath")).n && val_str(val_get(m, "subPathExpr")).n)
			v_invalid_str(e, rq_f(rq, "%s.volumeMounts[%zu].subPathExpr", at, i), val_str(val_get(m, "subPathExpr")),
				"subPathExpr and subPath are mutually exclusive");
	}
	list = val_get(c, "volumeDevices");
	for (size_t i = 0; i < val_len(list); i++)
		if (!volume_known(spec, val_str(val_get(val_at(list, i), "name"))))
			v_not_found(e, rq_f(rq, "%s.volumeDevices[%zu].name", at, i), val_str(val_get(val_at(list, i), "name")));
}

static void resources(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct val req = val_path(c, "resources.requests"), lim = val_path(c, "resources.limits");
	struct quantity r, l;

	for (struct val_iter it = val_iter(lim); val_next(&it);)
		if (quantity_of(it.val, &l) && l.value < 0)
			v_invalid(e, rq_f(rq, "%s.resources.limits[%.*s]", at, STR_ARG(it.key)), it.val, "must be greater than or equal to 0");
	for (struct val_iter it = val_iter(req); val_next(&it);) {
		struct val limit = val_get_str(lim, it.key);
		if (!quantity_of(it.val, &r))
			continue;
		if (r.value < 0)
			v_invalid(e, rq_f(rq, "%s.resources.requests[%.*s]", at, STR_ARG(it.key)), it.val,
				"must be greater than or equal to 0");
		if (val_has(limit) && quantity_of(limit, &l) && quantity_cmp(r, l) > 0)
			v_invalid(e, rq_f(rq, "%s.resources.requests", at), it.val,
				rq_f(rq, "must be less than or equal to %.*s limit of %.*s", STR_ARG(it.key), STR_ARG(val_str(limit))));
	}
}

static void handler(struct rq *rq, struct val h, const char *at, struct err *e)
{
	static const char *const kinds[] = { "exec", "httpGet", "tcpSocket", "grpc", "sleep" };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!val_has(val_get(h, kinds[i])))
			continue;
		if (n++)
			v_forbidden(e, rq_f(rq, "%s.%s", at, kinds[i]), "may not specify more than 1 handler type");
	}
	if (!n)
		v_required(e, at, "must specify a handler type");
}

static void probes(struct rq *rq, struct val c, const char *at, bool init_only, struct err *e)
{
	static const char *const names[] = { "livenessProbe", "readinessProbe", "startupProbe" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct val p = val_get(c, names[i]);
		if (!val_has(p))
			continue;
		char *path = rq_f(rq, "%s.%s", at, names[i]);
		if (init_only) {
			v_forbidden(e, path, "may not be set for init containers without restartPolicy=Always");
			continue;
		}
		handler(rq, p, path, e);
		if (i != 1 && val_int(val_get(p, "successThreshold"), 1) != 1)
			v_invalid(e, rq_f(rq, "%s.successThreshold", path), val_get(p, "successThreshold"), "must be 1");
	}
	for (size_t i = 0; i < 2; i++) {
		const char *name = i ? "preStop" : "postStart";
		struct val h = val_get(val_get(c, "lifecycle"), name);
		if (val_has(h))
			handler(rq, h, rq_f(rq, "%s.lifecycle.%s", at, name), e);
	}
}

static void container(struct rq *rq, struct val spec, struct val c, const char *at, bool init, struct err *e)
{
	struct str name = val_str(val_get(c, "name")), image = val_str(val_get(c, "image"));
	const char *why;

	if (name.n && (why = name_wrong(name, NAME_LABEL, false)))
		v_invalid_str(e, rq_f(rq, "%s.name", at), name, why);
	if (!image.n)
		v_required(e, rq_f(rq, "%s.image", at), "");
	else if (str_trim(image).n != image.n)
		v_invalid_str(e, rq_f(rq, "%s.image", at), image, "must not have leading or trailing whitespace");
	ports(rq, c, at, val_bool(val_get(spec, "hostNetwork"), false), e);
	env(rq, c, at, e);
	mounts(rq, spec, c, at, e);
	resources(rq, c, at, e);
	probes(rq, c, at, init && !val_is(val_get(c, "restartPolicy"), "Always"), e);
}

static bool name_seen(struct val list, size_t before, struct str name)
{
	for (size_t i = 0; i < before; i++)
		if (str_eq(val_str(val_get(val_at(list, i), "name")), name))
			return true;
	return false;
}

static void containers(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	static const char *const lists[] = { "initContainers", "containers" };
	struct val main = val_get(spec, "containers");

	for (size_t k = 0; k < 2; k++) {
		struct val list = val_get(spec, lists[k]);
		for (size_t i = 0; i < val_len(list); i++) {
			struct val c = val_at(list, i);
			struct str name = val_str(val_get(c, "name"));
			char *at = rq_f(rq, "%s.%s[%zu]", path, lists[k], i);
			container(rq, spec, c, at, k == 0, e);
			if (name.n && (name_seen(list, i, name) || (k == 0 && val_has(val_find(main, "name", name)))))
				v_duplicate(e, rq_f(rq, "%s.name", at), name);
		}
	}
}

static void volumes(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "volumes");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val v = val_at(list, i);
		struct str name = val_str(val_get(v, "name"));
		char *at = rq_f(rq, "%s.volumes[%zu]", path, i);
		const char *why = name.n ? name_wrong(name, NAME_LABEL, false) : NULL;
		if (why)
			v_invalid_str(e, rq_f(rq, "%s.name", at), name, why);
		if (name.n && name_seen(list, i, name))
			v_duplicate(e, rq_f(rq, "%s.name", at), name);
		if (val_len(v) > 2)
			v_forbidden(e, at, "may not specify more than 1 volume type");
		else if (val_len(v) < 2)
			v_required(e, at, "must specify a volume type");
	}
}

static void tolerations(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "tolerations");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val t = val_at(list, i);
		struct str key = val_str(val_get(t, "key")), op = val_str(val_get(t, "operator"));
		char *at = rq_f(rq, "%s.tolerations[%zu]", path, i);
		const char *why = key.n ? label_key_wrong(key) : NULL;
		if (why)
			v_invalid_str(e, rq_f(rq, "%s.key", at), key, why);
		if (!key.n && !str_is(op, "Exists"))
			v_invalid_str(e, rq_f(rq, "%s.operator", at), op,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
		if (val_has(val_get(t, "tolerationSeconds")) && !val_is(val_get(t, "effect"), "NoExecute"))
			v_invalid(e, rq_f(rq, "%s.effect", at), val_get(t, "effect"),
				"effect must be 'NoExecute' when `tolerationSeconds` is set");
		if (str_is(op, "Exists") && val_str(val_get(t, "value")).n)
			v_invalid_str(e, rq_f(rq, "%s.operator", at), val_str(val_get(t, "value")),
				"value must be empty when `operator` is 'Exists'");
	}
}

void validate_pod_spec(struct rq *rq, struct val spec, const char *path, bool template, struct err *e)
{
	struct str s;
	const char *why;

	(void)template;
	containers(rq, spec, path, e);
	volumes(rq, spec, path, e);
	tolerations(rq, spec, path, e);
	validate_labels(rq, val_get(spec, "nodeSelector"), rq_f(rq, "%s.nodeSelector", path), e);
	s = val_str(val_get(spec, "serviceAccountName"));
	if (s.n && (why = name_wrong(s, NAME_SUBDOMAIN, false)))
		v_invalid_str(e, rq_f(rq, "%s.serviceAccountName", path), s, why);
	s = val_str(val_get(spec, "nodeName"));
	if (s.n && (why = name_wrong(s, NAME_SUBDOMAIN, false)))
		v_invalid_str(e, rq_f(rq, "%s.nodeName", path), s, why);
	s = val_str(val_get(spec, "hostname"));
	if (s.n && (why = name_wrong(s, NAME_LABEL, false)))
		v_invalid_str(e, rq_f(rq, "%s.hostname", path), s, why);
	s = val_str(val_get(spec, "subdomain"));
	if (s.n && (why = name_wrong(s, NAME_LABEL, false)))
		v_invalid_str(e, rq_f(rq, "%s.subdomain", path), s, why);
	if (val_is(val_get(spec, "dnsPolicy"), "None") && !val_len(val_path(spec, "dnsConfig.nameservers")))
		v_required(e, rq_f(rq, "%s.dnsConfig.nameservers", path), "must provide at least one DNS nameserver when `dnsPolicy` is None");
}

/* restart_only: the restart policies that the owner allows, "Always" or "OnFailure,Never". */
void validate_pod_template(struct rq *rq, struct val template, const char *path, struct val selector, const char *restart_only,
	struct err *e)
{
	struct val labels = val_path(template, "metadata.labels");
	struct str restart = val_str(val_path(template, "spec.restartPolicy"));
	const struct selector *sel = NULL;
	struct err ignored;

	err_init(&ignored);
	validate_labels(rq, labels, rq_f(rq, "%s.metadata.labels", path), e);
	if (val_has(selector) && selector_of(rq->a, selector, &sel, &ignored) >= 0 && !selector_matches(sel, labels))
		v_invalid(e, rq_f(rq, "%s.metadata.labels", path), labels, "`selector` does not match template `labels`");
	validate_pod_spec(rq, val_get(template, "spec"), rq_f(rq, "%s.spec", path), true, e);
	if (restart_only && restart.n) {
		bool ok = false;
		const char *known[4] = { NULL };
		size_t n = 0;
		for (struct str part, rest = str_c(restart_only); str_next(&rest, ',', &part);) {
			ok |= str_eq(part, restart);
			known[n++] = arena_cstr(rq->a, part);
		}
		if (!ok)
			v_unsupported(e, rq_f(rq, "%s.spec.restartPolicy", path), restart, known);
	}
}

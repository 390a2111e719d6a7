/* Containers of pods and pod templates: ports, environment, mounts, resources, probes. */
#include "api/api_internal.h"
#include <ctype.h>
#define LOG_MODULE "api"

/* ---- ports ----------------------------------------------------------------------------------- */

void validate_port_name(struct err *e, const char *path, struct str s)
{
	bool letter = false, shape = true, twice = false;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		letter |= c >= 'a' && c <= 'z';
		shape &= (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
		twice |= i && c == '-' && s.p[i - 1] == '-';
	}
	if (s.n > 15)
		v_invalid_str(e, path, s, "must be no more than 15 characters");
	if (!shape || !s.n)
		v_invalid_str(e, path, s, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
	if (!letter)
		v_invalid_str(e, path, s, "must contain at least one letter (a-z)");
	if (twice)
		v_invalid_str(e, path, s, "must not contain consecutive hyphens");
	if (s.n && (s.p[0] == '-' || s.p[s.n - 1] == '-'))
		v_invalid_str(e, path, s, "must not begin or end with a hyphen");
}

void validate_port_or_name(struct err *e, const char *path, struct val port)
{
	if (val_kind(port) == VAL_STR)
		validate_port_name(e, path, val_str(port));
	else
		validate_port(e, path, port);
}

/* "TCP/127.0.0.1/80" of a port with a host port: what must be the only one in its pod. */
static struct str host_port(struct rq *rq, struct val port)
{
	int64_t n = val_int(val_get(port, "hostPort"), 0);

	if (!n)
		return STR_NULL;
	return arena_strf(rq->a, "%.*s/%.*s/%lld", STR_ARG(val_str(val_get(port, "protocol"))),
		STR_ARG(val_str(val_get(port, "hostIP"))), (long long)n);
}

/* Whether a port of the list before the one at [c][p] has this host port. */
static bool host_port_taken(struct rq *rq, struct val containers, size_t c, size_t p, struct str key)
{
	for (size_t i = 0; i <= c; i++) {
		struct val ports = val_get(val_at(containers, i), "ports");
		for (size_t k = 0; k < (i == c ? p : val_len(ports)); k++)
			if (str_eq(host_port(rq, val_at(ports, k)), key))
				return true;
	}
	return false;
}

static void ports(struct rq *rq, struct val c, const char *at, bool host_network, struct err *e)
{
	struct val list = val_get(c, "ports");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val p = val_at(list, i), host = val_get(p, "hostPort");
		struct str name = val_str(val_get(p, "name"));
		if (name.n)
			validate_port_name(e, rq_f(rq, "%s.ports[%zu].name", at, i), name);
		for (size_t k = 0; name.n && k < i; k++)
			if (str_eq(name, val_str(val_get(val_at(list, k), "name"))))
				v_duplicate(e, rq_f(rq, "%s.ports[%zu].name", at, i), name);
		if (host_network && val_has(host) && val_int(host, 0) != val_int(val_get(p, "containerPort"), 0))
			v_invalid(e, rq_f(rq, "%s.ports[%zu].containerPort", at, i), val_get(p, "containerPort"),
				"must match `hostPort` when `hostNetwork` is true");
	}
}

static void host_ports(struct rq *rq, struct val containers, const char *path, struct err *e)
{
	for (size_t i = 0; i < val_len(containers); i++) {
		struct val list = val_get(val_at(containers, i), "ports");
		for (size_t k = 0; k < val_len(list); k++) {
			struct str key = host_port(rq, val_at(list, k));
			if (key.n && host_port_taken(rq, containers, i, k, key))
				v_duplicate(e, rq_f(rq, "%s[%zu].ports[%zu].hostPort", path, i, k), key);
		}
	}
}

/* ---- environment ----------------------------------------------------------------------------- */

static bool env_name_ok(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] > 0x7e || s.p[i] == '=')
			return false;
	return s.n > 0;
}

/* metadata.labels['key']: *ret is the key. */
static bool subscript(struct str path, struct str *head, struct str *ret)
{
	struct str rest = str_cut(path, '[', head);

	if (!rest.p || rest.n < 3 || rest.p[0] != '\'' || !str_ends(rest, STR("']")))
		return false;
	*ret = str_sub(rest, 1, rest.n - 3);
	return true;
}

void validate_field_ref(struct rq *rq, struct val ref, const char *at, const char *const *allowed, struct err *e)
{
	static const char *const convertible[] = { "metadata.name", "metadata.namespace", "metadata.uid",
		"metadata.labels", "metadata.annotations", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
		"spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
		"status.hostIP", "status.hostIPs", "status.nominatedNodeName", NULL };
	struct str path = val_str(val_get(ref, "fieldPath")), head = path, key;
	struct str version = val_str(val_get(ref, "apiVersion"));
	char *field = rq_f(rq, "%s.fieldPath", at);

	if (!path.n) /* the schema says so */
		return;
	if (!str_is(version, "v1"))
		v_invalid_str(e, field, path,
			rq_f(rq, "error converting fieldPath: unsupported pod version: %.*s", STR_ARG(version)));
	else if (subscript(path, &head, &key)) {
		if (!str_is(head, "metadata.labels") && !str_is(head, "metadata.annotations"))
			v_invalid_str(e, field, head, "does not support subscript");
		else
			validate_qualified(
				e, field, str_is(head, "metadata.annotations") ? str_c(rq_lower(rq, key)) : key);
	} else if (!is_one_of(convertible, path)) {
		v_invalid_str(e, field, path,
			rq_f(rq, "error converting fieldPath: field label not supported: %.*s", STR_ARG(path)));
	} else if (!is_one_of(allowed, path)) {
		v_unsupported(e, field, path, allowed);
	}
}

#define MEMORY_UNITS "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"

static bool is_unit(struct quantity q, const char *units)
{
	char text[QUANTITY_TEXT_MAX];

	quantity_text(q, text);
	for (struct str part, rest = str_c(units); str_next(&rest, ',', &part);)
		if (str_is(str_trim(part), text))
			return true;
	return false;
}

/* The unit that an amount is given in must be a usual one of its resource. */
static void divisor_validate(struct rq *rq, struct val ref, const char *at, struct err *e)
{
	static const struct {
		const char *resource, *units, *said, *what; /* resource: begins so, behind "limits." or "requests." */
	} known[] = { { "cpu", "1m, 1", "1m and 1", "cpu" }, { "memory", MEMORY_UNITS, MEMORY_UNITS, "memory" },
		{ "ephemeral-storage", MEMORY_UNITS, MEMORY_UNITS, "local ephemeral storage" },
		{ "hugepages-", MEMORY_UNITS, MEMORY_UNITS, "hugepages" } };
	struct str resource = val_str(val_get(ref, "resource")), head, name = str_cut(resource, '.', &head);
	struct quantity q;

	if (!quantity_of(val_get(ref, "divisor"), &q) || !q.value)
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (str_starts(name, str_c(known[i].resource)) && !is_unit(q, known[i].units))
			v_invalid_str(e, rq_f(rq, "%s.divisor", at), resource,
				rq_f(rq, "only divisor's values %s are supported with the %s resource", known[i].said,
					known[i].what));
}

void validate_resource_ref(struct rq *rq, struct val ref, const char *at, bool volume, struct err *e)
{
	static const char *const known[] = { "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
		"requests.ephemeral-storage", "requests.memory", NULL };
	struct str what = val_str(val_get(ref, "resource"));

	if (volume && !val_str(val_get(ref, "containerName")).n)
		v_required(e, rq_f(rq, "%s.containerName", at), "");
	else if (what.n && !is_one_of(known, what) && !str_starts(what, STR("limits.hugepages-")) &&
		!str_starts(what, STR("requests.hugepages-")))
		v_unsupported(e, rq_f(rq, "%s.resource", at), what, known);
	divisor_validate(rq, ref, at, e);
}

static void env_source(struct rq *rq, struct val var, const char *at, struct err *e)
{
	static const char *const fields[] = { "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
		"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs", NULL };
	static const char *const keys[] = { "configMapKeyRef", "secretKeyRef" };
	struct val from = val_get(var, "valueFrom");

	if (!val_has(from))
		return;
	if (val_has(val_get(from, "fieldRef")))
		validate_field_ref(rq, val_get(from, "fieldRef"), rq_f(rq, "%s.fieldRef", at), fields, e);
	if (val_has(val_get(from, "resourceFieldRef")))
		validate_resource_ref(
			rq, val_get(from, "resourceFieldRef"), rq_f(rq, "%s.resourceFieldRef", at), false, e);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct val ref = val_get(from, keys[i]);
		if (!val_has(ref))
			continue;
		validate_name(e, rq_f(rq, "%s.%s.name", at, keys[i]), val_str(val_get(ref, "name")), NAME_SUBDOMAIN);
		if (val_str(val_get(ref, "key")).n)
			validate_data_key(e, rq_f(rq, "%s.%s.key", at, keys[i]), val_str(val_get(ref, "key")));
	}
	if (val_str(val_get(var, "value")).n)
		v_invalid_str(e, at, STR(""), "may not be specified when `value` is not empty");
	else if (val_len(from) > 1)
		v_invalid_str(e, at, STR(""), "may not have more than one field specified at a time");
	if (!val_len(from))
		v_invalid_str(e, at, STR(""),
			"must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
}

static void env_object(struct rq *rq, struct val ref, const char *at, struct err *e)
{
	struct str name = val_str(val_get(ref, "name"));

	if (val_has(ref) && !name.n)
		v_required(e, rq_f(rq, "%s.name", at), "");
	else if (val_has(ref))
		validate_name(e, rq_f(rq, "%s.name", at), name, NAME_SUBDOMAIN);
}

static void env(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct val list = val_get(c, "env"), from = val_get(c, "envFrom");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val v = val_at(list, i);
		struct str name = val_str(val_get(v, "name"));
		if (name.n && !env_name_ok(name))
			v_invalid_str(e, rq_f(rq, "%s.env[%zu].name", at, i), name,
				"a valid environment variable name must consist only of printable ASCII characters other than '='");
		env_source(rq, v, rq_f(rq, "%s.env[%zu].valueFrom", at, i), e);
	}
	for (size_t i = 0; i < val_len(from); i++) {
		struct val v = val_at(from, i), map = val_get(v, "configMapRef"), secret = val_get(v, "secretRef");
		struct str prefix = val_str(val_get(v, "prefix"));
		if (prefix.n && !env_name_ok(prefix))
			v_invalid_str(e, rq_f(rq, "%s.envFrom[%zu].prefix", at, i), prefix,
				"a valid environment variable name must consist only of printable ASCII characters other than '='");
		env_object(rq, map, rq_f(rq, "%s.envFrom[%zu].configMapRef", at, i), e);
		env_object(rq, secret, rq_f(rq, "%s.envFrom[%zu].secretRef", at, i), e);
		if (!val_has(map) && !val_has(secret))
			v_invalid_str(e, rq_f(rq, "%s.envFrom", at), STR(""),
				"must specify one of: `configMapRef` or `secretRef`");
		else if (val_has(map) && val_has(secret))
			v_invalid_str(e, rq_f(rq, "%s.envFrom", at), STR(""),
				"may not have more than one field specified at a time");
	}
}

/* ---- mounts ---------------------------------------------------------------------------------- */

static bool volume_known(struct val spec, struct str name)
{
	return val_has(val_find(val_get(spec, "volumes"), "name", name));
}

static void mounts(struct rq *rq, struct val spec, struct val c, const char *at, struct err *e)
{
	struct val list = val_get(c, "volumeMounts");
	bool privileged = val_bool(val_path(c, "securityContext.privileged"), false);

	for (size_t i = 0; i < val_len(list); i++) {
		struct val m = val_at(list, i);
		struct str name = val_str(val_get(m, "name")), path = val_str(val_get(m, "mountPath"));
		struct str sub = val_str(val_get(m, "subPath")), expr = val_str(val_get(m, "subPathExpr"));

		if (name.n && !volume_known(spec, name))
			v_not_found(e, rq_f(rq, "%s.volumeMounts[%zu].name", at, i), name);
		for (size_t k = 0; path.n && k < i; k++)
			if (str_eq(path, val_str(val_get(val_at(list, k), "mountPath"))))
				v_invalid_str(
					e, rq_f(rq, "%s.volumeMounts[%zu].mountPath", at, i), path, "must be unique");
		/* upstream's paths have no number here */
		validate_path_below(e, rq_f(rq, "%s.volumeMounts.subPath", at), sub);
		validate_path_below(e, rq_f(rq, "%s.volumeMounts.subPathExpr", at), expr);
		if (sub.n && expr.n)
			v_invalid_str(e, rq_f(rq, "%s.volumeMounts[%zu].subPathExpr", at, i), expr,
				"subPathExpr and subPath are mutually exclusive");
		if (val_is(val_get(m, "mountPropagation"), "Bidirectional") && !privileged)
			v_forbidden(e, rq_f(rq, "%s.volumeMounts[%zu].mountPropagation", at, i),
				"Bidirectional mount propagation is available only to privileged containers");
	}
	list = val_get(c, "volumeDevices");
	for (size_t i = 0; i < val_len(list); i++)
		if (!volume_known(spec, val_str(val_get(val_at(list, i), "name"))))
			v_not_found(e, rq_f(rq, "%s.volumeDevices[%zu].name", at, i),
				val_str(val_get(val_at(list, i), "name")));
}

/* ---- resources ------------------------------------------------------------------------------- */

static bool huge_pages(struct str name)
{
	return str_starts(name, STR("hugepages-"));
}

bool resource_extended(struct str name)
{
	return str_has(name, STR("/")) && !str_has(name, STR("kubernetes.io/"));
}

void validate_resource_name(struct err *e, const char *path, struct str name, bool of_container)
{
	static const char *const container[] = { "cpu", "memory", "ephemeral-storage", NULL };
	static const char *const standard[] = { "cpu", "memory", "ephemeral-storage", "storage", "pods", "services",
		"replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "requests.cpu",
		"requests.memory", "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
		"limits.ephemeral-storage", "services.nodeports", "services.loadbalancers", "resourcequotas", NULL };

	validate_qualified(e, path, name);
	if (str_has(name, STR("/")) || huge_pages(name))
		return;
	if (!is_one_of(standard, name) && !qualified_wrong(name, 0))
		v_invalid_str(e, path, name, "must be a standard resource type or fully qualified");
	if (of_container && !is_one_of(container, name))
		v_invalid_str(e, path, name, "must be a standard resource for containers");
}

void validate_amounts(struct rq *rq, struct val map, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(map); val_next(&it);) {
		char *path = rq_f(rq, "%s[%.*s]", at, STR_ARG(it.key));
		struct quantity q;

		validate_resource_name(e, path, it.key, true);
		if (!quantity_of(it.val, &q))
			continue;
		if (q.value < 0)
			v_invalid(e, path, it.val, "must be greater than or equal to 0");
		if (q.scale < 0 && resource_extended(it.key))
			v_invalid(e, path, it.val, "must be an integer");
	}
}

static void resources(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct val req = val_path(c, "resources.requests"), lim = val_path(c, "resources.limits");
	bool huge = false,
	     usual = val_has(val_get(req, "cpu")) || val_has(val_get(req, "memory")) || val_has(val_get(lim, "cpu")) ||
		val_has(val_get(lim, "memory"));
	struct quantity r, l;

	validate_amounts(rq, lim, rq_f(rq, "%s.resources.limits", at), e);
	validate_amounts(rq, req, rq_f(rq, "%s.resources.requests", at), e);
	for (struct val_iter it = val_iter(lim); val_next(&it);)
		huge |= huge_pages(it.key);
	for (struct val_iter it = val_iter(req); val_next(&it);) {
		struct val limit = val_get_str(lim, it.key);
		bool overcommit = !resource_extended(it.key) && !huge_pages(it.key);

		huge |= huge_pages(it.key);
		if (!quantity_of(it.val, &r))
			continue;
		if (!val_has(limit) && !overcommit)
			v_required(e, rq_f(rq, "%s.resources.limits", at),
				"Limit must be set for non overcommitable resources");
		if (!val_has(limit) || !quantity_of(limit, &l))
			continue;
		if (!overcommit && quantity_cmp(r, l))
			v_invalid(e, rq_f(rq, "%s.resources.requests", at), it.val,
				rq_f(rq, "must be equal to %.*s limit of %.*s", STR_ARG(it.key),
					STR_ARG(val_str(limit))));
		else if (quantity_cmp(r, l) > 0)
			v_invalid(e, rq_f(rq, "%s.resources.requests", at), it.val,
				rq_f(rq, "must be less than or equal to %.*s limit of %.*s", STR_ARG(it.key),
					STR_ARG(val_str(limit))));
	}
	if (huge && !usual)
		v_forbidden(e, rq_f(rq, "%s.resources", at), "HugePages require cpu or memory");
}

/* ---- probes, hooks, privileges --------------------------------------------------------------- */

static void headers(struct rq *rq, struct val get, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(get, "httpHeaders")); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		bool right = name.n > 0;

		for (size_t i = 0; i < name.n; i++)
			right &= name.p[i] == '-' || isalnum((unsigned char)name.p[i]);
		if (!right)
			v_invalid_str(e, rq_f(rq, "%s.httpHeaders", at), name,
				"a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')");
	}
}

static void handler(struct rq *rq, struct val h, const char *at, struct err *e)
{
	static const char *const kinds[] = { "exec", "httpGet", "tcpSocket", "grpc", "sleep" };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct val x = val_get(h, kinds[i]);
		if (!val_has(x))
			continue;
		if (n++)
			v_forbidden(e, rq_f(rq, "%s.%s", at, kinds[i]), "may not specify more than 1 handler type");
		else if (i == 1 || i == 2)
			validate_port_or_name(e, rq_f(rq, "%s.%s.port", at, kinds[i]), val_get(x, "port"));
		if (n == 1 && i == 1)
			headers(rq, x, rq_f(rq, "%s.httpGet", at), e);
	}
	if (!n)
		v_required(e, at, "must specify a handler type");
}

static void probes(struct rq *rq, struct val c, const char *at, bool init_only, struct err *e)
{
	static const char *const names[] = { "livenessProbe", "readinessProbe", "startupProbe" };
	static const char never[] = "may not be set for init containers without restartPolicy=Always";

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct val p = val_get(c, names[i]);
		if (!val_has(p))
			continue;
		char *path = rq_f(rq, "%s.%s", at, names[i]);
		if (init_only) {
			v_forbidden(e, path, never);
			continue;
		}
		handler(rq, p, path, e);
		if (i != 1 && val_int(val_get(p, "successThreshold"), 1) != 1)
			v_invalid(
				e, rq_f(rq, "%s.successThreshold", path), val_get(p, "successThreshold"), "must be 1");
	}
	if (init_only && val_has(val_get(c, "lifecycle"))) {
		v_forbidden(e, rq_f(rq, "%s.lifecycle", at), never);
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		const char *name = i ? "preStop" : "postStart";
		struct val h = val_get(val_get(c, "lifecycle"), name);
		if (val_has(h))
			handler(rq, h, rq_f(rq, "%s.lifecycle.%s", at, name), e);
	}
}

static bool adds_admin(struct val context)
{
	for (struct val_iter it = val_iter(val_path(context, "capabilities.add")); val_next(&it);)
		if (val_is(it.val, "SYS_ADMIN") || val_is(it.val, "CAP_SYS_ADMIN"))
			return true;
	return false;
}

static void privileges(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct val context = val_get(c, "securityContext");
	char *path = rq_f(rq, "%s.securityContext", at);

	if (!val_has(context))
		return;
	validate_seccomp(rq, val_get(context, "seccompProfile"), rq_f(rq, "%s.seccompProfile", path), e);
	if (val_bool(val_get(context, "allowPrivilegeEscalation"), true))
		return;
	if (val_bool(val_get(context, "privileged"), false))
		v_invalid(e, path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
	if (adds_admin(context))
		v_invalid(e, path, context,
			"cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
}

/* ---- all together ---------------------------------------------------------------------------- */

static void name_and_image(struct rq *rq, struct val c, const char *at, struct err *e)
{
	struct str name = val_str(val_get(c, "name")), image = val_str(val_get(c, "image"));

	if (name.n)
		validate_name(e, rq_f(rq, "%s.name", at), name, NAME_LABEL);
	if (!image.n)
		v_required(e, rq_f(rq, "%s.image", at), "");
	else if (str_trim(image).n != image.n)
		v_invalid_str(e, rq_f(rq, "%s.image", at), image, "must not have leading or trailing whitespace");
}

static void container(struct rq *rq, struct val spec, struct val c, const char *at, bool init, struct err *e)
{
	name_and_image(rq, c, at, e);
	ports(rq, c, at, val_bool(val_get(spec, "hostNetwork"), false), e);
	env(rq, c, at, e);
	mounts(rq, spec, c, at, e);
	resources(rq, c, at, e);
	probes(rq, c, at, init && !val_is(val_get(c, "restartPolicy"), "Always"), e);
	privileges(rq, c, at, e);
}

static bool name_seen(struct val list, size_t before, struct str name)
{
	for (size_t i = 0; i < before; i++)
		if (str_eq(val_str(val_get(val_at(list, i), "name")), name))
			return true;
	return false;
}

/* One for a look into a running pod: nothing that the pod could come to need. */
static void ephemeral(struct rq *rq, struct val spec, struct val c, const char *at, struct err *e)
{
	static const char *const never[] = { "ports", "resources", "resizePolicy", "restartPolicy",
		"restartPolicyRules", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle" };
	static const char *const paths[] = { "subPath", "subPathExpr" };
	static const char no[] = "cannot be set for an Ephemeral Container";
	struct val volumes = val_get(c, "volumeMounts"), target = val_get(c, "targetContainerName");

	name_and_image(rq, c, at, e);
	env(rq, c, at, e);
	mounts(rq, spec, c, at, e);
	privileges(rq, c, at, e);
	if (val_str(target).n && !val_has(val_find(val_get(spec, "containers"), "name", val_str(target))) &&
		!val_has(val_find(val_get(spec, "initContainers"), "name", val_str(target))))
		v_not_found(e, rq_f(rq, "%s.targetContainerName", at), val_str(target));
	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		struct val v = val_get(c, never[i]);
		if (val_len(v) || val_str(v).n)
			v_forbidden(e, rq_f(rq, "%s.%s", at, never[i]), no);
	}
	for (size_t i = 0; i < val_len(volumes); i++)
		for (size_t k = 0; k < ARRAY_LEN(paths); k++)
			if (val_str(val_get(val_at(volumes, i), paths[k])).n)
				v_forbidden(e, rq_f(rq, "%s.volumeMounts[%zu].%s", at, i, paths[k]), no);
}

static void ephemeral_containers(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "ephemeralContainers");

	for (size_t i = 0; i < val_len(list); i++) {
		struct str name = val_str(val_get(val_at(list, i), "name"));
		char *at = rq_f(rq, "%s.ephemeralContainers[%zu]", path, i);

		ephemeral(rq, spec, val_at(list, i), at, e);
		if (name.n &&
			(name_seen(list, i, name) || val_has(val_find(val_get(spec, "containers"), "name", name)) ||
				val_has(val_find(val_get(spec, "initContainers"), "name", name))))
			v_duplicate(e, rq_f(rq, "%s.name", at), name);
	}
}

void validate_containers(struct rq *rq, struct val spec, const char *path, struct err *e)
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
		host_ports(rq, list, rq_f(rq, "%s.%s", path, lists[k]), e);
	}
	ephemeral_containers(rq, spec, path, e);
}

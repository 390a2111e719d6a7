/* Pods and pod templates: what the fields of a spec demand of each other. Single fields are checked by the schema,
 * containers, volumes and placement each in a file of their own. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

void validate_seccomp(struct rq *rq, struct val profile, const char *at, struct err *e)
{
	struct val local = val_get(profile, "localhostProfile");

	if (!val_has(profile))
		return;
	if (!val_is(val_get(profile, "type"), "Localhost")) {
		if (val_has(local))
			v_invalid(e, rq_f(rq, "%s.localhostProfile", at), local,
				"can only be set when seccomp type is Localhost");
	} else if (!val_has(local)) {
		v_required(e, rq_f(rq, "%s.localhostProfile", at), "must be set when seccomp type is Localhost");
	} else {
		validate_path_below(e, rq_f(rq, "%s.localhostProfile", at), val_str(local));
	}
}

/* Parts of [a-z0-9]([-_a-z0-9]*[a-z0-9])? with a dot or slash between them. */
static bool sysctl_ok(struct str s)
{
	bool edge = true; /* a letter or digit has to follow */

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'), inner = c == '-' || c == '_',
		     between = c == '.' || c == '/';
		bool last = i + 1 == s.n || s.p[i + 1] == '.' || s.p[i + 1] == '/';
		if ((!plain && !inner && !between) || (edge && !plain) || (inner && last))
			return false;
		edge = between;
	}
	return s.n > 0 && s.n <= 253 && !edge;
}

static void security(struct rq *rq, struct val context, const char *at, struct err *e)
{
	struct val list = val_get(context, "sysctls");

	validate_seccomp(rq, val_get(context, "seccompProfile"), rq_f(rq, "%s.seccompProfile", at), e);
	for (size_t i = 0; i < val_len(list); i++) {
		struct str name = val_str(val_get(val_at(list, i), "name"));
		char *path = rq_f(rq, "%s.sysctls[%zu].name", at, i);
		if (name.n && !sysctl_ok(name))
			v_invalid_str(e, path, name,
				"must have at most 253 characters and match regex ^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([\\./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$");
		for (size_t k = 0; k < i; k++)
			if (str_eq(name, val_str(val_get(val_at(list, k), "name")))) {
				v_duplicate(e, path, name);
				break;
			}
	}
}

static void dns(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val config = val_get(spec, "dnsConfig"), servers = val_get(config, "nameservers");
	bool none = val_is(val_get(spec, "dnsPolicy"), "None");

	if (none && !val_has(config))
		v_required(e, rq_f(rq, "%s.dnsConfig", path), "must provide `dnsConfig` when `dnsPolicy` is None");
	else if (none && !val_len(servers))
		v_required(e, rq_f(rq, "%s.dnsConfig.nameservers", path),
			"must provide at least one DNS nameserver when `dnsPolicy` is None");
	if (val_len(servers) > 3)
		v_invalid(e, rq_f(rq, "%s.dnsConfig.nameservers", path), servers,
			"must not have more than 3 nameservers");
	for (size_t i = 0; i < val_len(servers); i++)
		validate_ip(e, rq_f(rq, "%s.dnsConfig.nameservers[%zu]", path, i), val_str(val_at(servers, i)));
}

static void hosts(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "hostAliases");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val names = val_get(val_at(list, i), "hostnames");
		validate_ip(e, rq_f(rq, "%s.hostAliases[%zu].ip", path, i), val_str(val_get(val_at(list, i), "ip")));
		for (size_t k = 0; k < val_len(names); k++)
			validate_name(e, rq_f(rq, "%s.hostAliases[%zu].hostnames[%zu]", path, i, k),
				val_str(val_at(names, k)), NAME_SUBDOMAIN);
	}
}

static void names(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	static const struct {
		const char *field;
		enum name_rule rule;
	} words[] = { { "serviceAccountName", NAME_SUBDOMAIN }, { "nodeName", NAME_SUBDOMAIN },
		{ "hostname", NAME_LABEL }, { "subdomain", NAME_LABEL }, { "priorityClassName", NAME_SUBDOMAIN },
		{ "runtimeClassName", NAME_SUBDOMAIN } };
	struct val gates = val_get(spec, "readinessGates");

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct str s = val_str(val_get(spec, words[i].field));
		if (s.n)
			validate_name(e, rq_f(rq, "%s.%s", path, words[i].field), s, words[i].rule);
	}
	for (size_t i = 0; i < val_len(gates); i++)
		validate_qualified(e, rq_f(rq, "%s.readinessGates[%zu].conditionType", path, i),
			val_str(val_get(val_at(gates, i), "conditionType")));
}

static void processes(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val shares = val_get(spec, "shareProcessNamespace");

	if (val_bool(shares, false) && val_bool(val_get(spec, "hostPID"), false))
		v_invalid(e, rq_f(rq, "%s.securityContext.shareProcessNamespace", path), shares,
			"ShareProcessNamespace and HostPID cannot both be enabled");
}

void validate_pod_spec(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	validate_volumes(rq, spec, path, e);
	validate_containers(rq, spec, path, e);
	dns(rq, spec, path, e);
	security(rq, val_get(spec, "securityContext"), rq_f(rq, "%s.securityContext", path), e);
	processes(rq, spec, path, e);
	names(rq, spec, path, e);
	hosts(rq, spec, path, e);
	validate_placement(rq, spec, path, e);
}

/* "Always" is what none becomes: where that is not allowed, it is told as missing. */
static void validate_restart(struct rq *rq, struct str policy, const char *allowed, const char *at, struct err *e)
{
	const char *known[4] = { NULL };
	size_t n = 0;

	for (struct str part, rest = str_c(allowed); str_next(&rest, ',', &part);)
		known[n++] = arena_cstr(rq->a, part);
	if (is_one_of(known, policy))
		return;
	if (str_is(policy, "Always"))
		v_required(e, at, rq_f(rq, "valid values: \"%s\", \"%s\"", known[0], known[1]));
	else
		v_unsupported(e, at, policy, known);
}

/* restart_only: the restart policies that the owner allows, "Always" or "OnFailure,Never". */
void validate_pod_template(struct rq *rq, struct val template, const char *path, struct val selector,
	const char *restart_only, struct err *e)
{
	struct val labels = val_path(template, "metadata.labels");
	struct str restart = val_str(val_path(template, "spec.restartPolicy"));
	const struct selector *sel = NULL;
	struct err ignored;

	err_init(&ignored);
	validate_labels(rq, labels, rq_f(rq, "%s.labels", path), e); /* upstream's path */
	validate_annotations(rq, val_path(template, "metadata.annotations"), rq_f(rq, "%s.annotations", path), e);
	if (val_has(selector) && selector_of(rq->a, selector, &sel, &ignored) >= 0 && !selector_matches(sel, labels))
		v_invalid(
			e, rq_f(rq, "%s.metadata.labels", path), labels, "`selector` does not match template `labels`");
	if (val_len(val_path(template, "spec.ephemeralContainers")))
		v_forbidden(e, rq_f(rq, "%s.spec.ephemeralContainers", path),
			"ephemeral containers not allowed in pod template");
	validate_pod_spec(rq, val_get(template, "spec"), rq_f(rq, "%s.spec", path), e);
	if (restart_only && restart.n)
		validate_restart(rq, restart, restart_only, rq_f(rq, "%s.spec.restartPolicy", path), e);
}

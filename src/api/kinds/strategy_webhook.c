/* MutatingWebhookConfiguration and ValidatingWebhookConfiguration: what a webhook must say of itself. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

/* ---- where it is called ---------------------------------------------------------------------- */

static void check_url(struct val url, const char *path, struct err *e)
{
	struct str scheme, rest = val_str(url), host, query, fragment;
	size_t i = 0;

	while (i + 3 <= rest.n && memcmp(rest.p + i, "://", 3) != 0)
		i++;
	scheme = i + 3 <= rest.n ? str_sub(rest, 0, i) : STR("");
	rest = scheme.n ? str_sub(rest, i + 3, rest.n) : STR("");
	fragment = str_cut(rest, '#', &rest);
	query = str_cut(rest, '?', &rest);
	str_cut(rest, '/', &host);
	if (!str_is(scheme, "https"))
		v_invalid_str(
			e, path, scheme, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
	if (!host.n)
		v_invalid_str(e, path, host, "host must be provided; desired format: https://host[/path]");
	if (str_has(host, STR("@"))) {
		struct str user;

		str_cut(host, '@', &user);
		v_invalid_str(e, path, user, "user information is not permitted in the URL");
	}
	if (fragment.n)
		v_invalid_str(e, path, fragment, "fragments are not permitted in the URL");
	if (query.n)
		v_invalid_str(e, path, query, "query parameters are not permitted in the URL");
}

static void check_service_path(struct rq *rq, struct str where, const char *path, struct err *e)
{
	struct str rest = str_sub(where, 1, where.n);
	size_t i = 0;

	if (!where.n || str_is(where, "/"))
		return;
	if (where.p[0] != '/')
		v_invalid_str(e, path, where, "must start with a '/'");
	if (rest.n > 1 && str_ends(rest, STR("/")))
		rest.n--;
	for (struct str part; rest.p; i++) {
		rest = str_cut(rest, '/', &part);
		const char *why = name_wrong(part, NAME_SUBDOMAIN, false);

		if (!part.n)
			v_invalid_str(e, path, where, rq_f(rq, "segment[%zu] may not be empty", i));
		else if (why)
			v_invalid_str(e, path, where, rq_f(rq, "segment[%zu]: %s", i, why));
	}
}

static void check_service(struct rq *rq, struct val service, const char *path, struct err *e)
{
	static const char *const needed[][2] = { { "name", "service name is required" },
		{ "namespace", "service namespace is required" } };
	int64_t port = val_int(val_get(service, "port"), 443);

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!val_str(val_get(service, needed[i][0])).n)
			v_required(e, rq_f(rq, "%s.%s", path, needed[i][0]), needed[i][1]);
	if (port < 1 || port > 65535)
		v_invalid(e, rq_f(rq, "%s.port", path), val_get(service, "port"),
			"port is not valid: must be between 1 and 65535, inclusive");
	check_service_path(rq, val_str(val_get(service, "path")), rq_f(rq, "%s.path", path), e);
}

void validate_webhook_client(struct rq *rq, struct val config, const char *path, struct err *e)
{
	struct val url = val_get(config, "url"), service = val_get(config, "service");

	if (val_has(url) == val_has(service))
		v_required(e, path, "exactly one of url or service is required");
	else if (val_has(url))
		check_url(url, rq_f(rq, "%s.url", path), e);
	else
		check_service(rq, service, rq_f(rq, "%s.service", path), e);
}

/* ---- what it is called for ------------------------------------------------------------------- */

static bool has_word(struct val list, size_t n, struct str word)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(val_str(val_at(list, i)), word))
			return true;
	return false;
}

/* A resource, one of its sub-resources, and each with a star: none may say again what another says. */
static void check_resources(struct rq *rq, struct val list, const char *path, struct err *e)
{
	bool plain = false;

	for (size_t i = 0; i < val_len(list); i++) {
		struct str name = val_str(val_at(list, i)), resource, sub = str_cut(name, '/', &resource);
		char *at = rq_f(rq, "%s[%zu]", path, i);

		if (!name.n)
			v_required(e, at, "");
		plain |= name.n && !sub.p && !str_is(name, "*");
		if (!sub.p)
			continue;
		if (has_word(list, i, str_c(rq_f(rq, "%.*s/*", STR_ARG(resource)))))
			v_invalid_str(e, at, name,
				rq_f(rq, "if '%.*s/*' is present, must not specify %.*s", STR_ARG(resource),
					STR_ARG(name)));
		if (has_word(list, i, str_c(rq_f(rq, "*/%.*s", STR_ARG(sub)))))
			v_invalid_str(e, at, name,
				rq_f(rq, "if '*/%.*s' is present, must not specify %.*s", STR_ARG(sub), STR_ARG(name)));
	}
	if (val_len(list) > 1 && has_word(list, val_len(list), STR("*/*")))
		v_invalid(e, path, list, "if '*/*' is present, must not specify other resources");
	if (plain && has_word(list, val_len(list), STR("*")))
		v_invalid(e, path, list, "if '*' is present, must not specify other resources without subresources");
}

void validate_webhook_rule(struct rq *rq, struct val rule, const char *path, struct err *e)
{
	static const struct {
		const char *field, *others;
	} lists[] = { { "operations", "if '*' is present, must not specify other operations" },
		{ "apiGroups", "if '*' is present, must not specify other API groups" },
		{ "apiVersions", "if '*' is present, must not specify other API versions" }, { "resources", NULL } };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct val list = val_get(rule, lists[i].field);
		char *at = rq_f(rq, "%s.%s", path, lists[i].field);

		if (!val_len(list))
			v_required(e, at, "");
		if (lists[i].others && val_len(list) > 1 && has_word(list, val_len(list), STR("*")))
			v_invalid(e, at, list, lists[i].others);
	}
	for (struct val_iter it = val_iter(val_get(rule, "apiVersions")); val_next(&it);)
		if (!val_str(it.val).n)
			v_required(e, rq_f(rq, "%s.apiVersions[%zu]", path, it.i), "");
	check_resources(rq, val_get(rule, "resources"), rq_f(rq, "%s.resources", path), e);
}

/* ---- the webhook ----------------------------------------------------------------------------- */

static void check_versions(struct rq *rq, struct val list, const char *path, struct err *e)
{
	bool known = false;

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		char *at = rq_f(rq, "%s[%zu]", path, it.i);

		known |= val_is(it.val, "v1") || val_is(it.val, "v1beta1");
		if (has_word(list, it.i, val_str(it.val)))
			v_invalid(e, at, it.val, "duplicate version");
		validate_name(e, at, val_str(it.val), NAME_LABEL_1035);
	}
	if (val_len(list) && !known)
		v_invalid(e, path, list, "must include at least one of v1, v1beta1");
}

static size_t dots(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '.';
	return n;
}

static void check_hook(struct rq *rq, struct val hook, const char *path, struct err *e)
{
	static const char *const harmless[] = { "None", "NoneOnDryRun", NULL };
	struct val name = val_get(hook, "name"), effects = val_get(hook, "sideEffects");
	const char *why = name_wrong(val_str(name), NAME_SUBDOMAIN, false);

	if (why)
		v_invalid(e, rq_f(rq, "%s.name", path), name, why);
	else if (dots(val_str(name)) < 2)
		v_invalid(e, rq_f(rq, "%s.name", path), name,
			"should be a domain with at least three segments separated by dots");
	if (val_has(effects) && !is_one_of(harmless, val_str(effects)))
		v_unsupported(e, rq_f(rq, "%s.sideEffects", path), val_str(effects), harmless);
	check_versions(rq, val_get(hook, "admissionReviewVersions"), rq_f(rq, "%s.admissionReviewVersions", path), e);
	validate_webhook_client(rq, val_get(hook, "clientConfig"), rq_f(rq, "%s.clientConfig", path), e);
	validate_label_selector(rq, val_get(hook, "namespaceSelector"), rq_f(rq, "%s.namespaceSelector", path), e);
	validate_label_selector(rq, val_get(hook, "objectSelector"), rq_f(rq, "%s.objectSelector", path), e);
	struct val rules = val_get(hook, "rules");
	for (size_t i = 0; i < val_len(rules); i++)
		validate_webhook_rule(rq, val_at(rules, i), rq_f(rq, "%s.rules[%zu]", path, i), e);
	validate_match_conditions(rq, val_get(hook, "matchConditions"), rq_f(rq, "%s.matchConditions", path), e);
	if (val_len(val_get(hook, "matchConditions")))
		rq_warn(rq,
			"%s.matchConditions: CEL is not evaluated by this server: the webhook is called as if all "
			"conditions held",
			path);
}

static void webhook_config_validate(struct rq *rq, struct val object, struct val old, struct err *e)
{
	struct val list = val_get(object, "webhooks");

	(void)old;
	for (size_t i = 0; i < val_len(list); i++) {
		const char *path = rq_f(rq, "webhooks[%zu]", i);
		struct val name = val_get(val_at(list, i), "name");

		check_hook(rq, val_at(list, i), path, e);
		for (size_t k = 0; k < i; k++)
			if (val_equal(name, val_get(val_at(list, k), "name")))
				v_duplicate(e, rq_f(rq, "%s.name", path), val_str(name));
	}
}

const struct strategy strategy_webhook = { .validate = webhook_config_validate };

/* MutatingWebhookConfiguration and ValidatingWebhookConfiguration: what a webhook must say of itself. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static void check_url(struct rq *rq, struct val url, const char *path, struct err *e)
{
	struct str s = val_str(url), rest, host;

	if (!str_starts(s, STR("https://"))) {
		v_invalid(e, path, url, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
		return;
	}
	rest = str_sub(s, 8, s.n);
	str_cut(rest, '/', &host);
	if (!host.n)
		v_invalid(e, path, url, "host must be specified; desired format: https://host[/path]");
	if (str_has(host, STR("@")))
		v_invalid(e, path, url,
			"user information is not permitted in the URL; desired format: https://host[/path]");
	if (str_has(rest, STR("#")))
		v_invalid(e, path, url, "fragments are not permitted in the URL; desired format: https://host[/path]");
	if (str_has(rest, STR("?")))
		v_invalid(e, path, url,
			"query parameters are not permitted in the URL; desired format: https://host[/path]");
	(void)rq;
}

static void check_client(struct rq *rq, struct val config, const char *path, struct err *e)
{
	struct val url = val_get(config, "url"), service = val_get(config, "service");

	if (val_has(url) == val_has(service)) {
		v_required(e, path, "exactly one of url or service is required");
		return;
	}
	if (val_has(url)) {
		check_url(rq, url, rq_f(rq, "%s.url", path), e);
		return;
	}
	static const char *const needed[][2] = { { "name", "service name is required" },
		{ "namespace", "service namespace is required" } };
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!val_str(val_get(service, needed[i][0])).n)
			v_required(e, rq_f(rq, "%s.service.%s", path, needed[i][0]), needed[i][1]);
	int64_t port = val_int(val_get(service, "port"), 443);
	if (port < 1 || port > 65535)
		v_invalid(e, rq_f(rq, "%s.service.port", path), val_get(service, "port"),
			"port is not valid: must be between 1 and 65535, inclusive");
	struct val where = val_get(service, "path");
	if (val_str(where).n && !str_starts(val_str(where), STR("/")))
		v_invalid(e, rq_f(rq, "%s.service.path", path), where, "must start with a '/'");
}

static void check_rule(struct rq *rq, struct val rule, const char *path, struct err *e)
{
	static const char *const lists[] = { "operations", "apiGroups", "apiVersions", "resources" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct val list = val_get(rule, lists[i]);
		bool all = false;

		if (!val_len(list))
			v_required(e, rq_f(rq, "%s.%s", path, lists[i]), "");
		for (struct val_iter it = val_iter(list); val_next(&it);)
			all |= val_is(it.val, "*");
		if (all && val_len(list) > 1 && i < 3)
			v_invalid(e, rq_f(rq, "%s.%s", path, lists[i]), list,
				"if '*' is present, must not specify other values");
	}
}

static void check_versions(struct rq *rq, struct val hook, const char *path, struct err *e)
{
	struct val list = val_get(hook, "admissionReviewVersions");
	bool known = false;

	for (struct val_iter it = val_iter(list); val_next(&it);)
		known |= val_is(it.val, "v1") || val_is(it.val, "v1beta1");
	if (!val_len(list))
		v_required(e, rq_f(rq, "%s.admissionReviewVersions", path), "must specify one of v1, v1beta1");
	else if (!known)
		v_invalid(e, rq_f(rq, "%s.admissionReviewVersions", path), list,
			"must include at least one of v1, v1beta1");
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
	if (!val_has(effects))
		v_required(e, rq_f(rq, "%s.sideEffects", path), "must specify one of None, NoneOnDryRun");
	else if (!val_is(effects, "None") && !val_is(effects, "NoneOnDryRun"))
		v_unsupported(e, rq_f(rq, "%s.sideEffects", path), val_str(effects), harmless);
	check_versions(rq, hook, path, e);
	check_client(rq, val_get(hook, "clientConfig"), rq_f(rq, "%s.clientConfig", path), e);
	validate_label_selector(rq, val_get(hook, "namespaceSelector"), rq_f(rq, "%s.namespaceSelector", path), e);
	validate_label_selector(rq, val_get(hook, "objectSelector"), rq_f(rq, "%s.objectSelector", path), e);
	struct val rules = val_get(hook, "rules");
	for (size_t i = 0; i < val_len(rules); i++)
		check_rule(rq, val_at(rules, i), rq_f(rq, "%s.rules[%zu]", path, i), e);
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

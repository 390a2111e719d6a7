/* ResourceQuotas on their way in: which resources may be bounded, and which scopes fit them. */
#include "api/api_internal.h"

static const char *const of_containers[] = { "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu",
	"requests.memory", NULL };
static const char *const counted[] = { "pods", "services", "replicationcontrollers", "resourcequotas", "secrets",
	"configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers", NULL };
static const char *const of_storage[] = { "ephemeral-storage", "requests.storage", "requests.ephemeral-storage",
	"limits.ephemeral-storage", NULL };
static const char *const scope_names[] = { "Terminating", "NotTerminating", "BestEffort", "NotBestEffort",
	"PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass", NULL };

static bool bounds_known(struct str name)
{
	return is_one_of(of_containers, name) || is_one_of(counted, name) || is_one_of(of_storage, name) ||
		str_starts(name, STR("hugepages-")) || str_starts(name, STR("requests.hugepages-"));
}

static void name_validate(struct str name, const char *at, struct err *e)
{
	bool shaped = !qualified_wrong(name, 0);

	validate_qualified(e, at, name);
	if (str_has(name, STR("/")))
		return;
	if (shaped && !bounds_known(name) && !str_is(name, "storage"))
		v_invalid_str(e, at, name, "must be a standard resource type or fully qualified");
	if (!bounds_known(name))
		v_invalid_str(e, at, name, "must be a standard resource for quota");
}

static void amounts_validate(struct rq *rq, struct val amounts, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(amounts); val_next(&it);) {
		char *here = rq_f(rq, "%s[%.*s]", at, STR_ARG(it.key));
		struct quantity q;

		name_validate(it.key, here, e);
		if (!quantity_of(it.val, &q))
			continue;
		if (q.value < 0)
			v_invalid(e, here, it.val, "must be greater than or equal to 0");
		if (is_one_of(counted, it.key) && quantity_milli(q) % 1000)
			v_invalid(e, here, it.val, "must be an integer");
	}
}

/* ---- scopes ---------------------------------------------------------------------------------- */

static bool scope_fits(struct str scope, struct str resource)
{
	if (!is_one_of(scope_names, scope))
		return true; /* is told already */
	if (str_is(scope, "VolumeAttributesClass"))
		return str_is(resource, "persistentvolumeclaims") || str_is(resource, "requests.storage");
	return str_is(resource, "pods") || (!str_is(scope, "BestEffort") && is_one_of(of_containers, resource));
}

static bool scope_fits_all(struct str scope, struct val hard)
{
	bool fits = true;

	for (struct val_iter it = val_iter(hard); val_next(&it);)
		fits &= !bounds_known(it.key) || scope_fits(scope, it.key);
	return fits;
}

/* Of a list of scopes, or of expressions that name one each. */
static bool has_scope(struct val list, const char *scope)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (val_is(it.val, scope) || val_is(val_get(it.val, "scopeName"), scope))
			return true;
	return false;
}

static void no_conflict(struct val list, const char *at, struct val told, struct err *e)
{
	static const char *const pairs[][2] = { { "BestEffort", "NotBestEffort" },
		{ "Terminating", "NotTerminating" } };

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (has_scope(list, pairs[i][0]) && has_scope(list, pairs[i][1]))
			v_invalid(e, at, told, "conflicting scopes");
}

static void scopes_validate(struct val scopes, struct val hard, struct err *e)
{
	for (struct val_iter it = val_iter(scopes); val_next(&it);) {
		if (!is_one_of(scope_names, val_str(it.val)))
			v_invalid(e, "spec.scopes", scopes, "unsupported scope");
		if (!scope_fits_all(val_str(it.val), hard))
			v_invalid(e, "spec.scopes", scopes, "unsupported scope applied to resource");
	}
	no_conflict(scopes, "spec.scopes", scopes, e);
}

/* Only priority and attributes classes have values to choose from. Upstream's paths have no number here. */
static void expression_validate(struct val x, struct err *e)
{
	static const char values_at[] = "spec.scopeSelector.matchExpressions.values",
			  operator_at[] = "spec.scopeSelector.matchExpressions.operator";
	struct str scope = val_str(val_get(x, "scopeName")), op = val_str(val_get(x, "operator"));
	bool chosen = str_is(scope, "PriorityClass") || str_is(scope, "VolumeAttributesClass");

	if (is_one_of(scope_names, scope) && !chosen && !str_is(op, "Exists"))
		v_invalid_str(e, operator_at, op,
			"must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, "
			"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
			"ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
	if (str_is(op, "In") || str_is(op, "NotIn")) {
		if (!val_len(val_get(x, "values")))
			v_required(e, values_at,
				"must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
	} else if (str_is(op, "Exists") || str_is(op, "DoesNotExist")) {
		if (val_len(val_get(x, "values")))
			v_invalid(e, values_at, val_get(x, "values"),
				"must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
	} else {
		v_invalid_str(e, operator_at, op, "not a valid selector operator");
	}
}

static void selector_validate(struct val spec, struct val hard, struct err *e)
{
	struct val selector = val_get(spec, "scopeSelector"), list = val_get(selector, "matchExpressions");

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct val scope = val_get(it.val, "scopeName");

		if (!is_one_of(scope_names, val_str(scope)))
			v_invalid(e, "spec.scopeSelector.matchExpressions.scopeName", scope, "unsupported scope");
		if (!scope_fits_all(val_str(scope), hard))
			v_invalid(e, "spec.scopeSelector.matchExpressions", selector,
				"unsupported scope applied to resource");
		expression_validate(it.val, e);
	}
	no_conflict(list, "spec.scopeSelector.matchExpressions", val_get(spec, "scopes"), e);
}

static bool same_scopes(struct val a, struct val b)
{
	for (size_t i = 0; scope_names[i]; i++)
		if (has_scope(a, scope_names[i]) != has_scope(b, scope_names[i]))
			return false;
	return true;
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), hard = val_get(spec, "hard"), scopes = val_get(spec, "scopes");

	if (str_is(rq->sub, "status")) {
		amounts_validate(rq, val_path(o, "status.hard"), "status.hard", e);
		amounts_validate(rq, val_path(o, "status.used"), "status.used", e);
		return;
	}
	amounts_validate(rq, hard, "spec.hard", e);
	scopes_validate(scopes, hard, e);
	selector_validate(spec, hard, e);
	if (val_has(old) && !same_scopes(scopes, val_path(old, "spec.scopes")))
		v_invalid(e, "spec.scopes", scopes, "field is immutable");
}

const struct strategy strategy_quota = { .validate = validate };

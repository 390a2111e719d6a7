/* Where pods may and should run: node affinity, pod affinity, spread, tolerations. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static void node_expression(struct rq *rq, struct val x, const char *at, struct err *e)
{
	struct str op = val_str(val_get(x, "operator"));
	size_t n = val_len(val_get(x, "values"));

	if ((str_is(op, "In") || str_is(op, "NotIn")) && !n)
		v_required(e, rq_f(rq, "%s.values", at), "must be specified when `operator` is 'In' or 'NotIn'");
	else if ((str_is(op, "Exists") || str_is(op, "DoesNotExist")) && n)
		v_forbidden(e, rq_f(rq, "%s.values", at),
			"may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
	else if ((str_is(op, "Gt") || str_is(op, "Lt")) && n != 1)
		v_required(
			e, rq_f(rq, "%s.values", at), "must be specified single value when `operator` is 'Lt' or 'Gt'");
	validate_qualified(e, rq_f(rq, "%s.key", at), val_str(val_get(x, "key")));
}

static void node_field(struct rq *rq, struct val x, const char *at, struct err *e)
{
	struct str op = val_str(val_get(x, "operator"));
	struct val values = val_get(x, "values");

	if (!str_is(op, "In") && !str_is(op, "NotIn"))
		v_invalid_str(e, rq_f(rq, "%s.operator", at), op, "not a valid selector operator");
	else if (val_len(values) != 1)
		v_required(e, rq_f(rq, "%s.values", at),
			"must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
	if (!val_is(val_get(x, "key"), "metadata.name"))
		v_invalid(e, rq_f(rq, "%s.key", at), val_get(x, "key"), "not a valid field selector key");
	for (size_t i = 0; i < val_len(values); i++)
		validate_name(e, rq_f(rq, "%s.values[%zu]", at, i), val_str(val_at(values, i)), NAME_SUBDOMAIN);
}

static void node_term(struct rq *rq, struct val term, const char *at, struct err *e)
{
	struct val expressions = val_get(term, "matchExpressions"), fields = val_get(term, "matchFields");

	for (size_t i = 0; i < val_len(expressions); i++)
		node_expression(rq, val_at(expressions, i), rq_f(rq, "%s.matchExpressions[%zu]", at, i), e);
	for (size_t i = 0; i < val_len(fields); i++)
		node_field(rq, val_at(fields, i), rq_f(rq, "%s.matchFields[%zu]", at, i), e);
}

void validate_node_selector(struct rq *rq, struct val selector, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(selector, "nodeSelectorTerms")); val_next(&it);)
		node_term(rq, it.val, rq_f(rq, "%s.nodeSelectorTerms[%zu]", at, it.i), e);
}

static void pod_term(struct rq *rq, struct val term, const char *at, struct err *e)
{
	struct val namespaces = val_get(term, "namespaces");

	validate_label_selector(rq, val_get(term, "labelSelector"), rq_f(rq, "%s.labelSelector", at), e);
	validate_label_selector(rq, val_get(term, "namespaceSelector"), rq_f(rq, "%s.namespaceSelector", at), e);
	for (size_t i = 0; i < val_len(namespaces); i++)
		validate_name(e, rq_f(rq, "%s.namespaces", at), val_str(val_at(namespaces, i)), NAME_LABEL);
	validate_qualified(e, rq_f(rq, "%s.topologyKey", at), val_str(val_get(term, "topologyKey")));
}

/* What must hold and what is wished for: terms of one kind, at two places. */
static void affinity(struct rq *rq, struct val a, const char *at, const char *terms, const char *wished,
	void (*term)(struct rq *rq, struct val term, const char *at, struct err *e), struct err *e)
{
	struct val must = val_path(a, terms), wishes = val_get(a, "preferredDuringSchedulingIgnoredDuringExecution");

	for (size_t i = 0; i < val_len(must); i++)
		term(rq, val_at(must, i), rq_f(rq, "%s.%s[%zu]", at, terms, i), e);
	for (size_t i = 0; i < val_len(wishes); i++)
		term(rq, val_get(val_at(wishes, i), wished),
			rq_f(rq, "%s.preferredDuringSchedulingIgnoredDuringExecution[%zu].%s", at, i, wished), e);
}

static void node_affinity(struct rq *rq, struct val a, const char *at, struct err *e)
{
	affinity(rq, a, at, "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms", "preference", node_term,
		e);
}

static void pod_affinity(struct rq *rq, struct val a, const char *at, struct err *e)
{
	affinity(rq, a, at, "requiredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm", pod_term, e);
}

static void spread(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "topologySpreadConstraints");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val c = val_at(list, i), key = val_get(c, "topologyKey"), when = val_get(c, "whenUnsatisfiable");
		char *at = rq_f(rq, "%s.topologySpreadConstraints[%zu]", path, i);
		validate_qualified(e, rq_f(rq, "%s.topologyKey", at), val_str(key));
		validate_label_selector(rq, val_get(c, "labelSelector"), rq_f(rq, "%s.labelSelector", at), e);
		if (val_has(val_get(c, "minDomains")) && !val_is(when, "DoNotSchedule"))
			v_invalid(e, rq_f(rq, "%s.minDomains", at), val_get(c, "minDomains"),
				rq_f(rq, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not %.*s",
					STR_ARG(val_str(when))));
		for (size_t k = 0; k < i; k++)
			if (val_equal(key, val_get(val_at(list, k), "topologyKey")) &&
				val_equal(when, val_get(val_at(list, k), "whenUnsatisfiable")))
				v_duplicate(e, rq_f(rq, "%s.{topologyKey, whenUnsatisfiable}", at),
					str_c(rq_f(rq, "{%.*s, %.*s}", STR_ARG(val_str(key)), STR_ARG(val_str(when)))));
	}
}

void validate_tolerations(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "tolerations");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val t = val_at(list, i);
		struct str key = val_str(val_get(t, "key")), op = val_str(val_get(t, "operator"));
		char *at = rq_f(rq, "%s.tolerations[%zu]", path, i);
		if (key.n)
			validate_qualified(e, rq_f(rq, "%s.key", at), key);
		if (!key.n && !str_is(op, "Exists"))
			v_invalid_str(e, rq_f(rq, "%s.operator", at), op,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
		if (val_has(val_get(t, "tolerationSeconds")) && !val_is(val_get(t, "effect"), "NoExecute"))
			v_invalid_str(e, rq_f(rq, "%s.effect", at), val_str(val_get(t, "effect")),
				"effect must be 'NoExecute' when `tolerationSeconds` is set");
		if (!str_is(op, "Exists"))
			validate_label_value(e, rq_f(rq, "%s.operator", at), val_str(val_get(t, "value")));
		else if (val_str(val_get(t, "value")).n)
			v_invalid(e, rq_f(rq, "%s.operator", at), t, "value must be empty when `operator` is 'Exists'");
	}
}

void validate_placement(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val a = val_get(spec, "affinity");

	validate_labels(rq, val_get(spec, "nodeSelector"), rq_f(rq, "%s.nodeSelector", path), e);
	node_affinity(rq, val_get(a, "nodeAffinity"), rq_f(rq, "%s.affinity.nodeAffinity", path), e);
	pod_affinity(rq, val_get(a, "podAffinity"), rq_f(rq, "%s.affinity.podAffinity", path), e);
	pod_affinity(rq, val_get(a, "podAntiAffinity"), rq_f(rq, "%s.affinity.podAntiAffinity", path), e);
	validate_tolerations(rq, spec, path, e);
	spread(rq, spec, path, e);
}

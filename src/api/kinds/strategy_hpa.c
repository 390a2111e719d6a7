/* HorizontalPodAutoscalers: limits, metrics and behavior make sense. */
#include "api/api_internal.h"

#define WINDOW_MAX_S 3600
#define PERIOD_MAX_S 1800

/* ---- metrics --------------------------------------------------------------------------------- */

static void positive(struct val v, const char *path, struct err *e)
{
	struct quantity q;

	if (val_has(v) && quantity_of(v, &q) && q.value <= 0)
		v_invalid(e, path, v, "must be positive");
}

static void validate_target(struct rq *rq, struct val target, const char *path, struct err *e)
{
	static const char *const types[] = { "Utilization", "Value", "AverageValue", NULL };
	struct val percent = val_get(target, "averageUtilization");
	struct str type = val_str(val_get(target, "type"));

	if (!type.n)
		v_required(e, rq_f(rq, "%s.type", path), "must specify a metric target type");
	if (!is_one_of(types, type))
		v_invalid_str(e, rq_f(rq, "%s.type", path), type, "must be either Utilization, Value, or AverageValue");

	positive(val_get(target, "value"), rq_f(rq, "%s.value", path), e);
	positive(val_get(target, "averageValue"), rq_f(rq, "%s.averageValue", path), e);
	if (val_has(percent) && val_int(percent, 0) < 1)
		v_invalid(e, rq_f(rq, "%s.averageUtilization", path), percent, "must be greater than 0");
}

static void validate_resource(struct rq *rq, struct val source, const char *path, bool of_container, struct err *e)
{
	struct val target = val_get(source, "target");
	bool percent = val_has(val_get(target, "averageUtilization")), value = val_has(val_get(target, "averageValue"));

	if (!val_str(val_get(source, "name")).n)
		v_required(e, rq_f(rq, "%s.name", path), "must specify a resource name");
	if (of_container && !val_str(val_get(source, "container")).n)
		v_required(e, rq_f(rq, "%s.container", path), "must specify a container");
	validate_target(rq, target, rq_f(rq, "%s.target", path), e);
	if (!percent && !value)
		v_required(e, rq_f(rq, "%s.target.averageUtilization", path),
			"must set either a target raw value or a target utilization");
	else if (percent && value)
		v_forbidden(e, rq_f(rq, "%s.target.averageValue", path),
			"may not set both a target raw value and a target utilization");
}

static void validate_metric_name(struct rq *rq, struct val source, const char *path, struct err *e)
{
	struct str name = val_str(val_path(source, "metric.name"));

	if (!name.n)
		v_required(e, rq_f(rq, "%s.metric.name", path), "must specify a metric name");
	else
		validate_name(e, rq_f(rq, "%s.metric.name", path), name, NAME_PATH);
}

static void validate_reference(struct rq *rq, struct val ref, const char *path, struct err *e)
{
	static const char *const fields[] = { "kind", "name" }; /* the schema says where one is missing */

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (val_str(val_get(ref, fields[i])).n)
			validate_name(
				e, rq_f(rq, "%s.%s", path, fields[i]), val_str(val_get(ref, fields[i])), NAME_PATH);
}

static void validate_pods(struct rq *rq, struct val source, const char *path, struct err *e)
{
	struct val target = val_get(source, "target");

	validate_metric_name(rq, source, path, e);
	validate_target(rq, target, rq_f(rq, "%s.target", path), e);
	if (!val_has(val_get(target, "averageValue")))
		v_required(e, rq_f(rq, "%s.target.averageValue", path), "must specify a positive target averageValue");
}

static void validate_object(struct rq *rq, struct val source, const char *path, struct err *e)
{
	struct val target = val_get(source, "target");

	validate_reference(rq, val_get(source, "describedObject"), rq_f(rq, "%s.describedObject", path), e);
	validate_metric_name(rq, source, path, e);
	validate_target(rq, target, rq_f(rq, "%s.target", path), e);
	if (!val_has(val_get(target, "value")) && !val_has(val_get(target, "averageValue")))
		v_required(
			e, rq_f(rq, "%s.target.averageValue", path), "must set either a target value or averageValue");
}

static void validate_external(struct rq *rq, struct val source, const char *path, struct err *e)
{
	struct val target = val_get(source, "target");
	bool value = val_has(val_get(target, "value")), average = val_has(val_get(target, "averageValue"));

	validate_metric_name(rq, source, path, e);
	validate_target(rq, target, rq_f(rq, "%s.target", path), e);
	if (!value && !average)
		v_required(e, rq_f(rq, "%s.target.averageValue", path),
			"must set either a target value for metric or a per-pod target");
	else if (value && average)
		v_forbidden(e, rq_f(rq, "%s.target.value", path),
			"may not set both a target value for metric and a per-pod target");
}

static void validate_pod_resource(struct rq *rq, struct val source, const char *path, struct err *e)
{
	validate_resource(rq, source, path, false, e);
}

static void validate_container_resource(struct rq *rq, struct val source, const char *path, struct err *e)
{
	validate_resource(rq, source, path, true, e);
}

static const struct {
	const char *type, *field;
	void (*check)(struct rq *rq, struct val source, const char *path, struct err *e);
} sorts[] = { { "Object", "object", validate_object }, { "Pods", "pods", validate_pods },
	{ "Resource", "resource", validate_pod_resource },
	{ "ContainerResource", "containerResource", validate_container_resource },
	{ "External", "external", validate_external } };

static void validate_metric(struct rq *rq, struct val m, const char *path, struct err *e)
{
	if (!val_str(val_get(m, "type")).n) {
		static const char *const types[] = { "ContainerResource", "External", "Object", "Pods", "Resource",
			NULL };

		v_required(e, rq_f(rq, "%s.type", path), "must specify a metric source type");
		v_unsupported(e, rq_f(rq, "%s.type", path), STR(""), types);
	}
	for (size_t i = 0; i < ARRAY_LEN(sorts); i++) {
		struct val source = val_get(m, sorts[i].field);
		bool meant = val_is(val_get(m, "type"), sorts[i].type);
		const char *at = rq_f(rq, "%s.%s", path, sorts[i].field);

		if (meant && !val_has(source))
			v_required(e, at, "must populate information for the given metric source");
		else if (!meant && val_has(source))
			v_forbidden(e, at, "must populate the given metric source only");
		else if (meant)
			sorts[i].check(rq, source, at, e);
	}
}

/* Without pods there is no metric of pods to come back by. */
static void validate_zero(struct val o, struct err *e)
{
	bool outside = false;

	if (val_int(val_path(o, "spec.minReplicas"), 1) != 0)
		return;
	for (struct val_iter it = val_iter(val_path(o, "spec.metrics")); val_next(&it);)
		outside |= val_is(val_get(it.val, "type"), "Object") || val_is(val_get(it.val, "type"), "External");
	if (!outside)
		v_forbidden(e, "spec.metrics",
			"must specify at least one Object or External metric to support scaling to zero replicas");
}

/* ---- behavior -------------------------------------------------------------------------------- */

static void between(struct val v, const char *path, int64_t least, const char *too_small, int64_t most,
	const char *too_big, struct err *e)
{
	if (!val_has(v))
		return;
	if (val_int(v, 0) < least)
		v_invalid(e, path, v, too_small);
	else if (val_int(v, 0) > most)
		v_invalid(e, path, v, too_big);
}

static void validate_rules(struct rq *rq, struct val rules, const char *path, struct err *e)
{
	struct val policies = val_get(rules, "policies");

	if (!val_has(rules))
		return;
	between(val_get(rules, "stabilizationWindowSeconds"), rq_f(rq, "%s.stabilizationWindowSeconds", path), 0,
		"must be greater than or equal to zero", WINDOW_MAX_S, "must be less than or equal to 3600", e);
	if (!val_len(policies))
		v_required(e, rq_f(rq, "%s.policies", path), "must specify at least one Policy");
	for (struct val_iter it = val_iter(policies); val_next(&it);) {
		between(val_get(it.val, "value"), rq_f(rq, "%s.policies[%zu].value", path, it.i), 1,
			"must be greater than zero", INT64_MAX, "", e);
		between(val_get(it.val, "periodSeconds"), rq_f(rq, "%s.policies[%zu].periodSeconds", path, it.i), 1,
			"must be greater than zero", PERIOD_MAX_S, "must be less than or equal to 1800", e);
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void hpa_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	int64_t least = val_int(val_path(o, "spec.minReplicas"), 1), most = val_int(val_path(o, "spec.maxReplicas"), 0);

	struct val percent = val_path(o, "spec.targetCPUUtilizationPercentage");

	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	if (most < 1)
		v_invalid(e, "spec.maxReplicas", val_path(o, "spec.maxReplicas"), "must be greater than 0");
	if (most < least)
		v_invalid(e, "spec.maxReplicas", val_path(o, "spec.maxReplicas"),
			"must be greater than or equal to `minReplicas`");
	validate_reference(rq, val_path(o, "spec.scaleTargetRef"), "spec.scaleTargetRef", e);
	if (val_has(percent) && val_int(percent, 0) < 1) /* v1 */
		v_invalid(e, "spec.metrics[0].resource.target.averageUtilization", percent, "must be greater than 0");
	for (struct val_iter it = val_iter(val_path(o, "spec.metrics")); val_next(&it);)
		validate_metric(rq, it.val, rq_f(rq, "spec.metrics[%zu]", it.i), e);
	validate_zero(o, e);
	validate_rules(rq, val_path(o, "spec.behavior.scaleUp"), "spec.behavior.scaleUp", e);
	validate_rules(rq, val_path(o, "spec.behavior.scaleDown"), "spec.behavior.scaleDown", e);
}

const struct strategy strategy_hpa = { .validate = hpa_validate };

/* HorizontalPodAutoscalers are stored as autoscaling/v2. autoscaling/v1 knows only the CPU percentage; what else there
 * is stands in annotations of its objects, in upstream's form, and comes back from there. */
#include "api/api_internal.h"

#define METRICS "autoscaling.alpha.kubernetes.io/metrics"
#define CURRENT "autoscaling.alpha.kubernetes.io/current-metrics"
#define CONDITIONS "autoscaling.alpha.kubernetes.io/conditions"
#define BEHAVIOR "autoscaling.alpha.kubernetes.io/behavior"

/* ---- one metric: v2 has nested names and targets where v1 is flat ---------------------------- */

struct pair {
	const char *type, *source, *v1, *v2; /* paths below the source */
};
static const struct pair specs[] = {
	{ "Resource", "resource", "name", "name" },
	{ "Resource", "resource", "targetAverageUtilization", "target.averageUtilization" },
	{ "Resource", "resource", "targetAverageValue", "target.averageValue" },
	{ "ContainerResource", "containerResource", "name", "name" },
	{ "ContainerResource", "containerResource", "container", "container" },
	{ "ContainerResource", "containerResource", "targetAverageUtilization", "target.averageUtilization" },
	{ "ContainerResource", "containerResource", "targetAverageValue", "target.averageValue" },
	{ "Pods", "pods", "metricName", "metric.name" },
	{ "Pods", "pods", "selector", "metric.selector" },
	{ "Pods", "pods", "targetAverageValue", "target.averageValue" },
	{ "Object", "object", "target", "describedObject" },
	{ "Object", "object", "metricName", "metric.name" },
	{ "Object", "object", "selector", "metric.selector" },
	{ "Object", "object", "targetValue", "target.value" },
	{ "Object", "object", "averageValue", "target.averageValue" },
	{ "External", "external", "metricName", "metric.name" },
	{ "External", "external", "metricSelector", "metric.selector" },
	{ "External", "external", "targetValue", "target.value" },
	{ "External", "external", "targetAverageValue", "target.averageValue" },
};
static const struct pair statuses[] = {
	{ "Resource", "resource", "name", "name" },
	{ "Resource", "resource", "currentAverageUtilization", "current.averageUtilization" },
	{ "Resource", "resource", "currentAverageValue", "current.averageValue" },
	{ "ContainerResource", "containerResource", "name", "name" },
	{ "ContainerResource", "containerResource", "container", "container" },
	{ "ContainerResource", "containerResource", "currentAverageUtilization", "current.averageUtilization" },
	{ "ContainerResource", "containerResource", "currentAverageValue", "current.averageValue" },
};

static struct node *turn(struct arena *a, struct node *metric, const struct pair *pairs, size_t n, bool to_v1)
{
	struct str type = node_text_str(node_getc(metric, "type"));
	struct node *out = node_map(a);

	node_setc(out, "type", node_str(a, type));
	for (size_t i = 0; i < n; i++) {
		struct node *from = str_is(type, pairs[i].type) ? node_getc(metric, pairs[i].source) : NULL;
		struct node *value = node_path(from, to_v1 ? pairs[i].v2 : pairs[i].v1);

		if (value)
			node_set_path(node_need_map(out, pairs[i].source), to_v1 ? pairs[i].v1 : pairs[i].v2,
				node_copy(a, value));
	}
	return out;
}

/* MetricTarget.type, which v1 does not say. */
static void say_target_type(struct arena *a, struct node *metric)
{
	static const char *const sources[] = { "resource", "containerResource", "pods", "object", "external" };

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		struct node *target = node_path(node_getc(metric, sources[i]), "target");

		if (target)
			node_setc(target, "type",
				node_c(a,
					node_getc(target, "averageUtilization")   ? "Utilization" :
						node_getc(target, "averageValue") ? "AverageValue" :
										    "Value"));
	}
}

static bool is_cpu_percent(struct node *metric, const char *path)
{
	return node_path(metric, path) && str_is(node_text_str(node_path(metric, "resource.name")), "cpu");
}

/* ---- annotations ----------------------------------------------------------------------------- */

static void put_text(struct arena *a, struct node *o, const char *key, struct node *value)
{
	struct buf b = BUF_INIT;

	node_write(value, &b);
	node_setc(node_need_map(o, "metadata.annotations"), key, node_str(a, buf_view(&b)));
	buf_fini(&b);
}

/* NULL: it is not there, or is no JSON. */
static struct node *take_text(struct arena *a, struct node *o, const char *key)
{
	struct node *annotations = node_path(o, "metadata.annotations"), *text = node_getc(annotations, key);
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (!text)
		return NULL;
	if (doc_parse(node_text_str(text), &d, &e) >= 0)
		doc_hold(a, d);
	node_delc(annotations, key);
	if (!node_len(annotations))
		node_delc(node_getc(o, "metadata"), "annotations");
	return d ? node_from(a, doc_root(d)) : NULL;
}

/* ---- both ways ------------------------------------------------------------------------------- */

static void metrics_to_v1(struct arena *a, struct node *o, struct node *into, const char *list, const char *percent,
	const char *path, const char *key, const struct pair *pairs, size_t n)
{
	struct node *metrics = node_getc(into, list), *others = node_list(a);

	for (size_t i = 0; i < node_len(metrics); i++) {
		struct node *m = node_at(metrics, i);

		if (is_cpu_percent(m, path) && !node_getc(into, percent))
			node_setc(into, percent, node_copy(a, node_path(m, path)));
		else
			node_add(others, turn(a, m, pairs, n, true));
	}
	if (node_len(others))
		put_text(a, o, key, others);
	node_delc(into, list);
}

void hpa_v1_from_v2(struct arena *a, struct node *o)
{
	struct node *spec = node_getc(o, "spec"), *status = node_getc(o, "status");

	node_setc(o, "apiVersion", node_c(a, "autoscaling/v1"));
	if (spec) {
		metrics_to_v1(a, o, spec, "metrics", "targetCPUUtilizationPercentage",
			"resource.target.averageUtilization", METRICS, specs, ARRAY_LEN(specs));
		if (node_getc(spec, "behavior"))
			put_text(a, o, BEHAVIOR, node_getc(spec, "behavior"));
		node_delc(spec, "behavior");
	}
	if (status) {
		metrics_to_v1(a, o, status, "currentMetrics", "currentCPUUtilizationPercentage",
			"resource.current.averageUtilization", CURRENT, statuses, ARRAY_LEN(statuses));
		if (node_len(node_getc(status, "conditions")))
			put_text(a, o, CONDITIONS, node_getc(status, "conditions"));
		node_delc(status, "conditions");
	}
}

static void metrics_to_v2(struct arena *a, struct node *into, const char *list, struct node *first, struct node *others,
	const struct pair *pairs, size_t n)
{
	struct node *metrics = node_list(a);

	if (first)
		node_add(metrics, first);
	for (size_t i = 0; i < node_len(others); i++) {
		node_add(metrics, turn(a, node_at(others, i), pairs, n, false));
		say_target_type(a, node_at(metrics, node_len(metrics) - 1));
	}
	if (node_len(metrics))
		node_setc(into, list, metrics);
}

void hpa_v2_from_v1(struct arena *a, struct node *o)
{
	struct node *spec = node_getc(o, "spec"), *status = node_getc(o, "status"),
		    *behavior = take_text(a, o, BEHAVIOR);
	struct node *cpu = node_getc(spec, "targetCPUUtilizationPercentage"),
		    *now = node_getc(status, "currentCPUUtilizationPercentage");
	struct node *others = take_text(a, o, METRICS), *current = take_text(a, o, CURRENT),
		    *conditions = take_text(a, o, CONDITIONS);

	node_setc(o, "apiVersion", node_c(a, "autoscaling/v2"));
	if (node_kind(spec) == VAL_MAP) {
		node_delc(spec, "targetCPUUtilizationPercentage");
		metrics_to_v2(a, spec, "metrics",
			cpu ? node_pack(a,
				      "{type:'Resource', resource:{name:'cpu', target:{type:'Utilization', "
				      "averageUtilization:o}}}",
				      cpu) :
			      NULL,
			others, specs, ARRAY_LEN(specs));
		if (node_kind(behavior) == VAL_MAP)
			node_setc(spec, "behavior", behavior);
	}
	if (node_kind(status) == VAL_MAP) {
		node_delc(status, "currentCPUUtilizationPercentage");
		metrics_to_v2(a, status, "currentMetrics",
			now ? node_pack(a,
				      "{type:'Resource', resource:{name:'cpu', current:{averageUtilization:o, "
				      "averageValue:'0'}}}",
				      now) :
			      NULL,
			current, statuses, ARRAY_LEN(statuses));
		if (node_kind(conditions) == VAL_LIST)
			node_setc(status, "conditions", conditions);
	}
}

/* autoscale: sets the scale of a HorizontalPodAutoscaler's target by what its pods use.
 *
 * Every 15 s: the target's scale is read, metrics.k8s.io is asked what the pods use, each metric asks for a number of
 * pods, the highest of them is held against the past and the limits (autoscale_decide.c), and the scale is written. The
 * past is kept in memory and begins anew with us. Source of the semantics: the Kubernetes documentation, "Horizontal
 * Pod Autoscaling". */
#include "controllers/autoscale.h"

#include <inttypes.h>

#define LOG_MODULE "controllers"
#define PERIOD_MS 15000
#define TOLERANCE 0.1

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *hpa, *scale;
	struct gvr target;
	struct str key;
	struct history *past;
	struct node *conditions, *current; /* of the new status */
	int64_t least, most, replicas, wished;
	bool rescaled;
	/* pods of the target, and what metrics.k8s.io says of them */
	struct informer_list pods;
	struct map *usage; /* name → doc, refs held by the arena */
	size_t n_usage;
};

/* ---- what is remembered of each autoscaler --------------------------------------------------- */

struct pasts {
	struct task_mutex lock;
	struct map *by_key; /* → struct history; used by who works on the key */
};

static void end_history(void *h)
{
	history_free(h);
}

static void *pasts_new(struct ctl *c)
{
	struct pasts *s = xcalloc(1, sizeof(*s));

	(void)c;
	task_mutex_init(&s->lock);
	s->by_key = map_new(end_history);
	return s;
}

static void pasts_free(void *state)
{
	struct pasts *s = state;

	map_free(s->by_key);
	task_mutex_fini(&s->lock);
	free(s);
}

static struct history *past_of(struct ctl *c, struct str key)
{
	struct pasts *s = c->state;
	struct history *h;

	task_lock(&s->lock);
	h = map_get(s->by_key, key);
	if (!h) {
		h = xcalloc(1, sizeof(*h));
		map_put(s->by_key, key, h);
	}
	task_unlock(&s->lock);
	return h;
}

static void forget(struct ctl *c, struct str key)
{
	struct pasts *s = c->state;

	task_lock(&s->lock);
	map_del(s->by_key, key);
	task_unlock(&s->lock);
}

/* ---- saying ---------------------------------------------------------------------------------- */

static void condition(struct work *w, const char *type, bool is, const char *reason, const char *message)
{
	set_condition(w->a, w->conditions, type, is ? "True" : "False", reason, message, false);
}

static void warn(struct work *w, const char *reason, const char *message)
{
	recorder_event(w->c->recorder, w->hpa, "Warning", reason, "%s", message);
}

/* ---- one metric ------------------------------------------------------------------------------ */

struct metric {
	struct val spec, target;        /* of spec.metrics; its target */
	struct str resource, container; /* container empty: the pod's sum */
};

/* Thousandths of what a container is said to use; false: nothing is said. */
static bool amount(struct val usage, struct str resource, int64_t *sum)
{
	struct quantity q;

	if (!quantity_of(val_get_str(usage, resource), &q))
		return false;
	*sum += quantity_milli(q);
	return true;
}

static bool usage_of(struct work *w, const struct metric *m, struct str pod, int64_t *ret, struct sample *s)
{
	struct doc *d = map_get(w->usage, pod);
	struct wall at = { 0 };
	int64_t sum = 0;
	bool any = false;

	*s = (struct sample){ 0 };
	for (struct val_iter it = val_iter(d ? doc_get(d, "containers") : VAL_NONE); val_next(&it);) {
		if (m->container.n && !str_eq(val_str(val_get(it.val, "name")), m->container))
			continue;
		if (!amount(val_get(it.val, "usage"), m->resource, &sum))
			return false;
		any = true;
	}
	if (!any)
		return false;
	*ret = sum;
	wall_parse(doc_str(d, "timestamp"), &at);
	*s = (struct sample){ true, at.ns, 0 };
	duration_parse(doc_str(d, "window"), &s->window_ns);
	return true;
}

static bool add_request(
	struct work *w, const struct metric *m, struct doc *pod, struct val container, int64_t *sum, const char **why)
{
	if (m->container.n && !str_eq(val_str(val_get(container, "name")), m->container))
		return true;
	if (amount(val_path(container, "resources.requests"), m->resource, sum))
		return true;
	*why = arena_printf(w->a, "missing request for %.*s in container %.*s of Pod %.*s", STR_ARG(m->resource),
		STR_ARG(val_str(val_get(container, "name"))), STR_ARG(doc_name(pod)));
	return false;
}

/* Containers, and init containers that go on beside them. */
static bool request_of(struct work *w, const struct metric *m, struct doc *pod, int64_t *ret, const char **why)
{
	int64_t sum = 0;

	for (struct val_iter it = val_iter(doc_get(pod, "spec.containers")); val_next(&it);)
		if (!add_request(w, m, pod, it.val, &sum, why))
			return false;
	for (struct val_iter it = val_iter(doc_get(pod, "spec.initContainers")); val_next(&it);)
		if (val_is(val_get(it.val, "restartPolicy"), "Always") && !add_request(w, m, pod, it.val, &sum, why))
			return false;
	*ret = sum;
	return true;
}

static struct metric_target target_of(struct work *w, const struct metric *m)
{
	struct val percent = val_get(m->target, "averageUtilization");
	static const char *const paths[] = { "spec.behavior.scaleUp.tolerance", "spec.behavior.scaleDown.tolerance" };
	double tolerance[2] = { TOLERANCE, TOLERANCE };
	struct quantity q = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (quantity_of(doc_get(w->hpa, paths[i]), &q))
			tolerance[i] = (double)quantity_milli(q) / 1000;
	if (val_has(percent))
		return (struct metric_target){ true, val_int(percent, 0), tolerance[0], tolerance[1] };
	q = (struct quantity){ 0 };
	quantity_of(val_get(m->target, "averageValue"), &q);
	return (struct metric_target){ false, quantity_milli(q), tolerance[0], tolerance[1] };
}

static bool measure(struct work *w, const struct metric *m, struct metric_answer *ret, const char **why)
{
	struct pod_usage *pods = ARENA_ARRAY(w->a, struct pod_usage, w->pods.n + 1);
	struct metric_target t = target_of(w, m);

	*why = "the target is no positive number";
	if (t.value <= 0)
		return false;
	*why = "no pods returned by selector while calculating replica count";
	if (!w->pods.n)
		return false;
	if (!w->n_usage) {
		*why = arena_printf(w->a,
			"unable to get metrics for resource %.*s: no metrics returned from resource metrics API",
			STR_ARG(m->resource));
		return false;
	}
	for (size_t i = 0; i < w->pods.n; i++) {
		struct sample s;

		usage_of(w, m, doc_name(w->pods.items[i]), &pods[i].usage, &s);
		pods[i].use = autoscale_use(w->pods.items[i], str_is(m->resource, "cpu"), s, wall_now());
		if (t.percent && !request_of(w, m, w->pods.items[i], &pods[i].request, why))
			return false;
	}
	return autoscale_replicas(pods, w->pods.n, t, w->replicas, ret, why);
}

static const char *name_of(struct work *w, const struct metric *m)
{
	const char *what = m->container.n ? "container resource" : "resource";
	bool percent = val_has(val_get(m->target, "averageUtilization"));

	return arena_printf(
		w->a, "%.*s %s%s", STR_ARG(m->resource), what, percent ? " utilization (percentage of request)" : "");
}

static void say_current(struct work *w, const struct metric *m, const struct metric_answer *answer)
{
	bool percent = val_has(val_get(m->target, "averageUtilization"));
	char text[QUANTITY_TEXT_MAX];
	struct node *current;

	quantity_text((struct quantity){ answer->average, -3, QUANTITY_DECIMAL }, text);
	current = node_pack(w->a, "{averageValue:s}", text);
	if (percent)
		node_setc(current, "averageUtilization", node_int(w->a, answer->percent));
	if (m->container.n)
		node_add(w->current,
			node_pack(w->a,
				"{type:'ContainerResource', containerResource:{name:S, container:S, current:o}}",
				m->resource, m->container, current));
	else
		node_add(w->current,
			node_pack(w->a, "{type:'Resource', resource:{name:S, current:o}}", m->resource, current));
}

/* Metrics of other sorts come from APIs that we do not ask. */
static const char *not_served(struct work *w, struct val spec, const char **reason)
{
	struct str type = val_str(val_get(spec, "type"));
	bool object = str_is(type, "Object"), pods = str_is(type, "Pods");
	const char *path = object ? "object.metric.name" : pods ? "pods.metric.name" : "external.metric.name";

	*reason = object ? "FailedGetObjectMetric" : pods ? "FailedGetPodsMetric" : "FailedGetExternalMetric";
	return arena_printf(w->a,
		"unable to get metric %.*s: %s is not asked by this autoscaler: only metrics of the types Resource and "
		"ContainerResource are supported",
		STR_ARG(val_str(val_path(spec, path))),
		object || pods ? "custom.metrics.k8s.io" : "external.metrics.k8s.io");
}

/* NULL: *ret is good; otherwise why not, and *reason. */
static const char *ask_metric(
	struct work *w, struct val spec, struct metric_answer *ret, const char **name, const char **reason)
{
	bool of_container = val_is(val_get(spec, "type"), "ContainerResource");
	struct val source = val_get(spec, of_container ? "containerResource" : "resource");
	struct metric m = { spec, val_get(source, "target"), val_str(val_get(source, "name")),
		of_container ? val_str(val_get(source, "container")) : STR_NULL };
	const char *why;

	if (!of_container && !val_is(val_get(spec, "type"), "Resource"))
		return not_served(w, spec, reason);
	*reason = of_container ? "FailedGetContainerResourceMetric" : "FailedGetResourceMetric";
	*name = name_of(w, &m);
	if (!measure(w, &m, ret, &why))
		return arena_printf(w->a, "failed to get %.*s %s: %s", STR_ARG(m.resource),
			val_has(val_get(m.target, "averageUtilization")) ? "utilization" : "usage", why);
	say_current(w, &m, ret);
	return NULL;
}

/* ---- all metrics ----------------------------------------------------------------------------- */

static void take_usage(void *arg, struct doc *take)
{
	struct work *w = arg;

	doc_hold(w->a, take);
	map_put(w->usage, doc_name(take), take);
	w->n_usage++;
}

static int read_pods(struct work *w, struct str selector_text, struct err *e)
{
	struct informer_list all = informer_list(ctl_informer(w->c, res_pods), w->a, "ns", doc_ns(w->hpa));
	struct client_request usage = {
		.verb = VERB_LIST, .res = res_podmetrics, .ns = doc_ns(w->hpa), .label_selector = selector_text
	};
	const struct selector *s;
	char revision[24];

	if (selector_parse(w->a, selector_text, &s, e) < 0)
		return -e->code;
	w->pods = (struct informer_list){ ARENA_ARRAY(w->a, struct doc *, all.n + 1), 0 };
	for (size_t i = 0; i < all.n; i++)
		if (selector_matches(s, doc_get(all.items[i], "metadata.labels")))
			w->pods.items[w->pods.n++] = all.items[i];
	if (client_list(w->c->client, &usage, take_usage, w, revision, e) < 0)
		log_debug("%.*s: metrics: %s", STR_ARG(w->key),
			e->message); /* every metric will say that there are none */
	err_init(e);
	return 0;
}

/* Two that scale the same thing would fight. */
static bool is_alone(struct work *w)
{
	struct informer_list all =
		informer_list(ctl_informer(w->c, res_horizontalpodautoscalers), w->a, NULL, STR_NULL);
	struct buf names = BUF_INIT;
	size_t n = 0;

	for (size_t i = 0; i < all.n; i++)
		if (str_eq(doc_ns(all.items[i]), doc_ns(w->hpa)) &&
			val_equal(doc_get(all.items[i], "spec.scaleTargetRef"), doc_get(w->hpa, "spec.scaleTargetRef")))
			buf_printf(&names, "%s%.*s/%.*s", n++ ? " " : "", STR_ARG(doc_ns(all.items[i])),
				STR_ARG(doc_name(all.items[i])));
	if (n > 1) {
		const char *text = arena_printf(w->a, "pods by selector %.*s are controlled by multiple HPAs: [%.*s]",
			STR_ARG(doc_str(w->scale, "status.selector")), STR_ARG(buf_view(&names)));

		warn(w, "AmbiguousSelector", text);
		condition(w, "ScalingActive", false, "AmbiguousSelector", text);
	}
	buf_fini(&names);
	return n <= 1;
}

static bool find_pods(struct work *w)
{
	struct str selector = doc_str(w->scale, "status.selector");
	struct err e;

	err_init(&e);
	if (!selector.n) {
		warn(w, "SelectorRequired", "selector is required");
		condition(w, "ScalingActive", false, "InvalidSelector", "the HPA target's scale is missing a selector");
		return false;
	}
	if (!is_alone(w))
		return false;
	if (read_pods(w, selector, &e) >= 0)
		return true;
	warn(w, "InvalidSelector", e.message);
	condition(w, "ScalingActive", false, "InvalidSelector",
		arena_printf(w->a, "the HPA target's scale has an invalid selector: %s", e.message));
	return false;
}

/* The most that any metric asks for. Those that cannot be had let nothing shrink. false: nothing is to be done; it has
 * been said why. */
static bool ask_metrics(struct work *w, const char **name)
{
	const char *first_why = NULL, *first_reason = NULL;
	size_t bad = 0, n = val_len(doc_get(w->hpa, "spec.metrics"));
	int64_t most = 0;

	if (!find_pods(w))
		return false;
	for (struct val_iter it = val_iter(doc_get(w->hpa, "spec.metrics")); val_next(&it);) {
		const char *reason = NULL, *is = NULL, *why;
		struct metric_answer answer = { 0 };

		why = ask_metric(w, it.val, &answer, &is, &reason);
		if (why)
			warn(w, reason, why);
		first_why = first_why ? first_why : why;
		first_reason = first_reason ? first_reason : reason && why ? reason : NULL;
		bad += why != NULL;
		if (why || (most && answer.replicas <= most))
			continue;
		most = answer.replicas;
		*name = is;
	}
	if (bad >= n || (bad && most < w->replicas)) {
		condition(w, "ScalingActive", false, first_reason,
			arena_printf(w->a, "the HPA was unable to compute the replica count: %s", first_why));
		warn(w, "FailedComputeMetricsReplicas",
			arena_printf(w->a, "invalid metrics (%zu invalid out of %zu), first error is: %s", bad, n,
				first_why));
		return false;
	}
	condition(w, "ScalingActive", true, "ValidMetricFound",
		arena_printf(w->a, "the HPA was able to successfully calculate a replica count from %s", *name));
	w->wished = most;
	return true;
}

/* ---- the scale ------------------------------------------------------------------------------- */

static bool no_scale(struct work *w, const char *why)
{
	warn(w, "FailedGetScale", why);
	condition(w, "AbleToScale", false, "FailedGetScale",
		arena_printf(w->a, "the HPA controller was unable to get the target's current scale: %s", why));
	return false;
}

static bool read_scale(struct work *w)
{
	struct str version = doc_str(w->hpa, "spec.scaleTargetRef.apiVersion"),
		   kind = doc_str(w->hpa, "spec.scaleTargetRef.kind");
	struct client_request rq = { .verb = VERB_GET,
		.ns = doc_ns(w->hpa),
		.name = doc_str(w->hpa, "spec.scaleTargetRef.name"),
		.sub = "scale" };
	struct err e;

	err_init(&e);
	if (!scaled_resource(w->c, w->a, version, kind, &w->target))
		return no_scale(w,
			arena_printf(w->a, "no matches for kind \"%.*s\" in group \"%.*s\"", STR_ARG(kind),
				STR_ARG(version)));
	rq.res = w->target;
	if (client_call(w->c->client, &rq, &w->scale, &e) < 0)
		return no_scale(w, e.message);
	doc_hold(w->a, w->scale);
	w->replicas = w->wished = doc_int(w->scale, "spec.replicas", 0);
	condition(w, "AbleToScale", true, "SucceededGetScale",
		"the HPA controller was able to get the target's current scale");
	return true;
}

/* What the metrics ask for, held against the past. NULL: nothing is to be done. */
static const char *reason_by_metrics(struct work *w)
{
	struct limits l = { doc_get(w->hpa, "spec.behavior"), w->least, w->most };
	const char *name = "", *reason;
	struct verdict v;

	if (!ask_metrics(w, &name))
		return NULL;
	reason = w->wished > w->replicas ? arena_printf(w->a, "%s above target", name) : "All metrics below target";
	v = autoscale_limit(w->past, l, w->replicas, w->wished, mono_ms_between((struct mono){ 0 }, mono_now()));
	condition(w, "AbleToScale", true, v.able_reason, v.able_message);
	condition(w, "ScalingLimited", v.limited, v.limit_reason, v.limit_message);
	w->wished = v.replicas;
	return w->wished != w->replicas ? reason : NULL;
}

static const char *decide(struct work *w)
{
	if (!w->replicas && w->least) {
		condition(w, "ScalingActive", false, "ScalingDisabled",
			"scaling is disabled since the replica count of the target is zero");
		return NULL;
	}
	if (w->replicas > w->most) {
		w->wished = w->most;
		return "Current number of replicas above Spec.MaxReplicas";
	}
	if (w->replicas < w->least) {
		w->wished = w->least;
		return "Current number of replicas below Spec.MinReplicas";
	}
	return reason_by_metrics(w);
}

static int rescale(struct work *w, const char *reason, struct err *e)
{
	struct node *scale = node_from(w->a, doc_root(w->scale));
	auto_(doc_unref) struct doc *body = NULL;

	node_set_path(scale, "spec.replicas", node_int(w->a, w->wished));
	body = node_publish(scale);
	if (client_update_sub(w->c->client, w->target, "scale", body, NULL, e) < 0) {
		recorder_event(w->c->recorder, w->hpa, "Warning", "FailedRescale",
			"New size: %" PRId64 "; reason: %s; error: %s", w->wished, reason, e->message);
		condition(w, "AbleToScale", false, "FailedUpdateScale",
			arena_printf(w->a, "the HPA controller was unable to update the target scale: %s", e->message));
		w->wished = w->replicas;
		return -e->code;
	}
	condition(w, "AbleToScale", true, "SucceededRescale",
		arena_printf(w->a, "the HPA controller was able to update the target scale to %" PRId64, w->wished));
	recorder_event(w->c->recorder, w->hpa, "Normal", "SuccessfulRescale", "New size: %" PRId64 "; reason: %s",
		w->wished, reason);
	history_scaled(w->past, doc_get(w->hpa, "spec.behavior"), w->replicas, w->wished,
		mono_ms_between((struct mono){ 0 }, mono_now()));
	w->rescaled = true;
	return 0;
}

static int look(struct work *w, struct err *e)
{
	const char *reason;

	if (!read_scale(w))
		return 0;
	reason = decide(w);
	if (reason)
		return rescale(w, reason, e);
	w->wished = w->replicas;
	return 0;
}

/* ---- reconcile ------------------------------------------------------------------------------- */

static struct node *new_status(struct work *w)
{
	struct node *last = w->rescaled ? node_c(w->a, now_text(w->a)) : NULL;
	struct node *status = node_pack(w->a, "{desiredReplicas:I}", w->wished);

	if (!last && val_has(doc_get(w->hpa, "status.lastScaleTime")))
		last = node_from(w->a, doc_get(w->hpa, "status.lastScaleTime"));
	if (last)
		node_setc(status, "lastScaleTime", last);
	if (w->replicas)
		node_setc(status, "currentReplicas", node_int(w->a, w->replicas));
	node_setc(status, "currentMetrics", node_len(w->current) ? w->current : node_null(w->a));
	node_setc(status, "conditions", w->conditions);
	return status;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct work w = { .c = c, .a = a, .key = key };
	auto_(doc_unref) struct doc *hpa = NULL;
	struct err failed;

	key_split(key, &ns, &name);
	hpa = informer_get(ctl_informer(c, res_horizontalpodautoscalers), ns, name);
	if (!hpa) {
		forget(c, key);
		return 0;
	}
	w.hpa = hpa;
	w.past = past_of(c, key);
	w.least = doc_int(hpa, "spec.minReplicas", 1);
	w.most = doc_int(hpa, "spec.maxReplicas", 1);
	w.usage = map_new(NULL);
	w.current = node_list(a);
	w.conditions = node_list(a);
	for (struct val_iter it = val_iter(doc_get(hpa, "status.conditions")); val_next(&it);)
		node_add(w.conditions, node_copy(a, node_from(a, it.val)));
	err_init(&failed);
	look(&w, &failed);
	map_free(w.usage);
	ctl_add_after(c, key, PERIOD_MS);
	if (write_status(c, a, res_horizontalpodautoscalers, hpa, new_status(&w), e) < 0)
		return -e->code;
	err_copy(e, &failed);
	return -failed.code;
}

/* Not after our own writes of the status: they would make us look without end. */
static void key_new_spec(struct ctl *c, struct doc *before, struct doc *after)
{
	if (!before || !after || !val_equal(doc_get(before, "spec"), doc_get(after, "spec")))
		key_self(c, before, after);
}

const struct controller autoscale_controller = {
	.name = "horizontal-pod-autoscaler",
	.help = "sets the number of pods by what they use",
	.handles = "autoscaling/horizontalpodautoscalers",
	.watches = { { &res_horizontalpodautoscalers, key_new_spec }, { &res_pods, NULL },
		{ &res_customresourcedefinitions, NULL } },
	.reconcile = reconcile,
	.state_new = pasts_new,
	.state_free = pasts_free,
};

/* Kinds that make pods: templates fit selectors, selectors stay, numbers make sense together. */
#include "api/api_internal.h"
#include "cron/cron.h"
#include <ctype.h>
#include <stdio.h>
#define LOG_MODULE "api"
#define CRONJOB_NAME_MAX 52 /* a Job's name has 63, and a dash and the minute follow */

/* Whether the selector is one: else nothing can be said of what it selects. owner: "deployment", as messages have
 * it. */
static bool selector_ok(struct rq *rq, struct val sel, const char *owner, struct err *e)
{
	const struct selector *parsed;
	struct err why;

	if (!val_has(sel)) /* the schema says so */
		return true;
	validate_label_selector(rq, sel, "spec.selector", e);
	if (!val_len(val_get(sel, "matchLabels")) && !val_len(val_get(sel, "matchExpressions")))
		v_invalid(e, "spec.selector", sel, rq_f(rq, "empty selector is invalid for %s", owner));
	err_init(&why);
	if (selector_of(rq->a, sel, &parsed, &why) >= 0)
		return true;
	if (!strcmp(owner, "statefulset")) /* upstream says no more than this */
		v_invalid(e, "spec.selector", sel, "");
	else if (strcmp(owner, "daemonset") != 0) /* nothing, beyond what is wrong in it */
		v_invalid(e, "spec.selector", sel, "invalid label selector");
	return false;
}

/* maxSurge, maxUnavailable: a number of pods, or a part of them. *ret: the number before a percent sign, too. */
static void count_or_percent(struct val v, const char *path, bool all_is_most, int64_t *ret, struct err *e)
{
	struct str text = val_str(v);
	bool percent = val_kind(v) == VAL_STR;

	*ret = 0;
	if (percent &&
		(!str_ends(text, STR("%")) || !isdigit((unsigned char)text.p[0]) ||
			!str_i64(str_sub(text, 0, text.n - 1), ret)))
		v_invalid(e, path, v,
			"a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
	else if (percent && all_is_most && *ret > 100)
		v_invalid(e, path, v, "must not be greater than 100%");
	else if (!percent && (*ret = val_int(v, 0)) < 0)
		v_invalid(e, path, v, "must be greater than or equal to 0");
}

/* Pods of these kinds run for ever. */
static void no_deadline(struct val o, const char *kind, struct err *e)
{
	char why[80];

	snprintf(why, sizeof(why), "activeDeadlineSeconds in %s is not Supported", kind);
	if (val_has(val_path(o, "spec.template.spec.activeDeadlineSeconds")))
		v_forbidden(e, "spec.template.spec.activeDeadlineSeconds", why);
}

static void workload(struct rq *rq, struct val o, const char *owner, struct err *e)
{
	struct val sel = val_path(o, "spec.selector"), template = val_path(o, "spec.template");

	if (!selector_ok(rq, sel, owner, e))
		return;
	if (!val_has(sel)) /* selects nothing */
		v_invalid(e, "spec.template.metadata.labels", val_path(template, "metadata.labels"),
			"`selector` does not match template `labels`");
	validate_pod_template(rq, template, "spec.template", sel, "Always", e);
}

static void deployment_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val strategy = val_path(o, "spec.strategy"), rolling = val_get(strategy, "rollingUpdate");
	static const char *const strategies[] = { "Recreate", "RollingUpdate", NULL };
	int64_t surge = 0, unavailable = 0, deadline = val_int(val_path(o, "spec.progressDeadlineSeconds"), INT64_MAX);

	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	workload(rq, o, "deployment", e);
	no_deadline(o, "ReplicaSet", e);
	if (!val_is(val_get(strategy, "type"), "Recreate") && !val_is(val_get(strategy, "type"), "RollingUpdate"))
		v_unsupported_val(e, "spec.strategy", strategy, strategies);
	if (deadline <= val_int(val_path(o, "spec.minReadySeconds"), 0))
		v_invalid(e, "spec.progressDeadlineSeconds", val_path(o, "spec.progressDeadlineSeconds"),
			"must be greater than minReadySeconds");
	if (val_is(val_get(strategy, "type"), "Recreate") && val_has(rolling))
		v_forbidden(
			e, "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
	count_or_percent(val_get(rolling, "maxUnavailable"), "spec.strategy.rollingUpdate.maxUnavailable", true,
		&unavailable, e);
	count_or_percent(val_get(rolling, "maxSurge"), "spec.strategy.rollingUpdate.maxSurge", false, &surge, e);
	if (val_has(rolling) && !surge && !unavailable && !e->code)
		v_invalid(e, "spec.strategy.rollingUpdate.maxUnavailable", val_get(rolling, "maxUnavailable"),
			"may not be 0 when `maxSurge` is 0");
}

static void replicaset_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	workload(rq, o, "deployment", e); /* upstream's word */
	no_deadline(o, "ReplicaSet", e);
}

/* The number of its template, which older clients read. */
static int daemonset_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	static const char key[] = "deprecated.daemonset.template.generation";
	int64_t n = 1;

	(void)e;
	if (val_has(old)) {
		struct node *was = node_from(rq->a, val_path(old, "spec.template"));
		str_i64(val_str(val_get(val_path(old, "metadata.annotations"), key)), &n);
		n += !rq->sub.n && !node_equal(node_path(o, "spec.template"), was);
	}
	node_setc(node_need_map(o, "metadata.annotations"), key, node_strf(rq->a, "%lld", (long long)n));
	return 0;
}

static void daemonset_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val rolling = val_path(o, "spec.updateStrategy.rollingUpdate"), surge_val = val_get(rolling, "maxSurge");
	static const char *const types[] = { "RollingUpdate", "OnDelete", NULL };
	int64_t surge = 0, unavailable = 0;

	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	workload(rq, o, "daemonset", e);
	no_deadline(o, "DaemonSet", e);
	if (!is_one_of(types, val_str(val_path(o, "spec.updateStrategy.type"))))
		v_unsupported_val(e, "spec.updateStrategy", val_path(o, "spec.updateStrategy"), types);
	if (!val_is(val_path(o, "spec.updateStrategy.type"), "RollingUpdate") || !val_has(rolling))
		return;
	count_or_percent(val_get(rolling, "maxUnavailable"), "spec.updateStrategy.rollingUpdate.maxUnavailable", true,
		&unavailable, e);
	count_or_percent(surge_val, "spec.updateStrategy.rollingUpdate.maxSurge", true, &surge, e);
	if (surge && unavailable)
		v_invalid(e, "spec.updateStrategy.rollingUpdate.maxSurge", surge_val,
			"may not be set when maxUnavailable is non-zero");
	else if (!surge && !unavailable && !e->code)
		v_required(e, "spec.updateStrategy.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0");
}

static void statefulset_strategy(struct val strategy, struct err *e)
{
	static const char *const types[] = { "RollingUpdate", "OnDelete", NULL };
	struct val rolling = val_get(strategy, "rollingUpdate"), partition = val_get(rolling, "partition");

	if (!is_one_of(types, val_str(val_get(strategy, "type"))))
		v_invalid(e, "spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'");
	else if (val_is(val_get(strategy, "type"), "OnDelete") && val_has(rolling))
		v_invalid(e, "spec.updateStrategy.rollingUpdate", rolling,
			"only allowed for updateStrategy 'RollingUpdate'");
	else if (val_int(partition, 0) < 0)
		v_invalid(e, "spec.updateStrategy.rollingUpdate.partition", partition,
			"must be greater than or equal to 0");
}

/* A template may mount what volumeClaimTemplates name: the controller adds these volumes to each pod. */
static struct val with_claims(struct rq *rq, struct val o)
{
	struct val claims = val_path(o, "spec.volumeClaimTemplates");
	struct node *whole = node_from(rq->a, o), *volumes;
	struct doc *d;

	if (!val_len(claims))
		return o;
	volumes = node_need_list(whole, "spec.template.spec.volumes");
	for (struct val_iter it = val_iter(claims); val_next(&it);) {
		struct str name = val_str(val_path(it.val, "metadata.name"));

		for (size_t i = node_len(volumes); i-- > 0;)
			if (str_eq(node_text_str(node_getc(node_at(volumes, i), "name")), name))
				node_remove_at(volumes, i); /* one of the template's own gives way */
		node_add(volumes, node_pack(rq->a, "{name:S, persistentVolumeClaim:{claimName:S}}", name, name));
	}
	d = node_publish(whole);
	doc_hold(rq->a, d);
	return doc_root(d);
}

static void statefulset_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const fixed[] = { "selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates" };
	static const char *const orders[] = { "OrderedReady", "Parallel", NULL };
	struct val order = val_path(o, "spec.podManagementPolicy");

	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	if (!is_one_of(orders, val_str(order)))
		v_invalid(e, "spec.podManagementPolicy", order, "must be 'OrderedReady' or 'Parallel'");
	statefulset_strategy(val_path(o, "spec.updateStrategy"), e);
	workload(rq, with_claims(rq, o), "statefulset", e);
	no_deadline(o, "StatefulSet", e);
	if (!val_has(old))
		return;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct val now = val_get(val_get(o, "spec"), fixed[i]), was = val_get(val_get(old, "spec"), fixed[i]);
		if ((val_has(now) || val_has(was)) && !val_equal(now, was)) {
			v_forbidden(e, "spec",
				"updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
			return;
		}
	}
}

static void rc_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val sel = val_path(o, "spec.selector"), labels = val_path(o, "spec.template.metadata.labels");

	if (rq->sub.n) {
		validate_counted_status(rq, o, old, e);
		return;
	}
	if (!val_len(sel))
		v_required(e, "spec.selector", "");
	if (!val_has(val_path(o, "spec.template"))) /* the schema says so */
		return;
	for (struct val_iter it = val_iter(sel); val_next(&it);)
		if (!val_equal(it.val, val_get_str(labels, it.key))) {
			v_invalid(e, "spec.template.metadata.labels", labels,
				"`selector` does not match template `labels`");
			break;
		}
	validate_pod_template(rq, val_path(o, "spec.template"), "spec.template", VAL_NONE, "Always", e);
	no_deadline(o, "ReplicationController", e);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static const char run_to_end[] = "OnFailure,Never";

static const char *const job_labels[] = { "controller-uid", "batch.kubernetes.io/controller-uid", "job-name",
	"batch.kubernetes.io/job-name" };

static void set_if_missing(struct node *map, const char *key, struct node *value)
{
	if (!node_getc(map, key))
		node_setc(map, key, value);
}

/* The server's own labels and selector. What the client gave of them stays, and is wrong if it differs. */
static int job_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec = node_need_map(o, "spec"), *meta = node_getc(o, "metadata"), *labels;

	(void)e;
	if (val_has(old) || node_bool_of(node_getc(spec, "manualSelector"), false))
		return 0;
	labels = node_need_map(spec, "template.metadata.labels");
	if (!node_getc(meta, "name"))
		return 0; /* validation will say so */
	for (size_t i = 0; i < ARRAY_LEN(job_labels); i++)
		set_if_missing(labels, job_labels[i], node_getc(meta, i < 2 ? "uid" : "name"));
	/* Its labels were defaulted from the template before these existed. */
	struct node *own = node_need_map(o, "metadata.labels");
	if (!node_len(own))
		for (size_t i = 0; i < node_len(labels); i++)
			node_set(own, node_key_at(labels, i),
				node_copy(rq->a, node_get(labels, node_key_at(labels, i))));
	set_if_missing(node_need_map(spec, "selector.matchLabels"), job_labels[1], node_getc(meta, "uid"));
	return 0;
}

/* A selector that was not given by hand selects by what the server set. */
static void generated_selector(struct rq *rq, struct val o, struct err *e)
{
	struct val labels = val_path(o, "spec.template.metadata.labels"), sel = val_path(o, "spec.selector");
	struct node *expected = node_map(rq->a);
	const struct selector *parsed;
	struct doc *d;
	struct err why;

	for (size_t i = 0; i < ARRAY_LEN(job_labels); i++) {
		struct val want = val_path(o, i < 2 ? "metadata.uid" : "metadata.name"),
			   is = val_get(labels, job_labels[i]);
		char *at = rq_f(rq, "spec.template.metadata.labels[%s]", job_labels[i]),
		     *must = rq_f(rq, "must be '%.*s'", STR_ARG(val_str(want)));

		if (!val_has(is))
			v_required(e, at, must);
		else if (!val_equal(is, want))
			v_invalid(e, at, labels, must);
		node_setc(expected, job_labels[i], node_str(rq->a, val_str(want)));
	}
	d = node_publish(expected);
	doc_hold(rq->a, d);
	err_init(&why);
	if (selector_of(rq->a, sel, &parsed, &why) >= 0 && !selector_matches(parsed, doc_root(d)))
		v_invalid(e, "spec.selector", sel, "`selector` not auto-generated");
}

/* An Indexed Job may grow and shrink by its completions and parallelism together. */
static bool elastic(struct val o, struct val old)
{
	return val_is(val_path(o, "spec.completionMode"), "Indexed") &&
		val_equal(val_path(o, "spec.completions"), val_path(o, "spec.parallelism")) &&
		val_equal(val_path(old, "spec.completions"), val_path(old, "spec.parallelism"));
}

/* Pods of an Indexed Job have their number in their host name. */
static void last_pod_has_a_name(struct rq *rq, struct val o, struct err *e)
{
	struct str name = val_str(val_path(o, "metadata.name"));
	int64_t n = val_int(val_path(o, "spec.completions"), 0);
	char *last = rq_f(rq, "%.*s-%lld", STR_ARG(name), (long long)n - 1);

	if (n > 0 && val_is(val_path(o, "spec.completionMode"), "Indexed") &&
		name_wrong(str_c(last), NAME_LABEL, false))
		v_invalid_str(e, "metadata.name", name,
			rq_f(rq, "will not able to create pod with invalid DNS label: %s", last));
}

static void job_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val sel = val_path(o, "spec.selector");

	if (rq->sub.n) {
		validate_job_status(rq, o, old, e);
		return;
	}
	if (!val_has(sel)) { /* selects nothing */
		v_required(e, "spec.selector", "");
		v_invalid(e, "spec.template.metadata.labels", val_path(o, "spec.template.metadata.labels"),
			"`selector` does not match template `labels`");
	} else if (!val_bool(val_path(o, "spec.manualSelector"), false)) {
		generated_selector(rq, o, e);
	}
	validate_label_selector(rq, sel, "spec.selector", e);
	validate_job_spec(rq, val_get(o, "spec"), "spec", e);
	validate_pod_template(rq, val_path(o, "spec.template"), "spec.template", sel, run_to_end, e);
	if (!val_has(old)) {
		last_pod_has_a_name(rq, o, e);
		return;
	}
	if (!elastic(o, old))
		validate_immutable(
			e, "spec.completions", val_path(o, "spec.completions"), val_path(old, "spec.completions"));
	validate_job_changes(rq, o, old, e);
}

/* ---- cron jobs ------------------------------------------------------------------------------- */

static void validate_schedule(struct str schedule, struct err *e)
{
	struct cron parsed;
	struct err why;

	err_init(&why);
	if (!schedule.n)
		v_required(e, "spec.schedule", "");
	else if (str_has(schedule, STR("TZ")))
		v_invalid_str(e, "spec.schedule", schedule,
			"cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
	else if (cron_parse(schedule, &parsed, &why) < 0)
		v_invalid_str(e, "spec.schedule", schedule, why.message);
}

static void validate_time_zone(struct str name, struct err *e)
{
	auto_(zone_free) struct zone *zone = NULL;
	struct err why;

	err_init(&why);
	if (!name.n)
		v_invalid_str(e, "spec.timeZone", name, "timeZone must be nil or non-empty string");
	else if (str_eq_nocase(name, STR("Local")))
		v_invalid_str(e, "spec.timeZone", name,
			"timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
	else if (zone_load(name, &zone, &why) < 0)
		v_invalid_str(e, "spec.timeZone", name, why.message);
}

static void cronjob_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const manual[] = { "nil", "false", NULL };
	struct val template = val_path(o, "spec.jobTemplate.spec"), zone = val_path(o, "spec.timeZone");

	if (rq->sub.n)
		return;
	validate_schedule(val_str(val_path(o, "spec.schedule")), e);
	if (val_kind(zone) == VAL_STR && !val_equal(zone, val_path(old, "spec.timeZone")))
		validate_time_zone(val_str(zone), e);
	if (!val_has(old) && doc_name(o.d).n > CRONJOB_NAME_MAX)
		v_invalid_str(e, "metadata.name", doc_name(o.d), "must be no more than 52 characters");
	if (val_has(val_get(template, "selector")))
		v_invalid(e, "spec.jobTemplate.spec.selector", val_get(template, "selector"),
			"`selector` will be auto-generated");
	if (val_bool(val_get(template, "manualSelector"), false))
		v_unsupported_val(
			e, "spec.jobTemplate.spec.manualSelector", val_get(template, "manualSelector"), manual);
	validate_job_spec(rq, template, "spec.jobTemplate.spec", e);
	validate_pod_template(
		rq, val_get(template, "template"), "spec.jobTemplate.spec.template", VAL_NONE, run_to_end, e);
}

static void pdb_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	int64_t ignored;

	if (rq->sub.n) {
		validate_conditions(rq, val_path(o, "status.conditions"), "status.conditions", e);
		validate_counted_status(rq, o, old, e);
		return;
	}
	if (val_has(val_path(o, "spec.minAvailable")) && val_has(val_path(o, "spec.maxUnavailable")))
		v_invalid_str(e, "spec", STR(""), "minAvailable and maxUnavailable cannot be both set");
	count_or_percent(val_path(o, "spec.minAvailable"), "spec.minAvailable", true, &ignored, e);
	count_or_percent(val_path(o, "spec.maxUnavailable"), "spec.maxUnavailable", true, &ignored, e);
	validate_label_selector(rq, val_path(o, "spec.selector"), "spec.selector", e);
}

const struct strategy strategy_deployment = { .validate = deployment_validate, .warn = warn_workload };
const struct strategy strategy_replicaset = { .validate = replicaset_validate, .warn = warn_workload };
const struct strategy strategy_daemonset = {
	.prepare = daemonset_prepare, .validate = daemonset_validate, .warn = warn_workload
};
const struct strategy strategy_statefulset = { .validate = statefulset_validate, .warn = warn_workload };
const struct strategy strategy_rc = { .validate = rc_validate, .warn = warn_workload };
const struct strategy strategy_job = { .prepare = job_prepare, .validate = job_validate, .warn = warn_workload };
const struct strategy strategy_cronjob = { .validate = cronjob_validate, .warn = warn_cronjob };
static void revision_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	(void)rq;
	(void)old;
	if (val_int(val_get(o, "revision"), 0) < 0)
		v_invalid(e, "revision", val_get(o, "revision"), "must be greater than or equal to 0");
	if (!val_has(val_get(o, "data")))
		v_required(e, "data", "data is mandatory");
}

const struct strategy strategy_controllerrevision = { .validate = revision_validate };
const struct strategy strategy_pdb = { .validate = pdb_validate };

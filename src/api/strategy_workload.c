/* Kinds that make pods: templates fit selectors, selectors stay, numbers make sense together. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static void selector_required(struct rq *rq, struct val o, struct err *e)
{
	struct val sel = val_path(o, "spec.selector");

	if (!val_has(sel)) /* the schema says so */
		return;
	validate_label_selector(rq, sel, "spec.selector", e);
	if (!val_len(val_get(sel, "matchLabels")) && !val_len(val_get(sel, "matchExpressions")))
		v_invalid(e, "spec.selector", sel, "empty selector is invalid for this kind");
}

static void workload(struct rq *rq, struct val o, struct val old, const char *restart, struct err *e)
{
	if (rq->sub.n)
		return;
	selector_required(rq, o, e);
	validate_pod_template(rq, val_path(o, "spec.template"), "spec.template", val_path(o, "spec.selector"), restart, e);
	if (val_has(old))
		validate_immutable(e, "spec.selector", val_path(o, "spec.selector"), val_path(old, "spec.selector"));
}

static void deployment_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val strategy = val_path(o, "spec.strategy"), rolling = val_get(strategy, "rollingUpdate");
	int64_t surge = 0, unavailable = 0;

	if (rq->sub.n)
		return;
	workload(rq, o, old, "Always", e);
	if (val_is(val_get(strategy, "type"), "Recreate") && val_has(rolling))
		v_forbidden(e, "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
	if (val_has(rolling) && int_or_percent(val_get(rolling, "maxSurge"), 100, true, &surge) &&
		int_or_percent(val_get(rolling, "maxUnavailable"), 100, false, &unavailable) && !surge && !unavailable)
		v_invalid(e, "spec.strategy.rollingUpdate.maxUnavailable", val_get(rolling, "maxUnavailable"),
			"may not be 0 when `maxSurge` is 0");
}

static void always_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	workload(rq, o, old, "Always", e);
}

static void statefulset_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const fixed[] = { "serviceName", "podManagementPolicy", "volumeClaimTemplates" };

	workload(rq, o, old, "Always", e);
	if (!val_has(old) || rq->sub.n)
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

	(void)old;
	if (rq->sub.n)
		return;
	if (!val_len(sel))
		v_required(e, "spec.selector", "");
	for (struct val_iter it = val_iter(sel); val_next(&it);)
		if (!val_equal(it.val, val_get_str(labels, it.key))) {
			v_invalid(e, "spec.template.metadata.labels", labels, "`selector` does not match template `labels`");
			break;
		}
	validate_pod_template(rq, val_path(o, "spec.template"), "spec.template", VAL_NONE, "Always", e);
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------------- */

static int job_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	static const char *const keys[] = { "controller-uid", "batch.kubernetes.io/controller-uid", "job-name",
		"batch.kubernetes.io/job-name" };
	struct node *spec = node_need_map(o, "spec"), *meta = node_getc(o, "metadata");

	(void)e;
	if (val_has(old) || node_bool_of(node_getc(spec, "manualSelector"), false))
		return 0;
	struct node *labels = node_need_map(spec, "template.metadata.labels");
	for (size_t i = 0; i < 4; i++)
		node_setc(labels, keys[i], node_getc(meta, i < 2 ? "uid" : "name"));
	/* Its labels were defaulted from the template before these existed. */
	struct node *own = node_need_map(o, "metadata.labels");
	if (!node_len(own))
		for (size_t i = 0; i < node_len(labels); i++)
			node_set(own, node_key_at(labels, i), node_copy(rq->a, node_get(labels, node_key_at(labels, i))));
	node_setc(spec, "selector", node_pack(rq->a, "{matchLabels:{'batch.kubernetes.io/controller-uid':o}}", node_getc(meta, "uid")));
	return 0;
}

static void job_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	if (rq->sub.n)
		return;
	validate_pod_template(rq, val_path(o, "spec.template"), "spec.template", val_path(o, "spec.selector"), "OnFailure,Never", e);
	if (!val_has(old))
		return;
	validate_immutable(e, "spec.selector", val_path(o, "spec.selector"), val_path(old, "spec.selector"));
	validate_immutable(e, "spec.completionMode", val_path(o, "spec.completionMode"), val_path(old, "spec.completionMode"));
	if (!val_bool(val_path(old, "spec.suspend"), false))
		validate_immutable(e, "spec.template", val_path(o, "spec.template"), val_path(old, "spec.template"));
}

static void cronjob_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct str schedule = val_str(val_path(o, "spec.schedule"));
	size_t fields = 0;

	(void)old;
	if (rq->sub.n)
		return;
	for (struct str part, rest = schedule; str_next(&rest, ' ', &part);)
		fields += part.n > 0;
	if (!schedule.n)
		v_required(e, "spec.schedule", "");
	else if (fields != 5 && !str_starts(schedule, STR("@")))
		v_invalid_str(e, "spec.schedule", schedule, rq_f(rq, "expected exactly 5 fields, found %zu: %.*s", fields, STR_ARG(schedule)));
	if (doc_name(o.d).n > 52)
		v_invalid_str(e, "metadata.name", doc_name(o.d), "must be no more than 52 characters");
	validate_pod_template(rq, val_path(o, "spec.jobTemplate.spec.template"), "spec.jobTemplate.spec.template", VAL_NONE,
		"OnFailure,Never", e);
}

static void hpa_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	int64_t least = val_int(val_path(o, "spec.minReplicas"), 1), most = val_int(val_path(o, "spec.maxReplicas"), 0);

	(void)old;
	if (rq->sub.n)
		return;
	if (most < 1)
		v_invalid(e, "spec.maxReplicas", val_path(o, "spec.maxReplicas"), "must be greater than 0");
	else if (most < least)
		v_invalid(e, "spec.maxReplicas", val_path(o, "spec.maxReplicas"), "must be greater than or equal to `minReplicas`");
	if (!val_str(val_path(o, "spec.scaleTargetRef.kind")).n)
		v_required(e, "spec.scaleTargetRef.kind", "");
	if (!val_str(val_path(o, "spec.scaleTargetRef.name")).n)
		v_required(e, "spec.scaleTargetRef.name", "");
}

static void pdb_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	(void)old;
	if (rq->sub.n)
		return;
	if (val_has(val_path(o, "spec.minAvailable")) && val_has(val_path(o, "spec.maxUnavailable")))
		v_invalid_str(e, "spec", STR(""), "minAvailable and maxUnavailable cannot be both set");
	validate_label_selector(rq, val_path(o, "spec.selector"), "spec.selector", e);
}

const struct strategy strategy_deployment = { .validate = deployment_validate };
const struct strategy strategy_replicaset = { .validate = always_validate };
const struct strategy strategy_daemonset = { .validate = always_validate };
const struct strategy strategy_statefulset = { .validate = statefulset_validate };
const struct strategy strategy_rc = { .validate = rc_validate };
const struct strategy strategy_job = { .prepare = job_prepare, .validate = job_validate };
const struct strategy strategy_cronjob = { .validate = cronjob_validate };
const struct strategy strategy_hpa = { .validate = hpa_validate };
const struct strategy strategy_pdb = { .validate = pdb_validate };

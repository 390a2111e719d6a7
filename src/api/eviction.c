/* pods/eviction: a deletion that asks the pod's PodDisruptionBudget first.
 *
 *   take       one disruption is taken from the budget's status, against its revision, and the pod is noted there
 *   tell       the pod's status says that it is a target (DisruptionTarget)
 *   delete
 *
 * Who has taken a disruption does not take another when a later step must be tried again. */
#include "api/api_internal.h"

#define TRIES 20
#define DISRUPTED_MAX 2000 /* pods on their way that the controller has not seen go */

struct eviction {
	struct rq *rq;
	struct node *options;     /* DeleteOptions; NULL: none */
	bool strict;              /* the client gave a resourceVersion: one try */
	struct str uid;           /* of the pod that was decided about */
	int64_t unready_revision; /* it may go only as it was seen: not ready; 0: in any case */
	struct str budget;
};

static bool is_ready(const struct doc *pod)
{
	return val_is(val_get(val_find(doc_get(pod, "status.conditions"), "type", STR("Ready")), "status"), "True");
}

static bool is_over(const struct doc *pod)
{
	struct str phase = doc_str(pod, "status.phase");

	return str_is(phase, "Succeeded") || str_is(phase, "Failed") ||
		val_has(doc_get(pod, "metadata.deletionTimestamp"));
}

/* ---- the budget ------------------------------------------------------------------------------ */

static int must_wait(struct eviction *v, struct err *e)
{
	err_set(e, ERR_TOO_MANY, "Cannot evict pod as it would violate the pod's disruption budget.");
	e->retry_after_s = 10;
	err_cause(e, "DisruptionBudget", "", "The disruption budget %.*s is still being processed by the server.",
		STR_ARG(v->budget));
	return -e->code;
}

static int refuses(struct eviction *v, struct doc *pdb, const char *why, struct err *e)
{
	status_about(v->rq, "policy", "poddisruptionbudget", doc_name(pdb));
	return err_set(
		e, ERR_FORBIDDEN, "poddisruptionbudget.policy \"%.*s\" is forbidden: %s", STR_ARG(doc_name(pdb)), why);
}

/* What cannot be counted is told before counts. */
static char *why_none(struct arena *a, const struct doc *pdb)
{
	struct val c = val_find(doc_get(pdb, "status.conditions"), "type", STR("DisruptionAllowed"));
	struct str name = doc_name(pdb), reason = val_str(val_get(c, "reason")),
		   message = val_is(val_get(c, "status"), "False") ? val_str(val_get(c, "message")) : STR_NULL;
	long long desired = doc_int(pdb, "status.desiredHealthy", 0),
		  healthy = doc_int(pdb, "status.currentHealthy", 0);
	static const char no[] = "does not allow evicting pods currently";

	if (message.n && str_is(reason, "SyncFailed"))
		return arena_printf(a, "The disruption budget %.*s %s because it failed sync: %.*s", STR_ARG(name), no,
			STR_ARG(message));
	if (healthy <= desired)
		return arena_printf(a, "The disruption budget %.*s needs %lld healthy pods and has %lld currently",
			STR_ARG(name), desired, healthy);
	if (message.n)
		return arena_printf(a, "The disruption budget %.*s %s (%.*s): %.*s", STR_ARG(name), no, STR_ARG(reason),
			STR_ARG(message));
	return arena_printf(a, "The disruption budget %.*s %s", STR_ARG(name), no);
}

static int check_budget(struct eviction *v, struct doc *pdb, struct err *e)
{
	int64_t allowed = doc_int(pdb, "status.disruptionsAllowed", 0);

	if (doc_int(pdb, "status.observedGeneration", 0) < doc_int(pdb, "metadata.generation", 0))
		return must_wait(v, e);
	if (allowed < 0)
		return refuses(v, pdb, "pdb disruptions allowed is negative", e);
	if (val_len(doc_get(pdb, "status.disruptedPods")) > DISRUPTED_MAX)
		return refuses(
			v, pdb, "DisruptedPods map too big - too many evictions not confirmed by PDB controller", e);
	if (allowed)
		return 0;
	err_set(e, ERR_TOO_MANY, "Cannot evict pod as it would violate the pod's disruption budget.");
	err_cause(e, "DisruptionBudget", "", "%s", why_none(v->rq->a, pdb));
	return -e->code;
}

/* The last one that is taken says so at once; the controller would only later. */
static void note_insufficient(struct rq *rq, struct node *status, int64_t generation)
{
	struct node *list = node_need_list(status, "conditions");

	for (size_t i = node_len(list); i-- > 0;)
		if (str_is(node_text_str(node_getc(node_at(list, i), "type")), "DisruptionAllowed"))
			node_remove_at(list, i);
	node_add(list,
		node_pack(rq->a,
			"{type:'DisruptionAllowed', status:'False', observedGeneration:I, lastTransitionTime:S, "
			"reason:'InsufficientPods', message:''}",
			generation, rq_now(rq)));
}

static int take(struct eviction *v, struct doc *pdb, struct doc *pod, struct err *e)
{
	struct rq *rq = v->rq;
	struct resource *pods = rq->res;
	struct node *o = node_from(rq->a, doc_root(pdb)), *status = node_need_map(o, "status");
	int64_t left = doc_int(pdb, "status.disruptionsAllowed", 0) - 1;
	auto_(doc_unref) struct doc *d = NULL;
	int rc = check_budget(v, pdb, e);

	if (rc < 0)
		return rc;
	node_setc(status, "disruptionsAllowed", node_int(rq->a, left));
	node_set(node_need_map(status, "disruptedPods"), doc_name(pod), node_str(rq->a, rq_now(rq)));
	if (!left)
		note_insufficient(rq, status, doc_int(pdb, "status.observedGeneration", 0));
	d = node_publish_versioned(o);
	rq->res = api_resource(rq->api, STR("policy"), STR("v1"), STR("poddisruptionbudgets"));
	rc = write_put(rq, rq->ns, doc_name(pdb), d, doc_revision(pdb), e);
	rq->res = pods;
	return rc;
}

/* A pod that is not ready counts for no budget: it may go as long as it is seen so, if the policy lets it. */
static bool goes_unready(const struct doc *pdb, const struct doc *pod)
{
	int64_t desired = doc_int(pdb, "status.desiredHealthy", 0);

	return !is_ready(pod) &&
		(str_is(doc_str(pdb, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow") ||
			(desired > 0 && doc_int(pdb, "status.currentHealthy", 0) >= desired));
}

static int budget_of(struct eviction *v, struct doc *pod, struct doc **ret, struct err *e)
{
	struct rq *rq = v->rq;
	int64_t revision;
	struct cache_list all = cache_list(api_cache(rq->api, "policy", "poddisruptionbudgets"), rq->a,
		arena_strf(rq->a, "%.*s/", STR_ARG(rq->ns)), STR_NULL, 0, &revision);
	const struct selector *s;

	*ret = NULL;
	for (size_t i = 0; i < all.n; i++) {
		struct doc *pdb = all.items[i].doc;

		err_init(e); /* one with a malformed selector is nobody's */
		if (selector_of(rq->a, doc_get(pdb, "spec.selector"), &s, e) < 0 ||
			!selector_matches(s, doc_get(pod, "metadata.labels")))
			continue;
		if (*ret)
			return err_set(e, ERR_INTERNAL,
				"This pod has more than one PodDisruptionBudget, which the eviction subresource does "
				"not support.");
		*ret = pdb;
	}
	err_init(e);
	return 0;
}

static int decide(struct eviction *v, struct doc *pod, struct err *e)
{
	struct doc *pdb;

	v->uid = arena_str(v->rq->a, doc_uid(pod));
	v->unready_revision = 0;
	if (is_over(pod))
		return 0;
	if (str_is(doc_str(pod, "status.phase"), "Pending")) {
		v->unready_revision = doc_revision(pod);
		return 0;
	}
	if (budget_of(v, pod, &pdb, e) < 0)
		return -e->code;
	if (!pdb)
		return 0;
	v->budget = doc_name(pdb);
	if (!goes_unready(pdb, pod))
		return take(v, pdb, pod, e);
	v->unready_revision = doc_revision(pod);
	return 0;
}

static int decide_at_last(struct eviction *v, struct err *e)
{
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		struct doc *pod;

		err_init(e);
		if ((rc = write_live(v->rq, &pod, e)) < 0)
			return rc;
		rc = decide(v, pod, e);
		doc_unref(pod);
		if (rc != -ERR_CONFLICT)
			return rc;
	}
	return err_set(
		e, ERR_TIMEOUT, "couldn't update PodDisruptionBudget \"%.*s\" due to conflicts", STR_ARG(v->budget));
}

/* ---- the pod --------------------------------------------------------------------------------- */

/* revision: what it is afterwards. */
static int tell(struct eviction *v, struct doc *pod, int64_t *revision, struct err *e)
{
	struct rq *rq = v->rq;
	struct node *o = node_from(rq->a, doc_root(pod)), *list = node_need_list(o, "status.conditions");
	auto_(doc_unref) struct doc *d = NULL;

	*revision = doc_revision(pod);
	if (is_over(pod) || rq->dry_run)
		return 0;
	for (size_t i = node_len(list); i-- > 0;)
		if (str_is(node_text_str(node_getc(node_at(list, i), "type")), "DisruptionTarget"))
			node_remove_at(list, i);
	node_add(list,
		node_pack(rq->a,
			"{type:'DisruptionTarget', status:'True', lastProbeTime:n, lastTransitionTime:S, "
			"reason:'EvictionByEvictionAPI', "
			"message:'Eviction API: evicting'}",
			rq_now(rq)));
	d = node_publish_versioned(o);
	if (write_put(rq, rq->ns, rq->name, d, *revision, e) < 0)
		return -e->code;
	*revision = doc_revision(d);
	return 0;
}

static int delete_as(struct eviction *v, int64_t revision, struct err *e)
{
	struct rq *rq = v->rq;
	struct outcome out = { 0 };
	struct node *options = v->options ? node_copy(rq->a, v->options) : node_map(rq->a);
	bool was_local = rq->local;
	int rc;

	if (!v->strict && v->unready_revision)
		node_set_path(options, "preconditions.resourceVersion", node_strf(rq->a, "%lld", (long long)revision));
	if (!node_text_str(node_path(options, "preconditions.uid")).n)
		node_set_path(options, "preconditions.uid", node_str(rq->a, v->uid));
	doc_unref(rq->body_doc);
	rq->body_doc = node_publish(options);
	rq->local = true; /* the options are a document already */
	rc = write_delete(rq, &out, e);
	rq->local = was_local;
	doc_unref(out.doc);
	return rc;
}

static int tell_and_delete(struct eviction *v, struct err *e)
{
	auto_(doc_unref) struct doc *pod = NULL;
	int64_t revision;

	if (write_live(v->rq, &pod, e) < 0)
		return -e->code;
	if (v->unready_revision && doc_revision(pod) != v->unready_revision)
		return must_wait(v, e);
	if (v->strict) /* its precondition is about the pod as it is */
		return delete_as(v, 0, e);
	if (tell(v, pod, &revision, e) < 0)
		return -e->code;
	v->unready_revision = v->unready_revision ? revision : 0;
	return delete_as(v, revision, e);
}

static int evict(struct eviction *v, struct err *e)
{
	int rc = decide_at_last(v, e);

	if (rc < 0)
		return rc;
	for (int i = 0; i < TRIES; i++) {
		err_init(e);
		rc = tell_and_delete(v, e);
		if (rc != -ERR_CONFLICT || v->strict || str_has(str_c(e->message), STR("the UID in the precondition")))
			return rc;
	}
	return must_wait(v, e);
}

int sub_pod_eviction(struct rq *rq, struct node **body, struct err *e)
{
	struct eviction v = { .rq = rq, .options = node_getc(*body, "deleteOptions") };
	struct str name = node_text_str(node_path(*body, "metadata.name"));

	if (!str_eq(name, rq->name)) {
		status_about(rq, NULL, NULL, STR_NULL);
		return err_set(e, ERR_BAD_REQUEST, "name in URL does not match name in Eviction object");
	}
	v.strict = node_text_str(node_path(v.options, "preconditions.resourceVersion")).n > 0;
	rq->dry_run |= node_len(node_getc(v.options, "dryRun")) > 0;
	if (evict(&v, e) < 0)
		return -e->code;
	*body = node_pack(rq->a, "{kind:'Status', apiVersion:'v1', metadata:{}, status:'Success', code:201}");
	return 0;
}

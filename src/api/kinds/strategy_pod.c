/* Pods: first status, binding. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

/* ---- quality of service ---------------------------------------------------------------------- */

static bool nonzero(struct node *list, const char *key)
{
	struct quantity q;

	return quantity_parse(node_text_str(node_getc(list, key)), &q) && q.value != 0;
}

/* 0: BestEffort, 1: Burstable, 2: Guaranteed, of one container. */
static int container_qos(struct node *c)
{
	struct node *req = node_path(c, "resources.requests"), *lim = node_path(c, "resources.limits");
	bool any = nonzero(req, "cpu") || nonzero(req, "memory") || nonzero(lim, "cpu") || nonzero(lim, "memory");
	static const char *const keys[] = { "cpu", "memory" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct quantity r, l;
		if (!quantity_parse(node_text_str(node_getc(lim, keys[i])), &l) || !l.value)
			return any;
		if (quantity_parse(node_text_str(node_getc(req, keys[i])), &r) && quantity_cmp(r, l))
			return any;
	}
	return 2;
}

const char *pod_qos_class(struct node *spec)
{
	static const char *const lists[] = { "containers", "initContainers" };
	bool guaranteed = true, any = false;

	for (size_t k = 0; k < 2; k++) {
		struct node *list = node_getc(spec, lists[k]);
		for (size_t i = 0; i < node_len(list); i++) {
			int q = container_qos(node_at(list, i));
			guaranteed &= q == 2;
			any |= q > 0;
		}
	}
	return guaranteed ? "Guaranteed" : any ? "Burstable" : "BestEffort";
}

/* ---- status ---------------------------------------------------------------------------------- */

/* podIP is the first of podIPs, and counts where they differ: who is old knows it alone. */
static void pod_fold(struct rq *rq, struct node *o)
{
	struct node *status = node_getc(o, "status"), *list = node_getc(status, "podIPs");
	struct str one = node_text_str(node_getc(status, "podIP")),
		   first = node_text_str(node_getc(node_at(list, 0), "ip"));

	if (one.n && (!node_len(list) || !str_eq(one, first)))
		node_setc(status, "podIPs", node_pack(rq->a, "[{ip:S}]", one));
	else if (first.n && !one.n)
		node_setc(status, "podIP", node_str(rq->a, first));
}

static void keep(struct rq *rq, struct node *now, struct val was, const char *key)
{
	struct node *is = node_getc(now, key);

	if (val_has(val_get(was, key)) && !node_text_str(is).n && !node_int_of(is, 0))
		node_setc(now, key, node_from(rq->a, val_get(was, key)));
}

/* A writer that does not know them does not take them away. */
static void keep_what_old_writers_drop(struct rq *rq, struct node *status, struct val was)
{
	struct node *list = node_getc(status, "conditions");

	keep(rq, status, was, "qosClass");
	keep(rq, status, was, "observedGeneration");
	for (size_t i = 0; i < node_len(list); i++) {
		struct str type = node_text_str(node_getc(node_at(list, i), "type"));

		keep(rq, node_at(list, i), val_find(val_get(was, "conditions"), "type", type), "observedGeneration");
	}
}

static int pod_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec = node_need_map(o, "spec");

	(void)e;
	if (str_is(rq->sub, "status"))
		keep_what_old_writers_drop(rq, node_need_map(o, "status"), val_get(old, "status"));
	if (val_has(old))
		return 0;
	node_setc(o, "status", node_pack(rq->a, "{phase:'Pending', qosClass:s}", pod_qos_class(spec)));
	if (node_len(node_getc(spec, "schedulingGates")))
		node_set_path(o, "status.conditions",
			node_pack(rq->a,
				"[{type:'PodScheduled', status:'False', reason:'SchedulingGated', message:'Scheduling is blocked due to non-empty scheduling gates', lastProbeTime:n, lastTransitionTime:S}]",
				rq_now(rq)));
	return 0;
}

static void pod_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec");

	if (str_is(rq->sub, "status")) {
		validate_pod_status(rq, o, old, e);
		return;
	}
	validate_pod_spec(rq, spec, "spec", e);
	if (!val_has(old) && val_len(val_get(spec, "ephemeralContainers")))
		v_forbidden(e, "spec.ephemeralContainers", "cannot be set on create");
	if (val_has(old))
		validate_pod_update(rq, spec, val_get(old, "spec"), e);
}

const struct strategy strategy_pod = {
	.fold = pod_fold, .prepare = pod_prepare, .validate = pod_validate, .warn = warn_pod, .graceful = true
};

/* ---- binding --------------------------------------------------------------------------------- */

static void set_condition(struct rq *rq, struct node *pod, const char *type)
{
	struct node *list = node_need_list(pod, "status.conditions");

	for (size_t i = node_len(list); i-- > 0;)
		if (str_is(node_text_str(node_getc(node_at(list, i), "type")), type))
			node_remove_at(list, i);
	node_add(list,
		node_pack(rq->a, "{type:s, status:'True', lastProbeTime:n, lastTransitionTime:S}", type, rq_now(rq)));
}

static int bind_once(struct rq *rq, struct node *binding, struct err *e)
{
	struct doc *live;
	struct str node = node_text_str(node_path(binding, "target.name"));
	struct str kind = node_text_str(node_path(binding, "target.kind"));
	struct str uid = node_text_str(node_path(binding, "metadata.uid"));
	int rc = write_live(rq, &live, e);

	if (rc < 0)
		return rc;
	status_about(rq, "", "pods/binding", rq->name); /* whatever follows is about the binding */
	if (kind.n && !str_is(kind, "Node"))
		rc = err_set(e, ERR_BAD_REQUEST,
			"target.kind: Unsupported value: \"%.*s\": supported values: \"Node\", \"<empty>\"",
			STR_ARG(kind));
	else if (!node.n)
		rc = err_set(
			e, ERR_INVALID, "Binding \"%.*s\" is invalid: target.name: Required value", STR_ARG(rq->name));
	else if (uid.n && !str_eq(uid, doc_uid(live)))
		rc = err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on pods/binding \"%.*s\": Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
			STR_ARG(rq->name), STR_ARG(uid), STR_ARG(doc_uid(live)));
	else if (val_has(doc_get(live, "metadata.deletionTimestamp")))
		rc = err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on pods/binding \"%.*s\": pod %.*s is being deleted, cannot be assigned to a host",
			STR_ARG(rq->name), STR_ARG(rq->name));
	else if (doc_str(live, "spec.nodeName").n)
		rc = err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on pods/binding \"%.*s\": pod %.*s is already assigned to node \"%.*s\"",
			STR_ARG(rq->name), STR_ARG(rq->name), STR_ARG(doc_str(live, "spec.nodeName")));
	else if (val_len(doc_get(live, "spec.schedulingGates")))
		rc = err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on pods/binding \"%.*s\": pod %.*s has non-empty .spec.schedulingGates",
			STR_ARG(rq->name), STR_ARG(rq->name));
	if (rc >= 0) {
		struct node *o = node_from(rq->a, doc_root(live));
		node_set_path(o, "spec.nodeName", node_str(rq->a, node));
		struct node *more = node_path(binding, "metadata.annotations");
		for (size_t i = 0; i < node_len(more); i++) {
			struct str k = node_key_at(more, i);
			node_set(node_need_map(o, "metadata.annotations"), k, node_get(more, k));
		}
		set_condition(rq, o, "PodScheduled");
		/* Not through the update path: a binding is the one way to set these fields. */
		struct doc *d = node_publish_versioned(o);
		rc = write_put(rq, rq->ns, rq->name, d, doc_revision(live), e);
		doc_unref(d);
	}
	doc_unref(live);
	return rc;
}

int sub_pod_binding(struct rq *rq, struct node **body, struct err *e)
{
	int rc = 0;

	if (!str_eq(node_text_str(node_path(*body, "metadata.name")), rq->name)) {
		status_about(rq, NULL, NULL, STR_NULL);
		return err_set(e, ERR_BAD_REQUEST, "name in URL does not match name in Binding object");
	}
	for (int i = 0; i < 6; i++) {
		err_init(e);
		rc = bind_once(rq, *body, e);
		/* Taken by another writer: look again. "Already assigned" is final. */
		if (rc != -ERR_CONFLICT || !str_has(str_c(e->message), STR("has been modified")))
			break;
	}
	if (rc < 0)
		return rc;
	*body = node_pack(rq->a, "{kind:'Status', apiVersion:'v1', metadata:{}, status:'Success', code:201}");
	return 0;
}

int sub_binding(struct rq *rq, struct node **body, struct err *e)
{
	rq->name = arena_str(rq->a, node_text_str(node_path(*body, "metadata.name")));
	rq->res = api_resource(rq->api, STR(""), STR("v1"), STR("pods"));
	rq->sub = STR("binding");
	return sub_pod_binding(rq, body, e);
}

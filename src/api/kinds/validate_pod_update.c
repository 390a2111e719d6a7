/* What may change of a Pod that is there. Each change that is allowed has a rule of its own here; then it is put back, and
 * what still differs is refused. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static const char *const lists[] = { "containers", "initContainers" };

static void put_back(struct node *spec, struct node *old, const char *key)
{
	struct node *v = node_getc(old, key);

	if (v)
		node_setc(spec, key, v);
	else
		node_delc(spec, key);
}

static void put_back_in_each(struct node *spec, struct node *old, const char *list, const char *key)
{
	struct node *a = node_getc(spec, list), *b = node_getc(old, list);

	for (size_t i = 0; i < node_len(a) && i < node_len(b); i++)
		put_back(node_at(a, i), node_at(b, i), key);
}

/* From none to a number, and from a number to a smaller one: the pod's end only comes nearer. False: of nothing else is
 * told. */
static bool check_deadline(struct val now, struct val old, struct err *e)
{
	static const char path[] = "spec.activeDeadlineSeconds";

	if (!val_has(old))
		return true;
	if (!val_has(now)) {
		v_invalid_str(e, path, STR("null"), "must not update from a positive integer to nil value");
		return true;
	}
	if (val_int(now, 0) <= val_int(old, 0))
		return true;
	v_invalid(e, path, now, "must be less than or equal to previous value");
	return false;
}

static bool tolerates_the_same(struct val a, struct val b)
{
	static const char *const fields[] = { "key", "effect", "operator", "value" };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!val_equal(val_get(a, fields[i]), val_get(b, fields[i])))
			return false;
	return true;
}

static void check_tolerations(struct val now, struct val old, struct err *e)
{
	for (struct val_iter it = val_iter(old); val_next(&it);) {
		bool found = false;
		for (struct val_iter in = val_iter(now); !found && val_next(&in);)
			found = tolerates_the_same(in.val, it.val);
		if (!found) {
			v_forbidden(e, "spec.tolerations",
				"existing toleration can not be modified except its tolerationSeconds");
			return;
		}
	}
}

static void check_gates(struct val now, struct val old, struct err *e)
{
	for (struct val_iter it = val_iter(now); val_next(&it);)
		if (!val_has(val_find(old, "name", val_str(val_get(it.val, "name"))))) {
			v_forbidden(
				e, "spec.schedulingGates", "only deletion is allowed, but found new scheduling gate");
			return;
		}
}

/* ---- a gated pod may be told more narrowly where to run -------------------------------------- */

static void check_node_selector(struct val now, struct val old, struct err *e)
{
	for (struct val_iter it = val_iter(old); val_next(&it);)
		if (!val_equal(it.val, val_get_str(now, it.key))) {
			v_invalid(e, "spec.nodeSelector", now,
				"only additions to spec.nodeSelector are allowed (no mutations or deletions)");
			return;
		}
}

static bool begins_with(struct val now, struct val old)
{
	if (val_len(now) < val_len(old))
		return false;
	for (size_t i = 0; i < val_len(old); i++)
		if (!val_equal(val_at(now, i), val_at(old, i)))
			return false;
	return true;
}

/* An empty term selects nothing, and must go on doing so. */
static bool only_narrower(struct val now, struct val old)
{
	struct val now_labels = val_get(now, "matchExpressions"), now_fields = val_get(now, "matchFields"),
		   labels = val_get(old, "matchExpressions"), fields = val_get(old, "matchFields");

	if (!val_len(labels) && !val_len(fields) && (val_len(now_labels) || val_len(now_fields)))
		return false;
	return begins_with(now_labels, labels) && begins_with(now_fields, fields);
}

static void check_node_affinity(struct rq *rq, struct val now, struct val old, struct err *e)
{
	static const char terms[] = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
	struct val were = val_path(old, terms), are = val_path(now, terms);
	char *path = rq_f(rq, "spec.affinity.nodeAffinity.%s", terms);

	if (!val_len(were))
		return;
	if (val_len(are) != val_len(were)) {
		v_invalid(e, path, are, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
		return;
	}
	for (size_t i = 0; i < val_len(were); i++)
		if (!only_narrower(val_at(are, i), val_at(were, i)))
			v_invalid(e, rq_f(rq, "%s[%zu]", path, i), val_at(are, i),
				"only additions are allowed (no mutations or deletions)");
}

/* What pods are near or far is not changed: only the part about nodes is put back. */
static void put_back_node_affinity(struct node *spec, struct node *old)
{
	struct node *now = node_getc(spec, "affinity"), *was = node_path(old, "affinity.nodeAffinity");

	if (was)
		node_setc(node_need_map(spec, "affinity"), "nodeAffinity", was);
	else if (now)
		node_delc(now, "nodeAffinity");
	if (now && !was && !node_len(now) && !node_getc(old, "affinity"))
		node_delc(spec, "affinity");
}

static void check_place(struct rq *rq, struct val spec, struct val old, struct err *e)
{
	check_node_selector(val_get(spec, "nodeSelector"), val_get(old, "nodeSelector"), e);
	check_node_affinity(rq, val_path(spec, "affinity.nodeAffinity"), val_path(old, "affinity.nodeAffinity"), e);
}

/* ---- sub-resources --------------------------------------------------------------------------- */

/* Such a container is added; it neither changes nor goes. Patches need not keep their order. */
static void check_ephemeral(struct rq *rq, struct val now, struct val old, struct err *e)
{
	for (struct val_iter it = val_iter(old); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		struct val is = val_find(now, "name", name);

		if (!val_has(is))
			v_forbidden(e, "spec.ephemeralContainers",
				rq_f(rq, "existing ephemeral containers \"%.*s\" may not be removed\n", STR_ARG(name)));
		else if (!val_equal(is, it.val))
			v_forbidden(e, "spec.ephemeralContainers",
				rq_f(rq, "existing ephemeral containers \"%.*s\" may not be changed\n", STR_ARG(name)));
	}
}

static bool some_removed(struct val now, struct val old)
{
	for (struct val_iter it = val_iter(old); val_next(&it);)
		if (!val_has(val_get_str(now, it.key)))
			return true;
	return false;
}

static void check_container_resize(struct rq *rq, struct val now, struct val old, const char *at, struct err *e)
{
	if (some_removed(val_get(now, "limits"), val_get(old, "limits")))
		v_forbidden(e, rq_f(rq, "%s.limits", at), "resource limits cannot be removed");
	if (some_removed(val_get(now, "requests"), val_get(old, "requests")))
		v_forbidden(e, rq_f(rq, "%s.requests", at), "resource requests cannot be removed");
}

static void put_back_amount(struct node *resources, struct node *old, const char *key)
{
	static const char *const amounts[] = { "cpu", "memory" };
	struct node *was = node_getc(old, key);

	if (!node_getc(resources, key))
		return;
	for (size_t i = 0; i < ARRAY_LEN(amounts); i++)
		put_back(node_getc(resources, key), was, amounts[i]);
	if (!was && !node_len(node_getc(resources, key)))
		node_delc(resources, key);
}

static void check_resize(struct rq *rq, struct val spec, struct val old, struct err *e)
{
	struct node *a = node_from(rq->a, spec), *b = node_from(rq->a, old);
	struct val now = val_get(spec, "containers"), were = val_get(old, "containers");

	if (val_has(val_get(spec, "resources"))) {
		v_forbidden(e, "spec", "pods with pod-level resources cannot be resized");
		return;
	}
	if (strcmp(pod_qos_class(a), pod_qos_class(b)))
		v_invalid_str(
			e, "spec", str_c(pod_qos_class(b)), "Pod QOS Class may not change as a result of resizing");
	for (size_t i = 0; i < val_len(now) && i < val_len(were); i++) {
		struct node *resources = node_getc(node_at(node_getc(a, "containers"), i), "resources"),
			    *had = node_getc(node_at(node_getc(b, "containers"), i), "resources");

		check_container_resize(rq, val_get(val_at(now, i), "resources"), val_get(val_at(were, i), "resources"),
			rq_f(rq, "spec.containers[%zu].resources", i), e);
		put_back_amount(resources, had, "limits");
		put_back_amount(resources, had, "requests");
	}
	if (!node_equal(a, b))
		v_forbidden(e, "spec", "only cpu and memory resources are mutable");
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool same_number_of_containers(struct rq *rq, struct val spec, struct val old, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (val_len(val_get(spec, lists[i])) != val_len(val_get(old, lists[i]))) {
			v_forbidden(e, rq_f(rq, "spec.%s", lists[i]), "pod updates may not add or remove containers");
			return false;
		}
	return true;
}

static void check_rest(struct rq *rq, struct val spec, struct val old, bool gated, struct err *e)
{
	static const char *const allowed[] = { "tolerations", "activeDeadlineSeconds", "schedulingGates" };
	static const char grace[] = "terminationGracePeriodSeconds";
	struct node *a = node_from(rq->a, spec), *b = node_from(rq->a, old);

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		put_back_in_each(a, b, lists[i], "image");
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
		put_back(a, b, allowed[i]);
	if (val_int(val_get(old, grace), 0) < 0 && val_int(val_get(spec, grace), 0) == 1)
		put_back(a, b, grace);
	if (gated) {
		put_back(a, b, "nodeSelector");
		put_back_node_affinity(a, b);
	}
	if (!node_equal(a, b))
		v_forbidden(e, "spec",
			"pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
}

void validate_pod_update(struct rq *rq, struct val spec, struct val old, struct err *e)
{
	bool gated = val_len(val_get(old, "schedulingGates")) > 0;

	if (val_equal(spec, old))
		return;
	if (str_is(rq->sub, "ephemeralcontainers")) {
		check_ephemeral(rq, val_get(spec, "ephemeralContainers"), val_get(old, "ephemeralContainers"), e);
		return;
	}
	if (str_is(rq->sub, "resize")) {
		check_resize(rq, spec, old, e);
		return;
	}
	if (!same_number_of_containers(rq, spec, old, e) ||
		!check_deadline(val_get(spec, "activeDeadlineSeconds"), val_get(old, "activeDeadlineSeconds"), e))
		return;
	check_tolerations(val_get(spec, "tolerations"), val_get(old, "tolerations"), e);
	check_gates(val_get(spec, "schedulingGates"), val_get(old, "schedulingGates"), e);
	if (gated)
		check_place(rq, spec, old, e);
	check_rest(rq, spec, old, gated, e);
}

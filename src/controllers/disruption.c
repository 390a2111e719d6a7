/* disruption: how many pods a PodDisruptionBudget lets go now. The eviction sub-resource takes from that number.
 *
 *   expectedPods      the pods that its selector fits, or what their controllers are scaled to when a part of them is
 * asked for currentHealthy    those that are ready, not going and not about to go (disruptedPods: the API let them go a
 * moment ago) disruptionsAllowed = currentHealthy - desiredHealthy
 *
 * The budget is read from the API before each look, and its status is written against that version: an eviction
 * meanwhile makes us look again. Source of the semantics: the Kubernetes documentation, "Specifying a Disruption
 * Budget". */
#include "controllers/controllers_internal.h"

#include <ctype.h>
#include <inttypes.h>

#define LOG_MODULE "controllers"
#define DELETION_MS (2 * 60 * 1000) /* from an eviction to the pod's deletion */
#define STALE_TARGET_MS (2 * 60 * 1000)
#define SWEEP_MS 60000
#define LOOK_AGAIN_MS 30000 /* after what could not be computed */

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *pdb;
	struct str key;
	struct informer_list pods; /* that its selector fits */
	int64_t expected, desired, healthy, unmanaged;
	struct node *disrupted;
	int64_t next_ms; /* 0: nothing to wait for */
};

/* ---- scales ---------------------------------------------------------------------------------- */

/* A controller of pods, and what it is scaled to. */
struct scale {
	struct str uid;
	int64_t replicas;
};

static bool owner_in(struct work *w, struct gvr r, struct val ref, struct doc **ret)
{
	auto_(doc_unref) struct doc *d =
		informer_get(ctl_informer(w->c, r), doc_ns(w->pdb), val_str(val_get(ref, "name")));

	if (!d || !str_eq(doc_uid(d), val_str(val_get(ref, "uid"))))
		return false;
	doc_hold(w->a, doc_ref(d));
	*ret = d;
	return true;
}

/* The kinds that informers know. A ReplicaSet of a Deployment stands for all of that. */
static bool builtin_scale(struct work *w, struct val ref, struct scale *ret)
{
	static const struct {
		const char *group, *kind;
		const struct gvr *res;
	} kinds[] = {
		{ "apps/", "ReplicaSet", &res_replicasets },
		{ "apps/", "StatefulSet", &res_statefulsets },
		{ "apps/", "Deployment", &res_deployments },
		{ "v1", "ReplicationController", &res_replicationcontrollers },
	};
	struct doc *owner;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!val_is(val_get(ref, "kind"), kinds[i].kind) ||
			!str_starts(val_str(val_get(ref, "apiVersion")), str_c(kinds[i].group)) ||
			!owner_in(w, *kinds[i].res, ref, &owner))
			continue;
		if (!i && val_is(val_get(controller_ref(owner), "kind"), "Deployment") &&
			builtin_scale(w, controller_ref(owner), ret))
			return true;
		*ret = (struct scale){ doc_uid(owner), doc_int(owner, "spec.replicas", 1) };
		return true;
	}
	return false;
}

static int no_scale(struct work *w, struct str group, struct str kind, struct err *e)
{
	char *plural = arena_printf(w->a, "%.*ss", STR_ARG(kind));

	for (char *p = plural; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return err_set(e, ERR_INVALID, "%s%s%.*s does not implement the scale subresource", plural, group.n ? "." : "",
		STR_ARG(group));
}

/* Any other kind is asked for its scale. */
static int custom_scale(struct work *w, struct doc *pod, struct val ref, struct scale *ret, struct err *e)
{
	struct str group, version = str_cut(val_str(val_get(ref, "apiVersion")), '/', &group),
			  kind = val_str(val_get(ref, "kind"));
	struct client_request rq = {
		.verb = VERB_GET, .ns = doc_ns(pod), .name = val_str(val_get(ref, "name")), .sub = "scale"
	};
	auto_(doc_unref) struct doc *scale = NULL;

	if (!scaled_resource(w->c, w->a, val_str(val_get(ref, "apiVersion")), kind, &rq.res))
		return no_scale(w, version.p ? group : STR_NULL, kind, e);
	if (client_call(w->c->client, &rq, &scale, e) < 0)
		return e->code == ERR_NOT_FOUND ? no_scale(w, group, kind, e) : -e->code;
	if (!str_eq(doc_uid(scale), val_str(val_get(ref, "uid"))))
		return err_set(e, ERR_NOT_FOUND, "found no controllers for pod \"%.*s\"", STR_ARG(doc_name(pod)));
	*ret = (struct scale){ arena_str(w->a, doc_uid(scale)), doc_int(scale, "spec.replicas", 0) };
	return 0;
}

static int scale_of(struct work *w, struct doc *pod, struct val ref, struct scale *ret, struct err *e)
{
	static const char *const known[] = { "ReplicaSet", "StatefulSet", "ReplicationController" };

	if (builtin_scale(w, ref, ret))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (val_is(val_get(ref, "kind"), known[i]))
			return err_set(
				e, ERR_NOT_FOUND, "found no controllers for pod \"%.*s\"", STR_ARG(doc_name(pod)));
	return custom_scale(w, pod, ref, ret, e);
}

/* The sum of what the controllers of the pods are scaled to, each counted once. */
static int expected_scale(struct work *w, struct err *e)
{
	struct str *asked = ARENA_ARRAY(w->a, struct str, w->pods.n + 1),
		   *counted = ARENA_ARRAY(w->a, struct str, w->pods.n + 1);
	size_t n_asked = 0, n_counted = 0, k;

	for (size_t i = 0; i < w->pods.n; i++) {
		struct val ref = controller_ref(w->pods.items[i]);
		struct str uid = val_str(val_get(ref, "uid"));
		struct scale s = { 0 };

		w->unmanaged += !val_has(ref);
		for (k = 0; k < n_asked && !str_eq(asked[k], uid); k++)
			;
		if (!val_has(ref) || k < n_asked)
			continue;
		asked[n_asked++] = uid;
		if (scale_of(w, w->pods.items[i], ref, &s, e) < 0)
			return -e->code;
		for (k = 0; k < n_counted && !str_eq(counted[k], s.uid); k++)
			;
		if (k < n_counted)
			continue;
		counted[n_counted++] = s.uid;
		w->expected += s.replicas;
	}
	return 0;
}

static int count_wished(struct work *w, struct err *e)
{
	struct val least = doc_get(w->pdb, "spec.minAvailable"), most = doc_get(w->pdb, "spec.maxUnavailable");
	int64_t n = 0;

	if (!val_has(most) && val_kind(least) == VAL_INT) {
		w->expected = (int64_t)w->pods.n;
		w->desired = val_int(least, 0);
		return 0;
	}
	if (!val_has(most) && !val_has(least))
		return 0;
	if (expected_scale(w, e) < 0)
		return -e->code;
	if (!int_or_percent(val_has(most) ? most : least, w->expected, true, &n))
		return err_set(e, ERR_INVALID, "%s is neither a number nor a percentage",
			val_has(most) ? "maxUnavailable" : "minAvailable");
	w->desired = val_has(most) ? MAX(w->expected - n, (int64_t)0) : n;
	return 0;
}

/* ---- health ---------------------------------------------------------------------------------- */

/* Whether the API let this pod go and it is still expected to; late ones are told of and forgotten. */
static bool is_about_to_go(struct work *w, struct doc *pod)
{
	struct str since = val_str(val_get_str(doc_get(w->pdb, "status.disruptedPods"), doc_name(pod)));
	struct wall t;
	int64_t left;

	if (is_deleting(pod) || !since.n || !wall_parse(since, &t))
		return false;
	left = DELETION_MS - (wall_now().ns - t.ns) / 1000000;
	if (left <= 0) {
		recorder_event(w->c->recorder, pod, "Warning", "NotDeleted",
			"Pod was expected by PDB %.*s/%.*s to be deleted but it wasn't", STR_ARG(doc_ns(w->pdb)),
			STR_ARG(doc_name(w->pdb)));
		return false;
	}
	node_set(w->disrupted, doc_name(pod), node_str(w->a, since));
	w->next_ms = w->next_ms ? MIN(w->next_ms, left) : left;
	return true;
}

static void count_healthy(struct work *w)
{
	w->disrupted = node_map(w->a);
	for (size_t i = 0; i < w->pods.n; i++)
		if (!is_about_to_go(w, w->pods.items[i]) && !is_deleting(w->pods.items[i]) &&
			pod_ready(w->pods.items[i]))
			w->healthy++;
}

/* ---- status ---------------------------------------------------------------------------------- */

static struct node *old_conditions(struct work *w)
{
	struct node *list = node_list(w->a);

	for (struct val_iter it = val_iter(doc_get(w->pdb, "status.conditions")); val_next(&it);)
		node_add(list, node_copy(w->a, node_from(w->a, it.val)));
	return list;
}

static void say(struct work *w, struct node *status, bool allowed, const char *reason, const char *message)
{
	struct node *list = old_conditions(w);

	set_condition(w->a, list, "DisruptionAllowed", allowed ? "True" : "False", reason, message, false);
	for (size_t i = 0; i < node_len(list); i++)
		if (str_is(node_text_str(node_getc(node_at(list, i), "type")), "DisruptionAllowed"))
			node_setc(node_at(list, i), "observedGeneration",
				node_copy(w->a, node_getc(status, "observedGeneration")));
	node_setc(status, "conditions", list);
}

static int write_counts(struct work *w, struct err *e)
{
	int64_t allowed = w->expected > 0 ? MAX(w->healthy - w->desired, (int64_t)0) : 0;
	struct node *status = node_pack(w->a,
		"{observedGeneration:I, disruptedPods:o, disruptionsAllowed:I, currentHealthy:I, desiredHealthy:I, "
		"expectedPods:I}",
		doc_int(w->pdb, "metadata.generation", 0), node_len(w->disrupted) ? w->disrupted : NULL, allowed,
		w->healthy, w->desired, w->expected);

	say(w, status, allowed > 0, allowed ? "SufficientPods" : "InsufficientPods", "");
	return write_status(w->c, w->a, res_poddisruptionbudgets, w->pdb, status, e);
}

/* What cannot be computed lets nobody go. */
static int write_failure(struct work *w, const char *why, struct err *e)
{
	struct val old = doc_get(w->pdb, "status");
	struct node *status = val_has(old) ? node_copy(w->a, node_from(w->a, old)) :
					     node_pack(w->a, "{currentHealthy:0, desiredHealthy:0, expectedPods:0}");

	node_setc(status, "disruptionsAllowed", node_int(w->a, 0));
	if (!node_getc(status, "observedGeneration"))
		node_setc(status, "observedGeneration", node_int(w->a, 0));
	say(w, status, false, "SyncFailed", why);
	return write_status(w->c, w->a, res_poddisruptionbudgets, w->pdb, status, e);
}

/* ---- targets that stayed --------------------------------------------------------------------- */

static bool is_stale_target(const struct doc *pod)
{
	struct val c = condition_of(doc_root(pod), "DisruptionTarget");
	struct wall since;

	return !is_deleting(pod) && !pod_ended(pod) && val_is(val_get(c, "status"), "True") &&
		!val_is(val_get(c, "reason"), "TerminationByKubelet") &&
		wall_parse(val_str(val_get(c, "lastTransitionTime")), &since) &&
		wall_now().ns - since.ns > STALE_TARGET_MS * INT64_C(1000000);
}

/* A pod that was to go and did not is a target no more. */
static int sweep_targets(struct ctl *c, struct arena *a, struct err *e)
{
	struct informer_list all = informer_list(ctl_informer(c, res_pods), a, NULL, STR_NULL);

	for (size_t i = 0; i < all.n; i++) {
		auto_(doc_unref) struct doc *patch = NULL;

		if (!is_stale_target(all.items[i]))
			continue;
		patch = node_publish(node_pack(a,
			"{metadata:{uid:S}, status:{conditions:[{type:'DisruptionTarget', status:'False', "
			"lastTransitionTime:s}]}}",
			doc_uid(all.items[i]), now_text(a)));
		if (client_patch(c->client, res_pods, doc_ns(all.items[i]), doc_name(all.items[i]), "status",
			    PATCH_STRATEGIC, patch, NULL, e) < 0 &&
			e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
			return -e->code;
		err_init(e);
	}
	return 0;
}

/* ---- reconcile ------------------------------------------------------------------------------- */

static int find_pods(struct work *w, struct err *e)
{
	struct informer_list all = informer_list(ctl_informer(w->c, res_pods), w->a, "ns", doc_ns(w->pdb));
	const struct selector *s;

	if (selector_of(w->a, doc_get(w->pdb, "spec.selector"), &s, e) < 0)
		return -e->code;
	w->pods = (struct informer_list){ ARENA_ARRAY(w->a, struct doc *, all.n + 1), 0 };
	for (size_t i = 0; i < all.n; i++)
		if (selector_matches(s, doc_get(all.items[i], "metadata.labels")))
			w->pods.items[w->pods.n++] = all.items[i];
	if (!w->pods.n)
		recorder_event(w->c->recorder, w->pdb, "Normal", "NoPods", "No matching pods found");
	return 0;
}

static int sync_budget(struct work *w, struct err *e)
{
	struct err why;

	err_init(&why);
	if (find_pods(w, &why) < 0 || count_wished(w, &why) < 0) {
		recorder_event(w->c->recorder, w->pdb, "Warning", "CalculateExpectedPodCountFailed",
			"Failed to calculate the number of expected pods: %s", why.message);
		w->next_ms = LOOK_AGAIN_MS;
		return write_failure(w, why.message, e);
	}
	if (w->unmanaged)
		recorder_event(w->c->recorder, w->pdb, "Warning", "UnmanagedPods",
			"%" PRId64 " pods that this budget selects have no controller, so the part of them that it "
			"speaks of is unknown; they are "
			"not counted. Set .spec.minAvailable to a number to count them.",
			w->unmanaged);
	count_healthy(w);
	return write_counts(w, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct work w = { .c = c, .a = a, .key = key };
	auto_(doc_unref) struct doc *pdb = NULL;

	if (!key.n)
		return sweep_targets(c, a, e);
	key_split(key, &ns, &name);
	if (client_get(c->client, res_poddisruptionbudgets, ns, name, &pdb, e) < 0) {
		if (e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
		return 0;
	}
	if (is_deleting(pdb))
		return 0;
	w.pdb = pdb;
	if (sync_budget(&w, e) < 0)
		return -e->code;
	if (w.next_ms)
		ctl_add_after(c, key, w.next_ms + 1);
	return 0;
}

static bool same_for_budgets(const struct doc *before, const struct doc *after)
{
	return pod_ready(before) == pod_ready(after) && is_deleting(before) == is_deleting(after) &&
		val_equal(doc_get(before, "metadata.labels"), doc_get(after, "metadata.labels")) &&
		val_equal(doc_get(before, "metadata.ownerReferences"), doc_get(after, "metadata.ownerReferences"));
}

static void key_budgets_of(struct ctl *c, struct doc *before, struct doc *after)
{
	struct informer *budgets = ctl_informer(c, res_poddisruptionbudgets);
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list all;

	if (!informer_len(budgets) || (before && after && same_for_budgets(before, after)))
		return;
	a = arena_new();
	all = informer_list(budgets, a, "ns", doc_ns(after ? after : before));
	for (size_t i = 0; i < all.n; i++) {
		const struct selector *s;
		struct err e;

		err_init(&e);
		if (selector_of(a, doc_get(all.items[i], "spec.selector"), &s, &e) >= 0 &&
			((before && selector_matches(s, doc_get(before, "metadata.labels"))) ||
				(after && selector_matches(s, doc_get(after, "metadata.labels")))))
			ctl_add_doc(c, all.items[i]);
	}
}

const struct controller disruption_controller = {
	.name = "disruption-controller",
	.help = "says how many pods a budget lets go now",
	.handles = "policy/poddisruptionbudgets",
	.watches = { { &res_poddisruptionbudgets, key_self }, { &res_pods, key_budgets_of }, { &res_deployments, NULL },
		{ &res_replicasets, NULL }, { &res_statefulsets, NULL }, { &res_replicationcontrollers, NULL },
		{ &res_customresourcedefinitions, NULL } },
	.reconcile = reconcile,
	.every_ms = SWEEP_MS,
};

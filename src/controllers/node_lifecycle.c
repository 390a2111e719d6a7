/* node: says when a node is silent, keeps the taints that its conditions mean, and evicts pods that do not tolerate
 * them. */
#include "controllers/controllers_internal.h"

#define LOG_MODULE "controllers"
#define GRACE_MS 40000
#define LOOK_MS 5000

/* A condition that means a taint. */
static const struct {
	const char *condition, *status, *taint;
} meanings[] = {
	{ "Ready", "False", "node.kubernetes.io/not-ready" },
	{ "Ready", "Unknown", "node.kubernetes.io/unreachable" },
	{ "MemoryPressure", "True", "node.kubernetes.io/memory-pressure" },
	{ "DiskPressure", "True", "node.kubernetes.io/disk-pressure" },
	{ "PIDPressure", "True", "node.kubernetes.io/pid-pressure" },
	{ "NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable" },
};
#define UNSCHEDULABLE "node.kubernetes.io/unschedulable"

/* When a node was last seen to live, by our own clock: a node's clock may be wrong. It renews its lease, or tells its
 * status: their informers are not in step, and a node that has just said Ready must not be called silent because its
 * lease is still the old one. */
struct seen {
	int64_t lease_revision;
	uint64_t heartbeat; /* hash of the Ready condition's lastHeartbeatTime */
	struct mono at;
};
struct lifecycle {
	struct task_mutex lock;
	struct map *seen; /* node → struct seen */
};

static void *state_new(struct ctl *c)
{
	struct lifecycle *l = xcalloc(1, sizeof(*l));

	(void)c;
	task_mutex_init(&l->lock);
	l->seen = map_new(free);
	return l;
}

static void state_free(void *p)
{
	struct lifecycle *l = p;

	map_free(l->seen);
	task_mutex_fini(&l->lock);
	free(l);
}

/* ---- silence --------------------------------------------------------------------------------- */

static int64_t silent_ms(struct ctl *c, struct doc *node)
{
	struct lifecycle *l = c->state;
	auto_(doc_unref) struct doc *lease =
		informer_get(ctl_informer(c, res_leases), STR("kube-node-lease"), doc_name(node));
	int64_t revision = lease ? doc_revision(lease) : 0, ms;
	uint64_t heartbeat = str_hash(val_str(val_get(condition_of(doc_root(node), "Ready"), "lastHeartbeatTime")));
	struct seen *s;

	task_lock(&l->lock);
	s = map_get(l->seen, doc_name(node));
	if (!s) {
		s = xcalloc(1, sizeof(*s));
		*s = (struct seen){ revision, heartbeat, mono_now() };
		map_put(l->seen, doc_name(node), s);
		recorder_event(c->recorder, node, "Normal", "RegisteredNode",
			"Node %.*s event: Registered Node %.*s in Controller", STR_ARG(doc_name(node)),
			STR_ARG(doc_name(node)));
	}
	if (s->lease_revision != revision || s->heartbeat != heartbeat)
		*s = (struct seen){ revision, heartbeat, mono_now() };
	ms = mono_ms_between(s->at, mono_now());
	task_unlock(&l->lock);
	return ms;
}

static void forget(struct lifecycle *l, struct str name)
{
	task_lock(&l->lock);
	map_del(l->seen, name);
	task_unlock(&l->lock);
}

static int mark_unknown(struct ctl *c, struct arena *a, struct doc *node, struct err *e)
{
	static const char *const types[] = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" };
	struct node *status = node_copy(a, node_from(a, doc_get(node, "status"))),
		    *conditions = node_need_list(status, "conditions");

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		set_condition(a, conditions, types[i], "Unknown", "NodeStatusUnknown",
			"Kubelet stopped posting node status.", false);
	recorder_event(c->recorder, node, "Normal", "NodeNotReady", "Node %.*s status is now: NodeNotReady",
		STR_ARG(doc_name(node)));
	return write_status(c, a, res_nodes, node, status, e);
}

/* Pods of a silent node are not ready: endpoints must not lead to them. */
static int mark_pods_not_ready(struct ctl *c, struct arena *a, struct doc *node, struct err *e)
{
	struct informer_list pods = informer_list(ctl_informer(c, res_pods), a, "node", doc_name(node));

	for (size_t i = 0; i < pods.n; i++) {
		struct node *status, *conditions;

		if (!pod_ready(pods.items[i]))
			continue;
		status = node_copy(a, node_from(a, doc_get(pods.items[i], "status")));
		conditions = node_need_list(status, "conditions");
		set_condition(a, conditions, "Ready", "False", "NodeNotReady", "Node is not ready", false);
		if (write_status(c, a, res_pods, pods.items[i], status, e) == 0)
			recorder_event(c->recorder, pods.items[i], "Warning", "NodeNotReady", "Node is not ready");
		else if (e->code != ERR_CONFLICT)
			return -e->code;
		err_init(e);
	}
	return 0;
}

/* ---- taints ---------------------------------------------------------------------------------- */

static bool is_managed(struct str key)
{
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (str_is(key, meanings[i].taint))
			return true;
	return str_is(key, UNSCHEDULABLE);
}

static bool evicts(struct str key)
{
	return str_is(key, "node.kubernetes.io/not-ready") || str_is(key, "node.kubernetes.io/unreachable");
}

static struct val taint_of(struct doc *node, const char *key, const char *effect)
{
	for (struct val_iter it = val_iter(doc_get(node, "spec.taints")); val_next(&it);)
		if (val_is(val_get(it.val, "key"), key) && val_is(val_get(it.val, "effect"), effect))
			return it.val;
	return VAL_NONE;
}

/* An existing taint is kept with the time it was added. */
static void add_taint(struct arena *a, struct node *taints, struct doc *node, const char *key, const char *effect)
{
	struct val old = taint_of(node, key, effect);

	node_add(taints,
		val_has(old) ? node_from(a, old) :
			       node_pack(a, "{key:s, effect:s, timeAdded:s}", key, effect, now_text(a)));
}

static struct node *wished_taints(struct arena *a, struct doc *node)
{
	struct node *taints = node_list(a);

	for (struct val_iter it = val_iter(doc_get(node, "spec.taints")); val_next(&it);)
		if (!is_managed(val_str(val_get(it.val, "key"))))
			node_add(taints, node_from(a, it.val));
	if (doc_bool(node, "spec.unschedulable", false))
		add_taint(a, taints, node, UNSCHEDULABLE, "NoSchedule");
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
		if (!val_is(val_get(condition_of(doc_root(node), meanings[i].condition), "status"), meanings[i].status))
			continue;
		add_taint(a, taints, node, meanings[i].taint, "NoSchedule");
		if (evicts(str_c(meanings[i].taint)))
			add_taint(a, taints, node, meanings[i].taint, "NoExecute");
	}
	return taints;
}

static int keep_taints(struct ctl *c, struct arena *a, struct doc *node, struct err *e)
{
	struct node *taints = wished_taints(a, node), *have = node_from(a, doc_get(node, "spec.taints"));
	struct node *patch;

	if ((!node_len(taints) && !node_len(have)) || node_equal(taints, have))
		return 0;
	patch = node_pack(a, "{metadata:{resourceVersion:S}, spec:{taints:o}}",
		doc_str(node, "metadata.resourceVersion"), node_len(taints) ? taints : node_null(a));
	return merge_patch(c, res_nodes, node, NULL, patch, NULL, e);
}

/* ---- eviction -------------------------------------------------------------------------------- */

#define FOR_EVER INT64_MAX

/* Seconds that the pod stays under the taint: 0 none. */
static int64_t tolerated_s(struct doc *pod, struct val taint)
{
	int64_t least = -1;

	for (struct val_iter it = val_iter(doc_get(pod, "spec.tolerations")); val_next(&it);) {
		struct val seconds = val_get(it.val, "tolerationSeconds");

		if (!toleration_covers(it.val, val_str(val_get(taint, "key")), val_str(val_get(taint, "value")),
			    val_str(val_get(taint, "effect"))))
			continue;
		if (val_kind(seconds) != VAL_INT)
			least = least < 0 ? FOR_EVER : least;
		else
			least = least < 0 ? MAX(val_int(seconds, 0), (int64_t)0) :
					    MIN(least, MAX(val_int(seconds, 0), (int64_t)0));
	}
	return MAX(least, (int64_t)0);
}

/* When the pod must go, in ms from now; FOR_EVER: it may stay. */
static int64_t stay_ms(struct doc *node, struct doc *pod)
{
	int64_t least = FOR_EVER;

	for (struct val_iter it = val_iter(doc_get(node, "spec.taints")); val_next(&it);) {
		int64_t seconds;
		struct wall since;

		if (!val_is(val_get(it.val, "effect"), "NoExecute"))
			continue;
		seconds = tolerated_s(pod, it.val);
		if (seconds == FOR_EVER)
			continue;
		if (!wall_parse(val_str(val_get(it.val, "timeAdded")), &since))
			since = wall_now();
		least = MIN(least, seconds * 1000 - (wall_now().ns - since.ns) / 1000000);
	}
	return least == FOR_EVER ? least : MAX(least, (int64_t)0);
}

static int evict_pods(struct ctl *c, struct arena *a, struct doc *node, int64_t *next_ms, struct err *e)
{
	struct informer_list pods;

	if (!val_len(doc_get(node, "spec.taints")))
		return 0;
	pods = informer_list(ctl_informer(c, res_pods), a, "node", doc_name(node));
	for (size_t i = 0; i < pods.n; i++) {
		struct doc *pod = pods.items[i];
		int64_t ms = is_deleting(pod) ? FOR_EVER : stay_ms(node, pod);

		if (ms == FOR_EVER)
			continue;
		if (ms > 0) {
			*next_ms = MIN(*next_ms, ms);
			continue;
		}
		recorder_event(c->recorder, pod, "Normal", "TaintManagerEviction", "Marking for deletion Pod %.*s/%.*s",
			STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)));
		if (client_delete(c->client, res_pods, doc_ns(pod), doc_name(pod),
			    (struct client_delete){ .uid = doc_uid(pod), .grace_s = -1 }, e) < 0 &&
			e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
			return -e->code;
		err_init(e);
	}
	return 0;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	auto_(doc_unref) struct doc *node = informer_get(ctl_informer(c, res_nodes), STR_NULL, key);
	int64_t grace = c->opts->node_grace_ms ? c->opts->node_grace_ms : GRACE_MS, silent, next_ms = LOOK_MS;
	bool unknown;

	if (!node) {
		forget(c->state, key);
		return 0;
	}
	silent = silent_ms(c, node);
	unknown = val_is(val_get(condition_of(doc_root(node), "Ready"), "status"), "Unknown");
	if (silent > grace && !unknown)
		return mark_unknown(c, a, node, e);
	if (silent > grace && mark_pods_not_ready(c, a, node, e) < 0)
		return -e->code;
	if (keep_taints(c, a, node, e) < 0 || evict_pods(c, a, node, &next_ms, e) < 0)
		return -e->code;
	if (silent <= grace)
		next_ms = MIN(next_ms, grace - silent + 10);
	ctl_add_after(c, key, next_ms);
	return 0;
}

static void key_lease(struct ctl *c, struct doc *before, struct doc *after)
{
	/* only the first and the last: renewals are read when the node is looked at */
	if ((!before || !after) && str_is(doc_ns(after ? after : before), "kube-node-lease"))
		ctl_add(c, doc_name(after ? after : before));
}

static void key_node(struct ctl *c, struct doc *before, struct doc *after)
{
	if (!before || !after || !val_equal(doc_get(before, "spec"), doc_get(after, "spec")) ||
		!val_equal(doc_get(before, "status.conditions"), doc_get(after, "status.conditions")))
		ctl_add(c, doc_name(after ? after : before));
}

static void key_new_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	bool bound = after && doc_str(after, "spec.nodeName").n && (!before || !doc_str(before, "spec.nodeName").n);
	auto_(doc_unref) struct doc *node =
		bound ? informer_get(ctl_informer(c, res_nodes), STR_NULL, doc_str(after, "spec.nodeName")) : NULL;

	if (node && val_len(doc_get(node, "spec.taints")))
		ctl_add_doc(c, node);
}

const struct controller node_lifecycle_controller = {
	.name = "node-controller",
	.help = "notices silent nodes, taints them and evicts their pods",
	.handles = "/nodes",
	.watches = { { &res_nodes, key_node }, { &res_leases, key_lease }, { &res_pods, key_new_pod } },
	.reconcile = reconcile,
	.state_new = state_new,
	.state_free = state_free,
};

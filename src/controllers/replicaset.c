/* replicaset, replicationcontroller: keep as many pods as their object wishes. They differ in how a selector is
 * written. */
#include "controllers/controllers_internal.h"

#define BURST 500
#define FIRST_BATCH 4 /* creates are doubled from here while they succeed: a bad template fails few times */

/* Smaller goes first. Upstream's order: unassigned, pending, not ready, cheaper to delete, more on its node, ready for
 * less long, more restarts, younger. */
struct rank {
	struct doc *pod;
	int64_t assigned, phase, ready, cost, crowd, ready_since, restarts, created;
};

static int64_t phase_rank(const struct doc *pod)
{
	struct str phase = doc_str(pod, "status.phase");

	return str_is(phase, "Pending") ? 0 : str_is(phase, "Running") ? 2 : 1;
}

static int64_t time_ns(struct str text)
{
	struct wall t = { 0 };

	return wall_parse(text, &t) ? t.ns : 0;
}

/* Differences of seconds do not matter between old pods: rounded by powers of two, as upstream does. */
static int64_t age_class(int64_t now_ns, int64_t since_ns)
{
	int64_t s = (now_ns - since_ns) / 1000000000, class = 0;

	for (; s > 0; s >>= 1)
		class ++;
	return class;
}

static int64_t restarts(const struct doc *pod)
{
	int64_t most = 0;

	for (struct val_iter it = val_iter(doc_get(pod, "status.containerStatuses")); val_next(&it);)
		most = MAX(most, val_int(val_get(it.val, "restartCount"), 0));
	return most;
}

static int64_t crowd(const struct informer_list *pods, const struct doc *pod)
{
	struct str node = doc_str(pod, "spec.nodeName");
	int64_t n = 0;

	for (size_t i = 0; node.n && i < pods->n; i++)
		n += pod_active(pods->items[i]) && str_eq(doc_str(pods->items[i], "spec.nodeName"), node);
	return n;
}

static struct rank rank_of(const struct informer_list *pods, struct doc *pod, int64_t now_ns)
{
	struct val annotations = doc_get(pod, "metadata.annotations");
	struct rank r = { .pod = pod };
	bool ready = pod_ready(pod);

	r.assigned = doc_str(pod, "spec.nodeName").n > 0;
	r.phase = phase_rank(pod);
	r.ready = ready;
	str_i64(val_str(val_get(annotations, "controller.kubernetes.io/pod-deletion-cost")), &r.cost);
	r.crowd = -crowd(pods, pod);
	r.ready_since = ready ?
		age_class(
			now_ns, time_ns(val_str(val_get(condition_of(doc_root(pod), "Ready"), "lastTransitionTime")))) :
		0;
	r.restarts = -restarts(pod);
	r.created = age_class(now_ns, time_ns(doc_str(pod, "metadata.creationTimestamp")));
	return r;
}

static int by_rank(const void *x, const void *y)
{
	const struct rank *a = x, *b = y;
	const int64_t pairs[][2] = { { a->assigned, b->assigned }, { a->phase, b->phase }, { a->ready, b->ready },
		{ a->cost, b->cost }, { a->crowd, b->crowd }, { a->ready_since, b->ready_since },
		{ a->restarts, b->restarts }, { a->created, b->created } };

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (pairs[i][0] != pairs[i][1])
			return pairs[i][0] < pairs[i][1] ? -1 : 1;
	return str_cmp(doc_name(a->pod), doc_name(b->pod));
}

/* The n active pods to delete first, in the arena. */
static struct doc **victims(struct arena *a, const struct informer_list *pods, size_t active, size_t n)
{
	struct rank *ranks = ARENA_ARRAY(a, struct rank, active + 1);
	struct doc **out = ARENA_ARRAY(a, struct doc *, n + 1);
	int64_t now_ns = wall_now().ns;
	size_t at = 0;

	for (size_t i = 0; i < pods->n; i++)
		if (pod_active(pods->items[i]))
			ranks[at++] = rank_of(pods, pods->items[i], now_ns);
	qsort(ranks, at, sizeof(*ranks), by_rank);
	for (size_t i = 0; i < n && i < at; i++)
		out[i] = ranks[i].pod;
	return out;
}

/* ---- creating side by side ------------------------------------------------------------------- */

struct batch {
	struct ctl *c;
	struct doc *set;
	struct str key;
	struct task_mutex lock;
	size_t left, failed;
	struct err first_error;
};

static void create_some(void *arg)
{
	struct batch *b = arg;
	auto_(arena_free) struct arena *a = arena_new();

	for (;;) {
		auto_(doc_unref) struct doc *made = NULL;
		struct err e;

		task_lock(&b->lock);
		if (!b->left) {
			task_unlock(&b->lock);
			return;
		}
		b->left--;
		task_unlock(&b->lock);
		err_init(&e);
		if (create_pod(b->c, a, b->set, doc_get(b->set, "spec.template"), NULL, NULL, &made, &e) >= 0) {
			ctl_wrote(b->c, b->key, made);
		} else if (!namespace_ends(&e)) {
			task_lock(&b->lock);
			if (!b->failed++)
				err_copy(&b->first_error, &e);
			task_unlock(&b->lock);
		}
		arena_reset(a);
	}
}

/* A batch is written by a few tasks at once, so that the store commits it as a group. */
static int create_batch(struct ctl *c, struct doc *set, struct str key, size_t n, struct err *e)
{
	struct batch b = { .c = c, .set = set, .key = key, .left = n };
	struct task *helpers[7];
	size_t n_helpers = MIN(n - 1, ARRAY_LEN(helpers));

	task_mutex_init(&b.lock);
	err_init(&b.first_error);
	for (size_t i = 0; i < n_helpers; i++)
		helpers[i] = task_spawn("replicaset", create_some, &b);
	create_some(&b);
	for (size_t i = 0; i < n_helpers; i++)
		task_join(helpers[i]);
	task_mutex_fini(&b.lock);
	if (!b.failed)
		return 0;
	err_copy(e, &b.first_error);
	return -e->code;
}

static int create_missing(struct ctl *c, struct doc *set, struct str key, size_t n, struct err *e)
{
	for (size_t batch = MIN(n, (size_t)FIRST_BATCH); n; n -= batch, batch = MIN(n, batch * 2))
		if (create_batch(c, set, key, batch, e) < 0)
			return -e->code;
	return 0;
}

static int delete_surplus(struct ctl *c, struct arena *a, struct doc *set, struct str key,
	const struct informer_list *pods, size_t active, size_t n, struct err *e)
{
	struct doc **first = victims(a, pods, active, n);

	for (size_t i = 0; i < n; i++)
		if (delete_pod(c, a, set, key, first[i], e) < 0)
			return -e->code;
	return 0;
}

/* ---- status ---------------------------------------------------------------------------------- */

struct counts {
	int64_t all, labelled, ready, available, terminating, next_ms;
};

static struct counts count(struct arena *a, struct doc *set, const struct informer_list *pods)
{
	int64_t min_ready = doc_int(set, "spec.minReadySeconds", 0), wait_ms;
	const struct selector *template;
	struct counts n = { 0 };
	struct err e;

	err_init(&e);
	selector_of_map(a, doc_get(set, "spec.template.metadata.labels"), &template, &e);
	for (size_t i = 0; i < pods->n; i++) {
		struct doc *pod = pods->items[i];

		n.terminating += is_deleting(pod) && !pod_ended(pod);
		if (!pod_active(pod))
			continue;
		n.all++;
		n.labelled += selector_matches(template, doc_get(pod, "metadata.labels"));
		n.ready += pod_ready(pod);
		n.available += pod_available(pod, min_ready, &wait_ms);
		if (wait_ms)
			n.next_ms = n.next_ms ? MIN(n.next_ms, wait_ms) : wait_ms;
	}
	return n;
}

static struct node *status_of(
	struct arena *a, struct doc *set, const struct counts *n, const struct err *failed, bool creating)
{
	struct node *conditions = node_list(a), *status;

	for (struct val_iter it = val_iter(doc_get(set, "status.conditions")); val_next(&it);)
		if (!val_is(val_get(it.val, "type"), "ReplicaFailure"))
			node_add(conditions, node_from(a, it.val));
	if (failed->code) {
		struct val old = condition_of(doc_root(set), "ReplicaFailure");
		const char *reason = creating ? "FailedCreate" : "FailedDelete";

		if (val_has(old))
			node_add(conditions, node_from(a, old));
		/* Messages name pods that do not exist, another each time: to write every one would bring us back at
		 * once, for ever. */
		if (!val_is(val_get(old, "reason"), reason))
			set_condition(a, conditions, "ReplicaFailure", "True", reason, failed->message, false);
	}
	status = node_pack(a, "{replicas:I}", n->all);
	if (n->labelled)
		node_setc(status, "fullyLabeledReplicas", node_int(a, n->labelled));
	if (n->ready)
		node_setc(status, "readyReplicas", node_int(a, n->ready));
	if (n->available)
		node_setc(status, "availableReplicas", node_int(a, n->available));
	node_setc(status, "observedGeneration", node_int(a, doc_int(set, "metadata.generation", 0)));
	if (node_len(conditions))
		node_setc(status, "conditions", conditions);
	return status;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *set = NULL;
	struct informer_list pods;
	struct counts n;
	struct err failed;
	int64_t wanted;

	key_split(key, &ns, &name);
	set = informer_get(ctl_informer(c, ctl_kind(c)), ns, name);
	if (!set)
		return 0;
	if (!ctl_caught_up(c, key, ctl_informer(c, res_pods)))
		return 0;
	pods = claim(c, a, set, ctl_selector(c, a, set), res_pods, e);
	if (e->code)
		return -e->code;
	n = count(a, set, &pods);
	wanted = doc_int(set, "spec.replicas", 1);
	err_init(&failed);
	if (!is_deleting(set) && n.all < wanted)
		create_missing(c, set, key, (size_t)MIN(wanted - n.all, (int64_t)BURST), &failed);
	else if (!is_deleting(set) && n.all > wanted)
		delete_surplus(
			c, a, set, key, &pods, (size_t)n.all, (size_t)MIN(n.all - wanted, (int64_t)BURST), &failed);
	if (write_status(c, a, ctl_kind(c), set, status_of(a, set, &n, &failed, n.all < wanted), e) < 0)
		return -e->code;
	if (n.next_ms)
		ctl_add_after(c, key, n.next_ms);
	if (failed.code)
		err_copy(e, &failed);
	return -failed.code;
}

const struct controller replicaset_controller = {
	.name = "replicaset-controller",
	.help = "keeps as many pods as a ReplicaSet wishes",
	.handles = "apps/replicasets",
	.watches = { { &res_replicasets, key_self }, { &res_pods, key_claimed } },
	.reconcile = reconcile,
};

const struct controller replicationcontroller_controller = {
	.name = "replication-controller",
	.help = "keeps as many pods as a ReplicationController wishes",
	.handles = "/replicationcontrollers",
	.watches = { { &res_replicationcontrollers, key_self }, { &res_pods, key_claimed } },
	.reconcile = reconcile,
};
